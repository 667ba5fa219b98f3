"""Ingest: what is taken, once, and what becomes of the rest."""

import threading
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from django.db import connection, connections

from metering import operations, queries
from metering.events import UsageEvent, check_event
from metering.models import EventConflict, EventKey, QuarantinedEvent
from metering.models import UsageEvent as StoredEvent
from tests.metering.usage import MORNING, NOVEMBER, NOW, OCTOBER, event, ingest

pytestmark = pytest.mark.usefixtures("metered")


def statuses(result: operations.IngestResult) -> list[tuple[int, str]]:
    return [(outcome.index, outcome.status) for outcome in result.outcomes]


def test_a_good_event_is_stored_as_it_was_sent() -> None:
    result = ingest(event("e1", data={"input_tokens": Decimal("0.125"), "member": 'u "17" \\ \t \u00e9'}))

    assert (result.accepted, result.outcomes) == (1, [])
    stored = StoredEvent.objects.get()
    assert (stored.source, stored.event_id, stored.customer_key) == ("edge/us-east-1", "e1", "acme")
    assert (stored.event_time, stored.received_at) == (MORNING, NOW)
    assert stored.data["member"] == 'u "17" \\ \t \u00e9'
    with connection.cursor() as cursor:
        cursor.execute("SELECT (data->>'input_tokens')::numeric FROM metering_event")
        assert cursor.fetchone() == (Decimal("0.125"),)


def test_one_bad_event_of_a_thousand_leaves_the_others_accepted() -> None:
    events = [event(f"e{number}") for number in range(1_000)]
    events[417] = event("e417", data={"input_tokens": -1})

    result = ingest(*events)

    assert (result.accepted, len(result.refused)) == (999, 1)
    assert (result.refused[0].index, result.refused[0].id) == (417, "e417")
    assert result.refused[0].field == "data.input_tokens"
    assert StoredEvent.objects.count() == 999


def test_a_repeat_is_a_duplicate_however_the_batch_is_cut() -> None:
    ingest(event("e1"), event("e2"))

    result = ingest(event("e3"), event("e2"), event("e1"))

    assert (result.accepted, result.duplicates) == (1, 2)
    assert statuses(result) == [(1, "duplicate"), (2, "duplicate")]
    assert StoredEvent.objects.count() == EventKey.objects.count() == 3


def test_the_same_id_from_another_source_is_another_event() -> None:
    result = ingest(event("e1"), event("e1", source="edge/eu-west-1"))

    assert (result.accepted, StoredEvent.objects.count()) == (2, 2)


def test_the_same_id_with_another_time_does_not_count_again() -> None:
    ingest(event("e1"))

    result = ingest(event("e1", time=MORNING - timedelta(days=40)))

    assert (result.accepted, result.conflicts) == (0, 1)
    assert StoredEvent.objects.count() == 1


def test_the_same_id_with_another_body_is_kept_as_a_conflict_and_the_first_counts() -> None:
    ingest(event("e1", data={"input_tokens": 100}))

    for _ in range(2):
        result = ingest(event("e1", data={"input_tokens": 999}))
        assert statuses(result) == [(0, "conflict")]

    operations.catch_up_windows(now=NOW)
    totals = {total.meter_code: total.quantity for total in queries.totals(OCTOBER, NOVEMBER)}
    conflict = EventConflict.objects.get()
    assert totals["input_tokens"] == 100
    assert conflict.data["input_tokens"] == 999
    assert conflict.first_event_time == MORNING


def test_within_one_batch_the_first_counts() -> None:
    result = ingest(event("e1"), event("e1"), event("e1", data={"input_tokens": 7}), event("e2"))

    assert (result.accepted, result.duplicates, result.conflicts) == (2, 1, 1)
    assert statuses(result) == [(1, "duplicate"), (2, "conflict")]


def test_a_batch_is_told_apart_against_what_was_stored_not_against_its_own_first() -> None:
    ingest(event("e1"))

    result = ingest(event("e1", data={"input_tokens": 7}), event("e1"))

    assert statuses(result) == [(0, "conflict"), (1, "duplicate")]


def test_an_unknown_type_and_an_unknown_subject_are_quarantined_once() -> None:
    for _ in range(2):
        result = ingest(event("e1", type="disk.write"), event("e2", subject="nobody"), event("e3"))
        assert (result.quarantined, [o.field for o in result.outcomes if o.status == "quarantined"]) == (
            2,
            ["type", "subject"],
        )

    kept = {(row.event_id, row.reason) for row in QuarantinedEvent.objects.all()}
    assert kept == {("e1", "unknown_type"), ("e2", "unknown_subject")}
    assert StoredEvent.objects.count() == 1


def test_replay_takes_what_can_be_counted_by_now() -> None:
    ingest(event("e1", subject="late-comer", data={"input_tokens": Decimal("1.50")}), event("e2", type="disk.write"))
    operations.register_subjects(["late-comer"])

    result = operations.replay_quarantine(ids="all", actor="user:ada", now=NOW)

    assert (result.accepted, result.waiting) == (1, 1)
    row = QuarantinedEvent.objects.get(event_id="e1")
    assert (row.outcome, row.resolved_by, row.resolved_at) == ("accepted", "user:ada", NOW)
    assert QuarantinedEvent.objects.get(event_id="e2").resolved_at is None
    again = ingest(event("e1", subject="late-comer", data={"input_tokens": Decimal("1.50")}))
    assert again.duplicates == 1
    assert operations.replay_quarantine(ids="all", actor="user:ada", now=NOW).accepted == 0


def test_replay_of_an_event_that_a_meter_now_refuses_leaves_it_with_the_reason() -> None:
    ingest(event("e1", type="disk.write", data={"bytes": "many"}))
    operations.define_meter(
        code="disk", event_type="disk.write", value_path="data.bytes", aggregation="sum", dimensions=[], unit="byte"
    )
    waiting = QuarantinedEvent.objects.get()

    result = operations.replay_quarantine(ids=[waiting.id], actor="user:ada", now=NOW)

    waiting.refresh_from_db()
    assert (result.waiting, waiting.resolved_at) == (1, None)
    assert (waiting.reason, waiting.detail) == ("refused_on_replay", "data.bytes: the quantity is not a number")


def test_an_event_of_a_month_without_a_partition_is_accepted() -> None:
    later = NOW + timedelta(days=400)

    result = ingest(event("e1", time=later), event("e2"), received_at=later)

    assert result.accepted == 1  # the other one is older than the dedupe horizon by then
    assert result.refused[0].field == "time"
    assert StoredEvent.objects.get().event_time == later


def test_two_connections_sending_the_same_batch_at_once_count_it_once() -> None:
    events = [event(f"e{number}") for number in range(500)]
    accepted: list[int] = []
    together = threading.Barrier(4)

    def send() -> None:
        together.wait()
        try:
            accepted.append(ingest(*events).accepted)
        finally:
            connections.close_all()

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert sorted(accepted) == [0, 0, 0, 500]
    assert StoredEvent.objects.count() == EventKey.objects.count() == 500


def test_an_id_claimed_by_a_transaction_that_fails_is_free_again(app_connection: psycopg.Connection) -> None:
    """The failed write and its retry: OpenMeter's #5118, where the claimed id made the retry a duplicate of nothing."""
    checked = check_event(event("e1"), received_at=NOW, oldest=OCTOBER, rules={})
    assert isinstance(checked, UsageEvent)
    result: list[operations.IngestResult] = []

    def send() -> None:
        try:
            result.append(ingest(event("e1")))
        finally:
            connections.close_all()

    sender = threading.Thread(target=send)
    with app_connection.transaction(force_rollback=True):
        app_connection.execute(
            "INSERT INTO metering_event_key (key, event_time, digest) VALUES (%s, %s, %s)",
            [checked.key, checked.time, checked.digest],
        )
        sender.start()
        sender.join(timeout=0.3)
        assert sender.is_alive(), "it must wait: whether the id is taken is not known yet"
    sender.join()

    assert result[0].accepted == 1
    assert StoredEvent.objects.count() == 1
