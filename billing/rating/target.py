"""
What a period comes to, from its usage, rates, allowance and grants alone: the figures that accrual posts and that a
preview shows. Reads nothing and writes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.rating.allocation import Source, fund, trace
from billing.rating.counts import EventsNotRead, described
from billing.rating.pricing import PeriodTerms, PeriodUsage, UnratedUsage, priced
from billing.rating.rating import EXACT, ZERO
from billing.rating.totals import Amounts, PeriodState
from billing.subscriptions import periods
from promotions.burn_down import GrantBalance

__all__ = [
    "Allocated",
    "EventsNotRead",
    "PeriodTerms",
    "PeriodUsage",
    "Source",
    "UnratedUsage",
    "allocate",
    "burnable",
    "described",
    "rate_instant",
    "target",
]


@dataclass(frozen=True, slots=True)
class Allocated:
    """
    What the usage of one rate, with the same dimensions, in the hour (or the part of it) that begins `at` costs, and
    what pays for it; quantity in units, amounts in currency units, exact. The sources add up to `amount`.

    What is owed without usage (a flat charge, what a minimum lacks) has no dimensions and a quantity of 0.
    """

    at: datetime
    rate_id: int
    meter_code: str
    dimensions: Mapping[str, str | None]
    quantity: Decimal
    amount: Decimal
    sources: tuple[Source, ...]


def target(usage: PeriodUsage, terms: PeriodTerms, grants: Iterable[GrantBalance], *, is_over: bool) -> PeriodState:
    """
    Return what the period comes to. `is_over` says that no more usage is to come but late: what a minimum still lacks
    is owed then.

    Raises UnratedUsage naming the first window that has no rate, and other RatingErrors.
    """
    funding = fund(priced(usage, terms, is_over=is_over), terms.allowances, grants)
    by_rate = {
        rate_id: Amounts(
            quantity=share.quantity,
            rated=share.rated,
            included=share.included,
            credited=share.credited,
            unbilled=share.unbilled,
        )
        for rate_id, share in funding.by_rate.items()
    }
    return PeriodState(by_rate, funding.drawdowns, funding.allowances)


def allocate(
    usage: PeriodUsage, terms: PeriodTerms, grants: Iterable[GrantBalance], *, is_over: bool
) -> list[Allocated]:
    """
    Return what `target` adds up, hour by hour and price by price, in the order in which usage pays.

    One event of an hour takes from its hour's sources in the order of (time, source, id). Raises as `target`.
    """
    return [
        Allocated(
            one.at, one.rate_id, one.subject.meter_code, one.subject.dimensions, one.quantity, one.amount, sources
        )
        for one, sources in trace(priced(usage, terms, is_over=is_over), terms.allowances, grants)
    ]


def burnable(
    grants: Iterable[GrantBalance], *, by_this: Mapping[int, Decimal], by_others: Mapping[int, Decimal]
) -> list[GrantBalance]:
    """
    Return a customer's grants with what each may give to one period in all.

    A live grant: what is left on its account and what this period took (`by_this`). A grant that has ended holds
    nothing any more; what it still owes to usage from before its end, accrued late, is all that no other period took.
    A grant covers every hour in which it was in force at any moment: usage is known by the hour.
    """
    return [
        replace(
            grant,
            effective_at=periods.floor_hour(grant.effective_at),
            available=EXACT.add(grant.available, by_this.get(grant.grant_id, ZERO))
            if grant.ended_at is None
            else EXACT.subtract(grant.amount, by_others.get(grant.grant_id, ZERO)),
        )
        for grant in grants
    ]


def rate_instant(window_start: datetime, starts_at: datetime) -> datetime:
    """
    Return the instant whose rate and grants apply to a window: its start, or the period's within the hour.

    Where a price changes within an hour, the hour's usage is in two windows, of which the later starts at the change.
    """
    return max(window_start, starts_at)
