"""`manage.py verify_ledger`: prove the ledger from its raw rows."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from config.interruption import stopping_on_interrupt
from ledger import verification
from ledger.verification import Extent, Step

EXIT_BROKEN = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class Command(BaseCommand):
    help = (
        "Recompute seals, balances, chains, floors, reversals, keys, sums and snapshots from the raw rows, and name "
        "each entry that is broken, one JSON object a line; the last line is a summary that names the first. An "
        "interrupted run says how to go on. Exit code 0 when all is sound, 1 when anything is broken, 2 for a mistake "
        "in the options, 130 when interrupted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from-seal", type=int, default=1, metavar="NUMBER", help="go on with this seal")
        parser.add_argument(
            "--from-entry", type=int, metavar="ID", help="go on with this entry; the seals have been verified"
        )
        parser.add_argument(
            "--kept-hash", metavar="HEX", help="the hash of a seal, kept elsewhere, that has to be among the seals"
        )

    def handle(self, **options: Any) -> None:
        from_seal, from_entry, kept_hash = options["from_seal"], options["from_entry"], options["kept_hash"]
        if from_seal < 1 or (from_entry is not None and from_seal != 1):
            raise CommandError(
                "--from-seal is 1 or more, and either it or --from-entry is given", returncode=EXIT_USAGE
            )
        if kept_hash is not None and not _is_hash(kept_hash):
            raise CommandError("--kept-hash is 64 hexadecimal digits", returncode=EXIT_USAGE)
        found, first_broken, go_on = 0, None, ""
        if kept_hash is not None and not verification.has_seal(kept_hash):
            found += 1
            self.stdout.write(
                json.dumps({"rule": "ledger_seal_kept", "entry": None, "about": "no seal has the kept hash"})
            )
        with stopping_on_interrupt() as stop, _progress(verification.extent()) as show:
            for step in _steps(from_seal, from_entry):
                for fault in step.faults:
                    self.stdout.write(json.dumps(asdict(fault)))
                found += len(step.faults)
                broken = [fault.entry for fault in step.faults if fault.entry is not None]
                first_broken = min([*broken, *([] if first_broken is None else [first_broken])], default=None)
                show(step)
                if stop:
                    go_on = _go_on(step)
                    break
        self.stdout.write(json.dumps(_summary(found, first_broken)))
        if go_on:
            self.stdout.write(f"interrupted; go on with: manage.py verify_ledger {go_on}")
        if found:
            raise SystemExit(EXIT_BROKEN)
        if go_on:
            raise SystemExit(EXIT_INTERRUPTED)


def _steps(from_seal: int, from_entry: int | None) -> Iterator[Step]:
    if from_entry is None:
        yield from verification.verify_seals(from_seal=from_seal)
    yield from verification.verify_entries(from_entry=from_entry)
    yield from verification.verify_accounts()


def _summary(found: int, first_broken: int | None) -> dict[str, object]:
    span = verification.extent()
    return {
        "faults": found,
        "first_broken_entry": first_broken,
        "last_entry": span.last_entry,
        "seals": span.last_seal,
        "unsealed_entries": verification.count_unsealed(),
        "last_hash": verification.last_hash(),
    }


def _go_on(step: Step) -> str:
    option = {"seals": "--from-seal", "entries": "--from-entry", "accounts": "--from-entry"}[step.part]
    return f"{option} {step.next_start}"


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text.lower())


@contextmanager
def _progress(span: Extent) -> Iterator[Callable[[Step], None]]:
    """A bar for each part, where somebody can see it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks = {
            "seals": progress.add_task("seals", total=span.last_seal),
            "entries": progress.add_task("entries", total=span.last_entry),
            "accounts": progress.add_task("accounts", total=len(verification.WHOLE_LEDGER)),
        }

        def show(step: Step) -> None:
            if step.part == "accounts":
                progress.advance(tasks["accounts"])
            else:
                total = span.last_seal if step.part == "seals" else span.last_entry
                progress.update(tasks[step.part], completed=min(step.next_start - 1, total))

        yield show
