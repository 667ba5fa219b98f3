"""manage.py reconcile: compare events, windows, ledger and Stripe over a range of time."""

import argparse
import sys
from datetime import UTC, datetime, timedelta
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from billing.reconciliation import operations, queries
from billing.reconciliation.models import ReconciliationRun
from billing.stripe.errors import StripeUnavailable
from billing.stripe.gateway import bulk_work
from config import clock

EXIT_DISCREPANCIES = 1
EXIT_BAD_ARGUMENTS = 2


def instant(text: str) -> datetime:
    """Return a date or an instant in ISO 8601; a date is its first instant, and what names no zone is UTC."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is neither a date such as 2026-10-01 nor an instant such as 2026-10-01T12:00:00Z"
        raise argparse.ArgumentTypeError(message) from error
    return value if value.tzinfo else value.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = (
        "Compares events = windows = rated = ledger = Stripe over [--from, --to) and names every place where two sides"
        " part. Exit code 0: none; 1: discrepancies; 2: bad arguments."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="range_start", type=instant, help="first instant; default: start of the oldest open period"
        )
        parser.add_argument("--to", dest="range_end", type=instant, help="end, exclusive; default: now")

    def handle(self, *args: Any, **options: Any) -> None:
        now = clock.now()
        range_end = options["range_end"] or now
        range_start = options["range_start"] or queries.first_open_period_start() or range_end - timedelta(days=1)
        try:
            with bulk_work():
                run = self._reconcile(range_start, range_end, now)
        except operations.ImpossibleRange as error:
            raise CommandError(str(error), returncode=EXIT_BAD_ARGUMENTS) from error
        except StripeUnavailable as error:
            message = f"Stripe could not be asked, so nothing is proved: {error}"
            raise CommandError(message, returncode=EXIT_DISCREPANCIES) from error
        self._print(run)
        if run.discrepancy_count:
            sys.exit(EXIT_DISCREPANCIES)

    def _reconcile(self, range_start: datetime, range_end: datetime, now: datetime) -> ReconciliationRun:
        with Progress(console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task("Reconciling")

            def advance(code: str, done: int, total: int) -> None:
                bars.update(bar, description=code, completed=done, total=total)

            return operations.reconcile(
                range_start=range_start,
                range_end=range_end,
                now=now,
                actor="command:reconcile",
                progress=advance,
                clock=clock.now,
            )

    def _print(self, run: ReconciliationRun) -> None:
        console = Console(file=cast("IO[str]", self.stdout))
        table = Table(title=f"Run {run.pk}: [{run.range_start:%F %T}, {run.range_end:%F %T}) UTC", title_justify="left")
        table.add_column("check")
        table.add_column("pairs", justify="right")
        table.add_column("part", justify="right")
        for code, result in run.checks.items():
            table.add_row(code, f"{result['checked']:,}", f"{result['discrepancies']:,}")
            if "archived" in result:
                table.add_row("  not compared, as their events are archived", f"{result['archived']:,}", "")
        table.add_row("all", f"{run.checked:,}", f"{run.discrepancy_count:,}", style="bold")
        console.print(table)
        for found in queries.discrepancies_of(run.pk):
            customer = f" ({found.customer_key})" if found.customer_key else ""
            sides = f"{found.left_name} {found.left_value}, {found.right_name} {found.right_value}"
            lines = f"{found.check_code}: {found.subject}{customer}\n  {sides}\n  {found.explanation}"
            console.print(lines, markup=False, highlight=False, soft_wrap=True)
