"""`manage.py stripe_mirror rebuild|check`: dj-stripe's tables made anew from Stripe's lists, compared with them."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from billing.stripe import gateway, mirroring
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.stripe.mirror import KINDS
from config import clock
from config.interruption import stopping_on_interrupt

EXIT_DIFFERENT, EXIT_INTERRUPTED = 1, 130
DIFFERENCES_SHOWN_MAX = 1000


class Command(BaseCommand):
    help = (
        "rebuild: mirrors every object of every kind that Stripe lists; an interrupted run goes on where it stopped. "
        "check: compares the mirror with Stripe and names each difference (exit code 1)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        commands.add_parser("rebuild", help="mirror everything again, page by page")
        commands.add_parser("check", help="compare with Stripe, change nothing")

    def handle(self, *args: Any, command: str, **options: Any) -> None:
        try:
            with stopping_on_interrupt() as interrupts, gateway.bulk_work(), self._progress() as show:
                if command == "rebuild":
                    self._rebuild(interrupts, show)
                else:
                    self._check(interrupts, show)
        except (StripeRefused, StripeUnavailable) as problem:
            raise CommandError(f"{problem}. Say it again to go on.") from problem

    def _rebuild(self, interrupts: list[int], show: mirroring.Progress) -> None:
        started = mirroring.begin_rebuild(actor="command:stripe_mirror", now=clock.now())
        done = mirroring.rebuild(started, clock=clock.now, go_on=lambda: not interrupts, on_page=show)
        for object_id in done.refused:
            self.stderr.write(f"dj-stripe could not take {object_id}")
        total = sum(done.read.values())
        if not done.is_complete:
            problem = f"interrupted after {total:,} objects; say it again to go on"
            raise CommandError(problem, returncode=EXIT_INTERRUPTED)
        self.stdout.write(f"mirrored {total:,} objects, {len(done.refused)} could not be taken")

    def _check(self, interrupts: list[int], show: mirroring.Progress) -> None:
        found = 0
        for one in mirroring.compare(go_on=lambda: not interrupts, on_page=show):
            found += 1
            if found <= DIFFERENCES_SHOWN_MAX:
                self.stdout.write(f"{one.kind} {one.object_id}: {one.what}")
        if interrupts:
            raise CommandError("interrupted", returncode=EXIT_INTERRUPTED)
        if found:
            raise CommandError(f"{found:,} differences; `stripe_mirror rebuild` mends them", returncode=EXIT_DIFFERENT)
        self.stdout.write("the mirror says what Stripe says")

    @contextmanager
    def _progress(self) -> Iterator[mirroring.Progress]:
        """Kinds done and objects read, on stderr. Stripe does not say how many there are."""
        console = Console(file=sys.stderr)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("")
            done: set[str] = set()

            def show(kind: str, read: int, is_done: bool) -> None:
                done.update({kind} if is_done else ())
                bar.update(task, description=f"{len(done)} of {len(KINDS)} kinds; {kind}: {read:,}")

            yield show
