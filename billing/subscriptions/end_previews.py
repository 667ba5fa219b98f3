"""
What an end comes to, said before it is asked for: the fee that it gives back (by us and by Stripe), the usage that the
closing invoice would ask for, and what becomes of everything else. Kept, and compared once it has come.

Not inside a transaction: Stripe is asked, and nothing is changed there. The usage is rated first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction

from billing.invoicing.queries import earlier_periods_to_settle
from billing.invoicing.rounding import to_minor
from billing.rating import queries as rating_queries
from billing.rating.operations import accrue_period
from billing.rating.rating import EXACT, ZERO, RatingError
from billing.stripe.seconds import second_of
from billing.subscriptions import end_consequences
from billing.subscriptions.at_stripe import items_of
from billing.subscriptions.billed import cycle_bounds
from billing.subscriptions.change_models import ChangePreview, EndPreview
from billing.subscriptions.changes import PREVIEW_HOLDS, require_steerable, terms_text
from billing.subscriptions.discounts import NO_DISCOUNTS, Discounts, discounts_of
from billing.subscriptions.errors import ChangeRefused, SubscriptionNotFound
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import cadence_of
from billing.subscriptions.previews import Amount, amounts_of, credits_for, keep, lines_at_stripe
from billing.subscriptions.queries import latest_period

How = EndPreview.How
# Stripe takes no instant for an end now: its lines of so much before ours are of the same wish.
STRIPES_NOW = timedelta(minutes=5)
# Nothing is planned so far ahead, and the calendar itself has an end.
AHEAD_MAX = timedelta(days=3653)


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage on no closed invoice, in currency units, exact; `minor` as the closing invoice would ask for the rest."""

    rated: Decimal
    included: Decimal
    credited: Decimal
    invoiced: Decimal
    unbilled: Decimal
    minor: int


def preview_end(
    *, subscription_id: int, how: str, at: datetime | None = None, prorate: bool = False, actor: str, now: datetime
) -> EndPreview:
    """
    Say what an end now, with the period, or at a date would come to, and keep it.

    Raises SubscriptionNotFound, ChangeRefused as the end itself would (also where usage has no price), and
    StripeUnavailable.
    """
    rows = Subscription.objects.select_related("customer", "plan_version__plan")
    found = rows.filter(pk=subscription_id).first()
    if found is None:
        raise SubscriptionNotFound(f"there is no subscription {subscription_id}")
    if found.stripe_subscription_id is not None or found.ended_at is not None:
        require_steerable(found)
    elif how != How.NOW:
        raise ChangeRefused(f"{found} is not known to Stripe yet; only an end now is possible", field="how")
    latest = latest_period(found.pk)
    if latest is None:
        raise ChangeRefused(f"{found} has no billing period to end")
    ends_at = end_instant(found, latest, how=how, at=at, prorate=prorate, now=now)
    usage = usage_of(latest, now=now)
    preview = ChangePreview(
        subscription=found, kind=ChangePreview.Kind.CANCELLATION, plan_version=found.plan_version, seats=found.seats,
        add_ons=[], effective_at=ends_at, currency=found.plan_version.currency, made_at=now, made_by=actor,
    )  # fmt: skip
    is_billed = prorate and found.stripe_subscription_id is not None
    ours: list[Amount] = []
    if is_billed:
        ours = fee_given_back(found, latest, ends_at=ends_at, discounts=discounts_at(found, ends_at=ends_at))
    stripes = _of_stripe(found, how=how, ends_at=ends_at, prorate=prorate)
    consequences = end_consequences.all_of(found, latest=latest, ends_at=ends_at, how=how, now=now)
    with transaction.atomic():
        return EndPreview.objects.create(
            preview=keep(preview, ours, stripes), how=how, prorate=prorate, ends_at=ends_at, rated=usage.rated,
            included=usage.included, credited=usage.credited, invoiced=usage.invoiced, unbilled=usage.unbilled,
            usage_minor=usage.minor, consequences=[list(one) for one in consequences],
            rests_on=_rests_on(found, latest, usage),
        )  # fmt: skip


def end_instant(
    subscription: Subscription, latest: BillingPeriod, *, how: str, at: datetime | None, prorate: bool, now: datetime
) -> datetime:
    """
    When it would end. Raises ChangeRefused: a date has to be ahead, and within the running period or where a later one
    ends. Elsewhere Stripe would bill a part of a fee that our terms do not know.
    """
    boundary = max(latest.ends_at, subscription.anchor_at)
    if how == How.NOW:
        return now.replace(microsecond=0)
    if how == How.PERIOD_END:
        if prorate:
            raise ChangeRefused("what ends with its period has nothing to give back; leave one out", field="prorate")
        if boundary <= now:
            raise ChangeRefused(
                f"its period ended {boundary:%F %T} UTC, and the next one is not open yet; try again in some minutes",
                field="how",
            )
        return boundary
    if at is None:
        raise ChangeRefused("name the date at which it is to end", field="at")
    at = at.replace(microsecond=0)
    if at <= now:
        raise ChangeRefused(f"{at:%F %T} UTC is not ahead; name a later instant, or end it now", field="at")
    if at > now + AHEAD_MAX:
        raise ChangeRefused(f"{at:%F %T} is more than ten years ahead; name an earlier instant", field="at")
    if at > boundary:
        before, after = cadence_of(subscription).containing(at)
        if at != before:
            raise ChangeRefused(
                f"{at:%F %T} is within a later period; name an instant until {boundary:%F %T}, or the end of a later"
                f" one: {before:%F %T} or {after:%F %T}",
                field="at",
            )
    if prorate and at >= boundary:
        raise ChangeRefused(
            "what ends with a period has nothing to give back; leave one of the two out", field="prorate"
        )
    return at


def fee_given_back(
    subscription: Subscription,
    latest: BillingPeriod,
    *,
    ends_at: datetime,
    discounts: Discounts = NO_DISCOUNTS,
    is_over: bool = False,
) -> list[Amount]:
    """
    Our proration of what was billed for the time after the end, net of discounts; each line floored. Nothing after the
    period, which itself ends there once the subscription `is_over`.
    """
    if ends_at >= latest.ends_at and not is_over:
        return []
    return credits_for(
        subscription, items_of(subscription, at=ends_at), latest=latest, at=ends_at, discounts=discounts
    )  # fmt: skip


def discounts_at(subscription: Subscription, *, ends_at: datetime) -> Discounts:
    """The discounts of the cycle in which it ends. Not inside a transaction. Raises StripeUnavailable."""
    start, _ = cycle_bounds(subscription, at=ends_at)
    return discounts_of(subscription, cycle_start=datetime.fromtimestamp(start, tz=UTC))


def usage_of(latest: BillingPeriod, *, now: datetime) -> Usage:
    """What was used and is on no invoice yet, rated now, of the last period and of those before it that are open."""
    periods = [*earlier_periods_to_settle(latest), latest]
    sums, minor = [ZERO] * 5, 0
    for period in periods:
        try:
            accrue_period(period_id=period.pk, now=now)
        except RatingError as unrated:
            raise ChangeRefused(f"its usage cannot be rated: {unrated}") from unrated
        went = rating_queries.conservation(period.pk)
        parts = (went.rated, went.included, went.credited, EXACT.add(went.billed, went.absorbed), went.open)
        sums = [EXACT.add(so_far, part) for so_far, part in zip(sums, parts, strict=True)]
        left = rating_queries.uninvoiced(period.subscription_id, period.pk)
        minor += sum(to_minor(rest.amount, latest.plan_version.currency) for rest in left)
    rated, included, credited, invoiced, unbilled = sums
    return Usage(rated, included, credited, invoiced, unbilled, minor)


def standing_of(subscription_id: int) -> dict[str, str]:
    """What a preview of an end made now would rest on; nothing once the subscription has ended."""
    subscription = Subscription.objects.select_related("customer", "plan_version__plan").get(pk=subscription_id)
    latest = latest_period(subscription.pk)
    if latest is None or subscription.ended_at is not None:
        return {}
    return _rests_on(subscription, latest, None)


def outdated(end: EndPreview, *, current: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    What the preview was read from and is no more so: by name, in a sentence. Nothing where it holds.

    `current` is the subscription's standing, for who asks of several previews of one.
    """
    if current is None:
        current = standing_of(end.preview.subscription_id)
    return {
        name: f"{SAID_OF[name]} was {said or 'none'}, and is {current[name] or 'none'} now"
        for name, said in end.rests_on.items()
        if name in current and current[name] != said
    }


SAID_OF = {
    "terms": "What it pays for", "period": "Its period", "standing": "Its state", "usage": "Its rated usage",
    "scheduled": "What is scheduled", "credit": "Its credit",
}  # fmt: skip
# What changes with every request of the customer is said, and stops nobody; the rest has to be looked at again.
STOPS = ("terms", "period", "standing")


def require_current(end: EndPreview, *, how: str, at: datetime | None, prorate: bool, now: datetime) -> None:
    """Raise ChangeRefused unless the preview is of just this end, of the last half hour, and of terms as they are."""
    is_same = (end.how, end.prorate) == (how, prorate) and (how != How.AT or at == end.ends_at)
    why = "" if is_same else "it is of another end"
    if not timedelta(0) <= now - end.preview.made_at <= PREVIEW_HOLDS:
        why = f"it is of {end.preview.made_at:%d %b %H:%M} UTC"
    changed = outdated(end)
    why = next((changed[name] for name in STOPS if name in changed), why)
    if why:
        raise ChangeRefused(f"the preview does not hold: {why}; preview this end again", field="preview")


def _of_stripe(subscription: Subscription, *, how: str, ends_at: datetime, prorate: bool) -> list[Amount]:
    """Stripe's own preview of what it gives back; prorations of earlier changes, which it bills as well, left out."""
    if not prorate or subscription.stripe_subscription_id is None:
        return []
    details: dict[str, Any] = {"proration_behavior": "create_prorations"}
    details |= {"cancel_now": True} if how == How.NOW else {"cancel_at": second_of(ends_at)}
    since = second_of(ends_at - (STRIPES_NOW if how == How.NOW else timedelta(0)))
    lines = (line for line in lines_at_stripe(subscription, details) if line["period"]["start"] >= since)
    return [one for one in amounts_of(lines, at=None) if one.is_proration and one.amount_minor <= 0]


def _rests_on(subscription: Subscription, latest: BillingPeriod, usage: Usage | None) -> dict[str, str]:
    rated = usage.rated if usage is not None else _rated(latest)
    waiting = subscription.scheduled_changes.filter(state="waiting").order_by("pk").values_list("pk", flat=True)
    credit = (f"{one.available:f} of {one.terms_name}" for one in end_consequences.credit_left(subscription))
    ends = "" if subscription.cancel_at is None else f", ends {subscription.cancel_at:%d %b %Y %H:%M}"
    paused = ", paused" if subscription.paused_from is not None else ""
    return {
        "terms": terms_text(subscription, at=latest.ends_at),
        "period": f"{latest.starts_at:%d %b %Y %H:%M} to {latest.ends_at:%d %b %Y %H:%M}",
        "standing": f"{subscription.get_status_display().lower()}{paused}{ends}",
        "usage": f"{rated.normalize():f}",
        "scheduled": _joined(str(number) for number in waiting),
        "credit": _joined(credit),
    }


def _rated(latest: BillingPeriod) -> Decimal:
    total = ZERO
    for period in (*earlier_periods_to_settle(latest), latest):
        total = EXACT.add(total, rating_queries.period_totals(period.pk).rated)
    return total


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)
