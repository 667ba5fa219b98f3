"""
How old what customers owe is. Pure: `billing.accounting.queries` reads the ledger and the invoices.

Days past due are calendar days of UTC: an invoice due on the 1st is one day past due on the 2nd, whatever the hour.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum


class Age(StrEnum):
    """How long ago an amount was due, in days."""

    CURRENT = "current"
    TO_30 = "1–30"
    TO_60 = "31–60"
    TO_90 = "61–90"
    OVER_90 = "over 90"
    # The movement names no invoice, or one without a date here: its age cannot be known, and it is owed all the same.
    UNALLOCATED = "unallocated"


_LAST_DAYS = ((0, Age.CURRENT), (30, Age.TO_30), (60, Age.TO_60), (90, Age.TO_90))


@dataclass(frozen=True, slots=True)
class DueInvoice:
    """When an invoice is due, and where its page is; `due_at` is None for a draft."""

    invoice_id: int
    number: str
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpenItem:
    """
    What is open of one invoice, in currency units: above zero the customer owes it, below zero it was paid too much.

    `stripe_invoice_id` is "" for what names no invoice; `invoice` is None as well where we hold no such invoice.
    """

    customer_key: str
    currency: str
    stripe_invoice_id: str
    amount: Decimal
    invoice: DueInvoice | None
    days_past_due: int | None
    age: Age

    @property
    def due_at(self) -> datetime | None:
        return self.invoice.due_at if self.invoice else None


@dataclass(frozen=True, slots=True)
class AgedSum:
    """Amounts by age and their total, in one currency; `customer_key` is "" for all customers."""

    customer_key: str
    currency: str
    by_age: Mapping[Age, Decimal]

    @property
    def total(self) -> Decimal:
        return sum(self.by_age.values(), Decimal(0))

    @property
    def past_due(self) -> Decimal:
        return self.total - self.by_age[Age.CURRENT] - self.by_age[Age.UNALLOCATED]


@dataclass(frozen=True, slots=True)
class Ageing:
    """Every open item, as believed at `known_at` of what had taken effect up to `effective_at`, both included."""

    effective_at: datetime
    known_at: datetime
    items: tuple[OpenItem, ...]

    def by_currency(self) -> list[AgedSum]:
        return list(_sums(("", item.currency, item) for item in self.items))

    def by_customer(self) -> list[AgedSum]:
        """The largest sum first."""
        found = _sums((item.customer_key, item.currency, item) for item in self.items)
        return sorted(found, key=lambda aged: (-abs(aged.total), aged.customer_key, aged.currency))


def open_item(
    *,
    customer_key: str,
    currency: str,
    stripe_invoice_id: str,
    amount: Decimal,
    invoice: DueInvoice | None,
    effective_at: datetime,
) -> OpenItem:
    """One amount and its age at an instant."""
    due_at = invoice.due_at if invoice else None
    days = None if due_at is None else (effective_at.astimezone(UTC).date() - due_at.astimezone(UTC).date()).days
    return OpenItem(customer_key, currency, stripe_invoice_id, amount, invoice, days, age_of(days))


def age_of(days_past_due: int | None) -> Age:
    if days_past_due is None:
        return Age.UNALLOCATED
    return next((age for last, age in _LAST_DAYS if days_past_due <= last), Age.OVER_90)


def _sums(items: Iterable[tuple[str, str, OpenItem]]) -> Iterator[AgedSum]:
    found: dict[tuple[str, str], dict[Age, Decimal]] = {}
    for customer_key, currency, item in items:
        by_age = found.setdefault((customer_key, currency), dict.fromkeys(Age, Decimal(0)))
        by_age[item.age] += item.amount
    return (AgedSum(*whose, by_age) for whose, by_age in sorted(found.items()))
