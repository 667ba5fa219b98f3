"""
The postings of a kind of account, added up: by cause, by account, by month, by what moved them.

Each answers for a pair of instants: what we believed at `known_at` of what had taken effect up to `effective_at`, both
included; left out, an instant is no limit. Amounts are in the account's normal direction and major unit. Each is one
statement, whatever the number of accounts, and reads the postings of those accounts once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from ledger.exact import total
from ledger.queries.balances import AccountBalance


@dataclass(frozen=True, slots=True)
class CauseSum:
    """What the postings of one customer's accounts of a kind come to for one cause; "" where it is not named."""

    customer_key: str
    currency: str
    cause: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class KindSum:
    """What the accounts of a kind hold in one currency: those above zero, and those below, apart."""

    kind: str
    currency: str
    above_zero: Decimal
    below_zero: Decimal

    @property
    def amount(self) -> Decimal:
        return total((self.above_zero, self.below_zero))


@dataclass(frozen=True, slots=True)
class MonthSum:
    """What one kind of account moved by in one month of UTC: what was added (zero or more), and taken (or less)."""

    kind: str
    currency: str
    month: date
    added: Decimal
    taken: Decimal

    @property
    def amount(self) -> Decimal:
        return total((self.added, self.taken))


@dataclass(frozen=True, slots=True)
class Movement:
    """
    What one account moved by within a span of time, by the kind of entry that moved it.

    `is_later_line`: not the entry's first line on this account. `happened_at` is the latest instant at which such an
    entry happened: of an entry that a closed period moved, the instant before it was moved.
    """

    code: str
    currency: str
    entry_kind: str
    is_reversal: bool
    is_later_line: bool
    amount: Decimal
    happened_at: datetime


def sums_by_cause(
    *,
    account_kind: str,
    cause: str,
    customer_key: str | None = None,
    effective_at: datetime | None = None,
    known_at: datetime | None = None,
) -> list[CauseSum]:
    """
    What is left open of each cause, such as each invoice: by customer, currency and cause, without those at zero.

    A reversal that does not name the cause itself counts for what the entry it mirrors named.
    """
    parameters = {"kind": account_kind, "cause": cause, "customer_key": customer_key}
    return [CauseSum(*row) for row in _rows(_BY_CAUSE, parameters, effective_at=effective_at, known_at=known_at)]


def account_by_cause(code: str, *, cause: str) -> dict[str, Decimal]:
    """
    What one account, also one of the system, holds of each cause, such as of each payout; without those at zero.

    A reversal that does not name the cause itself counts for what the entry it mirrors named.
    """
    found = _rows(_OF_ACCOUNT_BY_CAUSE, {"code": code, "cause": cause}, effective_at=None, known_at=None)
    return dict(found)


def balances_of_kind(
    account_kind: str, *, effective_at: datetime | None = None, known_at: datetime | None = None
) -> list[AccountBalance]:
    """The customers' accounts of a kind that hold something, by code."""
    found = _rows(_BY_ACCOUNT, {"kind": account_kind}, effective_at=effective_at, known_at=known_at)
    return [AccountBalance(*row) for row in found]


def sums_by_kind(
    account_kinds: Sequence[str], *, effective_at: datetime | None = None, known_at: datetime | None = None
) -> list[KindSum]:
    """What the accounts of each kind hold, by kind and currency."""
    found = _rows(_BY_KIND, {"kinds": list(account_kinds)}, effective_at=effective_at, known_at=known_at)
    return [KindSum(*row) for row in found]


def sums_by_month(
    account_kinds: Sequence[str],
    *,
    effective_from: datetime | None = None,
    effective_at: datetime | None = None,
    known_at: datetime | None = None,
) -> list[MonthSum]:
    """
    What the accounts of each kind moved by, month by month of UTC, in order; months without a movement are left out.

    The first and the last month are cut at `effective_from` and `effective_at`, both included.
    """
    parameters = {"kinds": list(account_kinds), "effective_from": effective_from}
    found = _rows(_BY_MONTH, parameters, effective_at=effective_at, known_at=known_at)
    return [MonthSum(*row) for row in found]


def movements_of_kind(
    account_kind: str,
    *,
    effective_from: datetime | None = None,
    effective_at: datetime | None = None,
    known_at: datetime | None = None,
) -> list[Movement]:
    """What moved the customers' accounts of a kind within [effective_from, effective_at], both included."""
    parameters = {"kind": account_kind, "effective_from": effective_from}
    found = _rows(_MOVEMENTS, parameters, effective_at=effective_at, known_at=known_at)
    return [Movement(*row) for row in found]


def _rows(
    sql: str, parameters: Mapping[str, Any], *, effective_at: datetime | None, known_at: datetime | None
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {**parameters, "effective_at": effective_at, "known_at": known_at})
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


_CHANGE = "CASE account.normal_side WHEN 'D' THEN posting.amount ELSE -posting.amount END"
_POSTED = """
    FROM ledger_account AS account
    JOIN ledger_posting AS posting ON posting.account_id = account.id
    JOIN ledger_journalentry AS entry ON entry.id = posting.entry_id
"""
_WITHIN = """
      AND (%(effective_at)s::timestamptz IS NULL OR entry.effective_at <= %(effective_at)s::timestamptz)
      AND (%(known_at)s::timestamptz IS NULL OR entry.recorded_at <= %(known_at)s::timestamptz)
"""
_SINCE = "AND (%(effective_from)s::timestamptz IS NULL OR entry.effective_at >= %(effective_from)s::timestamptz)"

_BY_CAUSE = f"""
    SELECT account.customer_key, account.currency,
           coalesce(entry.cause ->> %(cause)s, mirrored.cause ->> %(cause)s, '') AS cause, sum({_CHANGE})
    {_POSTED}
    LEFT JOIN ledger_journalentry AS mirrored ON mirrored.id = entry.reverses_id
    WHERE account.kind = %(kind)s AND account.customer_key IS NOT NULL
      AND (%(customer_key)s::text IS NULL OR account.customer_key = %(customer_key)s::text)
      {_WITHIN}
    GROUP BY 1, 2, 3 HAVING sum(posting.amount) <> 0
    ORDER BY 1, 2, 3
"""

_OF_ACCOUNT_BY_CAUSE = f"""
    SELECT coalesce(entry.cause ->> %(cause)s, mirrored.cause ->> %(cause)s) AS cause, sum({_CHANGE})
    {_POSTED}
    LEFT JOIN ledger_journalentry AS mirrored ON mirrored.id = entry.reverses_id
    WHERE account.code = %(code)s AND coalesce(entry.cause ->> %(cause)s, mirrored.cause ->> %(cause)s) IS NOT NULL
      {_WITHIN}
    GROUP BY 1 HAVING sum(posting.amount) <> 0
"""

_BY_ACCOUNT = f"""
    SELECT account.code, account.kind, account.currency, account.customer_key, sum({_CHANGE})
    {_POSTED}
    WHERE account.kind = %(kind)s AND account.customer_key IS NOT NULL {_WITHIN}
    GROUP BY account.id HAVING sum(posting.amount) <> 0
    ORDER BY account.code
"""

_BY_KIND = f"""
    SELECT kind, currency, coalesce(sum(held) FILTER (WHERE held > 0), 0),
           coalesce(sum(held) FILTER (WHERE held < 0), 0)
    FROM (
        SELECT account.kind, account.currency, sum({_CHANGE}) AS held
        {_POSTED}
        WHERE account.kind = ANY(%(kinds)s) {_WITHIN}
        GROUP BY account.id
    ) AS accounts
    GROUP BY kind, currency
    ORDER BY kind, currency
"""

_BY_MONTH = f"""
    SELECT account.kind, account.currency, date_trunc('month', entry.effective_at AT TIME ZONE 'UTC')::date AS month,
           coalesce(sum({_CHANGE}) FILTER (WHERE {_CHANGE} > 0), 0),
           coalesce(sum({_CHANGE}) FILTER (WHERE {_CHANGE} < 0), 0)
    {_POSTED}
    WHERE account.kind = ANY(%(kinds)s) {_WITHIN} {_SINCE}
    GROUP BY 1, 2, 3
    ORDER BY 3, 1, 2
"""

_MOVEMENTS = f"""
    SELECT code, currency, kind, is_reversal, is_later_line, sum(change), max(happened_at)
    FROM (
        SELECT account.code, account.currency, entry.kind, entry.reverses_id IS NOT NULL AS is_reversal,
               lag(posting.line_no) OVER lines IS NOT NULL AS is_later_line, {_CHANGE} AS change,
               coalesce((entry.cause ->> 'occurred_at')::timestamptz, entry.effective_at) AS happened_at
        {_POSTED}
        WHERE account.kind = %(kind)s AND account.customer_key IS NOT NULL {_WITHIN} {_SINCE}
        WINDOW lines AS (PARTITION BY posting.account_id, posting.entry_id ORDER BY posting.line_no)
    ) AS line
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 3, 4, 5
"""
