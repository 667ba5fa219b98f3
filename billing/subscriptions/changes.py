"""
Changes of plan, seats or add-ons: with the next period, or within one. Then that period ends at the instant, and
another one goes on from there, under the new terms, to the same end: frozen terms stay frozen, and usage is priced by
those of its own instant.

Stripe is told first, with the instant; what it answers, or its webhook if our process died meanwhile, brings the
change here (`apply_change`). So there is one way for both, and no change that only one of the two knows.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.catalog.models import PlanVersion, UsageDelivery
from billing.invoicing.metered.sending import MeterStuck, withdraw
from billing.rollouts.under_way import give_way
from billing.stripe import gateway, outbox
from billing.stripe.errors import NotYetKnown
from billing.stripe.models import OutboxIntent
from billing.stripe.seconds import second_of
from billing.subscriptions.add_ons import bring_add_ons
from billing.subscriptions.at_stripe import TERMS_FROM, changed_items, items_of, price_id, quantities, terms_from
from billing.subscriptions.change_models import ChangePreview, SubscriptionEvent, SubscriptionRequest
from billing.subscriptions.divisible import require_divisible
from billing.subscriptions.errors import ChangeRefused, PlanNotOffered, SubscriptionNotFound
from billing.subscriptions.history import Asked, ask, purpose_of, record, who_asked
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.offers import require_add_on, require_offered, require_plan, require_sold
from billing.subscriptions.opening import Item, cadence_of
from billing.subscriptions.queries import latest_period
from billing.subscriptions.splitting import split_period
from billing.teams.seat_floor import seats_in_use

logger = logging.getLogger(__name__)

StripeDict = dict[str, Any]
EventKind = SubscriptionEvent.Kind
# So long a change may be made with the amounts of its preview.
PREVIEW_HOLDS = timedelta(minutes=30)


def ask_for_change(
    *,
    subscription_id: int,
    items: Sequence[Item],
    from_next_period: bool,
    preview: ChangePreview | None = None,
    at: datetime | None = None,
    actor: str,
    reason: str = "",
    idempotency_key: str,
    now: datetime,
) -> tuple[StripeDict, SubscriptionRequest]:
    """
    Ask Stripe to change a subscription to these items, the plan first, and return what it answered; safe to repeat.

    From now on, or from `at`, an instant behind us in the latest period, or from the second of `preview`, which then
    says to the unit what Stripe prorates, or from the end of the latest period on. A change now is prorated by Stripe
    on the next invoice, each line floored. A rollout's price that Stripe was told of for the renewal gives way, and is
    told again after it.
    Raises SubscriptionNotFound, PlanNotOffered, ChangeRefused naming the remedy, and what outbox.perform raises.
    """
    found = Subscription.objects.select_related("customer", "plan_version__plan").filter(pk=subscription_id).first()
    if found is None:
        raise SubscriptionNotFound(f"there is no subscription {subscription_id}")
    purpose = purpose_of(subscription_id, Asked.TERMS, idempotency_key)
    known = OutboxIntent.objects.filter(purpose=purpose).first()
    if known is None or known.state == OutboxIntent.State.INTENDED:
        _require_nothing_unanswered(found)
    if known is not None:
        if _asked(known.params) != {price_id(item.version): item.seats for item in items}:
            raise ChangeRefused(
                f"{idempotency_key!r} asked for another change before; name this one by another key",
                field="Idempotency-Key",
                is_conflict=True,
            )
        params = known.params
        if known.state == OutboxIntent.State.INTENDED:
            give_way(found, now=now)
    else:
        params = _params(found, items, from_next_period=from_next_period, preview=preview, at=at or now, now=now)
    request = ask(
        subscription=found,
        kind=Asked.TERMS,
        idempotency_key=idempotency_key,
        asked={"items": [[item.version.pk, item.seats] for item in items]},
        effective_at=datetime.fromtimestamp(int(params["metadata"][TERMS_FROM]), tz=UTC),
        actor=actor,
        reason=reason,
        preview=preview,
        now=now,
    )
    if not from_next_period and items[0].version.pk != found.plan_version_id:
        _withdraw_metered(found, now=now)
    answer = outbox.perform(
        purpose=purpose,
        operation="subscriptions.update",
        target=found.stripe_subscription_id or "",
        params=params,
        now=now,
    )
    logger.info("%s changed subscription %s to %s", actor, subscription_id, [item.version.pk for item in items])
    return answer, request


def _withdraw_metered(subscription: Subscription, *, now: datetime) -> None:
    """
    Bring Stripe's meters of the period to nothing before their items go: Stripe would bill at once what they count.
    Its usage goes onto the invoice as lines, also where the change is refused.
    """
    latest = latest_period(subscription.pk)
    if latest is not None and latest.plan_version.usage_delivery == UsageDelivery.METER_EVENTS:
        try:
            withdraw(period=latest, reason="Its terms change before Stripe's period is over.", now=now)
        except MeterStuck as stuck:
            raise ChangeRefused(f"{stuck}; change from the next period on, or mend that first") from stuck


def require_possible(
    subscription: Subscription, items: Sequence[Item], *, from_next_period: bool, at: datetime, now: datetime
) -> BillingPeriod:
    """
    Raise PlanNotOffered or ChangeRefused unless the subscription may change to these items at `at`, or from its next
    period on; return its latest period. Not inside a transaction.
    """
    require_steerable(subscription)
    require_items(subscription, items)
    latest = latest_period(subscription.pk)
    if latest is None:
        raise ChangeRefused(f"{subscription} has no billing period to change")
    if from_next_period:
        return latest
    if latest.kind == BillingPeriod.Kind.PAUSED:
        raise ChangeRefused(f"{subscription} is paused; resume it first, or change from the next period on")
    if not second_of(latest.starts_at) < second_of(at) < second_of(latest.ends_at) or at > now:
        raise ChangeRefused(f"the latest period is {latest}; change within it, or from the next period on")
    require_divisible(latest, [item.version for item in items], now=now)
    return latest


def require_items(subscription: Subscription, items: Sequence[Item]) -> None:
    """Raise PlanNotOffered or ChangeRefused unless the plan and the add-ons go together, and are sold to them."""
    plan, *add_ons = items
    for item in items:
        require_offered(item.version, customer=subscription.customer, seats=item.seats)
    require_plan(plan.version)
    held = seats_in_use(subscription.pk)
    if plan.seats < held:
        raise ChangeRefused(
            f"{held} members hold a seat of the plan; release {held - plan.seats} of these first, or keep {held} seats",
            field="seats",
        )
    for item in add_ons:
        require_add_on(item.version, plan=plan.version)
    if len({item.version.plan_id for item in add_ons}) < len(add_ons):
        raise ChangeRefused("an add-on is named twice; name it once, with all its seats", field="add_ons")
    _require_same_cadence(subscription.plan_version, plan.version)


def require_steerable(subscription: Subscription) -> None:
    """Raise ChangeRefused where we may not tell Stripe anything about it: it is over, unknown there, or not ours to."""
    if subscription.ended_at is not None or subscription.status in ("canceled", "incomplete_expired"):
        raise ChangeRefused(f"{subscription} has ended; reactivate it, which begins a new one", field="subscription")
    if subscription.stripe_subscription_id is None:
        raise ChangeRefused(
            f"{subscription} is not known to Stripe yet; start it there first, on the same terms, or cancel it now"
        )
    if subscription.stripe_schedule_id:
        raise ChangeRefused(
            f"{subscription} is changed by the schedule {subscription.stripe_schedule_id} at Stripe, which would undo"
            " this; release that in Stripe's dashboard first",
            field="subscription",
        )


def _params(
    subscription: Subscription,
    items: Sequence[Item],
    *,
    from_next_period: bool,
    preview: ChangePreview | None,
    at: datetime,
    now: datetime,
) -> StripeDict:
    """Check the change and return the parameters of the request; reads Stripe for the ids of its items."""
    latest = require_possible(subscription, items, from_next_period=from_next_period, at=at, now=now)
    if preview is not None:
        _require_same(preview, items, latest, from_next_period=from_next_period, now=now)
        at = preview.effective_at
    second = second_of(latest.ends_at if from_next_period else at)
    plan_price_id = price_id(subscription.plan_version)
    give_way(subscription, now=now)
    theirs = gateway.retrieve(f"/v1/subscriptions/{subscription.stripe_subscription_id}")
    changed = changed_items(theirs, items, plan_price_id=plan_price_id)
    metadata = {TERMS_FROM: str(second)}
    if from_next_period:
        return {"items": changed, "proration_behavior": "none", "metadata": metadata}
    return {
        "items": changed,
        "proration_behavior": "create_prorations",
        "proration_date": second,
        "metadata": metadata,
    }


def _require_same(
    preview: ChangePreview, items: Sequence[Item], latest: BillingPeriod, *, from_next_period: bool, now: datetime
) -> None:
    """A preview is of one change, and of the moment at which it was made: much later it says other amounts."""
    plan, *add_ons = items
    said = (preview.plan_version_id, preview.seats, preview.add_ons, preview.from_next_period)
    wanted = (plan.version.pk, plan.seats, [[one.version.pk, one.seats] for one in add_ons], from_next_period)
    is_old = not timedelta(0) <= now - preview.made_at <= PREVIEW_HOLDS
    is_behind = not from_next_period and not latest.starts_at < preview.effective_at < latest.ends_at
    if said != wanted or is_old or is_behind:
        why = "is of another change" if said != wanted else "is too old, or its period is over"
        raise ChangeRefused(f"preview {preview.pk} {why}; preview this change again", field="preview")


def _require_nothing_unanswered(subscription: Subscription) -> None:
    """What Stripe is being told repeats the seats of the moment that it was begun: a change now would be undone."""
    if subscription.rollout_moves.filter(state="telling").exists():
        raise ChangeRefused(
            f"Stripe has not answered yet about the price that a rollout brings to {subscription}; try again in some"
            " minutes, or if the rollout is halted let it be resumed or rolled back first"
        )


def apply_change(
    subscription: Subscription,
    stripe_subscription: Mapping[str, Any],
    *,
    now: datetime,
    told: SubscriptionRequest | None = None,
) -> bool:
    """
    Bring a change that we asked Stripe for to our rows; return whether there was one. Said twice it is done once.

    Inside the caller's transaction, with customer and subscription locked. Anybody may edit metadata: an instant counts
    only within the latest period or at its end, and only with items that are ours: of one that is not `unfollowable`
    tells, and whoever follows the rest holds it. An instant ahead was that of a renewal that came before its time (a
    trial or a pause was ended): the latest period has these terms from its beginning. Raises NotYetKnown for an instant
    in the period that comes next.
    """
    at, latest = terms_from(stripe_subscription), latest_period(subscription.pk)
    if at is None or latest is None:
        return False
    if at <= latest.starts_at or latest.state != BillingPeriod.State.OPEN:
        _log_unless_done(subscription, stripe_subscription, latest, at=at)
        return False
    if at > latest.ends_at:
        if at >= cadence_of(subscription).after(latest.ends_at):
            return False  # no instant of ours
        raise NotYetKnown(f"{subscription} changes at {at:%F %T}, in a period that is not open here yet")
    if unfollowable(stripe_subscription):
        return False
    plan, *add_ons = _items(stripe_subscription)
    moving = subscription.rollout_moves.filter(state__in=("telling", "told"), to_version=plan.version)
    included: set[int] = set()
    if plan.version.pk != subscription.plan_version_id and moving.exists():
        # A rollout's price on Stripe's item counts from the renewal on (`moves.take_effect`), and so does what it
        # includes; this change may have been asked for, and done, long before it.
        included = set(plan.version.bundled.values_list("plan_id", flat=True))
        plan = Item(subscription.plan_version, plan.seats)
    before = terms_text(subscription, at=latest.ends_at)
    subscription.plan_version, subscription.seats = plan.version, plan.seats
    subscription.save(update_fields=["plan_version", "seats"])
    divides = at < latest.ends_at and at <= now and not _has_terms(latest, plan, add_ons)
    since = at if divides or at == latest.ends_at else latest.starts_at
    bring_add_ons(subscription, add_ons, at=since, kept_plans=included)
    after = terms_text(subscription, at=latest.ends_at)
    request = who_asked(subscription, Asked.TERMS, told=told, at=now)
    if divides:
        split_period(latest, subscription=subscription, at=at, now=now)
    if request is not None or before != after:
        record(subscription, EventKind.TERMS, before=before, after=after, effective_at=at, now=now, request=request)
    return True


def _has_terms(period: BillingPeriod, plan: Item, add_ons: Sequence[Item]) -> bool:
    """Whether these are the terms that the period was opened with."""
    own = period.add_ons.filter(is_bundled=False).values_list("plan_version_id", "seats")
    same_plan = (period.plan_version_id, period.seats) == (plan.version.pk, plan.seats)
    return same_plan and sorted(own) == sorted((item.version.pk, item.seats) for item in add_ons)


def unfollowable(stripe_subscription: Mapping[str, Any]) -> str:
    """What of Stripe's items is none of ours, in words; nothing where all are."""
    try:
        _items(stripe_subscription)
    except ChangeRefused as refused:
        return str(refused)
    return ""


class Unfollowable(Exception):
    """Somebody gave the subscription items at Stripe that are none of our terms: the message names them."""


def bring_items_of_dashboard(subscription: Subscription, theirs: Mapping[str, Any], *, at: datetime) -> bool:
    """
    Bring items that somebody changed at Stripe to the terms from `at` on, the end of the latest period; return whether
    there was a difference. Raises Unfollowable.

    A rollout's price that Stripe was told of is no such change: it counts from the renewal that carries it.
    """
    seats = quantities(theirs)
    if {item.version.stripe_price_id: item.seats for item in items_of(subscription, at=at)} == seats:
        return False
    try:
        plan, *add_ons = _items(theirs)
    except ChangeRefused as refused:
        raise Unfollowable(str(refused)) from refused
    moving = subscription.rollout_moves.filter(state__in=("telling", "told"))
    if plan.version.pk != subscription.plan_version_id and moving.exists():
        return False
    held = {item.version.pk for item in items_of(subscription, at=at)}
    try:
        for item in (plan, *add_ons):
            if item.version.pk not in held:  # one that was retired since stays with who has it
                require_sold(item.version, customer=subscription.customer)
        require_plan(plan.version)
        for item in add_ons:
            require_add_on(item.version, plan=plan.version)
        _require_same_cadence(subscription.plan_version, plan.version)
    except (PlanNotOffered, ChangeRefused) as refused:
        raise Unfollowable(f"{theirs['id']} was given at Stripe what we do not sell so: {refused}") from refused
    subscription.plan_version, subscription.seats = plan.version, plan.seats
    subscription.save(update_fields=["plan_version", "seats"])
    bring_add_ons(subscription, add_ons, at=at, kept_plans=set())
    return True


def terms_text(subscription: Subscription, *, at: datetime) -> str:
    """Plan, seats and add-ons in words."""
    plan, *add_ons = items_of(subscription, at=at)
    words = [f"{plan.version}, {plan.seats} seat{'' if plan.seats == 1 else 's'}"]
    return " + ".join(words + [f"{item.version} × {item.seats}" for item in add_ons])


def is_awaited(subscription: Subscription) -> bool:
    """Whether Stripe was asked for a change of the latest period, or from its end on: its webhook may yet come."""
    latest = latest_period(subscription.pk)
    asked = OutboxIntent.objects.filter(purpose__startswith=f"subscription:{subscription.pk}:terms:")
    instants = asked.values_list(f"params__metadata__{TERMS_FROM}", flat=True)
    return latest is not None and any(
        second_of(latest.starts_at) < int(at) <= second_of(latest.ends_at) for at in instants
    )


def _log_unless_done(
    subscription: Subscription, stripe_subscription: Mapping[str, Any], latest: BillingPeriod, *, at: datetime
) -> None:
    """A change that is done began a period. One that came too late and left other items at Stripe is for a person."""
    if subscription.periods.filter(starts_at=at).exists():
        return
    ours = {item.version.stripe_price_id: item.seats for item in items_of(subscription, at=latest.ends_at)}
    if ours != quantities(stripe_subscription):
        logger.error("%s has other items at Stripe since %s, which came too late to begin a period", subscription, at)


def _items(stripe_subscription: Mapping[str, Any]) -> list[Item]:
    """Return the plan and the add-ons that Stripe's items are. Raises ChangeRefused for one that is not ours."""
    seats = quantities(stripe_subscription)
    versions = PlanVersion.objects.select_related("plan").filter(stripe_price_id__in=seats)
    by_price = {version.stripe_price_id: version for version in versions}
    strange = sorted({*seats} - {*by_price})
    plans = [version for version in by_price.values() if not version.plan.is_add_on]
    if strange or len(plans) != 1:
        what = f"prices {', '.join(strange)} that are not ours" if strange else f"{len(plans)} plans instead of one"
        raise ChangeRefused(f"{stripe_subscription['id']} has {what}; mend its items at Stripe")
    ordered = sorted(by_price.values(), key=lambda version: (version.plan.is_add_on, version.plan.code))
    return [Item(version, seats[str(version.stripe_price_id)]) for version in ordered]


def _asked(params: StripeDict) -> dict[str, int]:
    return {item["price"]: item["quantity"] for item in params["items"] if "quantity" in item}


def _require_same_cadence(old: PlanVersion, new: PlanVersion) -> None:
    names = ("interval", "interval_count", "alignment", "time_zone")
    if any(getattr(old, name) != getattr(new, name) for name in names):
        raise ChangeRefused(
            f"{new} is billed every {new.interval_count} {new.interval} and {old} every {old.interval_count}"
            f" {old.interval}, or by another calendar; end the subscription and begin another one"
        )
