"""What becomes of usage that Stripe left off an invoice: found to be there again, or decided by a person."""

import logging
from datetime import datetime

from django.db import transaction
from django.db.models import Max, Q

from billing.accounting.people import may
from billing.customers.operations import lock_customer
from billing.invoicing.metered.closing import standings_of
from billing.invoicing.metered.models import MeteredShortfall, MeteredShortfallDecision
from billing.invoicing.metered.shortfalls import SERVICE, WAYS, Way, note_sent_again, waiting
from billing.invoicing.metered.summaries import read_summaries
from billing.invoicing.metered.targets import standings
from billing.invoicing.models import InvoiceClose
from billing.payments.two_people import AlreadyDecided, InvalidRequest, NotPermitted
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.stripe.models import InboxEvent
from billing.stripe.replaying import ReplayRefused, ReplayScope, replay
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import ENDED_STATUSES

logger = logging.getLogger(__name__)
DECIDE = "billing.decide_meteredshortfall"


def decide_shortfall(
    *, shortfall_id: int, way: str, reason: str, actor: str, now: datetime
) -> MeteredShortfallDecision:
    """
    Say what becomes of usage that Stripe left off an invoice, and of all else it left off the same line.

    It is carried out in the transaction that enters the invoice as Stripe charges it (`shortfalls.bring_lines`): what
    was refused of it is tried again. Raises NotPermitted, InvalidRequest and AlreadyDecided.
    """
    if not may(actor, DECIDE):
        raise NotPermitted(f"Deciding about it takes the permission {DECIDE}.")
    if not reason.strip():
        raise InvalidRequest("Say why, for whoever asks later.", field="reason")
    if way not in WAYS:
        raise InvalidRequest(f"{way!r} is not one of {', '.join(WAYS)}.", field="way")
    rows = MeteredShortfall.objects.select_related("event__period__subscription", "close__invoice")
    found = rows.filter(pk=shortfall_id).first()
    if found is None:
        raise InvalidRequest("There is no such shortfall.")
    with transaction.atomic():
        lock_customer(customer_id=found.event.period.subscription.customer_id)
        subscription = Subscription.objects.get(pk=found.event.period.subscription_id)
        same = _of_line(found)
        if found not in same:
            raise AlreadyDecided("It does not wait for a decision any more.")
        _require_lacking(found, sum(one.amount_minor for one in same))
        if way == Way.NEXT_INVOICE and subscription.status in ENDED_STATUSES:
            raise InvalidRequest("The subscription has ended: there is no next invoice.", field="way")
        if way == Way.ABSORB and sum(one.amount_minor for one in same) < 0:
            raise InvalidRequest("Stripe charges too much: give it back by a document.", field="way")
        made = MeteredShortfallDecision.objects.bulk_create(
            MeteredShortfallDecision(shortfall=one, way=way, reason=reason.strip(), decided_by=actor, decided_at=now)
            for one in same
        )
        try:
            scope = ReplayScope(object_id=found.close.invoice.stripe_invoice_id)
            replay(scope=scope, reason=f"Decided about usage left off it: {reason}"[:500], actor=actor, now=now)
        except ReplayRefused:
            pass  # nothing of it was refused: it is a draft still
    logger.info("%s decided about usage that Stripe left off %s: %s", actor, found.close.invoice, way)
    return next(one for one in made if one.shortfall_id == shortfall_id)


def _of_line(found: MeteredShortfall) -> list[MeteredShortfall]:
    """All that waits of the same close, period and price: what a line lacks is decided as one."""
    event = found.event
    return list(
        waiting().filter(close=found.close, event__period=event.period_id, event__price=event.price_id).order_by("pk")
    )


def _require_lacking(found: MeteredShortfall, lacking_minor: int) -> None:
    """Raise InvalidRequest where something was sent again for it: Stripe's summary says first what became of that."""
    price_id = found.event.price_id
    one = next(row for row in standings([found.event.period]) if row.price.pk == price_id)
    if one.under_way is not None or one.delta * one.price.unit_minor != lacking_minor:
        raise InvalidRequest(
            "It was sent again. Wait until Stripe's summary shows it; if it does not, that event does not count either."
        )


def settle_shortfalls(*, now: datetime) -> int:
    """
    Find what was sent again and counts; return how many that were. Not inside a transaction; safe to repeat. What
    Stripe does not answer, or refuses, is looked at again next time, and holds nothing else up.

    An event of a decided invoice that was refused while the decision was being made is tried again, once.
    """
    _try_again(now=now)
    settled = 0
    for close in (
        InvoiceClose.objects.filter(metered_shortfalls__in=waiting())
        .select_related("invoice")
        .distinct()
        .order_by("pk")
    ):
        try:
            settled += _find_sent_again(close, now=now)
        except (StripeRefused, StripeUnavailable) as failure:
            logger.warning("Stripe's summaries of %s are read again later: %s", close, failure)
    return settled


def _try_again(*, now: datetime) -> None:
    """Whose refusal was written down after the decision had looked for it, and who had not seen the decision."""
    decided = MeteredShortfallDecision.objects.filter(way__in=WAYS, shortfall__close__invoice__finalized_at=None)
    rows = decided.order_by().values_list("shortfall__close__invoice__stripe_invoice_id").annotate(Max("decided_at"))
    for invoice_id, decided_at in rows:
        failed = InboxEvent.objects.filter(object_id=invoice_id, state__in=ReplayScope.states_of_failures())
        unseen = failed.filter(Q(replayed_at=None) | Q(replayed_at__lt=decided_at)).values_list("pk", flat=True)
        if not unseen:
            continue
        try:
            scope = ReplayScope(event_ids=tuple(unseen))
            replay(scope=scope, reason="Usage left off it was decided about meanwhile", actor=SERVICE, now=now)
        except ReplayRefused as refused:
            logger.warning("what was refused of %s is not tried again: %s", invoice_id, refused)


def _find_sent_again(close: InvoiceClose, *, now: datetime) -> int:
    back = {(one.period.pk, one.price.pk) for one in standings_of(close) if not one.delta and one.under_way is None}
    lacking = [
        one
        for one in waiting().filter(close=close).select_related("event")
        if (one.event.period_id, one.event.price_id) in back
    ]
    if not lacking:
        return 0
    said = {row.price_id: row.agrees for row in read_summaries(standings_of(close), now=now)}
    agreeing = [one.pk for one in lacking if said.get(one.event.price_id)]
    with transaction.atomic():
        lock_customer(customer_id=close.invoice.customer_id)
        # Not what a person decided about while Stripe was asked, nor what was lost again.
        return note_sent_again(waiting().filter(pk__in=agreeing), now=now)
