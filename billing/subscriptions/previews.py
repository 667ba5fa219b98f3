"""
What a change will cost, said before it is made: by our own proration and by Stripe's preview. Both are kept, and once
the change is made, what was invoiced stands beside them (`comparing`).

Not inside a transaction: Stripe is asked, and nothing is changed there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from billing.catalog.models import PlanVersion
from billing.invoicing.metered.closing import metered_prices_of
from billing.stripe import gateway, readers
from billing.stripe.errors import StripeRefused
from billing.stripe.gateway import StripeDict
from billing.stripe.seconds import second_of
from billing.subscriptions import billed
from billing.subscriptions.at_stripe import changed_items, items_of, price_id
from billing.subscriptions.change_models import ChangePreview, ChangePreviewLine
from billing.subscriptions.changes import require_possible
from billing.subscriptions.discounts import NO_DISCOUNTS, Discounts, discounts_of
from billing.subscriptions.errors import ChangeRefused, SubscriptionNotFound
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import Item
from billing.subscriptions.proration import Rounding, line_minor

Source, Kind = ChangePreviewLine.Source, ChangePreview.Kind
DESCRIPTION_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Amount:
    """One amount of a change: minor units, a credit below zero, net of discounts and before tax."""

    stripe_price_id: str
    description: str
    amount_minor: int
    is_proration: bool
    stripe_line_id: str = ""


def preview_change(
    *,
    subscription_id: int,
    plan_version: PlanVersion,
    seats: int,
    add_ons: Sequence[tuple[PlanVersion, int]] = (),
    from_next_period: bool = False,
    actor: str,
    now: datetime,
) -> ChangePreview:
    """
    Say what other terms would cost, from this second on or from the next period on, and keep it.

    Raises SubscriptionNotFound, PlanNotOffered and ChangeRefused as the change itself would, and StripeUnavailable.
    """
    found = _found(subscription_id)
    items = [Item(plan_version, seats), *(Item(version, count) for version, count in add_ons)]
    latest = require_possible(found, items, from_next_period=from_next_period, at=now, now=now)
    at = latest.ends_at if from_next_period else now.replace(microsecond=0)
    theirs = gateway.retrieve(f"/v1/subscriptions/{found.stripe_subscription_id}")
    details: dict[str, Any] = {"items": changed_items(theirs, items, plan_price_id=price_id(found.plan_version))}
    if from_next_period:
        details["proration_behavior"] = "none"
    else:
        details |= {"proration_behavior": "create_prorations", "proration_date": second_of(at)}
    stripes = amounts_of(lines_at_stripe(found, details), at=at)
    start, _ = billed.cycle_bounds(found, at=at)
    discounts = discounts_of(found, cycle_start=datetime.fromtimestamp(start, tz=UTC), theirs=theirs)
    ours = our_amounts(found, items, latest=latest, at=None if from_next_period else at, discounts=discounts)
    return keep(
        ChangePreview(
            subscription=found,
            kind=Kind.TERMS,
            plan_version=plan_version,
            seats=seats,
            add_ons=[[version.pk, count] for version, count in add_ons],
            from_next_period=from_next_period,
            effective_at=at,
            currency=plan_version.currency,
            made_at=now,
            made_by=actor,
        ),
        ours,
        stripes,
    )


def our_amounts(
    subscription: Subscription,
    items: Sequence[Item],
    *,
    latest: BillingPeriod,
    at: datetime | None,
    discounts: Discounts = NO_DISCOUNTS,
) -> list[Amount]:
    """
    What a change to these items comes to by our own proration: from `at` on in the latest period, where there is one;
    and the fees of the next period, all net of discounts. Each line is floored on its own, the credits come first.
    """
    held = items_of(subscription, at=latest.ends_at)
    before, after = _by_key(held), _by_key(items)
    plan = price_id(subscription.plan_version)
    amounts: list[Amount] = []
    if at is not None and _is_prorated(subscription, latest):
        changed = [item for key, item in before.items() if _terms(after.get(key)) != _terms(item)]
        amounts += credits_for(subscription, changed, latest=latest, at=at, discounts=discounts)
        part, second = billed.part_left_of_cycle(subscription, at=at), second_of(at)
        amounts += [
            Amount(
                price_id(item.version),
                f"Remaining time on {_counted(item)}{discounts.not_counted(second)}",
                line_minor(net, part, rounding=Rounding.STRIPE),
                is_proration=True,
            )
            for item, net in billed.net_fees(list(after.values()), discounts, second=second, plan_held_as=plan)
            if _terms(before.get(_key(item))) != _terms(item)
        ]
    renewed = second_of(latest.ends_at)
    return amounts + [
        Amount(price_id(item.version), f"{_counted(item)}{discounts.not_counted(renewed)}", net, is_proration=False)
        for item, net in billed.net_fees(items, discounts, second=renewed, plan_held_as=plan)
    ]


def credits_for(
    subscription: Subscription,
    items: Iterable[Item],
    *,
    latest: BillingPeriod,
    at: datetime,
    discounts: Discounts = NO_DISCOUNTS,
) -> list[Amount]:
    """What was billed of these items for the time after `at`, a line for each line that was billed, less discounts."""
    if not _is_prorated(subscription, latest):
        return []
    return [
        Amount(price_id(item.version), f"Unused time on {_counted(item)}{not_counted}", -credit, is_proration=True)
        for item in items
        for credit, not_counted in billed.credits_of(subscription, item, latest=latest, at=at, discounts=discounts)
    ]


def _is_prorated(subscription: Subscription, latest: BillingPeriod) -> bool:
    """Whether Stripe billed the running period. Until a billing date that was moved by a trial there it bills none."""
    is_regular = latest.kind == BillingPeriod.Kind.REGULAR
    return is_regular and subscription.status != Subscription.Status.TRIALING


def lines_at_stripe(subscription: Subscription, details: StripeDict) -> list[StripeDict]:
    """Ask Stripe for its preview and return its lines; none where nothing would be invoiced. Raises ChangeRefused."""
    asked = {"subscription": subscription.stripe_subscription_id, "subscription_details": details}
    try:
        lines = gateway.request("post", "/v1/invoices/create_preview", asked).data["lines"]
        # It carries the first ones, and names where all are: https://github.com/stripe/stripe-dotnet/issues/381.
        return list(gateway.listed(lines["url"]) if lines["has_more"] else lines["data"])
    except StripeRefused as refused:
        if refused.code == "invoice_upcoming_none":
            return []
        raise ChangeRefused(f"Stripe cannot preview it: {refused.message}") from refused


def amounts_of(lines: Iterable[StripeDict], *, at: datetime | None) -> list[Amount]:
    """
    The amounts on an invoice of Stripe's that belong to a change at `at`: its prorations, and the fees, one for each
    price. Without an instant all prorations.
    """
    second = None if at is None else second_of(at)
    lines = list(lines)
    metered = metered_prices_of(lines)  # usage of the period, which no change makes
    amounts: list[Amount] = []
    fees: dict[str, Amount] = {}
    for line in (line for line in lines if readers.price_of_line(line) not in metered):
        if readers.is_proration_line(line):
            if second is None or line["period"]["start"] == second:
                amounts.append(_amount(line, is_proration=True))
        elif (line.get("parent") or {}).get("type") == "subscription_item_details":
            fee = _amount(line, is_proration=False)
            so_far = fees.get(fee.stripe_price_id)
            total = fee.amount_minor + (so_far.amount_minor if so_far is not None else 0)
            first = so_far or fee
            fees[fee.stripe_price_id] = Amount(first.stripe_price_id, first.description, total, is_proration=False)
    return [*amounts, *fees.values()]


def _amount(line: StripeDict, *, is_proration: bool) -> Amount:
    return Amount(
        readers.price_of_line(line),
        (line["description"] or "")[:DESCRIPTION_CHARS_MAX],
        int(line["amount"]) - sum(int(one["amount"]) for one in line.get("discount_amounts") or []),
        is_proration=is_proration,
        stripe_line_id=str(line["id"] or "") if is_proration else "",
    )


def keep(preview: ChangePreview, ours: Sequence[Amount], stripes: Sequence[Amount]) -> ChangePreview:
    """Write a preview down with the lines of both."""
    with transaction.atomic():
        preview.save(force_insert=True)
        ChangePreviewLine.objects.bulk_create(
            line
            for source, amounts in ((Source.OURS, ours), (Source.STRIPE, stripes))
            for line in lines_of(preview, source, amounts)
        )
    return preview


def lines_of(preview: ChangePreview, source: str, amounts: Iterable[Amount]) -> list[ChangePreviewLine]:
    """The rows of one source's amounts, in their order."""
    return [
        ChangePreviewLine(
            preview=preview,
            source=source,
            position=position,
            stripe_price_id=amount.stripe_price_id,
            description=amount.description[:DESCRIPTION_CHARS_MAX],
            amount_minor=amount.amount_minor,
            is_proration=amount.is_proration,
            stripe_line_id=amount.stripe_line_id if source == Source.INVOICED else "",
        )
        for position, amount in enumerate(amounts, start=1)
    ]


def _by_key(items: Iterable[Item]) -> Mapping[str, Item]:
    """The plan keeps its item whatever its version; an add-on is its price."""
    return {_key(item): item for item in items}


def _key(item: Item) -> str:
    return price_id(item.version) if item.version.plan.is_add_on else "plan"


def _terms(item: Item | None) -> tuple[int, int] | None:
    return None if item is None else (item.version.pk, item.seats)


def _counted(item: Item) -> str:
    return str(item.version) if item.seats == 1 else f"{item.seats} × {item.version}"


def _found(subscription_id: int) -> Subscription:
    rows = Subscription.objects.select_related("customer", "plan_version__plan")
    found = rows.filter(pk=subscription_id).first()
    if found is None:
        raise SubscriptionNotFound(f"there is no subscription {subscription_id}")
    return found
