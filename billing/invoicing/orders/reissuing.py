"""Whether a void invoice can be asked for again just as it was. Reads only."""

from django.db.models import Q, Sum

from billing.invoicing.models import CreditNote, Invoice, InvoiceLine
from billing.money_text import minor_text

REMEDY = (
    "Leave its usage for the next invoice or absorb it, and order what else it shall ask for as a one-off with the "
    "amounts that are right now."
)


def obstacle(invoice: Invoice) -> str:
    """
    Why another invoice in its place would ask for other money, with the remedy; empty where it would not.

    A credit note that a person made is taken back with its invoice, so what it gave back would be asked for again. One
    for late usage is not in the way: usage is asked for as it stands now. A discount is copied only line by line, and
    never onto usage, which is charged without.
    """
    stood = Q(status=CreditNote.Status.ISSUED)
    if invoice.voided_at is not None:
        stood |= Q(voided_at__gte=invoice.voided_at)
    note = invoice.credit_notes.filter(stood, late_correction=None).first()
    if note is not None:
        given_back = minor_text(note.total_minor, note.currency)
        return f"Credit note {note} of {given_back} stands on it, which would be asked for again. {REMEDY}"
    by_line = invoice.lines.aggregate(sum=Sum("discount_minor"))["sum"] or 0
    is_on_usage = invoice.lines.filter(kind=InvoiceLine.Kind.USAGE).exclude(discount_minor=0).exists()
    if by_line != invoice.discount_minor or is_on_usage:
        discount = minor_text(invoice.discount_minor, invoice.currency)
        return f"Its discount of {discount} cannot be given again line by line. {REMEDY}"
    return ""
