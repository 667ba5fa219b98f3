"""What a period's usage is rated by, and that usage: read for accrual, and for proving another plan version on it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from billing.catalog.models import Allowance
from billing.catalog.queries import rates_for
from billing.rating.allocation import AllowanceTerms
from billing.rating.pricing import PeriodTerms, PeriodUsage
from billing.rating.rating import EXACT, RatingError
from billing.subscriptions import periods
from billing.subscriptions.models import BillingPeriod
from metering import queries as metering_queries
from metering.queries import MeterEvent, Window

# How often usage that takes several reads is read anew, because an advance came in between.
_READS_MAX = 3
_HOUR, _MICROSECOND = timedelta(hours=1), timedelta(microseconds=1)


class UsageArchived(RatingError):
    """Events that a part of an hour, or a price by the event, needs are in an archive; nothing was posted."""


def terms_of(period: BillingPeriod) -> PeriodTerms:
    """Return what the period's usage is rated by, its add-ons too, as it was frozen when the period opened."""
    allowances = tuple(
        AllowanceTerms(
            allowance_id=one.pk,
            measure=one.measure,
            amount=one.amount,
            each_dimension=one.each_dimension,
            covers=tuple(one.covers),
        )
        for one in period.allowances.order_by("position")
    )
    add_ons = period.add_ons.order_by("pk").values_list("plan_version__rate_card_id", flat=True)
    rates = rates_for(period.plan_version.rate_card_id, add_ons=list(add_ons))
    return PeriodTerms(period.starts_at, period.ends_at, rates, allowances)


def seated(allowance: Allowance, seats: int) -> Decimal:
    """Return what the allowance comes to with so many seats."""
    return EXACT.multiply(allowance.amount, seats) if allowance.is_per_seat else allowance.amount


def usage_of(period: BillingPeriod, terms: Iterable[PeriodTerms] = ()) -> PeriodUsage:
    """Return the period's own usage, in parts that its terms, and `terms` too, can rate. Raises UsageArchived."""
    key = period.subscription.customer.customer_key
    return read_usage(key, period.starts_at, period.ends_at, terms=[terms_of(period), *terms])


def read_usage(
    customer_key: str, starts_at: datetime, ends_at: datetime, *, terms: Sequence[PeriodTerms]
) -> PeriodUsage:
    """
    Return the usage of [starts_at, ends_at), in parts that each of `terms` can rate: cut where one of them changes a
    price, event by event for meters that one of them prices by the event. Raises UsageArchived.
    """
    try:
        for _ in range(_READS_MAX):
            position = metering_queries.counted_before()
            windows = metering_queries.windows_between(customer_key, starts_at, ends_at)
            found = _parted(customer_key, windows, starts_at, ends_at, terms)
            # Parts and events are read after the windows: an advance in between would make them differ.
            if not found.is_in_parts or metering_queries.counted_before() == position:
                break
        return found
    except metering_queries.EventsArchived as error:
        raise UsageArchived(f"usage of {customer_key} from {starts_at:%F %T}: {error}") from error


def _parted(
    customer_key: str, windows: list[Window], starts_at: datetime, ends_at: datetime, terms: Sequence[PeriodTerms]
) -> PeriodUsage:
    meter_codes = {window.meter_code for window in windows}
    cuts = sorted(
        {
            at
            for one in terms
            for code in meter_codes
            for at in one.rates.changes(code, starts_at, ends_at)
            if at != periods.floor_hour(at)
        }
    )
    if cuts:
        windows = _cut(customer_key, windows, starts_at, ends_at, cuts, terms)
    by_event = {code for one in terms for code in one.rates.meters_by_event(ends_at)}
    events = _events(customer_key, starts_at, ends_at, sorted(meter_codes & by_event))
    return PeriodUsage(windows, events, is_in_parts=bool(cuts or events))


def _cut(
    customer_key: str,
    windows: Iterable[Window],
    starts_at: datetime,
    ends_at: datetime,
    cuts: Sequence[datetime],
    terms: Sequence[PeriodTerms],
) -> list[Window]:
    """Return the windows with each hour within which its own price changes in parts, each named by its start."""
    by_hour: dict[datetime, list[datetime]] = {}
    for at in cuts:
        by_hour.setdefault(periods.floor_hour(at), []).append(at)
    read: dict[tuple[datetime, datetime], list[Window]] = {}
    found = []
    for window in windows:
        instants = [at for at in by_hour.get(window.window_start, ()) if _changes_price(window, at, terms)]
        if not instants:
            found.append(window)
            continue
        edges = [max(window.window_start, starts_at), *instants, min(window.window_start + _HOUR, ends_at)]
        for start, end in pairwise(edges):
            if (start, end) not in read:
                read[start, end] = metering_queries.windows_between(customer_key, start, end)
            named = window.window_start if start == edges[0] else start
            found += [replace(part, window_start=named) for part in read[start, end] if _is_same(part, window)]
    return found


def _changes_price(window: Window, at: datetime, terms: Iterable[PeriodTerms]) -> bool:
    code, dimensions = window.meter_code, window.dimensions
    return any(
        one.rates.lookup(code, dimensions, at) is not one.rates.lookup(code, dimensions, at - _MICROSECOND)
        for one in terms
    )


def _is_same(part: Window, window: Window) -> bool:
    return (part.meter_code, part.meter_version, part.dimensions) == (
        window.meter_code,
        window.meter_version,
        window.dimensions,
    )


def _events(
    customer_key: str, starts_at: datetime, ends_at: datetime, meter_codes: Sequence[str]
) -> Mapping[str, Sequence[MeterEvent]]:
    found: dict[str, list[MeterEvent]] = {code: [] for code in meter_codes}
    if meter_codes:
        for event in metering_queries.events_between(customer_key, starts_at, ends_at, meter_codes):
            found[event.meter_code].append(event)
    return found
