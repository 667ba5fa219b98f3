"""`manage.py create_api_key NAME SCOPE…`: make an API key and print it, the only time it can be seen."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from config.api_keys.models import ApiKey
from config.api_keys.scopes import Scope


class Command(BaseCommand):
    help = "Makes an API key and prints it on standard output. The database keeps only its hash."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="which service will use it")
        parser.add_argument("scopes", nargs="+", choices=Scope.values, metavar="scope", help=", ".join(Scope.values))

    def handle(self, *args: Any, **options: Any) -> None:
        _, key = ApiKey.objects.create_key(name=options["name"], scopes=sorted(set(options["scopes"])))
        self.stdout.write(key)
