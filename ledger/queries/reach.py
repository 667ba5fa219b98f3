"""
Where in the journal the entries of a span lie, so that a statement reads those and not an account's whole history.

Entries are recorded nearly in the order in which they take effect: block ranges of time (ledger_entry_effective) find
the first and the last of a span. Between them the postings of a system account are found by entry; of an account that
keeps its balance by version, which rises as entries do, and is found by halving. It decides what is read, never what
is answered: whatever lies in between and not in the span is left out by its own instant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

# Above every id and every version.
NO_END = 2**62


@dataclass(frozen=True, slots=True)
class Reach:
    """
    The entries [first_entry, last_entry] of a span; `since` and `until` are, by account that keeps its balance, how
    many of its postings lie before the first and up to the last.

    `is_late`: the span begins nearer to the end of the journal than to its start, and no entry before the first takes
    effect after it either. Then less is read to count back from now than to add up from the start.
    """

    is_late: bool
    first_entry: int
    last_entry: int
    since: Mapping[int, int]
    until: Mapping[int, int]

    def open_ended(self) -> "Reach":
        """From the same start to the end of the journal."""
        return Reach(self.is_late, self.first_entry, NO_END, self.since, dict.fromkeys(self.since, NO_END))


def whole_journal(keeping: Sequence[int]) -> Reach:
    return Reach(False, 0, NO_END, dict.fromkeys(keeping, 0), dict.fromkeys(keeping, NO_END))


def reach_of(keeping: Sequence[int], *, effective_from: datetime, effective_before: datetime) -> Reach:
    """Of the accounts that keep a balance, by id."""
    with connection.cursor() as cursor:
        cursor.execute(_ENDS)
        oldest, newest = cursor.fetchone()
        is_late = oldest is None or effective_from - oldest > newest - effective_from
        # Counting back needs the first entry that takes effect from the start of the span on, also one after it.
        entries = _ENTRIES_SINCE if is_late else _ENTRIES_WITHIN
        cursor.execute(entries, {"effective_from": effective_from, "effective_before": effective_before})
        first, last = cursor.fetchone()
        first_entry = NO_END if first is None else first
        last_entry = 0 if last is None else last
        found: dict[tuple[int, int], int] = {}
        if keeping:
            # An entry after the last: as many postings lie before it as up to the last.
            cursor.execute(_HALVED, {"accounts": list(keeping), "entries": [first_entry, last_entry + 1]})
            found = {(account_id, entry_id): count for account_id, entry_id, count in cursor.fetchall()}
    return Reach(
        is_late,
        first_entry,
        last_entry,
        since={account_id: found[account_id, first_entry] for account_id in keeping},
        until={account_id: found[account_id, last_entry + 1] for account_id in keeping},
    )


# By id: when the entries at both ends of the journal took effect says about how much lies on either side of a span.
_ENDS = """
    SELECT (SELECT effective_at FROM ledger_journalentry ORDER BY id LIMIT 1),
           (SELECT effective_at FROM ledger_journalentry ORDER BY id DESC LIMIT 1)
"""
_ENTRIES_WITHIN = """
    SELECT min(id), max(id) FROM ledger_journalentry
    WHERE effective_at >= %(effective_from)s AND effective_at < %(effective_before)s
"""
_ENTRIES_SINCE = """
    SELECT min(id), max(id) FILTER (WHERE effective_at < %(effective_before)s)
    FROM ledger_journalentry WHERE effective_at >= %(effective_from)s
"""

# How many postings of each account lie before an entry: the highest version that does, between low and high.
_HALVED = """
    WITH RECURSIVE search AS (
        SELECT account.id AS account_id, target.entry_id, 0::bigint AS low, account.version + 1 AS high
        FROM ledger_account AS account CROSS JOIN unnest(%(entries)s::bigint[]) AS target (entry_id)
        WHERE account.id = ANY (%(accounts)s)
        UNION ALL
        SELECT account_id, entry_id,
               CASE WHEN is_before THEN middle ELSE low END, CASE WHEN is_before THEN high ELSE middle END
        FROM (
            SELECT search.*, (low + high) / 2 AS middle, (
                SELECT posting.entry_id < search.entry_id FROM ledger_posting AS posting
                WHERE posting.account_id = search.account_id
                  AND posting.account_version = (search.low + search.high) / 2
            ) AS is_before
            FROM search WHERE high - low > 1
        ) AS half
    )
    SELECT account_id, entry_id, low FROM search WHERE high - low <= 1
"""
