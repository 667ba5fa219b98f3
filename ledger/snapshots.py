"""
Taking snapshots (docs/decisions/0009): what system accounts hold, so that nobody sums their whole history again.

`manage.py verify_ledger` proves them.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from ledger.drafts import require_aware

# A balance is its snapshot and fewer than this many postings, and those of the last minutes. A snapshot is one row.
MIN_POSTINGS = 1_000


@dataclass(frozen=True, slots=True)
class TakenSnapshots:
    """`through_entry`: up to which entry accounts could be summed; None if no entry is known to be settled yet."""

    through_entry: int | None
    snapshot_count: int


def take_snapshots(*, taken_at: datetime, min_postings: int = MIN_POSTINGS) -> TakenSnapshots:
    """
    Snapshot each system account that has `min_postings` since its last snapshot, and mark how far the next call can go.

    A call can go as far as an earlier one marked, if every transaction that was open then has ended.

    :raises ValueError: if `min_postings` is below 1.
    :raises RuntimeError: inside a transaction: a mark needs one of its own.
    """
    require_aware(taken_at)
    if min_postings < 1:
        raise ValueError(f"min_postings is 1 or more, not {min_postings}")
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            "SELECT through_entry, snapshot_count FROM ledger_take_snapshots(%s, %s)", [taken_at, min_postings]
        )
        return TakenSnapshots(*cursor.fetchone())
