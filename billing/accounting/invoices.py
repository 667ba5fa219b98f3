"""The entries of an invoice: finalised, voided, and what moved between it and the customer's balance at Stripe."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, balance, receivable, system, total, unbilled
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.rounding import from_minor
from ledger.operations import JournalEntryDraft, Line, PostedEntry, post_journal_entry, reverse_journal_entry

ACTOR = "service:stripe"
Kind = InvoiceLine.Kind


class UnexplainedTotal(Exception):
    """The lines of an invoice do not add up to its total: nothing is posted."""


def post_invoice_finalized(
    *, invoice: Invoice, lines: Sequence[InvoiceLine], finalized_at: datetime, recorded_at: datetime
) -> PostedEntry | None:
    """
    Post the finalised invoice, or return the entry that stands; None where nothing moves (a free invoice).

    Debit receivable with the total; each usage line takes its exact amount out of unbilled and puts what rounding
    added into rounding; fees and one-offs are revenue. Raises UnexplainedTotal and LedgerError.
    """
    charged = sum(line.amount_minor for line in lines)
    if charged != invoice.total_minor:
        raise UnexplainedTotal(f"{invoice.stripe_invoice_id}: lines are {charged}, the total is {invoice.total_minor}")
    draft_lines = _finalized_lines(invoice, lines)
    if not draft_lines:
        return None
    draft = JournalEntryDraft(
        idempotency_key=f"invoice_finalized:{invoice.stripe_invoice_id}",
        kind=Entry.INVOICE_FINALIZED,
        lines=draft_lines,
        effective_at=finalized_at,
        actor=ACTOR,
        cause={"invoice": invoice.stripe_invoice_id},
        memo=f"Invoice {invoice.number} finalised",
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_invoice_voided(
    *, finalized: PostedEntry, invoice: Invoice, voided_at: datetime, recorded_at: datetime
) -> None:
    """Reverse the finalisation, once: the usage is unbilled again. What was applied comes back by its own movement."""
    reverse_journal_entry(
        entry_id=finalized.id,
        effective_at=voided_at,
        recorded_at=recorded_at,
        actor=ACTOR,
        memo=f"Invoice {invoice.number} voided",
        cause={"invoice": invoice.stripe_invoice_id},
    )


def _finalized_lines(invoice: Invoice, lines: Sequence[InvoiceLine]) -> tuple[Line, ...]:
    key, currency = invoice.customer.customer_key, invoice.currency
    usage = [line for line in lines if line.kind == Kind.USAGE]
    return signed_lines(
        (receivable(key, currency), from_minor(invoice.total_minor, currency)),
        (unbilled(key, currency), -total(line.exact_amount for line in usage)),
        (system("rounding", currency), -total(line.rounding for line in usage)),
        (system("revenue:subscription", currency), -_charged(lines, Kind.FEE, currency)),
        (system("revenue:other", currency), -_charged(lines, Kind.ONE_OFF, currency)),
    )


def _charged(lines: Iterable[InvoiceLine], kind: str, currency: str) -> Decimal:
    return total(from_minor(line.amount_minor, currency) for line in lines if line.kind == kind)


def signed_lines(*movements: tuple[str, Decimal]) -> tuple[Line, ...]:
    """One line for each account that moves: above zero a debit, below zero a credit; two of one account are added."""
    sums: dict[str, Decimal] = {}
    for code, amount in movements:
        sums[code] = sums.get(code, Decimal(0)) + amount
    return tuple(Line(code, amount) for code, amount in sums.items() if amount)


# --- customer balance -------------------------------------------------------------------------------------------------

# What stands on the other side of a movement on the customer's balance. The rest is not known here: suspense.
_INVOICE_MOVEMENTS = frozenset(
    {"applied_to_invoice", "unapplied_from_invoice", "invoice_too_small", "invoice_too_large", "invoice_overpaid"}
)
_OTHER_SIDE = {"adjustment": "contra:adjustments", "credit_note": "contra:refunds"}


def customer_balance_draft(
    *, stripe_id: str, movement: str, customer_key: str, amount: Decimal, currency: str, occurred_at: datetime
) -> JournalEntryDraft:
    """
    The entry of one movement on a customer's balance at Stripe.

    `amount` has Stripe's sign: above zero the customer owes more (or has less credit), so our liability falls.
    """
    if movement in _INVOICE_MOVEMENTS:
        other = receivable(customer_key, currency)
    else:
        other = system(_OTHER_SIDE.get(movement, "suspense"), currency)
    return JournalEntryDraft(
        idempotency_key=f"customer_balance:{stripe_id}",
        kind=Entry.CUSTOMER_BALANCE,
        lines=signed_lines((balance(customer_key, currency), amount), (other, -amount)),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"customer_balance_transaction": stripe_id},
        memo=f"Customer balance: {movement.replace('_', ' ')}",
    )
