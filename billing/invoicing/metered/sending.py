"""
Sending what usage comes to, as events of Stripe's meters: the difference between the target and what was sent, of
either sign. So tiers, late events, corrections, threshold invoices and repeated runs are all one rule.

An event is a row, committed before it is sent; the outbox sends it, once, however often it is asked to. The next one is
worked out only when this one is settled.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db import IntegrityError, transaction

from billing.customers.operations import lock_customer
from billing.invoicing.metered.models import MeteredEvent, MeteredWithdrawal
from billing.invoicing.metered.shortfalls import record_shortfalls
from billing.invoicing.metered.summaries import not_counted_of
from billing.invoicing.metered.targets import Standing, minute_for, sendable, standings
from billing.invoicing.models import InvoiceClose
from billing.stripe import gateway, outbox
from billing.stripe.errors import OutboxNeedsPerson, StripeRefused, StripeUnavailable
from billing.stripe.seconds import second_of
from billing.subscriptions.models import BillingPeriod

logger = logging.getLogger(__name__)

State = MeteredEvent.State
TASK = "task:send_metered_usage"
CLOSE = "service:invoicing"
AT_ONCE_MAX = 500
SENT_CACHE_KEY = "billing.metered.sent_through"
ERROR_CHARS_MAX = 500
# An event that did not count is sent again by itself so often; after that a person looks.
AGAIN_MAX = 1
# Stripe's refusal of an identifier that it has already: https://docs.stripe.com/api/billing/meter-event/create
KNOWN_IDENTIFIER = "already exists with identifier"
NO_TIME_LEFT = (
    "Stripe takes no event of {period} any more, or no minute of it is free; {units} increments were not sent."
)


class MeterStuck(Exception):
    """Events did not count, also when they were sent again, or cannot be sent: a person has to look."""


def send_usage(*, now: datetime, actor: str = TASK) -> int:
    """
    Send what the open periods come to, as bulk work; return how many events were sent.

    Found in a flat number of queries for all customers; one whose target did not move costs nothing more. Not inside a
    transaction. What Stripe does not answer is tried again by the next run.
    """
    ids = list(sendable().filter(starts_at__lte=now).order_by("pk").values_list("pk", flat=True))
    # A run may be ended by the time a task may take: the next one begins behind it, so that the first hide none.
    last = cache.get(SENT_CACHE_KEY, 0)
    ids.sort(key=lambda period_id: (period_id <= last, period_id))
    sent = 0
    with gateway.bulk_work():
        for start in range(0, len(ids), AT_ONCE_MAX):
            chunk = ids[start : start + AT_ONCE_MAX]
            _settle(list(_under_way(chunk)), now=now)
            events = write_events(chunk, actor=actor, now=now)
            sent += _settle(events, now=now)
            cache.set(SENT_CACHE_KEY, chunk[-1], timeout=None)
    return sent


def write_events(
    period_ids: Collection[int], *, actor: str, now: datetime, is_close: bool = False
) -> list[MeteredEvent]:
    """
    Write down the events that bring the meters of these periods to their targets, and return them; nothing is sent.

    Of a price that has an event under way nothing is written. Periods that somebody holds are left to the next run: a
    close, which waits for them, works its own out (`is_close`; raises MeterStuck).
    """
    with transaction.atomic():
        rows = BillingPeriod.objects.filter(pk__in=period_ids).select_related("subscription__customer", "plan_version")
        if is_close:
            # Who waits for a period holds its customer first, as whoever accrues it does.
            for customer_id in sorted({row.subscription.customer_id for row in rows}):
                lock_customer(customer_id=customer_id)
        held = rows.select_for_update(of=("self",), skip_locked=not is_close).order_by("pk")
        periods = [one for one in held if is_close or one.state == BillingPeriod.State.OPEN]
        events = [
            event
            for one in standings(periods)
            if one.delta and one.under_way is None
            for event in _event(one, actor=actor, now=now, is_close=is_close)
        ]
        return MeteredEvent.objects.bulk_create(events)


def _event(one: Standing, *, actor: str, now: datetime, is_close: bool) -> Iterable[MeteredEvent]:
    minute = minute_for(one.period, one.minutes, now=now)
    if len(one.refused) > AGAIN_MAX or (minute is None and now >= one.period.ends_at):
        why = (
            f"{one.refused[-1].identifier} did not count, sent again as it was: {one.refused[-1].error}"
            if len(one.refused) > AGAIN_MAX
            else NO_TIME_LEFT.format(period=one.period, units=one.delta)
        )
        if is_close:
            raise MeterStuck(why)
        logger.error("usage of period %s is not sent to Stripe's meter %s: %s", one.period.pk, one.price, why)
        return
    if minute is None:
        return  # the period has just begun
    number = one.number + 1
    yield MeteredEvent(
        period=one.period,
        price=one.price,
        number=number,
        identifier=f"usage-{one.period.pk}-{one.price.pk}-{number}",
        units=one.delta,
        total_units=one.target,
        minute_at=minute,
        again_of=one.refused[-1] if one.refused else None,
        made_at=now,
        made_by=actor,
    )


def _under_way(period_ids: Collection[int]) -> Iterable[MeteredEvent]:
    waiting = MeteredEvent.objects.filter(period_id__in=period_ids, state=State.INTENDED)
    return waiting.select_related("price", "period__subscription__customer").order_by("pk")


def _settle(events: Sequence[MeteredEvent], *, now: datetime) -> int:
    """Send events, or find what became of them; return how many Stripe has taken now."""
    taken = 0
    for event in events:
        try:
            taken += _send(event, now=now) == State.ACCEPTED
        except OutboxNeedsPerson as needed:
            logger.error("usage was not sent to Stripe's meters: %s", needed)
        except StripeUnavailable as failure:
            logger.warning("%s is sent by the next run: %s", event, failure)
    return taken


def _send(event: MeteredEvent, *, now: datetime) -> str:
    """
    Send one, once. An answer that was lost is asked for under the same key; after a day Stripe's summary of the event's
    own minute says whether it was taken. Raises StripeUnavailable.
    """
    try:
        outbox.perform(
            purpose=f"meter_event:{event.identifier}",
            operation="meter_events.create",
            target=event.price.stripe_meter_id,
            params=_params(event),
            now=now,
        )
    except StripeRefused as refused:
        if KNOWN_IDENTIFIER not in refused.message:
            return _record(event, State.NOT_COUNTED, now=now, error=str(refused))
    return _record(event, State.ACCEPTED, now=now)


def _params(event: MeteredEvent) -> dict[str, Any]:
    customer = event.period.subscription.customer
    return {
        "event_name": event.price.event_name,
        "identifier": event.identifier,
        "timestamp": second_of(event.minute_at),
        "payload": {"stripe_customer_id": str(customer.stripe_customer_id), "value": str(event.units)},
    }


def _record(event: MeteredEvent, state: str, *, now: datetime, error: str = "") -> str:
    # An error report may have said meanwhile that it does not count: that stays.
    mine = MeteredEvent.objects.filter(pk=event.pk, state=State.INTENDED)
    mine.update(state=state, answered_at=now, error=error[:ERROR_CHARS_MAX])
    return state


def bring_to_lines(*, close: InvoiceClose, now: datetime) -> int:
    """
    Bring the meters to what the lines of a close say: of its own period, and of the parts before it that have no close
    of their own. Return how many events that took. Not inside a transaction.

    Raises MeterStuck, and StripeUnavailable where one could not be sent.
    """
    return bring_to_targets(periods_of(close), now=now)


def bring_to_targets(ids: Collection[int], *, now: datetime) -> int:
    """As `bring_to_lines`, for these periods: what is closed, or goes as lines, is not left to move."""
    if not ids:
        return 0
    sent = 0
    for _ in range(AGAIN_MAX + 3):
        for event in _under_way(ids):
            _send(event, now=now)
        events = write_events(ids, actor=CLOSE, now=now, is_close=True)
        if not events:
            return sent
        for event in events:
            _send(event, now=now)
        sent += len(events)
    raise MeterStuck(f"the meters of the periods {sorted(ids)} move while they are closed")


def periods_of(close: InvoiceClose) -> list[int]:
    """The ids of the periods whose meters the close answers for: its own, and what was cut off before it."""
    return periods_until(close.period) if close.period is not None else []


def periods_until(last: BillingPeriod) -> list[int]:
    """The ids of a period and of what was cut off before it, since the latest period that has a close of its own."""
    periods = BillingPeriod.objects.filter(subscription_id=last.subscription_id, ends_at__lte=last.ends_at)
    metered = periods.filter(plan_version__metered_prices__isnull=False).distinct().order_by("pk")
    found = list(metered.values_list("pk", "starts_at"))
    if not found:
        return []  # most subscriptions know no meters: for them this is all that a close asks
    before = InvoiceClose.objects.filter(period__subscription_id=last.subscription_id)
    earlier = before.filter(period__ends_at__lt=last.ends_at).order_by("-period__ends_at")
    since = earlier.values_list("period__ends_at", flat=True).first()
    return [pk for pk, starts_at in found if since is None or starts_at >= since]


def withdraw(*, period: BillingPeriod, reason: str, now: datetime) -> None:
    """
    Let a period's usage go onto its invoice as lines, and bring its meters to nothing; said again, it goes on.

    Not inside a transaction. Raises StripeUnavailable where Stripe could not be told: what is under way is told later.
    """
    if not MeteredEvent.objects.filter(period=period).exists() and not period.plan_version.metered_prices.exists():
        return
    with transaction.atomic():
        lock_customer(customer_id=period.subscription.customer_id)
        MeteredWithdrawal.objects.get_or_create(period=period, defaults={"reason": reason, "recorded_at": now})
    for event in _under_way([period.pk]):
        _send(event, now=now)
    for event in write_events([period.pk], actor=CLOSE, now=now, is_close=True):
        _send(event, now=now)


def record_not_counted(*, identifiers: dict[str, str], now: datetime) -> int:
    """
    Write down which events Stripe says do not count, by identifier with its words; return how many were news.

    Inside the caller's transaction. What is sent instead is worked out by the next run, or by the close. An event of a
    period whose invoice was compared already is for people: it holds the invoice (`shortfalls`).
    """
    of_them = BillingPeriod.objects.filter(metered_events__identifier__in=identifiers).values("pk")
    # Held against a close that is compared at this moment: one of the two knows of the other.
    list(BillingPeriod.objects.select_for_update(no_key=True).filter(pk__in=of_them).order_by("pk"))
    rows = MeteredEvent.objects.filter(identifier__in=identifiers).exclude(state=State.NOT_COUNTED)
    rows = rows.select_related("period", "price")
    found = list(rows.select_for_update(of=("self",)).order_by("pk"))
    for event in found:
        event.state, event.error = State.NOT_COUNTED, identifiers[event.identifier][:ERROR_CHARS_MAX] or "Not counted."
        event.answered_at = event.answered_at or now
        event.save(update_fields=["state", "error", "answered_at"])
        logger.error("Stripe does not count %s: %s", event, event.error)
    record_shortfalls(found, now=now)
    return len(found)


def _require_not_shown(event: MeteredEvent, *, now: datetime) -> None:
    """What Stripe took and its summary of that minute does not show does not count. Raises MeterStuck for others."""
    one = next(row for row in standings([event.period]) if row.price.pk == event.price_id)
    shown = not_counted_of(one)
    if event.identifier not in shown:
        raise MeterStuck(f"Stripe's summary of its minute shows {event}: it counts.")
    with transaction.atomic():
        record_not_counted(identifiers={event.identifier: shown[event.identifier]}, now=now)


def send_again(*, event_id: int, reason: str, actor: str, now: datetime) -> MeteredEvent | None:
    """
    Send what did not count once more, because a person has mended why; None where nothing is left to send.

    Not inside a transaction. Raises MeterStuck where it cannot be sent, StripeUnavailable.
    """
    event = MeteredEvent.objects.select_related("period__subscription__customer", "period__plan_version").get(
        pk=event_id
    )
    if event.state == State.ACCEPTED:
        _require_not_shown(event, now=now)
    with transaction.atomic():
        lock_customer(customer_id=event.period.subscription.customer_id)
        rows = BillingPeriod.objects.select_related("subscription__customer", "plan_version")
        period = rows.select_for_update(of=("self",)).get(pk=event.period_id)
        one = next(row for row in standings([period]) if row.price.pk == event.price_id)
        minute = minute_for(period, one.minutes, now=now)
        if not one.delta or one.under_way is not None:
            return None
        if minute is None:
            raise MeterStuck(NO_TIME_LEFT.format(period=period, units=one.delta))
        number = one.number + 1
        try:
            with transaction.atomic():
                made = MeteredEvent.objects.create(
                    period=period,
                    price=one.price,
                    number=number,
                    identifier=f"usage-{period.pk}-{one.price.pk}-{number}",
                    units=one.delta,
                    total_units=one.target,
                    minute_at=minute,
                    again_of=one.refused[-1] if one.refused else None,
                    made_at=now,
                    made_by=actor,
                    reason=reason,
                )
        except IntegrityError as refused:
            raise MeterStuck(f"The invoice of {period} was compared already: {refused}") from refused
    made = MeteredEvent.objects.select_related("price", "period__subscription__customer").get(pk=made.pk)
    _send(made, now=now)
    made.refresh_from_db()
    return made
