"""What the pages of requests about invoices show: the entry that would be posted, who did what, what can be done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.accounting.chart import receivable, system
from billing.accounting.credit_notes import CreditedLine, GivenBack, credit_note_lines
from billing.accounting.lines import signed_lines
from billing.invoicing.models import Invoice
from billing.invoicing.requests import operations
from billing.invoicing.requests.models import InvoiceRequest
from billing.invoicing.requests.operations import why_waiting
from billing.invoicing.requests.terms import BALANCE, CREDIT_WAYS, USAGE_WAYS, Wanted, credited_parts, with_tax
from billing.invoicing.rounding import from_minor
from ledger import queries as ledger_queries
from ledger.operations import Line

Kind, State = InvoiceRequest.Kind, InvoiceRequest.State
May = Callable[[str], bool]
TONES = {"rejected": "bad", "withdrawn": "waiting"}


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """One line of the entry, in currency units, above zero."""

    account: str
    is_debit: bool
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Step:
    """One thing somebody did about a request."""

    at: datetime
    what: str
    who: str
    words: str
    tone: str


def preview(wanted: Wanted) -> list[PreviewLine]:
    """The entry this posts once Stripe did it; of a one-off without the tax, which Stripe alone works out."""
    currency, key = wanted.customer.currency, wanted.customer.customer_key
    amount = from_minor(wanted.amount_minor, currency)
    if wanted.kind == Kind.ONE_OFF:
        movements = ((receivable(key, currency), amount), (system("revenue:other", currency), -amount))
        return _shown(signed_lines(*movements))
    assert wanted.invoice is not None  # only a one-off is about none
    if wanted.kind == Kind.VOID:
        return _mirrored(wanted.invoice)
    return _shown(_credit_lines(wanted.invoice, wanted.terms, key=key))


def _credit_lines(invoice: Invoice, terms: Mapping[str, Any], *, key: str) -> tuple[Line, ...]:
    currency = invoice.currency
    rows = {row.pk: row for row in invoice.lines.all()}
    lines, total = [], 0
    for part in credited_parts(terms):
        net = with_tax(rows[part.line_id], part.amount_minor)
        total += net
        tax = from_minor(net - part.amount_minor, currency)
        lines.append(CreditedLine(amount=from_minor(part.amount_minor, currency), exclusive_tax=tax))
    before = min(total, invoice.amount_remaining_minor)
    after = from_minor(total - before, currency)
    is_balance = terms["way"] == BALANCE
    given_back = GivenBack(
        pre_payment=from_minor(before, currency),
        to_balance=after if is_balance else Decimal(0),
        refunded=Decimal(0) if is_balance else after,
    )
    return credit_note_lines(lines, given_back, customer_key=key, currency=currency)


def _mirrored(invoice: Invoice) -> list[PreviewLine]:
    entry = ledger_queries.entry_by_key(f"invoice_finalized:{invoice.stripe_invoice_id}")
    if entry is None or entry.reversed_by is not None:
        return []
    return [PreviewLine(line.account, line.amount < 0, abs(line.amount)) for line in entry.lines]


def _shown(lines: tuple[Line, ...]) -> list[PreviewLine]:
    return [PreviewLine(line.account, line.amount > 0, abs(line.amount)) for line in lines]


def facts(kind: str, terms: Mapping[str, Any], invoice: Invoice | None, currency: str) -> list[tuple[str, str, int]]:
    """What exactly is asked for: label, words, and an amount in minor units (0: none)."""
    if kind == Kind.ONE_OFF:
        return [(text, "" if is_taxed else "exempt from tax", amount) for text, amount, is_taxed in terms["lines"]]
    if kind == Kind.VOID:
        return [("Its usage", USAGE_WAYS[terms["usage"]], 0)]
    names = {} if invoice is None else dict(invoice.lines.values_list("pk", "description"))
    parts = [(names.get(part.line_id, str(part.line_id)), "", part.amount_minor) for part in credited_parts(terms)]
    return [*parts, ("Given back", CREDIT_WAYS[terms["way"]], 0)]


def sections(asked: InvoiceRequest, *, may: May, actor: str) -> Mapping[str, Any]:
    """Everything the page of one request shows."""
    decision = getattr(asked, "decision", None)
    is_waiting = asked.state == State.WAITING
    steps = [Step(asked.requested_at, "Asked for", _person(asked.requested_by), asked.reason, "plain")]
    if decision is not None:
        tone = TONES.get(decision.outcome, "good")
        by = _person(decision.decided_by)
        steps.append(Step(decision.decided_at, decision.get_outcome_display(), by, decision.words, tone))
    if asked.finished_at is not None and asked.state != State.CALLED_OFF:
        tone = "bad" if asked.state == State.REFUSED else "good"
        steps.append(Step(asked.finished_at, asked.get_state_display(), "the task", asked.outcome, tone))
    return {
        "asked": asked,
        "facts": facts(asked.kind, asked.terms, asked.invoice, asked.currency),
        "steps": steps,
        "may_decide": is_waiting and may(operations.APPROVE) and actor != asked.requested_by,
        "may_withdraw": is_waiting and actor == asked.requested_by,
        "why_waiting": why_waiting(asked) if asked.needs_second_person else "",
    }


def _person(actor: str) -> str:
    return actor.removeprefix("user:")
