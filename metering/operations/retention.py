"""How long events and their identities are kept: told to the database, and carried out."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, connection, connections, transaction
from psycopg import errors

from metering.models import KeyForgetting
from metering.queries import lifecycle

PAGES_AT_ONCE = 4_000
"""32 MiB of the identity table a transaction: a fraction of a second."""
KEPT_BY_THE_MINUTE = timedelta(days=3)


class RetentionDiffers(Exception):
    """The settings and the database name different times; `manage.py migrate` brings the settings' into the latter."""


class HorizonTooLong(Exception):
    """The dedupe horizon would reach back to events whose identities were forgotten, which could be counted twice."""


def set_retention(*, retention_days: int, dedupe_horizon_days: int, now: datetime, using: str) -> bool:
    """Tell the database the times it keeps to, as the owner of the tables; returns whether that changed anything.
    Raises HorizonTooLong.

    After a change nothing is forgotten for a day: processes that still go by the former horizon end meanwhile.
    """
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        try:
            cursor.execute(
                "UPDATE metering_retention SET retention_days = %(keep)s, dedupe_horizon_days = %(known)s,"
                " changed_at = %(now)s WHERE (retention_days, dedupe_horizon_days) <> (%(keep)s, %(known)s)",
                {"keep": retention_days, "known": dedupe_horizon_days, "now": now},
            )
        except IntegrityError as error:
            if isinstance(error.__cause__, errors.RestrictViolation):
                raise HorizonTooLong(error.__cause__.diag.message_primary) from error
            raise
        return bool(cursor.rowcount)


def check_retention() -> lifecycle.Horizon:
    """The times in force. Raises RetentionDiffers when the settings of this process name others."""
    horizon = lifecycle.horizon()
    wanted = (settings.METERING_RETENTION_DAYS, settings.METERING_DEDUPE_HORIZON_DAYS)
    if (horizon.retention_days, horizon.dedupe_horizon_days) != wanted:
        raise RetentionDiffers(
            f"the settings keep events {wanted[0]} and identities {wanted[1]} days, the database"
            f" {horizon.retention_days} and {horizon.dedupe_horizon_days}; run manage.py migrate"
        )
    return horizon


def forget_keys(*, now: datetime, actor: str) -> int:
    """Forget the identities of events that the door refuses for their age, whole months at a time; returns how many.

    In transactions of PAGES_AT_ONCE pages; one that broke off begins again. Does nothing until another month has passed
    the horizon. Raises RetentionDiffers.
    """
    horizon = check_retention()
    passed = now - timedelta(days=horizon.dedupe_horizon_days) - lifecycle.MARGIN
    before = passed.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if horizon.forgotten_before is not None and horizon.forgotten_before >= before:
        return 0
    forgotten = 0
    for first_page in range(0, _pages(), PAGES_AT_ONCE):
        forgotten += _forget(before, first_page)
    KeyForgetting.objects.get_or_create(
        before=before, defaults={"keys": forgotten, "finished_at": now, "forgotten_by": actor}
    )
    return forgotten


def _forget(before: datetime, first_page: int) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT metering_forget_keys(%s, %s, %s)", [before, first_page, PAGES_AT_ONCE])
        return int(cursor.fetchone()[0])


def _pages() -> int:
    """Pages of the identity table; of its largest part, should it be partitioned, as a page is asked for in each."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(pg_relation_size(relid)) / current_setting('block_size')::bigint FROM ("
            " SELECT 'metering_event_key'::regclass AS relid"
            " UNION SELECT relid FROM pg_partition_tree('metering_event_key')) AS part"
        )
        return int(cursor.fetchone()[0])


def thin_figures(*, now: datetime) -> int:
    """Add up figures of lag and outcomes older than KEPT_BY_THE_MINUTE by the hour; returns the rows that are left."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT metering_thin_figures(%s)", [now - KEPT_BY_THE_MINUTE])
        return int(cursor.fetchone()[0])
