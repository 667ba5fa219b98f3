"""The rows of a finalised invoice's lines: ours, which must all be there unchanged, and Stripe's, written down now."""

from collections.abc import Sequence
from typing import Any

from billing.invoicing.metered.closing import metered_prices_of
from billing.invoicing.metered.models import MeteredPrice
from billing.invoicing.models import Invoice, InvoiceLine, PrepaidPurchase
from billing.invoicing.rounding import from_minor
from billing.invoicing.stripe_lines import UnreadableTerms, charges_of, kind_of, line_key, prepaid_terms
from billing.payments.operations import instant
from billing.rating import queries as rating_queries
from billing.rating.rating import ZERO
from billing.stripe.errors import ProjectionRefused
from billing.stripe.readers import price_of_line
from billing.subscriptions.models import BillingPeriod

Kind = InvoiceLine.Kind
StripeDict = dict[str, Any]
DEFAULT_DESCRIPTIONS = {
    Kind.FEE: "Subscription fee",
    Kind.ONE_OFF: "One-off charge",
    Kind.PREPAID: "Prepaid credit",
    Kind.BROUGHT_IN: "Billed before the takeover",
}
LEARNED = ("discount_minor", "exclusive_tax_minor", "inclusive_tax_minor")


def record_lines(invoice: Invoice, stripe_lines: Sequence[StripeDict]) -> list[InvoiceLine]:
    """
    Return the rows of every line on a finalised invoice, each with the discount and tax Stripe put on it.

    Usage that Stripe's meter brought onto an invoice without a line of ours (it finalised by itself, or billed at a
    cancellation what was used so far) is written down as usage, so nothing asks for it again. Raises ProjectionRefused
    for a line of unknown kind, one not as we wrote it, and one of ours that is missing.
    """
    rows = list(invoice.lines.select_related("metered_price"))
    recorded = {row.stripe_line_id: row for row in rows if row.stripe_line_id}
    # A one-off that somebody wrote at Stripe is a row only once it is recorded; then it has Stripe's id.
    written = (Kind.USAGE, Kind.COVERAGE, Kind.ONE_OFF)
    ours = {str(row.pk): row for row in rows if row.kind in written}
    by_meter = {row.metered_price.stripe_price_id: row for row in rows if row.metered_price is not None}
    metered = metered_prices_of(stripe_lines)
    present: list[InvoiceLine] = []
    added: list[InvoiceLine] = []
    position = max((row.position for row in rows), default=0)
    for line in stripe_lines:
        row = recorded.get(line["id"]) or ours.get(line_key(line))
        if price_of_line(line) in metered and not invoice.taken_over:
            row = by_meter.get(price_of_line(line))
            if row is None and not line["amount"]:
                continue  # Stripe shows a price that was not used, or whose usage went as a line
            if row is None:
                price, place = metered[price_of_line(line)], position + len(added) + 1
                added.append(_billed_by_meter(invoice, line, price, rows + added, position=place))
                continue
        kind = None if line_key(line) or price_of_line(line) in metered else kind_of(line)
        kind = Kind.BROUGHT_IN if invoice.taken_over else kind
        if row is None and kind is not None:
            added.append(_new_row(invoice, line, kind, position=position + len(added) + 1))
        elif row is None or row.amount_minor != line["amount"] or row in present:
            raise ProjectionRefused(_unexplained(invoice, line))
        else:
            present.append(row)
            _learn(row, line)
    missing = [row.pk for row in ours.values() if row not in present]
    if missing:
        raise ProjectionRefused(f"our lines {missing} are not on {invoice.stripe_invoice_id}, which is finalised")
    made = InvoiceLine.objects.bulk_create(added)
    _record_terms(made, stripe_lines)
    return present + made


def _learn(row: InvoiceLine, line: StripeDict) -> None:
    """Write down Stripe's id of, discount and tax on a line that was written before they were known."""
    charges = charges_of(line)
    if row.stripe_line_id is None or any(getattr(row, name) != getattr(charges, name) for name in LEARNED):
        row.stripe_line_id = line["id"]
        for name in LEARNED:
            setattr(row, name, getattr(charges, name))
        row.save(update_fields=["stripe_line_id", *LEARNED])


def _new_row(invoice: Invoice, line: StripeDict, kind: str, *, position: int) -> InvoiceLine:
    charges = charges_of(line)
    return InvoiceLine(
        invoice=invoice,
        kind=kind,
        position=position,
        period=_period_of_fee(invoice, line) if kind == Kind.FEE else None,
        description=(line["description"] or DEFAULT_DESCRIPTIONS[Kind(kind)])[:500],
        quantity=line["quantity"] or 1,
        exact_amount=from_minor(line["amount"], invoice.currency),
        amount_minor=line["amount"],
        discount_minor=charges.discount_minor,
        exclusive_tax_minor=charges.exclusive_tax_minor,
        inclusive_tax_minor=charges.inclusive_tax_minor,
        rounding=from_minor(0, invoice.currency),
        stripe_line_id=line["id"],
    )


def _billed_by_meter(
    invoice: Invoice, line: StripeDict, price: MeteredPrice, rows: Sequence[InvoiceLine], *, position: int
) -> InvoiceLine:
    """
    The row of usage that Stripe's meter billed by itself: of the period that most of it lies in, exactly as charged.

    It names no quantity: what was used stands on the line that asks for the rest. Raises ProjectionRefused where no
    period of ours has that price and something accrued, or a line of ours asks for its usage on this invoice.
    """
    start, end = instant(line["period"]["start"]), instant(line["period"]["end"])
    periods = BillingPeriod.objects.filter(
        subscription=invoice.subscription, plan_version=price.plan_version_id, starts_at__lt=end, ends_at__gt=start
    )
    period = max(periods, key=lambda one: min(one.ends_at, end) - max(one.starts_at, start), default=None)
    accrual = rating_queries.latest_accrual(period.pk) if period is not None else None
    asked = {(row.period_id, row.rate_id) for row in rows if row.kind == Kind.USAGE}
    if period is None or accrual is None or (period.pk, price.rate_id) in asked or line["amount"] < 0:
        raise ProjectionRefused(_unexplained(invoice, line))
    row = _new_row(invoice, line, Kind.USAGE, position=position)
    row.period, row.rate_id, row.accrual, row.metered_price = period, price.rate_id, accrual, price
    row.quantity = ZERO
    return row


def _period_of_fee(invoice: Invoice, line: StripeDict) -> BillingPeriod | None:
    """The period a fee was paid for; the first one may start a little before Stripe's, so it is known by its middle."""
    if invoice.subscription_id is None:
        return None
    start, end = line["period"]["start"], line["period"]["end"]
    middle = instant(start + (end - start) // 2)
    return BillingPeriod.objects.filter(
        subscription_id=invoice.subscription_id, starts_at__lte=middle, ends_at__gt=middle
    ).first()


def _record_terms(rows: Sequence[InvoiceLine], stripe_lines: Sequence[StripeDict]) -> None:
    """Write down what each line of prepaid credit buys. Raises ProjectionRefused for terms that cannot be read."""
    by_id = {line["id"]: line for line in stripe_lines}
    for row in rows:
        if row.kind != Kind.PREPAID:
            continue
        try:
            terms = prepaid_terms(by_id[row.stripe_line_id])
        except UnreadableTerms as unreadable:
            raise ProjectionRefused(f"line {row.stripe_line_id} of prepaid credit: {unreadable}") from unreadable
        if row.amount_minor <= 0:
            raise ProjectionRefused(f"line {row.stripe_line_id} sells prepaid credit for {row.amount_minor}")
        PrepaidPurchase.objects.create(line=row, name=terms.name, bonus_amount=terms.bonus, valid_days=terms.valid_days)


def _unexplained(invoice: Invoice, line: StripeDict) -> str:
    return (
        f"line {line['id']} ({line['description']}, {line['amount']}) of the finalised invoice "
        f"{invoice.stripe_invoice_id} is of a kind not known here, or not as we wrote it"
    )
