"""What people and the sweeper do with writes that did not end well: never twice, never over something newer."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, transaction

from billing.stripe import gateway, outbox, redriving, writes
from billing.stripe.errors import (
    OutboxInsideTransaction,
    OutboxNeedsPerson,
    OutboxRefusal,
    OutboxSuperseded,
    StripeForbidden,
    StripeRefused,
    StripeUnavailable,
)
from billing.stripe.models import OutboxIntent
from billing.stripe.redriving import Redriven, Way
from tests.sandbox.client import SandboxProcess

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SAID = {"name": "Ada", "email": "ada@example.com"}


@pytest.fixture(autouse=True)
def _ready(committed_db: None, at_sandbox: SandboxProcess) -> Iterator[None]:
    """Real commits and the sandbox; one try a call, so that nothing waits."""
    with gateway.one_try():
        yield


def perform(
    purpose: str = "customer:ada:create",
    operation: str = "customers.create",
    *,
    target: str = "",
    params: dict[str, Any] | None = None,
    now: datetime = NOW,
) -> dict[str, Any]:
    given = SAID if params is None else params
    return outbox.perform(purpose=purpose, operation=operation, target=target, params=given, now=now)


def update(purpose: str, target: str, *, now: datetime = NOW, **params: Any) -> dict[str, Any]:
    return perform(purpose, "customers.update", target=target, params=params, now=now)


def failing(at_sandbox: SandboxProcess, mode: Any, do: Callable[[], Any], **fault: Any) -> OutboxIntent:
    """Do it while it goes wrong; the intent that is left."""
    known = list(OutboxIntent.objects.values_list("pk", flat=True))
    at_sandbox.fault(operation="POST", mode=mode, **fault)
    with pytest.raises((StripeUnavailable, StripeRefused)):
        do()
    return OutboxIntent.objects.exclude(pk__in=known).get()


def redrive(intent: OutboxIntent, *, now: datetime = NOW + HOUR, actor: str = "user:emre") -> Redriven:
    return redriving.redrive(intent_id=intent.pk, actor=actor, reason="Stripe was away", now=now)


def abandon(intent: OutboxIntent, *, now: datetime = NOW + HOUR) -> Redriven:
    return redriving.abandon(intent_id=intent.pk, actor="user:emre", reason="not wanted", now=now)


def story(intent: OutboxIntent) -> list[str]:
    return list(intent.tries.values_list("outcome", flat=True))


def customers(at_sandbox: SandboxProcess) -> int:
    return at_sandbox.counts().get("customer", 0)


class TestTimeline:
    def test_every_try_is_kept_with_what_came_of_it(self, at_sandbox: SandboxProcess) -> None:
        intent = failing(at_sandbox, "error_500", perform)
        perform(now=NOW + HOUR)

        first, second = intent.tries.all()
        assert (first.outcome, first.http_status, first.at) == ("unavailable", 500, NOW)
        assert (second.outcome, second.http_status, second.at) == ("succeeded", 200, NOW + HOUR)
        assert second.request_id.startswith("req_")
        assert {first.actor, second.actor} == {"task:perform"}

    def test_it_costs_no_statement_more(self, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(2):
            perform()

    def test_nobody_rewrites_it(self, owner_connection: psycopg.Connection) -> None:
        perform()
        for statement, rule in (
            ("UPDATE billing_outboxattempt SET outcome = 'refused'", "billing_outboxattempt_append_only"),
            ("DELETE FROM billing_outboxattempt", "billing_outboxattempt_kept"),
            ("UPDATE billing_outboxintent SET generation = 1", "billing_outboxintent_generation"),
            ("UPDATE billing_outboxintent SET first_sent_at = now()", "billing_outboxintent_first_sent"),
            ("UPDATE billing_outboxintent SET state = 'abandoned'", "billing_outboxintent_finished"),
        ):
            with pytest.raises(psycopg.IntegrityError) as refusal:
                owner_connection.execute(statement)
            assert refusal.value.diag.constraint_name == rule

    def test_a_refused_one_begins_again_only_under_a_new_key(
        self, at_sandbox: SandboxProcess, owner_connection: psycopg.Connection
    ) -> None:
        with pytest.raises(StripeRefused):
            update("u", "cus_none", name="x")
        for sql in (
            "UPDATE billing_outboxintent SET state = 'intended', finished_at = NULL",
            "UPDATE billing_outboxintent SET state = 'intended', finished_at = NULL, generation = 2",
            "UPDATE billing_outboxintent SET state = 'succeeded'",
        ):
            with pytest.raises(psycopg.IntegrityError):
                owner_connection.execute(sql)

    def test_a_person_says_why(self, app_connection: psycopg.Connection) -> None:
        perform()
        intent = OutboxIntent.objects.get()
        with pytest.raises(psycopg.IntegrityError) as refusal:
            app_connection.execute(
                "INSERT INTO billing_outboxattempt (intent_id, at, actor, outcome, generation, http_status, request_id,"
                " milliseconds, error, reason) VALUES (%s, now(), 'user:x', 'abandoned', 0, 0, '', 0, '', '')",
                [intent.pk],
            )
        assert refusal.value.diag.constraint_name == "billing_outboxattempt_person_says_why"


class TestRaces:
    def test_two_workers_on_one_purpose_do_it_once(self, at_sandbox: SandboxProcess) -> None:
        """Each on its own connection, both between intent and outcome at the same time."""
        at_sandbox.fault(operation="POST /v1/customers$", mode="hold_before", times=1)

        def work() -> str:
            try:
                return str(perform()["id"])
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(work)
            at_sandbox.wait_until_held()
            second = threads.submit(work)
            done = second.result(timeout=60)
            at_sandbox.release()
            assert first.result(timeout=60) == done

        assert customers(at_sandbox) == 1
        assert (OutboxIntent.objects.get().state, sorted(story(OutboxIntent.objects.get()))) == (
            "succeeded",
            ["succeeded", "succeeded"],
        )

    def test_two_people_give_a_refused_write_one_new_key(self, at_sandbox: SandboxProcess) -> None:
        with pytest.raises(StripeRefused):
            update("u", "cus_none", name="x")
        intent = OutboxIntent.objects.get()
        together = threading.Barrier(2)

        def work(name: str) -> str:
            try:
                together.wait(timeout=60)
                redrive(intent, actor=f"user:{name}")
                return "done"
            except (OutboxRefusal, StripeRefused, OutboxNeedsPerson) as refused:
                return type(refused).__name__
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as threads:
            found = sorted(threads.map(work, ["emre", "fiona"]))

        intent.refresh_from_db()
        assert "StripeRefused" in found
        assert intent.tries.filter(outcome="reopened").count() == intent.generation <= 2
        assert intent.tries.filter(outcome="refused").count() == 1 + intent.generation


class TestRedrive:
    def test_within_a_day_the_same_key_is_sent(self, at_sandbox: SandboxProcess) -> None:
        intent = failing(at_sandbox, "timeout_after_commit", perform)

        assert redriving.way_of(intent, now=NOW + HOUR) is Way.SAME_KEY
        assert redrive(intent).outcome == "succeeded"

        intent.refresh_from_db()
        assert (intent.state, intent.generation, customers(at_sandbox)) == ("succeeded", 0, 1)
        last = intent.tries.last()
        assert last is not None
        assert (last.actor, last.reason) == ("user:emre", "Stripe was away")

    def test_a_stored_500_of_something_done_is_seen_through(self, at_sandbox: SandboxProcess) -> None:
        """Stripe repeats it for a day. Who only sends again waits for a day, or makes a second one with a new key."""
        failing(at_sandbox, "error_500_after_commit", perform)

        perform(now=NOW + HOUR)

        assert customers(at_sandbox) == 1
        assert story(OutboxIntent.objects.get()) == ["unavailable", "found"]

    def test_a_500_of_nothing_done_gets_a_new_key_from_a_person_once_lists_have_settled(
        self, at_sandbox: SandboxProcess
    ) -> None:
        intent = failing(at_sandbox, "error_500", perform)
        with pytest.raises(OutboxRefusal, match="less than 10 minutes ago"):
            redrive(intent, now=NOW + timedelta(minutes=2))

        assert redriving.way_of(intent, now=NOW + HOUR) is Way.LOOK_THEN_NEW_KEY
        redrive(intent)

        intent.refresh_from_db()
        assert (intent.state, intent.generation, customers(at_sandbox)) == ("succeeded", 1, 1)
        assert story(intent) == ["unavailable", "reopened", "succeeded"]

    def test_a_refused_write_is_sent_again_after_its_cause_was_mended(self, at_sandbox: SandboxProcess) -> None:
        """Under the old key Stripe would repeat the refusal for a day."""
        invoice = gateway.request("post", "/v1/invoices", {"customer": perform()["id"], "auto_advance": False}).data
        at_sandbox.alter(invoice["id"], status="open")
        lines = {"lines": [{"amount": 300, "description": "Usage"}]}
        with pytest.raises(StripeRefused):
            perform("push", "invoices.add_lines", target=invoice["id"], params=lines)
        at_sandbox.alter(invoice["id"], status="draft")
        with pytest.raises(StripeRefused):  # the purpose's own repeat does not ask again
            perform("push", "invoices.add_lines", target=invoice["id"], params=lines)

        intent = OutboxIntent.objects.get(purpose="push")
        redrive(intent)
        redrive(intent)

        assert perform("push", "invoices.add_lines", target=invoice["id"], params=lines)["total"] == 300
        assert story(intent)[:3] == ["refused", "reopened", "succeeded"]

    def test_what_was_done_is_only_compared(self, at_sandbox: SandboxProcess) -> None:
        ada = perform()
        intent = OutboxIntent.objects.get()
        assert redrive(intent).outcome == "compared"
        gateway.request("post", f"/v1/customers/{ada['id']}", {"name": "Grace"})

        assert redrive(intent).outcome == "differs"
        assert gateway.retrieve(f"/v1/customers/{ada['id']}")["name"] == "Grace"
        intent.refresh_from_db()
        assert (intent.state, intent.attempts) == ("succeeded", 1)

    def test_it_is_refused_without_a_reason_inside_a_transaction_and_of_nothing(self) -> None:
        perform()
        intent = OutboxIntent.objects.get()
        with pytest.raises(OutboxRefusal) as refusal:
            redriving.redrive(intent_id=intent.pk, actor="user:emre", reason=" ", now=NOW)
        assert refusal.value.field == "reason"
        with pytest.raises(OutboxRefusal, match="There is no intent"):
            redriving.redrive(intent_id=uuid4(), actor="user:emre", reason="x", now=NOW)
        with transaction.atomic(), pytest.raises(OutboxInsideTransaction):
            redrive(intent)


class TestOldUpdates:
    def test_a_later_write_of_the_same_supersedes_it(self, at_sandbox: SandboxProcess) -> None:
        """Whether a day or five minutes have passed: the newer state stays."""
        ada = perform()["id"]
        old = failing(at_sandbox, "connection_reset", lambda: update("1", ada, name="Old"))
        update("2", ada, name="New", email="new@example.com", now=NOW + timedelta(minutes=5))

        with pytest.raises(OutboxSuperseded, match="2 wrote the same"):
            update("1", ada, name="Old", now=NOW + HOUR)
        with pytest.raises(OutboxSuperseded):
            update("1", ada, name="Old", now=NOW + 3 * DAY)

        assert gateway.retrieve(f"/v1/customers/{ada}")["name"] == "New"
        old.refresh_from_db()
        assert (old.state, story(old)) == ("superseded", ["unavailable", "superseded"])
        with pytest.raises(OutboxRefusal):
            redrive(old)

    def test_a_later_write_of_something_else_does_not(self, at_sandbox: SandboxProcess) -> None:
        ada = perform()["id"]
        failing(at_sandbox, "connection_reset", lambda: update("1", ada, name="Countess"))
        update("2", ada, email="new@example.com", now=NOW + timedelta(minutes=5))

        assert update("1", ada, name="Countess", now=NOW + HOUR)["name"] == "Countess"

    def test_after_days_a_person_decides(self, at_sandbox: SandboxProcess) -> None:
        ada = perform()["id"]
        old = failing(at_sandbox, "connection_reset", lambda: update("1", ada, name="Old"))
        gateway.request("post", f"/v1/customers/{ada}", {"name": "Changed in the dashboard"})

        with pytest.raises(OutboxNeedsPerson) as waits:
            update("1", ada, name="Old", now=NOW + 3 * DAY)
        assert waits.value.retry_after is not None
        assert redriving.way_of(old, now=NOW + 3 * DAY) is Way.OVERWRITE
        abandon(old, now=NOW + 3 * DAY)

        assert gateway.retrieve(f"/v1/customers/{ada}")["name"] == "Changed in the dashboard"


class TestAbandon:
    def test_it_is_never_sent_and_whoever_wants_it_is_told(self, at_sandbox: SandboxProcess) -> None:
        intent = failing(at_sandbox, "connection_reset", perform)

        assert abandon(intent).outcome == "abandoned"

        with pytest.raises(OutboxSuperseded, match="abandoned: not wanted"):
            perform(now=NOW + DAY)
        assert customers(at_sandbox) == 0
        with pytest.raises(OutboxRefusal):
            abandon(intent)

    def test_what_was_carried_out_is_recorded_as_done(self, at_sandbox: SandboxProcess) -> None:
        intent = failing(at_sandbox, "timeout_after_commit", perform)

        assert abandon(intent).outcome == "found"

        intent.refresh_from_db()
        assert intent.state == "succeeded"

    def test_a_refused_one(self, at_sandbox: SandboxProcess) -> None:
        with pytest.raises(StripeRefused):
            update("u", "cus_none", name="x")
        assert abandon(OutboxIntent.objects.get()).outcome == "abandoned"

    def test_not_while_it_is_sent(self, at_sandbox: SandboxProcess) -> None:
        intent = died(at_sandbox, carried_out=False)

        with pytest.raises(OutboxRefusal, match="being sent at this moment"):
            abandon(intent, now=NOW + timedelta(minutes=1))


def died(at_sandbox: SandboxProcess, *, carried_out: bool, **otherwise: Any) -> OutboxIntent:
    """What a process leaves that dies between the intent and the outcome, before or after Stripe did its work."""
    intent = OutboxIntent(
        purpose="customer:ada:create", operation="customers.create", params=SAID, created_at=NOW, attempts=1
    )
    intent.first_sent_at = intent.sending_since = NOW
    for name, value in otherwise.items():
        setattr(intent, name, value)
    intent.save(force_insert=True)
    if carried_out:
        params = writes.marked(writes.OPERATIONS["customers.create"], SAID, str(intent.pk))
        gateway.request("post", "/v1/customers", params, idempotency_key=intent.idempotency_key)
    return intent


class TestSweeper:
    @pytest.mark.parametrize("carried_out", [True, False])
    @pytest.mark.parametrize("after", [HOUR, 3 * DAY])
    def test_completes_what_a_dead_process_left(
        self, at_sandbox: SandboxProcess, carried_out: bool, after: timedelta
    ) -> None:
        intent = died(at_sandbox, carried_out=carried_out)
        if after > DAY:
            at_sandbox.advance(at_sandbox.now() + 3 * 86_400)
        assert redriving.sweep(now=NOW + timedelta(minutes=5), limit=10) == 0  # it may still be at it

        assert redriving.sweep(now=NOW + after, limit=10) == 1
        assert redriving.sweep(now=NOW + after, limit=10) == 0

        intent.refresh_from_db()
        assert (intent.state, customers(at_sandbox)) == ("succeeded", 1)
        assert set(intent.tries.values_list("actor", flat=True)) == {"task:sweep_outbox"}

    def test_goes_on_until_it_is_done_and_not_hotly(self, at_sandbox: SandboxProcess) -> None:
        intent = died(at_sandbox, carried_out=False)
        at_sandbox.fault(operation="POST /v1/customers", mode="connection_reset", times=2)
        for minutes in range(10, 120, 5):
            redriving.sweep(now=NOW + timedelta(minutes=minutes), limit=10)

        intent.refresh_from_db()
        assert story(intent) == ["unavailable", "unavailable", "succeeded"]

    def test_leaves_what_has_an_owner_and_what_would_overwrite(self, at_sandbox: SandboxProcess) -> None:
        ada = perform()["id"]
        failing(at_sandbox, "connection_reset", lambda: perform("owned", params={"name": "Grace"}))
        old = failing(at_sandbox, "connection_reset", lambda: update("1", ada, name="Old"))
        OutboxIntent.objects.filter(pk=old.pk).update(sending_since=NOW)

        assert redriving.sweep(now=NOW + 3 * DAY, limit=10) == 0
        assert customers(at_sandbox) == 1
        assert redriving.unfinished(OutboxIntent.objects.all(), now=NOW + HOUR).count() == 2


class TestForbidden:
    def test_is_visible_and_goes_on_once_the_permission_is_there(self, at_sandbox: SandboxProcess) -> None:
        intent = failing(at_sandbox, "forbidden", perform, permission="rak_customer_write")

        intent.refresh_from_db()
        assert (intent.state, story(intent)) == ("intended", ["forbidden"])
        assert "rak_customer_write for POST /v1/customers" in intent.error
        assert perform(now=NOW + HOUR)["name"] == "Ada"

    def test_is_no_refusal(self) -> None:
        assert issubclass(StripeForbidden, StripeUnavailable)
