"""The ledger's entry of usage: what it cost, and from where it is paid (DESIGN §5, first row)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from billing.accounting import chart
from ledger.operations import JournalEntryDraft, Line, PostedEntry, post_journal_entry
from promotions.queries import grant_account, source_account


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageChange:
    """
    The change of one period's usage, in currency units: rated = included + Σ by_grant + unbilled, each of either sign.

    `restored` is the part of `by_grant` that concerns grants that have ended: there is nothing left on them to take,
    and nothing may be left on them after. `paid_grants` are those of them that a customer had paid.
    """

    rated: Decimal
    included: Decimal
    unbilled: Decimal
    by_grant: Mapping[int, Decimal] = field(default_factory=dict)
    restored: Mapping[int, Decimal] = field(default_factory=dict)
    paid_grants: frozenset[int] = frozenset()


def post_usage_accrued(
    change: UsageChange,
    *,
    customer_key: str,
    currency: str,
    period_id: int,
    revision: int,
    effective_at: datetime,
    recorded_at: datetime,
    actor: str,
) -> PostedEntry | None:
    """
    Debit what pays for the usage, credit revenue:usage. None when no account moves.

    A grant that has ended is restored for what is taken late, and expired again for what comes back, in this same
    entry: its account ends where it stood. That is out of contra:promotions, or of breakage where the customer paid.
    """
    lines = _lines(change, customer_key=customer_key, currency=currency)
    if not lines:
        return None
    draft = JournalEntryDraft(
        idempotency_key=f"accrual:{period_id}:{revision}",
        kind=chart.Entry.USAGE_ACCRUED,
        lines=lines,
        effective_at=effective_at,
        actor=actor,
        cause={"period": str(period_id), "revision": str(revision)},
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_usage_absorbed(
    *,
    idempotency_key: str,
    customer_key: str,
    currency: str,
    period_id: int,
    amount: Decimal,
    effective_at: datetime,
    recorded_at: datetime,
    actor: str,
    reason: str,
) -> PostedEntry | None:
    """
    Nobody is asked for this usage any more: debit contra:adjustments, credit unbilled. None for an amount of zero.

    `amount` is exact and of either sign: usage that was billed too high and given up turns the entry round.
    """
    if not amount:
        return None
    draft = JournalEntryDraft(
        idempotency_key=f"usage_absorbed:{idempotency_key}",
        kind=chart.Entry.USAGE_ABSORBED,
        lines=(
            Line(chart.system("contra:adjustments", currency), amount),
            Line(chart.unbilled(customer_key, currency), -amount),
        ),
        effective_at=effective_at,
        actor=actor,
        cause={"period": str(period_id)},
        memo=reason,
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def _lines(change: UsageChange, *, customer_key: str, currency: str) -> tuple[Line, ...]:
    debits = [
        (chart.system("contra:included", currency), change.included),
        *((grant_account(grant_id), amount) for grant_id, amount in sorted(change.by_grant.items())),
        (chart.unbilled(customer_key, currency), change.unbilled),
        (chart.system("revenue:usage", currency), -change.rated),
    ]
    for grant_id, amount in sorted(change.restored.items()):
        source = source_account(is_paid=grant_id in change.paid_grants, currency=currency)
        debits += [(source, amount), (grant_account(grant_id), -amount)]
    return tuple(Line(account, amount) for account, amount in debits if amount)
