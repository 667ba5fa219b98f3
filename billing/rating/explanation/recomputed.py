"""A period computed again from its windows as they are now: what each hour of a price came to, and who paid for it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import localcontext

from billing.rating import queries
from billing.rating.explanation.model import Slice, UsageFound
from billing.rating.operations import grants_for
from billing.rating.rating import EXACT, ZERO
from billing.rating.target import Allocated, PeriodTerms, PeriodUsage, allocate, rate_instant
from billing.rating.terms import terms_of, usage_of
from billing.rating.totals import NOTHING, Amounts
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.periods import floor_hour
from metering.queries import Window

ALLOWANCE, GRANT, UNBILLED = "allowance", "grant", "unbilled"
_COLUMNS = {ALLOWANCE: "included", GRANT: "credited", UNBILLED: "unbilled"}
_Place = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class Recomputed:
    """`allocated` is in the order in which usage pays; `by_rate` what it adds up to, `windows` where it came from."""

    terms: PeriodTerms
    usage: PeriodUsage
    allocated: Sequence[Allocated]
    by_rate: Mapping[int, Amounts]
    _allocated_of: Mapping[int, Sequence[Allocated]]
    _windows_of: Mapping[int, Sequence[Window]]

    @classmethod
    def of(cls, terms: PeriodTerms, usage: PeriodUsage, allocated: Sequence[Allocated]) -> "Recomputed":
        allocated_of: dict[int, list[Allocated]] = defaultdict(list)
        for one in allocated:
            allocated_of[one.rate_id].append(one)
        windows_of: dict[int, list[Window]] = defaultdict(list)
        for window in usage.windows:
            at = rate_instant(window.window_start, terms.starts_at)
            rate = terms.rates.lookup(window.meter_code, window.dimensions, at)
            if rate is not None:
                windows_of[rate.pk].append(window)
        by_rate = {rate_id: total_of(map(amounts_of, found)) for rate_id, found in allocated_of.items()}
        return cls(terms, usage, allocated, by_rate, allocated_of, windows_of)

    def of_rate(self, rate_id: int) -> Sequence[Allocated]:
        return self._allocated_of.get(rate_id, ())

    def windows_of(self, rate_id: int) -> Sequence[Window]:
        return self._windows_of.get(rate_id, ())


def recompute(period: BillingPeriod, *, now: datetime) -> Recomputed:
    """Compute the period again as an accrual at `now` would. Raises RatingErrors; posts nothing."""
    terms, usage = terms_of(period), usage_of(period)
    grants = grants_for(period, queries.posted_state(period.pk))
    return Recomputed.of(terms, usage, allocate(usage, terms, grants, is_over=now >= period.ends_at))


def amounts_of(allocated: Allocated) -> Amounts:
    """Who paid for it, by the three ways of paying."""
    paid = dict.fromkeys(_COLUMNS.values(), ZERO)
    for source in allocated.sources:
        paid[_COLUMNS[source.kind]] = EXACT.add(paid[_COLUMNS[source.kind]], source.amount)
    return Amounts(quantity=allocated.quantity, rated=allocated.amount, **paid)


def usage_found(windows: Iterable[Window]) -> UsageFound:
    """What is behind some windows. The fingerprints of windows add up, as those of their events do."""
    quantity, count, events, fingerprint = ZERO, 0, 0, 0
    first: datetime | None = None
    last: datetime | None = None
    for window in windows:
        if not window.event_count:
            continue
        quantity, count = EXACT.add(quantity, window.quantity), count + 1
        events, fingerprint = events + window.event_count, fingerprint + window.fingerprint
        first = window.window_start if first is None else min(first, window.window_start)
        last = window.window_start if last is None else max(last, window.window_start)
    return UsageFound(quantity, count, events, str(fingerprint), first, last)


def by_day(windows: Iterable[Window], allocated: Iterable[Allocated]) -> tuple[Slice, ...]:
    """One slice for each day (UTC) on which the price was used or charged, in order."""
    days: dict[datetime, list[Window]] = {}
    amounts: dict[datetime, Amounts] = {}
    for window in windows:
        days.setdefault(_day(window.window_start), []).append(window)
    for one in allocated:
        amounts[_day(one.at)] = amounts.get(_day(one.at), NOTHING).plus(amounts_of(one))
    return tuple(
        Slice(day, {}, usage_found(days.get(day, ())), amounts.get(day, NOTHING)) for day in sorted({*days, *amounts})
    )


def hours_of_day(day: datetime, windows: Iterable[Window], allocated: Iterable[Allocated]) -> tuple[Slice, ...]:
    """Each window of one day with what it came to, in order."""
    found: dict[_Place, list[Window]] = {}
    amounts: dict[_Place, Amounts] = {}
    named: dict[_Place, dict[str, str | None]] = {}
    for window in windows:
        if _day(window.window_start) == day:
            place = _place(window.window_start, window.dimensions)
            found.setdefault(place, []).append(window)
            named[place] = window.dimensions
    for one in allocated:
        if _day(one.at) == day:
            place = _place(one.at, one.dimensions)
            amounts[place] = amounts.get(place, NOTHING).plus(amounts_of(one))
            named.setdefault(place, dict(one.dimensions))
    return tuple(
        Slice(place[0], named[place], usage_found(found.get(place, ())), amounts.get(place, NOTHING))
        for place in sorted(named)
    )


def total_of(amounts: Iterable[Amounts]) -> Amounts:
    quantity = included = credited = unbilled = rated = ZERO
    # Of every window of a period: a sum of Amounts at a time would take longer than pricing them.
    with localcontext(EXACT):
        for one in amounts:
            quantity += one.quantity
            rated += one.rated
            included += one.included
            credited += one.credited
            unbilled += one.unbilled
    return Amounts(quantity=quantity, rated=rated, included=included, credited=credited, unbilled=unbilled)


def _day(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _place(at: datetime, dimensions: Mapping[str, str | None]) -> _Place:
    return floor_hour(at), repr(sorted(dimensions.items()))
