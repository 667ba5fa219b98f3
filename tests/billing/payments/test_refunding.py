"""Refunds that people ask for: whole, in parts, by a credit note, many at once; never more than was paid."""

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connections
from psycopg import errors
from pytest_django.fixtures import Settings

from billing.payments.models import Payment, Refund
from billing.payments.refunding.batches import Rule, decide_batch, progress_of, report, request_batch, select
from billing.payments.refunding.left import left_of
from billing.payments.refunding.models import RefundBatch, RefundRequest
from billing.payments.refunding.operations import decide_refund, due_refunds, request_refund, send_refunds
from billing.payments.two_people import InvalidRequest, NotPermitted, Outcome, RequestConflict, TwoPeopleError
from billing.stripe import gateway
from tests.billing.accounting.people import FIONA, FRED, NOON, SAM, hire
from tests.billing.accounting.stripe_story import post, subscribed
from tests.billing.thread import START, Thread


@pytest.fixture
def paid(thread: Thread) -> Payment:
    """Ada paid 20.00."""
    hire()
    return subscribed(thread)


def ask(payment: Payment, amount: int | None = None, **terms: Any) -> RefundRequest:
    honest = {"way": "refund", "reason_code": "goodwill", "reason": "sorry", "actor": FIONA, "now": NOON}
    key = terms.pop("key", f"k{RefundRequest.objects.count()}")
    return request_refund(payment_id=payment.pk, amount_minor=amount, idempotency_key=key, **{**honest, **terms})


def decide(asked: RefundRequest, outcome: Outcome = Outcome.APPROVED, *, actor: str = FRED) -> RefundRequest:
    return decide_refund(request_id=asked.pk, outcome=outcome, words="seen", actor=actor, now=NOON)


def send(thread: Thread, *, at: timedelta = timedelta(0)) -> int:
    sent = send_refunds(due_refunds(now=NOON + at, limit=100), now=NOON + at)
    thread.settle()
    return sent


class TestOneRefund:
    def test_within_the_limit_is_sent_once_and_in_the_books_once(self, thread: Thread, paid: Payment) -> None:
        asked, again = ask(paid, 500, key="a"), ask(paid, 500, key="a")
        assert (asked.pk, asked.state) == (again.pk, "agreed")
        assert [send(thread), send(thread)] == [1, 0]

        asked.refresh_from_db()
        [refund] = Refund.objects.all()
        assert (asked.state, asked.stripe_refund_id, refund.amount_minor) == ("sent", refund.stripe_refund_id, 500)
        assert thread.balances()["contra:refunds"] == 5
        assert "refund_due" not in thread.balances()
        with pytest.raises(RequestConflict):
            ask(paid, 501, key="a")

    def test_above_the_limit_waits_for_somebody_else(self, thread: Thread, paid: Payment, settings: Settings) -> None:
        """Asked in parts: what one person moved alone on that day counts."""
        settings.MANUAL_ENTRY_LIMITS = {"USD": Decimal(10)}
        assert ask(paid, 700, actor=SAM).needs_second_person is False
        asked = ask(paid, 400, actor=SAM)
        assert (asked.needs_second_person, asked.state, asked.alone_minor) == (True, "waiting", 1100)
        for actor in (SAM, "user:emre"):
            with pytest.raises(NotPermitted):
                decide(asked, actor=actor)
        assert send(thread) == 1
        decide(asked)
        assert send(thread) == 1
        assert thread.balances()["contra:refunds"] == 11
        rejected = decide(ask(paid, 900, actor=SAM), Outcome.REJECTED)
        assert (rejected.state, left_of(paid)) == ("dropped", 900)

    def test_is_never_more_than_is_left_also_of_refunds_made_at_stripe(self, thread: Thread, paid: Payment) -> None:
        post("/v1/refunds", charge=paid.stripe_charge_id, amount=1500)
        thread.settle()
        with pytest.raises(InvalidRequest, match="500 minor units"):
            ask(paid, 501)
        assert ask(paid).amount_minor == 500
        with pytest.raises(InvalidRequest):
            ask(paid, 1)

    def test_by_two_people_at_once_is_within_what_was_paid(self, thread: Thread, paid: Payment) -> None:
        refused = at_once(lambda: ask(paid, 1200, key="a"), lambda: ask(paid, 1200, key="b", actor=FRED))

        assert [type(one) for one in refused] == [InvalidRequest]
        assert send(thread) == 1
        assert thread.balances()["contra:refunds"] == 12

    def test_whose_answer_is_lost_is_sent_once(self, thread: Thread, paid: Payment) -> None:
        ask(paid, 500)
        thread.sandbox.fault(operation="POST /v1/refunds", mode="timeout_after_commit")
        with gateway.one_try():
            assert send(thread) == 0
        assert send(thread, at=timedelta(minutes=6)) == 1
        assert [one["amount"] for one in thread.sandbox.state()["refund"]] == [500]

        ask(paid, 300)
        thread.sandbox.fault(operation="POST /v1/refunds", mode="timeout_after_commit")
        with gateway.one_try():
            send(thread, at=timedelta(hours=1))
        thread.sandbox.fault(operation="POST", mode="forget_idempotency_keys", times=None)
        assert send(thread, at=timedelta(days=3)) == 1  # found by what it carries
        assert [one["amount"] for one in thread.sandbox.state()["refund"]] == [500, 300]

    def test_by_a_credit_note_goes_through_the_invoice(self, thread: Thread, paid: Payment) -> None:
        ask(paid, 800, way="credit_note", reason_code="outage")
        assert send(thread) == 1

        asked = RefundRequest.objects.get()
        assert asked.stripe_refund_id == Refund.objects.get().stripe_refund_id
        assert paid.invoice is not None
        assert paid.invoice.credit_notes.get().refunded_minor == 800
        assert thread.balances()["contra:refunds"] == 8
        assert "refund_due" not in thread.balances()


class TestABatch:
    RULE = Rule(paid_from=START, paid_until=START + timedelta(days=1), currency="USD")

    def request(self, rule: Rule = RULE, **terms: Any) -> RefundBatch:
        found = select(rule)
        honest = {
            "name": "June",
            "reason_code": "wrong_amount",
            "reason": "unexpected charges",
            "seen_count": len(found.lines),
            "seen_total_minor": found.total_minor,
            "idempotency_key": "b",
            "actor": FIONA,
            "now": NOON,
        }
        return request_batch(rule, **{**honest, **terms})

    def test_is_seen_asked_for_approved_and_sent_line_by_line(self, thread: Thread, paid: Payment) -> None:
        """The episode of June 2025 (field.md): charges of a window, two people, once each, one ledger link each."""
        for key in ("bea", "cem", "dan"):
            thread.subscribe(key)
        thread.settle()
        post("/v1/refunds", charge=paid.stripe_charge_id)  # Ada has hers already
        thread.settle()
        found = select(self.RULE)
        assert (len(found.lines), found.total_minor) == (3, 6000)
        assert [(one.customer.customer_key, why) for one, why in found.passed_over] == [
            ("ada", "nothing is left to be refunded")
        ]
        with pytest.raises(InvalidRequest, match="Look again"):
            self.request(seen_count=4)
        batch, again = self.request(), self.request()
        assert (batch.pk, batch.line_count, batch.total_minor) == (again.pk, 3, 6000)
        with pytest.raises(NotPermitted):
            decide_batch(batch_id=batch.pk, outcome=Outcome.APPROVED, words="ok", actor=FIONA, now=NOON)
        assert send(thread) == 0
        for _ in range(2):
            decide_batch(batch_id=batch.pk, outcome=Outcome.APPROVED, words="ok", actor=FRED, now=NOON)

        # The worker dies after the first line, and Stripe is away for the second; the next runs go on.
        assert send_refunds(due_refunds(now=NOON, limit=1), now=NOON) == 1
        thread.sandbox.fault(operation="POST /v1/refunds", mode="timeout_after_commit")
        with gateway.one_try():
            assert send(thread) == 1
        assert send(thread, at=timedelta(minutes=6)) == 1
        assert send(thread, at=timedelta(hours=1)) == 0
        assert progress_of(batch).counts == {"sent": 3}
        lines = list(report(batch))
        assert len({line.entry_id for line in lines}) == 3
        assert all(line.entry_id for line in lines)
        assert [one["amount"] for one in thread.sandbox.state()["refund"]] == [2000] * 4
        assert select(self.RULE).lines == ()

    def test_gives_a_part_rounded_down_and_can_be_narrowed(self, thread: Thread, paid: Payment) -> None:
        third = Rule(**{**self.fields(), "percent": 33, "customer_keys": ("ada",)})
        assert [line.amount_minor for line in select(third).lines] == [660]
        assert select(Rule(**{**self.fields(), "least_minor": 2001})).lines == ()
        with pytest.raises(InvalidRequest, match="nobody"):
            select(Rule(**{**self.fields(), "customer_keys": ("nobody",)}))
        batch = self.request(third)
        decide_batch(batch_id=batch.pk, outcome=Outcome.REJECTED, words="no", actor=FRED, now=NOON)
        assert (progress_of(batch).counts, left_of(paid)) == ({"dropped": 1}, 2000)

    def fields(self) -> dict[str, Any]:
        return {name: getattr(self.RULE, name) for name in ("paid_from", "paid_until", "currency")}


def test_sql_cannot_refund_more_or_without_a_second_person(
    paid: Payment, app_connection: psycopg.Connection, owner_connection: psycopg.Connection
) -> None:
    asked = ask(paid, 2000, key="honest", actor=SAM)
    decision = """INSERT INTO billing_refunddecision
        (request_id, outcome, requested_by, needs_second_person, decided_by, decided_at, words)
        SELECT id, 'approved', {by}, {two}, '{decider}', now(), 'x' FROM billing_refundrequest"""
    copied = """INSERT INTO billing_refundrequest (payment_id, customer_id, way, reason_code, state, stripe_refund_id,
        stripe_credit_note_id, error, amount_minor, currency, reason, limit_minor, alone_minor, needs_second_person,
        requested_by, requested_at, idempotency_key)
        SELECT payment_id, customer_id, way, reason_code, '{state}', '', '', '', {amount}, currency, reason, {limit},
        {amount}, {two}, requested_by, requested_at, 'attack' FROM billing_refundrequest"""
    RefundRequest.objects.filter(pk=asked.pk).update(state="refused", next_attempt_at=None)
    honest = {"state": "waiting", "amount": 100, "limit": "NULL", "two": "true"}
    attacks = {
        copied.format(**{**honest, "amount": 2001}): "billing_refundrequest_within_paid",
        copied.format(**{**honest, "state": "agreed"}): "billing_refundrequest_begins",
        copied.format(**{**honest, "two": "false"}): "billing_refundrequest_limit",
        copied.format(**{**honest, "two": "false", "limit": 1999}): "billing_refundrequest_alone",
        "UPDATE billing_refundrequest SET amount_minor = 1": "billing_refundrequest_as_asked",
        "UPDATE billing_refundrequest SET state = 'agreed'": "billing_refundrequest_ended",
        decision.format(by="requested_by", two="true", decider="user:fred"): "billing_refunddecision",
        "DELETE FROM billing_refundrequest": "billing_refundrequest_kept",
        "UPDATE billing_refunddecision SET words = 'y'": "billing_refunddecision_append_only",
        "DELETE FROM billing_refunddecision": "billing_refunddecision_kept",
        "TRUNCATE billing_refunddecision": "billing_refunddecision_kept",
    }
    for sql, rule in attacks.items():
        with pytest.raises(errors.IntegrityError) as refused:
            owner_connection.execute(sql)
        assert (refused.value.diag.constraint_name or "").startswith(rule), sql
        with pytest.raises((errors.IntegrityError, errors.InsufficientPrivilege)):
            app_connection.execute(sql)


def at_once(*acts: Callable[[], object]) -> list[TwoPeopleError]:
    """Each on a connection of its own, all in one instant; what was refused."""
    start, refused = threading.Barrier(len(acts)), []

    def act(work: Callable[[], object]) -> None:
        try:
            start.wait(timeout=60)
            work()
        except TwoPeopleError as error:
            refused.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=act, args=(one,)) for one in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return refused
