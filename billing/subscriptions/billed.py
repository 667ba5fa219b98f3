"""
What Stripe billed of an item for the current cycle, by our own periods: what a change within it gives back.

Stripe credits what it billed, each line that covers the time on its own and floored (notes/stripe-sandbox.md): of an
item that was changed in this cycle already, that is the prorated debit of that change, and not a part of a whole price.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from billing.catalog.fees import fee_minor_of
from billing.catalog.models import PlanVersion
from billing.stripe.seconds import second_of
from billing.subscriptions.at_stripe import stripes_midnight
from billing.subscriptions.discounts import Discounts, WholeFee
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import Item, cadence_of
from billing.subscriptions.proration import Rounding, line_minor

DRIFT_MAX = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Debit:
    """What was billed, in minor units, for [start, end) in seconds; `not_counted` names discounts we cannot reckon."""

    amount_minor: int
    start: int
    end: int
    not_counted: str = ""


def cycle_bounds(subscription: Subscription, *, at: datetime) -> tuple[int, int]:
    """Start and end, in seconds, of the whole period of Stripe's that holds the instant."""
    cadence = cadence_of(subscription)
    start, end = cadence.containing(at)
    if cadence.zone is not None:
        start, end = (stripes_midnight(boundary, cadence.zone) for boundary in (start, end))
    return second_of(start), second_of(end)


def part_left_of_cycle(subscription: Subscription, *, at: datetime) -> Fraction:
    """Which part of the whole period of Stripe's comes after the instant."""
    start, end = cycle_bounds(subscription, at=at)
    return Fraction(end - second_of(at), end - start)


def credits_of(
    subscription: Subscription, item: Item, *, latest: BillingPeriod, at: datetime, discounts: Discounts
) -> list[tuple[int, str]]:
    """
    What of each line that was billed of the item lies after `at`; minor units above zero, to be given back, net of the
    discounts that it was billed with. Beside each the words that name those that we cannot reckon.
    """
    second = second_of(at)
    return [
        (
            -line_minor(
                -debit.amount_minor, Fraction(debit.end - second, debit.end - debit.start), rounding=Rounding.STRIPE
            ),
            debit.not_counted,
        )
        for debit in debits_of(subscription, item, latest=latest, at=at, discounts=discounts)
    ]


def debits_of(
    subscription: Subscription, item: Item, *, latest: BillingPeriod, at: datetime, discounts: Discounts
) -> list[Debit]:
    """The lines that bill the item for the time at the instant: one, or of a fee by tiers one for each part of it."""
    start, end = cycle_bounds(subscription, at=at)
    part_since = _had_since(subscription, item, latest=latest, cycle_start=start)
    if part_since is not None:
        since = second_of(part_since.starts_at)
        part = Fraction(end - since, end - start)
        [net] = [
            left for held, left in net_fees(items_of_period(part_since), discounts, second=since)
            if held.version.pk == item.version.pk
        ]  # fmt: skip
        return [Debit(line_minor(net, part, rounding=Rounding.STRIPE), since, end, discounts.not_counted(since))]
    discounted = [one for one in discounts.billed if one.price_id == item.version.stripe_price_id]
    if discounted:
        return [Debit(one.amount_minor, one.start, one.end) for one in discounted]
    begins = max(start, _first_second(subscription))
    part = Fraction(end - begins, end - start)
    return [
        Debit(line_minor(amount, part, rounding=Rounding.STRIPE), begins, end)
        for amount in fee_lines(item.version, item.seats)
    ]


def net_fees(
    items: Sequence[Item], discounts: Discounts, *, second: int, plan_held_as: str = ""
) -> list[tuple[Item, int]]:
    """
    The whole fee of each item, in minor units, less the discounts in force at the second. A plan takes the place of the
    one whose price at Stripe is `plan_held_as`, and keeps the discounts of its item.
    """
    fees = [
        WholeFee(
            (not item.version.plan.is_add_on and plan_held_as) or item.version.stripe_price_id or "",
            item.version.plan.stripe_product_id or "",
            fee_minor_of(item.version, item.seats),
        )
        for item in items
    ]
    return list(zip(items, discounts.net_of(fees, second=second), strict=True))


def items_of_period(period: BillingPeriod) -> list[Item]:
    """What a period's terms pay for: its plan, then the add-ons that are not bundled."""
    own = period.add_ons.filter(is_bundled=False).select_related("plan_version__plan").order_by("pk")
    return [Item(period.plan_version, period.seats), *(Item(row.plan_version, row.seats) for row in own)]


def fee_lines(version: PlanVersion, seats: int) -> list[int]:
    """The amounts of the lines in which Stripe bills a whole fee: a tier's seats are one, its flat amount another."""
    if not version.fee_tiers:
        return [fee_minor_of(version, seats)]
    lines: list[int] = []
    below = 0
    for tier in version.fee_tiers:
        up_to = tier["up_to"]
        inside = (seats if up_to is None else min(seats, up_to)) - below
        if inside <= 0:
            break
        lines.append(inside * tier["unit_minor"])
        if tier.get("flat_minor", 0):
            lines.append(tier["flat_minor"])
        below += inside
    return lines


def _had_since(
    subscription: Subscription, item: Item, *, latest: BillingPeriod, cycle_start: int
) -> BillingPeriod | None:
    """The part of this cycle that began with the item as it is, by a change; None if the cycle began with it."""
    begin = datetime.fromtimestamp(cycle_start, tz=UTC) - DRIFT_MAX
    parts = BillingPeriod.objects.filter(
        subscription=subscription, starts_at__gte=begin, starts_at__lte=latest.starts_at, kind=latest.kind
    ).order_by("-starts_at")
    found: BillingPeriod | None = None
    for part in parts.prefetch_related("add_ons"):
        if not _has(part, item):
            break
        found = part
    if found is None or found.starts_at <= begin + 2 * DRIFT_MAX or found == parts.last():
        return None
    return found


def _has(part: BillingPeriod, item: Item) -> bool:
    if not item.version.plan.is_add_on:
        return (part.plan_version_id, part.seats) == (item.version.pk, item.seats)
    own = [row for row in part.add_ons.all() if not row.is_bundled]  # what a plan bundles was billed in its fee
    return any((row.plan_version_id, row.seats) == (item.version.pk, item.seats) for row in own)


def _first_second(subscription: Subscription) -> int:
    """From when Stripe bills at all: from the anchor, or where a calendar's first period is a part, from the start."""
    return second_of(subscription.anchor_at)
