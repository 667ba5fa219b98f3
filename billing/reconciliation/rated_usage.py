"""
What each price of a period should have come to: windows and prices read anew and put together here, apart from rating.

Usage is gathered by meter, dimensions and the stretch between two price changes. An hour that a period's boundary or a
price change cuts is taken from its raw events, in parts; so are prices that ask for every event.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from typing import Any

from billing.reconciliation.comparison import Scope
from billing.reconciliation.priced_periods import PricedPeriod, RateRow, priced_periods
from billing.reconciliation.prices import ZERO, Used, cell_of
from billing.reconciliation.queries import rows
from metering import queries as metering

HOUR, MICROSECOND = timedelta(hours=1), timedelta(microseconds=1)
# Wide enough for 38-digit quantities times 38-digit prices.
EXACT_DIGITS = 90
_COMMITMENT = "minimum_commitment"

# Of the periods' whole hours, by the stretch between the instants given for a meter; single windows where a price asks.
_USAGE = """
WITH stretch AS (
    SELECT * FROM jsonb_to_recordset(%(stretches)s::jsonb)
        AS s (period_id bigint, code text, instants timestamptz[], by_window boolean)
), cut AS (
    SELECT * FROM jsonb_to_recordset(%(cut)s::jsonb) AS c (period_id bigint, code text, hour timestamptz, dims jsonb)
)
SELECT p.id, m.code, w.dimensions::text, min(w.window_start), sum(w.quantity),
       array_agg(w.quantity) FILTER (WHERE stretch.by_window),
       array_agg(w.window_start) FILTER (WHERE stretch.by_window)
  FROM billing_billingperiod p
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_customer c ON c.id = s.customer_id
  JOIN metering_window w ON w.customer_key = c.customer_key AND w.window_start >= p.starts_at
                        AND w.window_start < date_trunc('hour', p.ends_at, 'UTC')
  JOIN metering_meter m ON m.id = w.meter_id
  LEFT JOIN stretch ON stretch.period_id = p.id AND stretch.code = m.code
 WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s AND w.quantity <> 0
   AND s.customer_id >= %(customers_from)s AND s.customer_id < %(customers_until)s
   AND NOT EXISTS (SELECT FROM cut WHERE cut.period_id = p.id AND cut.code = m.code AND cut.hour = w.window_start
                      AND cut.dims = w.dimensions)
 GROUP BY p.id, m.code, w.dimensions, coalesce(width_bucket(w.window_start, stretch.instants), 0)
 ORDER BY p.id
"""
_ACCRUED = """
SELECT a.period_id, l.rate_id, sum(l.quantity), sum(l.rated)
  FROM billing_billingperiod p
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_usageaccrual a ON a.period_id = p.id
  JOIN billing_usageaccrualline l ON l.accrual_id = a.id
 WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
   AND s.customer_id >= %(customers_from)s AND s.customer_id < %(customers_until)s
 GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Found:
    """One price of one period: what windows say beside what was accrued. No `rate_id` is usage that has no price."""

    period_id: int
    customer_key: str
    what: str
    rate_id: int | None
    used: Decimal
    accrued: Decimal
    expected: Fraction
    rated: Decimal


@dataclass(frozen=True, slots=True)
class Unknown:
    """A period of which it cannot be told, as events that it takes are in an archive."""

    period_id: int


def recomputed(scope: Scope) -> Iterator[Found | Unknown]:
    """Every price of every period that overlaps the range, by period; and the usage that has none."""
    accrued: dict[int, dict[int, tuple[Decimal, Decimal]]] = defaultdict(dict)
    for period_id, rate_id, quantity, rated in rows(_ACCRUED, scope.bounds):
        accrued[period_id][rate_id] = quantity, rated
    found = priced_periods(scope)
    archived = _gather(scope, found)
    for period_id, period in found.items():
        if period_id in archived:
            yield Unknown(period_id)
        else:
            yield from _compared(period, accrued[period_id])


def _gather(scope: Scope, periods: Mapping[int, PricedPeriod]) -> set[int]:
    """Give each period its usage; return those of which a part is in an archive."""
    stretches, cut, archived = [], [], set()
    boundary_hours: dict[int, set[datetime]] = defaultdict(set)
    for period_id, starts_at in rows(_CUT_HOURS, scope.bounds):
        boundary_hours[period_id].add(_hour(starts_at))
    for period_id, period in periods.items():
        stretches += _stretches(period)
        try:
            cut += _add_parts(period, boundary_hours[period_id])
            _add_events(period)
        except metering.EventsArchived:
            archived.add(period_id)
    asked = {**scope.bounds, "stretches": json.dumps(stretches), "cut": json.dumps(cut)}
    for period_id, code, dims, at, quantity, windows, hours in rows(_USAGE, asked):
        used_by = periods.get(period_id)
        if used_by is not None:
            # Two versions of a meter have a window each in the hour in which the one follows the other.
            by_hour: dict[datetime, Fraction] = defaultdict(Fraction)
            for hour, one in zip(hours or (), windows or (), strict=True):
                by_hour[hour] += Fraction(one)
            used = Used(Fraction(quantity), list(by_hour.values()))
            used_by.add(code, json.loads(dims), max(at, used_by.starts_at), used)
    return archived


def _stretches(period: PricedPeriod) -> list[dict[str, Any]]:
    """Per meter whose price changes within the period, or is asked window by window, what tells its usage apart."""
    instants: dict[str, set[str]] = defaultdict(set)
    for rate in period.changes():
        instants[rate.meter_code].add(rate.effective_from.isoformat())
    alone = {rate.meter_code for rate in period.rates() if any(price.is_by_window for price in rate.prices)}
    return [
        {
            "period_id": period.period_id,
            "code": code,
            "instants": sorted(instants[code]),
            "by_window": code in alone,
        }
        for code in {*instants, *alone}
    ]


# The parts of hours at which a period begins or ends within the hour, where there is usage.
_CUT_HOURS = """
SELECT p.id, part.starts_at
  FROM billing_billingperiod p
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_customer c ON c.id = s.customer_id
 CROSS JOIN LATERAL (VALUES
       (p.starts_at, least(date_trunc('hour', p.starts_at, 'UTC') + interval '1 hour', p.ends_at)),
       (greatest(date_trunc('hour', p.ends_at, 'UTC'), p.starts_at), p.ends_at)) AS part (starts_at, ends_at)
 WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
   AND s.customer_id >= %(customers_from)s AND s.customer_id < %(customers_until)s
   AND part.ends_at > part.starts_at AND part.ends_at - part.starts_at < interval '1 hour'
   AND EXISTS (SELECT FROM metering_window w
                WHERE w.customer_key = c.customer_key
                  AND w.window_start = date_trunc('hour', part.starts_at, 'UTC'))
 GROUP BY 1, 2 ORDER BY 1, 2
"""


def _add_parts(period: PricedPeriod, boundary_hours: set[datetime]) -> list[dict[str, Any]]:
    """Add the usage of hours that are cut; return what of it the statement over whole hours must leave out."""
    left_out = []
    # Of the parts of hours; two versions of a meter have a window each in the hour in which the one follows the other.
    found: dict[tuple[str, str, datetime], Fraction] = defaultdict(Fraction)
    changed: dict[datetime, list[RateRow]] = defaultdict(list)
    for rate in period.changes():
        if rate.effective_from != _hour(rate.effective_from):
            changed[_hour(rate.effective_from)].append(rate)
    for hour in sorted({*boundary_hours, *changed}):
        start, end = max(hour, period.starts_at), min(hour + HOUR, period.ends_at)
        for window in metering.windows_between(period.customer_key, start, end):
            instants = sorted({rate.effective_from for rate in changed[hour] if _changes(period, rate, window)})
            if hour not in boundary_hours and not instants:
                continue
            if hour not in boundary_hours:
                named_by = {"hour": hour.isoformat(), "code": window.meter_code, "dims": window.dimensions}
                left_out.append({"period_id": period.period_id, **named_by})
            for first, last in pairwise([start, *instants, end]):
                parts = metering.windows_between(period.customer_key, first, last) if instants else [window]
                for part in parts:
                    if _is_same(part, window) and part.quantity:
                        named_by_part = part.meter_code, json.dumps(part.dimensions, sort_keys=True), first
                        found[named_by_part] += Fraction(part.quantity)
    for (meter_code, dims, first), quantity in found.items():
        period.add(meter_code, json.loads(dims), first, Used(quantity, [quantity]))
    return left_out


def _is_same(part: metering.Window, window: metering.Window) -> bool:
    same = (part.meter_code, part.meter_version, part.dimensions)
    return same == (window.meter_code, window.meter_version, window.dimensions)


def _changes(period: PricedPeriod, rate: RateRow, window: metering.Window) -> bool:
    """Whether the price of the window's usage changes when this rate begins."""
    if rate.meter_code != window.meter_code:
        return False
    at = rate.effective_from
    before = period.rate_at(window.meter_code, window.dimensions, at - MICROSECOND)
    return before is not period.rate_at(window.meter_code, window.dimensions, at)


def _add_events(period: PricedPeriod) -> None:
    asked = {rate.meter_code for rate in period.rates() if any(price.is_by_event for price in rate.prices)}
    if not asked:
        return
    found = metering.events_between(period.customer_key, period.starts_at, period.ends_at, sorted(asked))
    for event in found:
        rate = period.rate_at(event.meter_code, event.dimensions, event.event_time)
        if rate is not None:
            place = cell_of(rate.price.terms, event.dimensions) if rate.price.model == "matrix" else 0
            if place is not None and rate.prices[place].is_by_event:
                period.used[rate.rate_id][place].add(ZERO, events=[Fraction(event.quantity)])


def _compared(period: PricedPeriod, accrued: Mapping[int, tuple[Decimal, Decimal]]) -> Iterator[Found]:
    by_id = {rate.rate_id: rate for rate in period.rates()}
    expected = _expected(period, by_id)
    for what, unpriced in sorted(period.unpriced.items()):
        if unpriced:
            yield Found(
                period.period_id, period.customer_key, what, None, as_decimal(unpriced), Decimal(0), ZERO, Decimal(0)
            )
    for rate_id in sorted({*expected, *accrued}):
        rate, used = by_id.get(rate_id), period.used.get(rate_id, {})
        quantity, rated = accrued.get(rate_id, (Decimal(0), Decimal(0)))
        yield Found(
            period_id=period.period_id,
            customer_key=period.customer_key,
            what=rate.what if rate is not None else f"rate {rate_id}, which is none of the period's",
            rate_id=rate_id,
            used=as_decimal(sum((one.quantity for one in used.values()), ZERO)),
            accrued=quantity,
            expected=expected.get(rate_id, ZERO),
            rated=rated,
        )


def _expected(period: PricedPeriod, by_id: Mapping[int, RateRow]) -> dict[int, Fraction]:
    amounts: dict[int, dict[int, Fraction]] = {
        rate_id: {place: by_id[rate_id].prices[place].of(used) for place, used in places.items()}
        for rate_id, places in period.used.items()
    }
    replacing = list(period.in_turn())
    _waive(period, by_id, amounts, replacing)
    if period.accrued_at is None and not period.is_closed:
        return {rate_id: sum(places.values(), ZERO) for rate_id, places in amounts.items()}
    owed = sorted(period.from_start(), key=lambda rate: (rate.price.model == _COMMITMENT, rate.rate_id))
    for rate in owed:
        for place, price in enumerate(rate.prices):
            amounts.setdefault(rate.rate_id, {}).setdefault(place, price.of(Used()))
    if period.is_closed or (period.accrued_at is not None and period.accrued_at >= period.ends_at):
        for rate in owed:
            places = amounts[rate.rate_id]
            for place, price in enumerate(rate.prices):
                after = {one for turn in replacing if turn[:1] == [(rate.rate_id, place)] for one in turn[1:]}
                # A minimum is met by what took the price's place, too.
                other = sum((amounts.get(one, {}).get(cell, ZERO) for one, cell in after), ZERO)
                places[place] = max(places[place], price.minimum - other)
            if rate.price.model == _COMMITMENT:
                total = sum((amount for of_rate in amounts.values() for amount in of_rate.values()), ZERO)
                places[0] = max(Fraction(str(rate.price.terms["amount"])) - total, ZERO)
    return {rate_id: sum(places.values(), ZERO) for rate_id, places in amounts.items()}


def _waive(
    period: PricedPeriod,
    by_id: Mapping[int, RateRow],
    amounts: dict[int, dict[int, Fraction]],
    replacing: list[list[tuple[int, int]]],
) -> None:
    """A price that takes another's place brings no flat amount where one before it did, at the start or with usage."""
    if not replacing:
        return
    at_start = {rate.rate_id for rate in period.from_start()}
    bring = {
        one: flat
        for one in {one for turn in replacing for one in turn}
        if (flat := by_id[one[0]].prices[one[1]].of(Used()))
    }
    brought = {one for one in bring if one[0] in at_start or one[1] in amounts.get(one[0], {})}
    waived = {
        one
        for turn in replacing
        for number, one in enumerate(turn)
        if one in bring and not brought.isdisjoint(turn[:number])
    }
    for rate_id, place in waived:
        if place in amounts.get(rate_id, {}):
            amounts[rate_id][place] = max(amounts[rate_id][place] - bring[rate_id, place], ZERO)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def as_decimal(number: Fraction) -> Decimal:
    """Quantities have 12 places at most, so this is exact."""
    with localcontext(prec=EXACT_DIGITS):
        return Decimal(number.numerator) / Decimal(number.denominator)
