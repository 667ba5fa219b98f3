"""
What can be asked for about invoices, checked against the invoice as it stands: amounts in minor units, nothing written.

A request's terms are kept as JSON of whole numbers and words; here they are made, and read again when carried out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum

from billing.customers.models import Customer
from billing.invoicing.models import CreditNoteLine, Invoice, InvoiceLine
from billing.invoicing.orders.operations import OrderedLine
from billing.invoicing.orders.reissuing import obstacle
from billing.invoicing.requests.models import InvoiceRequest
from billing.invoicing.rounding import chargeable_increment_minor
from billing.payments.refunding.left import left_of_invoice
from billing.subscriptions.operations import ENDED_STATUSES

Kind, State, Status = InvoiceRequest.Kind, InvoiceRequest.State, Invoice.Status
LINES_MAX = 250
DESCRIPTION_CHARS_MAX = 500
# Stripe's largest charge, eight digits.
AMOUNT_MINOR_MAX = 99_999_999
REISSUE, NEXT_INVOICE, ABSORB = "reissue", "next_invoice", "absorb"
USAGE_WAYS = {
    REISSUE: "Ask for it again at once, on an invoice in place of this one",
    NEXT_INVOICE: "Leave it for the next invoice of the subscription",
    ABSORB: "Absorb it: nobody is asked to pay",
}
OPEN, BALANCE, REFUND = "open", "balance", "refund"
CREDIT_WAYS = {
    OPEN: "Off what is still open",
    BALANCE: "Onto the customer's balance, for the next invoices",
    REFUND: "Refunded to where it was paid from",
}


class InvoiceRequestError(Exception):
    """A request about an invoice cannot be taken; nothing was written. `field` names what to mend, if anything."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidRequest(InvoiceRequestError):
    """What was asked for is wrong, or the invoice does not allow it."""


@dataclass(frozen=True, slots=True)
class CreditedPart:
    """What of one line of an invoice is given back, before tax on top, in minor units."""

    line_id: int
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A request that is sound in itself: what it moves in minor units, with tax, and its terms."""

    kind: str
    customer: Customer
    invoice: Invoice | None
    amount_minor: int
    terms: Mapping[str, Any]


def one_off(*, customer_key: str, lines: Sequence[OrderedLine]) -> Wanted:
    """An invoice of these lines. Raises InvalidRequest."""
    customer = Customer.objects.filter(customer_key=customer_key).first()
    if customer is None:
        raise InvalidRequest(f"There is no customer {customer_key[:64]!r}. Check the key.", field="customer_key")
    if not 0 < len(lines) <= LINES_MAX:
        raise InvalidRequest(f"An invoice has 1 to {LINES_MAX} lines.", field="lines")
    step = chargeable_increment_minor(customer.currency)
    for line in lines:
        if not line.description.strip() or len(line.description) > DESCRIPTION_CHARS_MAX:
            raise InvalidRequest(f"Describe each line in 1 to {DESCRIPTION_CHARS_MAX} characters.", field="lines")
        if line.amount_minor <= 0 or line.amount_minor % step:
            raise InvalidRequest(
                f"Each line charges more than nothing, in steps of {step} minor units of {customer.currency}. "
                "To give money back, make a credit note.",
                field="lines",
            )
    total = sum(line.amount_minor for line in lines)
    if total > AMOUNT_MINOR_MAX:
        raise InvalidRequest(f"Stripe charges at most {AMOUNT_MINOR_MAX} minor units at once.", field="lines")
    terms = {"lines": [[line.description.strip(), line.amount_minor, line.is_taxed] for line in lines]}
    return Wanted(kind=Kind.ONE_OFF, customer=customer, invoice=None, amount_minor=total, terms=terms)


def ordered_lines(terms: Mapping[str, Any]) -> list[OrderedLine]:
    """The lines in the terms of a one-off."""
    return [OrderedLine(description, amount, is_taxed) for description, amount, is_taxed in terms["lines"]]


def void(*, invoice: Invoice, usage: str) -> Wanted:
    """The invoice void, and what becomes of its usage. Of one that is void already, only the latter."""
    if usage not in USAGE_WAYS:
        raise InvalidRequest(f"Say what becomes of its usage: {', '.join(USAGE_WAYS)}.", field="usage")
    if invoice.status not in (Status.OPEN, Status.UNCOLLECTIBLE, Status.VOID):
        raise InvalidRequest(
            f"The invoice is {invoice.get_status_display().lower()}: only one that is open or uncollectible can become "
            "void. Give back what was paid by a credit note.",
            field="usage",
        )
    if invoice.amount_paid_minor:
        raise InvalidRequest("A part of it was paid: Stripe voids no such invoice. Make a credit note.", field="usage")
    subscription = invoice.subscription
    has_usage = invoice.lines.filter(kind=InvoiceLine.Kind.USAGE).exists()
    if usage == NEXT_INVOICE and has_usage and (subscription is None or subscription.status in ENDED_STATUSES):
        raise InvalidRequest("The subscription has ended: there is no next invoice.", field="usage")
    if usage == REISSUE and (why_not := obstacle(invoice)):
        raise InvalidRequest(why_not, field="usage")
    if usage == ABSORB and invoice.lines.filter(kind=InvoiceLine.Kind.USAGE, period__state="open").exists():
        raise InvalidRequest(
            "Its period is still open, so its usage is not complete: leave it for the period's own invoice.",
            field="usage",
        )
    terms = {"usage": usage}
    amount = max(invoice.total_minor, 0)
    return Wanted(kind=Kind.VOID, customer=invoice.customer, invoice=invoice, amount_minor=amount, terms=terms)


def credit_note(*, invoice: Invoice, parts: Sequence[CreditedPart], way: str) -> Wanted:
    """A credit note on these lines, given back this way. Raises InvalidRequest."""
    if way not in CREDIT_WAYS:
        raise InvalidRequest(f"Say how it is given back: {', '.join(CREDIT_WAYS)}.", field="way")
    if invoice.status not in (Status.OPEN, Status.PAID):
        raise InvalidRequest(
            f"The invoice is {invoice.get_status_display().lower()}: a credit note needs one that is open or paid.",
            field="way",
        )
    if not parts or len({part.line_id for part in parts}) != len(parts):
        raise InvalidRequest("Name the lines to credit, each once, with an amount.", field="parts")
    lines = {line.pk: line for line in invoice.lines.all()}
    total = 0
    for part in parts:
        line = lines.get(part.line_id)
        if line is None:
            raise InvalidRequest(f"Line {part.line_id} is not on this invoice.", field="parts")
        _require_creditable(line, part.amount_minor, currency=invoice.currency)
        total += with_tax(line, part.amount_minor)
    _require_way(invoice, total, way)
    terms = {"way": way, "parts": [[part.line_id, part.amount_minor] for part in parts]}
    return Wanted(kind=Kind.CREDIT_NOTE, customer=invoice.customer, invoice=invoice, amount_minor=total, terms=terms)


def credited_parts(terms: Mapping[str, Any]) -> list[CreditedPart]:
    """The parts in the terms of a credit note."""
    return [CreditedPart(line_id, amount) for line_id, amount in terms["parts"]]


def creditable_minor(line: InvoiceLine) -> int:
    """What of a line was not given back yet and is not asked for by a request under way, in minor units."""
    standing = CreditNoteLine.objects.filter(invoice_line=line, credit_note__unwound_at=None)
    given_back = standing.aggregate(sum=Sum("amount_minor"))["sum"] or 0
    under_way = InvoiceRequest.objects.filter(
        invoice_id=line.invoice_id, kind=Kind.CREDIT_NOTE, state__in=(State.WAITING, State.INTENDED)
    )
    asked = sum(part.amount_minor for row in under_way for part in credited_parts(row.terms) if part.line_id == line.pk)
    return int(line.amount_minor - given_back - asked)


def with_tax(line: InvoiceLine, amount_minor: int) -> int:
    """
    What giving back so much of a line takes off the invoice's total: its share of the tax on top with it.

    As Stripe counts: the rounded share of all that is credited of the line, less what earlier credit notes took.
    Should Stripe come to another figure it refuses, and nothing is done.
    """
    earlier = CreditNoteLine.objects.filter(invoice_line=line, credit_note__unwound_at=None)
    sums = earlier.aggregate(amount=Sum("amount_minor"), tax=Sum("exclusive_tax_minor"))
    credited = (sums["amount"] or 0) + amount_minor
    share = (2 * credited * line.exclusive_tax_minor + line.amount_minor) // (2 * line.amount_minor)
    return int(amount_minor + share - (sums["tax"] or 0))


def _require_creditable(line: InvoiceLine, amount_minor: int, *, currency: str) -> None:
    if line.stripe_line_id is None or line.amount_minor <= 0:
        raise InvalidRequest(f"“{line.description[:80]}” charged nothing that could be given back.", field="parts")
    if line.discount_minor:
        raise InvalidRequest(
            f"“{line.description[:80]}” has a discount: Stripe alone knows its share. Credit it in Stripe's dashboard.",
            field="parts",
        )
    step, left = chargeable_increment_minor(currency), creditable_minor(line)
    if amount_minor <= 0 or amount_minor % step or amount_minor > left:
        raise InvalidRequest(
            f"Of “{line.description[:80]}” {left} minor units can be given back, in steps of {step}.", field="parts"
        )


def _require_way(invoice: Invoice, total_minor: int, way: str) -> None:
    """What is open is taken off first, as Stripe does; the rest goes back the way that was chosen."""
    after_payment = total_minor - min(total_minor, invoice.amount_remaining_minor)
    if way == OPEN and after_payment:
        raise InvalidRequest(
            f"Only {invoice.amount_remaining_minor} minor units are open, and {total_minor} are given back: "
            "choose balance or refund for the rest.",
            field="way",
        )
    if way != OPEN and not after_payment:
        raise InvalidRequest("All of it is still open: it is taken off what is open.", field="way")
    left = left_of_invoice(invoice) if after_payment else 0
    if after_payment > left:
        raise InvalidRequest(
            f"{left} minor units of what was paid are left, the rest was refunded or credited already, and "
            f"{after_payment} would be given back.",
            field="parts",
        )
    if way == REFUND and after_payment > invoice.amount_paid_minor:
        raise InvalidRequest(
            f"{invoice.amount_paid_minor} minor units were paid, and {after_payment} would be refunded: give it back "
            "onto the balance.",
            field="way",
        )
