"""How far Stripe's lists were read: written down, bounded in each run, and what was forgotten there is said."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from billing.machine_health import _inbox, _polling
from billing.payments.models import BalanceTransaction
from billing.stripe import gateway, permissions, poll, tasks
from billing.stripe.errors import StripeForbidden, StripeUnavailable
from billing.stripe.inbox_models import PollPosition
from billing.stripe.models import InboxEvent
from billing.stripe.projection import process_event
from billing.stripe.replaying import ReplayScope, replay
from tests.billing.thread import START, Thread


def position() -> PollPosition:
    return PollPosition.objects.get(name=poll.EVENTS)


@pytest.fixture
def busy(thread: Thread) -> Thread:
    """Twelve minutes, and a change of a customer in each."""
    customer = gateway.request("post", "/v1/customers", {"name": "c"}).data["id"]
    for minute in range(12):
        thread.sandbox.advance(START + timedelta(minutes=minute + 1))
        gateway.request("post", f"/v1/customers/{customer}", {"name": f"changed {minute}"})
    return thread


def test_a_run_reads_its_share_and_the_next_goes_on_where_it_stopped(
    busy: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "READ_AT_ONCE_MAX", 5)
    monkeypatch.setattr(poll, "STORED_AT_ONCE", 1)

    runs: list[int] = []
    while not runs or poll.is_under_way():
        runs.append(len(poll.fetch_missed_events(now=busy.now)))

    assert sum(runs) == 12
    assert max(runs) == 5
    assert InboxEvent.objects.filter(source="poll").count() == 12
    assert position().read_until == START + timedelta(minutes=12)
    assert position().complete_at == busy.now


def test_a_run_that_breaks_off_keeps_what_it_stored_and_loses_nothing(
    busy: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "STORED_AT_ONCE", 1)
    monkeypatch.setattr(gateway, "PAGE_SIZE_MAX", 4)
    busy.sandbox.fault(operation="GET /v1/events", mode="error_500", times=1000, after=3)
    with pytest.raises(StripeUnavailable):
        poll.fetch_missed_events(now=busy.now)
    stored = InboxEvent.objects.count()
    assert 0 < stored < 12
    assert position().read_until is None

    busy.sandbox.clear_faults()
    poll.fetch_missed_events(now=busy.now)

    assert InboxEvent.objects.count() == 12


def test_what_happens_while_an_older_part_is_read_is_found_by_the_next_reading(
    busy: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "READ_AT_ONCE_MAX", 5)
    monkeypatch.setattr(poll, "STORED_AT_ONCE", 1)
    poll.fetch_missed_events(now=busy.now)
    busy.sandbox.advance(START + timedelta(hours=3))
    customer = InboxEvent.objects.values_list("object_id", flat=True)[0]
    gateway.request("post", f"/v1/customers/{customer}", {"name": "meanwhile"})

    for _ in range(12):
        poll.fetch_missed_events(now=busy.now)

    assert InboxEvent.objects.count() == 13
    assert position().read_until == START + timedelta(hours=3)


def test_of_two_runs_at_once_the_one_that_was_overtaken_stops(busy: Thread) -> None:
    poll.fetch_missed_events(now=busy.now)
    stale = position()
    busy.sandbox.advance(START + timedelta(hours=1))
    customer = InboxEvent.objects.values_list("object_id", flat=True)[0]
    gateway.request("post", f"/v1/customers/{customer}", {"name": "new"})
    poll.fetch_missed_events(now=busy.now)

    assert not poll._moved(stale, {"read_until": START, "complete_at": busy.now})
    assert position().read_until == START + timedelta(hours=1)


def test_a_gap_longer_than_stripe_s_memory_is_said_and_kept(busy: Thread) -> None:
    poll.fetch_missed_events(now=busy.now)
    assert _polling(busy.now).tone == "good"
    later = busy.now + timedelta(days=40)
    busy.sandbox.advance(START + timedelta(days=40))
    gateway.request("post", "/v1/customers", {"name": "much later"})
    customer = InboxEvent.objects.values_list("object_id", flat=True)[0]
    gateway.request("post", f"/v1/customers/{customer}", {"name": "much later"})

    poll.fetch_missed_events(now=later)

    assert position().lost_from == START + timedelta(minutes=12)
    figure = _polling(later)
    assert (figure.tone, "lost" in figure.note) == ("bad", True)
    assert sum(poll.found_by_day(since=busy.now - timedelta(days=1)).values()) == 13


def test_a_poll_that_stands_still_is_an_alarm(busy: Thread) -> None:
    poll.fetch_missed_events(now=busy.now)

    assert _polling(busy.now + timedelta(hours=7)).tone == "bad"


def test_the_position_never_goes_back(busy: Thread, owner_connection: psycopg.Connection) -> None:
    poll.fetch_missed_events(now=busy.now)

    for attack in (
        "UPDATE billing_pollposition SET read_until = read_until - interval '1 day'",
        "UPDATE billing_pollposition SET name = 'other'",
        "DELETE FROM billing_pollposition",
    ):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            owner_connection.execute(attack)


def test_what_happened_earlier_in_the_second_of_a_stop_is_not_passed_over(
    committed_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times of API v2 have fractions, and the filter of a list is asked for whole seconds."""
    monkeypatch.setattr(poll, "READ_AT_ONCE_MAX", 1)
    monkeypatch.setattr(poll, "STORED_AT_ONCE", 1)
    things = [{"id": f"{part}", "created": f"2026-10-01T00:00:05.{part}Z"} for part in (900, 600, 300)]
    taken: list[str] = []

    def listed(created: dict[str, int]) -> list[dict[str, Any]]:
        until = created.get("lte", 2**40)
        return [one for one in things if poll._created_at(one).timestamp() <= until and one["id"] not in taken]

    def take(batch: list[dict[str, Any]], now: datetime) -> list[str]:
        taken.extend(one["id"] for one in batch)
        return []

    for _ in range(4):
        poll._read(poll.THIN_EVENTS, listed, take, now=START)

    assert taken == ["900", "600", "300"]
    assert not poll.is_under_way(poll.THIN_EVENTS)


class TestAMovementThatCannotBeEntered:
    """It stops no other: the position passes, and the movement waits in the inbox until a person acts."""

    @pytest.fixture
    def bad(self, thread: Thread) -> str:
        for key in ("ada", "bob", "cleo"):
            thread.subscribe(key)
        bad = str(list(gateway.listed("/v1/balance_transactions"))[1]["id"])
        thread.sandbox.alter(bad, exchange_rate=1.25, source="ch_gone")
        return bad

    def test_is_kept_for_a_person(self, thread: Thread, bad: str) -> None:
        assert poll.fetch_missed_balance_transactions(now=thread.now) == 2
        assert not poll.is_under_way(poll.MOVEMENTS)
        assert PollPosition.objects.get(name=poll.MOVEMENTS).complete_at == thread.now

        process_event(event_id=bad, now=thread.now)

        event = InboxEvent.objects.get(pk=bad)
        assert (event.state, event.type) == ("dead", "balance_transaction.not_entered")
        assert event.error
        figure = _inbox(thread.now)
        assert (figure.tone, figure.value) == ("bad", "1")

    def test_is_entered_once_the_person_has_it_tried_again(self, thread: Thread, bad: str) -> None:
        was = gateway.retrieve(f"/v1/balance_transactions/{bad}")
        poll.fetch_missed_balance_transactions(now=thread.now)
        process_event(event_id=bad, now=thread.now)
        charge = str(list(gateway.listed("/v1/charges"))[1]["id"])
        thread.sandbox.alter(bad, exchange_rate=None, source=charge)
        assert was["source"] == "ch_gone"

        scope = ReplayScope(event_ids=(bad,))
        replay(scope=scope, actor="user:emre", reason="mended at Stripe", now=thread.now)
        process_event(event_id=bad, now=thread.now)

        assert InboxEvent.objects.get(pk=bad).state == "done"
        assert BalanceTransaction.objects.filter(stripe_id=bad).count() == 1


class TestEachListOnItsOwn:
    @pytest.mark.parametrize("forbidden", ["/v1/events", "/v2/core/events", "/v1/balance_transactions"])
    def test_one_that_is_forbidden_keeps_no_other_from_being_read(self, thread: Thread, forbidden: str) -> None:
        thread.subscribe()
        thread.sandbox.fault(operation=f"GET {forbidden}$", mode="forbidden", times=None)

        with pytest.raises(StripeForbidden, match=forbidden):
            tasks.task_poll_missed_events()

        complete = PollPosition.objects.filter(complete_at__isnull=False).values_list("name", flat=True)
        assert len(complete) == 2
        assert InboxEvent.objects.exists() == (forbidden != "/v1/events")
        assert BalanceTransaction.objects.exists() == (forbidden != "/v1/balance_transactions")
        figure = _polling(thread.now)
        assert (figure.tone, "never" in figure.note) == ("bad", True)

    def test_the_key_is_asked_whether_it_may_read_each(self) -> None:
        paths = {need.path for need in permissions.NEEDS}
        assert {"/v1/events", "/v2/core/events", "/v1/balance", "/v1/balance_transactions"} <= paths


def test_times_of_api_v2_are_read_as_well() -> None:
    assert poll._created_at({"created": "2026-10-01T00:00:00.000Z"}) == datetime(2026, 10, 1, tzinfo=UTC)
