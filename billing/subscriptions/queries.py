"""All reads about subscriptions and billing periods."""

from datetime import datetime

from billing.subscriptions.models import BillingPeriod, Subscription


def latest_period(subscription_id: int) -> BillingPeriod | None:
    """Return the period of the subscription that starts last, or None."""
    return BillingPeriod.objects.filter(subscription_id=subscription_id).order_by("-starts_at").first()


def period_at(subscription_id: int, at: datetime) -> BillingPeriod | None:
    """Return the period of the subscription that holds the instant, or None."""
    return BillingPeriod.objects.filter(subscription_id=subscription_id, starts_at__lte=at, ends_at__gt=at).first()


def period_ending(subscription_id: int, ends_at: datetime) -> BillingPeriod | None:
    """Return the period of the subscription that ends at this instant exactly, or None."""
    return BillingPeriod.objects.filter(subscription_id=subscription_id, ends_at=ends_at).first()


def subscription_by_stripe_id(stripe_subscription_id: str) -> Subscription | None:
    """Return the subscription that is this one at Stripe, or None."""
    return Subscription.objects.filter(stripe_subscription_id=stripe_subscription_id).first()
