"""manage.py load_catalog FILE: bring the catalogue to what a YAML document says."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.catalog.document import CatalogInvalid, read_yaml
from billing.catalog.operations import CatalogError, load_catalog
from config import clock


class Command(BaseCommand):
    help = "Loads meters, rate cards and plans from a YAML file. Loading a file again changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="The document; its shape is told in billing/catalog/document.py.")

    def handle(self, *, file: Path, **_: Any) -> None:
        try:
            loaded = load_catalog(read_yaml(file.read_text(encoding="utf-8")), now=clock.now())
        except (CatalogInvalid, CatalogError, OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file}: {error}", returncode=2) from error
        self.stdout.write(
            f"{loaded.rate_cards} rate cards, {loaded.rates} rates, {loaded.plans} plans, "
            f"{loaded.plan_versions} plan versions added."
        )
