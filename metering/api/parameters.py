"""What a request may ask for, read from its query and checked. Each function raises BadParameter."""

import hashlib
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from django.http import QueryDict

from metering.api.refusals import BadParameter
from metering.events import TEXT_LIMITS
from metering.instants import read_instant, zone_of
from metering.queries import EventPlace

LIMIT_DEFAULT, LIMIT_MAX = 100, 500
WHERE = "where."
WHERE_VALUES_MAX = 100
_LIMIT = re.compile(r"[0-9]{1,9}", re.ASCII)
_PLACE = struct.Struct(">q16s8s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def require_known(query: QueryDict, known: Collection[str], *, prefix: str = "") -> None:
    """Refuse what would be silently ignored: a misspelt filter would answer another question than the one asked."""
    for name in query:
        if prefix and name.startswith(prefix):
            continue
        if name not in known:
            there_are = f"There are: {', '.join(sorted(known))}." if known else "It takes none."
            raise BadParameter(name, f"This address takes no parameter {name!r}. {there_are}")
        if len(query.getlist(name)) > 1:
            raise BadParameter(name, f"Name {name} once.")


def text(query: QueryDict, name: str, *, limit: int = TEXT_LIMITS["source"]) -> str:
    """The value as it is, "" where it is left out."""
    value: str = query.get(name, "")
    if name in query and not is_text(value, limit=limit):
        raise BadParameter(name, f"Give 1 to {limit} printable characters, or leave {name} out.")
    return value


def required_text(query: QueryDict, name: str, remedy: str) -> str:
    value = text(query, name)
    if not value:
        raise BadParameter(name, remedy)
    return value


def is_text(value: str, *, limit: int) -> bool:
    """PostgreSQL takes no NUL, and no name of ours holds such signs."""
    return 0 < len(value) <= limit and value.isprintable()


def choice(query: QueryDict, name: str, choices: Sequence[str], *, default: str = "") -> str:
    value: str = query.get(name, default)
    if value not in choices and value != default:
        raise BadParameter(name, f"Give one of: {', '.join(choices)}.")
    return value


def zone(query: QueryDict) -> ZoneInfo:
    try:
        return zone_of(query.get("time_zone", "UTC"))
    except ValueError as error:
        raise BadParameter("time_zone", str(error)) from None


def instant(query: QueryDict, name: str, of: ZoneInfo) -> datetime | None:
    """An instant in UTC. A day is its midnight in the zone; a + of an offset is written as %2B."""
    written = query.get(name)
    if written is None:
        return None
    try:
        return read_instant(written, of)
    except ValueError as error:
        raise BadParameter(name, f"{error} A + is written as %2B.") from None


def span(query: QueryDict, of: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """`from`, included, and `to`, not included."""
    start, end = instant(query, "from", of), instant(query, "to", of)
    if start is not None and end is not None and start >= end:
        raise BadParameter("to", "The range ends before it begins. Give a later instant; to is not included.")
    return start, end


def required_span(query: QueryDict, of: ZoneInfo) -> tuple[datetime, datetime]:
    start, end = span(query, of)
    if start is None or end is None:
        missing = "from" if start is None else "to"
        raise BadParameter(missing, f"Give {missing}: a day such as 2026-10-01, or an instant with its offset.")
    return start, end


def group_by(query: QueryDict, dimensions: Sequence[str]) -> list[str]:
    """Names of dimensions, with commas between them."""
    names = [name for name in query.get("group_by", "").split(",") if name]
    for name in names:
        _require_dimension("group_by", name, dimensions)
    if len(set(names)) < len(names):
        raise BadParameter("group_by", "Name each dimension once.")
    return names


def where(query: QueryDict, dimensions: Sequence[str]) -> dict[str, list[str]]:
    """The values wanted of each dimension: `where.model=opus`, again for another value."""
    wanted = dict[str, list[str]]()
    for name in query:
        if not name.startswith(WHERE):
            continue
        dimension = name.removeprefix(WHERE)
        _require_dimension(name, dimension, dimensions)
        values = query.getlist(name)
        if len(values) > WHERE_VALUES_MAX or not all(is_text(value, limit=256) for value in values):
            raise BadParameter(name, f"Give up to {WHERE_VALUES_MAX} printable values of at most 256 characters.")
        wanted[dimension] = values
    return wanted


def _require_dimension(field: str, name: str, dimensions: Sequence[str]) -> None:
    if name not in dimensions:
        there_are = f"It has: {', '.join(dimensions)}." if dimensions else "It has none."
        raise BadParameter(field, f"The meter has no dimension {name[:64]!r}. {there_are}")


def limit(query: QueryDict) -> int:
    written = query.get("limit")
    if written is None:
        return LIMIT_DEFAULT
    if not _LIMIT.fullmatch(written) or not 1 <= int(written) <= LIMIT_MAX:
        raise BadParameter("limit", f"Give a whole number from 1 to {LIMIT_MAX}, or leave it out for {LIMIT_DEFAULT}.")
    return int(written)


def cursor_after(place: EventPlace, *, of: Mapping[str, str]) -> str:
    """Where the list that `of` asks for goes on: opaque to who receives it, and of use for that list only."""
    microseconds = (place.event_time - _EPOCH) // timedelta(microseconds=1)
    return urlsafe_b64encode(_PLACE.pack(microseconds, bytes.fromhex(place.key), _digest(of))).rstrip(b"=").decode()


def place_of(query: QueryDict, *, of: Mapping[str, str]) -> EventPlace | None:
    """The place the cursor of this list stands for. Another list's is refused, instead of answering with events that
    belong elsewhere."""
    written = query.get("cursor")
    if written is None:
        return None
    remedy = "Take the cursor from `next` of the page before, with the same filters; or leave it out."
    try:
        packed = urlsafe_b64decode(written.encode("ascii") + b"=" * (-len(written) % 4))
        microseconds, key, digest = _PLACE.unpack(packed)
        at = _EPOCH + timedelta(microseconds=microseconds)
    except (ValueError, OverflowError, struct.error):  # what is no base64 is a ValueError
        raise BadParameter("cursor", remedy) from None
    if digest != _digest(of):
        raise BadParameter("cursor", remedy)
    return EventPlace(at, key.hex())


def _digest(of: Mapping[str, str]) -> bytes:
    return hashlib.sha256(msgspec.json.encode(sorted(of.items()))).digest()[:8]
