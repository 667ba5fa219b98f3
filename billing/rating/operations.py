"""
Accrual: brings the ledger to what a period's usage has come to.

Cumulative target minus the sum of what is posted, so late events, repeated runs and runs at the same time are all one
rule (DESIGN §7). Nothing is posted that the pure modules beside this one cannot explain.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.core.cache import cache
from django.db import transaction

from billing.accounting.usage import UsageChange, post_usage_accrued
from billing.catalog.queries import RateTable, rates_for
from billing.customers.models import Customer
from billing.rating import queries
from billing.rating.allocation import Funding, RatedUsage, fund
from billing.rating.models import GrantDrawdown, UsageAccrual, UsageAccrualLine
from billing.rating.rating import EXACT, ZERO, RatingError, plain, rate_usage
from billing.rating.totals import Amounts, PeriodState
from billing.subscriptions import periods
from billing.subscriptions.models import BillingPeriod
from ledger.operations import LedgerError
from metering import queries as metering_queries
from metering.queries import Window
from promotions import operations as promotions_operations
from promotions import queries as promotions_queries
from promotions.burn_down import PAID, GrantBalance

logger = logging.getLogger(__name__)

ACTOR = "service:rating"
MODEL_DIMENSION = "model"
PROGRESS_CACHE_KEY = "billing.rating.accrual_progress"
# That often all open periods are looked at: a grant that is issued or ended for the past changes no window.
COMPLETE_PASS_EVERY = timedelta(hours=1)


class UnratedUsage(RatingError):
    """A window has a quantity and no rate applies to it; nothing of the period was posted."""


class PeriodNotFound(RatingError):
    """No billing period has this id."""


@dataclass(frozen=True, slots=True)
class _Usage:
    """The usage of a period: quantity per rate, and the price of each hour."""

    quantities: dict[int, Decimal]
    priced: list[RatedUsage]


class _Progress(NamedTuple):
    """How far accrue_changed_periods has come: metering's cursor, customers to try again, the last complete pass."""

    cursor: int
    retried: list[str]
    complete_at: datetime


def accrue_period(*, period_id: int, now: datetime) -> UsageAccrual | None:
    """
    Post the difference between what the period's usage comes to now and what was posted before; None if there is none.

    Holds the customer's and the period's row, so of two callers at once the second finds nothing left to do, and the
    customer's grants, so that nobody takes from them meanwhile. Works on closed periods too.

    The entry takes effect now, but while the period is open never after its last instant: usage found at the close
    belongs to the period; what comes after the close belongs to when it came, because the figures were given out.

    Raises PeriodNotFound, UnratedUsage and other RatingErrors; nothing is then posted.
    """
    with transaction.atomic():
        period = _locked_period(period_id)
        customer = period.subscription.customer
        promotions_operations.lock_grants(customer_key=customer.customer_key)
        # Read before the windows: an advance in between makes the windows newer than we say, never older.
        aggregated_through = metering_queries.aggregated_through()
        posted = queries.posted_state(period_id)
        grants = _grants_for(period, posted)
        change = _target(period, grants).minus(posted)
        if change.is_empty():
            return None
        return _post(period, change, grants, aggregated_through=aggregated_through, now=now)


def accrue_changed_periods(*, now: datetime) -> int:
    """
    Accrue the open periods of every customer whose windows changed since the last call; return how many were posted.

    A period that cannot be accrued is logged and tried again next time, and holds no other up. Where the last call
    ended is kept in the cache only: when it is lost, every open period is looked at, which changes nothing but time.
    """
    progress: _Progress = cache.get(PROGRESS_CACHE_KEY) or _Progress(cursor=0, retried=[], complete_at=now)
    is_complete = not progress.cursor or now - progress.complete_at >= COMPLETE_PASS_EVERY
    changed, cursor = metering_queries.customers_with_changes_since(progress.cursor)
    due = BillingPeriod.objects.filter(state=BillingPeriod.State.OPEN, starts_at__lte=now).order_by("pk")
    if not is_complete:
        due = due.filter(subscription__customer__customer_key__in={*changed, *progress.retried})
    posted, failed = 0, []
    for period_id, customer_key in due.values_list("pk", "subscription__customer__customer_key"):
        try:
            posted += accrue_period(period_id=period_id, now=now) is not None
        except (RatingError, LedgerError):
            logger.exception("period %s of %s was not accrued", period_id, customer_key)
            failed.append(customer_key)
    complete_at = now if is_complete else progress.complete_at
    cache.set(PROGRESS_CACHE_KEY, _Progress(cursor, failed, complete_at), timeout=None)
    return posted


def _locked_period(period_id: int) -> BillingPeriod:
    """
    Return the period, held until the end of the transaction. Raises PeriodNotFound.

    The customer comes first: a close accrues several periods in one transaction, and all of them move the same
    accounts, so that whoever held only another period would wait for it in a circle.
    """
    customers_held = Customer.objects.select_for_update(of=("self",), no_key=True)
    customers_held.filter(subscriptions__periods=period_id).first()
    periods_held = BillingPeriod.objects.select_for_update(of=("self",))
    period = periods_held.select_related("subscription__customer", "plan_version").filter(pk=period_id).first()
    if period is None:
        raise PeriodNotFound(f"there is no billing period {period_id}")
    return period


def _target(period: BillingPeriod, grants: Iterable[GrantBalance]) -> PeriodState:
    """Return what the period comes to, from its windows, rates, allowance and grants alone."""
    starts_at, ends_at = periods.usage_hours(period.starts_at, period.ends_at)
    windows = metering_queries.windows_for(period.subscription.customer.customer_key, starts_at, ends_at)
    usage = _rate_windows(windows, rates_for(period.plan_version.rate_card_id))
    funding = fund(usage.priced, period.allowance, grants)
    return _state(usage, funding)


def _rate_windows(windows: Iterable[Window], rates: RateTable) -> _Usage:
    """Price every window by the rate in force at its start. Raises UnratedUsage naming the first that has none."""
    quantities: dict[int, Decimal] = defaultdict(lambda: ZERO)
    priced = []
    for window in windows:
        if not window.quantity:
            continue
        model = window.dimensions.get(MODEL_DIMENSION)
        rate = rates.lookup(window.meter_code, model, window.window_start) if model is not None else None
        if rate is None:
            raise UnratedUsage(
                f"{plain(window.quantity)} {window.meter_code} of model {model!r} by {window.customer_key}"
                f" at {window.window_start:%F %H:00} have no rate"
            )
        quantities[rate.pk] = EXACT.add(quantities[rate.pk], window.quantity)
        amount = rate_usage(window.quantity, rate.unit_price, rate.unit_size)
        priced.append(RatedUsage(at=window.window_start, rate_id=rate.pk, amount=amount))
    return _Usage(dict(quantities), priced)


def _state(usage: _Usage, funding: Funding) -> PeriodState:
    by_rate = {
        rate_id: Amounts(
            quantity=usage.quantities[rate_id],
            rated=share.rated,
            included=share.included,
            credited=share.credited,
            unbilled=share.unbilled,
        )
        for rate_id, share in funding.by_rate.items()
    }
    return PeriodState(by_rate, funding.drawdowns)


def _grants_for(period: BillingPeriod, posted: PeriodState) -> list[GrantBalance]:
    """
    Return the customer's grants with what each may give to this period in all.

    A live grant: what is left on its account and what this period took. A grant that has ended holds nothing any more;
    what it still owes to usage from before its end, accrued late, is all that no other period took. A grant covers
    every hour in which it was in force at any moment: usage is known by the hour.
    """
    customer = period.subscription.customer
    grants = promotions_queries.grants_of(customer.customer_key, currency=customer.currency)
    if not grants:
        return []
    by_others = queries.taken_by_other_periods([grant.grant_id for grant in grants], period_id=period.pk)
    by_this = posted.by_grant()
    return [
        replace(
            grant,
            effective_at=periods.floor_hour(grant.effective_at),
            available=EXACT.add(grant.available, by_this.get(grant.grant_id, ZERO))
            if grant.ended_at is None
            else EXACT.subtract(grant.amount, by_others.get(grant.grant_id, ZERO)),
        )
        for grant in grants
    ]


def _post(
    period: BillingPeriod,
    change: PeriodState,
    grants: Iterable[GrantBalance],
    *,
    aggregated_through: datetime,
    now: datetime,
) -> UsageAccrual:
    """Write the ledger's entry and the accrual with its lines and drawdowns."""
    total, by_grant = change.total(), change.by_grant()
    ended = {grant.grant_id: grant.kind for grant in grants if grant.ended_at is not None}
    latest = queries.latest_accrual(period.pk)
    revision = latest.revision + 1 if latest else 1
    entry = post_usage_accrued(
        UsageChange(
            rated=total.rated,
            included=total.included,
            unbilled=total.unbilled,
            by_grant=by_grant,
            restored={grant_id: amount for grant_id, amount in by_grant.items() if grant_id in ended},
            paid_grants=frozenset(grant_id for grant_id, kind in ended.items() if kind == PAID),
        ),
        customer_key=period.subscription.customer.customer_key,
        currency=period.subscription.customer.currency,
        period_id=period.pk,
        revision=revision,
        effective_at=_effective_at(period, now),
        recorded_at=now,
        actor=ACTOR,
    )
    accrual = UsageAccrual.objects.create(
        period=period,
        revision=revision,
        rated=total.rated,
        included=total.included,
        credited=total.credited,
        unbilled=total.unbilled,
        journal_entry_id=entry.id if entry else None,
        aggregated_through=aggregated_through,
        recorded_at=now,
    )
    _insert_parts(accrual, change)
    return accrual


def _insert_parts(accrual: UsageAccrual, change: PeriodState) -> None:
    UsageAccrualLine.objects.bulk_create(
        UsageAccrualLine(
            accrual=accrual,
            rate_id=rate_id,
            quantity=amounts.quantity,
            rated=amounts.rated,
            included=amounts.included,
            credited=amounts.credited,
            unbilled=amounts.unbilled,
        )
        for rate_id, amounts in change.by_rate.items()
    )
    GrantDrawdown.objects.bulk_create(
        GrantDrawdown(accrual=accrual, rate_id=rate_id, grant_id=grant_id, amount=amount)
        for (rate_id, grant_id), amount in change.drawdowns.items()
    )


def _effective_at(period: BillingPeriod, now: datetime) -> datetime:
    if period.state == BillingPeriod.State.CLOSED:
        return now
    return min(now, periods.last_instant(period.ends_at))
