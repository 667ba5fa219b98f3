"""`manage.py archive_usage`: what the daily job does, by hand; `--status` only tells."""

import json
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import clock
from metering import operations, queries

EXIT_USAGE = 2
ACTOR = "service:archive_usage"


class Command(BaseCommand):
    help = (
        "Archive, verify and drop the months of events that are older than METERING_RETENTION_DAYS. With --status only "
        "say how every month stands, one JSON object a line; with --month archive and verify that month, and drop "
        "nothing. Exit code 2 when something stands in the way."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--status", action="store_true", help="tell how every month stands and do nothing")
        parser.add_argument("--month", metavar="YYYY-MM", help="archive and verify this month only; it stays here too")

    def handle(self, **options: Any) -> None:
        now = clock.now()
        try:
            if options["status"]:
                self._tell(now)
            elif options["month"]:
                self._archive(month_of(options["month"]), now)
            else:
                dropped = operations.archive_due_months(now=now, actor=ACTOR, on_progress=self.stdout.write)
                self.stdout.write(json.dumps({"dropped": [f"{month:%Y-%m}" for month in dropped]}))
        except (
            ValueError,
            operations.ArchivingInProgress,
            operations.RetentionDiffers,
            operations.ArchiveDamaged,
            operations.MonthNotDropped,
        ) as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error

    def _tell(self, now: datetime) -> None:
        for month in queries.months_of_events(now):
            self.stdout.write(json.dumps({**asdict(month), "month": f"{month.month:%Y-%m}"}, default=str))

    def _archive(self, month: date, now: datetime) -> None:
        if month not in {entry.month for entry in queries.months_of_events(now) if entry.state != "dropped"}:
            raise ValueError(f"{month:%Y-%m}: there are no events of this month in the database")
        archive = operations.archive_month(month, actor=ACTOR, now=now)
        operations.verify_archive(archive.id, actor=ACTOR, now=now)
        self.stdout.write(json.dumps({"file": archive.file_name, "events": archive.events, "sha256": archive.sha256}))


def month_of(text: str) -> date:
    """The first day of a month written as 2025-10. Raises ValueError."""
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise ValueError(f"{text!r} is no month; write it as 2025-10") from None
