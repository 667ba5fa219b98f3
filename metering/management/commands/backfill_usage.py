"""`manage.py backfill_usage FILE --reason …`: usage that never arrived, as a correction that can be reverted."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import clock
from metering import operations
from metering.import_rules import BadRule, ImportRules, check_rules, split_pairs
from metering.imports import Format, UnreadableFile, file_digest, format_of, read_events
from metering.management.correcting import ACTOR, EXIT_REJECTED, EXIT_USAGE, apply_as_previewed, tell
from metering.models import Correction


class Command(BaseCommand):
    help = (
        "Draft a backfill from FILE (CSV with a header, or JSON lines) and tell what it would do, as JSON. With "
        "--apply it is applied too, unless it needs a second person. Exit code 0, 1 when lines brought no event, 2 for "
        "a mistake in the options or a refusal."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--reason", required=True, help="why, for whoever asks later")
        parser.add_argument("--format", choices=["csv", "jsonl"], help="by default the file's ending says it")
        parser.add_argument("--map", action="append", default=[], metavar="FIELD=COLUMN", help="as in import_usage")
        parser.add_argument("--set", action="append", default=[], metavar="FIELD=TEXT", help="as in import_usage")
        parser.add_argument("--source", default="", help="source of the events; by default backfill/<file name>")
        parser.add_argument("--time-zone", default="", help="of times without offset; without it they are refused")
        parser.add_argument("--apply", action="store_true", help="apply what was previewed")

    def handle(self, **options: Any) -> None:
        try:
            correction = self._draft(options)
            state = apply_as_previewed(correction) if options["apply"] else ""
        except (BadRule, UnreadableFile, operations.CorrectionRefused) as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        told = tell(correction, state=state)
        self.stdout.write(json.dumps(told))
        if told["counts"].keys() - {"backfilled"}:
            raise SystemExit(EXIT_REJECTED)

    def _draft(self, options: dict[str, Any]) -> Correction:
        path: Path = options["file"]
        rules = ImportRules(
            source=options["source"] or f"backfill/{path.name}",
            columns=split_pairs(options["map"], "--map"),
            constants=split_pairs(options["set"], "--set"),
            time_zone=options["time_zone"],
        )
        check_rules(rules)
        form: Format | None = options["format"] or format_of(path.name)
        if form is None:
            raise BadRule(f"{path.name}: add --format csv or --format jsonl")
        digest = file_digest(path)
        # The same file with the same reason is the same request: asked for twice, it is drafted once.
        asked = operations.Asked("missing", options["reason"], ACTOR, f"backfill:{digest[:32]}:{rules.digest()[:16]}")
        return operations.draft_backfill(
            read_events(path, form, rules),
            asked,
            file_name=path.name,
            file_digest=digest,
            rules=asdict(rules),
            now=clock.now(),
        )
