"""
Instants and time zones as people and services write them. Pure.

A time without an offset is read in a zone, and refused where the zone's clock shows it twice or never: guessing would
move usage by an hour.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""The months in which an event can be (metering_ensure_partitions)."""

_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,6}))?\s?([Zz]|UTC|[+-]\d\d:\d\d)?)?", re.ASCII
)
EXAMPLE = "2026-10-03 10:00:00.123456, with Z or +02:00 behind it where the zone chosen does not hold"


@cache
def zone_names() -> tuple[str, ...]:
    """Every zone of the IANA database, in order."""
    return tuple(sorted(available_timezones() - {"localtime", "Factory"}))


def zone_of(name: str) -> ZoneInfo:
    """The zone of this IANA name, such as Europe/Berlin. Raises ValueError."""
    if name not in zone_names():
        raise ValueError(f"There is no time zone {name[:64]!r}. Give a name such as UTC or Europe/Berlin.")
    return ZoneInfo(name)


def read_instant(text: str, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, to the microsecond: a day (its midnight), or a day and time, in `zone` unless an offset is
    written. Raises ValueError, which says what to write instead.
    """
    match = _INSTANT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"This is no instant. Write a day such as 2026-10-03, or {EXAMPLE}.")
    day, minute, second, fraction, offset = match.groups()
    written = f"{day}T{minute or '00:00'}{second or ':00'}.{fraction or '0':0<6}"
    try:
        local = datetime.fromisoformat(written)
        known = (offset or "").upper()
        if known in {"Z", "UTC"}:
            instant = local.replace(tzinfo=UTC)
        elif known:
            instant = datetime.fromisoformat(written + known).astimezone(UTC)
        else:
            instant = _in_zone(local, zone)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"There is no such instant ({error}).") from None
    if not EARLIEST <= instant <= LATEST:
        raise ValueError(f"Choose an instant from {EARLIEST:%Y} to {LATEST:%Y}.")
    return instant


def _in_zone(local: datetime, zone: ZoneInfo) -> datetime:
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return first
    if first.astimezone(zone).replace(tzinfo=None) != local:
        raise ValueError(f"the clocks of {zone.key} skip it; write it with Z, or with its offset")
    raise ValueError(f"the clocks of {zone.key} show it twice; write it with Z, or with its offset")


def written(instant: datetime, zone: ZoneInfo) -> str:
    """As `read_instant` reads it again in the same zone: microseconds only where there are any, the offset only where
    the zone's clock shows the time twice."""
    local = instant.astimezone(zone)
    text = local.replace(tzinfo=None).isoformat(sep=" ")
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        return text + local.isoformat()[-6:]
    return text


def midnight_of(instant: datetime, zone: ZoneInfo, *, days: int = 0) -> datetime:
    """The start of the day of `instant` in the zone, or of the day so many days later, in UTC."""
    day = instant.astimezone(zone).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    return (day + timedelta(days=days)).replace(tzinfo=zone).astimezone(UTC)


def month_of(instant: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The month of an instant on the zone's clock: its start and the start of the next, in UTC."""
    first = instant.astimezone(zone).replace(tzinfo=None, day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    return first.replace(tzinfo=zone).astimezone(UTC), following.replace(tzinfo=zone).astimezone(UTC)
