"""Amending events and backfilling a range: what is brought goes through the door that every event goes through."""

from datetime import timedelta

import pytest

from metering import operations
from metering.models import Correction, CorrectionEvent, EventConflict, QuarantinedEvent, UsageEvent
from metering.operations import CorrectionRefused, PreviewOutdated, UsageEventInput
from tests.metering.corrections.making import (
    ADA,
    amend,
    apply,
    asked,
    backfill,
    changed,
    key_of,
    of_ids,
    previewed,
    revert,
    state,
    void,
    windows,
)
from tests.metering.usage import MORNING, NOW, event, hours, ingest

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture(autouse=True)
def _usage(metered: None) -> None:
    ingest(event("e1"), event("e2"), event("b1", subject="beta"))


def rejected(correction: Correction) -> list[tuple[int, str, str]]:
    return list(correction.rejects.order_by("line_number").values_list("line_number", "status", "field"))


def test_an_amended_event_is_replaced_by_one_of_its_own_identity() -> None:
    before = windows()

    correction = amend("e1", input_tokens=70)
    expected = previewed(correction)
    apply(correction)

    after = windows()
    replacement = UsageEvent.objects.get(source=f"correction/{correction.pk}")
    link = CorrectionEvent.objects.get(key=replacement.key)
    assert changed(before, after) == expected
    assert sorted(quantity for quantity, _, _ in expected.values()) == [0, 20, 170]
    assert (link.role, link.replaces.hex if link.replaces else "") == ("replacement", key_of("e1"))
    assert UsageEvent.objects.get(event_id="e1").data["input_tokens"] == 100


def test_usage_sent_for_the_wrong_customer_moves_to_the_right_one() -> None:
    windows()

    apply(amend("e1", subject="beta"))

    counted = {
        customer: max(n for key, (_, n, _) in windows().items() if key[1] == customer) for customer in ("acme", "beta")
    }
    assert counted == {"acme": 1, "beta": 2}


def test_a_reverted_amendment_gives_the_same_figures_as_before() -> None:
    before = windows()
    correction = apply(amend("e1", input_tokens=70, time=(MORNING + hours(3)).isoformat()))
    amended = windows()

    undone = revert(correction)
    assert windows() == before
    revert(undone)

    assert windows() == amended


def test_an_amendment_is_amended_again_and_both_are_undone_in_turn() -> None:
    before = windows()
    first = apply(amend("e1", input_tokens=70))
    once = windows()
    second = apply(amend(key_of("e1"), source=f"correction/{first.pk}", input_tokens=60))

    with pytest.raises(CorrectionRefused, match=f"Revert correction {second.pk} first"):
        revert(first)
    revert(second)
    assert windows() == once
    revert(first)

    assert windows() == before


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"input_tokens": -1}, "quantity is negative"),
        ({"subject": "nobody"}, "nobody is not known"),
        ({"time": "yesterday"}, "not RFC 3339"),
        ({"time": MORNING - timedelta(days=500)}, "older than the dedupe horizon"),
    ],
)
def test_a_replacement_passes_the_same_checks_as_any_event(changes: dict, why: str) -> None:
    with pytest.raises(CorrectionRefused, match=why) as refused:
        amend("e1", **changes)

    assert refused.value.field == "event"
    assert (Correction.objects.count(), QuarantinedEvent.objects.count()) == (0, 0)


def test_a_void_event_is_not_amended() -> None:
    correction = void(of_ids("e1"))

    with pytest.raises(CorrectionRefused, match=f"void already, by correction {correction.pk}"):
        amend("e1", input_tokens=70)


def test_an_amended_event_is_brought_back_by_the_revert_only() -> None:
    correction = apply(amend("e1", input_tokens=70))

    with pytest.raises(CorrectionRefused, match=f"Revert correction {correction.pk} instead"):
        operations.draft_restore(of_ids("e1"), asked(), now=NOW)


def test_a_backfill_counts_what_is_new_and_names_the_rest() -> None:
    before = windows()
    missing = [
        event("new1", time=MORNING + hours(5)),
        event("e1"),
        event("e2", data={"input_tokens": 7}),
        event("new2", time=MORNING + hours(6), data={"input_tokens": "0.000000000001"}),
        event("stranger", subject="nobody"),
        event("unmetered", type="disk.write"),
        event("negative", data={"input_tokens": -5}),
        event("ancient", time=NOW - timedelta(days=397)),
    ]

    correction = backfill(*missing)
    assert UsageEvent.objects.count() == 3
    expected = previewed(correction)
    counts = correction.previews.get().counts
    apply(correction)

    assert changed(before, windows()) == expected
    assert counts == {"backfilled": 2, "duplicate": 1, "conflict": 1, "quarantined": 2, "refused": 2}
    assert rejected(correction) == [
        (2, "duplicate", "id"),
        (3, "conflict", "id"),
        (5, "quarantined", "subject"),
        (6, "quarantined", "type"),
        (7, "refused", "data.input_tokens"),
        (8, "refused", "time"),
    ]
    assert "dedupe horizon" in correction.rejects.get(line_number=8).reason
    assert EventConflict.objects.count() == 1
    assert QuarantinedEvent.objects.count() == 0


def test_a_reverted_backfill_voids_exactly_what_it_brought() -> None:
    before = windows()
    correction = apply(backfill(event("e1"), event("new1"), event("new2", time=MORNING + hours(5))))
    filled = windows()
    assert filled != before

    undone = revert(correction)
    assert windows() == before
    assert state(correction) == "reverted"

    revert(undone)
    assert windows() == filled


def test_a_file_sent_again_after_its_backfill_was_reverted_brings_nothing() -> None:
    correction = apply(backfill(event("new1")))
    revert(correction)

    with pytest.raises(CorrectionRefused, match=r"brings no new event \(line 1: the same event was accepted before"):
        backfill(event("new1"))


def test_a_revert_leaves_what_was_corrected_since_to_be_reverted_first() -> None:
    correction = apply(backfill(event("new1"), event("new2")))
    later = void(of_ids("new1"))

    with pytest.raises(CorrectionRefused, match=f"Revert correction {later.pk} first"):
        revert(correction)
    revert(later)
    revert(correction)

    assert state(correction) == "reverted"


def test_an_event_that_arrives_between_preview_and_applying_makes_the_preview_stale() -> None:
    correction = backfill(event("new1"), event("new2"))
    ingest(event("new1"))

    with pytest.raises(PreviewOutdated):
        apply(correction)
    operations.preview_correction(correction.pk, actor=ADA, now=NOW)
    apply(correction)

    assert CorrectionEvent.objects.filter(correction=correction).count() == 1


def test_an_event_that_cannot_be_written_down_is_refused_alone() -> None:
    odd = UsageEventInput(id="\udcff", source="s", type="llm.request", subject="acme", time=MORNING, data={})
    correction = backfill(event("new1"), odd, event("nul", subject="ac\x00me"))

    assert correction.previews.get().counts == {"backfilled": 1, "refused": 2}
    apply(correction)
    assert [line for line, _, _ in rejected(correction)] == [2, 3]


def test_too_many_events_are_refused_with_the_limit(settings: object) -> None:
    settings.METERING_CORRECTION_MAX_EVENTS = 2  # type: ignore[attr-defined]

    with pytest.raises(CorrectionRefused, match="more than 2 events"):
        backfill(event("n1"), event("n2"), event("n3"))
    with pytest.raises(CorrectionRefused, match="More than 2 events fit"):
        operations.draft_void(operations.Selection(source="edge/us-east-1", start=MORNING, end=NOW), asked(), now=NOW)
