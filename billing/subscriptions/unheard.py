"""
A renewal that is heard of before one that came first. Periods are opened in their order, each from what Stripe billed:
the renewals between are looked for at Stripe, and it waits for them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from billing.invoicing.metered.closing import fees_among
from billing.invoicing.models import Invoice
from billing.stripe import gateway
from billing.stripe.errors import NotYetKnown
from billing.stripe.gateway import StripeDict
from billing.stripe.readers import subscription_of_invoice
from billing.stripe.seconds import second_of
from billing.subscriptions.models import Subscription
from billing.subscriptions.opening import cadence_of
from billing.subscriptions.operations import START_DRIFT_MAX
from billing.subscriptions.queries import latest_period

CYCLE = "subscription_cycle"


def begins_after_ours(subscription: Subscription, lines: Sequence[dict[str, Any]]) -> datetime | None:
    """When the period of a renewal begins, where our latest one ends before that; None where nothing lies between."""
    latest, fees = latest_period(subscription.pk), fees_among(lines)
    if latest is None or not fees or subscription.ended_at is not None:
        return None
    starts_at = datetime.fromtimestamp(fees[0]["period"]["start"], tz=UTC)
    return starts_at if starts_at > latest.ends_at + START_DRIFT_MAX else None


def renewals_before(subscription: Subscription, renewal: StripeDict) -> list[StripeDict]:
    """
    The renewals that Stripe billed since our latest period, before this one, and of which we do not know; the oldest
    first. Not inside a transaction. Raises StripeUnavailable.
    """
    latest = latest_period(subscription.pk)
    if latest is None:
        return []
    made = gateway.listed(
        "/v1/invoices",
        subscription=subscription_of_invoice(renewal),  # ours may wait for its id yet
        created={"gte": second_of(latest.ends_at - START_DRIFT_MAX), "lte": renewal["created"]},
    )
    cycles = [one for one in made if one["billing_reason"] == CYCLE and one["id"] != renewal["id"]]
    ids = [one["id"] for one in cycles]
    known = set(Invoice.objects.filter(stripe_invoice_id__in=ids).values_list("stripe_invoice_id", flat=True))
    return [one for one in cycles[::-1] if one["id"] not in known]


def require_reached(subscription_id: int, *, until: datetime) -> None:
    """
    Raise NotYetKnown where our periods still end before a renewal that begins at a boundary of ours: Stripe's list may
    show the one before it late. Where it begins elsewhere, or our boundary was moved to there, nothing is missing.

    Inside the caller's transaction.
    """
    subscription = Subscription.objects.select_related("plan_version").get(pk=subscription_id)
    latest = latest_period(subscription_id)
    if latest is None or subscription.ended_at is not None or latest.ends_at + START_DRIFT_MAX >= until:
        return
    is_moved_there = abs(until - subscription.anchor_at) <= START_DRIFT_MAX
    if not is_moved_there and abs(cadence_of(subscription).nearest(until) - until) <= START_DRIFT_MAX:
        raise NotYetKnown(
            f"{subscription} is renewed {until:%F %T}, and its period of {latest.ends_at:%F %T} is missing"
        )
