"""
What took effect in a span of time on some accounts: the sums by day, and the lines in their order, page by page or as
a stream. `statements.py` makes statements of it.

Amounts here are signed, debits above zero. No index knows when a posting took effect: it would cost every posting.
`reach.py` says between which entries of the journal, and which versions of the accounts, those of the span lie.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection

from ledger.drafts import canonical_instant, require_aware
from ledger.exact import opposite, total
from ledger.models import Account, Side
from ledger.queries.reach import Reach, reach_of, whole_journal

# Where a row of _LINES has its cause, as JSON.
_CAUSE = 8
# How many lines of a stream are held at once.
STREAMED_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Span:
    """
    What takes effect in [effective_from, effective_before), of what had been recorded up to `known_at`, included.

    `known_at` left out: of everything that is recorded. Raises ValueError: if an instant has no zone, or the span ends
    before it begins.
    """

    effective_from: datetime
    effective_before: datetime
    known_at: datetime | None = None

    def __post_init__(self) -> None:
        for instant in (self.effective_from, self.effective_before, self.known_at):
            if instant is not None:
                require_aware(instant)
        if self.effective_before < self.effective_from:
            raise ValueError("A span cannot end before it begins.")


@dataclass(frozen=True, slots=True)
class StatedAccount:
    """An account as statements speak of it. `normal_side` is "D" or "C"."""

    id: int
    code: str
    kind: str
    currency: str
    customer_key: str
    normal_side: str
    keeps_balance: bool

    @classmethod
    def of(cls, account: Account) -> "StatedAccount":
        return cls(
            id=account.pk,
            code=account.code,
            kind=account.kind,
            currency=account.currency,
            customer_key=account.customer_key or "",
            normal_side=account.normal_side,
            keeps_balance=account.keeps_balance,
        )

    def normal(self, amount: Decimal) -> Decimal:
        """From debits above zero to the account's normal direction, and back."""
        return amount if self.normal_side == Side.DEBIT else opposite(amount)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a statement, by what its lines are ordered by. `line_no` 0: before the first line of the entry."""

    effective_at: datetime
    entry_id: int
    line_no: int

    def __str__(self) -> str:
        instant = canonical_instant(self.effective_at).replace("+00:00", "Z")  # a plus is a space in an address
        return f"{instant}_{self.entry_id}_{self.line_no}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """
        The position that was written as this text.

        :raises ValueError: if none was.
        """
        instant, entry_id, line_no = text.split("_")
        position = cls(datetime.fromisoformat(instant), int(entry_id), int(line_no))
        require_aware(position.effective_at)
        return position


@dataclass(frozen=True, slots=True)
class DaySum:
    """What was debited and credited to one account on one day in UTC, and in how many lines."""

    account_id: int
    day: date
    debit: Decimal
    credit: Decimal
    line_count: int


@dataclass(frozen=True, slots=True)
class Sums:
    """By account: what it held when the span began (debits above zero); and its movements, by day."""

    opening: Mapping[int, Decimal]
    days: Sequence[DaySum]


@dataclass(frozen=True, slots=True)
class SpanLine:
    """
    One posting in a span. Exactly one of debit and credit is not None.

    `number` counts the lines of the span from 1; `moved` is the sum of its amounts up to here, this one included.
    """

    number: int
    account_id: int
    entry_id: int
    line_no: int
    kind: str
    memo: str
    effective_at: datetime
    recorded_at: datetime
    cause: Mapping[str, str]
    amount: Decimal
    moved: Decimal

    @property
    def debit(self) -> Decimal | None:
        return self.amount if self.amount > 0 else None

    @property
    def credit(self) -> Decimal | None:
        return self.amount.copy_negate() if self.amount < 0 else None

    @property
    def position(self) -> Position:
        return Position(self.effective_at, self.entry_id, self.line_no)


def reach(accounts: Sequence[StatedAccount], span: Span) -> Reach:
    """What of the journal has to be read for the lines of the span."""
    return reach_of(_keeping(accounts), effective_from=span.effective_from, effective_before=span.effective_before)


def counts_back(span: Span, within: Reach) -> bool:
    """Whether `sums` starts from what accounts hold now. Nobody wrote down what they held as known at an instant."""
    return span.known_at is None and within.is_late


def sums(accounts: Sequence[StatedAccount], span: Span, *, within: Reach, held_now: Mapping[int, Decimal]) -> Sums:
    """
    Openings and daily movements of the accounts.

    An opening is the sum of what took effect before; or, of all that is recorded and late in the journal, what the
    account holds now (`held_now`, debits above zero) without what took effect since. The two are equal.
    """
    backwards = counts_back(span, within)
    opening = {account.id: held_now[account.id] if backwards else Decimal(0) for account in accounts}
    days = []
    with connection.cursor() as cursor:
        read = within.open_ended() if backwards else whole_journal(_keeping(accounts))
        cursor.execute(_sums_sql(accounts, span, backwards=backwards), _parameters(accounts, span, read))
        for account_id, day, debit, credit, line_count in cursor.fetchall():
            if backwards:
                opening[account_id] = total((opening[account_id], credit, debit.copy_negate()))
            elif day is None:
                opening[account_id] = total((opening[account_id], debit, credit.copy_negate()))
            if day is not None:
                days.append(DaySum(account_id, day, debit, credit, line_count))
    return Sums(opening, days)


def page(
    accounts: Sequence[StatedAccount],
    span: Span,
    *,
    within: Reach,
    limit: int,
    after: Position | None,
    before: Position | None,
    whole_entries: bool,
) -> list[SpanLine]:
    """
    The first `limit` lines after a position or, if `before` is given, the last ones before it; in their order.

    `whole_entries`: as many more as the entry of the last one has.
    """
    mark = before or after
    parameters = {**_parameters(accounts, span, within), "limit": limit, **_mark(mark)}
    with connection.cursor() as cursor:
        cursor.execute(
            _lines_sql(accounts, span, whole_entries=whole_entries, backwards=before is not None, mark=mark), parameters
        )
        return [_line(row) for row in cursor.fetchall()]


def stream(accounts: Sequence[StatedAccount], span: Span, *, within: Reach) -> Iterator[SpanLine]:
    """All lines in their order, never more than STREAMED_AT_ONCE in memory. To be read inside `one_look`."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(_all_lines_sql(accounts, span), _parameters(accounts, span, within))
        while rows := cursor.fetchmany(STREAMED_AT_ONCE):
            yield from (_line(row) for row in rows)


def _line(row: tuple[Any, ...]) -> SpanLine:
    told: list[Any] = list(row)
    told[_CAUSE] = msgspec.json.decode(told[_CAUSE], type=dict[str, str])
    return SpanLine(*told)


def _keeping(accounts: Sequence[StatedAccount]) -> list[int]:
    return [account.id for account in accounts if account.keeps_balance]


def _arms(accounts: Sequence[StatedAccount]) -> str:
    """The postings of the accounts that are within reach, each by the index that its account has."""
    keeping = len(_keeping(accounts))
    arms = []
    if keeping:
        # One account is named, so that the planner knows how much there is to read.
        arms.append(_KEEPING_ONE if keeping == 1 else _KEEPING_MANY)
    if keeping < len(accounts):
        arms.append(_SYSTEM)
    return " UNION ALL ".join(arms)


def _parameters(accounts: Sequence[StatedAccount], span: Span, within: Reach) -> dict[str, Any]:
    keeping = _keeping(accounts)
    since, until = [within.since[account] for account in keeping], [within.until[account] for account in keeping]
    one = {"account": keeping[0], "since": since[0], "until": until[0]} if len(keeping) == 1 else {}
    return {
        **one,
        "keeping": keeping,
        "keeping_since": since,
        "keeping_until": until,
        "system": [account.id for account in accounts if not account.keeps_balance],
        "first_entry": within.first_entry,
        "last_entry": within.last_entry,
        "effective_from": span.effective_from,
        "effective_before": span.effective_before,
        "known_at": span.known_at,
    }


def _mark(position: Position | None) -> dict[str, Any]:
    if position is None:
        return {}
    return {"at": position.effective_at, "entry": position.entry_id, "line": position.line_no}


def _sums_sql(accounts: Sequence[StatedAccount], span: Span, *, backwards: bool) -> str:
    if backwards:
        return _SUMS.format(
            postings=_arms(accounts),
            within="entry.effective_at < %(effective_before)s",
            condition="entry.effective_at >= %(effective_from)s",
        )
    return _SUMS.format(
        postings=_arms(accounts),
        within="entry.effective_at >= %(effective_from)s",
        condition=f"entry.effective_at < %(effective_before)s {_known(span)}",
    )


def _known(span: Span) -> str:
    return "" if span.known_at is None else "AND entry.recorded_at <= %(known_at)s"


def _all_lines_sql(accounts: Sequence[StatedAccount], span: Span) -> str:
    return _LINES.format(
        postings=_arms(accounts),
        known=_known(span),
        chosen="SELECT * FROM line",
    )


def _lines_sql(
    accounts: Sequence[StatedAccount], span: Span, *, whole_entries: bool, backwards: bool, mark: Position | None
) -> str:
    key = ["effective_at", "entry_id"] if whole_entries else ["effective_at", "entry_id", "line_no"]
    marked = ["%(at)s", "%(entry)s"] if whole_entries else ["%(at)s", "%(entry)s", "%(line)s"]
    side, direction = ("<", "DESC") if backwards else (">", "ASC")
    where = "" if mark is None else f"WHERE ({', '.join(key)}) {side} ({', '.join(marked)})"
    order = ", ".join(f"{column} {direction}" for column in key)
    ties = "WITH TIES" if whole_entries else "ONLY"
    return _LINES.format(
        postings=_arms(accounts),
        known=_known(span),
        chosen=f"SELECT * FROM line {where} ORDER BY {order} FETCH FIRST %(limit)s ROWS {ties}",
    )


_KEEPING_ONE = """
    SELECT entry_id, line_no, account_id, amount FROM ledger_posting
    WHERE account_id = %(account)s AND account_version > %(since)s AND account_version <= %(until)s
"""
_KEEPING_MANY = """
    SELECT posting.entry_id, posting.line_no, posting.account_id, posting.amount
    FROM unnest(%(keeping)s::bigint[], %(keeping_since)s::bigint[], %(keeping_until)s::bigint[])
        AS kept (account_id, since, until)
    JOIN ledger_posting AS posting ON posting.account_id = kept.account_id
        AND posting.account_version > kept.since AND posting.account_version <= kept.until
"""
_SYSTEM = """
    SELECT entry_id, line_no, account_id, amount FROM ledger_posting
    WHERE account_id = ANY (%(system)s) AND account_version IS NULL
      AND entry_id >= %(first_entry)s AND entry_id <= %(last_entry)s
"""

_SUMS = """
    SELECT posting.account_id,
           CASE WHEN {within} THEN (entry.effective_at AT TIME ZONE 'UTC')::date END AS day,
           coalesce(sum(posting.amount) FILTER (WHERE posting.amount > 0), 0),
           coalesce(-sum(posting.amount) FILTER (WHERE posting.amount < 0), 0),
           count(*)
    FROM ({postings}) AS posting JOIN ledger_journalentry AS entry ON entry.id = posting.entry_id
    WHERE {condition}
    GROUP BY posting.account_id, day
    ORDER BY day, posting.account_id
"""

# Narrow until it is known which lines are wanted: the sort does not carry memos and causes.
_LINES = """
    WITH line AS (
        SELECT entry.effective_at, posting.entry_id, posting.line_no, posting.account_id, posting.amount,
               row_number() OVER in_order AS number, sum(posting.amount) OVER in_order AS moved
        FROM ({postings}) AS posting JOIN ledger_journalentry AS entry ON entry.id = posting.entry_id
        WHERE entry.effective_at >= %(effective_from)s AND entry.effective_at < %(effective_before)s {known}
        WINDOW in_order AS (
            ORDER BY entry.effective_at, posting.entry_id, posting.line_no ROWS UNBOUNDED PRECEDING)
    )
    SELECT line.number, line.account_id, line.entry_id, line.line_no, entry.kind, entry.memo, line.effective_at,
           entry.recorded_at, entry.cause, line.amount, line.moved
    FROM ({chosen}) AS line JOIN ledger_journalentry AS entry ON entry.id = line.entry_id
    ORDER BY line.effective_at, line.entry_id, line.line_no
"""
