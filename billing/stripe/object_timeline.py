"""One Stripe object as a timeline: what Stripe told us about it, what became of that, and what the mirror holds now."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Model, Q, QuerySet
from djstripe.models.base import StripeModel

from billing.admin_links import list_url, page_url
from billing.customers.models import Customer
from billing.invoicing.models import CreditNote, Invoice
from billing.payments.models import BalanceTransaction, CustomerBalanceTransaction, Dispute, Payment, Payout, Refund
from billing.stripe import mirror
from billing.stripe.inbox_models import InboxFailure, InboxReplayedEvent
from billing.stripe.models import InboxEvent, OutboxIntent
from billing.subscriptions.models import Subscription

EVENTS_SHOWN_MAX = 200
ROWS_SHOWN_MAX = 50
May = Callable[[str], bool]
_TONES = {"done": "good", "failed": "bad", "dead": "bad"}


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of the timeline."""

    at: datetime
    what: str
    detail: str = ""
    url: str = ""
    tone: str = "plain"


@dataclass(frozen=True, slots=True)
class OurRow:
    """A row of ours that was projected from the object."""

    what: str
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class ObjectTimeline:
    """All of it; `is_cut` when only the latest events are shown."""

    object_id: str
    happenings: tuple[Happening, ...]
    is_cut: bool
    rows: tuple[OurRow, ...]
    mirrored: StripeModel | None
    mirror_url: str

    @property
    def is_known(self) -> bool:
        return bool(self.happenings or self.rows or self.mirrored)


def timeline_of(object_id: str, *, may: May) -> ObjectTimeline:
    """Everything about the object that the reader may see, newest first."""
    events = InboxEvent.objects.filter(object_id=object_id).order_by("-stripe_created_at", "-event_id")
    shown = list(events.defer("payload", "detail")[: EVENTS_SHOWN_MAX + 1])
    is_cut = len(shown) > EVENTS_SHOWN_MAX
    shown = shown[:EVENTS_SHOWN_MAX]
    happenings = [*map(_told, shown), *_failures(shown), *_replays(shown)]
    if may("billing.view_outboxintent"):
        happenings += _intents(object_id)
    happenings.sort(key=lambda one: one.at, reverse=True)
    mirrored = mirror.row_of(object_id) if may("billing.view_mirror") else None
    return ObjectTimeline(
        object_id=object_id,
        happenings=tuple(happenings),
        is_cut=is_cut,
        rows=tuple(_rows(object_id, may=may)),
        mirrored=mirrored,
        mirror_url=page_url(f"djstripe.{mirrored._meta.model_name}", mirrored.pk) if mirrored is not None else "",
    )


def _told(event: InboxEvent) -> Happening:
    came = "found by polling" if event.source == "poll" else "delivered"
    times = f"{event.deliveries} times" if event.deliveries > 1 else "once"
    parts = [f"{came} {times}, first {event.received_at:%d %b %H:%M:%S}", f"attempts: {event.attempts}"]
    parts.append(event.get_outcome_display() if event.outcome else event.get_state_display())
    if event.processed_at is not None:
        parts[-1] += f" {event.processed_at:%d %b %H:%M:%S}"
    return Happening(
        at=event.stripe_created_at,
        what=event.type,
        detail="; ".join(parts),
        url=page_url("billing.inboxevent", event.pk),
        tone=_TONES.get(event.state, "waiting"),
    )


def _failures(events: list[InboxEvent]) -> list[Happening]:
    found = InboxFailure.objects.filter(event__in=[event.pk for event in events]).order_by("-failed_at")
    types = {event.pk: event.type for event in events}
    return [
        Happening(
            at=failure.failed_at,
            what=f"Attempt {failure.attempt} at {types[failure.event_id]} failed"
            + (", set aside" if failure.is_final else ""),
            detail=failure.error,
            url=page_url("billing.inboxevent", failure.event_id),
            tone="bad",
        )
        for failure in found[:ROWS_SHOWN_MAX]
    ]


def _replays(events: list[InboxEvent]) -> list[Happening]:
    found = InboxReplayedEvent.objects.filter(event__in=[event.pk for event in events]).select_related("replay")
    types = {event.pk: event.type for event in events}
    return [
        Happening(
            at=one.replay.requested_at,
            what=f"{types[one.event_id]} put back into the queue",
            detail=f"{one.replay.requested_by}: {one.replay.reason}",
            url=page_url("billing.inboxreplay", one.replay_id),
            tone="waiting",
        )
        for one in found.order_by("-replay_id")[:ROWS_SHOWN_MAX]
    ]


def _intents(object_id: str) -> list[Happening]:
    found = OutboxIntent.objects.filter(Q(target=object_id) | Q(stripe_object_id=object_id)).defer("params")
    return [
        Happening(
            at=intent.created_at,
            what=f"We asked Stripe: {intent.operation}",
            detail=f"{intent.get_state_display()}; {intent.purpose}",
            url=page_url("billing.outboxintent", intent.pk),
            tone="bad" if intent.state == "refused" else "plain",
        )
        for intent in found.order_by("-created_at")[:ROWS_SHOWN_MAX]
    ]


_OURS: tuple[tuple[type[Model], tuple[str, ...]], ...] = (
    (Customer, ("stripe_customer_id",)),
    (Subscription, ("stripe_subscription_id",)),
    (Invoice, ("stripe_invoice_id",)),
    (CreditNote, ("stripe_credit_note_id",)),
    (Payment, ("stripe_payment_intent_id",)),
    (Refund, ("stripe_refund_id", "payment__stripe_payment_intent_id")),
    (Dispute, ("stripe_dispute_id", "payment__stripe_payment_intent_id")),
    (Payout, ("stripe_payout_id",)),
    (BalanceTransaction, ("stripe_source_id",)),
    (CustomerBalanceTransaction, ("stripe_invoice_id",)),
)


def _rows(object_id: str, *, may: May) -> list[OurRow]:
    found: list[OurRow] = []
    for model, names in _OURS:
        if not may(f"billing.view_{model._meta.model_name}"):
            continue
        meant = Q()
        for name in names:
            meant |= Q(**{name: object_id})
        rows: QuerySet[Any] = model._default_manager.filter(meant).order_by("pk")
        label = f"billing.{model._meta.model_name}"
        what = str(model._meta.verbose_name).capitalize()
        shown = list(rows[: ROWS_SHOWN_MAX + 1])
        found += [OurRow(what, str(row), page_url(label, row.pk)) for row in shown[:ROWS_SHOWN_MAX]]
        if len(shown) > ROWS_SHOWN_MAX:
            found.append(OurRow(what, "and more", list_url(label, q=object_id)))
    return found
