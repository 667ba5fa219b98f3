"""`manage.py backtest run PLAN VERSION --from … --to …`: a plan version on past usage; resume, show, csv, stop."""

import argparse
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from billing.catalog.models import PlanVersion
from billing.rollouts.backtests import documents as backtest_documents
from billing.rollouts.backtests import operations as backtests
from billing.rollouts.backtests.operations import (
    CLAIM_LASTS,
    BacktestConflict,
    BacktestEnded,
    BacktestNotFound,
    BacktestRefused,
)
from billing.rollouts.backtests.text import report_text
from billing.rollouts.comparing import cohorts
from billing.rollouts.models.backtests import Backtest, BacktestPart
from config import clock
from config.interruption import stopping_on_interrupt
from ledger.downloads.as_csv import csv_chunks
from ledger.queries import one_look

EXIT_USAGE, EXIT_STOPPED, EXIT_CLAIMED, EXIT_INTERRUPTED = 2, 3, 4, 130
ACTOR = "command:backtest"


def instant(text: str) -> datetime:
    """A date or an instant in ISO 8601; a date is its first instant, and what names no zone is UTC."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is neither a date such as 2026-10-01 nor an instant such as 2026-10-01T12:00:00Z"
        raise argparse.ArgumentTypeError(message) from error
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def processes(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes; give a whole number from 1 on")
    return int(text)


def percent(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage such as 12.5") from error


class Command(BaseCommand):
    help = (
        "Try a plan version on past usage and report what customers would have paid. An interrupted run goes on with "
        "resume. Exit code 0 when it is done, 2 for a mistake in the arguments, 3 when it was stopped because the "
        "terms changed, 4 when another worker is still at a part, 130 when it was interrupted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        run = commands.add_parser("run", help="begin a backtest and work it through")
        run.add_argument("plan", help="the plan's code")
        run.add_argument("version", type=int, help="the version's number, a draft's too")
        run.add_argument("--currency", help="of the version, where it is sold in several")
        run.add_argument(
            "--against",
            type=int,
            metavar="VERSION",
            help="compare with this version of the plan; else with what each customer had",
        )
        run.add_argument("--from", dest="starts_at", type=instant, required=True, help="such as 2026-10-01")
        run.add_argument("--to", dest="ends_at", type=instant, required=True, help="exclusive, such as 2026-11-01")
        run.add_argument(
            "--months",
            action="store_true",
            help="calendar months instead of billing periods; without credits and add-ons",
        )
        run.add_argument("--on", action="append", default=[], metavar="PLAN", help="only those on this plan; repeat")
        run.add_argument("--kind", action="append", default=[], help="only this kind of customer; repeat")
        run.add_argument("--customer", action="append", default=[], metavar="KEY", help="only this one; repeat")
        run.add_argument("--share", type=percent, default=Decimal(100), metavar="PERCENT", help="of them, by a hash")
        run.add_argument(
            "--also",
            action="append",
            default=[],
            choices=cohorts.Staying.values,
            help="those too who would keep their terms; repeat",
        )
        run.add_argument(
            "--threshold",
            type=percent,
            default=Decimal(10),
            metavar="PERCENT",
            help="name who pays more by more than this (10)",
        )
        for sub in (run, commands.add_parser("resume", help="go on with one that was interrupted")):
            sub.add_argument("--processes", type=processes, default=1, help="work with so many processes (1)")
        commands.choices["resume"].add_argument("id", type=int)
        show = commands.add_parser("show", help="the report")
        show.add_argument("id", type=int)
        show.add_argument("--json", action="store_true")
        table = commands.add_parser("csv", help="every customer, or every period, as CSV on standard output")
        table.add_argument("id", type=int)
        table.add_argument("--periods", action="store_true")
        stop = commands.add_parser("stop", help="end one for good, without a report")
        stop.add_argument("id", type=int)
        stop.add_argument("--because", required=True)

    def handle(self, **options: Any) -> None:
        try:
            getattr(self, f"_{options['command']}")(options)
        except BacktestRefused as error:
            raise CommandError(f"{error.field}: {error}", returncode=EXIT_USAGE) from error
        except (BacktestNotFound, BacktestEnded, BacktestConflict, cohorts.InvalidCohort) as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error

    def _run(self, options: dict[str, Any]) -> None:
        cohort = cohorts.read_cohort(
            {
                "plans": options["on"],
                "kinds": options["kind"],
                "customer_keys": options["customer"],
                "share_percent": str(options["share"]),
                "also": options["also"],
            }
        )
        against = options["against"]
        backtest = backtests.request_backtest(
            candidate_id=_version(options, options["version"]).pk,
            baseline_id=None if against is None else _version(options, against).pk,
            unit=Backtest.Unit.MONTHS if options["months"] else Backtest.Unit.PERIODS,
            starts_at=options["starts_at"],
            ends_at=options["ends_at"],
            cohort=cohort,
            threshold_percent=options["threshold"],
            idempotency_key=f"command:{uuid.uuid4()}",
            actor=ACTOR,
            now=clock.now(),
        )
        self._work_through(backtest.pk, options["processes"])

    def _resume(self, options: dict[str, Any]) -> None:
        self._work_through(_backtest(options["id"]).pk, options["processes"])

    def _show(self, options: dict[str, Any]) -> None:
        backtest = _backtest(options["id"])
        self.stdout.write(json.dumps(backtest.report) if options["json"] else report_text(backtest))

    def _csv(self, options: dict[str, Any]) -> None:
        backtest = _backtest(options["id"])
        with one_look():
            made = backtest_documents.document(backtest, of_periods=options["periods"], made_at=clock.now())
            for chunk in csv_chunks(made):
                self.stdout.write(chunk.decode(), ending="")

    def _stop(self, options: dict[str, Any]) -> None:
        backtests.stop_backtest(backtest_id=options["id"], because=options["because"], actor=ACTOR, now=clock.now())

    def _work_through(self, backtest_id: int, processes: int) -> None:
        with (
            stopping_on_interrupt() as interrupts,
            _progress(backtest_id) as show,
            others(backtest_id, processes - 1, interrupts),
        ):
            backtest = backtests.run_backtest(
                backtest_id=backtest_id, clock=clock.now, go_on=lambda: not interrupts, on_part=show
            )
        # The others may have had the last parts; leaving their processes waited for them.
        backtests.finish_backtest(backtest_id=backtest_id, now=clock.now())
        backtest.refresh_from_db()
        if backtest.state == Backtest.State.STOPPED:
            raise CommandError(f"backtest {backtest_id}: {backtest.stopped_because}", returncode=EXIT_STOPPED)
        if backtest.state != Backtest.State.DONE:
            again = f"go on with: manage.py backtest resume {backtest_id}"
            if interrupts:
                raise CommandError(f"interrupted; {again}", returncode=EXIT_INTERRUPTED)
            raise CommandError(
                f"another worker is still at its part, or died within the last {CLAIM_LASTS.seconds // 60} minutes;"
                f" {again}",
                returncode=EXIT_CLAIMED,
            )
        self.stdout.write(report_text(backtest))


def _version(options: dict[str, Any], number: int) -> PlanVersion:
    found = PlanVersion.objects.filter(plan__code=options["plan"], version=number)
    if options["currency"]:
        found = found.filter(currency=options["currency"])
    versions = list(found.select_related("plan"))
    if not versions:
        raise CommandError(f"there is no version {number} of plan {options['plan']!r}", returncode=EXIT_USAGE)
    if len(versions) > 1:
        sold_in = ", ".join(version.currency for version in versions)
        raise CommandError(f"--currency: version {number} is sold in {sold_in}; give one", returncode=EXIT_USAGE)
    return versions[0]


def _backtest(backtest_id: int) -> Backtest:
    backtest = Backtest.objects.select_related("candidate__plan", "baseline__plan").filter(pk=backtest_id).first()
    if backtest is None:
        raise BacktestNotFound(f"there is no backtest {backtest_id}")
    return backtest


@contextmanager
def others(backtest_id: int, number: int, interrupts: Sequence[int] = ()) -> Iterator[None]:
    """
    More processes at the same backtest, each of which finishes its part when this one is interrupted. They are in
    sessions of their own: a terminal would tell them too, and a second interrupt ends a process at once.
    """
    command = [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "backtest", "resume", str(backtest_id)]
    running = [
        subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(number)
    ]
    try:
        yield
    finally:
        for process in running:
            if interrupts:
                process.send_signal(signal.SIGINT)
        for process in running:
            process.wait()


@contextmanager
def _progress(backtest_id: int) -> Iterator[Any]:
    """A bar over the parts, whoever worked on them, on a terminal's error output."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    parts = BacktestPart.objects.filter(backtest_id=backtest_id)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"backtest {backtest_id}", total=parts.count())

        def show() -> None:
            progress.update(task, completed=parts.exclude(done_at=None).count())

        show()
        yield show
