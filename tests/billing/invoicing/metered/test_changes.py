"""Plan changes, the end of a subscription, and items at Stripe, where usage goes through meters."""

from datetime import timedelta
from typing import Any

from billing.catalog.models import PlanVersion
from billing.catalog.operations import load_catalog, sync_catalog_to_stripe
from billing.invoicing.metered.models import MeteredPrice, MeteredWithdrawal
from billing.invoicing.models import Invoice
from billing.stripe import gateway
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import change_terms
from billing.subscriptions.previews import preview_change
from tests.billing.invoicing.late import assert_reconciled
from tests.billing.invoicing.metered.world import OCT_10, OCT_20, Metered, at_stripe, charged, units
from tests.billing.invoicing.ordering import carry_out_all
from tests.billing.thread import SECOND_MONTH, catalog

HOUR = timedelta(hours=1)


def bigger_plan(metered: Metered) -> PlanVersion:
    """The same prices for 50 USD a month, and by meters too."""
    document: dict[str, Any] = catalog(fee_minor=5000, included="0", usage_delivery="meter_events")
    document["plans"][0] |= {"code": "max", "name": "Max"}
    load_catalog(document, now=metered.now)
    sync_catalog_to_stripe(now=metered.now)
    return PlanVersion.objects.get(plan__code="max")


def items_at_stripe(metered: Metered) -> list[tuple[str, str]]:
    (known,) = metered.sandbox.state()["subscription"]
    items = gateway.retrieve(f"/v1/subscriptions/{known['id']}")["items"]["data"]
    return sorted((item["price"]["recurring"]["usage_type"], item["price"]["id"]) for item in items)


def metered_items(version: PlanVersion) -> set[tuple[str, str]]:
    return {("metered", price.stripe_price_id) for price in version.metered_prices.all()}


def test_a_change_of_plan_within_a_month(metered: Metered) -> None:
    """
    Until the 10th a million tokens (3.00) by one plan, afterwards by another: two (6.00), and after a change of seats
    three (9.00). The first one's meter goes back to nothing before its item goes, and 3.00 are a line. The preview of
    the change says nothing of usage, and what was invoiced for the change is what it said.
    """
    subscription = metered.subscribe()
    metered.settle()
    version = bigger_plan(metered)
    first = BillingPeriod.objects.get()
    metered.use(1_000_000, at=OCT_10 - HOUR)
    metered.at(OCT_10)
    metered.send()
    assert units(first) == [300]
    preview = preview_change(
        subscription_id=subscription.pk, plan_version=version, seats=1, actor="user:tester", now=OCT_10
    )
    assert {line.stripe_price_id for line in preview.lines.all()} == {
        subscription.plan_version.stripe_price_id,
        version.stripe_price_id,
    }
    change_terms(
        subscription_id=subscription.pk, plan_version=version, seats=1, preview=preview, actor="user:tester",
        idempotency_key="up", now=OCT_10,
    )  # fmt: skip
    assert units(first) == [300, -300]
    assert set(items_at_stripe(metered)) == {("licensed", version.stripe_price_id), *metered_items(version)}
    metered.settle()
    first, second = BillingPeriod.objects.order_by("starts_at")
    assert (first.ends_at, second.plan_version) == (OCT_10, version)
    assert MeteredWithdrawal.objects.get().period == first
    subscription.refresh_from_db()
    assert subscription.held_reason == ""
    metered.use(2_000_000, at=OCT_20 - HOUR)
    metered.at(OCT_20)
    metered.send()
    assert (units(first), units(second)) == ([300, -300], [600])
    # More seats keep the item, which would bill from the 10th on: what came before goes back to nothing, and is a line.
    before = items_at_stripe(metered)
    change_terms(
        subscription_id=subscription.pk, plan_version=version, seats=3, actor="user:tester", idempotency_key="seats",
        now=OCT_20,
    )  # fmt: skip
    metered.settle()
    assert items_at_stripe(metered) == before
    third = BillingPeriod.objects.latest("starts_at")
    metered.use(3_000_000, at=OCT_20 + HOUR)
    metered.at(OCT_20 + 5 * HOUR)
    metered.send()
    assert (units(second), units(third)) == ([600, -600], [900])
    metered.at(SECOND_MONTH)
    metered.settle()

    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    assert (invoice.close.held_reason, invoice.close.error, invoice.status) == ("", "", "paid")
    usage = [(900, True), (300, False), (600, False)]
    assert charged(invoice) == [("input_tokens", minor, by_meter) for minor, by_meter in usage]
    amounts = at_stripe(invoice)
    assert {300, 600, 900, 15000} <= set(amounts)
    assert len(amounts) == 8  # and four prorations
    metered.sandbox.advance(SECOND_MONTH + HOUR)
    metered.settle()
    assert_reconciled(metered)


def test_a_price_without_its_item_goes_as_a_line_and_a_planned_end_onto_the_closing_invoice(metered: Metered) -> None:
    """Somebody removed Ada's item at Stripe, and planned Bob's end: nothing is billed twice, and nothing is lost."""
    ada, bob = metered.subscribe(), metered.subscribe("bob")
    metered.settle()
    period, last = ada.periods.get(), bob.periods.get()
    metered.use(1_000_000, at=OCT_10)
    metered.use(100_000, at=OCT_10, meter="output_tokens")
    metered.use(1_000_000, at=OCT_10, customer_key="bob")
    metered.at(OCT_10)
    metered.send()
    price = MeteredPrice.objects.get(rate__meter_code="input_tokens")
    path = f"/v1/subscriptions/{ada.stripe_subscription_id}"
    fetched = gateway.retrieve(path)
    (item,) = [one["id"] for one in fetched["items"]["data"] if one["price"]["id"] == price.stripe_price_id]
    gateway.request("post", path, {"items": [{"id": item, "deleted": True}], "proration_behavior": "none"})
    gateway.request("post", f"/v1/subscriptions/{bob.stripe_subscription_id}", {"cancel_at_period_end": True})
    metered.settle()
    metered.at(OCT_20)
    metered.send()
    assert (units(last), metered.summary(last)) == ([300, -300], 0)
    metered.at(SECOND_MONTH)
    metered.settle()
    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    assert charged(invoice) == [("input_tokens", 300, False), ("output_tokens", 150, True)]
    assert (at_stripe(invoice), units(period)) == ([150, 300, 2000], [300, -300])
    carry_out_all(metered)
    closing = Invoice.objects.get(subscription=bob, billing_reason="manual")
    assert (charged(closing), at_stripe(closing)) == ([("input_tokens", 300, False)], [300])
    assert closing.status == "paid"
