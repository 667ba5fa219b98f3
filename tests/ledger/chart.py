"""A small chart for the ledger's own tests: two customers, a grant, three system accounts."""

from datetime import UTC, datetime
from decimal import Decimal

from ledger.operations import AccountSpec, JournalEntryDraft, Line, PostedEntry, credit, debit, post_journal_entry

FIRST = datetime(2026, 10, 1, tzinfo=UTC)
THIRD = datetime(2026, 10, 3, tzinfo=UTC)

UNBILLED = "unbilled:acme:USD"
RECEIVABLE = "receivable:acme:USD"
GRANT = "grant:1"
OTHERS_UNBILLED = "unbilled:zeta:USD"
REVENUE = "revenue:usage:USD"
PROMOTIONS = "contra:promotions:USD"
FX_USD = "fx:USD"
FX_EUR = "fx:EUR"

SPECS = (
    AccountSpec(UNBILLED, "unbilled", "USD", "D", "acme"),
    AccountSpec(RECEIVABLE, "receivable", "USD", "D", "acme"),
    AccountSpec(GRANT, "grant", "USD", "C", "acme", floor=Decimal(0)),
    AccountSpec(OTHERS_UNBILLED, "unbilled", "USD", "D", "zeta"),
    AccountSpec(REVENUE, "revenue", "USD", "C", keeps_balance=False),
    AccountSpec(PROMOTIONS, "contra", "USD", "D", keeps_balance=False),
    AccountSpec(FX_USD, "fx", "USD", "D", keeps_balance=False),
    AccountSpec(FX_EUR, "fx", "EUR", "D", keeps_balance=False),
)


def draft(
    key: str,
    *lines: Line,
    kind: str = "usage_accrued",
    effective_at: datetime = FIRST,
    cause: dict[str, str] | None = None,
) -> JournalEntryDraft:
    return JournalEntryDraft(
        idempotency_key=key,
        kind=kind,
        lines=lines,
        effective_at=effective_at,
        actor="system:test",
        cause=cause or {},
    )


def accrual(key: str, amount: str, account: str = UNBILLED) -> JournalEntryDraft:
    """Usage of `amount` dollars that no grant covered."""
    return draft(key, debit(account, Decimal(amount)), credit(REVENUE, Decimal(amount)))


def burn(key: str, amount: str) -> JournalEntryDraft:
    """Usage of `amount` dollars taken from the grant."""
    return draft(key, debit(GRANT, Decimal(amount)), credit(REVENUE, Decimal(amount)))


def issue(key: str, amount: str) -> JournalEntryDraft:
    """`amount` dollars put into the grant."""
    return draft(key, debit(PROMOTIONS, Decimal(amount)), credit(GRANT, Decimal(amount)), kind="grant_issued")


def post(entry: JournalEntryDraft) -> PostedEntry:
    return post_journal_entry(entry, recorded_at=FIRST)
