"""`manage.py migrate`: Django's own, run as the role that owns the tables, then the application's rights are set."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import connections

from config import clock
from config.batched_migrations import batch_migrations_of
from config.privileges import grant_application_rights
from metering import operations

OWNER_ALIAS = "owner"
RETENTION_TABLE = "metering_retention"


class Command(migrate.Command):
    help = f"{migrate.Command.help} Runs as DATABASE_OWNER_URL's role and sets the rights of DATABASE_URL's."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database=OWNER_ALIAS)

    def handle(self, *args: Any, **options: Any) -> None:
        batch_migrations_of("djstripe.migrations")
        super().handle(*args, **options)
        if options["database"] != OWNER_ALIAS or options["plan"] or options["check_unapplied"]:
            return
        application_role = settings.DATABASES["default"]["USER"]
        if application_role == settings.DATABASES[OWNER_ALIAS]["USER"]:
            self.stderr.write(
                "DATABASE_URL and DATABASE_OWNER_URL name the same role: it owns the tables, so the database cannot "
                "keep the application from changing the ledger. Give the application a role of its own."
            )
            return
        grant_application_rights(connections[OWNER_ALIAS], application_role=application_role)
        self._tell_retention()

    def _tell_retention(self) -> None:
        """Bring the settings' times into the database, unless its tables stand before the migration that keeps them."""
        if RETENTION_TABLE not in connections[OWNER_ALIAS].introspection.table_names():
            return
        try:
            operations.set_retention(
                retention_days=settings.METERING_RETENTION_DAYS,
                dedupe_horizon_days=settings.METERING_DEDUPE_HORIZON_DAYS,
                now=clock.now(),
                using=OWNER_ALIAS,
            )
        except operations.HorizonTooLong as error:
            raise CommandError(f"METERING_DEDUPE_HORIZON_DAYS: {error}", returncode=2) from error
