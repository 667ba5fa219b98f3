"""What a period's usage is rated by, and that usage: read for accrual, and for proving another plan version on it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from billing.catalog.models import Allowance, PlanVersion
from billing.catalog.queries import rates_for
from billing.rating.allocation import AllowanceTerms
from billing.rating.rating import EXACT, RatingError
from billing.rating.target import PeriodTerms, PeriodUsage
from billing.subscriptions.models import BillingPeriod
from metering import queries as metering_queries


class UsageArchived(RatingError):
    """A boundary of the period cuts an hour whose events are in an archive; nothing of the period was posted."""


def terms_of(period: BillingPeriod) -> PeriodTerms:
    """Return what the period's usage is rated by, as it was frozen when the period opened."""
    allowances = tuple(
        AllowanceTerms(
            allowance_id=one.pk,
            measure=one.measure,
            amount=one.amount,
            each_dimension=one.each_dimension,
            covers=tuple(one.covers),
        )
        for one in period.allowances.order_by("position")
    )
    return PeriodTerms(period.starts_at, period.ends_at, rates_for(period.plan_version.rate_card_id), allowances)


def terms_under(version: PlanVersion, *, seats: int, starts_at: datetime, ends_at: datetime) -> PeriodTerms:
    """
    Return what the usage of an interval would be rated by under a plan version, a draft too.

    The allowances' ids are those of billing.Allowance, as there is no period that holds its own.
    """
    allowances = tuple(
        AllowanceTerms(
            allowance_id=one.pk,
            measure=one.measure,
            amount=seated(one, seats),
            each_dimension=one.each_dimension,
            covers=tuple(one.covers),
        )
        for one in version.allowances.order_by("position")
    )
    return PeriodTerms(starts_at, ends_at, rates_for(version.rate_card_id), allowances)


def seated(allowance: Allowance, seats: int) -> Decimal:
    """Return what the allowance comes to with so many seats."""
    return EXACT.multiply(allowance.amount, seats) if allowance.is_per_seat else allowance.amount


def read_usage(
    customer_key: str, starts_at: datetime, ends_at: datetime, *, terms: Sequence[PeriodTerms]
) -> PeriodUsage:
    """
    Return the usage of [starts_at, ends_at), in parts that each of `terms` can rate: cut where one of them changes a
    price, event by event for meters that one of them prices by the event. Raises UsageArchived.
    """
    try:
        return PeriodUsage(metering_queries.windows_between(customer_key, starts_at, ends_at))
    except metering_queries.EventsArchived as error:
        raise UsageArchived(f"usage of {customer_key} from {starts_at:%F %T}: {error}") from error


def usage_of(period: BillingPeriod, terms: Iterable[PeriodTerms] = ()) -> PeriodUsage:
    """Return the period's own usage, in parts that its terms, and `terms` too, can rate. Raises UsageArchived."""
    key = period.subscription.customer.customer_key
    return read_usage(key, period.starts_at, period.ends_at, terms=[terms_of(period), *terms])
