"""Giving up a debt: one person within the limit, two above it, once at Stripe and in the books."""

import pytest
from pytest_django.fixtures import Settings

from billing.payments.recovery.models import RecoveryCase, WriteOffRequest
from billing.payments.recovery.write_offs import carry_out_write_offs, decide_write_off, request_write_off
from billing.payments.two_people import AlreadyDecided, InvalidRequest, NotPermitted, Outcome, RequestConflict
from tests.billing.accounting.people import FIONA, FRED, NOON, SAM, hire
from tests.billing.accounting.stripe_story import post
from tests.billing.payments.recovering import failed, invoice_path
from tests.billing.thread import Thread


@pytest.fixture
def case(thread: Thread) -> RecoveryCase:
    hire()
    return failed(thread)


def ask(case: RecoveryCase, key: str = "k", actor: str = FIONA) -> WriteOffRequest:
    return request_write_off(case_id=case.pk, reason="insolvent", idempotency_key=key, actor=actor, now=NOON)


def decide(asked: WriteOffRequest, outcome: Outcome = Outcome.APPROVED, actor: str = FRED) -> WriteOffRequest:
    return decide_write_off(request_id=asked.pk, outcome=outcome, words="seen", actor=actor, now=NOON)


def test_within_the_limit_one_person_is_enough(thread: Thread, case: RecoveryCase) -> None:
    asked, again = ask(case), ask(case)
    assert (asked.pk, asked.amount_minor, asked.needs_second_person) == (again.pk, 2000, False)
    assert [carry_out_write_offs(now=NOON, limit=5), carry_out_write_offs(now=NOON, limit=5)] == [1, 0]
    thread.settle()

    case.refresh_from_db()
    assert case.state == "written_off"
    assert thread.balances()["bad_debt"] == 20
    with pytest.raises(RequestConflict):
        request_write_off(case_id=case.pk, reason="other", idempotency_key="k", actor=FIONA, now=NOON)
    with pytest.raises(InvalidRequest):
        ask(case, "another")


def test_above_the_limit_it_takes_two(thread: Thread, case: RecoveryCase, settings: Settings) -> None:
    settings.MANUAL_ENTRY_LIMITS = {}
    with pytest.raises(NotPermitted):
        ask(case, actor=SAM)
    asked = ask(case)
    assert (asked.needs_second_person, carry_out_write_offs(now=NOON, limit=5)) == (True, 0)
    with pytest.raises(InvalidRequest):
        ask(case, "twice")
    for actor in (FIONA, SAM):
        with pytest.raises(NotPermitted):
            decide(asked, actor=actor)
    decide(asked)
    decide(asked)
    with pytest.raises(AlreadyDecided):
        decide(asked, Outcome.REJECTED)
    carry_out_write_offs(now=NOON, limit=5)
    thread.settle()

    assert thread.balances()["bad_debt"] == 20


def test_what_is_paid_meanwhile_is_not_given_up(thread: Thread, case: RecoveryCase) -> None:
    asked = ask(case)
    post(f"{invoice_path(case)}/pay", payment_method="pm_card_visa")
    assert carry_out_write_offs(now=NOON, limit=5) == 0
    thread.settle()

    asked.refresh_from_db()
    assert (asked.done_at, bool(asked.error)) == (None, True)
    assert "bad_debt" not in thread.balances()
