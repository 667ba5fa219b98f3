"""Makes the three roles' groups equal to what config/roles.py declares."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config import roles


class Command(BaseCommand):
    help = "Create the roles Customer success, Finance and Engineering and give each exactly its permissions."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            counts = roles.sync_roles()
        except roles.UnknownPermission as error:
            raise CommandError(str(error)) from error
        for role, count in counts.items():
            self.stdout.write(f"{role}: {count} permissions")
