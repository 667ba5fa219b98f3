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
ENDED = ("canceled", "incomplete_expired")
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

    def numbers(self, as_of: datetime) -> dict[str, int]:
        """How many of each kind are to be brought in: customers and subscriptions, and what was made by the cut."""
        payments = [one["id"] for one in self.payments if is_second_before(one["created"], as_of)]
        return {
            "customer": len(self.customers),
            "subscription": len(self.subscriptions),
            "invoice": sum(is_second_before(one["created"], as_of) for one in self.invoices),
            "payment": len(payments),
            "dispute": sum(len(self.disputes.get(payment, ())) for payment in payments),
            "payout": sum(is_second_before(one["created"], as_of) for one in self.payouts),
        }


def silent(what: str, done: int, total: int | None) -> None:
    """Tell nobody how far it is."""


def look(*, progress: Progress = silent) -> Found:
    """
    Read the account, oldest first. Subscriptions that have ended are history without a trace here; their invoices are
    read. Raises StripeUnavailable and StripeRefused.
    """
    found = Found(reading=next_reading())
    with gateway.bulk_work():
        found.customers = _read("customers", gateway.listed("/v1/customers"), progress)
        live = _read("subscriptions", gateway.listed("/v1/subscriptions"), progress)
        found.subscriptions = [one for one in live if one["status"] not in ENDED]
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
