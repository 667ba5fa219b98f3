"""What the pages of a subscription and of a billing period show: who pays for what, and when. Reads only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from billing.admin_links import page_url
from billing.catalog.fees import InvalidFeeTiers, fee_minor_of
from billing.catalog.models import Alignment, PlanVersion
from billing.money_text import counted, exact_text, minor_text, quantity_text
from billing.rating.allocation import payment_order
from billing.rating.models import AllowanceDrawdown, UsageAccrual
from billing.rating.rating import EXACT, ZERO
from billing.subscriptions.models import BillingPeriod, PeriodAllowance, Subscription
from billing.subscriptions.offers import seats_text
from billing.subscriptions.opening import add_ons_at, cadence_of
from billing.subscriptions.queries import latest_period

ENDED = (Subscription.Status.CANCELED, Subscription.Status.INCOMPLETE_EXPIRED)
Kind, Measure = BillingPeriod.Kind, PeriodAllowance.Measure
PERIODS_SHOWN = 12
BUNDLED = "Add-on, with the plan"
BOUNDARIES_SHOWN = 3
TONES = {Kind.REGULAR: "good", Kind.TRIAL: "waiting", Kind.PAUSED: "bad"}


@dataclass(frozen=True, slots=True)
class ItemRow:
    """Something that a subscription or a period has, and what it costs a period."""

    name: str
    url: str
    role: str
    seats: int
    may_have: str
    fee: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A stretch of a subscription's life; one to come has no page."""

    starts_at: datetime
    ends_at: datetime
    what: str
    tone: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class AllowanceRow:
    """An allowance of a period and how far it is used; the percentage is None where that cannot be said."""

    name: str
    code: str
    amount: str
    used: str
    left: str
    percent: int | None
    shared: str


def subscription_sections(subscription: Subscription, *, now: datetime) -> dict[str, Any]:
    """Everything the page of a subscription shows above its fields."""
    is_over = subscription.status in ENDED
    return {
        "subscription": subscription,
        "items": _items(subscription, now=now),
        "until_then": "" if is_over else _until_then(subscription, now=now),
        "removed": list(
            subscription.add_ons.exclude(removed_at=None).select_related("plan_version__plan").order_by("-removed_at")
        ),
        "facts": _facts(subscription, now=now),
        "spans": _spans(subscription, is_over=is_over),
    }


def period_sections(period: BillingPeriod) -> Mapping[str, Any]:
    """Everything the page of a period shows above its fields."""
    currency = period.plan_version.currency
    around = BillingPeriod.objects.filter(subscription_id=period.subscription_id)
    return {
        "period": period,
        "tone": TONES[Kind(period.kind)],
        "items": _items_of_period(period),
        "allowances": [_allowance(row, currency) for row in _in_payment_order(period)],
        "before": around.filter(ends_at=period.starts_at).first(),
        "after": around.filter(starts_at=period.ends_at).first(),
        "length": _length(period.ends_at - period.starts_at),
    }


def _in_payment_order(period: BillingPeriod) -> list[PeriodAllowance]:
    return sorted(period.allowances.all(), key=lambda one: payment_order(one.measure, one.position))


def _items(subscription: Subscription, *, now: datetime) -> list[ItemRow]:
    version, currency = subscription.plan_version, subscription.plan_version.currency
    since = {row.plan_version_id: row.added_at for row in subscription.add_ons.filter(removed_at=None)}
    rows = [_item(version, subscription.seats, "Plan", currency, since=subscription.started_at)]
    for item in add_ons_at(subscription, now):
        role = BUNDLED if item.is_bundled else "Add-on"
        rows.append(_item(item.version, item.seats, role, currency, since=since.get(item.version.pk)))
    return rows


def _until_then(subscription: Subscription, *, now: datetime) -> str:
    """The plan and seats of the running period where they are not what it pays for: those begin with the next one."""
    periods = BillingPeriod.objects.filter(subscription=subscription, starts_at__lte=now, ends_at__gt=now)
    running = periods.select_related("plan_version__plan").order_by("-starts_at").first()
    terms = (subscription.plan_version_id, subscription.seats)
    if running is None or (running.plan_version_id, running.seats) == terms:
        return ""
    seats = counted(running.seats, "seat")
    return f"Until {running.ends_at:%d %b %Y, %H:%M:%S} UTC the running period has {running.plan_version}, {seats}."


def _items_of_period(period: BillingPeriod) -> list[ItemRow]:
    currency = period.plan_version.currency
    is_free = period.kind != Kind.REGULAR
    entries = [(period.plan_version, period.seats, "Plan")]
    entries += [
        (row.plan_version, row.seats, BUNDLED if row.is_bundled else "Add-on")
        for row in period.add_ons.select_related("plan_version__plan")
    ]
    return [
        ItemRow(
            name=str(version),
            url=page_url("billing.planversion", version.pk),
            role=role,
            seats=seats,
            may_have=seats_text(version),
            fee="in the plan's" if role == BUNDLED else "none" if is_free else _fee_text(version, seats, currency),
        )
        for version, seats, role in entries
    ]


def _item(version: PlanVersion, seats: int, role: str, currency: str, *, since: datetime | None) -> ItemRow:
    is_bundled = role == BUNDLED
    return ItemRow(
        name=str(version),
        url=page_url("billing.planversion", version.pk),
        role=role,
        seats=seats,
        may_have=seats_text(version),
        fee="in the plan's" if is_bundled else _fee_text(version, seats, currency),
        since=since,
    )


def _fee_text(version: PlanVersion, seats: int, currency: str) -> str:
    try:
        return minor_text(fee_minor_of(version, seats), currency)
    except InvalidFeeTiers as invalid:
        return str(invalid)


def _facts(subscription: Subscription, *, now: datetime) -> list[tuple[str, str]]:
    version = subscription.plan_version
    count = f"{version.interval_count} {version.interval}s" if version.interval_count > 1 else f"{version.interval}"
    where = (
        f"with the calendar of {version.time_zone}"
        if version.alignment == Alignment.CALENDAR
        else f"from {subscription.anchor_at:%d %b %Y, %H:%M:%S} UTC on, in UTC"
    )
    facts = [("Billed", f"every {count}, {where}")]
    if subscription.trial_ends_at is not None:
        verb = "ends" if subscription.trial_ends_at > now else "ended"
        facts.append(
            ("Trial", f"{verb} {subscription.trial_ends_at:%d %b %Y, %H:%M:%S} UTC; all usage of it is included")
        )
    if version.only_for_id is not None:
        facts.append(("Contract", "these terms are for this customer alone"))
    if subscription.pinned_at is not None:
        facts.append(("Pinned", f"since {subscription.pinned_at:%d %b %Y}: {subscription.pinned_because}"))
    return facts


def _spans(subscription: Subscription, *, is_over: bool) -> list[SpanRow]:
    """The latest periods, and where the next ones will begin if nothing changes; the newest first."""
    held = list(
        BillingPeriod.objects.filter(subscription=subscription)
        .select_related("plan_version__plan")
        .order_by("-starts_at")[:PERIODS_SHOWN]
    )
    rows = [
        SpanRow(
            period.starts_at,
            period.ends_at,
            f"{period.get_kind_display()}, {period.get_state_display().lower()}: {period.plan_version},"
            f" {period.seats} seat{'' if period.seats == 1 else 's'}",
            TONES[Kind(period.kind)],
            page_url("billing.billingperiod", period.pk),
        )
        for period in held
    ]
    latest = latest_period(subscription.pk)
    if is_over or latest is None:
        return rows
    cadence, at = cadence_of(subscription), latest.ends_at
    for _ in range(BOUNDARIES_SHOWN):
        following = cadence.after(at)
        rows.insert(0, SpanRow(at, following, "Expected", "plain"))
        at = following
    return rows


def _allowance(row: PeriodAllowance, currency: str) -> AllowanceRow:
    if row.measure == Measure.CAP:
        billed = UsageAccrual.objects.filter(period_id=row.period_id).aggregate(sum=Sum("unbilled"))["sum"]
        used = billed or ZERO
    else:
        field = "quantity" if row.measure == Measure.UNITS else "amount"
        used = AllowanceDrawdown.objects.filter(allowance=row).aggregate(sum=Sum(field))["sum"] or ZERO

    def text(amount: Decimal) -> str:
        return f"{quantity_text(amount)} units" if row.measure == Measure.UNITS else exact_text(amount, currency)

    is_pool = row.amount is not None and not row.each_dimension
    left = max(EXACT.subtract(row.amount, used), ZERO) if row.amount is not None and is_pool else None
    return AllowanceRow(
        name=row.name,
        code=row.code,
        amount="everything" if row.amount is None else text(row.amount),
        used=text(used),
        left="–" if left is None else text(left),
        percent=_percent(used, row.amount) if is_pool and row.amount else None,
        shared="billed at most"
        if row.measure == Measure.CAP
        else f"for each {row.each_dimension}"
        if row.each_dimension
        else "shared by all seats",
    )


def _percent(used: Decimal, amount: Decimal) -> int:
    return min(100, max(0, int(used * 100 / amount)))


def _length(length: timedelta) -> str:
    hours, rest = divmod(length // timedelta(minutes=1), 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} days"] if days != 1 else ["1 day"]
    parts += [f"{hours} h"] if hours else []
    parts += [f"{rest} min"] if rest else []
    return ", ".join(parts)
