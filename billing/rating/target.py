"""
What a period comes to, from its usage, rates, allowance and grants alone: the figures that accrual posts and that a
preview shows. Reads nothing and writes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.catalog.queries import RateTable
from billing.rating.allocation import AllowanceTerms, Funding, RatedUsage, fund
from billing.rating.rating import EXACT, ZERO, RatingError, plain, rate_usage
from billing.rating.totals import Amounts, PeriodState
from billing.subscriptions import periods
from metering.queries import Window
from promotions.burn_down import GrantBalance


class UnratedUsage(RatingError):
    """A window has a quantity and no rate applies to it; nothing of the period was posted."""


@dataclass(frozen=True, slots=True)
class PeriodTerms:
    """What a period's usage is priced by: its interval (UTC), its rates, and its allowances in their order."""

    starts_at: datetime
    ends_at: datetime
    rates: RateTable
    allowances: tuple[AllowanceTerms, ...]


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """The usage of a period and no other: its windows, those in part whose hour a boundary cuts."""

    windows: Sequence[Window]


@dataclass(frozen=True, slots=True)
class _Usage:
    """The usage of a period: quantity per rate, and the price of each hour."""

    quantities: dict[int, Decimal]
    priced: list[RatedUsage]


def target(usage: PeriodUsage, terms: PeriodTerms, grants: Iterable[GrantBalance], *, is_over: bool) -> PeriodState:
    """
    Return what the period comes to. `is_over` says that no more usage is to come but late: what a minimum still lacks
    is owed then.

    Raises UnratedUsage naming the first window that has no rate, and other RatingErrors.
    """
    priced = _priced(usage.windows, terms)
    return _state(priced, fund(priced.priced, terms.allowances, grants))


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


def described(dimensions: Mapping[str, str | None]) -> str:
    """The dimensions of usage in words, such as model 'auto'."""
    return ", ".join(f"{name} {value!r}" for name, value in sorted(dimensions.items())) or "no dimensions"


def rate_instant(window_start: datetime, starts_at: datetime) -> datetime:
    """
    Return the instant whose rate and grants apply to an hour's usage: its start, or the period's within the hour.

    So a price that changes within an hour applies from the next full hour on; the first hour of a period, of which only
    the part after its start is its own, has the price and the grants of that start.
    """
    return max(window_start, starts_at)


def _priced(windows: Iterable[Window], terms: PeriodTerms) -> _Usage:
    quantities: dict[int, Decimal] = defaultdict(lambda: ZERO)
    priced = []
    for window in windows:
        if not window.quantity:
            continue
        at = rate_instant(window.window_start, terms.starts_at)
        rate = terms.rates.lookup(window.meter_code, window.dimensions, at)
        if rate is None:
            raise UnratedUsage(
                f"{plain(window.quantity)} {window.meter_code} of {described(window.dimensions)}"
                f" by {window.customer_key} at {window.window_start:%F %H:00} have no rate"
            )
        quantities[rate.pk] = EXACT.add(quantities[rate.pk], window.quantity)
        amount = rate_usage(window.quantity, rate.unit_price or ZERO, rate.unit_size or 1)
        priced.append(RatedUsage(at=at, rate_id=rate.pk, amount=amount))
    return _Usage(dict(quantities), priced)


def _state(usage: _Usage, funding: Funding) -> PeriodState:
    by_rate = {
        rate_id: Amounts(
            quantity=usage.quantities[rate_id],
            rated=share.rated,
            included=share.included,
            credited=share.credited,
            unbilled=share.unbilled,
        )
        for rate_id, share in funding.by_rate.items()
    }
    return PeriodState(by_rate, funding.drawdowns, funding.allowances)
