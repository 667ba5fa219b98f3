"""What a Stripe account holds: reads only, page by page, as bulk work."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from billing.stripe import gateway
from billing.stripe.readers import id_of
from billing.subscriptions.history import next_reading
from billing.takeover.cut import is_second_before

StripeDict = dict[str, Any]
# Told after each object: what is read or brought in, how many are done, and of how many where that is known.
Progress = Callable[[str, int, int | None], None]
CANCELED = "canceled"
ENDED = (CANCELED, "incomplete_expired")
_MOVEMENTS = ("data.balance_transaction", "data.failure_balance_transaction")


@dataclass(slots=True)
class Found:
    """
    The account as it was read. `reading` is the number of this look, for what it says of subscriptions.

    `paid_by` is the invoice of a payment intent, `refunds` and `disputes` are by payment intent too.
    """

    reading: int
    customers: list[StripeDict] = field(default_factory=list)
    subscriptions: list[StripeDict] = field(default_factory=list)
    invoices: list[StripeDict] = field(default_factory=list)
    payments: list[StripeDict] = field(default_factory=list)
    payouts: list[StripeDict] = field(default_factory=list)
    paid_by: dict[str, str] = field(default_factory=dict)
    refunds: dict[str, list[StripeDict]] = field(default_factory=dict)
    disputes: dict[str, list[StripeDict]] = field(default_factory=dict)

    def deleted_customers(self, as_of: datetime) -> list[str]:
        """Who has things of before the cut and is not in Stripe's list: it leaves out customers that were deleted."""
        known = {one["id"] for one in self.customers}
        things = (one for one in (*self.invoices, *self.payments) if is_second_before(one["created"], as_of))
        return sorted({id_of(one.get("customer")) for one in things} - known - {""})

    def numbers(self, as_of: datetime) -> dict[str, int]:
        """How many of each kind are to be brought in: customers and subscriptions, and what was made by the cut."""
        payments = [one["id"] for one in self.payments if is_second_before(one["created"], as_of)]
        return {
            "customer": len(self.customers) + len(self.deleted_customers(as_of)),
            "subscription": len(self.subscriptions),
            "invoice": sum(is_second_before(one["created"], as_of) for one in self.invoices),
            "payment": len(payments),
            "dispute": sum(len(self.disputes.get(payment, ())) for payment in payments),
            "payout": sum(is_second_before(one["created"], as_of) for one in self.payouts),
        }


def silent(what: str, done: int, total: int | None) -> None:
    """Tell nobody how far it is."""


def look(*, as_of: datetime, progress: Progress = silent) -> Found:
    """
    Read the account, oldest first. Subscriptions that had ended by the cut are history without a trace here; their
    invoices are read. Raises StripeUnavailable and StripeRefused.
    """
    found = Found(reading=next_reading())
    with gateway.bulk_work():
        found.customers = _read("customers", gateway.listed("/v1/customers"), progress)
        subscriptions = _read("subscriptions", gateway.listed("/v1/subscriptions", status="all"), progress)
        found.subscriptions = [one for one in subscriptions if _ran_after(one, as_of)]
        found.invoices = _read("invoices", gateway.listed("/v1/invoices"), progress)
        intents = gateway.listed("/v1/payment_intents", expand=["data.latest_charge.balance_transaction"])
        found.payments = _read("payments", intents, progress)
        for paid in _read("payments of invoices", gateway.listed("/v1/invoice_payments"), progress):
            found.paid_by[id_of((paid.get("payment") or {}).get("payment_intent"))] = id_of(paid["invoice"])
        refunds = gateway.listed("/v1/refunds", expand=list(_MOVEMENTS))
        found.refunds = _by_payment(_read("refunds", refunds, progress))
        found.disputes = _by_payment(_read("disputes", gateway.listed("/v1/disputes"), progress))
        found.payouts = _read("payouts", gateway.listed("/v1/payouts", expand=list(_MOVEMENTS)), progress)
    return found


def _ran_after(subscription: StripeDict, as_of: datetime) -> bool:
    """Whether it runs, or ended only after the cut: what was used until then is to be billed still."""
    if subscription["status"] in ENDED:
        return subscription["status"] == CANCELED and not is_second_before(subscription["ended_at"], as_of)
    return True


def _read(what: str, listed: Iterator[StripeDict], progress: Progress) -> list[StripeDict]:
    """A list of Stripe's, which begins with the newest, the other way round."""
    read: list[StripeDict] = []
    for one in listed:
        read.append(one)
        progress(f"reading {what}", len(read), None)
    return read[::-1]


def _by_payment(parts: Iterable[StripeDict]) -> dict[str, list[StripeDict]]:
    found: dict[str, list[StripeDict]] = {}
    for one in parts:
        found.setdefault(id_of(one.get("payment_intent")), []).append(one)
    return found
