"""A document that is written from the catalogue plans to nothing, whatever the catalogue holds."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.catalog.document import read_document, read_yaml
from billing.catalog.export import document_of, document_text, part_for
from billing.catalog.meaning import Meaning
from billing.catalog.models import PlanVersion
from billing.catalog.operations import load_catalog, plan_catalog, retire_plan_version
from billing.catalog.stored import read_stored
from billing.catalog.wanted import meaning_of
from tests.billing.catalog.full import FULL, document
from tests.billing.rollouts.world import approved, hire
from tests.factories import NOVEMBER, OCTOBER

codes = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
amounts = st.decimals(0, 10**12, places=12).map(lambda amount: f"{amount.normalize():f}")
# YAML would read many of these as something else than text, were they not quoted.
values = st.sampled_from(["no", "~", "1.0", "01", "1:30", "2026-01-01", "null", "a: b", "", "é", "0x1F"]) | names
instants = st.integers(0, 10**15).map(lambda microseconds: NOVEMBER + timedelta(microseconds=microseconds))


@st.composite
def rates(draw: st.DrawFn) -> dict[str, Any]:
    since = {} if draw(st.booleans()) else {"effective_from": draw(instants)}
    if draw(st.booleans()):
        price = {"unit_price": draw(amounts), "unit_size": draw(st.sampled_from([1, 1000, 1_000_000, 7]))}
    else:
        end = draw(st.integers(1, 10**9))
        tiers = [{"up_to": str(end), "unit_price": draw(amounts)}, {"up_to": None, "unit_price": draw(amounts)}]
        price = {"charge_model": draw(st.sampled_from(["graduated", "volume"])), "terms": {"tiers": tiers}}
    dimensions = draw(st.dictionaries(st.sampled_from(["model", "region", "member"]), values | st.none(), max_size=2))
    return {"meter_code": draw(codes), "dimensions": dimensions, **price, **since}


@st.composite
def allowances(draw: st.DrawFn, priced: list[str]) -> dict[str, Any]:
    shared: dict[str, Any] = draw(st.sampled_from([{}, {"is_per_seat": False}, {"each_dimension": "member"}]))
    covers = draw(
        st.lists(
            st.fixed_dictionaries({"meter_code": st.sampled_from(priced) if priced else st.nothing()})
            | st.fixed_dictionaries({"dimensions": st.dictionaries(codes, st.lists(values, min_size=1), min_size=1)}),
            max_size=2,
        )
    )
    change = draw(st.sampled_from(["prorate", "restart", "keep"]))
    return {"code": draw(codes), "name": draw(names), "amount": draw(amounts), "covers": covers, **shared} | {
        "at_plan_change": change
    }


def priced_at(rate: dict[str, Any]) -> tuple[str, str, object]:
    return rate["meter_code"], repr(sorted(rate["dimensions"].items())), rate.get("effective_from")


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    card: dict[str, Any] = {
        "code": "card",
        "name": draw(names),
        "currency": "USD",
        "source": draw(names),
        "effective_from": datetime(2019, 1, 1, tzinfo=UTC),
        "rates": draw(st.lists(rates(), max_size=5, unique_by=priced_at)),
    }
    fee: dict[str, Any] = draw(st.sampled_from([{"fee_minor": 0}, {"fee_minor": 2000}, {"fee_tiers": None}]))
    if "fee_tiers" in fee:
        first = {"up_to": draw(st.integers(1, 99)), "unit_minor": draw(st.integers(0, 10**6)), "flat_minor": 5}
        fee = {"fee_tiers": [first, {"up_to": None, "unit_minor": draw(st.integers(0, 10**6))}]}
    priced = [str(rate["meter_code"]) for rate in card["rates"]]
    pools = draw(st.lists(allowances(priced), max_size=3, unique_by=lambda pool: str(pool["code"])))
    version = {
        "version": draw(st.integers(1, 9)),
        "currency": "USD",
        "status": draw(st.sampled_from(["draft", "published"])),
        "interval": draw(st.sampled_from(["day", "week", "month", "year"])),
        "trial_days": draw(st.integers(0, 700)),
        "max_seats": draw(st.none() | st.integers(1, 10**6)),
        "rate_card": "card",
        **fee,
        **({"allowances": pools} if pools else {"included_amount": draw(amounts)}),
    }
    plan = {"code": draw(codes), "name": draw(names), "is_add_on": draw(st.booleans()), "versions": [version]}
    return {"rate_cards": [card], "plans": [plan]}


def means(written: Mapping[str, Any]) -> Meaning:
    return meaning_of(read_document(written))


@settings(max_examples=30, deadline=None)
@given(documents())
def test_what_is_written_means_what_was_read(written: dict[str, Any]) -> None:
    meaning = means(written)

    assert means(read_yaml(document_text(meaning))) == meaning


def test_long_models_and_an_allowance_of_nothing_come_back() -> None:
    rate = {"meter_code": "m", "dimensions": {"model": "x" * 200}, "unit_price": "1", "unit_size": 1_000_000}
    nothing = {"code": "included", "name": "Included usage", "amount": "0"}
    version = {"version": 1, "currency": "USD", "rate_card": "card", "allowances": [nothing]}
    since = datetime(2019, 1, 1, tzinfo=UTC)
    written = {
        "rate_cards": [{"code": "card", "name": "Card", "currency": "USD", "effective_from": since, "rates": [rate]}],
        "plans": [{"code": "pro", "name": "Pro", "versions": [version]}],
    }
    meaning = means(written)

    assert means(read_yaml(document_text(meaning))) == meaning


@pytest.mark.django_db
@settings(max_examples=8, deadline=None)
@given(documents())
def test_what_was_applied_and_exported_plans_to_nothing(written: dict[str, Any]) -> None:
    from django.db import transaction

    with transaction.atomic():
        load_catalog(written, now=OCTOBER)
        exported = read_yaml(document_text(read_stored().meaning))

        assert plan_catalog(exported, now=NOVEMBER).is_empty
        assert load_catalog(exported, now=NOVEMBER).is_empty
        transaction.set_rollback(True)


@pytest.mark.django_db
class TestTheFullDocument:
    def test_is_stored_as_it_means_and_comes_back(self) -> None:
        load_catalog(document(), now=OCTOBER)
        hire()

        stored = read_stored().meaning
        assert stored == means(document())
        assert plan_catalog(document_of(stored), now=NOVEMBER).is_empty
        approved(PlanVersion.objects.get(version=2))
        assert plan_catalog(document_of(read_stored().meaning), now=NOVEMBER).is_empty
        assert "status: approved" in document_text(read_stored().meaning)

    def test_what_is_retired_comes_back_too(self) -> None:
        load_catalog(document(), now=OCTOBER)
        for version in PlanVersion.objects.all():
            retire_plan_version(plan_version_id=version.pk, now=NOVEMBER)

        assert plan_catalog(document_of(read_stored().meaning), now=NOVEMBER + timedelta(days=1)).is_empty

    def test_a_part_of_it_is_enough_for_one_plan(self) -> None:
        load_catalog(document(), now=OCTOBER)

        part = part_for(read_stored().meaning, ["pro"])

        assert (list(part.plans), sorted(part.cards)) == (["priority", "pro"], ["acme", "euro", "public"])
        assert part.versions["pro", 1, "USD"].pools[0].amount == Decimal(20)
        assert plan_catalog(document_of(part), now=NOVEMBER).is_empty


@pytest.mark.django_db
class TestCommand:
    def run(self, *arguments: str) -> tuple[int, str]:
        output = StringIO()
        try:
            call_command("catalog", *arguments, stdout=output)
        except SystemExit as stop:
            return int(stop.code or 0), output.getvalue()
        except CommandError as error:
            return error.returncode, f"{output.getvalue()}{error}"
        return 0, output.getvalue()

    def test_plans_applies_exports_and_plans_to_nothing(self, tmp_path: Path) -> None:
        exported = tmp_path / "exported.yaml"

        planned = self.run("plan", str(FULL))
        assert not PlanVersion.objects.exists()
        applied = self.run("apply", str(FULL))
        exported.write_text(self.run("export")[1])

        assert (planned[0], applied[0]) == (1, 0)
        assert planned[1].replace(" to add", " added").replace(" to change", " changed") == applied[1]
        assert self.run("plan", str(exported)) == (0, "Nothing to change.\n")
        assert self.run("apply", str(exported)) == (0, "Nothing changed.\n")
        assert "\x1b" not in planned[1]

    def test_says_what_is_refused_with_its_remedy_and_changes_nothing(self, tmp_path: Path) -> None:
        self.run("apply", str(FULL))
        changed = tmp_path / "changed.yaml"
        changed.write_text(FULL.read_text().replace("fee_minor: 1900", "fee_minor: 2900").replace("Acme", "Bcme"))

        for verb in ("plan", "apply"):
            code, said = self.run(verb, str(changed))
            assert code == 2
            assert "€19.00 a month and seat → €29.00 a month and seat. Write version 3 with status: draft" in said
            assert said.endswith("1 thing is refused, nothing is changed.")
        assert read_stored().meaning.cards["acme"].name == "Agreed with Acme"

    def test_of_a_plan_that_is_not_there_is_refused_in_one_line(self) -> None:
        assert self.run("export", "--plan", "none") == (2, "there is no plan none; see manage.py catalog export")
