"""
The three that say what a change costs, side by side: our proration, Stripe's preview, and what was invoiced.

Amounts are compared price by price, prorations apart from the next period's fees, credits apart from debits.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from billing.customers.operations import lock_customer
from billing.invoicing.models import Invoice
from billing.money_text import minor_text
from billing.stripe import readers
from billing.stripe.errors import StripeRefused
from billing.subscriptions.change_models import ChangeOutcome, ChangePreview, ChangePreviewLine
from billing.subscriptions.history import Kind, record
from billing.subscriptions.previews import amounts_of, lines_of

logger = logging.getLogger(__name__)
Source = ChangePreviewLine.Source
TASK = "task:compare_changes"
INVOICES_READ_MAX = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One amount as each of the three says it, in minor units; None where one says nothing of it."""

    description: str
    is_proration: bool
    ours: int | None
    stripe: int | None
    invoiced: int | None
    is_invoiced_known: bool

    @property
    def agrees(self) -> bool:
        said = {self.ours or 0, self.stripe or 0}
        if self.is_invoiced_known and self.is_proration:
            said.add(self.invoiced or 0)
        return len(said) == 1


def rows_of(preview: ChangePreview) -> list[Row]:
    """The lines of a preview, side by side, in the order in which we say them."""
    is_known = ChangeOutcome.objects.filter(preview=preview).exists()
    return side_by_side(list(preview.lines.all()), is_invoiced_known=is_known)


def side_by_side(lines: Sequence[ChangePreviewLine], *, is_invoiced_known: bool) -> list[Row]:
    """Pure: sums by price, by whether they are prorations, and by sign."""
    sums: dict[tuple[bool, str, bool], dict[str, int]] = {}
    words: dict[tuple[bool, str, bool], str] = {}
    order = {Source.OURS: 0, Source.STRIPE: 1, Source.INVOICED: 2}
    for line in sorted(lines, key=lambda one: (order[Source(one.source)], one.position)):
        if not line.amount_minor:
            continue
        key = (line.is_proration, line.stripe_price_id, line.amount_minor < 0)
        of_key = sums.setdefault(key, {})
        of_key[line.source] = of_key.get(line.source, 0) + line.amount_minor
        words.setdefault(key, line.description)
    return [
        Row(
            words[key],
            key[0],
            found.get(Source.OURS),
            found.get(Source.STRIPE),
            found.get(Source.INVOICED),
            is_invoiced_known,
        )
        for key, found in sums.items()
    ]


def differences(rows: Iterable[Row], currency: str) -> list[str]:
    """A sentence for each amount of which the three do not say the same."""

    def text(amount: int | None) -> str:
        return minor_text(amount or 0, currency)

    return [
        f"{row.description}: {text(row.ours)} by us, {text(row.stripe)} in Stripe's preview"
        + (f", {text(row.invoiced)} invoiced" if row.is_invoiced_known and row.is_proration else "")
        for row in rows
        if not row.agrees
    ]


def unsettled() -> QuerySet[ChangePreview]:
    """Previews of changes that were made within a period, and whose invoice is not compared yet."""
    made = ChangePreview.objects.filter(
        outcome=None, kind=ChangePreview.Kind.TERMS, from_next_period=False, requests__events__kind=Kind.TERMS
    )
    return made.select_related("subscription").order_by("pk").distinct()


def _invoices_of_stripe() -> QuerySet[Invoice]:
    """Those that may bill a change: Stripe's own. What waits at Stripe is kept off the ones that we order."""
    return Invoice.objects.filter(order=None).exclude(status=Invoice.Status.VOID)


def compare_due(*, now: datetime, limit: int) -> int:
    """
    Compare changes whose invoice is finalised with what was said of them before, `limit` at most; return how many.

    One that waits for its invoice, a year perhaps, is not among these, and what Stripe refuses to show is looked at
    again next time: neither holds others up. Not inside a transaction: the lines are Stripe's own. Raises
    StripeUnavailable.
    """
    settled = 0
    invoices = _invoices_of_stripe().filter(subscription=OuterRef("subscription"))
    for preview in unsettled().filter(Exists(invoices.filter(finalized_at__gte=OuterRef("effective_at"))))[:limit]:
        try:
            settled += compare(preview, now=now) is not None
        except StripeRefused:
            logger.exception("preview %s is not compared with its invoice", preview.pk)
    return settled


def compare(preview: ChangePreview, *, now: datetime) -> ChangeOutcome | None:
    """Write down what a change was invoiced as, once that is final; None while it is not."""
    invoices = _invoices_of_stripe().filter(subscription=preview.subscription_id)
    invoices = invoices.filter(finalized_at__gte=preview.effective_at)
    for invoice in invoices.order_by("finalized_at", "pk")[:INVOICES_READ_MAX]:
        _, lines = readers.invoice_with_lines(invoice.stripe_invoice_id)
        found = [amount for amount in amounts_of(lines, at=preview.effective_at) if amount.is_proration]
        # Stripe puts what waits onto the first invoice that it makes: the renewal's, if none came before.
        if found or invoice.billing_reason == "subscription_cycle":
            return _settle(preview, invoice, lines_of(preview, Source.INVOICED, found), now=now)
    return None


def _settle(
    preview: ChangePreview, invoice: Invoice, invoiced: list[ChangePreviewLine], *, now: datetime
) -> ChangeOutcome:
    with transaction.atomic():
        # Nobody may update a preview, so it cannot be locked: whoever else compares it waits for its customer.
        lock_customer(customer_id=preview.subscription.customer_id)
        known = ChangeOutcome.objects.filter(preview=preview).first()
        if known is not None:
            return known
        ChangePreviewLine.objects.bulk_create(invoiced)
        said = differences(side_by_side(list(preview.lines.all()), is_invoiced_known=True), preview.currency)
        outcome = ChangeOutcome.objects.create(
            preview=preview, stripe_invoice_id=invoice.stripe_invoice_id, recorded_at=now, differences=said
        )
        record(
            preview.subscription,
            Kind.INVOICED,
            after=said[0] if said else "As previewed, line by line",
            effective_at=invoice.finalized_at or now,
            now=now,
            actor=TASK,
        )
    return outcome
