"""
Which entries may be reversed by hand, and what to do about the others. Pure.

Most facts have an operation of their own that undoes them; a reversal by hand would leave that fact standing where it
came from, and the two would part. A kind that nobody has decided on is refused.
"""

from collections.abc import Mapping

from billing.accounting.chart import Entry
from promotions.accounting import Entry as GrantEntry

REVERSIBLE_BY_HAND: frozenset[str] = frozenset({Entry.MANUAL_ADJUSTMENT})

_AT_STRIPE = "It is a movement on our balance at Stripe, and stands as long as it does there."
_BY_ITSELF = "that is entered by itself."
# Kind of entry -> what undoes such a fact.
UNDONE_BY: Mapping[str, str] = {
    Entry.USAGE_ACCRUED: "Correct the usage events; the next accrual enters the difference.",
    Entry.USAGE_ABSORBED: "It was given up for good. To charge it after all, put it onto an invoice as a one-off.",
    Entry.INVOICE_FINALIZED: "Void the invoice in Stripe, or make a credit note there.",
    Entry.CREDIT_NOTE_ISSUED: "Void the credit note in Stripe while its invoice is open; later, charge it anew.",
    Entry.CUSTOMER_BALANCE: "Add a customer balance transaction in Stripe that takes it back.",
    Entry.PAYMENT_SUCCEEDED: "Refund the payment in Stripe.",
    Entry.PAYMENT_APPLIED: "Refund the payment in Stripe.",
    Entry.PAID_OUT_OF_BAND: "Stripe keeps an invoice that was marked paid. Make a credit note, and a new invoice.",
    Entry.WRITTEN_OFF: f"Have the invoice paid in Stripe, or void it there: {_BY_ITSELF}",
    Entry.RECOVERED: "It follows from the invoice in Stripe. If it is lost again, mark it uncollectible there.",
    Entry.REFUND_PROMISED: "It follows from the refunds of its charge. Cancel the refund in Stripe while it waits.",
    Entry.REFUND_SENT: f"Cancel the refund in Stripe while it is pending. If it comes back, {_BY_ITSELF}",
    Entry.DISPUTE_LOST: f"It is what the bank decided. If Stripe reinstates the funds, {_BY_ITSELF}",
    Entry.PAYOUT_ARRIVED: f"If the bank sends the payout back, {_BY_ITSELF}",
    Entry.STRIPE_CHARGE: f"{_AT_STRIPE} Refund the charge in Stripe.",
    Entry.STRIPE_FEE: f"{_AT_STRIPE} If Stripe gives the fee back, {_BY_ITSELF}",
    Entry.STRIPE_REFUND: f"{_AT_STRIPE} Charge the customer again in Stripe.",
    Entry.STRIPE_DISPUTE: f"{_AT_STRIPE} Answer the dispute in Stripe.",
    Entry.STRIPE_PAYOUT: f"{_AT_STRIPE} Cancel the payout in Stripe while it is pending.",
    Entry.STRIPE_TOPUP: f"{_AT_STRIPE} Cancel the top-up in Stripe while it is pending.",
    Entry.STRIPE_RESERVE: f"{_AT_STRIPE} What Stripe releases {_BY_ITSELF.replace('that is', 'is')}",
    Entry.STRIPE_CONVERTED: _AT_STRIPE,
    Entry.STRIPE_UNKNOWN: f"{_AT_STRIPE} Clear it out of suspense with an adjustment.",
    Entry.OPENING: f"It is what Stripe said at the cut of the takeover. What changes there afterwards, {_BY_ITSELF}",
    GrantEntry.GRANT_ISSUED: "Void the grant on its page.",
    GrantEntry.GRANT_ENDED: "Issue the customer a new grant.",
    GrantEntry.PAID_GRANT_ISSUED: "Refund what was paid for it in Stripe.",
    GrantEntry.PAID_GRANT_EXPIRED: "Issue the customer a goodwill grant, and adjust: expired credit given again.",
}
UNDECIDED = "Nobody has decided how an entry of this kind is undone. Ask engineering."


def remedy_for(kind: str) -> str | None:
    """What undoes an entry of this kind; None if a reversal by hand does."""
    return None if kind in REVERSIBLE_BY_HAND else UNDONE_BY.get(kind, UNDECIDED)
