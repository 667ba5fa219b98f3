"""
Lines of the journal in the order in which they were posted, the newest first, page by page: of one account, or of all
accounts of a customer in one list.

A page costs the same however long the history is and however far down it lies, because a place is found by halving:
within an account that keeps its balance, versions have no gap and rise as entries do.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection

from ledger.models import Account


@dataclass(frozen=True, slots=True)
class JournalLine:
    """
    One posting with what its entry says. Exactly one of debit and credit is not None.

    `balance_after`: what the account held once this line was posted; None on system accounts, which keep none.
    """

    entry_id: int
    line_no: int
    account: str
    account_kind: str
    currency: str
    kind: str
    memo: str
    effective_at: datetime
    recorded_at: datetime
    cause: Mapping[str, str]
    amount: Decimal
    balance_after: Decimal | None

    @property
    def debit(self) -> Decimal | None:
        return self.amount if self.amount > 0 else None

    @property
    def credit(self) -> Decimal | None:
        return self.amount.copy_negate() if self.amount < 0 else None

    @property
    def place(self) -> tuple[int, int]:
        """Where the line stands in the journal: what continues a page after it."""
        return (self.entry_id, self.line_no)


def accounts_of_customer(customer_key: str) -> list[Account]:
    """Every account of the customer, by code; none if the ledger does not know the customer."""
    # Services ask this all the time: building the statement anew would cost more than answering it.
    return list(Account.objects.raw(_OF_CUSTOMER, [customer_key]))


def account_ids(codes: Iterable[str]) -> dict[str, int]:
    """Where the accounts with these codes are found, by code; those that are not open are left out. One query."""
    return dict(Account.objects.filter(code__in=list(codes)).order_by().values_list("code", "pk"))


def newest_lines(
    accounts: Sequence[Account],
    *,
    limit: int,
    before: tuple[int, int] | None = None,
    effective_at: datetime | None = None,
    known_at: datetime | None = None,
) -> list[JournalLine]:
    """
    The last `limit` lines on the accounts, newest first; `before` is the place of the last line already seen.

    Only those known at `known_at` and effective up to `effective_at`, both included; the lines left out are read, too.
    """
    parameters: dict[str, Any] = {
        "kept": [account.pk for account in accounts if account.keeps_balance],
        "system": [account.pk for account in accounts if not account.keeps_balance],
        "limit": limit,
        "entry_id": before[0] if before else None,
        "line_no": before[1] if before else None,
        "effective_at": effective_at,
        "known_at": known_at,
    }
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST if before is None else _NEWEST_BEFORE, parameters)
        return [_line(row) for row in cursor.fetchall()]


def _line(row: tuple[Any, ...]) -> JournalLine:
    read = list(row)
    read[_CAUSE] = msgspec.json.decode(read[_CAUSE], type=dict[str, str])
    return JournalLine(*read)


_CAUSE = 9  # the place of the cause among the columns, which is that of the field
_OF_CUSTOMER = "SELECT * FROM ledger_account WHERE customer_key = %s ORDER BY code"

_LAST_VERSIONS = """
    WITH bound AS (SELECT id AS account_id, version AS low FROM ledger_account WHERE id = ANY(%(kept)s))
"""

# Of each account the version of its last line before a place in the journal, found by halving [low, high).
_VERSIONS_BEFORE = """
    WITH RECURSIVE search AS (
        SELECT id AS account_id, 0::bigint AS low, version + 1 AS high FROM ledger_account WHERE id = ANY(%(kept)s)
        UNION ALL
        SELECT half.account_id, CASE WHEN is_before THEN middle ELSE low END,
               CASE WHEN is_before THEN high ELSE middle END
        FROM (
            SELECT search.*, (low + high) / 2 AS middle,
                   coalesce((SELECT (posting.entry_id, posting.line_no::int) < (%(entry_id)s::bigint, %(line_no)s::int)
                             FROM ledger_posting AS posting
                             WHERE posting.account_id = search.account_id
                               AND posting.account_version = (low + high) / 2), false) AS is_before
            FROM search WHERE high - low > 1
        ) AS half
    ), bound AS (SELECT account_id, low FROM search WHERE high - low <= 1)
"""

_FILTER = """
        (%(effective_at)s::timestamptz IS NULL OR entry.effective_at <= %(effective_at)s::timestamptz)
        AND (%(known_at)s::timestamptz IS NULL OR entry.recorded_at <= %(known_at)s::timestamptz)
"""

_LINES = f"""
    SELECT line.entry_id, line.line_no, account.code, account.kind, account.currency, line.kind, line.memo,
           line.effective_at, line.recorded_at, line.cause::text, line.amount, line.balance_after
    FROM (
        SELECT newest.* FROM bound CROSS JOIN LATERAL (
            SELECT posting.account_id, posting.entry_id, posting.line_no, posting.amount, posting.balance_after,
                   entry.kind, entry.memo, entry.effective_at, entry.recorded_at, entry.cause
            FROM ledger_posting AS posting JOIN ledger_journalentry AS entry ON entry.id = posting.entry_id
            WHERE posting.account_id = bound.account_id AND posting.account_version <= bound.low AND {_FILTER}
            ORDER BY posting.account_version DESC LIMIT %(limit)s
        ) AS newest
        UNION ALL
        SELECT newest.* FROM unnest(%(system)s::bigint[]) AS system (account_id) CROSS JOIN LATERAL (
            SELECT posting.account_id, posting.entry_id, posting.line_no, posting.amount, posting.balance_after,
                   entry.kind, entry.memo, entry.effective_at, entry.recorded_at, entry.cause
            FROM ledger_posting AS posting JOIN ledger_journalentry AS entry ON entry.id = posting.entry_id
            WHERE posting.account_id = system.account_id AND posting.account_version IS NULL {{place}} AND {_FILTER}
            ORDER BY posting.entry_id DESC, posting.line_no DESC LIMIT %(limit)s
        ) AS newest
    ) AS line
    JOIN ledger_account AS account ON account.id = line.account_id
    ORDER BY line.entry_id DESC, line.line_no DESC
    LIMIT %(limit)s
"""
_PLACE = "AND (posting.entry_id, posting.line_no) < (%(entry_id)s::bigint, %(line_no)s::int)"
_NEWEST = _LAST_VERSIONS + _LINES.format(place="")
_NEWEST_BEFORE = _VERSIONS_BEFORE + _LINES.format(place=_PLACE)
