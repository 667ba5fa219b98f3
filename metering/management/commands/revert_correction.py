"""`manage.py revert_correction ID --reason …`: undo an applied correction of usage."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import clock
from metering import operations
from metering.management.correcting import ACTOR, EXIT_USAGE, apply_as_previewed, tell


class Command(BaseCommand):
    help = (
        "Draft the revert of correction ID and tell what it would do, as JSON. With --apply it is applied too, unless "
        "it needs a second person. Exit code 0, or 2 when it is refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("correction", type=int, metavar="ID")
        parser.add_argument("--reason", required=True, help="why, for whoever asks later")
        parser.add_argument("--apply", action="store_true", help="apply what was previewed")

    def handle(self, **options: Any) -> None:
        number: int = options["correction"]
        asked = operations.Asked("mistaken_correction", options["reason"], ACTOR, f"revert:{number}")
        try:
            correction = operations.draft_revert(number, asked, now=clock.now())
            state = apply_as_previewed(correction) if options["apply"] else ""
        except operations.CorrectionRefused as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        self.stdout.write(json.dumps(tell(correction, state=state)))
