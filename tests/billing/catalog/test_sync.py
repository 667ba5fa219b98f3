"""The published catalogue exists at Stripe, once."""

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from billing.catalog.models import Plan, PlanVersion
from billing.catalog.operations import retire_plan_version, sync_catalog_to_stripe
from billing.stripe import gateway
from billing.stripe.errors import OutboxInsideTransaction, StripeUnavailable
from tests.billing.usage import define_token_meters
from tests.factories import OCTOBER, PlanFactory, PlanVersionFactory, RateCardFactory, RateFactory
from tests.sandbox.client import SandboxProcess

pytestmark = pytest.mark.usefixtures("committed_db")


def test_creates_a_product_and_a_monthly_price_for_each_seat(at_sandbox: SandboxProcess) -> None:
    plan = PlanFactory(code="pro", name="Pro")
    PlanVersionFactory(plan=plan, version=1, fee_minor=2000)
    PlanVersionFactory(plan=plan, version=1, fee_minor=0, currency="EUR", rate_card=RateCardFactory(currency="EUR"))
    PlanVersionFactory(is_draft=True)

    assert sync_catalog_to_stripe(now=OCTOBER) == 3

    plan.refresh_from_db()
    product = gateway.retrieve(f"/v1/products/{plan.stripe_product_id}")
    assert (product["name"], product["metadata"]["plan"]) == ("Pro", "pro")
    prices = [gateway.retrieve(f"/v1/prices/{v.stripe_price_id}") for v in plan.versions.order_by("-currency")]
    assert [(p["product"], p["currency"], p["unit_amount"], p["recurring"]["interval"]) for p in prices] == [
        (plan.stripe_product_id, "usd", 2000, "month"),
        (plan.stripe_product_id, "eur", 0, "month"),
    ]
    assert PlanVersion.objects.get(status="draft").stripe_price_id is None
    assert at_sandbox.problems() == []


def test_said_twice_is_done_once(at_sandbox: SandboxProcess) -> None:
    PlanVersionFactory()

    assert sync_catalog_to_stripe(now=OCTOBER) == 2
    assert sync_catalog_to_stripe(now=OCTOBER) == 0
    assert len(at_sandbox.state()["product"]) == len(at_sandbox.state()["price"]) == 1


def test_goes_on_where_a_failure_left_it(at_sandbox: SandboxProcess) -> None:
    PlanVersionFactory()
    # More often than the client itself tries again.
    at_sandbox.fault(mode="error_500", operation="POST /v1/prices", times=5)
    with pytest.raises(StripeUnavailable):
        sync_catalog_to_stripe(now=OCTOBER)
    assert Plan.objects.get().stripe_product_id is not None
    at_sandbox.clear_faults()

    assert sync_catalog_to_stripe(now=OCTOBER) == 1

    assert len(at_sandbox.state()["product"]) == len(at_sandbox.state()["price"]) == 1


def test_inside_a_transaction_is_refused(at_sandbox: SandboxProcess) -> None:
    PlanVersionFactory()

    with pytest.raises(OutboxInsideTransaction), transaction.atomic():
        sync_catalog_to_stripe(now=OCTOBER)


def test_the_command_says_what_it_made_and_what_stripe_refused(
    at_sandbox: SandboxProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    PlanVersionFactory()
    at_sandbox.fault(operation="POST /v1/products", mode="error_500", times=9)

    with pytest.raises(CommandError, match="500"):
        call_command("catalog", "sync")
    at_sandbox.clear_faults()
    call_command("catalog", "sync")

    assert capsys.readouterr().out.strip() == "2 changes made at Stripe."


def version_in(currency: str, **terms: Any) -> PlanVersion:
    return PlanVersionFactory(currency=currency, rate_card=RateCardFactory(currency=currency), **terms)


def price_of(version: PlanVersion) -> dict[str, Any]:
    version.refresh_from_db()
    return gateway.retrieve(f"/v1/prices/{version.stripe_price_id}", expand=("tiers",))


def test_each_currency_is_told_in_stripes_own_minor_units(at_sandbox: SandboxProcess) -> None:
    versions = [version_in("USD", fee_minor=1999), version_in("JPY", fee_minor=2000), version_in("KWD", fee_minor=5120)]

    sync_catalog_to_stripe(now=OCTOBER)

    assert [(price["currency"], price["unit_amount"]) for price in map(price_of, versions)] == [
        ("usd", 1999),
        ("jpy", 2000),
        ("kwd", 5120),
    ]
    assert at_sandbox.problems() == []


def test_intervals_and_tiers_are_told(at_sandbox: SandboxProcess) -> None:
    tiers = [{"up_to": 10, "unit_minor": 2000, "flat_minor": 500}, {"up_to": None, "unit_minor": 1500}]
    version = PlanVersionFactory(fee_minor=0, fee_tiers=tiers, interval="week", interval_count=2)

    sync_catalog_to_stripe(now=OCTOBER)

    price = price_of(version)
    assert (price["recurring"]["interval"], price["recurring"]["interval_count"]) == ("week", 2)
    assert (price["billing_scheme"], price["tiers_mode"]) == ("tiered", "graduated")
    assert [(tier["up_to"], tier["unit_amount"], tier["flat_amount"]) for tier in price["tiers"]] == [
        (10, 2000, 500),
        (None, 1500, 0),
    ]
    assert at_sandbox.problems() == []


def test_one_version_in_two_currencies_is_two_prices_of_one_product(at_sandbox: SandboxProcess) -> None:
    plan = PlanFactory()
    versions = [version_in(currency, plan=plan) for currency in ("USD", "EUR")]

    assert sync_catalog_to_stripe(now=OCTOBER) == 3

    assert len({price_of(version)["product"] for version in versions}) == 1


def test_names_and_archives_follow_and_a_sync_without_news_asks_nothing(at_sandbox: SandboxProcess) -> None:
    version = PlanVersionFactory()
    sync_catalog_to_stripe(now=OCTOBER)
    retire_plan_version(plan_version_id=version.pk, now=OCTOBER)
    Plan.objects.update(name="Renamed")

    assert sync_catalog_to_stripe(now=OCTOBER) == 2
    at_sandbox.fault(mode="error_500", operation="/v1/", times=99)
    assert sync_catalog_to_stripe(now=OCTOBER) == 0
    at_sandbox.clear_faults()

    product = gateway.retrieve(f"/v1/products/{Plan.objects.get().stripe_product_id}")
    assert (product["name"], product["active"], price_of(version)["active"]) == ("Renamed", False, False)
    Plan.objects.update(name="Named as before")
    Plan.objects.update(name="Renamed")
    assert sync_catalog_to_stripe(now=OCTOBER) == 0


def test_an_update_that_got_lost_is_sent_again_before_the_next(at_sandbox: SandboxProcess) -> None:
    PlanVersionFactory()
    sync_catalog_to_stripe(now=OCTOBER)
    Plan.objects.update(name="Second")
    at_sandbox.fault(mode="error_500", operation="POST /v1/products/", times=9)
    with pytest.raises(StripeUnavailable):
        sync_catalog_to_stripe(now=OCTOBER)
    at_sandbox.clear_faults()
    Plan.objects.update(name="Third")

    assert sync_catalog_to_stripe(now=OCTOBER) == 1

    assert gateway.retrieve(f"/v1/products/{Plan.objects.get().stripe_product_id}")["name"] == "Third"


def test_a_meter_is_there_while_somebody_can_be_priced_by_it(at_sandbox: SandboxProcess) -> None:
    define_token_meters()
    version = PlanVersionFactory(rate_card=RateFactory(meter_code="input_tokens").rate_card)

    def statuses() -> list[tuple[str, str]]:
        sync_catalog_to_stripe(now=OCTOBER)
        return [(meter["event_name"], meter["status"]) for meter in gateway.listed("/v1/billing/meters")]

    assert statuses() == [("input_tokens", "active")]
    retire_plan_version(plan_version_id=version.pk, now=OCTOBER)
    assert statuses() == [("input_tokens", "inactive")]
    PlanVersionFactory(rate_card=version.rate_card)
    assert statuses() == statuses() == [("input_tokens", "active")]
    assert at_sandbox.problems() == []
