"""
Every way the ledger can change. Each is one call of a function of the database's owner (sql/0003_posting.sql).

All join the caller's transaction; callers wrap what belongs together in `transaction.atomic()`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import psycopg
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.utils import DatabaseError

from ledger.drafts import (
    AccountSpec,
    JournalEntryDraft,
    Line,
    canonical_instant,
    credit,
    debit,
    digest,
    plain_amount,
    require_aware,
    require_free_cause,
)
from ledger.errors import (
    ERROR_BY_RULE,
    AccountClosed,
    AccountConflict,
    AccountNotEmpty,
    AlreadyReversed,
    CurrencyMismatch,
    EmptyEntry,
    IdempotencyConflict,
    InsufficientBalance,
    InvalidAmount,
    LedgerError,
    PeriodClosed,
    RecordedBeforeSeal,
    UnbalancedEntry,
    UnknownAccount,
    UnknownEntry,
)

__all__ = [
    "AccountClosed",
    "AccountConflict",
    "AccountNotEmpty",
    "AccountSpec",
    "AlreadyReversed",
    "CurrencyMismatch",
    "EmptyEntry",
    "IdempotencyConflict",
    "InsufficientBalance",
    "InvalidAmount",
    "JournalEntryDraft",
    "LedgerError",
    "Line",
    "PeriodClosed",
    "PostedEntry",
    "RecordedBeforeSeal",
    "RefusedEntry",
    "UnbalancedEntry",
    "UnknownAccount",
    "UnknownEntry",
    "close_account",
    "credit",
    "debit",
    "open_accounts",
    "post_journal_entries",
    "post_journal_entry",
    "reverse_journal_entry",
]


@dataclass(frozen=True, slots=True)
class PostedEntry:
    """The entry that stands in the journal. `created` is False if its key had recorded it before."""

    id: int
    created: bool


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """A draft that was not posted, and changed nothing. `rule` is the database's name for the reason."""

    idempotency_key: str
    error: LedgerError

    @property
    def rule(self) -> str:
        return self.error.rule


def open_accounts(specs: Sequence[AccountSpec]) -> None:
    """
    Open the accounts that are not open yet; all or none.

    :raises AccountConflict: if a code is open with other properties.
    """
    if not specs:
        return
    payload = msgspec.json.encode([_account_body(spec) for spec in specs]).decode()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT ledger_open_accounts(%s::jsonb)", [payload])
    except DatabaseError as error:
        if _broken_rule(error) == AccountConflict.rule:
            raise AccountConflict(_primary_message(error)) from error
        raise


def close_account(*, code: str, closed_at: datetime) -> None:
    """
    Close an empty account, so that nothing can be posted to it again. Closing it twice is nothing.

    :raises UnknownAccount: if there is none with this code.
    :raises AccountNotEmpty: if it holds value, or is a system account that keeps no balance.
    """
    require_aware(closed_at)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT ledger_close_account(%s, %s)", [code, closed_at])
            (closed,) = cursor.fetchone()
    except DatabaseError as error:
        if _broken_rule(error) == AccountNotEmpty.rule:
            raise AccountNotEmpty(code) from error
        raise
    if not closed:
        raise UnknownAccount(code)


def post_journal_entry(draft: JournalEntryDraft, *, recorded_at: datetime) -> PostedEntry:
    """
    Record one balanced entry and move the balances it touches. A repeat returns the first entry.

    :raises UnbalancedEntry: if debits and credits differ in a currency (EmptyEntry: fewer than two lines).
    :raises CurrencyMismatch: if it moves more than one currency and its kind is not "fx" or "fx_…".
    :raises UnknownAccount, AccountClosed: if a line names such an account.
    :raises InvalidAmount: if an amount does not fit numeric(38,12) exactly.
    :raises InsufficientBalance: if an account would pass its floor.
    :raises PeriodClosed: if it happened in a closed period and does not move to the open one.
    :raises IdempotencyConflict: if the key recorded another body.
    :raises RecordedBeforeSeal: if recorded_at lies before the last seal.
    """
    (outcome,) = post_journal_entries([draft], recorded_at=recorded_at)
    if isinstance(outcome, RefusedEntry):
        raise outcome.error
    return outcome


def post_journal_entries(
    drafts: Sequence[JournalEntryDraft], *, recorded_at: datetime
) -> list[PostedEntry | RefusedEntry]:
    """
    Record many entries in one round trip, with the outcome of each in the order of the drafts.

    The same as posting them one by one: a refused draft changes nothing and does not stop those after it.

    :raises RecordedBeforeSeal: if recorded_at lies before the last seal. Nothing is recorded then.
    """
    require_aware(recorded_at)
    if not drafts:
        return []
    bodies = [_entry_body(draft) for draft in drafts]
    if len(bodies) == 1:
        rows = _post_one(bodies[0], recorded_at)
    else:
        with _cursor_for_large_parameters() as cursor:
            payload = msgspec.json.encode(bodies).decode()
            cursor.execute("SELECT * FROM ledger_post_entries(%s::jsonb, %s)", [payload, recorded_at])
            rows = cursor.fetchall()
    return [_outcome(draft.idempotency_key, row) for draft, row in zip(drafts, rows, strict=True)]


def reverse_journal_entry(
    *,
    entry_id: int,
    effective_at: datetime,
    recorded_at: datetime,
    actor: str,
    memo: str,
    cause: Mapping[str, str],
    moves_to_open_period: bool = False,
) -> PostedEntry:
    """
    Post the mirror image of an entry, of the same kind, so that together they move nothing.

    The same reversal said twice (same effective_at and cause) returns the first. `moves_to_open_period` is that of
    JournalEntryDraft.

    :raises UnknownEntry: if there is none with this id.
    :raises AlreadyReversed: if another reversal of the entry stands.
    :raises InsufficientBalance: if what the entry gave has been used.
    :raises AccountClosed: if one of its accounts is closed.
    :raises PeriodClosed: if effective_at lies in a closed period and the reversal does not move to the open one.
    :raises RecordedBeforeSeal: if recorded_at lies before the last seal.
    """
    require_aware(effective_at)
    require_aware(recorded_at)
    require_free_cause(cause)
    instant = canonical_instant(effective_at)
    body = {
        "memo": memo,
        "effective_at": instant,
        "actor": actor,
        "cause": dict(cause),
        "body_digest": "\\x" + digest(["reverses", entry_id, instant, sorted(cause.items())]),
        "moves_to_open_period": moves_to_open_period,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM ledger_reverse_entry(%s, %s::jsonb, %s)",
            [entry_id, msgspec.json.encode(body).decode(), recorded_at],
        )
        row = cursor.fetchone()
    if row is None:
        raise UnknownEntry(str(entry_id))
    outcome = _outcome(f"reversal:{entry_id}", row)
    if isinstance(outcome, RefusedEntry):
        if isinstance(outcome.error, IdempotencyConflict):
            raise AlreadyReversed(str(entry_id)) from outcome.error
        raise outcome.error
    return outcome


def _post_one(body: dict[str, object], recorded_at: datetime) -> list[tuple[Any, ...]]:
    payload = msgspec.json.encode(body).decode()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM ledger_post_entry(%s::jsonb, %s)", [payload, recorded_at])
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    except DatabaseError as error:
        # A seal that came in after the function's own look for it: the rule refuses, and with it the transaction.
        if _broken_rule(error) == RecordedBeforeSeal.rule:
            raise RecordedBeforeSeal(canonical_instant(recorded_at)) from error
        raise


def _cursor_for_large_parameters() -> CursorWrapper:
    """Sends parameters beside the statement. Django's own cursor writes them into it, for the SQL parser to read."""
    connection.ensure_connection()
    return CursorWrapper(psycopg.Cursor(connection.connection), connection)


def _account_body(spec: AccountSpec) -> dict[str, object]:
    return {
        "code": spec.code,
        "kind": spec.kind,
        "currency": spec.currency,
        "normal_side": spec.normal_side,
        "customer_key": spec.customer_key or None,
        "floor": None if spec.floor is None else plain_amount(spec.floor),
        "keeps_balance": spec.keeps_balance,
    }


def _entry_body(draft: JournalEntryDraft) -> dict[str, object]:
    effective_at, lines = canonical_instant(draft.effective_at), draft.plain_lines()
    return {
        "idempotency_key": draft.idempotency_key,
        "kind": draft.kind,
        "memo": draft.memo,
        "effective_at": effective_at,
        "actor": draft.actor,
        "cause": dict(draft.cause),
        "body_digest": "\\x" + draft.digest_of(effective_at, lines),
        "moves_to_open_period": draft.moves_to_open_period,
        "lines": lines,
    }


def _outcome(
    idempotency_key: str, row: tuple[int, int | None, bool, str | None, str | None]
) -> PostedEntry | RefusedEntry:
    _, entry_id, created, rule, about = row
    if rule == RecordedBeforeSeal.rule:
        raise RecordedBeforeSeal(about or "")
    if rule is not None:
        return RefusedEntry(idempotency_key, ERROR_BY_RULE[rule](about or ""))
    if entry_id is None:
        raise RuntimeError(f"The ledger answered neither an entry nor a refusal for {idempotency_key}.")
    return PostedEntry(entry_id, created)


def _broken_rule(error: DatabaseError) -> str | None:
    """The name of the constraint or rule that the database refused by."""
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)


def _primary_message(error: DatabaseError) -> str:
    return getattr(getattr(error.__cause__, "diag", None), "message_primary", None) or str(error)
