"""Alarms as they are kept: opened once, said again, acknowledged with a note, closed when over."""

import logging
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError

from metering import operations, queries
from metering.models import Alarm, SeenValue, SourceHour
from metering.operations.alarms import keep_alarms, observe
from tests.metering.alarms.scenes import ALL_MINUTES, HOUR, weeks_of_usage
from tests.metering.usage import NOW, event, ingest
from tests.settled import wait_until_settled

pytestmark = pytest.mark.usefixtures("metered")
BEGUN = NOW.replace(minute=0)


def check(at: timedelta = timedelta(0)) -> list[tuple[str, str]]:
    """Aggregate and check at NOW + `at`; the alarms that are open afterwards."""
    operations.catch_up_windows(now=NOW + at)
    operations.check_alarms(now=NOW + at)
    return list(Alarm.objects.filter(closed_at=None).order_by("kind").values_list("kind", "subject"))


def send(number: int, at: timedelta, **changes: Any) -> None:
    """As many events of the hour before, received at NOW + `at`."""
    received = NOW + at
    fields: dict[str, Any] = {"time": received - HOUR, "data": {"input_tokens": 100}, **changes}
    ingest(*[event(f"{at}-{each}", **fields) for each in range(number)], received_at=received)


def test_hourly_figures_take_every_event_once_and_mark_its_minute() -> None:
    ingest(event("e1"), event("e2"), received_at=NOW)
    ingest(event("e3"), received_at=NOW + timedelta(minutes=7))
    operations.catch_up_windows(now=NOW + timedelta(minutes=8))
    for _ in range(2):
        observe(now=NOW + timedelta(minutes=8))
    row = SourceHour.objects.get()
    assert (row.events, row.minutes, row.last_received_at) == (3, 0b10000001, NOW + timedelta(minutes=7))


def test_nothing_is_wrong_with_steady_usage() -> None:
    weeks_of_usage(BEGUN)
    send(1000, timedelta(0))
    assert check() == []


def test_a_source_that_stopped_is_told_within_the_hour_and_over_when_it_sends_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    weeks_of_usage(BEGUN)
    with caplog.at_level(logging.INFO, logger="metering.operations.alarms"):
        assert check(timedelta(minutes=5)) == []
        assert check(timedelta(minutes=20)) == [("source_silent", "edge/us-east-1")]
        assert check(timedelta(minutes=25)) == [("source_silent", "edge/us-east-1")]
        send(1, timedelta(minutes=30), time=NOW - timedelta(days=40))
        assert check(timedelta(minutes=31)) == []
    alarm = Alarm.objects.get()
    assert alarm.opened_at == NOW + timedelta(minutes=20)
    assert (alarm.last_seen_at, alarm.closed_at) == (NOW + timedelta(minutes=25), NOW + timedelta(minutes=31))
    assert [record.message.split(":")[0] for record in caplog.records] == ["alarm", "alarm over"]


def test_aggregation_that_is_behind_makes_no_source_silent(app_connection: psycopg.Connection) -> None:
    weeks_of_usage(BEGUN)
    operations.catch_up_windows(now=NOW)
    wait_until_settled()  # the oldest transaction is the one that is named
    with app_connection.transaction(force_rollback=True):
        app_connection.execute("SELECT pg_current_xact_id()")
        send(1, timedelta(minutes=1))
        operations.advance_windows(now=NOW + HOUR)
        operations.check_alarms(now=NOW + HOUR)
        found = Alarm.objects.get(closed_at=None)
    assert found.kind == "aggregation_held"
    assert f"process {app_connection.info.backend_pid}" in found.seen


def test_a_meter_that_counts_nothing_ten_times_as_much_or_a_tenth() -> None:
    weeks_of_usage(BEGUN - HOUR)
    SourceHour.objects.update(minutes=ALL_MINUTES)
    later = timedelta(minutes=20)
    kinds = []
    for tokens in (None, 2_000, 1):
        if tokens is not None:
            ingest(
                *[
                    event(f"{tokens}-{n}", time=BEGUN - HOUR, data={"input_tokens": tokens * 1000})
                    for n in range(1 if tokens == 1 else 600)
                ],
                received_at=NOW + later,
            )
        kinds.append([kind for kind, _ in check(later) if kind.startswith("meter")])
    assert kinds[0] == ["meter_zero"]
    assert kinds[1] == ["meter_surge"]


def test_a_new_value_and_a_new_source_are_told_for_a_day() -> None:
    weeks_of_usage(BEGUN)
    send(1, timedelta(0), data={"model": "opus-9"}, source="edge/new")
    found = check()
    assert ("source_new", "edge/new") in found
    assert ("value_new", "input_tokens.model = opus-9") in found
    assert SeenValue.objects.filter(value="opus-9", name__startswith="input_tokens").count() == 1
    assert not {kind for kind, _ in check(timedelta(hours=25))} & {"source_new", "value_new"}


def test_conflicts_and_quarantine_of_the_last_hour() -> None:
    ingest(event("e1"))
    ingest(event("e1", data={"input_tokens": 5}))
    ingest(*[event(f"q{number}", subject="stranger") for number in range(12)])
    assert check() == [("conflicts", "edge/us-east-1"), ("quarantine", "events in quarantine")]
    assert check(timedelta(hours=2)) == []
    assert [kind for kind, _ in check(timedelta(hours=26))] == ["quarantine"]


def test_missing_months_are_told(owner_connection: psycopg.Connection) -> None:
    assert check() == []
    far = timedelta(days=3650)
    operations.check_alarms(now=NOW + far)
    assert "partitions_missing" in Alarm.objects.filter(closed_at=None).values_list("kind", flat=True)


class TestAcknowledging:
    def opened(self) -> Alarm:
        from metering.alarms import Finding

        keep_alarms([Finding("conflicts", "edge", "none", "3 in the last hour")], now=NOW)
        return Alarm.objects.get()

    def test_says_who_and_what(self) -> None:
        alarm = self.opened()
        operations.acknowledge_alarm(alarm.id, note=" The sender reuses ids. ", actor="user:ada", now=NOW)
        alarm.refresh_from_db()
        assert (alarm.acknowledged_by, alarm.note, alarm.closed_at) == ("user:ada", "The sender reuses ids.", None)
        assert queries.open_alarms()["conflicts"] == 1

    def test_needs_a_note_and_happens_once(self) -> None:
        alarm = self.opened()
        with pytest.raises(operations.NoteMissing):
            operations.acknowledge_alarm(alarm.id, note="  ", actor="user:ada", now=NOW)
        operations.acknowledge_alarm(alarm.id, note="seen", actor="user:ada", now=NOW)
        with pytest.raises(operations.AlarmNotOpen):
            operations.acknowledge_alarm(alarm.id, note="me too", actor="user:bob", now=NOW)

    def test_an_alarm_that_came_again_is_another_one(self) -> None:
        self.opened()
        keep_alarms([], now=NOW)
        self_opened = Alarm.objects.filter(closed_at=None)
        assert not self_opened.exists()

    def test_the_database_refuses_a_nameless_acknowledgement_and_a_second_open_alarm(self) -> None:
        alarm = self.opened()
        with pytest.raises(IntegrityError, match="metering_alarm_acknowledged_by_with_note"):
            Alarm.objects.filter(id=alarm.id).update(acknowledged_at=NOW)
        with pytest.raises(IntegrityError, match="metering_alarm_one_open"):
            Alarm.objects.create(kind="conflicts", subject="edge", opened_at=NOW, last_seen_at=NOW)
