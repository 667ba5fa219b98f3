"""
What each period and price comes to at Stripe's meter, in whole chargeable increments: read in a flat number of queries
for any number of periods. The rule itself is pure.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet, Sum

from billing.catalog.models import UsageDelivery
from billing.invoicing.late_models import AbsorbedUsage, LateCorrection, LateCreditLine
from billing.invoicing.metered.models import MeteredEvent, MeteredPrice, MeteredWithdrawal
from billing.invoicing.models import (
    Invoice,
    InvoiceClose,
    InvoiceLine,
)
from billing.invoicing.rounding import chargeable_increment_minor, to_minor
from billing.rating.models import UsageAccrualLine
from billing.rating.rating import EXACT, ZERO
from billing.subscriptions.models import BillingPeriod

MINUTE = timedelta(minutes=1)
# Stripe's item may begin a little after our period (the first one, a calendar whose clocks were put forward): so long
# after the beginning nothing bears a time of this period.
FIRST_AFTER = timedelta(hours=2)
# What Stripe takes (https://docs.stripe.com/api/billing/meter-event/create), less what clocks may differ by.
PAST_MAX = timedelta(days=35) - timedelta(hours=1)
# period and metered price
Key = tuple[int, int]
NOT_COUNTED = MeteredEvent.State.NOT_COUNTED


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What one price of one period comes to: `target` and what was sent and counts or may yet (`sent`), in increments.

    `number` is of the last event. `refused` are the events at the end of the row, one after the other, that do not
    count; `under_way` is one that has no answer.
    """

    period: BillingPeriod
    price: MeteredPrice
    target: int
    sent: int
    number: int
    minutes: frozenset[datetime]
    refused: tuple[MeteredEvent, ...] = ()
    under_way: MeteredEvent | None = None

    @property
    def delta(self) -> int:
        """What has to be sent now, of either sign."""
        return self.target - self.sent


def increments(amount: Decimal, currency: str) -> int:
    """Pure: an exact amount in chargeable increments, rounded once as lines are; below zero it is nothing."""
    return max(0, to_minor(amount, currency) // chargeable_increment_minor(currency))


def minutes_of(period: BillingPeriod) -> tuple[datetime, datetime]:
    """
    Pure: the first and the last minute that an event of the period may bear; the last is first where none may. In one
    that was cut short after something was sent, what takes that back may bear any minute.
    """
    first, last = _minute_from(period.starts_at + FIRST_AFTER), _minute(period.ends_at - MINUTE)
    return (first if first <= last else _minute_from(period.starts_at)), last


def bounds_of(period: BillingPeriod) -> tuple[datetime, datetime]:
    """Pure: the whole minutes of the period, half-open: what Stripe's summary can be asked for."""
    return _minute_from(period.starts_at), _minute(period.ends_at)


def minute_for(period: BillingPeriod, taken: Collection[datetime], *, now: datetime) -> datetime | None:
    """
    Pure: the minute that the next event bears, the latest that is free, not ahead of now; None where there is none
    within the period and within what Stripe still takes.
    """
    first, last = minutes_of(period)
    minute = min(_minute(now), last)
    oldest = max(first, _minute_from(now - PAST_MAX))
    while minute in taken:
        minute -= MINUTE
    return minute if minute >= oldest else None


def has_room(period: BillingPeriod) -> bool:
    """Pure: whether the period is long enough for usage to be sent in it."""
    return _minute_from(period.starts_at + FIRST_AFTER) <= _minute(period.ends_at - MINUTE)


def sendable() -> QuerySet[BillingPeriod]:
    """Open periods whose usage goes through meters, of subscriptions that Stripe knows."""
    periods = BillingPeriod.objects.filter(
        state=BillingPeriod.State.OPEN,
        plan_version__usage_delivery=UsageDelivery.METER_EVENTS,
        plan_version__metered_prices__isnull=False,
        subscription__stripe_subscription_id__isnull=False,
    )
    return periods.distinct()


def standings(periods: Collection[BillingPeriod]) -> list[Standing]:
    """
    What each price of the periods comes to. The periods have their subscription and plan version read.

    A flat number of queries. Of one that is closed, it is what the lines say that Stripe's meters brought; of one that
    goes onto its invoice as lines (`by_lines`), nothing but what Stripe billed already.
    """
    if not periods:
        return []
    ids = [period.pk for period in periods]
    versions = {period.plan_version_id for period in periods}
    prices: dict[int, list[MeteredPrice]] = {}
    for price in MeteredPrice.objects.filter(plan_version_id__in=versions).order_by("pk"):
        prices.setdefault(price.plan_version_id, []).append(price)
    open_amounts = _amounts([period.pk for period in periods if period.state == BillingPeriod.State.OPEN])
    lined = _metered_lines(ids)
    not_metered = by_lines(periods)
    taken = _minutes(periods)
    events: dict[Key, list[MeteredEvent]] = {}
    for event in MeteredEvent.objects.filter(period_id__in=ids).order_by("number"):
        events.setdefault((event.period_id, event.price_id), []).append(event)
    found = []
    for period in periods:
        for price in prices.get(period.plan_version_id, []):
            # What an invoice of Stripe's own billed within the period stays on the meter; the rest comes on top.
            target = lined.get((period.pk, price.pk), 0) // price.unit_minor
            if period.state == BillingPeriod.State.OPEN and period.pk not in not_metered:
                amount = open_amounts.get((period.pk, price.rate_id), ZERO)
                target += increments(amount, period.plan_version.currency)
            minutes = taken.get((period.subscription_id, price.pk), frozenset())
            found.append(_standing(period, price, target, events.get((period.pk, price.pk), []), minutes))
    return found


def by_lines(periods: Collection[BillingPeriod]) -> dict[int, str]:
    """Why the usage of some of these periods goes onto its invoice as lines, by period id; the others are metered."""
    ids = [period.pk for period in periods]
    found = {row.period_id: row.reason for row in MeteredWithdrawal.objects.filter(period_id__in=ids)}
    following = BillingPeriod.objects.filter(subscription=OuterRef("subscription"), starts_at=OuterRef("ends_at"))
    closes = InvoiceClose.objects.filter(period=OuterRef("pk"))
    cut = BillingPeriod.objects.filter(Exists(following), ~Exists(closes), pk__in=ids).values_list("pk", flat=True)
    for period_id in cut:
        found.setdefault(period_id, "Its terms changed before Stripe's period was over.")
    final = InvoiceClose.objects.filter(period_id__in=ids, invoice__finalized_at__isnull=False)
    for period_id in final.values_list("period_id", flat=True):
        found.setdefault(period_id, "Its invoice is final at Stripe.")
    for period in periods:
        subscription = period.subscription
        ends_with_it = subscription.cancel_at is not None and subscription.cancel_at <= period.ends_at
        if ends_with_it or subscription.ended_at is not None:
            found.setdefault(period.pk, "The subscription ends with it: its closing invoice is of our making.")
        if not has_room(period):
            found.setdefault(period.pk, "It is too short for a time of Stripe's.")
    return found


def _minutes(periods: Collection[BillingPeriod]) -> dict[Key, frozenset[datetime]]:
    """
    By subscription and price, the minutes that events bear already: also those of a period before, which may have been
    cut at an instant that they had gone beyond.
    """
    if not periods:
        return {}
    events = MeteredEvent.objects.filter(
        period__subscription_id__in={period.subscription_id for period in periods},
        minute_at__gte=min(period.starts_at for period in periods),
    )
    found: dict[Key, set[datetime]] = {}
    for subscription_id, price_id, minute in events.values_list("period__subscription_id", "price_id", "minute_at"):
        found.setdefault((subscription_id, price_id), set()).add(minute)
    return {key: frozenset(minutes) for key, minutes in found.items()}


def _standing(
    period: BillingPeriod,
    price: MeteredPrice,
    target: int,
    events: list[MeteredEvent],
    minutes: frozenset[datetime],
) -> Standing:
    refused: list[MeteredEvent] = []
    for event in reversed(events):
        if event.state != NOT_COUNTED:
            break
        refused.insert(0, event)
    return Standing(
        period=period,
        price=price,
        target=target,
        sent=sum(event.units for event in events if event.state != NOT_COUNTED),
        number=events[-1].number if events else 0,
        minutes=minutes,
        refused=tuple(refused),
        under_way=next((event for event in events if event.state == MeteredEvent.State.INTENDED), None),
    )


def _amounts(period_ids: Collection[int]) -> dict[Key, Decimal]:
    """By period and rate what is on no invoice yet, exact: as `rating.queries.uninvoiced`, for many periods at once."""
    amounts: dict[Key, Decimal] = {}

    def add(rows: QuerySet[Any], period: str, rate: str, amount: str, sign: int) -> None:
        for one in rows.order_by().values_list(period, rate).annotate(Sum(amount)):
            key = (one[0], one[1])
            amounts[key] = EXACT.add(amounts.get(key, ZERO), one[2] * sign)

    accrued = UsageAccrualLine.objects.filter(accrual__period_id__in=period_ids)
    add(accrued, "accrual__period_id", "rate_id", "unbilled", 1)
    lines = InvoiceLine.objects.filter(period_id__in=period_ids, kind=InvoiceLine.Kind.USAGE)
    add(lines.exclude(invoice__status=Invoice.Status.VOID), "period_id", "rate_id", "exact_amount", -1)
    add(AbsorbedUsage.objects.filter(period_id__in=period_ids), "period_id", "rate_id", "amount", -1)
    credited = LateCreditLine.objects.filter(
        correction__period_id__in=period_ids, correction__credit_note__unwound_at=None
    )
    credited = credited.exclude(correction__state=LateCorrection.State.REFUSED)
    add(credited, "correction__period_id", "invoice_line__rate_id", "exact_amount", -1)
    return amounts


def _metered_lines(period_ids: Iterable[int]) -> dict[Key, int]:
    """By period and metered price, the minor units of lines that Stripe's meters bring, or brought."""
    lines = InvoiceLine.objects.filter(period_id__in=period_ids, metered_price__isnull=False)
    rows = lines.exclude(invoice__status=Invoice.Status.VOID).order_by().values_list("period_id", "metered_price_id")
    return {(row[0], row[1]): row[2] for row in rows.annotate(Sum("amount_minor"))}


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _minute_from(at: datetime) -> datetime:
    minute = _minute(at)
    return minute if minute == at else minute + MINUTE
