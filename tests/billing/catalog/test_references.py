"""What a document names has to be there: meters and dimensions of allowances, of prices, and of what was promised."""

from copy import deepcopy
from datetime import datetime
from typing import Any

import pytest

from billing.catalog.document import CatalogInvalid
from billing.catalog.models import PlanVersion
from billing.catalog.operations import CatalogConflict, approve_plan_version, load_catalog, plan_catalog
from tests.billing.catalog.full import document
from tests.factories import NOVEMBER, OCTOBER, SubscriptionFactory

pytestmark = pytest.mark.django_db


def refusals(catalog: dict[str, Any], now: datetime = OCTOBER) -> list[str]:
    return [str(refusal) for refusal in plan_catalog(catalog, now=now).refusals]


def with_pool(**terms: Any) -> dict[str, Any]:
    catalog = document()
    catalog["plans"][0]["versions"][2]["allowances"] = [{"code": "own", "name": "Own", "amount": "1", **terms}]
    return catalog


class TestAllowances:
    @pytest.mark.parametrize(
        ("terms", "reason"),
        [
            ({"covers": [{"meter_code": "tokk"}]}, "it covers meter tokk, which has no price. Name a meter such as"),
            (
                {"covers": [{"dimensions": {"modl": ["opus"]}}]},
                "it covers modl, which input_tokens, requests, volume does not tell apart. Name a dimension such as",
            ),
            (
                {"covers": [{"meter_code": "volume", "dimensions": {"model": ["opus"]}}]},
                "it covers model, which volume does not tell apart. Name a dimension such as member",
            ),
            ({"each_dimension": "membr"}, "it is for each membr, which input_tokens"),
        ],
        ids=str,
    )
    def test_that_would_include_nothing_are_refused(self, terms: dict[str, Any], reason: str) -> None:
        (refusal,) = refusals(with_pool(**terms))

        assert refusal.startswith(f"allowance own of plan pro v2 USD: {reason}")

    def test_may_pay_for_what_only_an_add_on_prices(self) -> None:
        catalog = with_pool(covers=[{"meter_code": "volume"}])
        extra = {**catalog["rate_cards"][0], "code": "extra", "models": []}
        rates = catalog["rate_cards"][0]["rates"]
        volume = next(rate for rate in rates if rate.get("meter_code") == "volume")
        rates.remove(volume)
        catalog["rate_cards"].append({**extra, "rates": [volume]})
        assert len(refusals(catalog)) == 1

        catalog["plans"][1]["versions"][0]["rate_card"] = "extra"

        assert refusals(catalog) == []


def test_cells_that_never_apply_are_noted() -> None:
    catalog = document()
    cells = [{"dimensions": {"modle": "opus"}, "unit_price": "1"}]
    rate = {"meter_code": "requests", "charge_model": "matrix", "terms": {"cells": cells}, "effective_from": NOVEMBER}
    catalog["rate_cards"][0]["rates"].append(rate)

    (note,) = plan_catalog(catalog, now=OCTOBER).notes

    assert note == "card public prices requests by modle, which that meter does not tell apart: it never applies"


class TestMeters:
    def changed(self, place: int, **terms: Any) -> dict[str, Any]:
        return {"meters": [{**document()["meters"][place], **terms}]}

    def test_keep_the_dimensions_that_promised_prices_name(self) -> None:
        load_catalog(document(), now=OCTOBER)

        (refusal,) = refusals(self.changed(0, dimensions=[]))

        assert refusal.startswith("meter input_tokens: its dimension model cannot go: rate card public prices by it")
        assert refusals(self.changed(2, dimensions=[])) == []  # only a draft names member

    def test_keep_those_of_promised_allowances_and_cells(self) -> None:
        catalog = with_pool(each_dimension="member")
        versions = catalog["plans"][0]["versions"]
        catalog["plans"].append(
            {"code": "own", "name": "Own", "versions": [{**versions.pop(2), "status": "published"}]}
        )
        cells = [{"dimensions": {"plain": "yes"}, "unit_price": "1"}]
        catalog["meters"][0]["dimensions"] = ["model", "plain"]
        matrix = {"meter_code": "input_tokens", "charge_model": "matrix", "terms": {"cells": cells}}
        catalog["rate_cards"][0]["rates"].append(matrix)
        load_catalog(catalog, now=OCTOBER)

        said = refusals(self.changed(2, dimensions=[])) + refusals(self.changed(0))

        assert [one.split(":")[1] for one in said] == [
            " its dimension member cannot go", " its dimension plain cannot go",
        ]  # fmt: skip

    def test_tell_who_is_priced_by_them(self) -> None:
        load_catalog(document(), now=OCTOBER)
        SubscriptionFactory(plan_version=PlanVersion.objects.get(plan__code="pro", version=1, currency="USD"))

        (change,) = plan_catalog(self.changed(0, filters=[{"status": ["never"]}]), now=OCTOBER).changes

        assert change.affected.endswith("recorded from now on, for 1 live subscription whose usage it prices")


def test_a_price_of_the_past_does_not_go_before_that_of_an_add_on() -> None:
    catalog = document()
    extra = {"code": "extra", "name": "Extra", "currency": "USD", "effective_from": "2026-01-01T00:00:00Z"}
    tokens = {"meter_code": "tokens", "unit_price": "1", "unit_size": 1}
    catalog["rate_cards"].append({**extra, "rates": [tokens]})
    catalog["plans"][1]["versions"][0]["rate_card"] = "extra"
    load_catalog(catalog, now=OCTOBER)
    dearer = deepcopy(catalog["rate_cards"][:1])
    dearer[0]["rates"].append({**tokens, "unit_price": "99"})

    (refusal,) = refusals({"rate_cards": dearer})

    assert "would reprice usage of the past" in refusal
    dearer[0]["rates"][-1]["effective_from"] = NOVEMBER
    assert refusals({"rate_cards": dearer}) == []


def test_terms_of_a_promised_card_may_be_written_otherwise() -> None:
    load_catalog(document(), now=OCTOBER)
    catalog = document()
    tiers = catalog["rate_cards"][0]["rates"][0]["terms"]["tiers"]
    tiers[0] |= {"up_to": 1000, "unit_price": "0.010", "flat": 2}

    assert plan_catalog(catalog, now=NOVEMBER).is_empty


def test_a_version_is_not_published_with_a_draft_in_its_bundle() -> None:
    catalog = document()
    catalog["plans"][1]["versions"][0]["status"] = "draft"
    catalog["plans"][0]["versions"][2]["status"] = "published"

    (refusal,) = plan_catalog(catalog, now=OCTOBER).refusals

    assert str(refusal).endswith("it bundles priority v1, which is a draft. Publish priority v1 with it")
    catalog["plans"][0]["versions"][2]["status"] = "draft"
    load_catalog(catalog, now=OCTOBER)
    with pytest.raises(CatalogConflict, match="bundles Priority v1, which is a draft"):
        approve_plan_version(plan_version_id=PlanVersion.objects.get(version=2).pk, now=OCTOBER)


def test_an_add_on_never_has_its_usage_metered_by_stripe() -> None:
    catalog = document()
    add_on = next(plan for plan in catalog["plans"] if plan.get("is_add_on"))
    add_on["versions"][0]["usage_delivery"] = "meter_events"
    with pytest.raises(CatalogInvalid, match="is an add-on with usage_delivery meter_events, which only plans can"):
        plan_catalog(catalog, now=OCTOBER)
