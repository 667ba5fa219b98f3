"""The rules by which events and identities may leave, attacked by SQL: as the application and as the owner."""

import threading
import time
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connections
from psycopg import errors

from config import clock
from metering import operations, queries
from metering.models import EventKey, KeyForgetting
from tests.metering import usage
from tests.metering.lifecycle.months import ACTOR, fill, old_month

pytestmark = pytest.mark.usefixtures("metered", "archive_folder")
MONTH = old_month()
MICROSECOND = timedelta(microseconds=1)


def refused(connection: psycopg.Connection, statement: str, *parameters: Any) -> str | None:
    """The name of the rule that refuses a statement."""
    with pytest.raises(errors.RestrictViolation) as refusal:
        connection.execute(statement, parameters)
    return refusal.value.diag.constraint_name


def drop_refused(connection: psycopg.Connection, month: date = MONTH) -> str | None:
    return refused(connection, "SELECT metering_drop_partition(%s, 'task:x')", month)


class TestDroppingAMonth:
    def test_needs_a_month_with_events(self, app_connection: psycopg.Connection) -> None:
        assert drop_refused(app_connection, date(2019, 1, 1)) == "metering_drop_no_partition"
        fill(MONTH)
        assert drop_refused(app_connection, MONTH.replace(day=2)) == "metering_drop_no_partition"

    def test_needs_an_archive(self, app_connection: psycopg.Connection) -> None:
        fill(MONTH)
        assert drop_refused(app_connection) == "metering_drop_needs_verified_archive"

    def test_needs_one_that_was_verified(self, app_connection: psycopg.Connection) -> None:
        fill(MONTH)
        operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
        assert drop_refused(app_connection) == "metering_drop_needs_verified_archive"

    def test_needs_one_that_holds_exactly_its_events(self, app_connection: psycopg.Connection) -> None:
        fill(MONTH)
        archive = operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
        operations.verify_archive(archive.id, actor=ACTOR, now=clock.now())
        fill(MONTH, 1, prefix="more")
        assert drop_refused(app_connection) == "metering_drop_archive_differs"

    def test_is_not_deceived_by_an_archive_of_the_right_number(self, app_connection: psycopg.Connection) -> None:
        fill(MONTH, 20)
        app_connection.execute(
            "INSERT INTO metering_eventarchive (month, file_name, sha256, size_bytes, events, fingerprint, archived_at,"
            " archived_by) VALUES (%s, 'x', repeat('0', 64), 1, 20, 5, now(), 'x')",
            [MONTH],
        )
        app_connection.execute(
            "INSERT INTO metering_archiveverification (archive_id, verified_at, verified_by)"
            " SELECT id, now(), 'x' FROM metering_eventarchive"
        )
        assert drop_refused(app_connection) == "metering_drop_archive_differs"

    def test_needs_retention_to_have_passed(self, app_connection: psycopg.Connection) -> None:
        young = (clock.now() - timedelta(days=370)).date().replace(day=1)
        fill(young)
        archive = operations.archive_month(young, actor=ACTOR, now=clock.now())
        operations.verify_archive(archive.id, actor=ACTOR, now=clock.now())
        assert drop_refused(app_connection, young) == "metering_drop_younger_than_retention"

    def test_needs_its_events_in_their_windows(self, app_connection: psycopg.Connection) -> None:
        start, _ = queries.month_range(MONTH)
        usage.ingest(usage.event("e1", time=start), received_at=start + timedelta(days=1))
        archive = operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
        operations.verify_archive(archive.id, actor=ACTOR, now=clock.now())
        assert drop_refused(app_connection) == "metering_drop_not_aggregated"
        operations.catch_up_windows(now=clock.now())
        assert operations.drop_month(MONTH, actor=ACTOR) == 1

    def test_is_refused_for_a_mark_that_was_being_written_when_it_was_proved(
        self, app_connection: psycopg.Connection, owner_connection: psycopg.Connection
    ) -> None:
        fill(MONTH)
        archive = operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
        operations.verify_archive(archive.id, actor=ACTOR, now=clock.now())
        outcomes: list[Any] = []

        def drop() -> None:
            try:
                outcomes.append(operations.drop_month(MONTH, actor=ACTOR))
            except operations.MonthNotDropped as refusal:
                outcomes.append(refusal.rule)
            finally:
                connections.close_all()

        dropping = threading.Thread(target=drop)
        with app_connection.transaction():
            app_connection.execute(
                "INSERT INTO metering_event_mark (key, event_time, position, sign, correction_id, marked_at)"
                " SELECT key, event_time, 1, -1, 1, now() FROM metering_event LIMIT 1"
            )
            dropping.start()
            deadline = time.monotonic() + 60
            while owner_connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
                assert time.monotonic() < deadline, "the drop does not wait for the mark"
                time.sleep(0.02)
        dropping.join(timeout=60)
        assert outcomes == ["metering_drop_not_aggregated"]


@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT INTO metering_partitionmove (month, archive_id, move, moved_at, moved_by)"
            " VALUES ('2025-01-01', 1, 'dropped', now(), 'x')"
        ),
        "UPDATE metering_retention SET retention_days = 1, dedupe_horizon_days = 1",
        "UPDATE metering_eventarchive SET events = 0",
        "DELETE FROM metering_archiveverification",
        "DELETE FROM metering_freshness",
        "SELECT metering_make_partitions('2025-01-01', '2025-02-01')",
        "DELETE FROM metering_event_key",
    ],
)
def test_the_application_may_not(app_connection: psycopg.Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        app_connection.execute(statement)


@pytest.mark.parametrize("table", ["metering_eventarchive", "metering_archiveverification", "metering_partitionmove"])
def test_what_was_archived_is_never_rewritten(owner_connection: psycopg.Connection, table: str) -> None:
    fill(MONTH)
    operations.archive_due_months(now=clock.now(), actor=ACTOR)
    for statement in (f"UPDATE {table} SET id = id", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
        assert refused(owner_connection, statement) == "metering_archives_are_immutable"


class TestForgettingIdentities:
    """The door and the forgetting agree to the microsecond: whatever was forgotten is refused at the door."""

    @pytest.fixture
    def bound(self, app_connection: psycopg.Connection) -> datetime:
        """Up to where identities may be forgotten: a day beyond the horizon, at the present instant of the database."""
        row = app_connection.execute("SELECT metering_forgettable_before()").fetchone()
        assert row is not None
        return row[0]

    def forget(self, connection: psycopg.Connection, before: datetime) -> int:
        row = connection.execute("SELECT metering_forget_keys(%s, 0, 1000)", [before]).fetchone()
        assert row is not None
        return int(row[0])

    def test_forgets_what_is_older_and_nothing_else(self, app_connection: psycopg.Connection, bound: datetime) -> None:
        received = bound + timedelta(days=2)
        usage.ingest(
            usage.event("older", time=bound - MICROSECOND), usage.event("at", time=bound), received_at=received
        )
        assert self.forget(app_connection, bound) == 1
        assert [key.event_time for key in EventKey.objects.all()] == [bound]

    def test_the_door_refuses_every_event_whose_identity_may_be_forgotten(self, bound: datetime) -> None:
        """A request that began as much as a day before is still measured by a horizon that the bound has not passed."""
        horizon = bound + timedelta(days=1)
        now = horizon + timedelta(days=396)
        accepted = usage.ingest(usage.event("at", time=horizon), received_at=now)
        refused_one = usage.ingest(usage.event("before", time=horizon - MICROSECOND), received_at=now)
        a_day_ago = usage.ingest(usage.event("slow", time=bound - MICROSECOND), received_at=now - timedelta(days=1))
        assert (accepted.accepted, refused_one.accepted, a_day_ago.accepted) == (1, 0, 0)

    def test_a_bound_within_the_horizon_is_refused(
        self, app_connection: psycopg.Connection, owner_connection: psycopg.Connection, bound: datetime
    ) -> None:
        rule = refused(app_connection, "SELECT metering_forget_keys(%s, 0, 1)", bound + timedelta(minutes=5))
        assert rule == "metering_keys_within_the_horizon"
        usage.ingest(usage.event("e1", time=bound + timedelta(days=2)), received_at=bound + timedelta(days=3))
        assert refused(owner_connection, "DELETE FROM metering_event_key") == "metering_events_are_immutable"

    def test_goes_by_whole_months_once(self) -> None:
        fill(MONTH, 5)
        fill(old_month(months_past_retention=2), 4, prefix="older")
        now = clock.now()
        assert operations.forget_keys(now=now, actor="task:forget_keys") == 9
        assert operations.forget_keys(now=now, actor="task:forget_keys") == 0
        assert (KeyForgetting.objects.get().keys, EventKey.objects.count()) == (9, 0)

    def test_an_event_of_a_forgotten_month_is_not_counted_twice(self) -> None:
        start = fill(MONTH, 1)
        operations.forget_keys(now=clock.now(), actor="task:forget_keys")
        again = usage.ingest(usage.event("old-0", time=start), received_at=clock.now())
        assert (again.accepted, "dedupe horizon" in again.refused[0].reason) == (0, True)

    def test_the_horizon_cannot_be_raised_over_what_was_forgotten(self, owner_connection: psycopg.Connection) -> None:
        operations.forget_keys(now=clock.now(), actor="task:forget_keys")
        with pytest.raises(operations.HorizonTooLong):
            operations.set_retention(retention_days=500, dedupe_horizon_days=500, now=clock.now(), using="owner")

    def test_a_changed_horizon_forgets_nothing_for_a_day(
        self, settings: Any, owner_connection: psycopg.Connection
    ) -> None:
        fill(MONTH, 5)
        settings.METERING_DEDUPE_HORIZON_DAYS = 300
        assert operations.set_retention(retention_days=396, dedupe_horizon_days=300, now=clock.now(), using="owner")
        rule = refused(owner_connection, "SELECT metering_forget_keys(now() - interval '400 days', 0, 1)")
        assert rule == "metering_keys_within_the_horizon"

    def test_settings_that_differ_from_the_database_stop_everything(self, settings: Any) -> None:
        settings.METERING_DEDUPE_HORIZON_DAYS = 300
        for stopped in (operations.forget_keys, operations.archive_due_months):
            with pytest.raises(operations.RetentionDiffers, match="migrate"):
                stopped(now=clock.now(), actor=ACTOR)
