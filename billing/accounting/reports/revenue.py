"""
What was earned, given away and spent, month by month, as finance reads it. Pure.

Net revenue is the price of all that was used and sold, less what was included, given, credited or absorbed. Below it
stand the costs of being paid. Conversions between currencies are not here: they leave each currency in `fx`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the page: the kind of account it is, and whether that account takes away from the result."""

    kind: str
    name: str
    is_deducted: bool = False


SALES = (
    Item("revenue:usage", "Usage, at its price"),
    Item("revenue:subscription", "Subscription fees"),
    Item("revenue:other", "One-off charges"),
)
DEDUCTIONS = (
    Item("contra:included", "Usage included in plans", is_deducted=True),
    Item("contra:promotions", "Promotions and goodwill", is_deducted=True),
    Item("contra:refunds", "Refunds and credit notes", is_deducted=True),
    Item("contra:adjustments", "Adjustments and absorbed usage", is_deducted=True),
    Item("breakage", "Prepaid credit expired unused"),
    Item("rounding", "Rounding of invoice lines"),
)
COSTS = (
    Item("fees:stripe", "Stripe's fees", is_deducted=True),
    Item("bad_debt", "Bad debt", is_deducted=True),
)
KINDS = tuple(item.kind for item in (*SALES, *DEDUCTIONS, *COSTS))


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the page: one amount for each month, and their sum; what takes away is below zero."""

    name: str
    kind: str
    amounts: tuple[Decimal, ...]

    @property
    def total(self) -> Decimal:
        return sum(self.amounts, ZERO)

    @property
    def is_sum(self) -> bool:
        return not self.kind


@dataclass(frozen=True, slots=True)
class CurrencyIncome:
    """The page of one currency. Sums have no kind."""

    currency: str
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)


GROSS, NET, RESULT = "Sales", "Net revenue", "After costs of payment"


@dataclass(frozen=True, slots=True)
class Income:
    """By currency, for months that end with the one of `effective_at`; that month is cut there."""

    effective_at: datetime
    known_at: datetime
    months: tuple[date, ...]
    currencies: tuple[CurrencyIncome, ...]


def income_of(
    currency: str, *, months: tuple[date, ...], amounts: Mapping[tuple[str, date], Decimal]
) -> CurrencyIncome:
    """
    The page of one currency; `amounts` by kind of account and month, in the account's normal direction.

    Kinds without a movement stay: an accountant looks for the line, and reads the zero.
    """
    sales = _rows(SALES, months, amounts)
    gross = _sum(GROSS, sales, months)
    deductions = _rows(DEDUCTIONS, months, amounts)
    net = _sum(NET, [gross, *deductions], months)
    costs = _rows(COSTS, months, amounts)
    result = _sum(RESULT, [net, *costs], months)
    return CurrencyIncome(currency, (*sales, gross, *deductions, net, *costs, result))


def months_until(last: date, *, count: int) -> tuple[date, ...]:
    """The first days of `count` months, of which the month of `last` is the latest."""
    number = last.year * 12 + last.month - 1
    return tuple(date((number - back) // 12, (number - back) % 12 + 1, 1) for back in range(count - 1, -1, -1))


def _rows(items: Iterable[Item], months: tuple[date, ...], amounts: Mapping[tuple[str, date], Decimal]) -> list[Row]:
    return [
        Row(
            item.name,
            item.kind,
            tuple(
                -amounts.get((item.kind, month), ZERO) if item.is_deducted else amounts.get((item.kind, month), ZERO)
                for month in months
            ),
        )
        for item in items
    ]


def _sum(name: str, rows: Iterable[Row], months: tuple[date, ...]) -> Row:
    added = list(rows)
    return Row(name, "", tuple(sum((row.amounts[n] for row in added), ZERO) for n in range(len(months))))
