"""
The projection of Stripe's invoices, and the start of a close.

Everything here runs inside one transaction of the caller and calls nobody: what it needs of Stripe is passed in.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from billing.accounting.invoices import UnexplainedTotal, post_invoice_finalized, post_invoice_voided
from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.invoicing import queries
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceCloseStep, InvoiceLine
from billing.invoicing.rounding import from_minor
from billing.invoicing.verification import is_subscription_fee, line_key
from billing.payments.operations import instant
from billing.stripe.errors import NotYetKnown, ProjectionRefused
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import open_next_period

Status, Kind, Step = Invoice.Status, InvoiceLine.Kind, InvoiceClose.Step
StripeDict = dict[str, Any]
HELD_CHARS_MAX = 500


def project_invoice(
    fetched: StripeDict, *, lines: Sequence[StripeDict], subscription: Subscription | None, now: datetime
) -> Invoice:
    """
    Bring the row of an invoice up to the state just fetched with all its lines; once finalised, enter it.

    A state that lies behind the recorded one changes nothing. Raises NotYetKnown for an unknown customer,
    ProjectionRefused for a line or total that cannot be explained, and LedgerError.
    """
    customer = Customer.objects.filter(stripe_customer_id=fetched["customer"]).first()
    if customer is None:
        raise NotYetKnown(f"customer {fetched['customer']} of invoice {fetched['id']} is not known here")
    lock_customer(customer_id=customer.pk)
    known = Invoice.objects.select_for_update().filter(stripe_invoice_id=fetched["id"]).first()
    if known is not None and queries.stage(fetched["status"]) < queries.stage(known.status):
        return known
    if fetched["currency"].upper() != customer.currency:
        raise ProjectionRefused(f"invoice {fetched['id']} is in {fetched['currency']}, not {customer.currency}")
    was_entered = known is not None and known.finalized_at is not None
    is_newly_void = fetched["status"] == Status.VOID and (known is None or known.status != Status.VOID)
    invoice = known or Invoice(
        stripe_invoice_id=fetched["id"],
        billing_reason=fetched["billing_reason"] or "",
        currency=customer.currency,
        created_at=instant(fetched["created"]),
    )
    invoice.customer, invoice.subscription, invoice.projected_at = customer, subscription, now
    for name, value in queries.projected_fields(fetched).items():
        setattr(invoice, name, value)
    invoice.save()
    if invoice.finalized_at is not None and (not was_entered or is_newly_void):
        _enter(invoice, fetched, lines, now=now)
    return invoice


def _enter(invoice: Invoice, fetched: StripeDict, stripe_lines: Sequence[StripeDict], *, now: datetime) -> None:
    """Post the finalisation, and its reversal when the invoice is void. The entry's key makes it once."""
    assert invoice.finalized_at is not None
    lines = _recorded_lines(invoice, stripe_lines)
    try:
        entry = post_invoice_finalized(invoice=invoice, lines=lines, finalized_at=invoice.finalized_at, recorded_at=now)
    except UnexplainedTotal as unexplained:
        raise ProjectionRefused(str(unexplained)) from unexplained
    if invoice.status == Status.VOID and entry is not None:
        voided_at = instant(fetched["status_transitions"]["voided_at"])
        post_invoice_voided(finalized=entry, invoice=invoice, voided_at=voided_at, recorded_at=now)


def _recorded_lines(invoice: Invoice, stripe_lines: Sequence[StripeDict]) -> list[InvoiceLine]:
    """
    The rows of every line on the invoice: ours, which must all be there unchanged, and Stripe's fees, added now.

    Raises ProjectionRefused for any other line.
    """
    rows = list(invoice.lines.all())
    recorded = {row.stripe_line_id: row for row in rows if row.stripe_line_id}
    ours = {str(row.pk): row for row in rows if row.kind in (Kind.USAGE, Kind.COVERAGE)}
    present: list[InvoiceLine] = []
    fees: list[StripeDict] = []
    for line in stripe_lines:
        row = recorded.get(line["id"]) or ours.get(line_key(line))
        if row is None and not line_key(line) and is_subscription_fee(line):
            fees.append(line)
        elif row is None or row.amount_minor != line["amount"] or row in present:
            raise ProjectionRefused(_unexplained(invoice, line))
        else:
            present.append(row)
    missing = [row.pk for row in ours.values() if row not in present]
    if missing:
        raise ProjectionRefused(f"our lines {missing} are not on {invoice.stripe_invoice_id}, which is finalised")
    return present + _record_fees(invoice, fees, after=max((row.position for row in rows), default=0))


def _unexplained(invoice: Invoice, line: StripeDict) -> str:
    return (
        f"line {line['id']} ({line['description']}, {line['amount']}) of the finalised invoice "
        f"{invoice.stripe_invoice_id} is of a kind not known here, or not as we wrote it"
    )


def _record_fees(invoice: Invoice, fees: Sequence[StripeDict], *, after: int) -> list[InvoiceLine]:
    rows = [
        InvoiceLine(
            invoice=invoice,
            kind=Kind.FEE,
            position=after + number,
            period=_period_of_fee(invoice, line),
            description=(line["description"] or "Subscription fee")[:500],
            quantity=line["quantity"] or 1,
            exact_amount=from_minor(line["amount"], invoice.currency),
            amount_minor=line["amount"],
            rounding=from_minor(0, invoice.currency),
            stripe_line_id=line["id"],
        )
        for number, line in enumerate(fees, start=1)
    ]
    return InvoiceLine.objects.bulk_create(rows)


def _period_of_fee(invoice: Invoice, line: StripeDict) -> BillingPeriod | None:
    """The period a fee was paid for; the first one may start a little before Stripe's, so it is known by its middle."""
    if invoice.subscription_id is None:
        return None
    start, end = line["period"]["start"], line["period"]["end"]
    middle = instant(start + (end - start) // 2)
    return BillingPeriod.objects.filter(
        subscription_id=invoice.subscription_id, starts_at__lte=middle, ends_at__gt=middle
    ).first()


def begin_close(*, invoice: Invoice, lines: Sequence[StripeDict], held_reason: str, now: datetime) -> InvoiceClose:
    """
    Start the close of the period that ended with this cycle's draft, and open the next one. Said twice: the first.

    The draft must be out of Stripe's hands already (auto_advance=false). The next period is read from the fee line and
    not from the subscription, which may have moved on further by the time a late event is read.
    With a `held_reason` the close only shows that a person has to look. Raises ProjectionRefused, SubscriptionError.
    """
    existing = InvoiceClose.objects.filter(invoice=invoice).first()
    if existing is not None:
        return existing
    fees = [line for line in lines if is_subscription_fee(line)]
    if not fees or invoice.subscription_id is None:
        raise ProjectionRefused(f"{invoice.stripe_invoice_id} bills a cycle and has no subscription fee")
    bounds = fees[0]["period"]
    following = open_next_period(
        subscription_id=invoice.subscription_id, starts_at=instant(bounds["start"]), ends_at=instant(bounds["end"])
    )
    ended = BillingPeriod.objects.filter(subscription_id=invoice.subscription_id, ends_at=following.starts_at).first()
    if ended is None:
        raise ProjectionRefused(f"no period of subscription {invoice.subscription_id} ends at {following.starts_at}")
    close = InvoiceClose.objects.create(
        invoice=invoice, period=ended, step=Step.STARTED, held_reason=held_reason[:HELD_CHARS_MAX], next_attempt_at=now
    )
    InvoiceCloseStep.objects.create(close=close, step=Step.STARTED, recorded_at=now)
    return close


def hold_close_of(*, stripe_invoice_id: str, reason: str) -> None:
    """Make it visible on its close that an invoice cannot be entered. Nothing where it has no close."""
    closes = InvoiceClose.objects.filter(invoice__stripe_invoice_id=stripe_invoice_id)
    closes.update(held_reason=reason[:HELD_CHARS_MAX])


def release_close(*, close_id: int, now: datetime) -> bool:
    """Let a held close go on from its last finished step, after a person looked. Return whether it was held."""
    held = InvoiceClose.objects.filter(pk=close_id).exclude(held_reason="")
    return bool(held.update(held_reason="", next_attempt_at=now))
