"""What of an invoice's lines a refund by a credit note gives back, so that tax follows each line's own rate."""

from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.requests.terms import creditable_minor, with_tax
from billing.invoicing.rounding import chargeable_increment_minor
from billing.payments.refunding.left import State
from billing.payments.refunding.models import RefundRequest
from billing.payments.two_people import InvalidRequest

Way = RefundRequest.Way


def parts_for(invoice: Invoice, amount_minor: int) -> list[list[int]]:
    """
    Lines and what to give back of each before tax on top, that with their tax come to `amount_minor`, the first first.

    Pairs of a line's id and minor units. Raises InvalidRequest where no such parts exist: what is left of the lines is
    less, or tax rounds past the amount. Lines with a discount are left out: Stripe alone knows its share.
    """
    step, wanted, parts = chargeable_increment_minor(invoice.currency), amount_minor, []
    under_way = _under_way(invoice)
    for line in invoice.lines.order_by("position"):
        if wanted == 0:
            break
        if line.stripe_line_id is None or line.amount_minor <= 0 or line.discount_minor:
            continue
        part = _part(line, creditable_minor(line) - under_way.get(line.pk, 0), at_most=wanted, step=step)
        if part:
            parts.append([line.pk, part])
            wanted -= with_tax(line, part)
    if wanted:
        raise InvalidRequest(
            f"Lines of the invoice with their tax can give back {amount_minor - wanted} minor units of that: ask for so"
            " much, or for a refund without a credit note.",
            field="amount_minor",
        )
    return parts


def _part(line: InvoiceLine, left_minor: int, *, at_most: int, step: int) -> int:
    """The most of what is left of a line that with its tax is within `at_most`."""
    # The share of the tax is rounded once, so the part is within a step or two of the exact one.
    exact = at_most * line.amount_minor // (line.amount_minor + line.exclusive_tax_minor)
    part = min(left_minor, exact + 2 * step) // step * step
    while part > 0 and with_tax(line, part) > at_most:
        part -= step
    return max(part, 0)


def _under_way(invoice: Invoice) -> dict[int, int]:
    """By line, what refunds by credit notes that are asked for and not made yet give back."""
    asked = RefundRequest.objects.filter(
        payment__invoice=invoice, way=Way.CREDIT_NOTE, state__in=(State.WAITING, State.AGREED)
    )
    total: dict[int, int] = {}
    for parts in asked.values_list("parts", flat=True):
        for line_id, amount in parts or ():
            total[line_id] = total.get(line_id, 0) + amount
    return total
