"""
Regular work of which there is one at a time.

Beat hands a task over again when its interval is over, whether the last run has ended or not. What goes through all
there is would then run beside itself, do everything twice, and take one worker after the other from all other work.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def alone(work: str) -> Iterator[bool]:
    """Whether nobody else is at this work; a lock of the session, as the work is many transactions."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [work])
        is_alone = bool(cursor.fetchone()[0])
    try:
        yield is_alone
    finally:
        if is_alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [work])
