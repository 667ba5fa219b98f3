"""
What answers look like. Amounts are decimal strings with every place they have, their currency beside them; instants
are RFC 3339 in UTC. `ledger/api/schema.py` describes the same shapes.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ledger import queries
from ledger.api.parameters import PointInTime
from ledger.drafts import plain_amount
from ledger.exact import total

Body = dict[str, Any]


def instant_text(instant: datetime | None) -> str | None:
    """Such as 2026-10-03T12:00:00.123456Z; whole seconds have no places."""
    return None if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def point_body(point: PointInTime) -> Body:
    return {"effective_at": instant_text(point.effective_at), "known_at": instant_text(point.known_at)}


def balance_body(*, account: str, kind: str, currency: str, balance: Decimal) -> Body:
    return {"account": account, "kind": kind, "currency": currency, "balance": plain_amount(balance)}


def line_body(line: queries.JournalLine) -> Body:
    return {
        "entry": line.entry_id,
        "line": line.line_no,
        "account": line.account,
        "account_kind": line.account_kind,
        "kind": line.kind,
        "memo": line.memo,
        "effective_at": instant_text(line.effective_at),
        "recorded_at": instant_text(line.recorded_at),
        "cause": dict(line.cause),
        "currency": line.currency,
        "debit": _amount(line.debit),
        "credit": _amount(line.credit),
        "balance_after": _amount(line.balance_after),
    }


def entry_body(entry: queries.Entry, *, addresses: Mapping[str, str | None]) -> Body:
    """`addresses`: where the entry itself, the one it reverses and the one that reversed it can be read."""
    return {
        "entry": entry.id,
        "idempotency_key": entry.idempotency_key,
        "kind": entry.kind,
        "memo": entry.memo,
        "effective_at": instant_text(entry.effective_at),
        "recorded_at": instant_text(entry.recorded_at),
        "actor": entry.actor,
        "cause": dict(entry.cause),
        "reverses": entry.reverses,
        "reversed_by": entry.reversed_by,
        "links": dict(addresses),
        "lines": [
            {
                "line": line.line_no,
                "account": line.account,
                "currency": line.currency,
                "debit": _amount(line.debit),
                "credit": _amount(line.credit),
            }
            for line in entry.lines
        ],
    }


def trial_balance_body(rows: Iterable[queries.TrialBalanceRow], *, point: PointInTime) -> Body:
    accounts, totals = [], dict[str, tuple[Decimal, Decimal]]()
    for row in rows:
        debit, credit = totals.get(row.currency, (Decimal(0), Decimal(0)))
        totals[row.currency] = (total((debit, row.debit)), total((credit, row.credit)))
        accounts.append(
            {
                "account": row.code,
                "currency": row.currency,
                "debit": plain_amount(row.debit),
                "credit": plain_amount(row.credit),
            }
        )
    return {
        **point_body(point),
        "totals": [
            {"currency": currency, "debit": plain_amount(debit), "credit": plain_amount(credit)}
            for currency, (debit, credit) in sorted(totals.items())
        ],
        "accounts": accounts,
    }


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else plain_amount(amount)
