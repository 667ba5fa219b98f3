"""A look at Stripe where an invoice tells that our rows may be behind. Not inside a transaction: Stripe is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from billing.catalog.fees import fee_minor_of
from billing.invoicing.metered.closing import fees_among
from billing.stripe import gateway
from billing.stripe.readers import price_of_line
from billing.subscriptions.at_stripe import items_of
from billing.subscriptions.history import next_reading
from billing.subscriptions.models import Subscription
from billing.subscriptions.queries import latest_period


@dataclass(frozen=True, slots=True)
class SubscriptionLook:
    """Stripe's subscription as it was fetched, and the number of that look."""

    fetched: Mapping[str, Any]
    reading: int


def look_at(subscription: Subscription) -> SubscriptionLook:
    """Fetch it once. Raises StripeUnavailable."""
    reading = next_reading()
    return SubscriptionLook(gateway.retrieve(f"/v1/subscriptions/{subscription.stripe_subscription_id}"), reading)


def bills_our_terms(subscription: Subscription, lines: Sequence[dict[str, Any]]) -> bool:
    """
    Whether a renewal's fees, in minor units, are those of the terms that our next period would open with.

    A part of a calendar's period, and a rollout's price, say no as well: then it is looked at once for nothing.
    """
    latest = latest_period(subscription.pk)
    if latest is None:
        return True
    billed: dict[str, int] = {}
    for line in fees_among(lines):
        price = price_of_line(line)
        billed[price] = billed.get(price, 0) + int(line["amount"])
    ours = {
        item.version.stripe_price_id or "": fee_minor_of(item.version, item.seats)
        for item in items_of(subscription, at=latest.ends_at)
    }
    return billed == ours
