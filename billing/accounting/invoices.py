"""The entries of an invoice: finalised and voided, each once."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, prepaid_pending, receivable, system, unbilled
from billing.accounting.lines import ACTOR, signed_lines
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.rounding import from_minor
from ledger.operations import JournalEntryDraft, PostedEntry, post_journal_entry, reverse_journal_entry

Kind = InvoiceLine.Kind
Movement = tuple[str, Decimal]


class UnexplainedTotal(Exception):
    """The lines of an invoice do not add up to its figures: nothing is posted."""


def post_invoice_finalized(
    *, invoice: Invoice, lines: Sequence[InvoiceLine], finalized_at: datetime, recorded_at: datetime
) -> PostedEntry | None:
    """
    Post the finalised invoice, or return the entry that stands; None where nothing moves (a free invoice).

    Debit receivable with the total, of either sign, and enter each line: usage takes its exact amount out of unbilled
    and puts what rounding added into rounding; fees and one-offs are revenue; prepaid credit is owed until it is paid.
    A discount is given away, tax is owed to the authorities. Tax within a price is no revenue, so it is taken out of
    the revenue of the line, which for usage was accrued at the whole price. Raises UnexplainedTotal and LedgerError.
    """
    _require_explained(invoice, lines)
    draft_lines = signed_lines(
        (
            receivable(invoice.customer.customer_key, invoice.currency),
            from_minor(invoice.total_minor, invoice.currency),
        ),
        *(movement for line in lines for movement in _movements(line, invoice)),
    )
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
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_invoice_voided(
    *, finalized: PostedEntry, invoice: Invoice, voided_at: datetime, recorded_at: datetime
) -> PostedEntry:
    """
    Reverse the finalisation, once: the usage is unbilled again.

    What else moved the receivable comes back by an entry of its own: applied balance by Stripe's movement, credit notes
    and what was written off by their reversals.
    """
    return reverse_journal_entry(
        entry_id=finalized.id,
        effective_at=voided_at,
        recorded_at=recorded_at,
        actor=ACTOR,
        memo=f"Invoice {invoice.number} voided",
        cause={"invoice": invoice.stripe_invoice_id},
        moves_to_open_period=True,
    )


def _require_explained(invoice: Invoice, lines: Sequence[InvoiceLine]) -> None:
    """Compare the lines with the invoice's own figures. Raises UnexplainedTotal naming the first that parts."""
    discount = sum(line.discount_minor for line in lines)
    exclusive_tax = sum(line.exclusive_tax_minor for line in lines)
    tax = exclusive_tax + sum(line.inclusive_tax_minor for line in lines)
    figures = (
        ("total", sum(line.amount_minor for line in lines) - discount + exclusive_tax, invoice.total_minor),
        ("discount", discount, invoice.discount_minor),
        ("tax", tax, invoice.tax_minor),
    )
    for name, of_lines, of_invoice in figures:
        if of_lines != of_invoice:
            raise UnexplainedTotal(
                f"{invoice.stripe_invoice_id}: by its lines the {name} is {of_lines}, the invoice says {of_invoice}"
            )


def _movements(line: InvoiceLine, invoice: Invoice) -> Iterable[Movement]:
    """What one line moves: debits above zero, together minus what the line adds to the total."""
    key, currency = invoice.customer.customer_key, invoice.currency
    charged = from_minor(line.amount_minor, currency)
    inclusive_tax = from_minor(line.inclusive_tax_minor, currency)
    exclusive_tax = from_minor(line.exclusive_tax_minor, currency)
    match line.kind:
        case Kind.USAGE:
            yield unbilled(key, currency), -line.exact_amount
            yield system("rounding", currency), -line.rounding
            yield system("revenue:usage", currency), inclusive_tax
        case Kind.FEE:
            yield system("revenue:subscription", currency), inclusive_tax - charged
        case Kind.ONE_OFF:
            yield system("revenue:other", currency), inclusive_tax - charged
        case Kind.PREPAID:
            yield prepaid_pending(key, currency), inclusive_tax - charged
        case Kind.COVERAGE:
            pass
        case Kind.BROUGHT_IN:  # what it credited is in the books of before, its discount and tax with it
            added = charged - from_minor(line.discount_minor, currency) + exclusive_tax
            yield system("opening", currency), -added
            return
        case unknown:
            raise UnexplainedTotal(f"{invoice.stripe_invoice_id}: a line of kind {unknown} cannot be entered")
    yield system("contra:promotions", currency), from_minor(line.discount_minor, currency)
    yield system("tax:payable", currency), -(exclusive_tax + inclusive_tax)
