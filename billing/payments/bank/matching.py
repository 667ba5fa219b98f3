"""
Which bank line is which payout. Pure, and a function of the lines and payouts alone: in which order they became known
does not matter.

A line is a payout when amount and currency are equal, the days are near, the reference says so and names no other, and
nothing else could be either of them. Everything else is for a person.
"""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

Key = tuple[int, str]
"""A payout's id and the leg of its way (models.Leg)."""
_SATURDAY = 5
_TRACE_MIN = 6


@dataclass(frozen=True, slots=True)
class Movement:
    """What should be seen at the bank. `trace_id` and `descriptor` may be empty."""

    key: Key
    amount_minor: int
    currency: str
    expected_on: date
    trace_id: str = ""
    descriptor: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    id: int
    amount_minor: int
    currency: str
    booked_on: date
    value_on: date | None
    reference: str


@dataclass(frozen=True, slots=True)
class Pairing:
    """`pairs`: what is certain, with why. `candidates`: what could be, where that is not one for one."""

    pairs: Mapping[int, tuple[Key, str]]
    candidates: Mapping[int, tuple[Key, ...]]


def bank_days_between(one: date, other: date) -> int:
    """Days from Monday to Friday after the earlier, up to the later. Banks' holidays are not known here."""
    first, last = min(one, other), max(one, other)
    weeks, rest = divmod((last - first).days, 7)
    return weeks * 5 + sum((first + timedelta(days=day)).weekday() < _SATURDAY for day in range(1, rest + 1))


def add_bank_days(day: date, count: int) -> date:
    """The last day that is `count` bank days after `day`: what comes then is still in time."""
    while count > 0:
        day += timedelta(days=1)
        count -= day.weekday() < _SATURDAY
    return day


def says(reference: str, word: str) -> bool:
    """Whether a word of the text begins with this word, in any case."""
    return bool(word) and re.search(rf"(?<![^\W_]){re.escape(word)}", reference, flags=re.IGNORECASE) is not None


def names_trace(reference: str, trace_id: str) -> bool:
    """Whether the text holds the trace id, however the bank broke it into groups."""
    trace = _letters(trace_id)
    return len(trace) >= _TRACE_MIN and trace in _letters(reference)


def pair(
    lines: Iterable[Line],
    movements: Iterable[Movement],
    *,
    days: int,
    words: Sequence[str],
    barred: Container[tuple[int, Key]] = (),
) -> Pairing:
    """
    Pair lines with movements at most `days` bank days apart. `words`: any of them in a reference means Stripe.
    `barred`: what a person said is not so.
    """
    by_amount: dict[tuple[str, int], list[Movement]] = {}
    traces: set[str] = set()
    for movement in movements:
        by_amount.setdefault((movement.currency, movement.amount_minor), []).append(movement)
        traces.add(_letters(movement.trace_id))
    traces = {trace for trace in traces if len(trace) >= _TRACE_MIN}
    edges: dict[int, dict[Key, str]] = {}
    traced: set[Key] = set()
    for line in lines:
        same = by_amount.get((line.currency, line.amount_minor), ())
        near = [one for one in same if _is_near(line, one, days) and (line.id, one.key) not in barred]
        named = [movement for movement in near if names_trace(line.reference, movement.trace_id)]
        traced.update(movement.key for movement in named)
        found = {one.key: f"the reference names Stripe's trace id {one.trace_id}" for one in named}
        # One that names another payout (of another amount, or too long ago) is not this one, whatever else it says.
        letters = "" if found or not near else _letters(line.reference)
        if not found and not any(trace in letters for trace in traces):
            found = {one.key: word for one in near if (word := _why(line.reference, one, words))}
        if found:
            edges[line.id] = found
    return _certain(_without_traced(edges, traced))


def _is_near(line: Line, movement: Movement, days: int) -> bool:
    of_line = [day for day in (line.booked_on, line.value_on) if day is not None]
    return any(bank_days_between(day, movement.expected_on) <= days for day in of_line)


def _why(reference: str, movement: Movement, words: Sequence[str]) -> str:
    for word in (movement.descriptor, *words):
        if says(reference, word):
            return f"the only payout of this amount near this day, and the reference says {word}"
    return ""


def _without_traced(edges: Mapping[int, Mapping[Key, str]], traced: set[Key]) -> dict[int, dict[Key, str]]:
    """A movement whose trace id some line names is no other line's."""
    return {
        line: {key: why for key, why in found.items() if key not in traced or "trace id" in why}
        for line, found in edges.items()
    }


def _certain(edges: Mapping[int, Mapping[Key, str]]) -> Pairing:
    claims: dict[Key, int] = {}
    for found in edges.values():
        for key in found:
            claims[key] = claims.get(key, 0) + 1
    pairs: dict[int, tuple[Key, str]] = {}
    candidates: dict[int, tuple[Key, ...]] = {}
    for line, found in edges.items():
        if len(found) == 1 and claims[next(iter(found))] == 1:
            [pairs[line]] = found.items()
        elif found:
            candidates[line] = tuple(sorted(found))
    return Pairing(pairs, candidates)


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text).upper()
