"""Which discount took how much off which line, written down as Stripe says it, with the line it was taken off."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from billing.invoicing.discount_models import InvoiceLineDiscount
from billing.invoicing.models import Invoice, InvoiceLine
from billing.stripe.readers import id_of

StripeDict = dict[str, Any]


def record_discounts(lines: Sequence[InvoiceLine], stripe_lines: Iterable[StripeDict], fetched: StripeDict) -> int:
    """
    Write down the discounts of a finalised invoice's lines; return how many parts that were. Said twice it adds none.

    `fetched` is the invoice, whose `discounts` may be expanded: then the coupon of each is known. Inside the caller's
    transaction, which has just learned what was taken off each line; no query where nothing was.
    """
    discounted = {line.stripe_line_id: line for line in lines if line.discount_minor}
    if not discounted or InvoiceLineDiscount.objects.filter(line__in=discounted.values()).exists():
        return 0
    given = [line for line in stripe_lines if line["id"] in discounted]
    coupons = _coupons([fetched, *given])
    parts = [
        InvoiceLineDiscount(
            line=discounted[line["id"]],
            stripe_discount_id=discount_id,
            coupon=coupons.get(discount_id, ""),
            amount_minor=amount,
        )
        for line in given
        for discount_id, amount in _taken(line).items()
        if amount
    ]
    return len(InvoiceLineDiscount.objects.bulk_create(parts))


def discounts_of(invoice: Invoice) -> dict[int, list[list[Any]]]:
    """By line, each discount with its coupon and what it took off, in minor units."""
    found: dict[int, list[list[Any]]] = {}
    for one in InvoiceLineDiscount.objects.filter(line__invoice=invoice).order_by("pk"):
        found.setdefault(one.line_id, []).append([one.stripe_discount_id, one.coupon, one.amount_minor])
    return found


def _taken(line: StripeDict) -> Mapping[str, int]:
    """Pure: by discount, what it takes off a line, in minor units."""
    taken: dict[str, int] = {}
    for entry in line.get("discount_amounts") or []:
        discount_id = id_of(entry["discount"])
        taken[discount_id] = taken.get(discount_id, 0) + int(entry["amount"])
    return taken


def _coupons(objects: Iterable[StripeDict]) -> dict[str, str]:
    """Pure: Stripe's id of the coupon of each discount that was expanded."""
    found = [one for of in objects for one in of.get("discounts") or [] if isinstance(one, dict)]
    return {one["id"]: id_of((one.get("source") or {}).get("coupon")) for one in found}
