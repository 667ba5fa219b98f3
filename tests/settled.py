"""
Waits until what was recorded can be aggregated and sealed.

Aggregation of usage, seals and snapshots of the ledger take what was recorded by transactions below the oldest one that
is open anywhere in the PostgreSQL cluster. Each test process has a cluster of its own (tests/plugin.py), but there too
others have transactions open for a moment: autovacuum while it analyzes a table, and the session of a process or a
connection that the test has just killed, until the server notices. On a server that the user names, so do the tests of
other processes. A test that asserts what one advance or one seal took waits here first.
"""

import time

import pytest
from django.db import connection

WAIT_SECONDS = 60


def wait_until_settled() -> None:
    """Return once every transaction that was open when this was asked has ended.

    To be called outside a transaction: the caller's own would be waited for.
    """
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
