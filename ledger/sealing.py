"""
Making seals (docs/decisions/0008): each covers what was recorded since the one before.

`manage.py verify_ledger` proves them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from ledger.drafts import require_aware

# A seal holds a hash of each of its entries, in one row; a verification reads one seal at a time.
MAX_ENTRIES = 50_000


@dataclass(frozen=True, slots=True)
class MadeSeal:
    number: int
    entry_count: int


def make_seals(*, sealed_at: datetime, max_entries: int = MAX_ENTRIES) -> Iterator[MadeSeal]:
    """
    Seal everything that no open transaction could still add to: one seal, and as many more as the backlog needs.

    Each is made when it is asked for and, outside a transaction, committed then. From there on an entry recorded at
    an instant before `sealed_at` is refused (ledger_entry_before_seal). A seal of nothing is a seal, too.
    """
    require_aware(sealed_at)
    drained = False
    while not drained:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM ledger_make_seal(%s, %s)", [sealed_at, max_entries])
            number, entry_count, drained = cursor.fetchone()
        yield MadeSeal(number, entry_count)
