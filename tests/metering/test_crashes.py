"""
A connection that is cut at every single message, a process that is killed halfway, many that send the same at once.

Whatever happened, sending again (or advancing again) ends at the figures of an undisturbed run: nothing twice, nothing
lost, nothing half.
"""

import http.client
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import django.db
import psycopg
import pytest
from django.db import connections

from config.api_keys.models import ApiKey
from config.backpressure import is_passing
from metering import operations, queries
from metering.models import EventConflict, EventKey, QuarantinedEvent, UsageEvent
from metering.operations import IngestResult, UsageEventInput
from tests.metering.cut_connection import CuttableWay, Moment, cuttable_connection
from tests.metering.test_backpressure import locked, wait_for_one_that_waits
from tests.metering.usage import MORNING, NOVEMBER, NOW, OCTOBER, as_json, event, ingest
from tests.plugin import admin_url
from tests.processes import WebServer
from tests.settled import wait_until_settled

pytestmark = pytest.mark.usefixtures("metered")
CUTS_MAX = 400


def cut_everywhere(
    way: CuttableWay, moment: Moment, attempt: Callable[[int], Any], check: Callable[[int], None]
) -> int:
    """Try `attempt(number)` with the connection cut at its number-th message, then `check`; until one gets through.

    Returns how many attempts were cut.
    """
    for number in range(1, CUTS_MAX):
        django.db.connection.ensure_connection()
        way.arm(number, moment)
        try:
            attempt(number)
        except (django.db.Error, psycopg.Error) as error:
            if not is_passing(error):
                raise
        finally:
            way.disarm()
        django.db.connection.close()
        check(number)
        if not way.was_cut:
            return number - 1
    raise AssertionError(f"more than {CUTS_MAX} messages")


@pytest.mark.parametrize("size", [3, 40], ids=["small", "large"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_ingest_cut_at_every_message_counts_everything_once(moment: Moment, size: int) -> None:
    """A batch with all that can become of an event, so that every path of storing is cut; small ones have their own."""
    ingest(event("counted before"), event("other body before", data={"input_tokens": 1}))
    before = (UsageEvent.objects.count(), EventConflict.objects.count(), QuarantinedEvent.objects.count())

    def batch(number: int) -> list[UsageEventInput]:
        fresh = [event(f"{number}-{position}", time=MORNING + timedelta(hours=position)) for position in range(size)]
        stranger = event(f"{number}-stranger", subject="nobody")
        other = event("other body before", data={"input_tokens": 1_000 + number})
        return [*fresh, event("counted before"), other, stranger]

    def check(number: int) -> None:
        is_whole_or_nothing([f"{number}-{position}" for position in range(size)])
        again = ingest(*batch(number))
        assert again.accepted + again.duplicates == size + 1, again
        assert (again.conflicts, again.quarantined, again.refused) == (1, 1, [])
        figures = (UsageEvent.objects.count(), EventConflict.objects.count(), QuarantinedEvent.objects.count())
        assert figures == (before[0] + size * number, before[1] + number, before[2] + number)

    with cuttable_connection() as way:
        cuts = cut_everywhere(way, moment, lambda number: ingest(*batch(number)), check)

    assert cuts > 10
    windows_equal_events()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_aggregation_cut_at_every_message_counts_everything_once(moment: Moment) -> None:
    def attempt(number: int) -> None:
        operations.advance_windows(now=NOW)

    def check(number: int) -> None:
        windows_equal_events(sent=2 * number)
        ingest(event(f"{number}-a"), event(f"{number}-b", time=MORNING + timedelta(days=number % 20)))
        wait_until_settled()  # the session that was cut may be open still, and would hold back what is advanced next

    with cuttable_connection() as way:
        check(0)
        cuts = cut_everywhere(way, moment, attempt, check)

    assert cuts > 10
    windows_equal_events(since=OCTOBER - timedelta(days=390))


@pytest.mark.parametrize("table", ["metering_event", "metering_quarantinedevent"])
def test_a_server_killed_halfway_leaves_nothing_and_takes_the_batch_afterwards(
    table: str, processes: Any, owner_connection: psycopg.Connection
) -> None:
    """SIGKILL while it waits for a lock: identities, or identities and events, are written and not committed."""
    _, key = ApiKey.objects.create_key(name="edge", scopes=["usage:write"])
    server = WebServer(processes)
    server.start({"WEB_LOCK_TIMEOUT_SECONDS": "60"})
    now = datetime.now(tz=UTC)
    body = as_json(event("e1", time=now), event("e2", time=now, subject="nobody"))
    lost: list[Exception] = []

    def send() -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        try:
            connection.request("POST", "/api/v1/events", body, {"Authorization": f"Api-Key {key}"})
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            lost.append(error)
            return b""
        finally:
            connection.close()

    with psycopg.connect(admin_url(), autocommit=True) as administrator, locked(owner_connection, table):
        sender = threading.Thread(target=send)
        sender.start()
        wait_for_one_that_waits(administrator)
        processes.kill(server.name)
        sender.join(timeout=60)
    assert len(lost) == 1
    assert (UsageEvent.objects.count(), QuarantinedEvent.objects.count()) == (0, 0)

    server.start()
    assert b'"accepted":1' in send()
    assert b'"duplicates":1' in send()
    assert (UsageEvent.objects.count(), EventKey.objects.count(), QuarantinedEvent.objects.count()) == (1, 1, 1)


class TestAtOnce:
    def test_the_same_batch_from_two_connections_is_counted_once(self) -> None:
        batch = [event(f"e{number}") for number in range(300)]
        results = at_once([batch] * 2)
        assert sorted(result.accepted for result in results) == [0, 300]
        assert UsageEvent.objects.count() == EventKey.objects.count() == 300
        windows_equal_events(sent=300)

    def test_batches_that_overlap_in_opposite_order_wait_for_each_other(self) -> None:
        """They meet at the same identities from both ends: a dead-lock, where they are claimed as they come."""
        for round_number in range(5):
            ids = [f"{round_number}-{number}" for number in range(400)]
            events = [event(event_id) for event_id in ids]
            results = at_once([events[:300], events[:99:-1], events[::-1], events[100:]])
            assert sum(result.accepted for result in results) == 400
            assert not any(result.conflicts or result.refused for result in results)
        assert UsageEvent.objects.count() == 2_000
        windows_equal_events(sent=2_000)

    def test_the_same_id_with_another_time_is_counted_once_and_the_others_are_conflicts(self) -> None:
        """Another time is another partition: an index of a partitioned table would let both in."""
        times = [OCTOBER - timedelta(days=40), MORNING, MORNING + timedelta(hours=1), OCTOBER - timedelta(days=200)]
        results = at_once([[event(f"e{number}", time=time) for number in range(100)] for time in times])
        assert sum(result.accepted for result in results) == 100
        assert sum(result.conflicts for result in results) == 300
        assert UsageEvent.objects.count() == EventKey.objects.count() == 100
        assert EventConflict.objects.count() == 300

    def test_a_quarantined_and_a_conflicting_event_are_kept_once(self) -> None:
        ingest(event("e1"))
        batch = [event("e1", data={"input_tokens": 5}), event("stranger", subject="nobody")]
        at_once([batch] * 4)
        assert (EventConflict.objects.count(), QuarantinedEvent.objects.count()) == (1, 1)


def at_once(batches: Sequence[Sequence[UsageEventInput]]) -> list[IngestResult]:
    results: list[IngestResult] = []
    together = threading.Barrier(len(batches))

    def send(batch: Sequence[UsageEventInput]) -> None:
        together.wait()
        try:
            results.append(ingest(*batch))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send, args=[batch]) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(results) == len(batches), "one of them failed"
    return results


def is_whole_or_nothing(ids: Sequence[str]) -> None:
    stored = UsageEvent.objects.filter(event_id__in=ids).count()
    assert stored in {0, len(ids)}
    assert UsageEvent.objects.count() == EventKey.objects.count()


def windows_equal_events(sent: int | None = None, *, since: datetime = OCTOBER) -> None:
    """From `since` on: each day before is proved on its own, which takes long where it is done after every cut."""
    operations.catch_up_windows(now=NOW)
    assert list(queries.verify_windows(since, NOVEMBER)) == []
    if sent is not None:
        totals = {total.meter_code: total.quantity for total in queries.totals(since, NOVEMBER)}
        assert totals.get("input_tokens", 0) == 100 * sent
