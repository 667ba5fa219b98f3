"""
What a subscription is at Stripe: parameters of our requests, and reading of its items. Reads our rows, calls nobody.

A subscription has one item for its plan and one for each add-on that costs something of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.catalog.models import Alignment, Interval, PlanVersion, UsageDelivery
from billing.stripe.seconds import second_of
from billing.subscriptions import periods
from billing.subscriptions.errors import PlanNotOffered
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import Item, add_ons_at, cadence_of
from billing.subscriptions.periods import zone_of
from billing.subscriptions.proration import Rounding, line_minor, part_left
from billing.subscriptions.queries import Fee, fees_of

StripeDict = dict[str, Any]
# On Stripe's subscription: the second from which its items are ours.
TERMS_FROM = "terms_from"
# On a metered price of ours: the id of its rate (billing.catalog.metered_prices).
METERED_RATE = "metered_rate"
# Up to the year 5138, which datetime still knows.
SECOND_DIGITS_MAX = 11
# The day that Stripe moves to the last one of a shorter month.
LAST_DAY = 31
# Where the clocks stand furthest behind UTC is told from the beginnings of so many months.
MONTHS_OF_A_YEAR = 12


def creation(subscription: Subscription, *, now: datetime) -> StripeDict:
    """
    Return the parameters that create the subscription at Stripe, but for its customer. Raises PlanNotOffered for what
    has no price there. A trial that is over by now, and the calendar's boundaries behind us, are not for Stripe any
    more.
    """
    items = items_of(subscription, at=subscription.started_at)
    own: list[StripeDict] = [{"price": price_id(item.version), "quantity": item.seats} for item in items]
    params: StripeDict = {
        "items": own + [{"price": metered} for metered in metered_price_ids(subscription.plan_version)],
        "metadata": {"subscription_id": str(subscription.pk)},
    }
    if subscription.days_until_due is not None:
        params |= {"collection_method": subscription.collection_method, "days_until_due": subscription.days_until_due}
    if subscription.trial_ends_at is not None and subscription.trial_ends_at > now:
        params["trial_end"] = second_of(subscription.trial_ends_at)
    if subscription.plan_version.alignment == Alignment.CALENDAR:
        params |= calendar_anchor(subscription, now=now)
    return params


def items_of(subscription: Subscription, *, at: datetime) -> list[Item]:
    """Return what the subscription pays for at an instant: its plan, then its own add-ons."""
    own = [item for item in add_ons_at(subscription, at) if not item.is_bundled]
    return [Item(subscription.plan_version, subscription.seats), *own]


def price_id(version: PlanVersion) -> str:
    """Return Stripe's id of the version's price. Raises PlanNotOffered while it has none."""
    if version.stripe_price_id is None:
        raise PlanNotOffered(f"{version} has no price at Stripe; sync the catalogue first")
    return version.stripe_price_id


def calendar_anchor(subscription: Subscription, *, now: datetime | None = None) -> StripeDict:
    """
    Return the parameter that lets Stripe's periods begin with the calendar's.

    Stripe keeps an hour of UTC all year, a calendar's midnight moves with the clocks. Of the two hours the later one is
    taken, so that a renewal never comes before our period is over: it comes with it, or as much later as the clocks
    were put forward. East of UTC a month begins on the last day of the one before, which is Stripe's 31st. What is told
    between the two, as it was agreed on before them, begins with the later one.
    """
    version = subscription.plan_version
    begun = max(subscription.anchor_at, now or subscription.anchor_at)
    boundaries = (stripes_midnight(one, version.time_zone) for one in cadence_of(subscription).containing(begun))
    at = next(one for one in boundaries if one > begun)
    if version.interval == Interval.MONTH and version.interval_count == 1:
        day = 1 if at.day == 1 else LAST_DAY
        config = {"day_of_month": day, "hour": at.hour, "minute": at.minute, "second": at.second}
        return {"billing_cycle_anchor_config": config}
    return {"billing_cycle_anchor": second_of(at)}


def require_begun_there(version: PlanVersion, *, at: datetime) -> None:
    """
    Raise PlanNotOffered in the hour after the calendar's midnight in summer, in which Stripe's period has not begun: it
    would bill the rest of that hour and then a whole period beside ours, or refuse the boundary.
    """
    if version.alignment != Alignment.CALENDAR:
        return
    starts_at, trial_ends_at = at, at + timedelta(days=version.trial_days)
    for begin in (starts_at, trial_ends_at):
        cadence = periods.cadence_of(
            interval=version.interval, interval_count=version.interval_count, alignment=version.alignment,
            time_zone=version.time_zone, anchor_at=begin,
        )  # fmt: skip
        begun = stripes_midnight(cadence.containing(begin)[0], version.time_zone)
        if begin < begun:
            raise PlanNotOffered(
                f"{version} begins at midnight in {version.time_zone}, which Stripe keeps at {begun:%H:%M} UTC all"
                f" year; start it {(begun - begin).seconds // 60 + 1} minutes later"
            )


def billed_fees(period: BillingPeriod) -> list[Fee]:
    """
    Return the recurring fees that Stripe bills when this period begins: of a first part of the calendar's period, which
    a trial before it leaves, that part of each, floored.
    """
    fees = fees_of(period)
    cadence = cadence_of(period.subscription, period.plan_version)
    if cadence.zone is None or cadence.containing(period.starts_at)[0] == period.starts_at:
        return fees
    start, end = (stripes_midnight(at, cadence.zone) for at in cadence.containing(period.starts_at))
    part = part_left(start, end, max(period.starts_at, start))
    return [replace(fee, amount_minor=line_minor(fee.amount_minor, part, rounding=Rounding.STRIPE)) for fee in fees]


def stripes_midnight(boundary: datetime, time_zone: str) -> datetime:
    """Return where Stripe has a boundary of the calendar: midnight by the clocks that stand furthest behind UTC."""
    zone = zone_of(time_zone)
    months = [boundary + timedelta(days=30 * month) for month in range(MONTHS_OF_A_YEAR)]
    furthest_behind = min(at.astimezone(zone).utcoffset() or timedelta() for at in months)
    midnight = boundary.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    return midnight - furthest_behind


def metered_price_ids(version: PlanVersion) -> list[str]:
    """Return Stripe's ids of the prices by which its meters bill the usage of a plan's version; none for most."""
    if version.usage_delivery != UsageDelivery.METER_EVENTS:
        return []
    return list(version.metered_prices.order_by("pk").values_list("stripe_price_id", flat=True))


def metered_changes(stripe_subscription: Mapping[str, Any], version: PlanVersion) -> list[StripeDict]:
    """Return the `items` of a request that leaves the metered items of this version on the subscription, and no other
    of ours."""
    wanted = metered_price_ids(version)
    held = {_price(item): str(item["id"]) for item in _items(stripe_subscription) if _is_metered_by_us(item)}
    added: list[StripeDict] = [{"price": one} for one in wanted if one not in held]
    return added + [{"id": held[one], "deleted": True} for one in held if one not in wanted]


def seats_at_stripe(stripe_subscription: Mapping[str, Any], stripe_price_id: str | None) -> int:
    """Return the quantity of the item with this price: the plan's. Without one, of the first item: ours have one."""
    items = _licensed(stripe_subscription)
    found = (item for item in items if stripe_price_id is not None and _price(item) == stripe_price_id)
    return int(next(found, items[0])["quantity"])


def changed_items(
    stripe_subscription: Mapping[str, Any], wanted: Iterable[Item], *, plan_price_id: str
) -> list[StripeDict]:
    """
    Return the `items` of the request that turns Stripe's items into the wanted ones, the plan first.

    The plan's item keeps its id whatever its price becomes, so that Stripe prorates one thing into the other; items
    that nothing wants are deleted.
    """
    held = {_price(item): str(item["id"]) for item in _licensed(stripe_subscription)}
    plan, *own = wanted
    params: list[StripeDict] = []
    plan_item = held.pop(plan_price_id, None)
    params.append(_item(plan, plan_item))
    params += [_item(item, held.pop(price_id(item.version), None)) for item in own]
    params += [{"id": item_id, "deleted": True} for item_id in held.values()]
    return params + metered_changes(stripe_subscription, plan.version)


def quantities(stripe_subscription: Mapping[str, Any]) -> dict[str, int]:
    """Return the quantity of each item by its price's id, but for those that our usage is metered by."""
    return {_price(item): int(item.get("quantity") or 1) for item in _licensed(stripe_subscription)}


def terms_from(stripe_subscription: Mapping[str, Any]) -> datetime | None:
    """Return the instant from which Stripe's items are ours, as we wrote it into the metadata; None without a legible
    one."""
    written = str((stripe_subscription.get("metadata") or {}).get(TERMS_FROM, ""))
    if not (written.isascii() and written.isdecimal() and len(written) <= SECOND_DIGITS_MAX):
        return None
    return datetime.fromtimestamp(int(written), tz=UTC)


def _item(item: Item, item_id: str | None) -> StripeDict:
    known = {"id": item_id} if item_id is not None else {}
    return {**known, "price": price_id(item.version), "quantity": item.seats}


def _items(stripe_subscription: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(stripe_subscription["items"]["data"])


def _licensed(stripe_subscription: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The items that are terms: a metered one that somebody added at Stripe is among them, as none of ours."""
    return [item for item in _items(stripe_subscription) if not _is_metered_by_us(item)]


def _is_metered_by_us(item: Mapping[str, Any]) -> bool:
    price = item.get("price")
    if not isinstance(price, dict) or (price.get("recurring") or {}).get("usage_type") != "metered":
        return False
    return METERED_RATE in (price.get("metadata") or {})


def _price(item: Mapping[str, Any]) -> str:
    price = item.get("price") or {}
    return str(price["id"] if isinstance(price, dict) else price) if price else ""
