"""
What a simulation shows of two sides: price by price, day by day, and the causes that the difference is made of. Pure.

Amounts are in currency units, exact, and every list adds up to the figures of its side.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from billing.catalog.models import Rate
from billing.rating.rating import EXACT, ZERO
from billing.rating.target import Allocated, PeriodTerms, PeriodUsage, rate_instant
from billing.rollouts.comparing.comparison import Figures

# More kinds of usage than these are told by what their prices name alone.
KINDS_MAX = 60
_Dimensions = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What is priced together: usage of one meter and values of its dimensions, or a charge that has no meter."""

    meter_code: str
    dimensions: _Dimensions = ()
    charge: str = ""

    @property
    def name(self) -> str:
        values = " ".join(value for _, value in self.dimensions if value is not None)
        return self.charge or f"{values} {self.meter_code}".strip()


@dataclass(slots=True)
class Priced:
    """What one side asks for some usage before allowances and grants, and the ids of the rates that say so."""

    quantity: Decimal = ZERO
    rated: Decimal = ZERO
    rate_ids: dict[int, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PriceRow:
    """Some usage and its price on both sides; a side that has no such price asks nothing."""

    usage: Usage
    left: Priced
    right: Priced

    @property
    def quantity(self) -> Decimal:
        return self.left.quantity or self.right.quantity

    @property
    def change(self) -> Decimal:
        return EXACT.subtract(self.right.rated, self.left.rated)


@dataclass(frozen=True, slots=True)
class Cause:
    """A part of the difference: what it is, the two amounts, and what it adds to what the customer is asked for."""

    name: str
    left: Decimal
    right: Decimal
    effect: Decimal


def prices(left: Sequence[Allocated], right: Sequence[Allocated], rates: Mapping[int, Rate]) -> list[PriceRow]:
    """Return what each kind of usage is priced at on both sides, the dearest first. `rates` are all that priced it."""
    kinds = {(one.meter_code, tuple(sorted(one.dimensions.items()))) for one in (*left, *right)}
    kept = None if len(kinds) <= KINDS_MAX else _priced_by(rates.values())
    rows: dict[Usage, PriceRow] = {}
    for is_left, side in ((True, left), (False, right)):
        for one in side:
            usage = _usage(one, rates[one.rate_id], kept)
            row = rows.get(usage)
            if row is None:
                row = rows[usage] = PriceRow(usage, Priced(), Priced())
            priced = row.left if is_left else row.right
            priced.quantity = EXACT.add(priced.quantity, one.quantity)
            priced.rated = EXACT.add(priced.rated, one.amount)
            priced.rate_ids[one.rate_id] = None
    return sorted(rows.values(), key=lambda row: (-max(row.left.rated, row.right.rated), row.usage.name))


def without_price(usage: PeriodUsage, terms: PeriodTerms) -> list[tuple[Usage, Decimal]]:
    """Return the usage that the terms have no price for, and how much of it there is, the most first."""
    found: dict[Usage, Decimal] = {}
    for window in usage.windows:
        at = rate_instant(window.window_start, terms.starts_at)
        rate = terms.rates.lookup(window.meter_code, window.dimensions, at)
        if window.quantity and (rate is None or terms.rates.charge_of(rate).cell(window.dimensions) is None):
            kind = Usage(window.meter_code, tuple(sorted(window.dimensions.items())))
            found[kind] = EXACT.add(found.get(kind, ZERO), window.quantity)
    return sorted(found.items(), key=lambda item: (-item[1], item[0].name))


def cumulative(fee: Decimal, allocated: Iterable[Allocated], days: Sequence[date]) -> list[Decimal]:
    """Return what is asked for by the end of each day: the fee from the first day on, and the usage nobody covers."""
    by_day: dict[date, Decimal] = {}
    for one in allocated:
        for source in one.sources:
            if source.kind == "unbilled":
                day = one.at.date()
                by_day[day] = EXACT.add(by_day.get(day, ZERO), source.amount)
    sums, so_far = [], fee
    for day in days:
        so_far = EXACT.add(so_far, by_day.get(day, ZERO))
        sums.append(so_far)
    return sums


def causes(left: Figures, right: Figures, rows: Iterable[PriceRow]) -> list[Cause]:
    """
    Return what makes the right side ask for more or less; the effects add up to the difference exactly.

    What is included or credited takes away from what is asked for, so more of it is a negative effect.
    """
    found = [Cause("Fee", left.fee, right.fee, EXACT.subtract(right.fee, left.fee))]
    found += [Cause(row.usage.name, row.left.rated, row.right.rated, row.change) for row in rows]
    for name, figure in (("Included by allowances", "included"), ("Paid by credit", "credited")):
        before, after = getattr(left, figure), getattr(right, figure)
        found.append(Cause(name, before, after, EXACT.subtract(before, after)))
    return [cause for cause in found if cause.left or cause.right]


def _usage(one: Allocated, rate: Rate, kept: Mapping[str, frozenset[str]] | None) -> Usage:
    if not one.meter_code:
        return Usage("", charge=rate.subject)
    names = None if kept is None else kept[one.meter_code]
    dimensions = one.dimensions.items()
    return Usage(one.meter_code, tuple(sorted(item for item in dimensions if names is None or item[0] in names)))


def _priced_by(rates: Iterable[Rate]) -> dict[str, frozenset[str]]:
    """By meter, the dimensions that a price names."""
    names: dict[str, frozenset[str]] = {}
    for rate in rates:
        names[rate.meter_code] = names.get(rate.meter_code, frozenset()) | frozenset(rate.dimensions)
    return names
