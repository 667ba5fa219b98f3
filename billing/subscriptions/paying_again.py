"""What a reactivation asks for: the fee of the new subscription, and what of the old one is used for it or lost."""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from django.db.models import Sum

from billing.catalog.fees import fee_minor_of
from billing.invoicing.models import Invoice, InvoiceLine
from billing.payments.queries import customer_balance_minor
from billing.subscriptions.at_stripe import items_of
from billing.subscriptions.change_models import SubscriptionEvent, SubscriptionRequest
from billing.subscriptions.discounts import MADE_WITHIN
from billing.subscriptions.end_previews import STRIPES_NOW, fee_given_back
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import cadence_of
from billing.subscriptions.proration import Rounding, line_minor, part_left, rounded
from billing.subscriptions.queries import latest_period

Kind = SubscriptionEvent.Kind


@dataclass(frozen=True, slots=True)
class PaidAgain:
    """
    Minor units, before tax. `unused_minor` was billed, less discounts, for the time from the end to `unused_until` and
    not given back: a new subscription begins a period of its own, so it is paid again, without a discount.
    """

    currency: str
    fee_minor: int
    from_balance_minor: int
    unused_minor: int
    unused_until: datetime | None


def what_is_paid_again(ended: Subscription, *, now: datetime) -> PaidAgain:
    """
    What reactivating it now would ask for. What an end gave back lies on the customer's balance, from which Stripe pays
    the first invoice; what it did not give back is nobody's any more, until somebody issues credit for it.
    """
    fee = _first_fee(ended, now=now)
    unused, until = _unused(ended)
    balance = max(0, -customer_balance_minor(ended.customer_id))
    return PaidAgain(
        ended.plan_version.currency,
        fee_minor=fee,
        from_balance_minor=min(balance, fee),
        unused_minor=unused,
        unused_until=until if unused else None,
    )


def _first_fee(ended: Subscription, *, now: datetime) -> int:
    """The fees of the last terms; of a calendar's period that has begun, the part that is left, each floored."""
    fees = [fee_minor_of(item.version, item.seats) for item in items_of(ended, at=ended.ended_at or now)]
    cadence = cadence_of(ended)
    if cadence.zone is None:
        return sum(fees)
    part = part_left(*cadence.containing(now), now)
    return sum(line_minor(fee, part, rounding=Rounding.STRIPE) for fee in fees)


def _unused(ended: Subscription) -> tuple[int, datetime | None]:
    last, ended_at = latest_period(ended.pk), ended.ended_at
    if last is None or ended_at is None or last.kind != BillingPeriod.Kind.REGULAR:
        return 0, None
    start, until = cadence_of(ended).containing(ended_at)
    if ended_at - start <= STRIPES_NOW:
        return 0, None  # it ended with its period
    billed = -sum(one.amount_minor for one in fee_given_back(ended, last, ends_at=ended_at, is_over=True))
    billed = _less_discount(ended, billed, cycle_start=start)
    return max(0, billed - _given_back(ended, billed, ended_at=ended_at)), until


def _less_discount(ended: Subscription, billed: int, *, cycle_start: datetime) -> int:
    """What is left of it after the discounts on the cycle's invoice, by our rows: Stripe is not asked for a page."""
    invoices = Invoice.objects.filter(
        subscription=ended, created_at__gte=cycle_start - MADE_WITHIN, created_at__lte=cycle_start + MADE_WITHIN
    ).exclude(status=Invoice.Status.VOID)
    fees = InvoiceLine.objects.filter(invoice__in=invoices, kind=InvoiceLine.Kind.FEE, amount_minor__gt=0)
    sums = fees.aggregate(gross=Sum("amount_minor"), off=Sum("discount_minor"))
    gross, off = sums["gross"] or 0, sums["off"] or 0
    return rounded(billed * Fraction(gross - off, gross), Rounding.OURS) if off else billed


def _given_back(ended: Subscription, billed: int, *, ended_at: datetime) -> int:
    """
    What the end credited: all or nothing, as that end was asked to. Of one that nobody asked for here, what invoices
    since then gave back, though an earlier change may have left some of it waiting.
    """
    asked = _came_of(ended, ended_at=ended_at)
    if asked is not None:
        return billed if asked.asked.get("prorate") else 0
    since = Invoice.objects.filter(subscription=ended, created_at__gte=ended_at - STRIPES_NOW)
    lines = InvoiceLine.objects.filter(
        invoice__in=since.exclude(status=Invoice.Status.VOID), kind=InvoiceLine.Kind.FEE, amount_minor__lt=0
    )
    return -sum(lines.values_list("amount_minor", flat=True))


def _came_of(ended: Subscription, *, ended_at: datetime) -> SubscriptionRequest | None:
    """Whose wish the end was: an end now, or a plan that nobody took back, and that came at its time."""
    said = ended.events.filter(kind__in=(Kind.ENDED, Kind.CANCEL_PLANNED, Kind.CANCEL_UNDONE))
    for event in said.select_related("request").order_by("-pk"):
        if event.kind == Kind.ENDED and event.request is None:
            continue
        is_planned = event.kind == Kind.CANCEL_PLANNED
        came = ended.cancel_at is not None and ended_at >= ended.cancel_at - STRIPES_NOW
        return event.request if event.kind == Kind.ENDED or (is_planned and came) else None
    return None
