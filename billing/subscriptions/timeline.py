"""What happened to a subscription, told as one list, the newest first; its periods as a bar. Reads only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.accounting.manual_entry_page import person
from billing.admin_links import page_url
from billing.invoicing.models import Invoice
from billing.money_text import minor_text
from billing.payments.models import Payment
from billing.stripe.models import OutboxIntent
from billing.subscriptions.change_models import (
    ChangePreview,
    EndOutcome,
    EndPreview,
    ScheduledChange,
    SubscriptionEvent,
)
from billing.subscriptions.comparing import Row, side_by_side
from billing.subscriptions.end_previews import outdated, standing_of
from billing.subscriptions.models import BillingPeriod, Subscription

May = Callable[[str], bool]
Kind, State = SubscriptionEvent.Kind, ScheduledChange.State
SHOWN_MAX, PREVIEWS_SHOWN, BAR_PERIODS = 80, 5, 12
BAR_WIDTH, BAR_HEIGHT = 1000, 26
SEES_INVOICES, SEES_PAYMENTS = "billing.view_invoice", "billing.view_payment"
TONES = {
    Kind.STARTED: "good", Kind.RESUMED: "good", Kind.RELEASED: "good", Kind.CANCEL_UNDONE: "good",
    Kind.TRIAL_MOVED: "waiting", Kind.CYCLE_MOVED: "waiting",
    Kind.PAUSED: "waiting", Kind.CANCEL_PLANNED: "waiting", Kind.SCHEDULE: "waiting",
    Kind.ENDED: "bad", Kind.HELD: "bad",
}  # fmt: skip
SCHEDULED_TONES = {State.REFUSED: "bad", State.DONE: "good", State.WAITING: "waiting"}


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened: what, from what to what, who and why. `tone` is the colour of its dot."""

    at: datetime
    what: str
    detail: str = ""
    who: str = ""
    why: str = ""
    recorded_at: datetime | None = None
    request_id: str = ""
    url: str = ""
    tone: str = "plain"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A period as a part of the bar, in its units."""

    x: int
    width: int
    tone: str
    title: str
    url: str


@dataclass(frozen=True, slots=True)
class ShownPreview:
    """A preview with its lines side by side, and whether anything differs."""

    preview: ChangePreview
    rows: list[Row]
    is_made: bool
    is_invoiced: bool
    end: EndPreview | None = None
    outcome: EndOutcome | None = None
    # What a preview of an end rests on and is no more so; of one that was asked for nothing.
    outdated: Sequence[str] = ()

    @property
    def agrees(self) -> bool:
        as_said = self.outcome is None or not self.outcome.differences
        return as_said and all(row.agrees for row in self.rows)


def timeline(subscription: Subscription, *, may: May) -> list[Happening]:
    """Everything that the reader may see, the newest first."""
    found = [*_of_events(subscription), *_of_scheduled(subscription)]
    if may(SEES_INVOICES):
        found += _of_invoices(subscription)
    if may(SEES_PAYMENTS):
        found += _of_payments(subscription)
    return sorted(found, key=lambda one: one.at, reverse=True)[:SHOWN_MAX]


def bar(subscription: Subscription) -> list[Stretch]:
    """The latest periods side by side, each as long as it is."""
    rows = list(
        BillingPeriod.objects.filter(subscription=subscription)
        .select_related("plan_version__plan")
        .order_by("-starts_at")[:BAR_PERIODS]
    )[::-1]
    if not rows:
        return []
    begin, end = rows[0].starts_at, rows[-1].ends_at
    total = end - begin

    def place(at: datetime) -> int:
        return (at - begin) * BAR_WIDTH // total if total > timedelta(0) else 0

    return [
        Stretch(
            x=place(row.starts_at),
            width=max(2, place(row.ends_at) - place(row.starts_at) - 2),
            tone={"regular": "good", "trial": "waiting", "paused": "bad"}[row.kind],
            title=f"{row.starts_at:%d %b %Y %H:%M} – {row.ends_at:%d %b %Y %H:%M} UTC: {row.get_kind_display()},"
            f" {row.plan_version}, {row.seats} seat{'' if row.seats == 1 else 's'}",
            url=page_url("billing.billingperiod", row.pk),
        )
        for row in rows
    ]


def shown_previews(subscription: Subscription) -> list[ShownPreview]:
    """The latest previews of changes that were made, or that somebody may make yet; lines side by side."""
    found = ChangePreview.objects.filter(subscription=subscription).prefetch_related("lines", "requests__events")
    previews = list(found.select_related("outcome", "end__outcome", "plan_version__plan")[:PREVIEWS_SHOWN])
    made = {one.pk for one in previews if any(request.events.all() for request in one.requests.all())}
    ends = {one.pk: one.end for one in previews if hasattr(one, "end")}
    current = standing_of(subscription.pk) if ends.keys() - made else {}
    return [
        ShownPreview(
            preview,
            side_by_side(list(preview.lines.all()), is_invoiced_known=hasattr(preview, "outcome")),
            is_made=preview.pk in made,
            is_invoiced=hasattr(preview, "outcome") or _outcome(preview) is not None,
            end=ends.get(preview.pk),
            outcome=_outcome(preview),
            outdated=_outdated(ends.get(preview.pk), current) if preview.pk not in made else (),
        )
        for preview in previews
    ]


def _outdated(end: EndPreview | None, current: Mapping[str, str]) -> Sequence[str]:
    return list(outdated(end, current=current).values()) if end is not None else ()


def _outcome(preview: ChangePreview) -> EndOutcome | None:
    found: EndOutcome | None = getattr(getattr(preview, "end", None), "outcome", None)
    return found


def _of_events(subscription: Subscription) -> Iterator[Happening]:
    events = list(subscription.events.select_related("request").order_by("-pk")[:SHOWN_MAX])
    purposes = [event.request.purpose for event in events if event.request is not None]
    requests = dict(OutboxIntent.objects.filter(purpose__in=purposes).values_list("purpose", "request_id"))
    for event in events:
        change = " → ".join(part for part in (event.before, event.after) if part)
        yield Happening(
            event.effective_at,
            event.get_kind_display(),
            change,
            person(event.actor),
            event.reason,
            recorded_at=event.recorded_at,
            request_id=requests.get(event.request.purpose, "") if event.request is not None else "",
            tone=TONES.get(Kind(event.kind), "plain"),
        )


def _of_scheduled(subscription: Subscription) -> Iterator[Happening]:
    rows = ScheduledChange.objects.filter(subscription=subscription).select_related("plan_version__plan")
    for row in rows.order_by("-pk")[:SHOWN_MAX]:
        tone = SCHEDULED_TONES.get(State(row.state), "plain")
        detail = " · ".join(part for part in (scheduled_text(row), row.detail) if part)
        yield Happening(
            row.requested_at, f"Scheduled: {row.get_state_display().lower()}", detail, person(row.requested_by),
            row.reason, recorded_at=row.settled_at, tone=tone,
        )  # fmt: skip


def scheduled_text(row: ScheduledChange) -> str:
    """What is to happen and when, in words."""
    when = f"on {row.effective_at:%d %b %Y %H:%M:%S} UTC"
    if row.plan_version is None:
        return f"The pause ends {when}"
    extra = f" and {len(row.add_ons)} add-on{'' if len(row.add_ons) == 1 else 's'}" if row.add_ons else ""
    return f"{row.plan_version}, {row.seats} seat{'' if row.seats == 1 else 's'}{extra} {when}"


def _of_invoices(subscription: Subscription) -> Iterator[Happening]:
    for invoice in Invoice.objects.filter(subscription=subscription).order_by("-pk")[:SHOWN_MAX]:
        total, url = minor_text(invoice.total_minor, invoice.currency), page_url("billing.invoice", invoice.pk)
        if invoice.finalized_at is None:
            yield Happening(invoice.created_at, "Invoice drafted", str(invoice), url=url)
        else:
            tone = {"paid": "good", "open": "waiting"}.get(invoice.status, "bad")
            said = f"{invoice}: {total}, {invoice.get_status_display().lower()}"
            yield Happening(invoice.finalized_at, "Invoice finalised", said, url=url, tone=tone)


def _of_payments(subscription: Subscription) -> Iterator[Happening]:
    paid = Payment.objects.filter(invoice__subscription=subscription).order_by("-pk")[:SHOWN_MAX]
    for payment in paid:
        amount, url = minor_text(payment.amount_minor, payment.currency), page_url("billing.payment", payment.pk)
        tone = {"succeeded": "good", "failed": "bad"}.get(payment.status, "waiting")
        yield Happening(
            payment.occurred_at, f"Payment {payment.get_status_display().lower()}", amount, url=url, tone=tone
        )
