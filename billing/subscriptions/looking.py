"""A look at Stripe where an invoice tells that our rows may be behind. Not inside a transaction: Stripe is asked."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from billing.catalog.fees import fee_minor_of
from billing.invoicing.metered.closing import fees_among
from billing.stripe import gateway
from billing.stripe.errors import NotYetKnown
from billing.stripe.readers import price_of_line
from billing.subscriptions.at_stripe import items_of
from billing.subscriptions.errors import SubscriptionError
from billing.subscriptions.history import next_reading
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import START_DRIFT_MAX, project_subscription
from billing.subscriptions.queries import latest_period

logger = logging.getLogger(__name__)


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
    Whether a renewal's fees, in minor units, are those of the terms that our next period would open with, and begin
    where that would.

    A part of a calendar's period, and a rollout's price, say no as well: then it is looked at once for nothing.
    """
    latest = latest_period(subscription.pk)
    if latest is None:
        return True
    billed: dict[str, int] = {}
    fees = fees_among(lines)
    if fees and not _begins_with_ours(subscription, latest, at=datetime.fromtimestamp(fees[0]["period"]["start"], UTC)):
        return False
    for line in fees:
        price = price_of_line(line)
        billed[price] = billed.get(price, 0) + int(line["amount"])
    ours = {
        item.version.stripe_price_id or "": fee_minor_of(item.version, item.seats)
        for item in items_of(subscription, at=latest.ends_at)
    }
    return billed == ours


def bring(look: SubscriptionLook, *, now: datetime) -> None:
    """Bring what it shows. What cannot be brought is left to the subscription's own events. In a transaction."""
    try:
        project_subscription(look.fetched, now=now, reading=look.reading)
    except (NotYetKnown, SubscriptionError) as later:
        logger.warning("%s was looked at and not brought: %s", look.fetched["id"], later)


def _begins_with_ours(subscription: Subscription, latest: BillingPeriod, *, at: datetime) -> bool:
    moved_to = [subscription.anchor_at] if subscription.anchor_at > latest.ends_at else []
    return any(abs(at - one) <= START_DRIFT_MAX for one in (latest.ends_at, *moved_to))
