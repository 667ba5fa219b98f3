"""Which documents settle what is left of a closed period; written down here, made at Stripe by `late_documents`."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Sum

from billing.invoicing.late_models import LateCorrection, LateCreditLine
from billing.invoicing.late_plans import Change, ChargedLine, Plan, by_invoice, plan
from billing.invoicing.models import CreditNoteLine, Invoice, InvoiceLine
from billing.rating import queries as rating_queries
from billing.rating.queries import Uninvoiced
from billing.subscriptions.models import BillingPeriod

Kind, State = LateCorrection.Kind, LateCorrection.State
CREDITABLE = (Invoice.Status.OPEN, Invoice.Status.PAID, Invoice.Status.UNCOLLECTIBLE)


def is_under_way(period_id: int) -> bool:
    """Whether a document of this period is intended and not made yet."""
    return LateCorrection.objects.filter(period_id=period_id, state=State.INTENDED).exists()


def plan_for(period: BillingPeriod, left: Sequence[Uninvoiced]) -> Plan:
    """Which documents would settle what is left of a period."""
    changes = [Change(rest.rate.pk, rest.quantity, rest.amount) for rest in left if rest.amount or rest.quantity]
    return plan(changes, _charged_lines(period), currency=period.plan_version.currency)


def intend(period: BillingPeriod, wanted: Plan, *, actor: str, now: datetime) -> list[LateCorrection]:
    """Write down the documents of a plan. Inside the caller's transaction, the customer held."""
    accrual = rating_queries.latest_accrual(period.pk)
    assert accrual is not None  # its change is what the plan is about
    common = {"period": period, "accrual": accrual, "intended_by": actor, "created_at": now}
    made = []
    for invoice_id, lines in by_invoice(wanted.credits).items():
        note = LateCorrection.objects.create(kind=Kind.CREDIT_NOTE, invoice_id=invoice_id, **common)
        LateCreditLine.objects.bulk_create(
            LateCreditLine(
                correction=note,
                invoice_line_id=line.line_id,
                quantity=line.quantity,
                exact_amount=line.exact_amount,
                amount_minor=line.amount_minor,
                rounding=line.rounding,
            )
            for line in lines
        )
        made.append(note)
    if wanted.increases:
        made.append(LateCorrection.objects.create(kind=Kind.DEBIT_NOTE, **common))
    return made


def _charged_lines(period: BillingPeriod) -> list[ChargedLine]:
    """The period's usage lines on finalised invoices, newest first, with what can still be given back of each."""
    lines = InvoiceLine.objects.filter(
        period=period, kind=InvoiceLine.Kind.USAGE, amount_minor__gt=0, invoice__status__in=CREDITABLE
    ).order_by("-invoice__created_at", "-pk")
    standing = CreditNoteLine.objects.filter(invoice_line__in=lines, credit_note__unwound_at=None)
    given_back = dict(standing.order_by().values_list("invoice_line").annotate(Sum("amount_minor")))
    return [
        ChargedLine(line.pk, line.invoice_id, line.rate_id or 0, line.amount_minor - given_back.get(line.pk, 0))
        for line in lines
    ]
