"""`manage.py create_api_key NAME SCOPE…`: make an API key and print it, the only time it can be seen."""

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from config.api_keys.models import LIMIT_MAX, ApiKey
from config.api_keys.scopes import Scope


class Command(BaseCommand):
    help = "Makes an API key and prints it on standard output. The database keeps only its hash."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="which service will use it")
        parser.add_argument("scopes", nargs="+", choices=Scope.values, metavar="scope", help=", ".join(Scope.values))
        parser.add_argument(
            "--events-per-second", type=_limit, help="in the long run; as the settings say when left out"
        )
        parser.add_argument(
            "--events-burst", type=_limit, help="at once after a pause; as the settings say when left out"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        _, key = ApiKey.objects.create_key(
            name=options["name"],
            scopes=sorted(set(options["scopes"])),
            events_per_second=options["events_per_second"],
            events_burst=options["events_burst"],
        )
        self.stdout.write(key)


def _limit(text: str) -> int:
    """Raises ArgumentTypeError."""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= LIMIT_MAX:
        return int(text)
    raise ArgumentTypeError(f"a limit is a whole number from 1 to {LIMIT_MAX:,}")
