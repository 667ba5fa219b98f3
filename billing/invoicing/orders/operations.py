"""
Ordering invoices of our making. Each function commits an intention with the caller's transaction; a task carries it
out at Stripe (carrying_out.py), so whoever orders calls nobody.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.customers.models import Customer
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.orders.models import InvoiceOrder, InvoiceOrderLine
from billing.subscriptions.models import BillingPeriod

logger = logging.getLogger(__name__)
Kind, State = InvoiceOrder.Kind, InvoiceOrder.State


class OrderConflict(Exception):
    """The idempotency key ordered something else before."""


@dataclass(frozen=True, slots=True)
class OrderedLine:
    """A line an order says itself: `amount_minor` in minor units, before tax on top."""

    description: str
    amount_minor: int
    is_taxed: bool = True


def order_closing_invoice(*, period: BillingPeriod, actor: str, now: datetime) -> InvoiceOrder:
    """
    Order the invoice of a subscription's last period, whose usage nothing else would ask for; once for a period.

    Inside the caller's transaction, the customer held. The period has to end at the subscription's end. It is carried
    out once every event of the period is counted; where nothing is left to invoice, the period is closed without one.
    """
    # One that Stripe refused is made once more by a person, who mended what it was refused for: orders.repeating.
    known = InvoiceOrder.objects.filter(kind=Kind.CLOSING, period=period).order_by("-pk").first()
    if known is not None:
        return known
    subscription = period.subscription
    return ordered(
        InvoiceOrder(
            kind=Kind.CLOSING,
            customer=subscription.customer,
            subscription=subscription,
            period=period,
            reason=f"The subscription ended on {period.ends_at:%d %b %Y %H:%M} UTC",
            idempotency_key=f"closing:{period.pk}",
        ),
        actor=actor,
        now=now,
    )


def order_threshold_invoice(
    *, period: BillingPeriod, reached_minor: int, number: int, reason: str, now: datetime
) -> InvoiceOrder:
    """
    Order an invoice of what an open period has on none, because that reached `reached_minor` (minor units).

    `number` counts the period's threshold invoices, from 1: two who find the same at once order one. Inside the
    caller's transaction, the customer held.
    """
    key = f"threshold:{period.pk}:{number}"
    known = InvoiceOrder.objects.filter(idempotency_key=key).first()
    if known is not None:
        return known
    subscription = period.subscription
    return ordered(
        InvoiceOrder(
            kind=Kind.THRESHOLD,
            customer=subscription.customer,
            subscription=subscription,
            period=period,
            amount_minor=reached_minor,
            reason=reason,
            idempotency_key=key,
        ),
        actor="task:order_threshold_invoices",
        now=now,
    )


def order_one_off(
    *,
    customer: Customer,
    lines: Sequence[OrderedLine],
    reason: str,
    actor: str,
    idempotency_key: str,
    now: datetime,
) -> InvoiceOrder:
    """
    Order an invoice of one-off lines. Inside the caller's transaction, the customer held.

    Whether the actor may is asked before, in `invoicing.requests`. Said twice with a key: the first. Raises
    OrderConflict where the key ordered something else.
    """
    known = InvoiceOrder.objects.filter(idempotency_key=idempotency_key).first()
    if known is not None:
        said = [OrderedLine(row.description, row.amount_minor, row.is_taxed) for row in known.lines.all()]
        if known.kind != Kind.ONE_OFF or known.customer_id != customer.pk or said != list(lines):
            raise OrderConflict(f"The key {idempotency_key} ordered something else before.")
        return known
    latest = customer.subscriptions.order_by("-pk").first()
    order = InvoiceOrder(
        kind=Kind.ONE_OFF,
        customer=customer,
        subscription=latest,
        amount_minor=sum(line.amount_minor for line in lines),
        reason=reason,
        idempotency_key=idempotency_key,
    )
    return ordered(order, lines, actor=actor, now=now)


def order_reissue(*, invoice: Invoice, reason: str, actor: str, now: datetime) -> InvoiceOrder:
    """
    Order an invoice in place of a void one: its usage as it stands now, and its fees and one-offs as they were.

    What a discount took off is not asked for. Whether it can be re-issued faithfully at all, `reissuing.obstacle` says.
    Once, until an order came to nothing. Inside the caller's transaction, the customer held. Paid credit is not sold
    again this way: it is sold anew.
    """
    standing = InvoiceOrder.objects.filter(kind=Kind.REISSUE, replaces=invoice).order_by("pk")
    known = standing.filter(state__in=(State.INTENDED, State.DRAFTED)).first()
    if known is not None:
        return known
    copied = (InvoiceLine.Kind.FEE, InvoiceLine.Kind.ONE_OFF)
    lines = [_as_it_was(line, invoice) for line in invoice.lines.filter(kind__in=copied).order_by("position")]
    lines = [line for line in lines if line.amount_minor]
    order = InvoiceOrder(
        kind=Kind.REISSUE,
        customer=invoice.customer,
        subscription=invoice.subscription,
        replaces=invoice,
        amount_minor=sum(line.amount_minor for line in lines),
        reason=reason,
        idempotency_key=f"reissue:{invoice.pk}:{standing.count() + 1}",
    )
    return ordered(order, lines, actor=actor, now=now)


def _as_it_was(line: InvoiceLine, invoice: Invoice) -> OrderedLine:
    """The line to ask for the same again; one without tax on an invoice with tax was exempt, whoever wrote it."""
    is_untaxed = not (line.exclusive_tax_minor or line.inclusive_tax_minor) and invoice.tax_minor != 0
    is_taxed = not (line.is_exempt or is_untaxed)
    return OrderedLine(line.description, line.amount_minor - line.discount_minor, is_taxed=is_taxed)


def ordered(order: InvoiceOrder, lines: Sequence[OrderedLine] = (), *, actor: str, now: datetime) -> InvoiceOrder:
    """Write a new order down with the lines it says itself, due now. Inside the caller's transaction."""
    order.currency, order.ordered_by = order.customer.currency, actor
    order.ordered_at = order.next_attempt_at = now
    order.save(force_insert=True)
    InvoiceOrderLine.objects.bulk_create(
        InvoiceOrderLine(
            order=order,
            position=position,
            description=line.description,
            amount_minor=line.amount_minor,
            is_taxed=line.is_taxed,
        )
        for position, line in enumerate(lines, start=1)
    )
    logger.info("%s ordered invoice %s of %s (%s)", actor, order.pk, order.customer.customer_key, order.kind)
    return order
