"""Seals cover what no open transaction could join; other tests' transactions on the same server count, too."""

import time

import pytest
from django.db import connection

WAIT_SECONDS = 60


def wait_until_settled() -> None:
    """Return once every transaction that was open when this was asked has ended."""
    ends = time.monotonic() + WAIT_SECONDS
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        (reached,) = cursor.fetchone()
        while time.monotonic() < ends:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            if cursor.fetchone()[0] >= reached:
                return
            time.sleep(0.02)
    pytest.fail("a transaction stays open")
