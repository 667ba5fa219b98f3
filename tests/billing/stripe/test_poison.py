"""An event that cannot be processed: it takes no other along, what happened to it is kept, and people replay it."""

from datetime import timedelta

import psycopg
import pytest
from django.db import connection

from billing.stripe import inbox, retention
from billing.stripe.inbox import LEASE, STRIKES_MAX, STRIKES_TOGETHER_MAX, WAITED_FOR_MAX, Verdict
from billing.stripe.inbox_models import InboxFailure, InboxReplay
from billing.stripe.models import InboxEvent
from billing.stripe.projection import process_event
from billing.stripe.replaying import REPLAYABLE, ReplayRefused, ReplayScope, preview, replay
from tests.billing.stripe.test_inbox import NOW, finish, receive
from tests.billing.thread import CLIENT  # noqa: F401  (loads the middleware once)


@pytest.fixture(autouse=True)
def _committed(committed_db: None) -> None:
    """Leases are between transactions: commits must be real."""


def work_through(poison: str, *, until_quiet: int = 60) -> list[str]:
    """Workers that fail whenever the poison is among the events; the events that were done."""
    now = NOW
    for _ in range(until_quiet):
        now += timedelta(minutes=16)
        for event_id in inbox.due_event_ids(now=now, limit=10):
            claim = inbox.claim(event_id=event_id, now=now)
            if claim is None:
                continue
            if any(event.pk == poison for event in claim.events):
                inbox.fail(claim, error="poison", verdict=Verdict.TRY_A_FEW_TIMES, now=now)
            else:
                finish(claim, now=now)
    return sorted(InboxEvent.objects.filter(state="done").values_list("pk", flat=True))


class TestPoison:
    def test_takes_none_of_its_object_s_events_along(self) -> None:
        for event_id in ("evt_1", "evt_poison", "evt_3"):
            receive(event_id)

        assert work_through("evt_poison") == ["evt_1", "evt_3"]
        dead = InboxEvent.objects.get(state="dead")
        assert (dead.pk, dead.strikes, dead.attempts, dead.error) == ("evt_poison", STRIKES_MAX, STRIKES_MAX, "poison")

    def test_is_claimed_alone_once_it_failed_often(self) -> None:
        for event_id in ("evt_1", "evt_2"):
            receive(event_id)
        InboxEvent.objects.filter(pk="evt_1").update(strikes=STRIKES_TOGETHER_MAX)

        alone = inbox.claim(event_id="evt_1", now=NOW)
        assert alone is not None
        assert [event.pk for event in alone.events] == ["evt_1"]
        finish(alone, now=NOW)
        other = inbox.claim(event_id="evt_2", now=NOW)
        assert other is not None

    def test_that_kills_its_workers_is_set_aside_in_the_end(self) -> None:
        """Nobody lives to say that it failed: each lease runs out."""
        receive("evt_1")
        now = NOW
        for _ in range(STRIKES_MAX):
            assert inbox.claim(event_id="evt_1", now=now) is not None
            now += LEASE
        process_event(event_id="evt_1", now=now)

        event = InboxEvent.objects.get()
        assert event.state == "dead"
        assert "workers died" in event.error

    def test_a_worker_that_is_only_slow_costs_the_event_nothing(self) -> None:
        receive("evt_1")
        slow = inbox.claim(event_id="evt_1", now=NOW)
        quick = inbox.claim(event_id="evt_1", now=NOW + LEASE)
        assert slow is not None
        assert quick is not None
        assert InboxEvent.objects.get().strikes == 1

        inbox.forgive(slow)

        assert InboxEvent.objects.get().strikes == 0

    def test_silence_of_stripe_is_no_strike(self) -> None:
        receive("evt_1")
        now = NOW
        for _ in range(STRIKES_MAX + 3):
            claim = inbox.claim(event_id="evt_1", now=now)
            assert claim is not None
            inbox.fail(claim, error="no answer", verdict=Verdict.TRY_AGAIN, now=now)
            now = InboxEvent.objects.get().next_attempt_at
        claim = inbox.claim(event_id="evt_1", now=now)
        assert claim is not None
        inbox.fail(claim, error="a bug", verdict=Verdict.TRY_A_FEW_TIMES, now=now)

        assert (InboxEvent.objects.get().state, InboxEvent.objects.get().strikes) == ("failed", 1)

    @pytest.mark.parametrize(
        ("waited", "state"), [(WAITED_FOR_MAX - timedelta(seconds=1), "failed"), (WAITED_FOR_MAX, "dead")]
    )
    def test_what_waits_for_another_event_waits_as_long_as_stripe_delivers(self, waited: timedelta, state: str) -> None:
        receive("evt_1")
        claim = inbox.claim(event_id="evt_1", now=NOW + waited)
        assert claim is not None
        inbox.fail(claim, error="not yet", verdict=Verdict.WAIT, now=NOW + waited)

        assert InboxEvent.objects.get().state == state

    def test_its_failures_are_kept_and_the_same_is_not_told_twice(self) -> None:
        receive("evt_1")
        now = NOW
        for error in ("a", "a", "b", "a"):
            claim = inbox.claim(event_id="evt_1", now=now)
            assert claim is not None
            inbox.fail(claim, error=error, verdict=Verdict.TRY_AGAIN, now=now)
            now += timedelta(hours=1)

        told = InboxFailure.objects.order_by("attempt").values_list("attempt", "error", "is_final")
        assert list(told) == [(1, "a", False), (3, "b", False), (4, "a", False)]


def dead(event_id: str, *, object_id: str = "in_1", error: str = "broken") -> None:
    receive(event_id, object_id=object_id)
    claim = inbox.claim(event_id=event_id, now=NOW)
    assert claim is not None
    inbox.fail(claim, error=error, verdict=Verdict.SET_ASIDE, now=NOW)


def ask(scope: ReplayScope, reason: str = "mended") -> InboxReplay:
    return replay(scope=scope, reason=reason, actor="user:emre", now=NOW)


class TestReplay:
    def test_of_a_filter_takes_what_fits_and_says_what_it_was(self) -> None:
        dead("evt_1", error="tax is odd")
        dead("evt_2", object_id="in_2", error="tax is missing")
        dead("evt_3", object_id="in_3", error="another")
        assert preview(ReplayScope(error="tax")).count == 2

        made = ask(ReplayScope(error="tax", type="invoice"))

        assert (made.chosen, made.scope) == (
            2,
            "events of type invoice with the error “tax” (failed, will be tried again or set aside)",
        )
        before = made.events.order_by("event_id").values_list("event_id", "state_before", "error_before")
        assert list(before) == [("evt_1", "dead", "tax is odd"), ("evt_2", "dead", "tax is missing")]
        assert InboxEvent.objects.get(pk="evt_3").state == "dead"

    def test_of_an_object_takes_done_ones_too_when_asked(self) -> None:
        receive("evt_1")
        claim = inbox.claim(event_id="evt_1", now=NOW)
        assert claim is not None
        finish(claim, now=NOW)

        with pytest.raises(ReplayRefused):
            ask(ReplayScope(object_id="in_1"))
        ask(ReplayScope(object_id="in_1", states=REPLAYABLE))

        again = inbox.claim(event_id="evt_1", now=NOW)
        assert again is not None
        assert again.must_fetch
        assert not again.shows_only(lambda _: True)

    def test_counts_attempts_on_and_strikes_anew(self) -> None:
        dead("evt_1")
        ask(ReplayScope(event_ids=("evt_1",)))

        event = InboxEvent.objects.get()
        assert (event.attempts, event.attempts_before, event.strikes) == (1, 1, 0)

    @pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
    def test_needs_a_reason(self, reason: str) -> None:
        dead("evt_1")
        with pytest.raises(ReplayRefused) as refused:
            ask(ReplayScope(event_ids=("evt_1",)), reason)
        assert refused.value.field == "reason"
        assert InboxReplay.objects.count() == 0

    def test_said_twice_finds_nothing_the_second_time(self) -> None:
        dead("evt_1")
        ask(ReplayScope(event_ids=("evt_1",)))
        with pytest.raises(ReplayRefused, match="nothing"):
            ask(ReplayScope(event_ids=("evt_1",)))


class TestRetention:
    KEEP = timedelta(days=90)

    def done(self, event_id: str) -> None:
        receive(event_id, object_id=event_id)
        claim = inbox.claim(event_id=event_id, now=NOW)
        assert claim is not None
        finish(claim, now=NOW)
        inbox.mark_mirrored(event_ids=[event_id], now=NOW)

    def test_drops_what_was_said_long_ago_in_batches_and_keeps_the_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "BATCH", 2)
        for number in range(5):
            self.done(f"evt_{number}")
        dead("evt_dead", object_id="in_dead")

        assert retention.drop_old_payloads(keep=self.KEEP, now=NOW + self.KEEP) == 0
        later = NOW + self.KEEP + timedelta(seconds=1)
        assert retention.drop_old_payloads(keep=self.KEEP, now=later) == 5

        assert InboxEvent.objects.filter(payload__isnull=True).count() == 5
        assert InboxEvent.objects.get(pk="evt_dead").payload is not None
        assert retention.drop_old_payloads(keep=self.KEEP, now=later) == 0

    def test_a_redelivery_after_it_is_still_a_repeat(self) -> None:
        self.done("evt_1")
        later = NOW + self.KEEP * 2
        retention.drop_old_payloads(keep=self.KEEP, now=later)

        assert not receive("evt_1", object_id="evt_1", at=later)

        event = InboxEvent.objects.get()
        assert (event.state, event.deliveries, event.payload) == ("done", 2, None)
        assert inbox.claim(event_id="evt_1", now=later) is None
        with pytest.raises(ReplayRefused):
            ask(ReplayScope(event_ids=("evt_1",), states=REPLAYABLE))


class TestAttacks:
    @pytest.mark.parametrize(
        "attack",
        [
            "UPDATE billing_inboxevent SET type = 'invoice.voided'",
            "UPDATE billing_inboxevent SET object_id = 'in_2'",
            "UPDATE billing_inboxevent SET payload = '{}'",
            "UPDATE billing_inboxevent SET payload = NULL",
            "UPDATE billing_inboxevent SET attempts = 0",
            "UPDATE billing_inboxevent SET deliveries = 0",
            "UPDATE billing_inboxevent SET state = 'done'",
            "DELETE FROM billing_inboxfailure",
            "UPDATE billing_inboxfailure SET error = ''",
            "UPDATE billing_inboxreplay SET reason = 'other'",
            "DELETE FROM billing_inboxreplayedevent",
            "UPDATE billing_mirrorrebuild SET finished_at = NULL",
        ],
    )
    def test_what_was_said_and_done_stays(
        self, attack: str, owner_connection: psycopg.Connection, app_connection: psycopg.Connection
    ) -> None:
        dead("evt_1")
        ask(ReplayScope(event_ids=("evt_1",)))
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO billing_mirrorrebuild (started_at, started_by, positions, finished_at)"
                " VALUES (now(), 'user:x', '{}', now())"
            )
        for attacker in (owner_connection, app_connection):
            with pytest.raises((psycopg.errors.IntegrityError, psycopg.errors.InsufficientPrivilege)):
                attacker.execute(attack)
