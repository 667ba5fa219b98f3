"""`manage.py restore_usage_archive 2025-10`: an archived month of events back into the database."""

import json
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import clock
from metering import operations
from metering.management.commands.archive_usage import EXIT_USAGE, month_of


class Command(BaseCommand):
    help = (
        "Bring the events of an archived month back as they were, checked against what was recorded when they left, "
        "so that windows can be proved against them. Needs DATABASE_OWNER_URL. Nothing is counted again. After "
        "--keep-days the daily job drops the month as before. Exit code 2 when something stands in the way."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("month", metavar="YYYY-MM")
        parser.add_argument("--keep-days", type=int, default=operations.HOLD.days, help="how long it stays (30)")

    def handle(self, **options: Any) -> None:
        try:
            if not 1 <= options["keep_days"] <= 3660:
                raise ValueError("--keep-days is from 1 to 3660")
            month = month_of(options["month"])
            events = operations.restore_month(
                month,
                actor="service:restore_usage_archive",
                now=clock.now(),
                hold=timedelta(days=options["keep_days"]),
            )
        except (
            ValueError,
            operations.MonthNotArchived,
            operations.ArchiveDamaged,
            operations.ArchiveOfAnotherDatabase,
        ) as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        self.stdout.write(json.dumps({"month": f"{month:%Y-%m}", "events": events}))
