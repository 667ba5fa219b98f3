"""
What a change will cost, said before it is made: by our own proration and by Stripe's preview. Both are kept, and once
the change is made, what was invoiced stands beside them (`comparing`).

Not inside a transaction: Stripe is asked, and nothing is changed there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from billing.catalog.fees import fee_minor_of
from billing.catalog.models import PlanVersion
from billing.stripe import gateway, readers
from billing.stripe.errors import StripeRefused
from billing.stripe.gateway import StripeDict
from billing.stripe.seconds import second_of
from billing.subscriptions import billed
from billing.subscriptions.at_stripe import changed_items, items_of, price_id
from billing.subscriptions.change_models import ChangePreview, ChangePreviewLine
from billing.subscriptions.changes import require_possible, require_steerable
from billing.subscriptions.errors import ChangeRefused, SubscriptionNotFound
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import Item
from billing.subscriptions.proration import Rounding, line_minor
from billing.subscriptions.queries import latest_period

Source, Kind = ChangePreviewLine.Source, ChangePreview.Kind
DESCRIPTION_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Amount:
    """One amount of a change: minor units, a credit below zero."""

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
    stripes = _of_stripe(found, details, at=at)
    ours = our_amounts(found, items, latest=latest, at=None if from_next_period else at)
    return _keep(
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


def preview_cancellation(*, subscription_id: int, prorate: bool, actor: str, now: datetime) -> ChangePreview:
    """Say what of the fee an end now would give back, and keep it. Raises as `preview_change` does."""
    found, at = _found(subscription_id), now.replace(microsecond=0)
    require_steerable(found)
    latest = latest_period(found.pk)
    if latest is None:
        raise ChangeRefused(f"{found} has no billing period to end")
    behaviour = "create_prorations" if prorate else "none"
    stripes = _of_stripe(found, {"cancel_now": True, "proration_behavior": behaviour}, at=None)
    ours = _credits(found, items_of(found, at=at), latest=latest, at=at) if prorate else []
    return _keep(
        ChangePreview(
            subscription=found,
            kind=Kind.CANCELLATION,
            plan_version=found.plan_version,
            seats=found.seats,
            add_ons=[],
            effective_at=at,
            currency=found.plan_version.currency,
            made_at=now,
            made_by=actor,
        ),
        ours,
        [amount for amount in stripes if amount.is_proration and amount.amount_minor <= 0],
    )


def our_amounts(
    subscription: Subscription, items: Sequence[Item], *, latest: BillingPeriod, at: datetime | None
) -> list[Amount]:
    """
    What a change to these items comes to by our own proration: from `at` on in the latest period, where there is one;
    and the fees of the next period. Each line is floored on its own, the credits come first.
    """
    held = items_of(subscription, at=latest.ends_at)
    before, after = _by_key(held), _by_key(items)
    amounts: list[Amount] = []
    if at is not None and latest.kind == BillingPeriod.Kind.REGULAR:
        changed = [item for key, item in before.items() if _terms(after.get(key)) != _terms(item)]
        amounts += _credits(subscription, changed, latest=latest, at=at)
        part = billed.part_left_of_cycle(subscription, at=at)
        amounts += [
            Amount(
                price_id(item.version),
                f"Remaining time on {_counted(item)}",
                line_minor(fee_minor_of(item.version, item.seats), part, rounding=Rounding.STRIPE),
                is_proration=True,
            )
            for key, item in after.items()
            if _terms(before.get(key)) != _terms(item)
        ]
    return amounts + [
        Amount(price_id(item.version), _counted(item), fee_minor_of(item.version, item.seats), is_proration=False)
        for item in items
    ]


def _credits(subscription: Subscription, items: Iterable[Item], *, latest: BillingPeriod, at: datetime) -> list[Amount]:
    """What was billed of these items for the time after `at`, a line for each line that was billed."""
    if latest.kind != BillingPeriod.Kind.REGULAR:
        return []
    return [
        Amount(price_id(item.version), f"Unused time on {_counted(item)}", -credit, is_proration=True)
        for item in items
        for credit in billed.credits_of(subscription, item, latest=latest, at=at)
    ]


def _of_stripe(subscription: Subscription, details: StripeDict, *, at: datetime | None) -> list[Amount]:
    """
    Ask Stripe for its preview; prorations of earlier changes on the same invoice are left out. Raises ChangeRefused.
    """
    asked = {"subscription": subscription.stripe_subscription_id, "subscription_details": details}
    try:
        invoice = gateway.request("post", "/v1/invoices/create_preview", asked).data
    except StripeRefused as refused:
        if refused.code == "invoice_upcoming_none":
            return []
        raise ChangeRefused(f"Stripe cannot preview it: {refused.message}") from refused
    # A preview is no stored invoice: its own list holds all its lines.
    return amounts_of(invoice["lines"]["data"], at=at)


def amounts_of(lines: Iterable[StripeDict], *, at: datetime | None) -> list[Amount]:
    """
    The amounts on an invoice of Stripe's that belong to a change at `at`: its prorations, and the fees, one for each
    price. Without an instant all prorations.
    """
    second = None if at is None else second_of(at)
    amounts: list[Amount] = []
    fees: dict[str, Amount] = {}
    for line in lines:
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
        int(line["amount"]),
        is_proration=is_proration,
        stripe_line_id=str(line["id"] or "") if is_proration else "",
    )


def _keep(preview: ChangePreview, ours: Sequence[Amount], stripes: Sequence[Amount]) -> ChangePreview:
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
    return {"plan" if not item.version.plan.is_add_on else price_id(item.version): item for item in items}


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
