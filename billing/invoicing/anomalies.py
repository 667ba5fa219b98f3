"""
What about a draft is unusual enough for a person to look before it goes out. Pure: figures in, findings out.

The rules are those of the field (Zuora's invoice auditing: missing charge, total above 2.5 times the usual, usage far
off); how far is far is a setting. Fees that are missing and lines of unknown kind are found by `verification`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.invoicing.holding import Finding
from billing.rating.rating import EXACT

COMPARED = 3
HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class NewRate:
    """A usage line of a price that the customer was never charged before, in currency units."""

    description: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """
    A draft and what to compare it with, in currency units: the newest first.

    `usage` is what all usage of the period came to, also what a threshold invoice asked for before. The earlier ones
    are empty where there is nothing to compare with.
    """

    currency: str
    total: Decimal
    usage: Decimal
    earlier_totals: Sequence[Decimal] = ()
    earlier_usage: Sequence[Decimal] = ()
    new_rates: Sequence[NewRate] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """From how many percent of the mean on, and from which difference on, in currency units, it is unusual."""

    percent: int
    amount: Decimal


def anomalies(figures: Figures, limits: Limits) -> list[Finding]:
    """Every finding about a draft, each with the figures that were compared."""
    found = []
    if figures.total < 0:
        words = f"the total is below zero: {figures.total:f} {figures.currency}"
        found.append(Finding("negative_total", words, {"total": f"{figures.total:f}"}))
    found += _far_off("total", "the total", figures.total, figures.earlier_totals, figures, limits, both_ways=False)
    found += _far_off("usage", "usage", figures.usage, figures.earlier_usage, figures, limits, both_ways=True)
    for rate in figures.new_rates:
        if rate.amount >= limits.amount:
            words = f"{rate.amount:f} {figures.currency} at a price charged for the first time ({rate.description})"
            found.append(Finding("new_rate", words[:400], {"amount": f"{rate.amount:f}"}))
    return found


def _far_off(
    code: str,
    name: str,
    value: Decimal,
    earlier: Sequence[Decimal],
    figures: Figures,
    limits: Limits,
    *,
    both_ways: bool,
) -> list[Finding]:
    """Whether a figure is far from the mean of the last three; nothing while there are fewer."""
    if len(earlier) < COMPARED:
        return []
    mean = EXACT.divide(sum(earlier[:COMPARED], Decimal(0)), Decimal(COMPARED))
    percent = Decimal(limits.percent)
    is_above = value * HUNDRED > mean * percent
    is_below = both_ways and value * percent < mean * HUNDRED
    if not (is_above or is_below) or abs(value - mean) < limits.amount:
        return []
    shown = f"{value.quantize(Decimal('0.01')):f} {figures.currency}"
    usual = f"{mean.quantize(Decimal('0.01')):f} {figures.currency}"
    how = "above" if is_above else "below"
    words = f"{name} of {shown} is far {how} the mean of the last {COMPARED}, {usual}"
    compared = {f"earlier {number}": f"{one:f}" for number, one in enumerate(earlier[:COMPARED], start=1)}
    return [Finding(code, words, {name: f"{value:f}", "mean": f"{mean:f}", **compared})]
