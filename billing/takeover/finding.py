"""What a Stripe account holds: reads only, page by page into a file, as bulk work."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from billing.stripe import gateway
from billing.stripe.readers import CHARGE_MOVEMENTS, payment_of_charge
from billing.stripe.seconds import second_of
from billing.subscriptions.history import next_reading
from billing.takeover.cut import is_second_before
from billing.takeover.shelf import Shelf

StripeDict = dict[str, Any]
# Told after each object: what is read or brought in, how many are done, and of how many where that is known.
Progress = Callable[[str, int, int | None], None]
# What is kept of an account, as TakenOver.Kind names it; and what refunds there are.
CUSTOMER, SUBSCRIPTION, INVOICE, PAYMENT, DISPUTE, PAYOUT = (
    "customer", "subscription", "invoice", "payment", "dispute", "payout",
)  # fmt: skip
REFUND = "refund"
CANCELED = "canceled"
ENDED = (CANCELED, "incomplete_expired")
CHARGES = ("ch_", "py_")
_MOVEMENTS = ("data.balance_transaction", "data.failure_balance_transaction")


@dataclass(slots=True)
class Found:
    """
    The account as it was read. `reading` is the number of this look, for what it says of subscriptions.

    Refunds and disputes are told by their payment intent, or by their charge where it has none; that charge is among
    the payments then.
    """

    reading: int
    shelf: Shelf = field(default_factory=Shelf)

    def deleted_customers(self, as_of: datetime) -> list[str]:
        """Who has things of before the cut and is not in Stripe's list: it leaves out customers that were deleted."""
        return self.shelf.strangers(until=second_of(as_of))

    def numbers(self, as_of: datetime) -> dict[str, int]:
        """How many of each kind are to be brought in: customers and subscriptions, and what was made by the cut."""
        until = second_of(as_of)
        return {
            CUSTOMER: self.shelf.number(CUSTOMER) + len(self.deleted_customers(as_of)),
            SUBSCRIPTION: self.shelf.number(SUBSCRIPTION),
            INVOICE: self.shelf.number(INVOICE, until=until),
            PAYMENT: self.shelf.number(PAYMENT, until=until),
            DISPUTE: self.shelf.number_of_parts(DISPUTE, until=until),
            PAYOUT: self.shelf.number(PAYOUT, until=until),
        }


def silent(what: str, done: int, total: int | None) -> None:
    """Tell nobody how far it is."""


def look(*, as_of: datetime, progress: Progress = silent) -> Found:
    """
    Read the account. Subscriptions that had ended by the cut are history without a trace here; their
    invoices are read. Raises StripeUnavailable and StripeRefused.
    """
    found = Found(reading=next_reading())
    shelf = found.shelf
    with gateway.bulk_work():
        shelf.put(CUSTOMER, _told("customers", gateway.listed("/v1/customers"), progress))
        subscriptions = _told("subscriptions", gateway.listed("/v1/subscriptions", status="all"), progress)
        shelf.put(SUBSCRIPTION, (one for one in subscriptions if _ran_after(one, as_of)))
        shelf.put(INVOICE, _told("invoices", gateway.listed("/v1/invoices"), progress))
        expanded = [f"data.latest_charge.{name}" for name in CHARGE_MOVEMENTS]
        intents = gateway.listed("/v1/payment_intents", expand=expanded)
        shelf.put(PAYMENT, _told("payments", intents, progress))
        shelf.put_paid(_told("payments of invoices", gateway.listed("/v1/invoice_payments"), progress))
        shelf.put(REFUND, _told("refunds", gateway.listed("/v1/refunds", expand=list(_MOVEMENTS)), progress))
        shelf.put(DISPUTE, _told("disputes", gateway.listed("/v1/disputes"), progress))
        shelf.put(PAYOUT, _told("payouts", gateway.listed("/v1/payouts", expand=list(_MOVEMENTS)), progress))
        # Charges that the old API made without an intent: those of which anything was given back or contested, and
        # those that were to pay an invoice still.
        parts = {*shelf.payments_with(REFUND), *shelf.payments_with(DISPUTE), *shelf.paying_after(second_of(as_of))}
        old_charges = map(payment_of_charge, sorted(one for one in parts if one.startswith(CHARGES)))
        shelf.put(PAYMENT, _told("old charges", old_charges, progress))
    return found


def _ran_after(subscription: StripeDict, as_of: datetime) -> bool:
    """Whether it runs, or ended only after the cut: what was used until then is to be billed still."""
    if subscription["status"] in ENDED:
        return subscription["status"] == CANCELED and not is_second_before(subscription["ended_at"], as_of)
    return True


def _told(what: str, listed: Iterable[StripeDict], progress: Progress) -> Iterator[StripeDict]:
    for number, one in enumerate(listed, start=1):
        yield one
        progress(f"reading {what}", number, None)
