"""How old events are when a stage has done with them, as percentiles from a histogram on a logarithmic scale. Pure.

Each step of the scale is GROWTH times as long as the one before, and a step answers with the value from which both of
its ends are equally far in proportion: an answer is at most RELATIVE_ERROR off, whatever the ages are. Histograms of
minutes, servers and days add up without losing that, which percentiles themselves do not. (Masson, Rim, Lee: DDSketch,
VLDB 2019, section 2.)
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Stage = Literal["windowed", "rated", "posted"]
STAGES: Mapping[Stage, str] = {
    "windowed": "Received to counted in its windows",
    "rated": "Received to rated",
    "posted": "Received to posted in the ledger",
}
"""There is no engine of limits yet, so no stage says when a limit knows of an event."""

RELATIVE_ERROR = 0.05
GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
MAX_STEP = 450
"""Beyond a thousand years."""
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class StepCount:
    """Events whose age lay in one step of the scale. `longest_us` is the longest of them in microseconds, exact."""

    step: int
    events: int
    longest_us: int


@dataclass(frozen=True, slots=True)
class Lag:
    """Ages at a stage in seconds: percentiles within RELATIVE_ERROR, the longest exactly. None without events."""

    events: int
    p50: float | None
    p90: float | None
    p99: float | None
    longest: float | None


def step_of(age_us: int) -> int:
    """The step of an age in microseconds; a clock that went back makes it 0."""
    return 0 if age_us <= 1 else min(math.ceil(math.log(age_us) / math.log(GROWTH)), MAX_STEP)


def age_of(step: int) -> float:
    """The age in microseconds that a step stands for."""
    return 1.0 if step == 0 else 2 * GROWTH**step / (GROWTH + 1)


def count_steps(ages: Iterable[tuple[int, int]]) -> list[StepCount]:
    """(age in microseconds, number of events) added up by step, in order."""
    events: dict[int, int] = {}
    longest: dict[int, int] = {}
    for age_us, number in ages:
        step = step_of(age_us)
        events[step] = events.get(step, 0) + number
        longest[step] = max(longest.get(step, 0), age_us)
    return [StepCount(step, events[step], longest[step]) for step in sorted(events)]


def lag_of(counts: Sequence[StepCount]) -> Lag:
    """Percentiles of a histogram. The p-th percentile is the age of the event at place ceil(p % of all)."""
    total = sum(count.events for count in counts)
    if not total:
        return Lag(0, None, None, None, None)
    ordered = sorted(counts, key=lambda count: count.step)
    longest = max(count.longest_us for count in counts)
    p50, p90, p99 = (min(_percentile(ordered, -(-total * percent // 100)), longest) / 1e6 for percent in PERCENTILES)
    return Lag(total, p50, p90, p99, longest / 1e6)


def _percentile(ordered: Sequence[StepCount], place: int) -> float:
    passed = 0
    for count in ordered:
        passed += count.events
        if passed >= place:
            return age_of(count.step)
    raise AssertionError("a place beyond the last event")
