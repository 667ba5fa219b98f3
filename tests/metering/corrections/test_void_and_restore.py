"""Voiding events and putting them in force again: windows follow, raw events stay, and nothing is done twice."""

from datetime import timedelta

import pytest

from metering import operations
from metering.models import Correction, CorrectionPreview, EventMark, UsageEvent
from metering.operations import CorrectionRefused, PreviewOutdated, Selection
from tests.metering.corrections.making import (
    ADA,
    apply,
    asked,
    changed,
    key_of,
    of_acme,
    of_ids,
    previewed,
    revert,
    state,
    steps,
    void,
    windows,
)
from tests.metering.usage import MORNING, NOW, event, hours, ingest

ACCEPTED_BEFORE = "the same event was accepted before"
VOIDED_SINCE = f"{ACCEPTED_BEFORE}, and a correction voided it since"

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture(autouse=True)
def _usage(metered: None) -> None:
    ingest(event("e1"), event("e2"), event("e3", time=MORNING + hours(1)), event("b1", subject="beta"))


def test_a_voided_event_counts_no_longer_and_is_still_there() -> None:
    before = windows()

    correction = operations.draft_void(of_ids("e1"), asked(), now=NOW)
    expected = previewed(correction)
    apply(correction)

    after = windows()
    assert changed(before, after) == expected
    assert len(expected) == 3  # input, output and cache write tokens of one hour
    assert {figures[:2] for figures in expected.values()} == {(100, 1), (10, 1), (0, 1)}
    assert UsageEvent.objects.count() == 4
    assert steps(correction) == [("drafted", ADA), ("applying", ADA), ("applied", ADA)]


def test_drafting_changes_nothing() -> None:
    before = windows()

    operations.draft_void(of_acme(), asked(), now=NOW)

    assert windows() == before
    assert EventMark.objects.count() == 0


def test_a_reverted_void_gives_the_same_figures_as_before() -> None:
    before = windows()

    correction = void(of_acme())
    assert {key[1] for key in windows()} == {"beta"}
    undone = revert(correction)

    assert windows() == before
    assert (state(correction), state(undone)) == ("reverted", "applied")


def test_a_revert_is_reverted_by_another_one_and_so_on() -> None:
    before = windows()
    correction = void(of_ids("e1", "e3"))
    voided = windows()

    first = revert(correction)
    second = revert(first)
    assert windows() == voided
    third = revert(second)

    assert windows() == before
    assert [state(each) for each in (correction, first, second, third)] == ["reverted"] * 3 + ["applied"]
    with pytest.raises(CorrectionRefused, match=f"revert correction {first.pk}"):
        revert(correction)


def test_an_event_that_is_not_aggregated_yet_can_be_voided() -> None:
    windows()
    ingest(event("fresh", data={"input_tokens": 1_000}))

    correction = operations.draft_void(of_ids("fresh"), asked(), now=NOW)
    expected = previewed(correction)
    apply(correction)

    after = windows()
    assert {key: after[key] for key in expected} == expected
    assert UsageEvent.objects.filter(event_id="fresh").exists()


def test_a_late_repeat_of_a_voided_event_is_still_a_duplicate() -> None:
    void(of_ids("e1"))
    before = windows()

    again = ingest(event("e1"))

    assert (again.accepted, again.duplicates) == (0, 1)
    assert windows() == before


@pytest.mark.parametrize("size", [1, 100])
def test_a_repeat_says_that_its_event_was_voided_until_it_is_restored(size: int) -> None:
    ingest(*(event(f"many-{number}") for number in range(size)))
    voiding = void(of_ids("many-0"))
    sent = [*(event(f"many-{number}") for number in range(size)), event("new"), event("new")]

    told = [outcome.reason for outcome in ingest(*sent).outcomes]
    assert told == [VOIDED_SINCE, *[ACCEPTED_BEFORE] * size]

    revert(voiding)
    assert {outcome.reason for outcome in ingest(*sent).outcomes} == {ACCEPTED_BEFORE}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (of_acme(), {"e1", "e2", "e3"}),
        (of_acme(end=MORNING + hours(1)), {"e1", "e2"}),
        (of_acme(start=MORNING + timedelta(microseconds=1)), {"e3"}),
        (of_acme(event_type="llm.request", where={"model": ["claude-sonnet-5", "x"]}), {"e1", "e2", "e3"}),
        (Selection(source="edge/us-east-1", start=MORNING, end=NOW), {"e1", "e2", "e3", "b1"}),
    ],
)
def test_a_selection_names_exactly_what_fits(selection: Selection, expected: set[str]) -> None:
    correction = operations.draft_void(selection, asked(), now=NOW)
    apply(correction)

    marked = {mark.key for mark in EventMark.objects.all()}
    assert {row.event_id for row in UsageEvent.objects.all() if row.key in marked} == expected


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        (Selection(start=MORNING, end=NOW), "means everybody"),
        (of_acme(start=NOW, end=MORNING), "ends before it starts"),
        (Selection(customer_key="acme"), "time range"),
        (of_acme(event_type="nothing"), "No event fits"),
        (of_acme(where={"model": ["nothing"]}), "No event fits"),
        (of_ids("e1", "never"), "1 of the events were never accepted"),
        (of_acme(start=MORNING - timedelta(days=800)), "no events of 2024-"),
    ],
)
def test_a_selection_that_cannot_be_meant_is_refused_and_leaves_nothing(selection: Selection, why: str) -> None:
    with pytest.raises(CorrectionRefused, match=why):
        operations.draft_void(selection, asked(), now=NOW)

    assert Correction.objects.count() == 0


def test_what_is_void_already_is_counted_apart_and_left_alone() -> None:
    void(of_ids("e1"))

    correction = operations.draft_void(of_acme(), asked(), now=NOW)

    assert correction.previews.get().counts == {"chosen": 3, "already_void": 1, "voided": 2}
    apply(correction)
    with pytest.raises(CorrectionRefused, match="void already"):
        operations.draft_void(of_acme(), asked(), now=NOW)


def test_single_events_of_a_void_are_restored() -> None:
    before = windows()
    void(of_acme())

    apply(operations.draft_restore(of_ids("e1", "e2"), asked(), now=NOW))

    assert windows() == {key: value for key, value in before.items() if key[0] == MORNING}
    with pytest.raises(CorrectionRefused, match="None of the events"):
        operations.draft_restore(of_ids("e1"), asked(), now=NOW)


def test_a_correction_whose_events_were_corrected_again_is_reverted_last() -> None:
    first = void(of_acme())
    second = apply(operations.draft_restore(of_ids("e1"), asked(), now=NOW))

    with pytest.raises(CorrectionRefused, match=f"Revert correction {second.pk} first"):
        operations.draft_revert(first.pk, asked(), now=NOW)
    revert(second)
    revert(first)

    assert state(first) == "reverted"


def test_applying_is_refused_when_the_preview_no_longer_holds() -> None:
    correction = operations.draft_void(of_acme(), asked(), now=NOW)
    digest = correction.previews.get().digest
    ingest(event("late"))

    with pytest.raises(PreviewOutdated, match="touched 3 events then and touches 4 now"):
        operations.apply_correction(correction.pk, digest=digest, actor=ADA, now=NOW)
    assert (EventMark.objects.count(), state(correction)) == (0, "drafted")

    renewed = operations.preview_correction(correction.pk, actor=ADA, now=NOW)
    with pytest.raises(PreviewOutdated, match="newer preview"):
        operations.apply_correction(correction.pk, digest=digest, actor=ADA, now=NOW)
    operations.apply_correction(correction.pk, digest=renewed.digest, actor=ADA, now=NOW)
    assert EventMark.objects.count() == 4


def test_usage_that_arrives_beside_it_leaves_a_preview_in_force() -> None:
    correction = operations.draft_void(of_ids("e1"), asked(), now=NOW)
    ingest(event("beside"), event("of beta", subject="beta"))

    apply(correction)

    assert state(correction) == "applied"


def test_applying_twice_is_applying_once() -> None:
    correction = void(of_ids("e1"))
    before = windows()

    apply(correction)

    assert windows() == before
    assert EventMark.objects.count() == 1


def test_the_same_request_twice_is_one_draft_and_another_one_under_its_key_is_refused() -> None:
    first = operations.draft_void(of_ids("e1"), asked(key="form:1"), now=NOW)

    assert operations.draft_void(of_ids("e1"), asked(key="form:1"), now=NOW + hours(1)) == first
    assert CorrectionPreview.objects.count() == 1
    with pytest.raises(CorrectionRefused, match="asked for something else"):
        operations.draft_void(of_ids("e2"), asked(key="form:1"), now=NOW)


def test_a_withdrawn_correction_is_never_applied() -> None:
    correction = operations.draft_void(of_ids("e1"), asked(), now=NOW)
    operations.withdraw_correction(correction.pk, words="Not needed", actor=ADA, now=NOW)

    with pytest.raises(CorrectionRefused, match="no draft any more"):
        apply(correction)
    assert EventMark.objects.count() == 0


@pytest.mark.parametrize(("reason", "code", "field"), [("", "other", "reason"), ("Why", "no such", "reason_code")])
def test_a_reason_is_required(reason: str, code: str, field: str) -> None:
    with pytest.raises(CorrectionRefused) as refused:
        operations.draft_void(of_ids("e1"), asked(reason, code=code), now=NOW)

    assert refused.value.field == field


def test_a_mark_names_its_correction() -> None:
    correction = void(of_ids("e1"))

    mark = EventMark.objects.get()
    assert (mark.key.hex, mark.position, mark.sign, mark.correction_id) == (key_of("e1"), 1, -1, correction.pk)
