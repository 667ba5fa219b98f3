"""`manage.py verify_windows --from … --to …`: prove windows against raw events."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from metering import queries

EXIT_MISMATCH = 1
EXIT_USAGE = 2


class Command(BaseCommand):
    help = (
        "Recompute windows from raw events and name each that differs, one JSON object a line. Exit code 0 when all "
        "agree, 1 when any differs, 2 for a mistake in the options."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="start", required=True, help="first hour, such as 2026-10-01 or 2026-10-01T05:00Z"
        )
        parser.add_argument("--to", dest="end", required=True, help="first hour that is left out")
        parser.add_argument("--customer", action="append", help="a customer key; repeat for several, leave out for all")

    def handle(self, **options: Any) -> None:
        try:
            start, end = _instant(options["start"]), _instant(options["end"])
            mismatches = queries.verify_windows(start, end, options["customer"])
        except ValueError as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        found = 0
        for mismatch in mismatches:
            found += 1
            self.stdout.write(json.dumps(asdict(mismatch), default=str))
        customers: list[str] | None = options["customer"]
        checked = queries.count_windows(start, end, customers)
        self.stdout.write(json.dumps({"windows": checked, "mismatches": found}))
        if found:
            raise SystemExit(EXIT_MISMATCH)


def _instant(text: str) -> datetime:
    """A date or time; without an offset it is UTC, as windows are. Raises ValueError."""
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
