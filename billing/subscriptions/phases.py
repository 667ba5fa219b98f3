"""
A subscription as one list of phases: what it was, is, and will be if nobody changes it. Half-open, without a gap; reads
only. What is to come is read from the scheduled changes, the pause and its planned end, and the end of the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.urls import reverse

from billing.admin_links import page_url
from billing.catalog.fees import InvalidFeeTiers, fee_minor_of
from billing.catalog.models import PlanVersion
from billing.subscriptions.at_stripe import items_of
from billing.subscriptions.change_models import ScheduledChange
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import Item, cadence_of
from billing.subscriptions.queries import latest_period
from billing.subscriptions.scheduling import Phase, waiting_for
from billing.subscriptions.timeline import BAR_WIDTH, Stretch

Kind = BillingPeriod.Kind
SECOND = timedelta(seconds=1)
ENDED = "ended"
PAST, NOW, PLANNED = "past", "now", "planned"
PERIODS_READ = 60
TONES = {Kind.REGULAR: "good", Kind.TRIAL: "waiting", Kind.PAUSED: "bad", ENDED: "plain"}
WORDS = {Kind.REGULAR: "Regular", Kind.TRIAL: "Trial", Kind.PAUSED: "Paused", ENDED: "Ended"}


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """
    One stretch of the same terms. `fee_minor` is that of a whole period, in minor units, before discount and tax; none
    where it cannot be said. Without `ends_at` it goes on until further notice.
    """

    starts_at: datetime
    ends_at: datetime | None
    kind: str
    when: str
    terms: str
    seats: int | None
    fee_minor: int | None
    currency: str
    periods: int = 0
    url: str = ""
    cancel_url: str = ""

    @property
    def word(self) -> str:
        return WORDS[self.kind]

    @property
    def tone(self) -> str:
        return TONES[self.kind]


@dataclass(frozen=True, slots=True)
class _Turn:
    """Something that changes at an instant; what is None stays."""

    at: datetime
    items: tuple[Item, ...] | None = None
    kind: str | None = None
    row: ScheduledChange | None = None


def phases_of(subscription: Subscription, *, planned: Sequence[Phase] | None = None, now: datetime) -> list[PhaseRow]:
    """All phases in their order, at most of the last PERIODS_READ periods; as if these were `planned`, if any."""
    found = _lived(subscription, now=now)
    latest = latest_period(subscription.pk)
    if latest is None or not found:
        return []
    end = subscription.ended_at or subscription.cancel_at
    if subscription.ended_at is None:
        found = _go_on(found, subscription, latest, end=end, planned=planned, now=now)
    if end is not None:
        found.append(_ended(end, found[-1], now=now))
    return found


def bar_of(rows: Sequence[PhaseRow]) -> list[Stretch]:
    """The phases side by side, each as long as it is; what has no end is drawn a quarter as long as all the rest."""
    if not rows:
        return []
    begin = rows[0].starts_at
    known = max(row.ends_at or row.starts_at for row in rows) - begin
    total = max(known + known / 4 if rows[-1].ends_at is None else known, SECOND)

    def place(at: datetime | None) -> int:
        return BAR_WIDTH if at is None else (at - begin) // SECOND * BAR_WIDTH // (total // SECOND)

    return [
        Stretch(
            x=place(row.starts_at),
            width=max(2, place(row.ends_at) - place(row.starts_at) - 2),
            tone=row.tone if row.when != PLANNED or row.kind == ENDED else f"{row.tone} bb-planned",
            title=f"{row.word}, {row.when}: {span_text(row)}: {row.terms}",
            url=row.url,
        )
        for row in rows
    ]


def span_text(row: PhaseRow) -> str:
    until = "until further notice" if row.ends_at is None else f"{row.ends_at:%d %b %Y %H:%M}"
    return f"{row.starts_at:%d %b %Y %H:%M} – {until}"


def _lived(subscription: Subscription, *, now: datetime) -> list[PhaseRow]:
    """Periods of the same kind and terms that follow each other, as one each."""
    periods = BillingPeriod.objects.filter(subscription=subscription).select_related("plan_version__plan")
    found: list[PhaseRow] = []
    keys: list[tuple[object, ...]] = []
    rows = periods.prefetch_related("add_ons__plan_version__plan").order_by("-starts_at")[:PERIODS_READ]
    for period in list(rows)[::-1]:
        own = [Item(one.plan_version, one.seats) for one in period.add_ons.all() if not one.is_bundled]
        items = (Item(period.plan_version, period.seats), *own)
        key = (period.kind, *((item.version.pk, item.seats) for item in items))
        if keys and keys[-1] == key:
            found[-1] = replace(found[-1], ends_at=period.ends_at, periods=found[-1].periods + 1)
        else:
            keys.append(key)
            url = page_url("billing.billingperiod", period.pk)
            found.append(_row(period.starts_at, period.ends_at, period.kind, items, now=now, periods=1, url=url))
    return [replace(one, when=_when(one.starts_at, one.ends_at, now)) for one in found]


def _go_on(
    found: list[PhaseRow],
    subscription: Subscription,
    latest: BillingPeriod,
    *,
    end: datetime | None,
    planned: Sequence[Phase] | None,
    now: datetime,
) -> list[PhaseRow]:
    """The running phase to where something changes, and what follows there, until the end."""
    own = [Item(one.plan_version, one.seats) for one in latest.add_ons.filter(is_bundled=False)]
    items: tuple[Item, ...] = (Item(latest.plan_version, latest.seats), *own)
    kind: str = latest.kind
    turns = [turn for turn in _turns(subscription, latest, planned, now=now) if end is None or turn.at < end]
    rows = found[:-1]
    running = found[-1]
    for turn in turns:
        after = (turn.items or items, turn.kind or kind)
        if after == (items, kind) and turn.row is None:
            continue
        if turn.at > running.starts_at:
            rows.append(replace(running, ends_at=turn.at, when=_when(running.starts_at, turn.at, now)))
        items, kind = after
        running = _row(max(turn.at, running.starts_at), None, kind, items, now=now, row=turn.row)
    return [*rows, replace(running, ends_at=end, when=_when(running.starts_at, end, now))]


def _turns(
    subscription: Subscription, latest: BillingPeriod, planned: Sequence[Phase] | None, *, now: datetime
) -> list[_Turn]:
    """What changes and when. What is due and was not carried out yet is still to come: it has not happened."""
    boundary = latest.ends_at
    if cadence_of(subscription).zone is None and latest.kind == Kind.TRIAL:
        boundary = subscription.anchor_at  # moved at Stripe, perhaps
    next_kind = Kind.PAUSED if subscription.paused_from is not None else Kind.REGULAR
    turns: list[_Turn] = []
    for row in waiting_for(subscription):
        if row.plan_version is None or row.seats is None:
            turns.append(_Turn(max(row.effective_at, now + SECOND), kind=Kind.REGULAR, row=row))
        elif planned is None or row.effective_at <= now:
            turns.append(_Turn(max(row.effective_at, now + SECOND), tuple(phase_of(row).items), row=row))
    turns += [_Turn(phase.effective_at, tuple(phase.items)) for phase in planned or ()]
    is_changed_before = any(turn.items is not None and turn.at < boundary for turn in turns)
    own = None if is_changed_before else tuple(items_of(subscription, at=latest.ends_at))
    turns.insert(0, _Turn(boundary, own, next_kind))  # first: a change with the boundary comes after it
    return sorted(turns, key=lambda turn: turn.at)


def phase_of(row: ScheduledChange) -> Phase:
    """The phase that a scheduled change of terms is. Raises ValueError for the end of a pause."""
    if row.plan_version is None or row.seats is None:
        raise ValueError(f"{row} is no change of terms")
    versions = PlanVersion.objects.select_related("plan").in_bulk([version for version, _ in row.add_ons])
    add_ons = tuple((versions[version], seats) for version, seats in row.add_ons)
    return Phase(row.effective_at, row.plan_version, row.seats, add_ons)


def _row(
    starts_at: datetime,
    ends_at: datetime | None,
    kind: str,
    items: Sequence[Item],
    *,
    now: datetime,
    periods: int = 0,
    url: str = "",
    row: ScheduledChange | None = None,
) -> PhaseRow:
    plan, *add_ons = items
    terms = " + ".join([str(plan.version), *(f"{item.version} × {item.seats}" for item in add_ons)])
    try:
        fee = sum(fee_minor_of(item.version, item.seats) for item in items) if kind == Kind.REGULAR else 0
    except InvalidFeeTiers:
        fee = None
    return PhaseRow(
        starts_at, ends_at, kind, _when(starts_at, ends_at, now), terms, plan.seats, fee, plan.version.currency,
        periods=periods, url=url, cancel_url="" if row is None else _cancel_url(row),
    )  # fmt: skip


def _cancel_url(row: ScheduledChange) -> str:
    return reverse("admin:billing_subscription_cancel_scheduled", args=[row.pk])


def _ended(end: datetime, last: PhaseRow, *, now: datetime) -> PhaseRow:
    when = NOW if end <= now else PLANNED
    return PhaseRow(end, None, ENDED, when, "Nothing is billed any more", None, None, last.currency)


def _when(starts_at: datetime, ends_at: datetime | None, now: datetime) -> str:
    if ends_at is not None and ends_at <= now:
        return PAST
    return NOW if starts_at <= now else PLANNED
