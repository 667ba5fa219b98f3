"""`manage.py import_usage FILE`: usage from a CSV file or JSON lines."""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from config import clock
from config.interruption import stopping_on_interrupt
from metering.import_rules import BadRule, ImportRules, check_rules, split_pairs
from metering.imports import (
    DEFAULT_BATCH,
    Format,
    ImportedTwiceAtOnce,
    ImportPlan,
    UnreadableFile,
    format_of,
    run_import,
)

EXIT_REJECTED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
MAX_BATCH = 5_000


class Command(BaseCommand):
    help = (
        "Import usage events from FILE (CSV with a header, or JSON lines). Repeating an import changes nothing; an "
        "interrupted one goes on where it stopped. Ends with a JSON summary; exit code 0, 1 when rows were rejected, "
        "2 for a mistake in the options, 130 when interrupted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--format", choices=["csv", "jsonl"], help="by default the file's ending says it")
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="FIELD=COLUMN",
            help="id, source, type, subject, time or data.<name> from a column; JSON lines that are events need none",
        )
        parser.add_argument(
            "--set", action="append", default=[], metavar="FIELD=TEXT", help="a field where a row has none"
        )
        parser.add_argument("--source", help="source of the events; by default import/<file name>, so renaming matters")
        _add_choice(parser, "subject", "the customer key")
        _add_choice(parser, "model", "data.model")
        parser.add_argument(
            "--time-zone", default="", help="of times without offset, such as UTC; without it they are rejected"
        )
        parser.add_argument(
            "--shift-time-to",
            default="",
            metavar="DATE",
            help="add whole days to every time, so that the first row is on DATE",
        )
        parser.add_argument("--rejects", type=Path, help="where rejected rows are listed; by default FILE.rejects.csv")
        parser.add_argument(
            "--batch", type=int, default=DEFAULT_BATCH, help=f"rows per transaction, at most {MAX_BATCH:,}"
        )

    def handle(self, **options: Any) -> None:
        try:
            plan = _plan(options)
        except BadRule as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        for line in plan.rules.stated():
            self.stdout.write(line)
        try:
            with stopping_on_interrupt() as stop, _progress(plan.path) as on_progress:
                summary = run_import(plan, now=clock.now, on_progress=on_progress, should_stop=lambda: bool(stop))
        except (UnreadableFile, ImportedTwiceAtOnce) as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        if summary.shift_days is not None:
            self.stdout.write(f"every time was moved by {summary.shift_days:+d} days")
        if summary.counts["rejected"]:
            self.stdout.write(f"rejected rows are listed in {plan.rejects_path}")
        if not summary.finished:
            self.stdout.write("interrupted; the same command goes on from here")
        self.stdout.write(json.dumps(summary.counts))
        if not summary.finished:
            raise SystemExit(EXIT_INTERRUPTED)
        if summary.counts["rejected"]:
            raise SystemExit(EXIT_REJECTED)


def _add_choice(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(f"--{name}-column", metavar="COLUMN", help=f"the column that holds {what}")
    group.add_argument(
        f"--{name}-rule", default="", metavar="RULE", help=f"{what} by rule: fixed:X, round-robin:A,B,… or hash:A,B,…"
    )


def _plan(options: dict[str, Any]) -> ImportPlan:
    """The plan that the options describe. Raises BadRule."""
    path: Path = options["file"]
    columns = split_pairs(options["map"], "--map")
    constants = split_pairs(options["set"], "--set")
    for field, column in (("subject", options["subject_column"]), ("data.model", options["model_column"])):
        if column and columns.setdefault(field, column) != column:
            raise BadRule(f"{field} is mapped to two columns")
    rules = ImportRules(
        source=options["source"] or f"import/{path.name}",
        columns=columns,
        constants=constants,
        subject_rule=options["subject_rule"],
        model_rule=options["model_rule"],
        time_zone=options["time_zone"],
        shift_time_to=options["shift_time_to"],
    )
    check_rules(rules)
    form = _format(path, options["format"])
    if form == "csv" and "time" not in columns and "time" not in constants:
        raise BadRule("a CSV file needs --map time=COLUMN")
    if not 1 <= options["batch"] <= MAX_BATCH:
        raise BadRule(f"--batch is from 1 to {MAX_BATCH:,}")
    rejects = options["rejects"] or path.with_name(f"{path.name}.rejects.csv")
    return ImportPlan(path, form, rules, rejects, options["batch"])


def _format(path: Path, given: Format | None) -> Format:
    if given:
        return given
    told = format_of(path.name)
    if told is None:
        raise BadRule(f"{path.name}: add --format csv or --format jsonl")
    return told


@contextmanager
def _progress(path: Path) -> Iterator[Any]:
    """A bar over the file's bytes, where somebody can see it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(path.name, total=path.stat().st_size if path.exists() else None)
        yield lambda offset: progress.update(task, completed=offset)
