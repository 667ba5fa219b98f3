"""Usage told again in plain Python, with nothing of the code under test: what an aggregation says of some events.

Also the fingerprint of a window, from the published description of lookup3 and nothing of the database.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from hashlib import sha256

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
_EXACT = Context(prec=80)


@dataclass(frozen=True)
class Sent:
    """One event of one series that counts: the value as it was sent, as a text."""

    time: datetime
    event_id: str
    source: str
    value: str
    series: str

    @property
    def order(self) -> tuple[datetime, bytes, bytes]:
        return self.time, self.event_id.encode(), self.source.encode()


def expected(kind: str, events: Iterable[Sent], start: datetime, end: datetime) -> tuple[Decimal, int] | None:
    """What an aggregation says of [start, end), and of how many events; None where there is no usage to tell."""
    ordered = sorted(events, key=lambda event: event.order)
    inside = [event for event in ordered if start <= event.time < end]
    if kind == "time_weighted_average":
        return _average(ordered, inside, start, end)
    if not inside:
        return None
    values = [Decimal(event.value) for event in inside]
    if kind == "window_max":
        hours: dict[datetime, Decimal] = {}
        for event in inside:
            hour = event.time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
            hours[hour] = max(hours.get(hour, Decimal(0)), Decimal(event.value))
        return total(hours.values()), len(inside)
    answers = {
        "count": Decimal(len(inside)),
        "sum": total(values),
        "max": max(values),
        "min": min(values),
        "last": values[-1],
        "unique_count": Decimal(len({event.value for event in inside})),
    }
    return answers[kind], len(inside)


def total(values: Iterable[Decimal]) -> Decimal:
    """Exact; Decimal's own sum rounds to 28 digits, and a quantity may have 30."""
    summed = Decimal(0)
    for value in values:
        summed = _EXACT.add(summed, value)
    return summed


def _average(
    ordered: Sequence[Sent], inside: Sequence[Sent], start: datetime, end: datetime
) -> tuple[Decimal, int] | None:
    total = Fraction(0)
    for series in {event.series for event in ordered}:
        of_series = [event for event in ordered if event.series == series]
        for place, event in enumerate(of_series):
            until = of_series[place + 1].time if place + 1 < len(of_series) else end
            held = min(until, end) - max(event.time, start)
            if held > timedelta(0):
                total += Fraction(event.value) * (held // MICROSECOND)
    if not total and not inside:
        return None
    scaled = total / ((end - start) // MICROSECOND) * 10**12
    return _EXACT.scaleb(Decimal(int(scaled + Fraction(1, 2))), -12), len(inside)


# ---- the fingerprint: Bob Jenkins' lookup3 with 64-bit result, as PostgreSQL's hash functions have it


def fingerprint(source: str, event_id: str, time: datetime, hashed: bytes, *, weight: int = 0) -> int:
    """One event's share: `hashed` is what of the value is hashed, see below."""
    micros = (time - datetime(2000, 1, 1, tzinfo=UTC)) // MICROSECOND
    low, high = micros & 0xFFFFFFFF, (micros >> 32) & 0xFFFFFFFF
    folded = low ^ (high if micros >= 0 else ~high & 0xFFFFFFFF)
    identity = lookup3(source.encode(), lookup3(event_id.encode(), _lookup3_word(folded, 0)))
    share = (identity - 1) % 2**64 if hashed == b"" else lookup3(hashed, identity) ^ weight
    return share % 2**60


def fingerprint_of_number(source: str, event_id: str, time: datetime, number: Decimal) -> int:
    """A number is hashed by its digits to base 10,000 without zeros at the ends, two bytes each, and by its weight."""
    digits, weight = base_10000(number)
    packed = b"".join(digit.to_bytes(2, "little") for digit in digits)
    return fingerprint(source, event_id, time, packed, weight=weight % 2**64)


def fingerprint_of_value(source: str, event_id: str, time: datetime, value: str) -> int:
    """A value of a unique count is hashed by the first 16 bytes of its SHA-256."""
    return fingerprint(source, event_id, time, sha256(value.encode()).digest()[:16])


def base_10000(number: Decimal) -> tuple[list[int], int]:
    """The digits of a number of at most 12 places to base 10,000, and the exponent of the first of them."""
    whole = int(_EXACT.scaleb(number, 12))
    digits: list[int] = []
    while whole:
        whole, digit = divmod(whole, 10_000)
        digits.insert(0, digit)
    weight = len(digits) - 1 - 3
    while digits and digits[-1] == 0:
        digits.pop()
    return digits, weight


def _rotate(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & 0xFFFFFFFF


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    m = 0xFFFFFFFF
    a = (a - c) & m ^ _rotate(c, 4)
    c = (c + b) & m
    b = (b - a) & m ^ _rotate(a, 6)
    a = (a + c) & m
    c = (c - b) & m ^ _rotate(b, 8)
    b = (b + a) & m
    a = (a - c) & m ^ _rotate(c, 16)
    c = (c + b) & m
    b = (b - a) & m ^ _rotate(a, 19)
    a = (a + c) & m
    c = (c - b) & m ^ _rotate(b, 4)
    b = (b + a) & m
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    m = 0xFFFFFFFF
    c = ((c ^ b) - _rotate(b, 14)) & m
    a = ((a ^ c) - _rotate(c, 11)) & m
    b = ((b ^ a) - _rotate(a, 25)) & m
    c = ((c ^ b) - _rotate(b, 16)) & m
    a = ((a ^ c) - _rotate(c, 4)) & m
    b = ((b ^ a) - _rotate(a, 14)) & m
    c = ((c ^ b) - _rotate(b, 24)) & m
    return b << 32 | c


def _seeded(length: int, seed: int) -> tuple[int, int, int]:
    start = (0x9E3779B9 + length + 3923095) & 0xFFFFFFFF
    if not seed:
        return start, start, start
    return _mix((start + (seed >> 32)) & 0xFFFFFFFF, (start + seed) & 0xFFFFFFFF, start)


def _lookup3_word(word: int, seed: int) -> int:
    a, b, c = _seeded(4, seed)
    return _final((a + word) & 0xFFFFFFFF, b, c)


def lookup3(data: bytes, seed: int) -> int:
    """64 bits over the bytes. The last of a row's three words is left to the length: its lowest byte is not filled."""
    a, b, c = _seeded(len(data), seed)
    m = 0xFFFFFFFF
    while len(data) >= 12:
        a = (a + int.from_bytes(data[:4], "little")) & m
        b = (b + int.from_bytes(data[4:8], "little")) & m
        c = (c + int.from_bytes(data[8:12], "little")) & m
        a, b, c = _mix(a, b, c)
        data = data[12:]
    a = (a + int.from_bytes(data[:4], "little")) & m
    b = (b + int.from_bytes(data[4:8], "little")) & m
    c = (c + (int.from_bytes(data[8:], "little") << 8)) & m
    return _final(a, b, c)
