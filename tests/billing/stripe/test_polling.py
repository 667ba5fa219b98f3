"""How far Stripe's lists were read: written down, bounded in each run, and what was forgotten there is said."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from billing.machine_health import _polling
from billing.stripe import gateway, poll
from billing.stripe.errors import StripeUnavailable
from billing.stripe.inbox_models import PollPosition
from billing.stripe.models import InboxEvent
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


def test_times_of_api_v2_are_read_as_well() -> None:
    assert poll._created_at({"created": "2026-10-01T00:00:00.000Z"}) == datetime(2026, 10, 1, tzinfo=UTC)
