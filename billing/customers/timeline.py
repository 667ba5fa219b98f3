"""What happened with a customer, told as one list: the newest first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from billing.admin_links import page_url
from billing.customers.models import Customer
from billing.customers.page import GrantRow, May
from billing.invoicing import late_page
from billing.invoicing.models import Invoice, InvoiceCloseStep
from billing.money_text import exact_text, minor_text
from billing.payments.models import Dispute, Payment, Refund
from billing.rating.models import LateUsage, UsageAccrual
from billing.subscriptions.models import Subscription

ACCRUALS_SHOWN = 10
STEPS_SHOWN = 40
REFUNDS_SHOWN = 20
ITEMS_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened. `tone` is the colour of its dot: good, waiting, bad or plain."""

    at: datetime
    what: str
    detail: str
    url: str
    tone: str = "plain"


def timeline(
    *,
    customer: Customer,
    subscriptions: Iterable[Subscription],
    grants: Iterable[GrantRow] | None,
    invoices: Iterable[Invoice] | None,
    payments: Iterable[Payment] | None,
    may: May,
) -> list[Happening]:
    """Everything the reader may see, newest first, at most ITEMS_SHOWN."""
    happenings = [Happening(customer.created_at, "Signed up", customer.email, "")]
    happenings += _of_subscriptions(subscriptions)
    happenings += _of_grants(grants or ())
    happenings += _of_invoices(invoices or ())
    happenings += _of_payments(payments or ())
    if may("billing.view_refund"):
        happenings += _of_refunds(customer)
    if may("billing.view_dispute"):
        happenings += _of_disputes(customer)
    if may("billing.view_usageaccrual"):
        happenings += _of_accruals(customer)
    if may("billing.view_lateusage"):
        happenings += _of_late_usage(customer)
    if may("billing.view_invoiceclose"):
        happenings += _of_close_steps(customer)
    # Gathered in the order of a story, which settles what happened within one second.
    return sorted(happenings, key=lambda happening: happening.at)[: -ITEMS_SHOWN - 1 : -1]


def _of_subscriptions(subscriptions: Iterable[Subscription]) -> Iterator[Happening]:
    for subscription in subscriptions:
        seats = "1 seat" if subscription.seats == 1 else f"{subscription.seats} seats"
        yield Happening(
            subscription.started_at,
            "Subscription started",
            f"{subscription.plan_version}, {seats}",
            page_url("billing.subscription", subscription.pk),
        )


def _of_grants(grants: Iterable[GrantRow]) -> Iterator[Happening]:
    for row in grants:
        url = page_url("promotions.creditgrant", row.terms.grant_id)
        text = f"{row.terms.name}: {exact_text(row.terms.amount, row.terms.currency)}, by {row.terms.issued_by}"
        yield Happening(row.balance.recorded_at, "Credit issued", text, url, "good")
        if row.balance.ended_at is not None:
            yield Happening(row.balance.ended_at, "Credit ended", row.terms.name, url, "waiting")


def _of_invoices(invoices: Iterable[Invoice]) -> Iterator[Happening]:
    for invoice in invoices:
        url = page_url("billing.invoice", invoice.pk)
        total = minor_text(invoice.total_minor, invoice.currency)
        yield Happening(invoice.created_at, "Invoice drafted", str(invoice), url)
        if invoice.finalized_at is not None:
            yield Happening(invoice.finalized_at, "Invoice finalised", f"{invoice}: {total}", url, "waiting")
        if invoice.paid_at is not None:
            yield Happening(invoice.paid_at, "Invoice paid", f"{invoice}: {total}", url, "good")


def _of_payments(payments: Iterable[Payment]) -> Iterator[Happening]:
    for payment in payments:
        amount = minor_text(payment.amount_minor, payment.currency)
        url = page_url("billing.payment", payment.pk)
        if payment.status == Payment.Status.FAILED:
            yield Happening(payment.occurred_at, "Payment declined", f"{amount}: {payment.failure_message}", url, "bad")
        else:
            done = payment.status == Payment.Status.SUCCEEDED
            what = f"Payment {payment.get_status_display().lower()}"
            yield Happening(payment.occurred_at, what, amount, url, "good" if done else "waiting")


def _of_refunds(customer: Customer) -> Iterator[Happening]:
    for refund in Refund.objects.filter(payment__customer=customer)[:REFUNDS_SHOWN]:
        amount = minor_text(refund.amount_minor, refund.currency)
        url = page_url("billing.refund", refund.pk)
        yield Happening(refund.occurred_at, "Refund asked for", amount, url)
        why = refund.failure_reason.replace("_", " ")
        if refund.returned_at is not None:
            yield Happening(
                refund.returned_at,
                "Refund came back",
                f"{amount}: {why}",
                url,
                "bad",
            )


def _of_disputes(customer: Customer) -> Iterator[Happening]:
    for dispute in Dispute.objects.filter(payment__customer=customer)[:REFUNDS_SHOWN]:
        amount = minor_text(dispute.amount_minor, dispute.currency)
        url = page_url("billing.dispute", dispute.pk)
        yield Happening(
            dispute.occurred_at, "Charge disputed", f"{amount}: {dispute.reason.replace('_', ' ')}", url, "bad"
        )
        if dispute.closed_at is not None:
            tone = "bad" if dispute.status == Dispute.Status.LOST else "good"
            yield Happening(dispute.closed_at, f"Dispute {dispute.get_status_display().lower()}", amount, url, tone)


def _of_accruals(customer: Customer) -> Iterator[Happening]:
    found = UsageAccrual.objects.filter(period__subscription__customer=customer).select_related("period")
    for accrual in found.order_by("-id")[:ACCRUALS_SHOWN]:
        rated = exact_text(accrual.rated, customer.currency)
        unbilled = exact_text(accrual.unbilled, customer.currency)
        url = page_url("billing.usageaccrual", accrual.pk)
        yield Happening(accrual.recorded_at, "Usage accrued", f"{rated}, of it {unbilled} to be invoiced", url)


def _of_late_usage(customer: Customer) -> Iterator[Happening]:
    """What was found after a close, and what was done about it."""
    for row in late_page.rows(LateUsage.objects.filter(accrual__period__subscription__customer=customer)):
        late, url = row.late, page_url("billing.lateusage", row.late.pk)
        tone = "bad" if late.state == LateUsage.State.DECISION else "waiting"
        text = f"{row.period}: {row.what}; to invoice {row.unbilled}"
        yield Happening(late.accrual.recorded_at, "Late usage found", text, url, tone)
        if late.settled_at is not None:
            yield Happening(late.settled_at, "Late usage settled", late.outcome, url, "good")


def _of_close_steps(customer: Customer) -> Iterator[Happening]:
    found = InvoiceCloseStep.objects.filter(close__invoice__customer=customer).select_related("close__invoice")
    for step in found.order_by("-id")[:STEPS_SHOWN]:
        url = page_url("billing.invoiceclose", step.close_id)
        label = step.get_step_display()
        what = f"Close: {label[0].lower()}{label[1:]}"  # Stripe keeps its capital
        yield Happening(step.recorded_at, what, str(step.close.invoice), url)
