#!/usr/bin/env python3
"""Runs Django's commands against the services named in the environment (`make shell` starts embedded ones)."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415  (after the settings are named)
    from django.db import OperationalError  # noqa: PLC0415

    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        # Without an SQLSTATE no server answered: that is the address, not our code, and needs no traceback.
        if getattr(error.__cause__, "sqlstate", None) is not None:
            raise
        first_line = str(error).splitlines()[0]
        sys.exit(f"{first_line}. Is PostgreSQL running, and do DATABASE_URL and DATABASE_OWNER_URL name it?")


if __name__ == "__main__":
    main()
