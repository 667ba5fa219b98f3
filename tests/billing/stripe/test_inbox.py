"""Leases on objects: who may work, what a worker that was overtaken may still do, and what becomes of failures."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections, transaction

from billing.stripe import inbox
from billing.stripe.errors import LeaseLost
from billing.stripe.inbox import LEASE, STRIKES_MAX, SWEPT_AFTER, Verdict
from billing.stripe.models import InboxEvent
from billing.stripe.replaying import ReplayScope, replay

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _committed(committed_db: None) -> None:
    """Leases are between transactions: commits must be real."""


def receive(event_id: str, *, object_id: str = "in_1", at: datetime = NOW) -> bool:
    thing = {"id": object_id, "object": "invoice"}
    event: dict[str, Any] = {
        "id": event_id,
        "object": "event",
        "type": "invoice.paid",
        "livemode": False,
        "created": 1_790_000_000,
        "data": {"object": thing},
    }
    return inbox.receive(event, body=json.dumps(event), source="webhook", received_at=at)


def finish(claim: inbox.Claim, *, now: datetime) -> None:
    inbox.finish(claim, outcome=inbox.Outcome.PROJECTED, now=now)


class TestReceive:
    def test_asks_for_a_worker_only_when_none_is_on_the_way_to_the_object(self) -> None:
        assert receive("evt_1")
        assert not receive("evt_1")
        assert not receive("evt_2")
        assert receive("evt_3", object_id="in_2")
        claim = inbox.claim(event_id="evt_1", now=NOW)
        assert claim is not None
        assert not receive("evt_4")
        assert inbox.next_waiting(event_id="evt_1") == "evt_4"
        finish(claim, now=NOW)

        assert not receive("evt_5")
        claim = inbox.claim(event_id="evt_4", now=NOW)
        assert claim is not None
        finish(claim, now=NOW)
        assert inbox.next_waiting(event_id="evt_4") is None
        assert receive("evt_6")


class TestClaim:
    def test_takes_all_waiting_events_of_the_object_and_no_others(self) -> None:
        for event_id in ("evt_1", "evt_2"):
            receive(event_id)
        receive("evt_3", object_id="in_2")

        claim = inbox.claim(event_id="evt_2", now=NOW)

        assert claim is not None
        assert {event.pk for event in claim.events} == {"evt_1", "evt_2"}
        assert InboxEvent.objects.get(pk="evt_3").state == "received"

    def test_leaves_an_object_alone_that_somebody_works_on(self) -> None:
        receive("evt_1")
        inbox.claim(event_id="evt_1", now=NOW)
        receive("evt_2")

        assert inbox.claim(event_id="evt_2", now=NOW + LEASE - timedelta(seconds=1)) is None
        assert inbox.claim(event_id="evt_1", now=NOW + LEASE - timedelta(seconds=1)) is None

    def test_takes_over_from_a_worker_whose_lease_ran_out(self) -> None:
        receive("evt_1")
        inbox.claim(event_id="evt_1", now=NOW)
        receive("evt_2")

        claim = inbox.claim(event_id="evt_2", now=NOW + LEASE)

        assert claim is not None
        assert {event.pk: event.attempts for event in claim.events} == {"evt_1": 2, "evt_2": 1}

    def test_is_won_by_one_of_eight_at_once(self) -> None:
        for number in range(5):
            receive(f"evt_{number}")
        barrier, won = threading.Barrier(8), []

        def work(number: int) -> None:
            barrier.wait()
            claim = inbox.claim(event_id=f"evt_{number % 5}", now=NOW)
            if claim is not None:
                won.append(len(claim.events))
            connections.close_all()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

        assert won == [5]

    def test_of_a_finished_or_unknown_event_is_nothing(self) -> None:
        receive("evt_1")
        claim = inbox.claim(event_id="evt_1", now=NOW)
        assert claim is not None
        finish(claim, now=NOW)

        assert inbox.claim(event_id="evt_1", now=NOW + LEASE * 2) is None
        assert inbox.claim(event_id="evt_unknown", now=NOW) is None


class TestFence:
    def test_undoes_the_effects_of_a_worker_that_was_overtaken(self) -> None:
        """The first worker fetched an older state and is slow: what it writes must not survive."""
        receive("evt_1")
        slow = inbox.claim(event_id="evt_1", now=NOW)
        quick = inbox.claim(event_id="evt_1", now=NOW + LEASE)
        assert slow is not None
        assert quick is not None

        with pytest.raises(LeaseLost):
            self.write_and_finish(slow)
        finish(quick, now=NOW + LEASE)

        assert InboxEvent.objects.get().error == ""
        assert InboxEvent.objects.get().state == "done"

    def write_and_finish(self, claim: inbox.Claim) -> None:
        with transaction.atomic():
            InboxEvent.objects.update(error="written by the slow one")
            finish(claim, now=NOW + LEASE)

    def test_a_finished_claim_cannot_be_finished_again(self) -> None:
        receive("evt_1")
        claim = inbox.claim(event_id="evt_1", now=NOW)
        assert claim is not None
        finish(claim, now=NOW)

        with pytest.raises(LeaseLost):
            finish(claim, now=NOW)


class TestFailure:
    def fail(self, verdict: Verdict, *, now: datetime = NOW) -> InboxEvent:
        claim = inbox.claim(event_id="evt_1", now=now)
        assert claim is not None
        inbox.fail(claim, error="no", verdict=verdict, now=now)
        return InboxEvent.objects.get()

    def test_waits_longer_each_time(self) -> None:
        receive("evt_1")
        now, waits = NOW, []
        for _ in range(4):
            event = self.fail(Verdict.TRY_AGAIN, now=now)
            waits.append((event.next_attempt_at - now).total_seconds())
            now = event.next_attempt_at
        assert waits == [1, 2, 4, 8]

    @pytest.mark.parametrize(("verdict", "state"), [(Verdict.TRY_A_FEW_TIMES, "dead"), (Verdict.TRY_AGAIN, "failed")])
    def test_ends_after_enough_tries_unless_it_was_only_the_network(self, verdict: Verdict, state: str) -> None:
        receive("evt_1")
        now = NOW
        for _ in range(STRIKES_MAX):
            event = self.fail(verdict, now=now)
            now = event.next_attempt_at
        assert (event.state, event.error) == (state, "no")

    def test_a_dead_event_is_not_due_until_a_person_replays_it(self) -> None:
        receive("evt_1")
        assert self.fail(Verdict.SET_ASIDE).state == "dead"
        assert inbox.due_event_ids(now=NOW + timedelta(days=9), limit=10) == []

        scope = ReplayScope(event_ids=("evt_1",))
        assert replay(scope=scope, reason="a test", actor="user:tester", now=NOW).chosen == 1

        assert inbox.claim(event_id="evt_1", now=NOW) is not None


class TestSweep:
    def test_names_one_event_for_each_object_nobody_works_on(self) -> None:
        receive("evt_1")
        receive("evt_2")
        receive("evt_3", object_id="in_2")
        receive("evt_4", object_id="in_3")
        inbox.claim(event_id="evt_4", now=NOW + SWEPT_AFTER)

        due = inbox.due_event_ids(now=NOW + SWEPT_AFTER, limit=10)

        assert due == ["evt_1", "evt_3"]

    def test_leaves_new_events_to_the_broker(self) -> None:
        receive("evt_1")

        assert inbox.due_event_ids(now=NOW + SWEPT_AFTER - timedelta(seconds=1), limit=10) == []

    def test_hands_an_object_over_again_only_after_the_broker_had_its_time(self) -> None:
        for event_id in ("evt_1", "evt_2"):
            receive(event_id)
        first, second = NOW + SWEPT_AFTER, NOW + SWEPT_AFTER * 2

        inbox.note_swept(event_ids=inbox.due_event_ids(now=first, limit=10), now=first)

        assert inbox.due_event_ids(now=second - timedelta(seconds=1), limit=10) == []
        assert inbox.due_event_ids(now=second, limit=10) == ["evt_1"]
