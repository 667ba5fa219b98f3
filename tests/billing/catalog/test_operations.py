# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""A catalogue is loaded by adding; what was published stays."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from billing.catalog.document import CatalogInvalid, read_yaml
from billing.catalog.models import Plan, PlanVersion, Rate, RateCard
from billing.catalog.operations import (
    CatalogConflict,
    PlanVersionNotFound,
    load_catalog,
    plan_catalog,
    publish_plan_version,
)
from billing.catalog.queries import published_plan_version, rates_for
from metering.operations import UsageEventInput, define_meter, ingest_events, register_subjects
from tests.billing.catalog import full
from tests.billing.rollouts.world import approved
from tests.factories import NOVEMBER, OCTOBER, PlanVersionFactory, RateCardFactory, RateFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

DEMO = Path(__file__).resolve().parents[3] / "config" / "demo" / "catalogue.yaml"
TOKEN_CLASSES = {"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"}
START = datetime(2020, 1, 1, tzinfo=UTC)


def document(**version: Any) -> dict[str, Any]:
    terms = {"version": 1, "currency": "USD", "fee_minor": 2000, "included_amount": "20", "rate_card": "public"}
    return {
        "rate_cards": [
            {
                "code": "public",
                "name": "Public",
                "currency": "USD",
                "effective_from": START,
                "models": [{"model": "opus", "rates": {"input_tokens": "5", "output_tokens": "25"}}],
            }
        ],
        "plans": [{"code": "pro", "name": "Pro", "versions": [{**terms, **version}]}],
    }


def with_rate(price: str, effective_from: datetime, meter: str = "input_tokens") -> dict[str, Any]:
    changed = deepcopy(document())
    changed["rate_cards"][0]["models"].append(
        {"model": "opus", "rates": {meter: price}, "effective_from": effective_from}
    )
    return changed


class TestLoadCatalog:
    def test_adds_everything_and_publishes(self) -> None:
        plan = load_catalog(document(), now=OCTOBER)

        assert [f"{change.sign} {change.subject}" for change in plan.changes] == [
            "+ rate card public", "+ plan pro", "+ plan pro v1 USD", "> plan pro v1 USD",
        ]  # fmt: skip
        version = published_plan_version("pro")
        assert version is not None
        assert (version.fee_minor, version.allowances.get().amount, version.published_at) == (2000, 20, OCTOBER)

    def test_loaded_again_changes_nothing(self) -> None:
        load_catalog(document(), now=OCTOBER)

        assert load_catalog(document(included_amount="20.00"), now=NOVEMBER).is_empty

    @pytest.mark.parametrize("terms", [{"fee_minor": 2500}, {"included_amount": "25"}], ids=str)
    def test_published_terms_do_not_change(self, terms: dict[str, Any]) -> None:
        load_catalog(document(), now=OCTOBER)

        with pytest.raises(CatalogConflict, match=r"published.* → \$25\.00 .*Write version 2 with status: draft"):
            load_catalog(document(**terms), now=NOVEMBER)

    def test_draft_terms_do_and_can_be_published_later(self) -> None:
        load_catalog(document(status="draft", fee_minor=1), now=OCTOBER)
        assert published_plan_version("pro") is None

        load_catalog(document(), now=NOVEMBER)

        version = published_plan_version("pro")
        assert version is not None
        assert (version.fee_minor, version.published_at) == (2000, NOVEMBER)

    def test_new_versions_stand_beside_the_old(self) -> None:
        load_catalog(document(), now=OCTOBER)
        load_catalog(document(version=2, fee_minor=2500, status="draft"), now=NOVEMBER)
        with pytest.raises(CatalogConflict, match="sold before, so a second person approves"):
            load_catalog(document(version=2, fee_minor=2500), now=NOVEMBER)
        approved(PlanVersion.objects.get(version=2))
        load_catalog(document(version=2, fee_minor=2500), now=NOVEMBER)

        newest, first = published_plan_version("pro"), published_plan_version("pro", 1)
        assert newest is not None
        assert first is not None
        assert (newest.fee_minor, first.fee_minor) == (2500, 2000)

    def test_a_rate_is_followed_by_another_from_an_instant_on(self) -> None:
        load_catalog(document(), now=OCTOBER)

        (change,) = load_catalog(with_rate("6", NOVEMBER), now=OCTOBER).changes

        (rate,) = change.differences
        assert (rate.was, rate.will_be) == ("$5.00 per 1,000,000", "$6.00 per 1,000,000")
        assert change.affected == "no live subscription on versions priced by it, from 2026-11-01 UTC"
        assert Rate.objects.filter(meter_code="input_tokens").count() == 2

    def test_usage_of_the_past_is_not_repriced(self) -> None:
        load_catalog(document(), now=OCTOBER)
        rewritten = deepcopy(document())
        rewritten["rate_cards"][0]["models"][0]["rates"]["input_tokens"] = "6"

        with pytest.raises(CatalogConflict, match="cannot change"):
            load_catalog(rewritten, now=OCTOBER)
        with pytest.raises(CatalogConflict, match="reprice"):
            load_catalog(with_rate("6", OCTOBER - timedelta(days=1)), now=OCTOBER)

    def test_one_price_given_twice_is_refused(self) -> None:
        with pytest.raises(CatalogInvalid, match="opus input_tokens from 2020-01-01 on card public is given twice"):
            load_catalog(with_rate("5", START), now=OCTOBER)

    def test_a_meter_never_priced_before_may_have_a_price_for_the_past(self) -> None:
        load_catalog(document(), now=OCTOBER)

        load_catalog(with_rate("1", START, meter="searches"), now=NOVEMBER)

        assert Rate.objects.filter(meter_code="searches").count() == 1

    def test_is_all_or_nothing(self) -> None:
        broken = document()
        version = {**broken["plans"][0]["versions"][0], "rate_card": "none"}
        broken["plans"].append({"code": "x", "name": "X", "versions": [version]})

        with pytest.raises(CatalogInvalid, match="none"):
            load_catalog(broken, now=OCTOBER)

        assert not RateCard.objects.exists()
        assert not Plan.objects.exists()

    def test_a_plan_is_priced_in_the_currency_of_its_card(self) -> None:
        with pytest.raises(CatalogInvalid, match="EUR"):
            load_catalog(document(currency="EUR"), now=OCTOBER)


def meter(**wrong: Any) -> dict[str, Any]:
    definition = {
        "code": "input_tokens",
        "event_type": "llm.request",
        "value_path": "data.input_tokens",
        "aggregation": "sum",
        "dimensions": ["model"],
        "unit": "token",
    }
    return {"meters": [{**definition, **wrong}]}


class TestMeters:
    def test_of_the_document_are_in_force(self) -> None:
        register_subjects(["ada"])
        load_catalog(meter(), now=OCTOBER)

        event = UsageEventInput(
            id="1",
            source="tests",
            type="llm.request",
            subject="ada",
            time=OCTOBER,
            data={"model": "m", "input_tokens": 1},
        )

        assert ingest_events([event], received_at=OCTOBER).accepted == 1

    def test_a_meter_that_metering_refuses_is_named_and_nothing_is_loaded(self) -> None:
        with pytest.raises(CatalogInvalid, match="meter input_tokens"):
            load_catalog({**document(), **meter(value_path="input_tokens")}, now=OCTOBER)

        assert not Plan.objects.exists()


class TestPublishPlanVersion:
    def test_is_done_once(self) -> None:
        draft = PlanVersionFactory(is_draft=True)

        publish_plan_version(plan_version_id=draft.pk, now=OCTOBER)
        again = publish_plan_version(plan_version_id=draft.pk, now=NOVEMBER)

        assert (again.status, again.published_at) == ("published", OCTOBER)

    def test_a_retired_one_stays_retired(self) -> None:
        version = PlanVersionFactory()
        PlanVersion.objects.filter(pk=version.pk).update(status="retired")

        with pytest.raises(CatalogConflict):
            publish_plan_version(plan_version_id=version.pk, now=NOVEMBER)

    def test_of_no_version_is_refused(self) -> None:
        with pytest.raises(PlanVersionNotFound):
            publish_plan_version(plan_version_id=0, now=OCTOBER)


class TestRateTable:
    def test_finds_the_rate_in_force(self) -> None:
        card = RateCardFactory()
        first = RateFactory(rate_card=card, effective_from=OCTOBER)
        second = RateFactory(rate_card=card, effective_from=NOVEMBER, unit_price=Decimal(6))
        RateFactory(rate_card=card, model="other", effective_from=START)
        RateFactory(effective_from=START)

        table = rates_for(card.pk)

        instants = [OCTOBER - timedelta(microseconds=1), OCTOBER, NOVEMBER - timedelta(microseconds=1), NOVEMBER]
        assert [table.lookup("input_tokens", first.dimensions, at) for at in instants] == [None, first, first, second]
        assert table.lookup("output_tokens", first.dimensions, NOVEMBER) is None


class TestDemoCatalogue:
    def test_loads_by_command_and_again(self) -> None:
        output = StringIO()

        call_command("catalog", "apply", str(DEMO), stdout=output)
        call_command("catalog", "apply", str(DEMO), stdout=output)

        assert output.getvalue().splitlines()[-2:] == ["17 added, 6 changed.", "Nothing changed."]
        assert Rate.objects.count() == 32

    def test_holds_the_plans_and_prices_that_are_public(self) -> None:
        load_catalog(read_yaml(DEMO.read_text()), now=OCTOBER)

        versions = PlanVersion.objects.values_list("plan__code", "fee_minor", "allowances__amount")
        terms = {code: (fee_minor, included or 0) for code, fee_minor, included in versions}
        assert {code: terms[code] for code in ("hobby", "pro", "pro_plus", "ultra", "teams")} == {
            "hobby": (0, 0),
            "pro": (2000, 20),
            "pro_plus": (6000, 70),
            "ultra": (20000, 400),
            "teams": (4000, 20),
        }
        opus = {
            rate.meter_code: rate.unit_price for rate in Rate.objects.filter(dimensions={"model": "claude-opus-4.5"})
        }
        assert opus == {
            "input_tokens": 5,
            "output_tokens": 25,
            "cache_write_tokens": Decimal("6.25"),
            "cache_read_tokens": Decimal("0.5"),
        }

    def test_prices_every_token_class_of_every_model_so_that_a_token_has_an_exact_price(self) -> None:
        load_catalog(read_yaml(DEMO.read_text()), now=OCTOBER)

        models = set(Rate.objects.values_list("dimensions__model", flat=True))
        assert len(models) == 8
        for model in models:
            assert (
                set(Rate.objects.filter(dimensions={"model": model}).values_list("meter_code", flat=True))
                == TOKEN_CLASSES
            )
        prices = Rate.objects.values_list("unit_price", flat=True)
        assert all(price is not None and price == round(price, 6) for price in prices)


@pytest.mark.parametrize("content", [b"plans: [", b"\xff\xfe", b"plans: [{code: 1}]", None])
def test_the_command_says_kindly_what_is_wrong_with_a_file(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "catalogue.yaml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(CommandError, match=r"catalogue\.yaml") as refusal:
        call_command("catalog", "plan", str(file))
    assert refusal.value.returncode == 2


class TestLateUsage:
    def terms(self, **late: str) -> dict[str, Any]:
        catalog = document()
        catalog["plans"][0]["versions"][0] |= late
        return catalog

    def test_goes_onto_the_next_invoice_unless_the_contract_says_otherwise(self) -> None:
        load_catalog(self.terms(), now=NOVEMBER)

        assert PlanVersion.objects.first().late_policy == "next_invoice"  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        "late",
        [{"late_policy": "absorb"}, {"late_absorb_up_to": "5"}, {"late_policy": "absorb", "late_absorb_up_to": "0"}],
    )
    def test_is_absorbed_up_to_an_amount_or_not_at_all(self, late: dict[str, str]) -> None:
        with pytest.raises(CatalogInvalid, match="late_absorb_up_to must be above zero with late_policy absorb"):
            load_catalog(self.terms(**late), now=NOVEMBER)


@pytest.mark.parametrize("aggregation", ["max", "min", "last", "unique_count", "time_weighted_average"])
def test_a_rate_for_a_meter_whose_hours_do_not_add_up_is_refused(aggregation: str) -> None:
    path = "data.input_tokens"
    define_meter(
        code="input_tokens", event_type="x", value_path=path, aggregation=aggregation, dimensions=["model"], unit="t"
    )

    with pytest.raises(CatalogConflict, match=f"whose aggregation {aggregation} cannot be rated by the hour"):
        load_catalog(document(), now=NOVEMBER)
    assert not Rate.objects.exists()


def with_card(**values: Any) -> dict[str, Any]:
    """A draft whose card holds these rates."""
    catalog = document(status="draft")
    catalog["rate_cards"][0] |= values
    return catalog


class TestDrafts:
    def test_rates_that_only_drafts_use_are_replaced_and_taken_away(self) -> None:
        load_catalog(with_card(), now=OCTOBER)
        models = [{"model": "opus", "rates": {"input_tokens": "7"}}]

        (change,) = load_catalog(with_card(models=models), now=NOVEMBER).changes

        assert [(one.what, one.was, one.will_be) for one in change.differences] == [
            ("opus input_tokens from 2020-01-01", "$5.00 per 1,000,000", "$7.00 per 1,000,000"),
            ("opus output_tokens from 2020-01-01", "$25.00 per 1,000,000", ""),
        ]
        assert change.affected == "only drafts are priced by it"
        assert [rate.unit_price for rate in Rate.objects.all()] == [7]

    def test_a_promised_card_keeps_what_a_document_leaves_out_and_says_so(self) -> None:
        load_catalog(document(), now=OCTOBER)
        catalog = document()
        del catalog["rate_cards"][0]["models"][0]["rates"]["output_tokens"]

        plan = load_catalog(catalog, now=NOVEMBER)

        assert plan.is_empty
        assert "card public holds 1 prices that the document does not name: what is promised stays" in plan.notes
        assert Rate.objects.count() == 2

    def test_what_would_reprice_through_the_base_or_by_more_dimensions_is_refused(self) -> None:
        own = {"code": "own", "name": "Own", "currency": "USD", "base": "public", "effective_from": START}
        catalog = document(rate_card="own")
        catalog["rate_cards"].append(own)
        load_catalog(catalog, now=OCTOBER)

        for rate in (
            {"meter_code": "input_tokens", "dimensions": {"model": "opus"}, "unit_price": "1"},
            {"meter_code": "input_tokens", "dimensions": {"model": "opus", "region": "eu"}, "unit_price": "1"},
            {"meter_code": "input_tokens", "unit_price": "1"},
            {"charge_model": "flat", "terms": {"amount": "1"}},
        ):
            with pytest.raises(CatalogConflict, match="would reprice usage of the past"):
                load_catalog({"rate_cards": [{**own, "rates": [rate]}]}, now=OCTOBER)
            later = {**rate, "effective_from": NOVEMBER}
            assert not plan_catalog({"rate_cards": [{**own, "rates": [later]}]}, now=OCTOBER).refusals
        other = {"meter_code": "input_tokens", "dimensions": {"model": "haiku"}, "unit_price": "1"}
        assert len(load_catalog({"rate_cards": [{**own, "rates": [other]}]}, now=OCTOBER).changes) == 1

    def test_who_is_affected_is_counted(self) -> None:
        load_catalog(document(), now=OCTOBER)
        version = PlanVersion.objects.get()
        for status in ("active", "trialing", "canceled"):
            SubscriptionFactory(plan_version=version, status=status)

        (change,) = plan_catalog(with_rate("6", NOVEMBER), now=OCTOBER).changes

        assert change.affected == "2 live subscriptions on versions priced by it, from 2026-11-01 UTC"
        retired = plan_catalog(document(status="retired"), now=OCTOBER).changes[0]
        assert retired.affected == "sold no longer; 2 live subscriptions keep it"

    def test_what_the_database_refuses_is_told_by_the_plan(self) -> None:
        load_catalog(full.document(), now=OCTOBER)
        catalog = full.document()
        catalog["meters"][0]["unit"] = "x" * 33

        assert "too long" in str(plan_catalog(catalog, now=NOVEMBER).refusals[0])

    def test_units_cannot_cover_events_that_are_priced_one_by_one(self) -> None:
        catalog = full.document()
        calls = catalog["plans"][0]["versions"][2]["allowances"][2]
        calls["covers"] = [{"meter_code": "volume"}]

        (refusal,) = plan_catalog(catalog, now=OCTOBER).refusals

        assert "it covers units of volume, whose events card public prices one by one" in str(refusal)
