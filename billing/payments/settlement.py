"""What of an invoice was paid outside Stripe. Needs a transaction, and the customer's lock."""

from datetime import datetime
from typing import Any

from billing.accounting.payments import post_paid_out_of_band
from billing.invoicing.models import Invoice
from billing.invoicing.rounding import from_minor
from billing.payments.operations import instant
from billing.stripe.readers import PAID_OFF_STRIPE

StripeDict = dict[str, Any]


def settle_paid_elsewhere(invoice: Invoice, fetched: StripeDict, *, now: datetime) -> None:
    """
    Hold at the bank what somebody marked at Stripe as paid elsewhere.

    The row keeps what the ledger holds of it; the difference is entered, so saying it again changes nothing. An answer
    that was not asked for it does not say it. Raises LedgerError.
    """
    paid_minor = fetched.get(PAID_OFF_STRIPE)
    if paid_minor is None or paid_minor == invoice.paid_off_stripe_minor:
        return
    change = paid_minor - invoice.paid_off_stripe_minor
    paid_at = fetched["status_transitions"].get("paid_at")
    post_paid_out_of_band(
        invoice_id=invoice.stripe_invoice_id,
        customer_key=invoice.customer.customer_key,
        amount=from_minor(change, invoice.currency),
        paid_so_far=from_minor(paid_minor, invoice.currency),
        currency=invoice.currency,
        occurred_at=instant(paid_at) if paid_at else now,
        recorded_at=now,
    )
    invoice.paid_off_stripe_minor = paid_minor
    invoice.save(update_fields=["paid_off_stripe_minor"])
