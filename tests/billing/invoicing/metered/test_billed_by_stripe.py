"""Usage that Stripe bills on an invoice of its own, of which nobody told us in time: charged once, and in the books."""

from datetime import timedelta

from billing.invoicing.models import Invoice, InvoiceClose
from billing.stripe import gateway
from ledger import queries as ledger_queries
from tests.billing.invoicing.late import assert_reconciled
from tests.billing.invoicing.metered.world import OCT_10, Metered, at_stripe, charged
from tests.billing.invoicing.ordering import carry_out_all, people
from tests.billing.thread import SECOND_MONTH

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def begun(metered: Metered) -> str:
    """A million tokens on the 10th, 3.00, on the meter; returns the path of Stripe's subscription."""
    subscription = metered.subscribe()
    metered.settle()
    metered.use(1_000_000, at=OCT_10)
    metered.at(OCT_10)
    metered.send()
    return f"/v1/subscriptions/{subscription.stripe_subscription_id}"


def usage_charged() -> int:
    """What customers are asked for beyond the first fee, in minor units, by Stripe's own invoices."""
    invoices = gateway.listed("/v1/invoices")
    return sum(one["total"] for one in invoices if one["billing_reason"] != "subscription_create")


def test_an_end_planned_in_the_last_minutes_whose_invoice_waits_for_our_close(metered: Metered) -> None:
    """
    Stripe's last invoice has the usage, and would become final after an hour, while our closing invoice waits for
    events. It is kept until the meter stands at nothing, and our invoice has the usage.
    """
    path = begun(metered)
    metered.at(SECOND_MONTH - 10 * MINUTE)
    gateway.request("post", path, {"cancel_at_period_end": True})
    metered.at(SECOND_MONTH)
    metered.settle(is_closing=False)
    metered.sandbox.advance(SECOND_MONTH + 3 * HOUR)
    metered.settle()
    for _ in range(3):  # the meters, Stripe's own invoice, ours
        carry_out_all(metered)
    assert metered.unfinished() == []
    assert usage_charged() == 300
    last = Invoice.objects.get(billing_reason="manual")
    assert (charged(last), at_stripe(last), last.status) == ([("input_tokens", 300, False)], [300], "paid")
    assert ledger_queries.out_of_balance() == []
    assert_reconciled(metered)


def test_what_stripe_finalised_without_us_leaves_the_rest_to_our_invoices(metered: Metered) -> None:
    """
    Somebody cancels Bob in Stripe's dashboard and bills the usage so far (3.00); then nobody of us is there for the two
    hours in which Ada's month becomes final with what its meter says (3.00). Both used 1.50 that no meter knows.
    """
    people()
    bob = metered.subscribe("bob")
    metered.use(1_000_000, at=OCT_10, customer_key="bob")
    begun(metered)
    for customer_key in ("ada", "bob"):
        metered.use(500_000, at=OCT_10 + HOUR, customer_key=customer_key)
    metered.at(OCT_10 + 2 * HOUR)
    gateway.request("delete", f"/v1/subscriptions/{bob.stripe_subscription_id}", {"invoice_now": True})
    metered.settle()
    carry_out_all(metered)
    assert metered.unfinished() == []
    assert usage_charged() == 450
    theirs = Invoice.objects.get(billing_reason="subscription_update")
    ours = Invoice.objects.get(billing_reason="manual")
    assert (charged(theirs), charged(ours)) == ([("input_tokens", 300, True)], [("input_tokens", 150, False)])
    assert (theirs.status, ours.status) == ("paid", "paid")

    metered.at(SECOND_MONTH + 2 * HOUR)
    metered.settle()
    first = Invoice.objects.get(billing_reason="subscription_cycle")
    assert (charged(first), first.status) == ([("input_tokens", 300, True)], "paid")
    held = InvoiceClose.objects.get(invoice=first)
    assert held.held_reason.startswith("Stripe finalised this invoice")
    metered.at(SECOND_MONTH + timedelta(days=30))
    metered.settle()
    second = Invoice.objects.filter(billing_reason="subscription_cycle").latest("pk")
    assert (second.close.held_reason, second.close.error, second.status) == ("", "", "paid")
    assert charged(second) == [("input_tokens", 150, False)]
    assert usage_charged() == 450 + 2 * 2000 + 450
    assert ledger_queries.out_of_balance() == []
    assert_reconciled(metered)
