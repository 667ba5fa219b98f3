"""From prepaid credit that was paid to the grants it buys. Inside the caller's transaction, the customer held."""

from datetime import datetime, timedelta

from billing.accounting.chart import prepaid_pending
from billing.accounting.lines import ACTOR
from billing.invoicing.crediting import credited_of_prepaid
from billing.invoicing.models import Invoice, PrepaidPurchase
from billing.invoicing.rounding import from_minor
from promotions.operations import issue_grant, issue_paid_grant

BONUS_NAME_CHARS = 190


def issue_prepaid_grants(invoice: Invoice, *, now: datetime) -> int:
    """
    Issue what the lines of prepaid credit of a paid invoice buy, once per line; return how many lines that were.

    Nothing before the whole invoice is paid. What credit notes took off a line before is not granted. The bonus is a
    grant of its own that expires with the paid one and, given away, burns before it (field.md, "credit order").
    Raises LedgerError and GrantError.
    """
    if invoice.status != Invoice.Status.PAID or invoice.paid_at is None:
        return 0
    waiting = PrepaidPurchase.objects.filter(line__invoice=invoice, grant=None).select_related("line").order_by("pk")
    issued = 0
    for purchase in waiting:
        purchase.line.invoice = invoice
        issued += _issue(purchase, invoice, paid_at=invoice.paid_at, now=now)
    return issued


def _issue(purchase: PrepaidPurchase, invoice: Invoice, *, paid_at: datetime, now: datetime) -> bool:
    line, currency = purchase.line, invoice.currency
    bought = from_minor(line.amount_minor - line.inclusive_tax_minor, currency) - credited_of_prepaid(line)
    if bought <= 0:
        return False
    customer_key, name = invoice.customer.customer_key, purchase.name
    expires_at = None if purchase.valid_days is None else paid_at + timedelta(days=purchase.valid_days)
    paid = issue_paid_grant(
        customer_key=customer_key,
        name=name,
        amount=bought,
        currency=currency,
        effective_at=paid_at,
        expires_at=expires_at,
        invoice=invoice.stripe_invoice_id,
        paid_from=prepaid_pending(customer_key, currency),
        actor=ACTOR,
        idempotency_key=f"prepaid:{line.stripe_line_id}",
        recorded_at=now,
    )
    purchase.grant_id = paid.pk
    if purchase.bonus_amount:
        bonus = issue_grant(
            customer_key=customer_key,
            kind="promotional",
            name=f"{name[:BONUS_NAME_CHARS]} (bonus)",
            amount=purchase.bonus_amount,
            currency=currency,
            effective_at=paid_at,
            expires_at=expires_at,
            reason=f"Bonus on prepaid credit of invoice {invoice.stripe_invoice_id}",
            actor=ACTOR,
            idempotency_key=f"prepaid:{line.stripe_line_id}:bonus",
            recorded_at=now,
        )
        purchase.bonus_grant_id = bonus.pk
    purchase.save(update_fields=["grant", "bonus_grant"])
    return True
