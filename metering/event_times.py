"""The time of an event, as its producer wrote it. Pure."""

import re
from datetime import UTC, datetime

import msgspec

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,30}))?([Zz]|[+-]\d\d:\d\d)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000


def parse_utc(text: str) -> datetime | None:
    """What `parse_time` returns for times that are written in UTC, several times as fast; None when it must judge.

    msgspec rounds more than six fractional digits, so a text that is long enough to hold them is left alone.
    """
    if not ((text[-1:] == "Z" and len(text) <= 27) or (text[-6:] == "+00:00" and len(text) <= 32)):
        return None
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None


def parse_time(text: str) -> datetime:
    """An RFC 3339 time; a space may stand for the T. Naive when no offset is given, so that callers can refuse it.

    More than six fractional digits are cut off, not rounded: rounding could carry an event over the end of a period.
    Raises ValueError when the text is no such time, or names one that does not exist (30 February, hour 25, second 60).
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("the time is not RFC 3339")
    date, clock, fraction, offset = match.groups()
    micro = f".{fraction[:6]:0<6}" if fraction else ""
    try:
        return datetime.fromisoformat(f"{date}T{clock}{micro}{offset.upper() if offset else ''}")
    except ValueError as error:
        raise ValueError(f"the time does not exist ({error})") from error


def microseconds_since_1970(time: datetime) -> int:
    """An aware time as a whole number: no float can carry microseconds for long."""
    since = time - _EPOCH
    return since.days * _DAY_US + since.seconds * 1_000_000 + since.microseconds
