"""
The public cases of billing: facts that other systems' tests and documents state, and what our functions make of them.

Each case names a calculation (`calc`), its input and what is expected. An adapter hands the input to a public function
and gives back the figures under the names of the expectation. What our decisions make otherwise is said by a rule of
`decisions.py`, never by a case's id, so that a fuller file of the same kinds is judged by the same rules.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[4] / "shared" / "data" / "cases" / "cases.json"
Adapter = Callable[[dict[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """One stated fact. No number of it was ever a float."""

    id: str
    area: str
    calc: str
    given: dict[str, Any]
    expected: dict[str, Any]
    note: str


class Verdict(Enum):
    """What became of a case."""

    REPRODUCED = "reproduced"
    ELSEWHERE = "by another test"
    DIFFERS = "differs by decision"
    LATER = "of a later issue"
    UNKNOWN = "no such calculation"
    FAILED = "NOT reproduced"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case, its verdict, and why: the decision, the test, or how the figures differ."""

    case: Case
    verdict: Verdict
    because: str = ""


def read_cases(file: Path = FILE) -> list[Case]:
    """Return the cases of a file, none if it is absent."""
    if not file.exists():
        return []
    document = json.loads(file.read_text(), parse_float=Decimal)
    return [
        Case(one["id"], one["area"], one["calc"], one["input"], one["expected"], one.get("note", ""))
        for one in document["cases"]
    ]


def judge(
    case: Case,
    adapters: Mapping[str, Adapter],
    *,
    decided: Callable[[Case], str | None],
    elsewhere: Mapping[str, str],
    later: Mapping[str, str],
) -> Outcome:
    """Return what becomes of a case; whatever an adapter raises is told as a failure, with its reason."""
    if case.calc in later:
        return Outcome(case, Verdict.LATER, later[case.calc])
    if case.calc in elsewhere:
        decision = decided(case)
        return (
            Outcome(case, Verdict.DIFFERS, decision)
            if decision
            else Outcome(case, Verdict.ELSEWHERE, elsewhere[case.calc])
        )
    if case.calc not in adapters:
        return Outcome(case, Verdict.UNKNOWN, f"no adapter for {case.calc!r}")
    try:
        figures = adapters[case.calc](case.given)
        wrong = [name for name, value in case.expected.items() if not agrees(value, figures.get(name))]
        told = ", ".join(f"{name} {figures.get(name)} where {case.expected[name]} is expected" for name in wrong)
    except Exception as error:  # noqa: BLE001 - a case of a shape nobody thought of must not end the count
        wrong, told = ["error"], f"{type(error).__name__}: {error}"
    if not wrong:
        return Outcome(case, Verdict.REPRODUCED)
    if decision := decided(case):
        return Outcome(case, Verdict.DIFFERS, f"{decision} ({told})")
    return Outcome(case, Verdict.FAILED, told)


def agrees(expected: Any, actual: Any) -> bool:
    """Whether both are the same: numbers by value, lists and mappings part by part, all else as it is."""
    if isinstance(expected, Mapping):
        return isinstance(actual, Mapping) and all(agrees(expected[key], actual.get(key)) for key in expected)
    if isinstance(expected, list | tuple):
        return (
            isinstance(actual, list | tuple)
            and len(expected) == len(actual)
            and all(agrees(one, other) for one, other in zip(expected, actual, strict=True))
        )
    if expected is None or actual is None or isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    one, other = _number(expected), _number(actual)
    return one == other if one is not None and other is not None else str(expected) == str(actual)


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the count per area and verdict, and beneath it each case that is not reproduced, with its reason."""
    told = list(outcomes)
    areas = list(dict.fromkeys(outcome.case.area for outcome in told))
    lines = []
    for area in areas:
        counts = Counter(outcome.verdict for outcome in told if outcome.case.area == area)
        others = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict])
        lines.append(f"{area:<12} {counts.total():>3} cases: {others}")
    reasons = [
        f"  {outcome.case.id} ({outcome.case.calc}): {outcome.verdict.value}: {outcome.because}"
        for outcome in told
        if outcome.verdict is not Verdict.REPRODUCED
    ]
    return "\n".join([*lines, *reasons])


def _number(value: Any) -> Fraction | None:
    try:
        return Fraction(Decimal(value) if isinstance(value, str) else value)
    except (TypeError, ValueError, InvalidOperation, OverflowError):
        return None
