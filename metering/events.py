"""Reading and checking usage events: pure functions, no database, no clock.

An event is a CloudEvent 1.0 (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md). Whatever is wrong
with one event becomes a `Refusal` for that event alone; only a body that is no JSON at all, or too many events, is an
error of the whole batch.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec

MAX_EVENTS_PER_BATCH = 5_000
MAX_EVENT_BYTES = 64 * 1024
MAX_AHEAD = timedelta(minutes=5)
"""A producer's clock may run ahead of ours by this much; a later event would land in a window that is not open yet."""

TEXT_LIMITS = {"id": 256, "source": 256, "type": 128, "subject": 128}
MAX_DIMENSION_CHARACTERS = 200

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,30}))?([Zz]|[+-]\d\d:\d\d)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUL_IN_JSON = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# Half of a surrogate pair, as a client leaves when it cuts a text inside an emoji: grammatical JSON, but no text. The
# parser gives up on the whole body; made a NUL, only the event that holds it is refused. Group 1 is what stays as it
# is.
_LONE_SURROGATE = re.compile(
    rb"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
# The SQL function metering_quantity() uses the same pattern, so that what is accepted here can always be counted there.
_QUANTITY = re.compile(r"[0-9]{1,18}(\.[0-9]{1,12})?")
_MAX_WHOLE_QUANTITY = 10**18


class BatchError(Exception):
    """The body as a whole cannot be read, so no event of it was taken."""


class NotJSON(BatchError):
    """The body is not a JSON list of events, nor one JSON event."""


class TooManyEvents(BatchError):
    """More than MAX_EVENTS_PER_BATCH events in one body."""


class UsageEventInput(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One event as its producer sent it: nothing in it has been checked yet, so every field may hold anything."""

    id: Any = None
    source: Any = None
    type: Any = None
    subject: Any = None
    time: Any = None
    data: Any = msgspec.field(default_factory=dict)
    specversion: Any = "1.0"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one event cannot be taken: which field, and what its producer can do about it."""

    event_id: str
    field: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class TypeRule:
    """What the meters of one event type ask of its events, each path below `data` once however many meters share it."""

    value_paths: tuple[tuple[str, ...], ...]
    dimension_paths: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """A well-formed event. `key` is the hash of (source, id); `digest` of everything else, so a changed body shows."""

    key: str
    digest: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    data: Mapping[str, Any]
    data_json: bytes


class _Refused(Exception):
    """Carries field, reason and remedy from the check that failed up to `check_event`."""


def _exact_number(text: str) -> Decimal:
    """A JSON number with a point or exponent as Decimal. Raises ValueError where PostgreSQL's numeric would
    overflow."""
    number = Decimal(text)
    if abs(number.adjusted()) > 1_000:
        raise ValueError("a number's exponent is out of range")
    return number


_split_list = msgspec.json.Decoder(list[msgspec.Raw])
_decode_one = msgspec.json.Decoder(UsageEventInput, float_hook=_exact_number)
_canonical = msgspec.json.Encoder(decimal_format="number", order="sorted")


def decode_batch(body: bytes) -> list[UsageEventInput | Refusal]:
    """The events of a JSON list, or of one JSON object. Raises NotJSON or TooManyEvents.

    Numbers never pass through float: whole numbers stay int, others become Decimal.
    """
    try:
        return _decode_body(body)
    except NotJSON:
        mended = _LONE_SURROGATE.sub(lambda match: match[1] or b"\\u0000", body)
        if mended == body:
            raise
    return _decode_body(mended)


def _decode_body(body: bytes) -> list[UsageEventInput | Refusal]:
    start = body.lstrip()[:1]
    if start == b"{":
        raws = [msgspec.Raw(body)]
    elif start == b"[":
        raws = _split(body)
    else:
        raise NotJSON("The body must be a JSON list of events, or one JSON event.")
    if len(raws) > MAX_EVENTS_PER_BATCH:
        raise TooManyEvents(f"{len(raws):,} events in one body; at most {MAX_EVENTS_PER_BATCH:,} are taken.")
    decoded = [_decode_event(bytes(raw)) for raw in raws]
    if start == b"{" and isinstance(decoded[0], Refusal):
        _require_json(body)
    return decoded


def _split(body: bytes) -> list[msgspec.Raw]:
    try:
        return _split_list.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotJSON(f"The body is not JSON: {error}.") from error


def _require_json(body: bytes) -> None:
    """Tell one bad event (refused by index) from a body that is no JSON at all."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotJSON(f"The body is not JSON: {error}.") from error


def _decode_event(raw: bytes) -> UsageEventInput | Refusal:
    if len(raw) > MAX_EVENT_BYTES:
        return Refusal(
            "",
            "",
            f"the event has {len(raw):,} bytes, at most {MAX_EVENT_BYTES:,} are taken",
            "send measurements only, or split the event",
        )
    try:
        return _decode_one.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Refusal("", "", f"the event cannot be read: {error}", "send one JSON object per event, in UTF-8")


def check_event(
    event: UsageEventInput, *, received_at: datetime, oldest: datetime, rules: Mapping[str, TypeRule]
) -> UsageEvent | Refusal:
    """The event in its normalised form, or why it is refused.

    `oldest` is the dedupe horizon: an older event could not be told from one that was counted and forgotten. `rules`
    are the meters by event type; an event of a type without a meter passes, as it will be quarantined and may be
    replayed.
    """
    try:
        return _checked(event, received_at, oldest, rules)
    except _Refused as refused:
        field, reason, remedy = refused.args
        return Refusal(event.id if isinstance(event.id, str) else "", field, reason, remedy)


def _checked(
    event: UsageEventInput, received_at: datetime, oldest: datetime, rules: Mapping[str, TypeRule]
) -> UsageEvent:
    if event.specversion != "1.0":
        raise _Refused("specversion", "the version is not supported", 'send "specversion": "1.0"')
    event_id, source = _text(event.id, "id"), _text(event.source, "source")
    event_type, subject = _text(event.type, "type"), _text(event.subject, "subject")
    time = _time(event.time)
    if time > received_at + MAX_AHEAD:
        raise _Refused(
            "time", "the time lies more than 5 minutes ahead", "correct the producer's clock and send it again"
        )
    if time < oldest:
        raise _Refused(
            "time",
            f"the time is older than the dedupe horizon ({oldest.isoformat()})",
            "usage this old can no longer be checked for duplicates; have it corrected in billing",
        )
    data = _data(event.data)
    if event_type in rules:
        _check_rule(rules[event_type], data)
    data_json = _data_json(data)
    key = event_key(source, event_id)
    body = f"{event_type}\x1f{subject}\x1f{time.isoformat()}\x1f".encode() + data_json
    digest = blake2b(body, digest_size=16).hexdigest()
    return UsageEvent(key, digest, event_id, source, event_type, subject, time, data, data_json)


def event_key(source: str, event_id: str) -> str:
    """The identity of an event, as 32 hexadecimal digits. The length says where the source ends and the id begins."""
    return blake2b(f"{len(source)}:{source}{event_id}".encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _text(value: Any, field: str) -> str:
    if value is None or value == "":
        raise _Refused(field, f"the event has no {field}", f"give every event a {field}")
    if not isinstance(value, str):
        raise _Refused(field, f"the {field} is not a string", f"send {field} as a JSON string")
    if len(value) > TEXT_LIMITS[field]:
        raise _Refused(field, f"the {field} is longer than {TEXT_LIMITS[field]} characters", f"shorten the {field}")
    if (not value.isprintable() and _CONTROL.search(value)) or not _is_utf8(value):
        raise _Refused(field, f"the {field} holds characters that cannot be kept", "send printable text")
    return value


def _is_utf8(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _time(value: Any) -> datetime:
    if value is None or value == "":
        raise _Refused("time", "the event has no time", "give every event the time it happened")
    try:
        time = parse_time(value) if isinstance(value, str) else value
    except ValueError as error:
        raise _Refused("time", str(error), "send RFC 3339, such as 2026-10-03T10:00:00.123456Z") from error
    if not isinstance(time, datetime):
        raise _Refused("time", "the time is not a string", "send RFC 3339, such as 2026-10-03T10:00:00.123456Z")
    if time.tzinfo is None:
        raise _Refused("time", "the time has no offset from UTC", "add Z or an offset such as +02:00")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise _Refused("time", "the time does not exist in UTC", "send the time the usage happened") from error


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


def _data(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Refused("data", "data is not an object", "send the measurements as a JSON object")
    return value


def _data_json(data: Mapping[str, Any]) -> bytes:
    """Canonical bytes (keys sorted, numbers as written), for the digest and for storage."""
    try:
        encoded = _canonical.encode(data)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise _Refused("data", f"data cannot be kept: {error}", "send plain JSON values in UTF-8") from error
    if len(encoded) > MAX_EVENT_BYTES:
        raise _Refused("data", f"data is over {MAX_EVENT_BYTES:,} bytes", "send measurements only, or split the event")
    if b"\\u0000" in encoded and _NUL_IN_JSON.search(encoded):
        raise _Refused(
            "data", "data holds a character that cannot be kept", "remove NULs and halves of surrogate pairs"
        )
    return encoded


def _check_rule(rule: TypeRule, data: Mapping[str, Any]) -> None:
    for path in rule.value_paths:
        value = value_at(data, path)
        # The common case first: it is the only one that thousands of events a second take.
        if not (type(value) is int and 0 <= value < _MAX_WHOLE_QUANTITY):
            _check_quantity(value, "data." + ".".join(path))
    for path in rule.dimension_paths:
        _check_dimension(value_at(data, path), "data." + ".".join(path))


def _check_quantity(value: Any, field: str) -> None:
    if value is None:
        return  # Absent: this meter's pair is excluded with that reason, other meters may still count the event.
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise _Refused(field, "the quantity is not a number", "send a JSON number, or a decimal as a string")
    text = value if isinstance(value, str) else format(value, "f")
    if _QUANTITY.fullmatch(text):
        return
    if re.fullmatch(r"-[0-9]+(\.[0-9]+)?", text):
        raise _Refused(field, "the quantity is negative", "usage is never negative; have a correction made in billing")
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise _Refused(
            field, "the quantity has over 18 digits before the point or 12 after", "send a smaller unit or fewer digits"
        )
    raise _Refused(field, "the quantity is not a number", "send a JSON number, or a decimal as a string")


def _check_dimension(value: Any, field: str) -> None:
    if value is None or (isinstance(value, str) and len(value) <= MAX_DIMENSION_CHARACTERS):
        return
    if not isinstance(value, str | int | Decimal):
        raise _Refused(field, "a dimension is neither text nor number", "send one plain value")
    if len(str(value)) > MAX_DIMENSION_CHARACTERS:
        raise _Refused(field, f"a dimension is longer than {MAX_DIMENSION_CHARACTERS} characters", "shorten it")


def value_at(data: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value at a path below `data`, None when any step of it is missing."""
    value: Any = data
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value
