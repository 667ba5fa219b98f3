"""Large corrections in batches: killed anywhere they go on, two at once take turns, and nothing is done twice."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from metering import operations
from metering.models import Correction, CorrectionEvent, EventMark, UsageEvent
from metering.operations import CorrectionRefused
from metering.operations.corrections import deciding
from metering.operations.corrections.carrying_out import carry_out
from metering.queries.corrections import correction_progress
from metering.tasks import task_continue_corrections
from tests.metering.corrections.making import (
    ADA,
    BEN,
    apply,
    asked,
    backfill,
    changed,
    many,
    of_acme,
    of_ids,
    previewed,
    revert,
    state,
    windows,
)
from tests.metering.usage import NOW, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
BATCH = 10


@pytest.fixture(autouse=True)
def _small_batches(metered: None, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Batches of ten, so that a few dozen events are a large correction."""
    settings.METERING_CORRECTION_ALONE_EVENTS = 1_000

    def small(correction: Correction, *, now: object, at_most: int = 0) -> bool:
        return carry_out(correction, now=now, at_most=BATCH)  # type: ignore[arg-type]

    monkeypatch.setattr(deciding, "BATCH", BATCH)
    monkeypatch.setattr(deciding, "carry_out", small)


def begin(correction: Correction) -> None:
    digest = correction.previews.latest("number").digest
    begun = operations.apply_correction(correction.pk, digest=digest, actor=ADA, now=NOW)
    assert begun == "applying"


def one_batch(correction: Correction) -> None:
    """As far as a worker comes that is killed after its first batch."""
    operations.continue_correction(correction.pk, now=lambda: NOW, should_stop=lambda: True)


@pytest.mark.parametrize("kind", ["void", "backfill", "revert"])
def test_a_large_one_goes_on_where_it_was_interrupted(kind: str) -> None:
    ingest(event("kept", subject="beta"))
    if kind == "backfill":
        correction = backfill(*many(35), event("kept", subject="beta"))
    else:
        ingest(*many(35))
        correction = operations.draft_void(of_acme(), asked(), now=NOW)
    before = windows()
    if kind == "revert":
        before = revert_draft_of(apply(correction))
        correction = Correction.objects.latest("pk")
    expected = previewed(correction)

    begin(correction)
    one_batch(correction)
    middle = correction_progress(correction)
    assert 0 < middle.done < middle.total
    one_batch(correction)
    assert operations.corrections_under_way() == [correction.pk]
    task_continue_corrections()

    assert changed(before, windows()) == expected
    assert (state(correction), operations.corrections_under_way()) == ("applied", [])
    assert correction_progress(correction).percent == 100


def revert_draft_of(correction: Correction) -> dict:
    before = windows()
    operations.draft_revert(correction.pk, asked(), now=NOW)
    return before


def test_a_batch_that_fails_leaves_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    correction = backfill(*many(25))
    begin(correction)

    def dies(*_: object, **__: object) -> bool:
        carry_out(correction, now=NOW, at_most=BATCH)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(deciding, "carry_out", dies)
        with pytest.raises(KeyboardInterrupt):
            operations.continue_correction(correction.pk, now=lambda: NOW)
    assert (UsageEvent.objects.count(), CorrectionEvent.objects.count()) == (0, 0)
    operations.continue_correction(correction.pk, now=lambda: NOW)

    assert UsageEvent.objects.count() == CorrectionEvent.objects.count() == 25


def test_corrections_take_turns() -> None:
    ingest(*many(25), event("b1", subject="beta"))
    large = operations.draft_void(of_acme(), asked(), now=NOW)
    small = operations.draft_void(of_ids("b1"), asked(), now=NOW)
    begin(large)

    with pytest.raises(CorrectionRefused, match=f"Correction {large.pk} is being applied"):
        apply(small)
    operations.continue_correction(large.pk, now=lambda: NOW)
    apply(small)

    assert state(small) == "applied"


def test_events_that_arrive_meanwhile_are_left_alone() -> None:
    ingest(*many(25))
    correction = operations.draft_void(of_acme(), asked(), now=NOW)
    begin(correction)
    one_batch(correction)
    ingest(event("meanwhile"))
    operations.continue_correction(correction.pk, now=lambda: NOW)

    assert {n for _, n, _ in windows().values()} == {1}
    assert EventMark.objects.count() == 25


def test_two_people_voiding_the_same_event_at_once_void_it_once() -> None:
    ingest(event("e1"))
    drafts = [operations.draft_void(of_ids("e1"), asked(actor=actor), now=NOW) for actor in (ADA, BEN)]

    outcomes = at_once(*(lambda draft=draft: apply(draft) for draft in drafts))

    refused = [outcome for outcome in outcomes if isinstance(outcome, CorrectionRefused)]
    assert len(refused) == 1
    assert "void already" in str(refused[0])
    assert EventMark.objects.count() == 1
    assert sorted(state(draft) for draft in drafts) == ["applied", "drafted"]


def test_two_who_revert_the_same_correction_at_once_revert_it_once() -> None:
    ingest(event("e1"))
    before = windows()
    correction = apply(operations.draft_void(of_ids("e1"), asked(), now=NOW))
    drafts = [operations.draft_revert(correction.pk, asked(actor=actor), now=NOW) for actor in (ADA, BEN)]

    outcomes = at_once(*(lambda draft=draft: apply(draft) for draft in drafts))

    assert sum(isinstance(outcome, CorrectionRefused) for outcome in outcomes) == 1
    assert windows() == before
    with pytest.raises(CorrectionRefused):
        revert(correction)


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What the calls returned or raised, each in a thread and connection of its own."""
    outcomes: list[object] = []
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        try:
            barrier.wait(timeout=60)
            outcomes.append(call())
        except CorrectionRefused as refused:
            outcomes.append(refused)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(outcomes) == len(calls)
    return outcomes
