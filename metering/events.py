"""Reading and checking usage events: pure functions, no database, no clock.

An event is a CloudEvent 1.0 (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md). Whatever is wrong
with one event becomes a `Refusal` for that event alone; only a body that is no JSON at all, or too many events, is an
error of the whole batch.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec

from metering.event_keys import event_key
from metering.event_times import microseconds_since_1970, parse_time, parse_utc

MAX_EVENTS_PER_BATCH = 5_000
MAX_EVENT_BYTES = 64 * 1024
MAX_AHEAD = timedelta(minutes=5)
"""A producer's clock may run ahead of ours by this much; a later event would land in a window that is not open yet."""

TEXT_LIMITS = {"id": 256, "source": 256, "type": 128, "subject": 128}
MAX_DIMENSION_CHARACTERS = 200

_JSON_TYPE = re.compile(r"\s*[\w.-]+/(?:[\w.-]+\+)?json\s*(?:;|$)", re.IGNORECASE | re.ASCII)
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


class UsageEventInput(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=False):
    """One event as its producer sent it: nothing in it has been checked yet, so every field may hold anything."""

    id: Any = None
    source: Any = None
    type: Any = None
    subject: Any = None
    time: Any = None
    data: Any = msgspec.field(default_factory=dict)
    specversion: Any = "1.0"
    datacontenttype: Any = None
    data_base64: Any = None


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
    value_names: tuple[str, ...] = field(init=False)
    dimension_names: tuple[str, ...] = field(init=False)
    is_flat: bool = field(init=False)
    """Whether every path is one name, so that the names say it all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "value_names", tuple(path[0] for path in self.value_paths))
        object.__setattr__(self, "dimension_names", tuple(path[0] for path in self.dimension_paths))
        paths = (*self.value_paths, *self.dimension_paths)
        object.__setattr__(self, "is_flat", all(len(path) == 1 for path in paths))


class UsageEvent(msgspec.Struct, frozen=True, gc=False):
    """A well-formed event. `key` is the hash of (source, id); `digest` of everything else, so a changed body shows."""

    key: str
    digest: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    epoch_us: int
    """`time` in microseconds since 1970."""
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
    decoded = [_decode_event(raw) for raw in raws]
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


def _decode_event(raw: msgspec.Raw) -> UsageEventInput | Refusal:
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
    """The event in its normalised form, or why it is refused. The arguments are those of `EventChecker`."""
    return EventChecker(received_at=received_at, oldest=oldest, rules=rules).check(event)


class EventChecker:
    """Checks the events of one batch; what they have in common is looked at once.

    `oldest` is the dedupe horizon: an older event could not be told from one that was counted and forgotten. `rules`
    are the meters by event type; an event of a type without a meter passes, as it will be quarantined and may be
    replayed.
    """

    def __init__(self, *, received_at: datetime, oldest: datetime, rules: Mapping[str, TypeRule]) -> None:
        self._received_at = received_at.astimezone(UTC)
        self._latest = self._received_at + MAX_AHEAD
        self._oldest = oldest.astimezone(UTC)
        self._rules = rules
        # Texts that were found good: most events of a batch share them.
        self._sources: set[str] = set()
        self._types: set[str] = set()
        self._subjects: set[str] = set()

    def check(self, event: UsageEventInput) -> UsageEvent | Refusal:
        """The event in its normalised form, or why it is refused."""
        try:
            return self._checked(event)
        except _Refused as refused:
            field, reason, remedy = refused.args
            return Refusal(event.id if isinstance(event.id, str) else "", field, reason, remedy)

    def _checked(self, event: UsageEventInput) -> UsageEvent:
        if event.specversion != "1.0":
            raise _Refused("specversion", "the version is not supported", 'send "specversion": "1.0"')
        event_id, source, event_type, subject = event.id, event.source, event.type, event.subject
        # The common case first, here and below: it is the only one that thousands of events a second take.
        if not (type(event_id) is str and 0 < len(event_id) <= 256 and event_id.isascii() and event_id.isprintable()):
            _text(event_id, "id")
        if type(source) is not str or source not in self._sources:
            self._sources.add(_text(source, "source"))
        if type(event_type) is not str or event_type not in self._types:
            self._types.add(_text(event_type, "type"))
        if type(subject) is not str or subject not in self._subjects:
            self._subjects.add(_text(subject, "subject"))
        # CloudEvents leaves the time to the producer's choice: without one, the usage happened when it was received.
        time = self._received_at if event.time is None else _time(event.time)
        if not self._oldest <= time <= self._latest:
            raise self._out_of_range(time)
        if event.datacontenttype is not None or event.data_base64 is not None:
            _require_json_data(event)
        data = event.data
        if type(data) is not dict:
            data = _data(data)
        rule = self._rules.get(event_type)
        if rule is not None and not _fits(rule, data):
            _check_rule(rule, data)
        data_json = _data_json(data)
        epoch_us = microseconds_since_1970(time)
        # Over what was sent: without a time, the same event is received at another instant and still the same.
        sent_time = "" if event.time is None else epoch_us
        digest = blake2b(f"{event_type}\x1f{subject}\x1f{sent_time}\x1f".encode() + data_json, digest_size=16)
        key = event_key(source, event_id)
        return UsageEvent(
            key, digest.hexdigest(), event_id, source, event_type, subject, time, epoch_us, data, data_json
        )

    def _out_of_range(self, time: datetime) -> _Refused:
        if time > self._latest:
            return _Refused(
                "time", "the time lies more than 5 minutes ahead", "correct the producer's clock and send it again"
            )
        return _Refused(
            "time",
            f"the time is older than the dedupe horizon ({self._oldest.isoformat()})",
            "usage this old can no longer be checked for duplicates; have it corrected in billing",
        )


def _text(value: Any, field: str) -> str:
    if value is None or value == "":
        raise _Refused(field, f"the event has no {field}", f"give every event a {field}")
    if not isinstance(value, str):
        raise _Refused(field, f"the {field} is not a string", f"send {field} as a JSON string")
    if len(value) > TEXT_LIMITS[field]:
        raise _Refused(field, f"the {field} is longer than {TEXT_LIMITS[field]} characters", f"shorten the {field}")
    if not is_keepable(value):
        raise _Refused(field, f"the {field} holds characters that cannot be kept", "send printable text")
    return value


def is_keepable(text: str) -> bool:
    """Whether PostgreSQL can keep a text, and a reader can see it: no control characters, no half surrogate pairs."""
    if text.isascii() and text.isprintable():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return not _CONTROL.search(text)


def _time(value: Any) -> datetime:
    if type(value) is str and (time := parse_utc(value)):
        return time
    if value == "":
        raise _Refused("time", "the time is empty", "leave the time out, or give the time the usage happened")
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


def _require_json_data(event: UsageEventInput) -> None:
    """No path leads into data of another kind, so no meter could count it."""
    kind = event.datacontenttype
    if kind is not None and not (isinstance(kind, str) and _JSON_TYPE.match(kind)):
        raise _Refused(
            "datacontenttype", "the data is not JSON", "send the measurements as a JSON object, with application/json"
        )
    if event.data_base64 is not None:
        raise _Refused("data_base64", "the data is not JSON", "send the measurements as a JSON object in data")


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


def _fits(rule: TypeRule, data: Mapping[str, Any]) -> bool:
    """Whether every value is absent or a whole number in range, and every dimension absent or a text, right below
    data; else it must be looked at closely."""
    for name in rule.value_names:
        value = data.get(name)
        if value is not None and (type(value) is not int or not 0 <= value < _MAX_WHOLE_QUANTITY):
            return False
    for name in rule.dimension_names:
        value = data.get(name)
        if value is not None and (type(value) is not str or len(value) > MAX_DIMENSION_CHARACTERS):
            return False
    return rule.is_flat


def _check_rule(rule: TypeRule, data: Mapping[str, Any]) -> None:
    for path in rule.value_paths:
        _check_quantity(value_at(data, path), "data." + ".".join(path))
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
