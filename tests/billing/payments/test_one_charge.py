"""Whatever is retried, by whomever and through whatever failure: exactly one charge of an invoice succeeds."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connections

from billing.customers.models import Customer
from billing.payments.models import Payment
from billing.payments.recovery.carrying_out import advance_case
from billing.payments.recovery.models import PaymentCard, RecoveryCase
from billing.stripe import gateway
from billing.stripe.errors import StripeUnavailable
from billing.stripe.models import OutboxIntent
from tests.billing.accounting.stripe_story import payment_of, post
from tests.billing.payments.recovering import (
    attempts,
    charges,
    choose,
    day,
    failed,
    go_to,
    invoice_path,
    run,
    steps,
    texts,
)
from tests.billing.thread import Thread
from tests.sandbox.core.faults import RequestMode

PAY = "POST /v1/invoices/.*/pay"


def ready(thread: Thread, *, card: str = "pm_card_visa") -> RecoveryCase:
    """The retries are ours; the customer has a card by now that pays."""
    choose()
    case = failed(thread)
    run(thread, day(case, 1))
    thread.use_card("ada", card)
    thread.settle()
    return case


def assert_paid_once(thread: Thread, case: RecoveryCase) -> None:
    thread.settle()
    case.refresh_from_db()
    assert charges(thread, case).count("succeeded") == 1
    assert (case.state, case.outcome) == ("closed", "paid")
    balances = thread.balances()
    assert "receivable" not in balances
    assert "refund_due" not in balances
    assert Payment.objects.filter(invoice=case.invoice, status="succeeded").count() == 1


class TestOneChargeSucceeds:
    def test_by_our_retry_on_its_day_and_not_before(self, thread: Thread) -> None:
        case = ready(thread)
        assert run(thread, day(case, 3) - timedelta(seconds=1)) == 0
        assert attempts(case) == []
        run(thread, day(case, 3))

        assert attempts(case) == [(1, "paid")]
        thread.redeliver_everything()
        assert_paid_once(thread, case)
        assert run(thread, day(case, 5)) == 0

    @pytest.mark.parametrize(
        ("mode", "forgets"),
        [("timeout_after_commit", False), ("timeout_after_commit", True), ("error_500_after_commit", True)],
    )
    def test_when_the_answer_is_lost_after_it(self, thread: Thread, mode: RequestMode, forgets: bool) -> None:
        case = ready(thread)
        if forgets:
            thread.sandbox.fault(operation=PAY, mode="forget_idempotency_keys", times=None)
        thread.sandbox.fault(operation=PAY, mode=mode)
        with gateway.one_try():
            run(thread, day(case, 3))
        thread.sandbox.clear_faults()
        run(thread, day(case, 3) + timedelta(hours=1))
        run(thread, day(case, 5))

        assert_paid_once(thread, case)

    def test_when_stripe_was_away_for_days(self, thread: Thread) -> None:
        """An unfinished try of three days ago is not sent again by itself; the next one is made."""
        case = ready(thread)
        thread.sandbox.fault(operation=PAY, mode="connection_reset")
        with gateway.one_try():
            run(thread, day(case, 3))
        assert attempts(case) == []
        go_to(thread, day(case, 6))
        run(thread, day(case, 6))

        assert attempts(case) == [(1, "missed"), (2, "paid")]
        assert_paid_once(thread, case)

    def test_with_two_workers_at_once(self, thread: Thread) -> None:
        case = ready(thread)
        advanced = at_once(*[lambda: advance_case(case_id=case.pk, now=day(case, 3))] * 2)

        assert sorted(advanced) == [False, True]
        assert_paid_once(thread, case)

    def test_with_a_worker_that_hangs_beyond_its_turn(self, thread: Thread) -> None:
        """The first hangs in its call; a second takes the case over and sends the same try under the same key."""
        case = ready(thread)
        thread.sandbox.fault(operation=PAY, mode="hold_before", times=1)
        hanging = threading.Thread(target=quietly, args=(lambda: advance_case(case_id=case.pk, now=day(case, 3)),))
        hanging.start()
        thread.sandbox.wait_until_held()
        quietly(lambda: advance_case(case_id=case.pk, now=day(case, 3) + timedelta(minutes=11)))
        thread.sandbox.release()
        hanging.join(timeout=60)
        run(thread, day(case, 5))

        assert OutboxIntent.objects.filter(operation="invoices.pay").count() == 1
        assert_paid_once(thread, case)

    def test_with_stripes_own_retry_on_the_same_day(self, thread: Thread) -> None:
        """P#10653. Until we take it over the invoice is Stripe's to retry; after that only ours to."""
        choose()
        case = failed(thread)
        thread.use_card("ada", "pm_card_visa")
        go_to(thread, day(case, 3) + timedelta(hours=1))  # Stripe's first retry, before our task ran at all
        run(thread, day(case, 3) + timedelta(hours=1))

        assert attempts(case) == []
        assert_paid_once(thread, case)

    def test_and_stripe_does_not_retry_what_we_took_over(self, thread: Thread) -> None:
        case = ready(thread)
        go_to(thread, day(case, 4))

        assert ("taken_over", 0, "done") in steps(case)
        assert charges(thread, case) == ["failed"]
        run(thread, day(case, 4))
        assert_paid_once(thread, case)

    def test_when_the_customer_pays_while_our_call_is_under_way(self, thread: Thread) -> None:
        """The hosted page and our retry in one instant: Stripe has one payment intent for both."""
        case = ready(thread)
        thread.sandbox.fault(operation=PAY, mode="hold_before", times=1)
        ours = threading.Thread(target=quietly, args=(lambda: advance_case(case_id=case.pk, now=day(case, 3)),))
        ours.start()
        thread.sandbox.wait_until_held()
        intent = thread.sandbox.state()["payment_intent"][-1]["id"]
        post(f"/v1/payment_intents/{intent}/confirm", payment_method="pm_card_visa")
        thread.sandbox.release()
        ours.join(timeout=60)

        assert_paid_once(thread, case)

    def test_while_a_debit_is_under_way_nothing_is_tried_and_nobody_reminded(self, thread: Thread) -> None:
        choose()
        case = failed(thread)
        run(thread, day(case, 1))
        intent = thread.sandbox.state()["payment_intent"][-1]
        thread.sandbox.alter(intent["id"], status="processing")
        for number in (3, 7):
            run(thread, day(case, number))

        assert charges(thread, case) == ["failed"]
        assert {result for _, result in attempts(case)} <= {"not_needed"}
        assert texts() == ["payment_failed"]


def test_what_was_paid_beside_the_invoice_is_not_charged_again(thread: Thread) -> None:
    """L#5708. A checkout collected as much beside the invoice; a person attaches it, nothing is charged twice."""
    case = ready(thread)
    paid = payment_of(Customer.objects.get(), 2000)
    run(thread, day(case, 3))

    [attempt] = case.steps.filter(kind="attempt")
    assert (attempt.result, paid in attempt.detail) == ("skipped", True)
    post(f"{invoice_path(case)}/attach_payment", payment_intent=paid)
    assert_paid_once(thread, case)


def test_a_payment_that_waits_for_the_customer_is_told_once_and_never_tried_by_us(thread: Thread) -> None:
    choose()
    case = failed(thread, card="pm_card_authenticationRequired")
    for number in (0, 1, 3, 5, 7):
        run(thread, day(case, number))

    assert attempts(case) == [(1, "skipped"), (2, "skipped"), (3, "skipped")]
    assert texts() == ["action_required", "last_reminder"]
    [intent] = [one for one in thread.sandbox.state()["payment_intent"] if one["status"] == "requires_action"]
    thread.sandbox.authenticate(intent["id"])
    assert_paid_once(thread, case)


def test_a_card_declined_for_good_is_not_tried_until_there_is_another(thread: Thread) -> None:
    choose()
    case = failed(thread)
    thread.use_card("ada", "pm_card_visa")
    thread.settle()
    card = PaymentCard.objects.get(is_default=True)
    thread.sandbox.renew_card(card.stripe_payment_method_id, exp_month=9, exp_year=2026)
    for number in (3, 5):
        run(thread, day(case, number))
    assert attempts(case) == [(1, "declined"), (2, "skipped")]
    assert charges(thread, case) == ["failed", "failed"]

    thread.use_card("ada", "pm_card_visa")
    run(thread, day(case, 7))
    assert attempts(case)[-1] == (3, "paid")
    assert_paid_once(thread, case)


def quietly(work: Callable[[], object]) -> None:
    """What Stripe does not answer is tried again later."""
    try:
        work()
    except StripeUnavailable:
        pass
    finally:
        connections.close_all()


def at_once(*acts: Callable[[], bool]) -> list[bool]:
    """Each on a connection of its own, all in one instant."""
    start, done = threading.Barrier(len(acts)), []

    def act(work: Callable[[], bool]) -> None:
        try:
            start.wait(timeout=60)
            done.append(work())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=act, args=(one,)) for one in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return done
