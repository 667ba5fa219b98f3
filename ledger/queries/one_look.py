"""Several questions about one state of the journal."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def one_look() -> Iterator[None]:
    """
    Whatever is read inside is answered from the journal as the first of the reads found it; nothing can be written.

    Inside a transaction that has begun already, that transaction decides what is seen, and this does nothing.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
