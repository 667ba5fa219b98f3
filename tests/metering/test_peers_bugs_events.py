"""Bugs by which others' customers were charged for events twice, or not at all: each told, and that it cannot be here.

About taking events and bringing them into windows; test_peers_bugs_usage.py is about what they add up to. The names
are those of public threads: L is getlago/lago-api, OM openmeterio/openmeter, P polarsource/polar, F flexprice.
"""

import threading
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from metering import operations, queries
from metering.events import UsageEvent, check_event
from metering.models import UsageEvent as StoredEvent
from tests.metering.usage import MORNING, NOVEMBER, NOW, OCTOBER, advance, event, hours, ingest
from tests.settled import wait_until_settled

pytestmark = pytest.mark.usefixtures("metered")


def total(code: str = "input_tokens") -> Decimal:
    """The month's quantity of one meter, after everything recorded was aggregated and proved."""
    operations.catch_up_windows(now=NOW)
    assert list(queries.verify_windows(OCTOBER, NOVEMBER)) == []
    return sum((row.quantity for row in queries.totals(OCTOBER, NOVEMBER) if row.meter_code == code), Decimal(0))


def test_22_l4772_one_duplicate_leaves_the_rest_of_its_batch_stored() -> None:
    """There a batch with one duplicate failed as a whole after part of it had been written: neither stored nor not.

    Here each event of a batch has an outcome of its own, and all of it is one transaction.
    """
    ingest(event("e500"))

    result = ingest(*(event(f"e{number}") for number in range(1_000)))

    assert (result.accepted, result.duplicates) == (999, 1)
    assert [(outcome.index, outcome.status) for outcome in result.outcomes] == [(500, "duplicate")]
    assert total() == 100_000


def test_24_lago637_whatever_is_accepted_is_aggregated_and_what_is_not_is_said() -> None:
    """There events were answered 200 and stored, and no usage ever showed: the step that joined them to a customer had
    not run, and nothing said so.

    Here there is no such step: an accepted event has its customer and its meter, everything else is answered as
    quarantined, and conservation counts every (event, meter) pair.
    """
    result = ingest(event("e1"), event("e2", subject="nobody"), event("e3", type="never.metered"))
    assert (result.accepted, result.quarantined) == (1, 2)

    assert total() == 100
    said = queries.conservation()
    assert said.pairs == said.counted + sum(said.excluded.values()) == 4
    assert said.events == StoredEvent.objects.count() == 1


def test_24_lago637_an_event_that_is_committed_late_is_not_passed_over(app_connection: psycopg.Connection) -> None:
    """The silent form of the same: recorded before others, committed after they were aggregated."""
    late = check_event(event("late"), received_at=NOW, oldest=OCTOBER, rules={})
    assert isinstance(late, UsageEvent)
    with app_connection.transaction():
        app_connection.execute(
            "INSERT INTO metering_event_key (key, event_time, digest) VALUES (%s, %s, %s)",
            [late.key, late.time, late.digest],
        )
        app_connection.execute(
            "INSERT INTO metering_event"
            " (event_time, received_at, key, source, event_id, event_type, customer_key, data)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [late.time, NOW, late.key, late.source, late.id, late.type, late.subject, late.data_json.decode()],
        )
        ingest(*(event(f"e{number}") for number in range(10)))
        operations.advance_windows(now=NOW)
    assert total() == 1_100


def test_24_lago171_events_after_a_change_of_what_is_measured_keep_counting() -> None:
    """There events sent after a subscription was upgraded stayed out of the usage: they had been tied to the old one.

    Here usage is the customer's, whatever is subscribed; and where a meter gets a new version, the former counts what
    was recorded before and the new one what is recorded from then on, each event once.
    """
    ingest(event("before"))
    operations.define_meter(
        code="input_tokens",
        event_type="llm.request",
        value_path="data.input_tokens",
        aggregation="sum",
        dimensions=["model", "region"],
        unit="token",
    )
    ingest(event("after"), event("of an earlier time", time=MORNING - hours(30)))

    assert total() == 300


def test_25_om2948_the_same_event_from_many_connections_while_aggregation_runs_is_counted_once() -> None:
    """There the sink asked whether it knew an event, and remembered it after writing: two workers both found it new.

    Here claiming the id and writing the event are one transaction, which a unique key decides.
    """
    events = [event(f"e{number}") for number in range(200)]
    together = threading.Barrier(5)

    def send() -> None:
        together.wait()
        try:
            for start in range(0, 200, 20):
                ingest(*events[start : start + 20])
        finally:
            connections.close_all()

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    together.wait()
    while any(sender.is_alive() for sender in senders):
        operations.advance_windows(now=NOW)
    assert total() == 20_000


def test_25_om4846_a_window_needs_nothing_of_what_was_before_it() -> None:
    """There a snapshot held what had come since the snapshot before it, so usage was lost where the chain was cut.

    Here a window is complete: its figures are those of its events, however many advances made it.
    """
    for number in range(6):
        ingest(event(f"e{number}"))
        assert advance().events == 1

    assert total() == 600
    [window] = [row for row in queries.windows_for("acme", OCTOBER, NOVEMBER) if row.meter_code == "input_tokens"]
    assert (window.quantity, window.event_count) == (Decimal(600), 6)


def test_25_om4845_what_arrives_for_an_hour_that_was_read_before_changes_it() -> None:
    """There a snapshot taken before a backdated reset went on being used, and the balance was that of before.

    Here nothing derived outlives what it is derived from: an event of an hour long aggregated is in it after the next
    advance, and its customer is named as changed.
    """
    ingest(event("e1"))
    assert total() == 100
    _, seen = queries.customers_with_changes_since(0)

    ingest(event("e2", time=MORNING + timedelta(minutes=5)), received_at=NOW + hours(48))

    assert total() == 200
    assert queries.customers_with_changes_since(seen)[0] == ["acme"]


def test_25_om3997_advances_at_once_count_every_event_once() -> None:
    """There two calculations saved a snapshot of the same moment, and a later one began from the wrong one.

    Here one advance runs at a time, and its position moves in the transaction that writes the windows.
    """
    for number in range(30):
        ingest(event(f"e{number}", time=MORNING + hours(number)))
    together = threading.Barrier(4)

    def work() -> None:
        together.wait()
        try:
            for _ in range(10):
                operations.advance_windows(now=NOW, max_events=3)
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert total() == 3_000


@pytest.mark.parametrize("table", ["metering_window", "metering_aggregationadvance", "metering_cursor"])
def test_25_om3968_an_advance_that_fails_while_it_writes_loses_nothing(
    table: str, owner_connection: psycopg.Connection
) -> None:
    """There an error while flushing was dropped, and so were the events of that flush.

    Here what was not committed is still to be done: the next advance begins where the last one that worked ended.
    """
    ingest(*(event(f"e{number}") for number in range(10)))
    wait_until_settled()  # else the advance might find nothing to write, and fail nowhere
    with owner_connection.transaction():
        owner_connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table)))
        with connections["default"].cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
        with pytest.raises(Exception, match="lock timeout"):
            operations.advance_windows(now=NOW)
        connections.close_all()
    assert total() == 1_000


def test_26_p12759_p13473_events_of_one_instant_are_all_taken_however_small_the_steps() -> None:
    """There the next page began after the last `ingested_at`: events that shared that instant with it were skipped.

    Here no instant is a position. Events go by the transaction that recorded them, which is never split.
    """
    for number in range(25):
        ingest(event(f"e{number}a"), event(f"e{number}b"), event(f"e{number}c"))

    while advance(max_events=2).events:
        pass

    assert total() == 7_500


def test_27_f_docs_no_reading_counts_a_repeated_event_twice_not_even_at_once() -> None:
    """There, as documented, analytics, previews and wallets may count a repeated event until the store has merged.

    Here a repeat is never stored, so every reading agrees at every moment.
    """
    for _ in range(3):
        ingest(event("e1"), event("e1"))
        assert StoredEvent.objects.count() == 1
        assert {row.quantity for row in queries.totals_from_events(OCTOBER, NOVEMBER)} <= {0, 10, 100}
        assert total() == 100
        [row] = queries.usage("acme", "input_tokens", OCTOBER, NOVEMBER, window_size="total")
        assert (row.quantity, row.event_count) == (Decimal(100), 1)


def test_27_f2407_ids_and_dimensions_that_run_together_are_different() -> None:
    """There the parts of a cache key were joined, and two customers' usage had one key.

    Here the length says where the source ends, and dimensions are compared as values.
    """
    pairs = [("a", "bc"), ("ab", "c"), ("1:a", "bc"), ("a\u00e9", "b"), ("a", "\u00e9b"), ("a:b", "c"), ("a", "b:c")]
    models = ["a", "a,b", 'a"', "a|b", "A", "a ", "null"]
    sent = [
        event(event_id, source=source, data={"model": model})
        for (source, event_id), model in zip(pairs, models, strict=True)
    ]
    assert ingest(*sent, event("no model", data={"model": None})).accepted == 8

    assert total() == 800
    rows = queries.usage("acme", "input_tokens", OCTOBER, NOVEMBER, window_size="total", group_by=["model"])
    expected: dict[str | None, int] = dict.fromkeys([*models, None], 100)
    assert {row.dimensions["model"]: row.quantity for row in rows} == expected


_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@given(st.tuples(_texts, _texts), st.tuples(_texts, _texts))
def test_27_f2407_two_events_share_an_identity_only_when_source_and_id_are_the_same(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    keys = [
        check_event(event(event_id, source=source), received_at=NOW, oldest=OCTOBER, rules={})
        for source, event_id in (first, second)
    ]
    assert all(isinstance(checked, UsageEvent) for checked in keys)
    assert (keys[0].key == keys[1].key) == (first == second)  # type: ignore[union-attr]
