"""Giving up usage that no invoice asks for, such as that of a void invoice that shall not be billed again."""

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Sum

from billing.accounting.usage import post_usage_absorbed
from billing.customers.operations import lock_customer
from billing.invoicing.late_models import AbsorbedUsage, LateCorrection
from billing.invoicing.models import Invoice, InvoiceLine
from billing.rating import queries as rating_queries
from billing.rating.models import UsageAccrualLine
from billing.rating.queries import Uninvoiced
from billing.rating.rating import EXACT, ZERO
from billing.subscriptions.models import BillingPeriod

logger = logging.getLogger(__name__)


class AbsorptionError(Exception):
    """Usage cannot be absorbed as asked; nothing was written. `field` names what to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class StillUnderWay(AbsorptionError):
    """Usage cannot be absorbed now, and can later."""


def absorb_unbilled(
    *, period_id: int, reason: str, actor: str, idempotency_key: str, now: datetime
) -> list[AbsorbedUsage]:
    """
    Ask nobody to pay for usage of a closed period that is on no invoice, and say why; return what that was, by rate.

    Usage of the period that is accrued later is not part of it and is billed as any late usage. Said twice with the
    same key it returns what the first absorbed. Raises AbsorptionError and LedgerError.
    """
    if not reason.strip():
        raise AbsorptionError("reason", "absorbing usage needs a reason")
    with transaction.atomic():
        period = BillingPeriod.objects.select_related("subscription__customer").filter(pk=period_id).first()
        if period is None:
            raise AbsorptionError("period_id", f"there is no billing period {period_id}")
        # Whoever accrues or invoices this usage holds the customer too.
        lock_customer(customer_id=period.subscription.customer_id)
        before = list(AbsorbedUsage.objects.filter(idempotency_key=idempotency_key).order_by("pk"))
        if before:
            _require_same(before, period_id=period_id, key=idempotency_key)
            return before
        left = _absorbable(period_id)
        return give_up(period, left, reason=reason, actor=actor, idempotency_key=idempotency_key, now=now)


def absorb_void_lines(*, invoice: Invoice, reason: str, actor: str, key: str, now: datetime) -> list[AbsorbedUsage]:
    """
    Ask nobody to pay for the usage of a void invoice: by period and price what it asked for, as far as that is on no
    other invoice; nothing where nothing of it is left.

    `key` begins the idempotency key of each period. Inside the caller's transaction, the customer held. Raises
    StillUnderWay while a period of it is open or a document of its late usage is under way, and LedgerError.
    """
    asked: dict[int, dict[int, InvoiceLine]] = {}
    for line in invoice.lines.filter(kind=InvoiceLine.Kind.USAGE).order_by("period_id", "position"):
        if line.period_id is not None and line.rate_id is not None:
            asked.setdefault(line.period_id, {})[line.rate_id] = line
    require_at_rest(invoice)
    absorbed = []
    for period in BillingPeriod.objects.select_related("subscription__customer").filter(pk__in=asked).order_by("pk"):
        left = [
            _of_void_line(rest, asked[period.pk][rest.rate.pk])
            for rest in rating_queries.uninvoiced(period.subscription_id, period.pk)
            if rest.rate.pk in asked[period.pk]
        ]
        left = [rest for rest in left if rest.amount]
        if left:
            one_key = f"{key}:{period.pk}"
            absorbed += give_up(period, left, reason=reason, actor=actor, idempotency_key=one_key, now=now)
    return absorbed


def require_at_rest(invoice: Invoice) -> None:
    """Raise StillUnderWay while the usage of the invoice's periods is not complete or a document of it is made."""
    usage = invoice.lines.filter(kind=InvoiceLine.Kind.USAGE)
    if usage.filter(period__state=BillingPeriod.State.OPEN).exists():
        raise StillUnderWay("period_id", "a period of it is still open: its usage is not complete")
    under_way = LateCorrection.objects.filter(
        period_id__in=usage.values_list("period_id", flat=True), state=LateCorrection.State.INTENDED
    ).first()
    if under_way is not None:
        raise StillUnderWay("period_id", f"a document for late usage of period {under_way.period_id} is under way")


def _of_void_line(rest: Uninvoiced, line: InvoiceLine) -> Uninvoiced:
    """
    What of a void line is on no other document: the least of what it asked for, what is left now, and what was left of
    the usage it knew of. Usage accrued later is not part of it, nor what a second decision about it finds settled.
    """
    later = UsageAccrualLine.objects.filter(
        accrual__period=line.period, rate=rest.rate, accrual_id__gt=line.accrual_id
    ).aggregate(units=Sum("quantity"), money=Sum("unbilled"))
    units, money = later["units"] or ZERO, later["money"] or ZERO
    bounds = [
        rest,
        Uninvoiced(rest.rate, EXACT.subtract(rest.quantity, units), EXACT.subtract(rest.amount, money)),
        Uninvoiced(rest.rate, line.quantity, line.exact_amount),
    ]
    if any(EXACT.multiply(bound.amount, line.exact_amount) <= 0 for bound in bounds):
        return Uninvoiced(rest.rate, ZERO, ZERO)
    return min(bounds, key=lambda bound: abs(bound.amount))


def _absorbable(period_id: int) -> list[Uninvoiced]:
    """What of the period is on no invoice. Raises AbsorptionError while an invoice may still ask for it."""
    period = BillingPeriod.objects.get(pk=period_id)
    if period.state != BillingPeriod.State.CLOSED:
        raise AbsorptionError("period_id", f"period {period_id} is still open: its usage is not complete")
    if LateCorrection.objects.filter(period_id=period_id, state=LateCorrection.State.INTENDED).exists():
        raise AbsorptionError("period_id", f"a document for late usage of period {period_id} is under way")
    left = rating_queries.uninvoiced(period.subscription_id, period_id)
    if not left:
        raise AbsorptionError("period_id", f"all usage of period {period_id} is on an invoice or absorbed already")
    return left


def give_up(
    period: BillingPeriod, left: Sequence[Uninvoiced], *, reason: str, actor: str, idempotency_key: str, now: datetime
) -> list[AbsorbedUsage]:
    """Absorb just this of a period, once for the key. Inside the caller's transaction, the customer held."""
    customer, accrual = period.subscription.customer, rating_queries.latest_accrual(period.pk)
    assert accrual is not None  # there is usage, so it was accrued
    amount = ZERO
    for rest in left:
        amount = EXACT.add(amount, rest.amount)
    entry = post_usage_absorbed(
        idempotency_key=idempotency_key,
        customer_key=customer.customer_key,
        currency=customer.currency,
        period_id=period.pk,
        amount=amount,
        effective_at=now,
        recorded_at=now,
        actor=actor,
        reason=reason,
    )
    logger.info("%s absorbed %s %s of period %s (%s)", actor, amount, customer.currency, period.pk, reason)
    return AbsorbedUsage.objects.bulk_create(
        AbsorbedUsage(
            idempotency_key=idempotency_key,
            period=period,
            rate=rest.rate,
            accrual=accrual,
            quantity=rest.quantity,
            amount=rest.amount,
            reason=reason,
            absorbed_by=actor,
            recorded_at=now,
            journal_entry_id=entry.id if entry else None,
        )
        for rest in left
    )


def _require_same(before: Sequence[AbsorbedUsage], *, period_id: int, key: str) -> None:
    if any(row.period_id != period_id for row in before):
        raise AbsorptionError("idempotency_key", f"the key {key} absorbed usage of another period")
