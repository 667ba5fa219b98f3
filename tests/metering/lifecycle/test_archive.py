"""A month leaves the database through a proved archive only, and comes back as it was."""

import csv
import gzip
import io
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command

from config import clock
from metering import archive_files, operations, queries
from metering.models import EventArchive, EventKey, PartitionMove, UsageEvent
from tests.cleaning import Cleaner
from tests.metering import usage
from tests.metering.lifecycle.months import ACTOR, files, fill, month_text, old_month, raw_rows

pytestmark = pytest.mark.usefixtures("metered", "archive_folder")
MONTH = old_month()


def run(actor: str = ACTOR) -> list[date]:
    return operations.archive_due_months(now=clock.now(), actor=actor)


def state(month: date = MONTH) -> str:
    return {entry.month: entry.state for entry in queries.months_of_events(clock.now())}[month]


def test_an_old_month_is_archived_verified_and_dropped(
    archive_folder: Path, owner_connection: psycopg.Connection
) -> None:
    fill(MONTH, 20)
    before = raw_rows(owner_connection, MONTH)

    assert run() == [MONTH]

    (file,) = files(archive_folder)
    rows = list(csv.reader(io.StringIO(gzip.decompress(file.read_bytes()).decode())))
    archive = EventArchive.objects.get()
    assert tuple(rows[0]) == archive_files.COLUMNS
    assert (len(rows) - 1, archive.events, len(before)) == (20, 20, 20)
    assert archive.last_xid == max(int(row[2]) for row in rows[1:])
    assert state() == "dropped"
    assert [entry.start.date() for entry in queries.archived_months()] == [MONTH]
    assert UsageEvent.objects.count() == 0
    assert run() == []


def test_windows_stay_when_their_events_leave() -> None:
    start = fill(MONTH, 20)
    run()
    assert queries.count_windows(start, start + timedelta(days=27)) == 60


def test_the_same_events_make_the_same_bytes() -> None:
    fill(MONTH, 50)
    first = operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
    again = operations.archive_month(MONTH, actor=ACTOR, now=clock.now() + timedelta(days=1))
    assert (first.id, first.sha256) == (again.id, again.sha256)


def test_a_younger_month_stays() -> None:
    young = (clock.now() - timedelta(days=300)).date().replace(day=1)
    fill(young, 3)
    assert run() == []
    assert state(young) == "here"
    assert UsageEvent.objects.count() == 3


class TestAfterACrash:
    """Each step is committed by itself; the next run does what is left and nothing twice."""

    def test_after_the_file_was_saved(self, archive_folder: Path) -> None:
        fill(MONTH)
        archive = operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
        (written,) = files(archive_folder)
        _forget_rows(archive)
        assert run() == [MONTH]
        assert files(archive_folder) == [written]

    def test_in_the_middle_of_saving_the_file(self, archive_folder: Path) -> None:
        fill(MONTH)
        archive = operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
        (written,) = files(archive_folder)
        whole = written.read_bytes()
        written.write_bytes(whole[: len(whole) // 2])
        _forget_rows(archive)
        assert run() == [MONTH]
        assert files(archive_folder) == [written]
        assert written.read_bytes() == whole

    def test_after_the_archive_was_recorded(self) -> None:
        fill(MONTH)
        operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
        assert state() == "archived"
        assert run() == [MONTH]
        assert EventArchive.objects.count() == 1

    def test_after_the_archive_was_verified(self) -> None:
        fill(MONTH)
        archive = operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
        operations.verify_archive(archive.id, actor=ACTOR, now=clock.now())
        assert state() == "verified"
        assert run() == [MONTH]
        assert archive.verifications.count() == 1

    def test_in_the_middle_of_dropping(self, app_connection: psycopg.Connection) -> None:
        fill(MONTH)
        archive = operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
        operations.verify_archive(archive.id, actor=ACTOR, now=clock.now())
        with app_connection.transaction(force_rollback=True):
            app_connection.execute("SELECT metering_drop_partition(%s, 'task:x')", [MONTH])
        assert (state(), UsageEvent.objects.count(), PartitionMove.objects.count()) == ("verified", 20, 0)
        assert run() == [MONTH]


def _forget_rows(archive: EventArchive) -> None:
    """As if the process had died before it recorded the file."""
    import os

    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("ALTER TABLE metering_eventarchive DISABLE TRIGGER USER")
        owner.execute("DELETE FROM metering_eventarchive WHERE id = %s", [archive.id])
        owner.execute("ALTER TABLE metering_eventarchive ENABLE TRIGGER USER")


def test_a_damaged_archive_is_noticed_and_written_again(archive_folder: Path) -> None:
    fill(MONTH)
    archive = operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
    (file,) = files(archive_folder)
    whole = file.read_bytes()
    file.write_bytes(whole[:-20] + bytes(20))

    with pytest.raises(operations.ArchiveDamaged, match=file.name):
        operations.verify_archive(archive.id, actor=ACTOR, now=clock.now())
    assert run() == [MONTH]
    assert file.read_bytes() == whole


def test_events_added_after_the_archive_are_in_the_next_one() -> None:
    fill(MONTH)
    archive = operations.archive_month(MONTH, actor=ACTOR, now=clock.now())
    operations.verify_archive(archive.id, actor=ACTOR, now=clock.now())
    fill(MONTH, 3, prefix="more")
    assert run() == [MONTH]
    assert queries.archived_months()[0].events == 23


def test_two_archivers_do_not_meet(app_connection: psycopg.Connection) -> None:
    fill(MONTH)
    app_connection.execute("SELECT pg_advisory_lock(hashtextextended('metering.archive', 0))")
    with pytest.raises(operations.ArchivingInProgress):
        run()


def test_a_reader_of_the_table_makes_the_drop_wait_no_longer_than_ingest_can_bear(
    app_connection: psycopg.Connection,
) -> None:
    fill(MONTH)
    with app_connection.transaction():
        app_connection.execute("SELECT count(*) FROM metering_event").fetchone()
        with pytest.raises(operations.MonthNotDropped) as refusal:
            run()
    assert refusal.value.rule == "metering_drop_in_use"
    assert run() == [MONTH]


class TestRestoring:
    def test_brings_back_identical_rows(self, owner_connection: psycopg.Connection) -> None:
        start = fill(MONTH, 30)
        before = raw_rows(owner_connection, MONTH)
        run()
        assert raw_rows(owner_connection, MONTH) == []

        call_command("restore_usage_archive", month_text(MONTH))

        assert raw_rows(owner_connection, MONTH) == before
        assert queries.archived_months() == []
        assert operations.advance_windows(now=clock.now()).events == 0
        assert list(queries.verify_windows(start, start + timedelta(days=27))) == []

    def test_holds_the_month_for_a_while_and_lets_it_go_again(self, owner_connection: psycopg.Connection) -> None:
        fill(MONTH)
        run()
        operations.restore_month(MONTH, actor="service:test", now=clock.now())
        assert (state(), run()) == ("restored", [])
        with pytest.raises(operations.MonthNotDropped) as refusal:
            operations.drop_month(MONTH, actor=ACTOR)
        assert refusal.value.rule == "metering_drop_held"

    def test_is_archived_again_before_it_leaves_again_when_its_file_is_gone(self, archive_folder: Path) -> None:
        fill(MONTH, 20)
        run()
        operations.restore_month(MONTH, actor="service:test", now=clock.now(), hold=timedelta(0))
        (file,) = files(archive_folder)
        file.unlink()

        assert run() == [MONTH]
        (file,) = files(archive_folder)
        assert len(gzip.decompress(file.read_bytes()).splitlines()) == 21

    def test_refuses_a_changed_file_and_leaves_nothing_behind(
        self, archive_folder: Path, owner_connection: psycopg.Connection
    ) -> None:
        fill(MONTH)
        run()
        (file,) = files(archive_folder)
        text = gzip.decompress(file.read_bytes()).replace(b'""input_tokens"": 100', b'""input_tokens"": 900', 1)
        file.write_bytes(gzip.compress(text, mtime=0))

        with pytest.raises(CommandError, match="checksum"):
            call_command("restore_usage_archive", month_text(MONTH))
        assert raw_rows(owner_connection, MONTH) == []
        assert len(queries.archived_months()) == 1

    def test_refuses_a_month_that_never_left(self) -> None:
        with pytest.raises(CommandError, match="no events of this month"):
            call_command("restore_usage_archive", "2026-10")

    def test_refuses_what_another_database_recorded(self, owner_connection: psycopg.Connection) -> None:
        fill(MONTH)
        run()
        owner_connection.execute("UPDATE metering_cursor SET next_xid = 3")
        with pytest.raises(operations.ArchiveOfAnotherDatabase, match="import_usage"):
            operations.restore_month(MONTH, actor="service:test", now=clock.now())


def test_no_partition_is_made_for_an_archived_month(app_connection: psycopg.Connection) -> None:
    start = fill(MONTH)
    run()
    with pytest.raises(psycopg.errors.RestrictViolation) as refusal:
        app_connection.execute("SELECT metering_ensure_partitions(%s, %s)", [start, start + timedelta(days=1)])
    assert refusal.value.diag.constraint_name == "metering_month_is_archived"
    result = usage.ingest(usage.event("again", time=start), received_at=clock.now())
    assert "dedupe horizon" in result.refused[0].reason


def test_keys_of_an_archived_month_are_still_known() -> None:
    fill(MONTH, 5)
    run()
    assert EventKey.objects.count() == 5


class TestAnArchivedMonth:
    """Its windows are neither called broken nor passed over in silence."""

    def verify(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        start, end = queries.month_range(MONTH)
        out = io.StringIO()
        span = ["--from", f"{start - timedelta(days=1):%Y-%m-%d}", "--to", f"{end + timedelta(days=1):%Y-%m-%d}"]
        try:
            call_command("verify_windows", *span, *arguments, stdout=out)
        except SystemExit as ended:
            return int(ended.code or 0), json.loads(out.getvalue().splitlines()[-1])
        return 0, json.loads(out.getvalue().splitlines()[-1])

    def test_is_named_by_verify_windows(self) -> None:
        fill(MONTH, 20)
        _, end = queries.month_range(MONTH)
        usage.ingest(usage.event("after", time=end), received_at=end + timedelta(days=9))
        operations.catch_up_windows(now=clock.now())
        assert self.verify() == (0, {"windows": 63, "mismatches": 0})
        run()
        code, told = self.verify()
        assert code == 3
        assert told == {
            "windows": 3,
            "mismatches": 0,
            "archived": [month_text(MONTH)],
            "windows_of_archived_months": 60,
        }
        operations.restore_month(MONTH, actor="service:test", now=clock.now())
        assert self.verify() == (0, {"windows": 63, "mismatches": 0})

    def test_is_not_emptied_by_a_repair(self) -> None:
        start = fill(MONTH, 20)
        run()
        code, _ = self.verify("--repair", "--reason", "a try", "--actor", "user:ada")
        assert code == 3
        assert sum(window.quantity for window in queries.windows_for("acme", start, start + timedelta(days=27))) == 2200

    def test_is_named_by_reconciliation(self) -> None:
        from billing.reconciliation.comparison import Agreed, Scope, SetAside
        from billing.reconciliation.usage_checks import events_windows

        start = fill(MONTH, 20)
        run()
        assert list(events_windows(Scope(start, start + timedelta(days=27)))) == [SetAside(60), Agreed(0)]

    def test_makes_rating_a_period_whose_boundary_cuts_one_of_its_hours_fail_as_rating_does(self) -> None:
        """So that it is tried again, and holds no other customer up."""
        from billing.rating.operations import UsageArchived, accrue_period
        from tests.billing.usage import rate_card
        from tests.factories import CustomerFactory, PlanVersionFactory, SubscriptionFactory

        starts_at = fill(MONTH, 20) + timedelta(hours=3, minutes=30)
        run()
        subscription = SubscriptionFactory(
            customer=CustomerFactory(customer_key="acme", created_at=starts_at),
            plan_version=PlanVersionFactory(rate_card=rate_card()),
            starts_at=starts_at,
        )
        with pytest.raises(UsageArchived, match=month_text(MONTH)):
            accrue_period(period_id=subscription.periods.get().pk, now=clock.now())


def test_an_archive_is_imported_into_an_empty_system(
    archive_folder: Path, tmp_path: Path, settings: Any, cleaner: Cleaner
) -> None:
    fill(MONTH, 20)
    before = [(e.source, e.event_id, e.event_time, e.data) for e in UsageEvent.objects.order_by("event_time")]
    totals = queries.totals(*queries.month_range(MONTH))
    run()
    (file,) = files(archive_folder)
    unpacked = tmp_path / "usage.csv"
    unpacked.write_bytes(gzip.decompress(file.read_bytes()))
    cleaner.clean()
    usage.prepare()
    settings.METERING_DEDUPE_HORIZON_DAYS = 3660

    columns = [f"--map={name}={name}" for name in ("id", "source", "type", "subject", "time", "data")]
    call_command("import_usage", str(unpacked), *columns)
    operations.catch_up_windows(now=clock.now())

    assert [(e.source, e.event_id, e.event_time, e.data) for e in UsageEvent.objects.order_by("event_time")] == before
    assert queries.totals(*queries.month_range(MONTH)) == totals


def test_part_of_an_hour_of_an_archived_month_is_refused_and_never_taken_for_nothing() -> None:
    start = fill(MONTH, 5)
    end = start + timedelta(days=27)
    whole = queries.usage("acme", "input_tokens", start, end, window_size="total")
    run()
    assert queries.usage("acme", "input_tokens", start, end, window_size="total") == whole
    cut = start + timedelta(minutes=30)
    for ask in (
        lambda: queries.usage("acme", "input_tokens", cut, end, window_size="total"),
        lambda: queries.windows_between("acme", cut, end),
    ):
        with pytest.raises(queries.EventsArchived, match="whole UTC hours"):
            ask()
