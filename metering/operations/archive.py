"""Bringing months of events out of the database: archived, read back, dropped; and into it again."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import IO

from django.core.files import File
from django.core.files.storage import storages
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from psycopg import errors

from metering import archive_files
from metering.archive_files import ArchiveFigures, UnreadableArchive
from metering.archived import archived_months, month_range
from metering.models import ArchiveVerification, EventArchive
from metering.operations.retention import check_retention
from metering.queries import lifecycle

STORAGE = "usage_archive"
OWNER = "owner"
HOLD = timedelta(days=30)
logger = logging.getLogger(__name__)


class ArchiveDamaged(Exception):
    """An archive in its storage is not what was written: missing, cut off or changed. The text says which."""


class MonthNotDropped(Exception):
    """The database refused to drop a month; `rule` is the rule's name, the text says why."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule


class MonthNotArchived(Exception):
    """There is nothing to bring back: the month's events are in the database, or never were."""


class ArchiveOfAnotherDatabase(Exception):
    """The archive was written by transactions this database has not reached: its events would be aggregated again."""


class ArchivingInProgress(Exception):
    """Another process archives at this moment."""


def archive_due_months(
    *, now: datetime, actor: str, on_progress: Callable[[str], None] = lambda _text: None
) -> list[date]:
    """Archive, verify and drop every month older than retention, the oldest first; returns those dropped.

    Each step is committed by itself and looked up before it is done, so a run that broke off anywhere goes on where it
    stood. Raises ArchivingInProgress, RetentionDiffers, ArchiveDamaged or MonthNotDropped; months before stay dropped.
    """
    check_retention()
    dropped = []
    with _alone():
        due = [month for month in lifecycle.months_of_events(now) if month.state in {"due", "archived", "verified"}]
        for month in sorted(entry.month for entry in due):
            _bring_out(month, actor=actor, now=now, on_progress=on_progress)
            dropped.append(month)
    return dropped


def _bring_out(month: date, *, actor: str, now: datetime, on_progress: Callable[[str], None]) -> None:
    """Twice at most: events may have been added after a first archive, or its file may have been damaged since."""
    for attempt in (1, 2):
        archive_id = _latest_archive_id(month) if attempt == 1 else None
        if archive_id is None:
            on_progress(f"{month:%Y-%m}: archiving")
            archive_id = archive_month(month, actor=actor, now=now).id
        try:
            on_progress(f"{month:%Y-%m}: reading the archive back")
            _read_back(archive_id, actor=actor, now=now)
            on_progress(f"{month:%Y-%m}: dropping")
            events = drop_month(month, actor=actor)
        except ArchiveDamaged as error:
            if attempt == 2:
                raise
            logger.warning("archive of %s is written again: %s", month, error)
        except MonthNotDropped as error:
            if attempt == 2 or error.rule != "metering_drop_archive_differs":
                raise
            logger.warning("archive of %s is written again: %s", month, error)
        else:
            logger.info("dropped %s, %d events are archived", month, events)
            return


def archive_month(month: date, *, actor: str, now: datetime) -> EventArchive:
    """Write the month's events into the storage and record what was written; nothing leaves the database.

    The name holds the checksum, and the same events make the same bytes: a second run finds the file of the first and
    takes it, unless it was cut off. Nothing is open in the database while the storage is written.
    """
    start, end = month_range(month)
    with tempfile.TemporaryFile() as file:
        archive_files.write_archive(file, start=start, end=end)
        file.seek(0)
        figures = archive_files.read_figures(file)
        name = f"{month:%Y}/usage-events-{month:%Y-%m}-{figures.sha256[:16]}.csv.gz"
        if _stored_figures(name) != figures:
            storages[STORAGE].delete(name)
            file.seek(0)
            name = storages[STORAGE].save(name, File(file))
    with transaction.atomic():
        archive, _ = EventArchive.objects.get_or_create(
            month=month,
            sha256=figures.sha256,
            defaults={
                "file_name": name,
                "size_bytes": figures.size_bytes,
                "events": figures.events,
                "fingerprint": figures.fingerprint,
                "last_xid": figures.last_xid,
                "archived_at": now,
                "archived_by": actor,
            },
        )
    return archive


def verify_archive(archive_id: int, *, actor: str, now: datetime) -> None:
    """Read an archive back from its storage and record that it is what was written. Raises ArchiveDamaged."""
    archive = EventArchive.objects.get(id=archive_id)
    _check(archive)
    ArchiveVerification.objects.create(archive=archive, verified_at=now, verified_by=actor)


def _read_back(archive_id: int, *, actor: str, now: datetime) -> None:
    """Right before a drop, also what was verified before: a run broke off since, or the month was restored, and the
    file is about to be the only copy. Raises ArchiveDamaged."""
    archive = EventArchive.objects.get(id=archive_id)
    if archive.verifications.exists():
        _check(archive)
    else:
        verify_archive(archive_id, actor=actor, now=now)


def _check(archive: EventArchive) -> None:
    check_file(archive.file_name, sha256=archive.sha256, events=archive.events, fingerprint=int(archive.fingerprint))


def check_file(file_name: str, *, sha256: str, events: int, fingerprint: int) -> None:
    """Read a file of the storage to its end. Raises ArchiveDamaged when it is missing, cut off or another one."""
    figures = _stored_figures(file_name)
    if figures is None:
        raise ArchiveDamaged(f"{file_name} is missing, or cannot be read to its end")
    if (figures.sha256, figures.events, figures.fingerprint) != (sha256, events, fingerprint):
        raise ArchiveDamaged(f"{file_name} has checksum {figures.sha256}, {sha256} was written")


def drop_month(month: date, *, actor: str) -> int:
    """Drop the month's partition; returns how many events it held. The database proves first that a verified archive
    holds exactly these. Raises MonthNotDropped."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT metering_drop_partition(%s, %s)", [month, actor])
            (events,) = cursor.fetchone()
    except IntegrityError as error:
        if isinstance(error.__cause__, errors.RestrictViolation):
            diagnosis = error.__cause__.diag
            raise MonthNotDropped(diagnosis.constraint_name or "", diagnosis.message_primary or "") from error
        raise
    except OperationalError as error:
        if isinstance(error.__cause__, errors.LockNotAvailable):
            text = f"{month:%Y-%m} is being read; the next run tries again"
            raise MonthNotDropped("metering_drop_in_use", text) from error
        raise
    return int(events)


def restore_month(month: date, *, actor: str, now: datetime, hold: timedelta = HOLD) -> int:
    """Bring an archived month's events back as they were, `recorded_xid` included; returns how many.

    As the owner of the tables, in one transaction, checked against the archive's record before it commits: windows can
    be proved against them again. They stay for `hold` and then leave as before. Raises MonthNotArchived,
    ArchiveDamaged or ArchiveOfAnotherDatabase.
    """
    record = lifecycle.latest_archive(month)
    start, end = month_range(month)
    if record is None or start not in {archived.start for archived in archived_months()}:
        raise MonthNotArchived(f"{month:%Y-%m}: no events of this month have left the database")
    with (
        _opened(record.file_name) as file,
        transaction.atomic(using=OWNER),
        connections[OWNER].cursor() as cursor,
    ):
        cursor.execute("SELECT coalesce(max(next_xid), 0) FROM metering_cursor")
        if record.last_xid is not None and record.last_xid >= cursor.fetchone()[0]:
            raise ArchiveOfAnotherDatabase(
                f"{record.file_name} was recorded by transactions this database has not reached; use import_usage"
            )
        cursor.execute("SELECT metering_make_partitions(%s, %s)", [start, end])
        hashed = archive_files.HashedReader(file)
        try:
            archive_files.copy_into_events(cursor, hashed)
        except UnreadableArchive as error:
            raise ArchiveDamaged(f"{record.file_name}: {error}") from error
        cursor.execute(
            "SELECT count(*), coalesce(sum(metering_archive_fingerprint(metering_archive_fields(e))), 0)"
            " FROM metering_event AS e WHERE event_time >= %s AND event_time < %s",
            [start, end],
        )
        if (hashed.sha256, *cursor.fetchone()) != (record.sha256, record.events, record.fingerprint):
            raise ArchiveDamaged(f"{record.file_name} has checksum {hashed.sha256}, {record.sha256} was written")
        cursor.execute(
            "INSERT INTO metering_partitionmove (month, archive_id, move, moved_at, moved_by, hold_until)"
            " VALUES (%s, %s, 'restored', %s, %s, %s)",
            [month, record.id, now, actor, now + hold],
        )
    return record.events


def _latest_archive_id(month: date) -> int | None:
    return EventArchive.objects.filter(month=month).order_by("-id").values_list("id", flat=True).first()


def _stored_figures(name: str) -> ArchiveFigures | None:
    """What lies in the storage under this name; None when it is not there or cannot be read to its end."""
    if not storages[STORAGE].exists(name):
        return None
    with storages[STORAGE].open(name, "rb") as file:
        try:
            return archive_files.read_figures(file)
        except UnreadableArchive:
            return None


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    try:
        file = storages[STORAGE].open(name, "rb")
    except FileNotFoundError as error:
        raise ArchiveDamaged(f"{name} is missing from the storage") from error
    with file:
        yield file


@contextmanager
def _alone() -> Iterator[None]:
    """Hold a lock of the session, as the work is many transactions. Raises ArchivingInProgress."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended('metering.archive', 0))")
        if not cursor.fetchone()[0]:
            raise ArchivingInProgress("another process archives usage at this moment")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended('metering.archive', 0))")
