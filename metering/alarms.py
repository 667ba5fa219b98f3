"""When usage deserves a person's look: rules over hourly figures. Pure; no clock, no database.

The rules compare with what the same source or meter did at the same hour of former weeks, and for younger ones of
former days: usage has the shape of working days and nights. Where a rule asks for enough, it is because small numbers
vary by chance: ten expected arrivals all fail to come once in e^10 = 22,000 times (Poisson).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Literal

Kind = Literal[
    "source_silent",
    "source_new",
    "meter_zero",
    "meter_surge",
    "meter_slump",
    "value_new",
    "conflicts",
    "quarantine",
    "events_without_meter",
    "aggregation_held",
    "partitions_missing",
    "archive_overdue",
]
TITLES: Mapping[Kind, str] = {
    "source_silent": "A source is silent",
    "source_new": "A new source",
    "meter_zero": "A meter counts nothing",
    "meter_surge": "A meter counts ten times as much",
    "meter_slump": "A meter counts a tenth",
    "value_new": "A new value of a dimension",
    "conflicts": "The same id with another body",
    "quarantine": "The quarantine grows",
    "events_without_meter": "Events that no meter takes",
    "aggregation_held": "Aggregation is held back",
    "partitions_missing": "Too few months prepared",
    "archive_overdue": "A month should have been archived",
}

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
FORMER_WEEKS = 4
FORMER_DAYS = 7
LEAST_WEEKS = 2
LEAST_DAYS = 3
EXPECTED_ARRIVALS = 10
"""Minutes with arrivals that its quietest former hours lead one to expect of a source, before none means silence."""
GAPS = 3
"""Or silence this many times as long as its longest gap."""
FACTOR = 10
LEAST_EVENTS = 30
"""A meter's former hours with fewer events say nothing: 30 expected become 3 or fewer by chance once in 10^9 hours."""
KNOWN_FOR = timedelta(days=7)
"""What is new can be told only where all there was has been written down for a while."""
MANY_VALUES = 200
"""A dimension with more values than this is an identity, such as a member, where new ones are no news."""
LAG = timedelta(minutes=5)
OLDEST_WAITING = DAY
MANY_QUARANTINED = 10
MONTHS_AHEAD = 1
OVERDUE = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as expected. `subject` tells it from others of its kind."""

    kind: Kind
    subject: str
    expected: str
    seen: str


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """What is known of a source: by hour of receipt, the number of minutes in which something came."""

    source: str
    active_minutes: Mapping[datetime, int]
    last_received_at: datetime


@dataclass(frozen=True, slots=True)
class HourFigures:
    """What a meter counted in one hour, in its unit."""

    events: int
    quantity: Decimal


def former_hours(hour: datetime, known_since: datetime) -> list[datetime]:
    """The hours to compare with: of former weeks, or, for what is younger than LEAST_WEEKS, of former days."""
    weeks = [hour - WEEK * number for number in range(1, FORMER_WEEKS + 1)]
    weeks = [former for former in weeks if former >= known_since]
    if len(weeks) >= LEAST_WEEKS:
        return weeks
    days = [hour - DAY * number for number in range(1, FORMER_DAYS + 1)]
    days = [former for former in days if former >= known_since]
    return days if len(days) >= LEAST_DAYS else []


def silent_source(record: SourceRecord, now: datetime) -> Finding | None:
    """Whether a source stopped: nothing came for as long as its quietest former hours would have brought
    EXPECTED_ARRIVALS, or for GAPS times its longest gap. A source is learned for LEAST_DAYS first."""
    silence = now - record.last_received_at
    expected = expected_arrivals(record, now)
    gap = longest_gap(record)
    if expected is None:
        return None
    if expected < EXPECTED_ARRIVALS and not (gap is not None and silence > GAPS * gap):
        return None
    usual = f"arrivals in at least {expected:.0f} minutes since then, as in its quietest former hours"
    if expected < EXPECTED_ARRIVALS:
        usual = f"a gap of at most {_duration(gap or HOUR)}, as in its past weeks"
    return Finding(
        "source_silent",
        record.source,
        usual,
        f"nothing for {_duration(silence)}, since {record.last_received_at:%Y-%m-%d %H:%M} UTC",
    )


def expected_arrivals(record: SourceRecord, now: datetime) -> float | None:
    """Minutes with arrivals to expect between the last arrival and `now`, by the quietest of the former same hours;
    None while the source is too young to say."""
    known_since = min(record.active_minutes, default=now)
    if now - known_since < LEAST_DAYS * DAY:
        return None
    expected, start = 0.0, record.last_received_at
    while start < now and expected < 60 * EXPECTED_ARRIVALS:
        hour = start.replace(minute=0, second=0, microsecond=0)
        end = min(hour + HOUR, now)
        former = former_hours(hour, known_since)
        usual = min((record.active_minutes.get(each, 0) for each in former), default=0)
        expected += usual * ((end - start) / HOUR)
        start = end
    return expected


def longest_gap(record: SourceRecord) -> timedelta | None:
    """The longest time between two of its arrivals, as far as hours tell: at least one hour. None below a week."""
    hours = sorted(record.active_minutes)
    if len(hours) < LEAST_DAYS or hours[-1] - hours[0] < KNOWN_FOR:
        return None
    return max(later - earlier for earlier, later in pairwise(hours))


def changed_meter(
    meter_code: str, hour: datetime, figures: Mapping[datetime, HourFigures], known_since: datetime
) -> Finding | None:
    """Whether one finished hour of a meter has another shape than the same hours before: nothing, more than FACTOR
    times their most, less than their least by FACTOR. Former hours with fewer than LEAST_EVENTS say nothing."""
    nothing = HourFigures(0, Decimal(0))
    former = [figures.get(each, nothing) for each in former_hours(hour, known_since)]
    if not former:
        return None
    seen = figures.get(hour, nothing)
    least, most = min(each.quantity for each in former), max(each.quantity for each in former)
    enough = min(each.events for each in former) >= LEAST_EVENTS
    when = f"{hour:%Y-%m-%d %H:00} UTC"
    between = f"between {_number(least)} and {_number(most)}, as at that hour before"
    if enough and seen.events == 0:
        return Finding("meter_zero", meter_code, between, f"nothing in the hour from {when}")
    if enough and seen.quantity * FACTOR < least:
        return Finding("meter_slump", meter_code, between, f"{_number(seen.quantity)} in the hour from {when}")
    if seen.events >= LEAST_EVENTS and most > 0 and seen.quantity > FACTOR * most:
        return Finding("meter_surge", meter_code, between, f"{_number(seen.quantity)} in the hour from {when}")
    return None


def new_value(
    name: str, value: str, *, first_seen_at: datetime, known_since: datetime, values: int, now: datetime
) -> Finding | None:
    """Whether a value (or a source) that appeared within a day is news: its dimension has been known for KNOWN_FOR, and
    has no more than MANY_VALUES values."""
    if now - first_seen_at > DAY or first_seen_at - known_since < KNOWN_FOR or values > MANY_VALUES:
        return None
    seen = f"{value or 'an empty value'}, first on {first_seen_at:%Y-%m-%d %H:%M} UTC"
    expected = f"one of the {values - 1:,} known before"
    if name == SOURCES:
        return Finding("source_new", value, expected, seen)
    return Finding("value_new", f"{name} = {value}", expected, seen)


SOURCES = "source"
"""Under this name the known sources are kept; dimensions are kept as <meter>.<dimension>."""


def quarantine(arrived: int, waiting: int, oldest_at: datetime | None, now: datetime) -> Finding | None:
    """Whether the quarantine needs somebody: MANY_QUARANTINED within an hour, or something waits for a day."""
    waits = now - oldest_at if oldest_at is not None else timedelta(0)
    if arrived < MANY_QUARANTINED and waits <= OLDEST_WAITING:
        return None
    return Finding(
        "quarantine",
        "events in quarantine",
        f"fewer than {MANY_QUARANTINED} in an hour, none for longer than a day",
        f"{arrived:,} in the last hour; {waiting:,} wait, the oldest for {_duration(waits)}",
    )


def held_back(lag: timedelta, reason: str) -> Finding | None:
    """Whether windows lag behind by more than LAG."""
    if lag <= LAG:
        return None
    return Finding(
        "aggregation_held", "windows", f"at most {_duration(LAG)} behind", f"{_duration(lag)} behind; {reason}"
    )


def counted(kind: Kind, subject: str, number: int) -> Finding | None:
    """Something of which there should be none: conflicts, events that no meter takes."""
    return Finding(kind, subject, "none", f"{number:,} in the last hour") if number else None


def too_few_months(ahead: int) -> Finding | None:
    if ahead >= MONTHS_AHEAD:
        return None
    return Finding("partitions_missing", "event table", "next month has its partition", "it has none")


def overdue(months: Sequence[tuple[str, datetime]], now: datetime) -> list[Finding]:
    """Months (their name, and since when they are due) that the daily job should have brought out by now."""
    return [
        Finding("archive_overdue", name, "archived and dropped by the daily job", f"due for {_duration(now - since)}")
        for name, since in months
        if now - since > OVERDUE
    ]


def _duration(span: timedelta) -> str:
    minutes = int(span.total_seconds()) // 60
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def _number(quantity: Decimal) -> str:
    return f"{quantity:,.0f}" if quantity == quantity.to_integral() or quantity >= 1000 else f"{quantity.normalize():f}"
