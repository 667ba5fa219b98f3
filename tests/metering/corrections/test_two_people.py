"""Above a limit a second person approves what the first one previewed, and exactly that."""

from datetime import timedelta
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from metering import operations
from metering.models import Correction, EventMark
from metering.operations import CorrectionRefused, PreviewOutdated, SecondPersonNeeded
from tests.metering.corrections.making import ADA, BEN, apply, asked, of_acme, of_ids, revert, state, steps, void
from tests.metering.usage import NOW, event, ingest

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture(autouse=True)
def _usage(metered: None, settings: Settings) -> None:
    settings.METERING_CORRECTION_ALONE_EVENTS = 2
    settings.METERING_CORRECTION_ALONE_CUSTOMERS = 1
    ingest(event("e1"), event("e2"), event("e3"), event("b1", subject="beta"))


def approve(correction: Correction, *, actor: str = BEN) -> None:
    digest = correction.previews.latest("number").digest
    operations.approve_correction(correction.pk, digest=digest, words="Seen", actor=actor, now=NOW)


def test_what_one_person_may_do_alone_is_applied_at_once() -> None:
    assert state(void(of_ids("e1", "e2"))) == "applied"


def test_more_than_that_waits_for_somebody_else() -> None:
    correction = operations.draft_void(of_acme(), asked(), now=NOW)
    assert correction.previews.get().why_second_person == ("It touches 3 events; one person alone may touch 2 a day.")

    with pytest.raises(SecondPersonNeeded, match="Somebody else has to approve it first"):
        apply(correction)
    with pytest.raises(SecondPersonNeeded, match="than who drafted it"):
        approve(correction, actor=ADA)
    assert EventMark.objects.count() == 0
    approve(correction)
    apply(correction)

    assert steps(correction) == [("drafted", ADA), ("approved", BEN), ("applying", ADA), ("applied", ADA)]


def test_asking_in_parts_gains_nothing_on_one_day() -> None:
    void(of_ids("e1", "e2"))
    correction = operations.draft_void(of_ids("e3"), asked(), now=NOW)

    assert "with 2 corrected alone before" in correction.previews.get().why_second_person
    tomorrow = operations.preview_correction(correction.pk, actor=ADA, now=NOW + timedelta(days=1))
    assert not tomorrow.needs_second_person


def test_two_drafts_made_before_either_is_applied_are_still_counted_together() -> None:
    first = operations.draft_void(of_ids("e1", "e2"), asked(), now=NOW)
    second = operations.draft_void(of_ids("e3"), asked(), now=NOW)
    apply(first)

    with pytest.raises(SecondPersonNeeded, match="corrected alone before"):
        apply(second)
    approve(second)
    apply(second)

    assert state(second) == "applied"


def test_many_customers_need_a_second_person_too() -> None:
    correction = operations.draft_void(of_ids("e1", "b1"), asked(), now=NOW)

    assert "touches 2 customers" in correction.previews.get().why_second_person


def test_an_approval_is_of_what_was_previewed_then() -> None:
    correction = operations.draft_void(of_acme(), asked(), now=NOW)
    approve(correction)
    ingest(event("late"))
    operations.preview_correction(correction.pk, actor=ADA, now=NOW)

    with pytest.raises(SecondPersonNeeded):
        apply(correction)
    approve(correction)
    apply(correction)

    assert EventMark.objects.count() == 4


def test_approving_an_older_preview_is_refused() -> None:
    correction = operations.draft_void(of_acme(), asked(), now=NOW)
    digest = correction.previews.get().digest
    ingest(event("late"))
    operations.preview_correction(correction.pk, actor=ADA, now=NOW)

    with pytest.raises(PreviewOutdated, match="newer preview"):
        operations.approve_correction(correction.pk, digest=digest, words="Seen", actor=BEN, now=NOW)


def test_approving_twice_is_approving_once() -> None:
    correction = operations.draft_void(of_acme(), asked(), now=NOW)

    approve(correction)
    approve(correction)

    assert len(steps(correction)) == 2


def test_somebody_else_rejects_and_who_drafted_withdraws() -> None:
    correction = operations.draft_void(of_acme(), asked(), now=NOW)
    how: dict[str, Any] = {"words": "No", "now": NOW}

    with pytest.raises(CorrectionRefused, match="somebody else rejects"):
        operations.reject_correction(correction.pk, actor=ADA, **how)
    with pytest.raises(CorrectionRefused, match="Who drafted it withdraws"):
        operations.withdraw_correction(correction.pk, actor=BEN, **how)
    operations.reject_correction(correction.pk, actor=BEN, **how)
    operations.reject_correction(correction.pk, actor=BEN, **how)

    assert steps(correction) == [("drafted", ADA), ("rejected", BEN)]


def test_a_revert_is_held_to_the_same_limit() -> None:
    correction = operations.draft_void(of_acme(), asked(), now=NOW)
    approve(correction)
    apply(correction)

    with pytest.raises(SecondPersonNeeded):
        revert(correction)
