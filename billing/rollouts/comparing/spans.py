"""Which periods and months of some subscriptions a backtest is about, read with all that a comparison needs of them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from billing.subscriptions.models import BillingPeriod, Subscription


def periods_of(subscription_ids: Sequence[int], starts_at: datetime, ends_at: datetime) -> list[BillingPeriod]:
    """The billing periods that ended in (starts_at, ends_at]; three queries."""
    found = BillingPeriod.objects.filter(
        subscription_id__in=subscription_ids, ends_at__gt=starts_at, ends_at__lte=ends_at
    )
    found = found.select_related("subscription__customer", "plan_version__plan")
    return list(
        found.prefetch_related("allowances", "add_ons__plan_version__plan").order_by("subscription_id", "starts_at")
    )


def months_of(subscription_ids: Sequence[int], start: datetime, end: datetime) -> list[BillingPeriod]:
    """
    One month of each subscription that had begun by its end, under the terms it has now: as if a period, never stored.
    """
    found = Subscription.objects.filter(pk__in=subscription_ids, started_at__lt=end)
    return [
        BillingPeriod(
            subscription=subscription,
            starts_at=start,
            ends_at=end,
            plan_version=subscription.plan_version,
            seats=subscription.seats,
        )
        for subscription in found.select_related("customer", "plan_version__plan").order_by("pk")
    ]


def months_between(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The UTC months of [start, end), which begins and ends with one."""
    while start < end:
        month_end = (start.astimezone(UTC) + timedelta(days=32)).replace(day=1)
        yield start, month_end
        start = month_end
