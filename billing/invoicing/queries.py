"""Reading invoices and closes."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import DecimalField, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Coalesce, Greatest

from billing.invoicing.late_models import AbsorbedUsage, LateCorrection, LateCreditLine
from billing.invoicing.models import (
    Invoice,
    InvoiceClose,
    InvoiceLine,
)
from billing.payments.operations import instant
from billing.rating.models import UsageAccrual
from billing.subscriptions.models import BillingPeriod

Status = Invoice.Status
BROKER_TIME = timedelta(seconds=30)
# An invoice only ever moves towards the end of this order; paid and void are ends.
_STAGES = {Status.DRAFT: 0, Status.OPEN: 1, Status.UNCOLLECTIBLE: 2, Status.PAID: 3, Status.VOID: 3}


def stage(status: str) -> int:
    """How far in its life an invoice with this status is."""
    return _STAGES[Status(status)]


def projected_fields(fetched: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of Invoice that follow Stripe's object."""
    moments = fetched["status_transitions"]
    return {
        "number": fetched.get("number") or "",
        "status": fetched["status"],
        "total_minor": fetched["total"],
        "amount_due_minor": fetched["amount_due"],
        "amount_paid_minor": fetched["amount_paid"],
        "amount_remaining_minor": fetched["amount_remaining"],
        "discount_minor": sum(entry["amount"] for entry in fetched.get("total_discount_amounts") or []),
        "tax_minor": sum(entry["amount"] for entry in fetched.get("total_taxes") or []),
        "credited_before_payment_minor": fetched["pre_payment_credit_notes_amount"],
        "credited_after_payment_minor": fetched["post_payment_credit_notes_amount"],
        "starting_balance_minor": fetched["starting_balance"],
        "ending_balance_minor": fetched.get("ending_balance"),
        "attempt_count": fetched["attempt_count"],
        "next_payment_attempt_at": _instant_or_none(fetched.get("next_payment_attempt")),
        "due_at": _instant_or_none(fetched.get("due_date")),
        "finalized_at": _instant_or_none(moments.get("finalized_at")),
        "paid_at": _instant_or_none(moments.get("paid_at")),
        "voided_at": _instant_or_none(moments.get("voided_at")),
    }


def covers(invoice: Invoice, snapshot: Mapping[str, Any]) -> bool:
    """
    Whether an event that showed this snapshot can tell nothing new about the invoice.

    Either the row is already further than that, or it says the same. A change after it has an event of its own.
    A draft that is being closed is not followed: the close compares it with Stripe itself before it finalises.
    """
    if stage(snapshot["status"]) < stage(invoice.status):
        return True
    if invoice.status == Status.DRAFT == snapshot["status"]:
        return InvoiceClose.objects.filter(invoice=invoice).exists()
    return all(getattr(invoice, name) == value for name, value in projected_fields(snapshot).items())


def due_closes(*, now: datetime, limit: int) -> list[int]:
    """
    Closes nobody brings to a worker any more, the longest waiting first.

    Those that waited or failed are due when they said. One without an attempt has just begun or finished a step: its
    task is under way, and only after BROKER_TIME it counts as lost.
    """
    is_due = Q(attempts__gt=0, next_attempt_at__lte=now) | Q(next_attempt_at__lte=now - BROKER_TIME)
    unfinished = InvoiceClose.objects.filter(is_due, held_reason="").exclude(step__in=InvoiceClose.ENDS)
    return list(unfinished.order_by("next_attempt_at", "id").values_list("pk", flat=True)[:limit])


def is_part_of_a_cycle(period: BillingPeriod) -> bool:
    """Whether the period ended because its terms changed: it is open, and no invoice of its own ever closed it."""
    return period.state == BillingPeriod.State.OPEN and not InvoiceClose.objects.filter(period=period).exists()


def earlier_periods_to_settle(period: BillingPeriod) -> QuerySet[BillingPeriod]:
    """
    Earlier periods of the subscription that may hold usage on no invoice: the latest one, whose late events nobody may
    have accrued, those never closed, and those accrued again after their last invoice (or whose invoice is void),
    after what of them was absorbed and after the document that corrected them.
    """
    earlier = BillingPeriod.objects.filter(subscription_id=period.subscription_id, ends_at__lte=period.starts_at)
    accruals = UsageAccrual.objects.filter(period=OuterRef("pk")).order_by("-revision")
    lines = InvoiceLine.objects.filter(period=OuterRef("pk"), kind=InvoiceLine.Kind.USAGE)
    billed = lines.exclude(invoice__status=Status.VOID).order_by("-accrual_id")
    absorbed = AbsorbedUsage.objects.filter(period=OuterRef("pk")).order_by("-accrual_id")
    corrected = LateCorrection.objects.filter(period=OuterRef("pk")).order_by("-accrual_id")
    standing = corrected.exclude(state=LateCorrection.State.REFUSED).filter(credit_note__unwound_at=None)
    marked = earlier.annotate(
        accrued_last=Subquery(accruals.values("pk")[:1]),
        # GREATEST of PostgreSQL leaves out what is not there.
        billed_last=Greatest(
            Subquery(billed.values("accrual_id")[:1]),
            Subquery(absorbed.values("accrual_id")[:1]),
            Subquery(standing.values("accrual_id")[:1]),
        ),
    )
    is_behind = Q(accrued_last__isnull=False) & (Q(billed_last__isnull=True) | ~Q(accrued_last=F("billed_last")))
    is_open_or_latest = Q(state=BillingPeriod.State.OPEN) | Q(ends_at=period.starts_at)
    # One of several invoices of a period may have become void after a later one billed the rest.
    void = InvoiceLine.objects.filter(period=OuterRef("pk"), kind=InvoiceLine.Kind.USAGE, invoice__status=Status.VOID)
    has_void_rest = Exists(void) & ~Q(uninvoiced=0)
    marked = marked.annotate(uninvoiced=uninvoiced_amount())
    return marked.filter(is_behind | is_open_or_latest | has_void_rest).order_by("starts_at")


def uninvoiced_amount() -> CombinedExpression:
    """
    For a query of billing periods: what of each is on no invoice, net, in currency units, exact.

    The same sum as `rating.queries.uninvoiced` gives by rate: accrued, less usage lines, less what was absorbed and
    what credit notes for late usage gave back.
    """
    lines = InvoiceLine.objects.filter(period=OuterRef("pk"), kind=InvoiceLine.Kind.USAGE)
    lines = lines.exclude(invoice__status=Status.VOID)
    given_back = LateCreditLine.objects.filter(correction__period=OuterRef("pk"))
    given_back = given_back.filter(correction__credit_note__unwound_at=None)
    given_back = given_back.exclude(correction__state=LateCorrection.State.REFUSED)
    return (
        _summed(UsageAccrual.objects.filter(period=OuterRef("pk")), "period", "unbilled")
        - _summed(lines, "period", "exact_amount")
        - _summed(AbsorbedUsage.objects.filter(period=OuterRef("pk")), "period", "amount")
        - _summed(given_back, "correction__period", "exact_amount")
    )


def _summed(rows: QuerySet[Any], by: str, amount: str) -> Coalesce:
    exact = DecimalField(max_digits=38, decimal_places=12)
    sums = rows.order_by().values(by).annotate(of_period=Sum(amount)).values("of_period")
    return Coalesce(Subquery(sums, output_field=exact), Value(Decimal(0), output_field=exact))


def _instant_or_none(unix_seconds: int | None) -> datetime | None:
    return None if unix_seconds is None else instant(unix_seconds)
