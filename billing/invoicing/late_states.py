"""How far the late usage of a period has come: read and moved forward, inside the caller's transaction."""

from datetime import datetime

from django.db.models import QuerySet

from billing.catalog.models import LatePolicy, UsageDelivery
from billing.invoicing.late_intending import is_under_way
from billing.invoicing.models import Invoice
from billing.rating.models import LateUsage
from billing.subscriptions.models import BillingPeriod

State = LateUsage.State

ACTOR = "service:late_usage"
OUTCOME_CHARS_MAX = 500
NOTHING_TO_BILL = "The allowance and credits cover the change: there is nothing to bill"


def rows_of(period_id: int, *states: str) -> QuerySet[LateUsage]:
    """The late usage of a period in these states, the oldest first."""
    return LateUsage.objects.filter(accrual__period_id=period_id, state__in=states).order_by("pk")


def settle(rows: QuerySet[LateUsage], outcome: str, *, actor: str, now: datetime) -> None:
    """Nothing is left to do about these; `outcome` says what was done."""
    rows.update(state=State.SETTLED, outcome=outcome[:OUTCOME_CHARS_MAX], settled_by=actor, settled_at=now)


def may_go_onto_next_invoice(period: BillingPeriod) -> bool:
    """Whether an invoice that is being written may take what is left of an earlier period."""
    if rows_of(period.pk, State.DECISION, State.CORRECTING).exists():
        return False
    if period.plan_version.usage_delivery == UsageDelivery.METER_EVENTS and is_under_way(period.pk):
        return False  # a document asks for what Stripe left off an invoice
    by_next_invoice = period.plan_version.late_policy == LatePolicy.NEXT_INVOICE
    return by_next_invoice or not rows_of(period.pk, State.FOUND).exists()


def settle_on_invoice(*, period: BillingPeriod, invoice: Invoice, lines: int, now: datetime) -> None:
    """Say of what waited of a period that it is on this invoice now."""
    rows = rows_of(period.pk, State.FOUND, State.WAITING)
    if not lines:
        settle(rows, NOTHING_TO_BILL, actor=ACTOR, now=now)
        return
    rows.update(invoice=invoice)
    counted = "1 late line" if lines == 1 else f"{lines} late lines"
    settle(rows, f"{counted} on the invoice of {invoice.created_at:%d %b %Y}", actor=ACTOR, now=now)
