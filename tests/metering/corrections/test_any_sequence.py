"""Any sequence of ingests, voids, restores, amendments, backfills and reverts, with advances in between: windows are
what an independent model makes of the events in force, and each preview said what applying did."""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from metering import operations, queries
from metering.models import AggregationWindow, Correction
from metering.operations import CorrectionRefused
from tests.cleaning import Cleaner
from tests.metering import usage
from tests.metering.corrections.making import amend, apply, asked, backfill, of_ids, previewed
from tests.metering.usage import MORNING, NOW, event, hours

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ingest", "void", "restore", "amend", "backfill", "revert", "advance"]),
        st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=14,
)


@dataclass
class Model:
    """Events by id: (customer, hour, tokens) and whether they are in force; a correction is what it switched."""

    facts: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    in_force: dict[str, bool] = field(default_factory=dict)
    done: dict[int, dict[str, bool]] = field(default_factory=dict)

    def take(self, event_id: str, fact: tuple[str, int, int]) -> bool:
        if event_id in self.facts:
            return False
        self.facts[event_id], self.in_force[event_id] = fact, True
        return True

    def switch(self, correction: Correction, events: dict[str, bool]) -> None:
        self.in_force.update(events)
        self.done[correction.pk] = events

    def windows(self) -> dict[tuple[str, int], tuple[Decimal, int]]:
        sums: dict[tuple[str, int], list[int]] = defaultdict(list)
        for event_id, (customer, hour, tokens) in self.facts.items():
            if self.in_force[event_id]:
                sums[customer, hour].append(tokens)
        return {key: (Decimal(sum(tokens)), len(tokens)) for key, tokens in sums.items()}


def fact_of(number: int, salt: int) -> tuple[str, int, int]:
    return ("acme" if number % 2 else "beta", number % 3, 1 + salt)


def as_event(number: int, salt: int) -> operations.UsageEventInput:
    customer, hour, tokens = fact_of(number, salt)
    return event(f"e{number}", subject=customer, time=MORNING + hours(hour), data={"input_tokens": tokens})


def take_step(model: Model, kind: str, numbers: list[int], salt: int) -> None:
    """One step in the real thing and, where it was not refused, in the model."""
    names = [f"e{number}" for number in numbers]
    if kind == "ingest":
        usage.ingest(*(as_event(number, salt) for number in numbers))
        for number in numbers:
            model.take(f"e{number}", fact_of(number, salt))
    elif kind == "advance":
        operations.catch_up_windows(now=NOW)
    elif kind in ("void", "restore"):
        draft = operations.draft_void if kind == "void" else operations.draft_restore
        correction = checked(draft(of_ids(*names), asked(), now=NOW))
        wanted = kind == "restore"
        model.switch(correction, {name: wanted for name in names if model.in_force[name] != wanted})
    elif kind == "amend":
        customer, hour, _ = model.facts.get(names[0], ("acme", 0, 0))
        time = (MORNING + hours(hour)).isoformat()
        correction = checked(amend(names[0], subject=customer, time=time, input_tokens=salt))
        replacement = f"r{correction.pk}"
        model.facts[replacement] = (customer, hour, salt)
        model.switch(correction, {names[0]: False, replacement: True})
    elif kind == "backfill":
        correction = checked(backfill(*(as_event(number, salt) for number in numbers)))
        brought = {
            name: True for name, number in zip(names, numbers, strict=True) if model.take(name, fact_of(number, salt))
        }
        model.switch(correction, brought)
    elif model.done:
        target = sorted(model.done)[salt % len(model.done)]
        correction = checked(operations.draft_revert(target, asked(), now=NOW))
        model.switch(correction, {name: not was for name, was in model.done.pop(target).items()})


def checked(correction: Correction) -> Correction:
    """Apply it; what its preview said of each window is what the window then is."""
    expected = previewed(correction)
    apply(correction)
    operations.catch_up_windows(now=NOW)
    stored: dict[tuple[Any, ...], tuple[Any, ...]] = {
        (row.window_start, row.customer_key, row.meter.code, row.meter.version, str(sorted(row.dimensions.items()))): (
            row.quantity,
            row.event_count,
            int(row.fingerprint),
        )
        for row in AggregationWindow.objects.select_related("meter")
    }
    # A window whose events were all voided before they were aggregated never came to be.
    assert {key: stored.get(key, (0, 0, 0)) for key in expected} == expected
    return correction


@given(steps=STEPS)
@settings(max_examples=25)
def test_windows_are_what_the_events_in_force_make(
    metered: None, cleaner: Cleaner, steps: list[tuple[str, list[int], int]]
) -> None:
    cleaner.clean()
    usage.prepare()
    model = Model()
    for kind, numbers, salt in steps:
        try:
            take_step(model, kind, numbers, salt)
        except CorrectionRefused:
            continue
    operations.catch_up_windows(now=NOW)

    rows = AggregationWindow.objects.filter(meter__code="input_tokens", event_count__gt=0)
    found = {
        (row.customer_key, int((row.window_start - MORNING) / hours(1))): (row.quantity, row.event_count)
        for row in rows
    }
    assert found == model.windows()
    assert list(queries.verify_windows(MORNING, MORNING + hours(12))) == []
