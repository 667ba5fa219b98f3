"""manage.py stripe_takeover plan|run|check: bring in a company that bills through Stripe already."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from billing.management.commands.reconcile import instant
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.takeover.checking import check_takeover
from billing.takeover.deciding import of_plan
from billing.takeover.document import Map, MapInvalid, read_map
from billing.takeover.finding import Progress
from billing.takeover.operations import TakeoverRefused, plan_takeover, run_takeover
from config import clock
from config.interruption import stopping_on_interrupt

EXIT_DIFFERENCES = 1
EXIT_ERROR = 2
ACTOR = "command:stripe_takeover"


class Command(BaseCommand):
    help = (
        "Brings in an account that was billed through Stripe before. Nothing is written at Stripe.\n\n"
        "  plan   reads the account and says what would be brought in, and what cannot be, with its remedy\n"
        "  run    brings it in; interrupted or said again it goes on where it stopped\n"
        "  check  compares Stripe with the books and names every difference\n\n"
        "The map is told in billing/takeover/document.py. Exit codes: 0 all well; 1 plan: something is undecided,\n"
        "check: there are differences, run: it was interrupted; 2 it cannot be done like this."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument("what", choices=("plan", "run", "check"))
        parser.add_argument("--as-of", type=instant, help="the cut: the last second that belongs to the opening")
        parser.add_argument("--map", dest="map_file", type=Path, help="the decisions of people, a YAML file")

    def handle(self, *, what: str, as_of: datetime | None, map_file: Path | None, **options: Any) -> None:
        try:
            by = Map() if map_file is None else read_map(map_file.read_text(encoding="utf-8"))
            with _bars() as progress:
                {"plan": self._plan, "run": self._run, "check": self._check}[what](by, as_of, progress)
        except (TakeoverRefused, MapInvalid, OSError, UnicodeDecodeError, StripeRefused, StripeUnavailable) as error:
            where = f"{map_file}: " if isinstance(error, MapInvalid) else ""
            raise CommandError(f"{where}{error}", returncode=EXIT_ERROR) from error

    def _plan(self, by: Map, as_of: datetime | None, progress: Progress) -> None:
        plan = plan_takeover(by=by, as_of=as_of, now=clock.now(), progress=progress)
        self.stdout.write(f"As of {plan.as_of:%Y-%m-%dT%H:%M:%SZ}. Found at Stripe:")
        for kind, number in plan.found.numbers(plan.as_of).items():
            self.stdout.write(f"  {number:>8,} {kind}s")
        self.stdout.write(
            f"To bring in: {len(plan.decided.customers):,} customers with {len(plan.decided.subscriptions):,}"
            " subscriptions, their invoices and payments."
        )
        for line in of_plan(plan.decided):
            self.stdout.write(f"  {line}")
        for problem in plan.problems:
            self.stdout.write(f"! {problem}")
        if plan.problems:
            sys.exit(EXIT_DIFFERENCES)

    def _run(self, by: Map, as_of: datetime | None, progress: Progress) -> None:
        with stopping_on_interrupt() as received:
            done = run_takeover(
                by=by,
                as_of=as_of,
                actor=ACTOR,
                clock=clock.now,
                progress=progress,
                is_interrupted=lambda: bool(received),
            )
        if done is None:
            raise CommandError("Interrupted. Say run again: it goes on here.", returncode=EXIT_DIFFERENCES)
        brought = ", ".join(f"{number:,} {kind}s" for kind, number in done.brought_in.items() if number)
        self.stdout.write(f"Brought in: {brought or 'nothing that was not here'}. Now say check.")

    def _check(self, by: Map, as_of: datetime | None, progress: Progress) -> None:
        found = check_takeover(actor=ACTOR, now=clock.now())
        for one in found.differences:
            self.stdout.write(f"{one['subject']}: {one['at_stripe']}, {one['here']}\n  {one['explanation']}")
        self.stdout.write(f"{found.compared:,} compared, {found.difference_count:,} differences.")
        if found.difference_count:
            sys.exit(EXIT_DIFFERENCES)


@contextmanager
def _bars() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("Asking Stripe", total=None)

        def advance(what: str, done: int, total: int | None) -> None:
            bars.update(bar, description=what, completed=done, total=total)

        yield advance
