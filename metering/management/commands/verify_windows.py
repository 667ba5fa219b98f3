"""`manage.py verify_windows --from … --to …`: prove windows against raw events, and repair those that differ."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from config import clock
from metering import operations, queries
from metering.queries import WindowMismatch

EXIT_MISMATCH = 1
EXIT_USAGE = 2
EXIT_ARCHIVED = 3


class Command(BaseCommand):
    help = (
        "Recompute windows from raw events and name each that differs, one JSON object a line. Exit code 0 when all "
        "agree or were repaired, 1 when any differs, 2 for a mistake in the options, 3 when those that were compared "
        "agree but events of some months are archived: bring these back with restore_usage_archive. When it is "
        "stopped, it says from where to go on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="start", required=True, help="first hour, such as 2026-10-01 or 2026-10-01T05:00Z"
        )
        parser.add_argument("--to", dest="end", required=True, help="first hour that is left out")
        parser.add_argument("--customer", action="append", help="a customer key; repeat for several, leave out for all")
        parser.add_argument("--repair", action="store_true", help="set right what differs, and record each correction")
        parser.add_argument("--reason", default="", help="why it went wrong, kept with each repair")
        parser.add_argument("--actor", default="", help="who repairs, such as user:emre; kept with each repair")

    def handle(self, **options: Any) -> None:
        if options["repair"] and not (options["reason"].strip() and options["actor"].strip()):
            raise CommandError("--repair needs --reason and --actor", returncode=EXIT_USAGE)
        if not options["repair"] and (options["reason"] or options["actor"]):
            raise CommandError("--reason and --actor belong to --repair", returncode=EXIT_USAGE)
        try:
            start, end = _instant(options["start"]), _instant(options["end"])
            found = self._run(start, end, options)
        except ValueError as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        archived = queries.archived_months_between(start, end)
        unproved = sum(
            queries.count_windows(max(start, month.start), min(end, month.end), options["customer"])
            for month in archived
        )
        checked = queries.count_windows(start, end, options["customer"]) - unproved
        summary: dict[str, Any] = {"windows": checked, "mismatches": found}
        if archived:
            names = [f"{month.start:%Y-%m}" for month in archived]
            summary |= {"archived": names, "windows_of_archived_months": unproved}
        self.stdout.write(json.dumps({**summary, "repaired": found} if options["repair"] else summary))
        if found and not options["repair"]:
            raise SystemExit(EXIT_MISMATCH)
        if archived:
            raise SystemExit(EXIT_ARCHIVED)

    def _run(self, start: datetime, end: datetime, options: dict[str, Any]) -> int:
        found, done = 0, start
        with _progress(start, end) as show:

            def on_progress(instant: datetime) -> None:
                nonlocal done
                done = instant
                show(instant)

            try:
                for mismatch in _mismatches(start, end, options, on_progress):
                    found += 1
                    self.stdout.write(json.dumps(asdict(mismatch), default=str))
            except KeyboardInterrupt:
                raise CommandError(
                    f"stopped with {found} found; go on with --from {done.isoformat()}", returncode=130
                ) from None
        return found


def _mismatches(
    start: datetime, end: datetime, options: dict[str, Any], on_progress: Callable[[datetime], None]
) -> Iterator[WindowMismatch]:
    if not options["repair"]:
        return queries.verify_windows(start, end, options["customer"], on_progress=on_progress)
    repaired = operations.repair_windows(
        start=start,
        end=end,
        customer_keys=options["customer"],
        reason=options["reason"],
        actor=options["actor"],
        now=clock.now(),
        on_progress=on_progress,
    )
    return (window.mismatch for window in repaired)


@contextmanager
def _progress(start: datetime, end: datetime) -> Iterator[Callable[[datetime], None]]:
    """A bar over the range, on a terminal's error output."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{start:%Y-%m-%d}", total=(end - start).total_seconds())

        def show(instant: datetime) -> None:
            progress.update(
                task, completed=(instant - start).total_seconds(), description=f"proved to {instant:%Y-%m-%d %H:%M}"
            )

        yield show


def _instant(text: str) -> datetime:
    """A date or time; without an offset it is UTC, as windows are. Raises ValueError."""
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
