"""Drafts of invoices with their lines, as a close writes them, without Stripe."""

from datetime import datetime
from itertools import count

from billing.invoicing.drafting import write_lines
from billing.invoicing.models import Invoice
from billing.subscriptions.models import BillingPeriod

_numbers = count(1_000)


def draft_of(period: BillingPeriod, *, at: datetime, number: int | None = None) -> Invoice:
    """The period accrued to the end, closed, and on a draft made `at`."""
    invoice = Invoice.objects.create(
        stripe_invoice_id=f"in_draft_{number or next(_numbers)}",
        customer=period.subscription.customer,
        subscription=period.subscription,
        billing_reason="subscription_cycle",
        status="draft",
        currency="USD",
        total_minor=0,
        amount_due_minor=0,
        amount_paid_minor=0,
        amount_remaining_minor=0,
        starting_balance_minor=0,
        created_at=at,
        projected_at=at,
    )
    write_lines(invoice=invoice, period=period, now=at)
    return invoice
