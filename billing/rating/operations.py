"""
Accrual: brings the ledger to what a period's usage has come to.

Cumulative target minus the sum of what is posted, so late events, repeated runs and runs at the same time are all one
rule (DESIGN §7). Nothing is posted that the pure modules beside this one cannot explain.
"""

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.core.cache import cache
from django.db import IntegrityError, transaction

from billing.accounting.usage import UsageChange, post_usage_accrued
from billing.customers.models import Customer
from billing.rating import late, queries
from billing.rating.models import AllowanceDrawdown, GrantDrawdown, UsageAccrual, UsageAccrualLine
from billing.rating.rating import RatingError
from billing.rating.target import PeriodTerms, PeriodUsage, UnratedUsage, burnable, target
from billing.rating.terms import UsageArchived, read_usage, terms_of
from billing.rating.totals import PeriodState
from billing.subscriptions import periods
from billing.subscriptions.models import BillingPeriod
from ledger.operations import LedgerError
from metering import operations as metering_operations
from metering import queries as metering_queries
from promotions import operations as promotions_operations
from promotions import queries as promotions_queries
from promotions.burn_down import PAID, GrantBalance

__all__ = [
    "PeriodNotFound",
    "UnratedUsage",
    "UsageArchived",
    "accrue_changed_periods",
    "accrue_period",
    "grants_for",
]

logger = logging.getLogger(__name__)

ACTOR = "service:rating"
PROGRESS_CACHE_KEY = "billing.rating.accrual_progress"
# How often the windows are read anew because an advance came in between.
READS_MAX = 3
# Customers after whose periods it is kept how far a pass is.
CUSTOMERS_AT_ONCE = 500
# That often all open periods are looked at: a grant that is issued or ended for the past changes no window.
COMPLETE_PASS_EVERY = timedelta(hours=1)


class PeriodNotFound(RatingError):
    """No billing period has this id."""


class _CountedUsage(NamedTuple):
    """A period's usage, and how far arrivals are in them: by the time of receipt, and by the position."""

    found: PeriodUsage
    aggregated_through: datetime
    counted_before_xid: int


class _Pass(NamedTuple):
    """
    How far one pass over the changed customers, or all, has come: what changed after metering's cursor `through` is for
    the next one, customers up to the key `after` are done, and `failed` are to be tried again.
    """

    through: int
    is_complete: bool
    begun_at: datetime
    after: str = ""
    failed: tuple[str, ...] = ()


class _Progress(NamedTuple):
    """
    How far accrue_changed_periods has come: metering's cursor, customers to try again, when the last complete pass
    began, and the pass that is not at its end.
    """

    cursor: int
    retried: Sequence[str]
    complete_at: datetime
    under_way: _Pass | None = None


def accrue_period(*, period_id: int, now: datetime) -> UsageAccrual | None:
    """
    Post the difference between what the period's usage comes to now and what was posted before; None if there is none.

    Holds the customer's and the period's row, so of two callers at once the second finds nothing left to do, and the
    customer's grants, so that nobody takes from them meanwhile. Works on closed periods too.

    The entry takes effect now, but while the period is open never after its last instant: usage found at the close
    belongs to the period; what comes after the close belongs to when it came, because the figures were given out, and
    has a LateUsage that says why.

    Raises PeriodNotFound, UnratedUsage and other RatingErrors; nothing is then posted.
    """
    with transaction.atomic():
        period = _locked_period(period_id)
        customer = period.subscription.customer
        promotions_operations.lock_grants(customer_key=customer.customer_key)
        terms = terms_of(period)
        usage = _counted_usage(period, terms)
        posted = queries.posted_state(period_id)
        grants = grants_for(period, posted)
        change = target(usage.found, terms, grants, is_over=now >= period.ends_at).minus(posted)
        if change.is_empty():
            return None
        change.require_storable()
        previous = queries.latest_accrual(period_id)
        accrual = _post(period, change, grants, usage=usage, previous=previous, now=now)
        if period.state == BillingPeriod.State.CLOSED:
            late.explain(accrual, previous=previous, posted=posted)
        return accrual


def accrue_changed_periods(*, now: datetime, finished_at: Callable[[], datetime] | None = None) -> int:
    """
    Accrue the open periods of every customer whose windows changed since the last call; return how many were posted.

    `finished_at` is asked when all was done, to record how old the usage was by then; without it `now` is taken.

    A period that cannot be accrued is logged and tried again next time, and holds no other up. A call that was stopped
    is gone on with after its last whole batch. How far it is is kept in the cache only: when that is lost, every open
    period is looked at, which changes nothing but time.
    """
    progress: _Progress = cache.get(PROGRESS_CACHE_KEY) or _Progress(cursor=0, retried=(), complete_at=now)
    changed, cursor = metering_queries.customers_with_changes_since(progress.cursor)
    is_due = not progress.cursor or now - progress.complete_at >= COMPLETE_PASS_EVERY
    this = progress.under_way or _Pass(through=cursor, is_complete=is_due, begun_at=now)
    among = None if this.is_complete else sorted({*changed, *progress.retried})
    posted = 0
    while keys := _customers_after(this.after, among):
        accrued, failed = _accrue_open_periods(keys, now=now)
        posted += accrued
        this = this._replace(after=keys[-1], failed=(*this.failed, *failed))
        cache.set(PROGRESS_CACHE_KEY, progress._replace(under_way=this), timeout=None)
    if progress.cursor:
        # One transaction rates and posts, so both stages are done at once; after a lost cache nothing can be said.
        metering_operations.record_changes_done(
            ("rated", "posted"), after=progress.cursor, through=this.through, at=finished_at() if finished_at else now
        )
    complete_at = this.begun_at if this.is_complete else progress.complete_at
    cache.set(PROGRESS_CACHE_KEY, _Progress(this.through, this.failed, complete_at), timeout=None)
    return posted


def _customers_after(key: str, among: list[str] | None) -> list[str]:
    """The next batch behind `key`, of those given or of all."""
    if among is not None:
        start = bisect_right(among, key)
        return among[start : start + CUSTOMERS_AT_ONCE]
    behind = Customer.objects.filter(customer_key__gt=key).order_by("customer_key")
    return list(behind.values_list("customer_key", flat=True)[:CUSTOMERS_AT_ONCE])


def _accrue_open_periods(customer_keys: Sequence[str], *, now: datetime) -> tuple[int, list[str]]:
    """How many open periods of these customers were posted, and of whom one was not to be accrued."""
    due = BillingPeriod.objects.filter(
        state=BillingPeriod.State.OPEN, starts_at__lte=now, subscription__customer__customer_key__in=customer_keys
    )
    posted, failed = 0, []
    for period_id, customer_key in due.order_by("pk").values_list("pk", "subscription__customer__customer_key"):
        try:
            posted += accrue_period(period_id=period_id, now=now) is not None
        except (RatingError, LedgerError, IntegrityError):
            # The last is what the database refuses: a fault of ours, which must not hold other customers up.
            logger.exception("period %s of %s was not accrued", period_id, customer_key)
            failed.append(customer_key)
    return posted, failed


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


def _counted_usage(period: BillingPeriod, terms: PeriodTerms) -> _CountedUsage:
    """
    Return the period's windows and the position up to which they count, which an advance must not move in between.

    Should one keep moving it, the position may lie behind the windows: what explains a later change then names some
    arrivals again, and none is left out.
    """
    for _ in range(READS_MAX):
        # Read before the windows: an advance in between makes the windows newer than we say, never older.
        through, position = metering_queries.aggregated_through(), metering_queries.counted_before()
        key = period.subscription.customer.customer_key
        found = read_usage(key, period.starts_at, period.ends_at, terms=[terms])
        if metering_queries.counted_before() == position:
            break
    return _CountedUsage(found, through, position)


def grants_for(period: BillingPeriod, posted: PeriodState) -> list[GrantBalance]:
    """Return the customer's grants with what each may give to this period in all, as `target.burnable` tells."""
    customer = period.subscription.customer
    grants = promotions_queries.grants_of(customer.customer_key, currency=customer.currency)
    if not grants:
        return []
    by_others = queries.taken_by_other_periods([grant.grant_id for grant in grants], period_id=period.pk)
    return burnable(grants, by_this=posted.by_grant(), by_others=by_others)


def _post(
    period: BillingPeriod,
    change: PeriodState,
    grants: Iterable[GrantBalance],
    *,
    usage: _CountedUsage,
    previous: UsageAccrual | None,
    now: datetime,
) -> UsageAccrual:
    """Write the ledger's entry and the accrual with its lines and drawdowns."""
    total, by_grant = change.total(), change.by_grant()
    ended = {grant.grant_id: grant.kind for grant in grants if grant.ended_at is not None}
    revision = previous.revision + 1 if previous else 1
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
        aggregated_through=usage.aggregated_through,
        counted_before_xid=usage.counted_before_xid,
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
    AllowanceDrawdown.objects.bulk_create(
        AllowanceDrawdown(
            accrual=accrual, rate_id=rate_id, allowance_id=allowance_id, amount=use.amount, quantity=use.quantity
        )
        for (rate_id, allowance_id), use in change.allowances.items()
    )
    GrantDrawdown.objects.bulk_create(
        GrantDrawdown(accrual=accrual, rate_id=rate_id, grant_id=grant_id, amount=amount)
        for (rate_id, grant_id), amount in change.drawdowns.items()
    )


def _effective_at(period: BillingPeriod, now: datetime) -> datetime:
    if period.state == BillingPeriod.State.CLOSED:
        return now
    return min(now, periods.last_instant(period.ends_at))
