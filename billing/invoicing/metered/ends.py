"""
The end of a subscription whose usage was on Stripe's meters: Stripe bills what they count on a last invoice of its own,
where the end was planned too late for them to be brought to nothing before. What it billed, ours does not ask for.
"""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from billing.invoicing.metered.closing import fees_among, metered_prices_of
from billing.invoicing.metered.models import MeteredEvent
from billing.invoicing.metered.sending import MeterStuck, bring_to_targets, periods_until
from billing.invoicing.metered.summaries import read_summaries
from billing.invoicing.metered.targets import standings
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.orders.models import InvoiceOrder
from billing.stripe import gateway, outbox, readers
from billing.stripe.errors import StripeRefused
from billing.stripe.seconds import second_of
from billing.subscriptions.models import BillingPeriod

StripeDict = dict[str, Any]
DRAFT = Invoice.Status.DRAFT
# Nothing of ours goes on before somebody did this; by these words the overview finds the orders that wait for it.
BESIDE_FEES = "bills usage beside fees: finalise it at Stripe, or delete it there"
FOR_A_PERSON = f"Stripe's draft {{invoice}} {BESIDE_FEES}"


def unsettled(last: BillingPeriod, *, now: datetime) -> str:
    """
    Why the closing invoice of a subscription's last period has to wait for Stripe's own; "" where it has not.

    A draft of Stripe's is kept until the meters stand at nothing, and finalised then. One that is final has to be in
    our books: what it asks for is not asked for again. Not inside a transaction. Raises StripeUnavailable.
    """
    subscription = last.subscription
    sent = MeteredEvent.objects.filter(period__subscription_id=subscription.pk)
    if subscription.stripe_subscription_id is None or not sent.exists():
        return ""
    made = gateway.listed(
        "/v1/invoices",
        subscription=subscription.stripe_subscription_id,
        created={"gte": second_of(last.starts_at)},
    )
    for invoice in made:
        lines = readers.all_lines(invoice)
        known = Invoice.objects.filter(stripe_invoice_id=invoice["id"]).first()
        if not metered_prices_of(lines) or InvoiceClose.objects.filter(invoice=known).exists():
            continue
        if known is not None and known.finalized_at is not None:
            continue
        if known is None or invoice["status"] != DRAFT:
            return f"Stripe's own invoice {invoice['id']} with usage is not in our books yet"
        if fees_among(lines):
            return FOR_A_PERSON.format(invoice=invoice["id"])
        return _settle(invoice, last, now=now)
    return ""


def waiting_for_a_person() -> QuerySet[InvoiceOrder]:
    """Closing invoices that wait until somebody finalised, or deleted, a draft of Stripe's with fees and usage."""
    under_way = InvoiceOrder.objects.filter(kind=InvoiceOrder.Kind.CLOSING, state=InvoiceOrder.State.INTENDED)
    return under_way.filter(error__contains=BESIDE_FEES).select_related("customer").order_by("ordered_at", "pk")


def _settle(draft: StripeDict, last: BillingPeriod, *, now: datetime) -> str:
    """Bring the meters to nothing, and have the draft finalised once Stripe says so: it bills what they say then."""
    if draft["auto_advance"]:
        outbox.perform(
            purpose=f"invoice:{draft['id']}:take_over",
            operation="invoices.update",
            target=draft["id"],
            params={"auto_advance": False},
            now=now,
        )
    ids = periods_until(last)
    try:
        bring_to_targets(ids, now=now)
    except MeterStuck as stuck:
        return f"usage on Stripe's meters cannot be taken back: {stuck}"
    rows = BillingPeriod.objects.select_related("subscription__customer", "plan_version")
    behind = [row for row in read_summaries(standings(list(rows.filter(pk__in=ids))), now=now) if not row.agrees]
    if behind:
        return f"Stripe's meter {behind[0].price} counts {behind[0].stripe_units} of {behind[0].our_units} increments"
    try:
        outbox.perform(
            purpose=f"invoice:{draft['id']}:finalize_last",
            operation="invoices.finalize",
            target=draft["id"],
            params={"auto_advance": True},
            now=now,
        )
    except StripeRefused as refused:
        if gateway.retrieve(f"/v1/invoices/{draft['id']}")["status"] == DRAFT:
            return f"Stripe's own invoice {draft['id']} cannot be finalised: {refused}"
    return f"Stripe's own invoice {draft['id']} is being finalised"
