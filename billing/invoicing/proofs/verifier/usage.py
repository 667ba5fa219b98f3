"""
From raw events to the hours they make: what a meter counts, void marks, windows, and their fingerprints.

Written for auditors: Python's standard library alone, no line of the code that made the invoice, whole numbers and
fractions only. The rules are told in docs/invoice-proofs.md.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Any

HOUR = 3_600_000_000
"""Microseconds. Every instant here is a whole number of them since 1970, UTC."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_SINCE_2000 = 946_684_800_000_000
_PLAIN_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,12})?", re.ASCII)
_LOW = 0xFFFFFFFF
_SIXTY_BITS = 2**60 - 1

Dimensions = tuple[tuple[str, str | None], ...]


class Unreadable(Exception):
    """The proof, or what it rests on, is not what this verifier can read; the text says where."""


def instant(text: str) -> int:
    """Microseconds since 1970 of an instant such as 2026-10-01T00:00:00Z."""
    return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND


def hour_of(at: int) -> int:
    return at - at % HOUR


def shown(at: int) -> str:
    """An instant as people read it."""
    text = (_EPOCH + at * _MICROSECOND).strftime("%Y-%m-%d %H:%M:%S.%f")
    return text.rstrip("0").rstrip(".").removesuffix(":00") + " UTC"


def plain(number: Fraction) -> str:
    """A number without exponent and trailing zeros; one without an end is shown as a fraction."""
    scaled = number * 10**12
    if scaled.denominator != 1:
        return f"{number.numerator}/{number.denominator}"
    digits = f"{abs(scaled.numerator):013d}"
    text = f"{digits[:-12]}.{digits[-12:]}".rstrip("0").rstrip(".")
    return f"-{text}" if number < 0 else text


@dataclass(frozen=True, slots=True)
class Event:
    """
    One raw event. `xid` numbers the database transaction that recorded it; a mark is (xid, -1 void or +1 restored).

    `keys` holds, by path, the first 16 bytes of the SHA-256 of values that are only told apart, where the value itself
    was left out.
    """

    source: str
    event_id: str
    at: int
    event_type: str
    xid: int
    data: Mapping[str, Any]
    marks: Sequence[tuple[int, int]] = ()
    keys: Mapping[str, str] = field(default_factory=dict)

    def counts(self, position: int) -> bool:
        """Whether it was recorded, and not void, before that transaction."""
        return self.xid < position and sum(sign for xid, sign in self.marks if xid < position) >= 0

    @property
    def name(self) -> str:
        return f"event {self.event_id} of {self.source}"


def event_of(row: Mapping[str, Any]) -> Event:
    """An event from its row in a bundle, whose numbers were read as Decimal or int. Raises Unreadable."""
    try:
        marks = [(int(xid), int(sign)) for xid, sign in row.get("marks", ())]
        at = instant(row["time"])
        xid = int(row["xid"])
        return Event(row["source"], row["id"], at, row["type"], xid, row["data"], marks, row.get("keys") or {})
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"event {row.get('id')!r} of {row.get('source')!r} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Counted:
    """What one event adds to one meter."""

    at: int
    source: str
    event_id: str
    dimensions: Dimensions
    quantity: Fraction
    share: int
    # What tells its value from others, where different values are counted.
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """One version of a meter, as the proof holds it."""

    code: str
    version: int
    event_type: str
    value_path: str
    aggregation: str
    filters: Sequence[Mapping[str, Sequence[str]]]
    dimensions: Sequence[str]
    counts_from: int
    counts_before: int | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Meter":
        return cls(**{name: row[name] for name in cls.__slots__})

    def counted(self, event: Event) -> Counted | None:
        """What the meter counts of the event; None for nothing."""
        if event.event_type != self.event_type or event.xid < self.counts_from:
            return None
        if self.counts_before is not None and event.xid >= self.counts_before:
            return None
        if self.filters and not any(_fits(event.data, one) for one in self.filters):
            return None
        identity, key = _identity(event), None
        if self.aggregation == "unique_count":
            key = value_key(event, self.value_path)
            if key is None:
                return None
            quantity, share = Fraction(1), _lookup3(key, identity)
        else:
            found = Fraction(1) if self.aggregation == "count" else _number(_value(event.data, self.value_path))
            if found is None:
                return None
            quantity, share = found, _share_of_number(found, identity)
        named = tuple((name, _dimension(event.data, name)) for name in sorted(self.dimensions))
        return Counted(event.at, event.source, event.event_id, named, quantity, share & _SIXTY_BITS, key)


def _fits(data: Mapping[str, Any], alternative: Mapping[str, Sequence[str]]) -> bool:
    return all(_text(_below(data, path.split("."))) in allowed for path, allowed in alternative.items())


def _value(data: Mapping[str, Any], value_path: str) -> Any:
    return _below(data, value_path.split(".")[1:])


def _below(data: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(data, list) and step.isdigit() and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data


def _number(value: Any) -> Fraction | None:
    """A quantity: a number, or a text that is one, of at least 0 and below 10^18, with at most 12 places."""
    if isinstance(value, str):
        return Fraction(value) if _PLAIN_NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    places = -int(number.as_tuple().exponent)
    return Fraction(number) if 0 <= number < 10**18 and places <= 12 else None


def _text(value: Any) -> str | None:
    """A value as PostgreSQL's jsonb writes it as text."""
    if value is None or isinstance(value, str):
        return value
    return _json(value)


def _json(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        return "{" + ", ".join(f"{_json(name)}: {_json(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _dimension(data: Mapping[str, Any], name: str) -> str | None:
    text = _text(_below(data, name.split(".")))
    return None if text is None else text[:200]


def value_key(event: Event, path: str) -> bytes | None:
    """By what a value is told from others where different ones are counted: 16 bytes of its text's SHA-256."""
    if path in event.keys:
        return bytes.fromhex(event.keys[path])
    value = _value(event.data, path)
    if value is None or isinstance(value, Mapping | list):
        return None
    return sha256((_text(value) or "").encode()).digest()[:16]


# ---- fingerprints: Bob Jenkins' lookup3 with a 64-bit result and seed


def _identity(event: Event) -> int:
    """64 bits of time, id and source, each seeded with the one before."""
    since = event.at - _SINCE_2000
    low, high = since & _LOW, (since >> 32) & _LOW
    word = low ^ (high if since >= 0 else ~high & _LOW)
    of_time = _last((_start(4) + word) & _LOW, _start(4), _start(4))
    return _lookup3(event.source.encode(), _lookup3(event.event_id.encode(), of_time))


def _share_of_number(number: Fraction, identity: int) -> int:
    """A number by its digits to base 10,000, two bytes each, without zeros at its ends, and by its weight."""
    whole = int(number * 10**12)
    if not whole:
        return identity - 1
    digits: list[int] = []
    while whole:
        whole, digit = divmod(whole, 10_000)
        digits.append(digit)
    weight = len(digits) - 4
    while not digits[0]:
        del digits[0]
    packed = b"".join(digit.to_bytes(2, "little") for digit in reversed(digits))
    return _lookup3(packed, identity) ^ (weight & (2**64 - 1))


def _start(length: int) -> int:
    return (0x9E3779B9 + length + 3_923_095) & _LOW


def _lookup3(data: bytes, seed: int) -> int:
    a = b = c = _start(len(data))
    if seed:
        a, b, c = _mixed((a + (seed >> 32)) & _LOW, (b + seed) & _LOW, c)
    place, end, word = 0, len(data), int.from_bytes
    while end - place >= 12:
        a = (a + word(data[place : place + 4], "little")) & _LOW
        b = (b + word(data[place + 4 : place + 8], "little")) & _LOW
        c = (c + word(data[place + 8 : place + 12], "little")) & _LOW
        a, b, c = _mixed(a, b, c)
        place += 12
    a = (a + word(data[place : place + 4], "little")) & _LOW
    b = (b + word(data[place + 4 : place + 8], "little")) & _LOW
    # The lowest byte of the last word is left to the length.
    c = (c + (word(data[place + 8 :], "little") << 8)) & _LOW
    return _last(a, b, c)


def _turned(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & _LOW


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for first, second, third in ((4, 6, 8), (16, 19, 4)):
        a = ((a - c) & _LOW) ^ _turned(c, first)
        c = (c + b) & _LOW
        b = ((b - a) & _LOW) ^ _turned(a, second)
        a = (a + c) & _LOW
        c = ((c - b) & _LOW) ^ _turned(b, third)
        b = (b + a) & _LOW
    return a, b, c


def _last(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - _turned(b, 14)) & _LOW
    a = ((a ^ c) - _turned(c, 11)) & _LOW
    b = ((b ^ a) - _turned(a, 25)) & _LOW
    c = ((c ^ b) - _turned(b, 16)) & _LOW
    a = ((a ^ c) - _turned(c, 4)) & _LOW
    b = ((b ^ a) - _turned(a, 14)) & _LOW
    c = ((c ^ b) - _turned(b, 24)) & _LOW
    return b << 32 | c


# ---- windows


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Which window: its hour, how many microseconds after that its part begins, the meter by its place, dimensions."""

    hour: int
    part: int
    meter: int
    order: tuple[tuple[str, bool, str], ...]
    dimensions: Dimensions = field(compare=False)

    @classmethod
    def of(cls, hour: int, part: int, meter: int, dimensions: Dimensions) -> "Place":
        return cls(hour, part, meter, in_order(dimensions), dimensions)


@dataclass(frozen=True, slots=True)
class Window:
    """What a window holds."""

    quantity: Fraction
    events: int
    fingerprint: int


def in_order(dimensions: Dimensions) -> tuple[tuple[str, bool, str], ...]:
    """By what usage of one hour is told apart and ordered: its dimensions by name, none before any value."""
    return tuple(sorted((name, value is not None, value or "") for name, value in dimensions))


Instants = Callable[[str, Dimensions], Sequence[int]]


def windows_of(
    events: Iterable[Event], meters: Sequence[Meter], starts: int, ends: int, *, position: int, cuts: Instants
) -> tuple[dict[Place, Window], dict[str, list[Counted]], list[str]]:
    """
    The windows that the events of [starts, ends) make, what each event adds by meter, and what is wrong with events.

    An hour within which the price of a meter and dimensions changes is in parts, from the instants that `cuts` tells.
    """
    found: dict[tuple[int, int, int, Dimensions], list[Counted]] = {}
    by_code: dict[str, list[Counted]] = {}
    wrong: list[str] = []
    seen: set[tuple[str, str]] = set()
    for event in events:
        if not starts <= event.at < ends:
            continue
        if (event.source, event.event_id) in seen:
            wrong.append(f"{event.name} is there twice")
            continue
        seen.add((event.source, event.event_id))
        if not event.counts(position):
            continue
        for number, meter in enumerate(meters):
            one = meter.counted(event)
            if one is not None:
                hour, part = _place(event.at, cuts(meter.code, one.dimensions))
                found.setdefault((hour, part, number, one.dimensions), []).append(one)
                by_code.setdefault(meter.code, []).append(one)
    made = {}
    for (hour, part, number, dimensions), counted in found.items():
        meter = meters[number]
        later = [at - hour for at in cuts(meter.code, dimensions) if hour + part < at < hour + HOUR]
        end = min(hour + min([*later, HOUR]), ends)
        prints = sum(one.share for one in counted)
        window = Window(_quantity(meter.aggregation, counted, end), len(counted), prints)
        made[Place.of(hour, part, number, dimensions)] = window
    return made, by_code, wrong


def _place(at: int, instants: Sequence[int]) -> tuple[int, int]:
    hour = hour_of(at)
    before = bisect_right(instants, at)
    return (hour, max(instants[before - 1] - hour, 0)) if before else (hour, 0)


def _quantity(aggregation: str, counted: Sequence[Counted], end: int) -> Fraction:
    values = [one.quantity for one in counted]
    if aggregation in ("sum", "count"):
        return sum(values, Fraction(0))
    if aggregation in ("max", "window_max"):
        return max(values)
    if aggregation == "min":
        return min(values)
    if aggregation == "unique_count":
        return Fraction(len({one.key for one in counted}))
    ordered = sorted(counted, key=lambda one: (one.at, one.event_id.encode(), one.source.encode()))
    if aggregation == "last":
        return ordered[-1].quantity
    if aggregation != "time_weighted_average":
        raise Unreadable(f"aggregation {aggregation!r} is not known to this verifier")
    untils = [*(one.at for one in ordered[1:]), end]
    held = sum((one.quantity * (until - one.at) for one, until in zip(ordered, untils, strict=True)), Fraction(0))
    # Twelve places, half away from zero: it is never below zero.
    return Fraction(int(held / (end - ordered[0].at) * 10**12 + Fraction(1, 2)), 10**12)
