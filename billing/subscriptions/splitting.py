"""A period whose terms change within it, in two: what each part includes. Inside the caller's transaction."""

import logging
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import Sum

from billing.catalog.models import Allowance, AtPlanChange
from billing.rating.models import AllowanceDrawdown, UsageAccrual
from billing.rating.operations import accrue_period
from billing.rating.rating import ZERO, RatingError
from billing.subscriptions.models import BillingPeriod, PeriodAllowance, Subscription
from billing.subscriptions.opening import WHOLE, Item, add_ons_at, allowances_of, cadence_of, open_period, places_of
from billing.subscriptions.periods import MICROSECOND
from billing.subscriptions.proration import allowance_after, part_left, part_of_amount

logger = logging.getLogger(__name__)
Measure = PeriodAllowance.Measure


def split_period(period: BillingPeriod, *, subscription: Subscription, at: datetime, now: datetime) -> BillingPeriod:
    """
    End an open period at `at` and open the rest of it under the subscription's terms of now; return the rest.

    What the part before included stays so, even if it was more than its share of the time: nothing that was included
    when it was used is billed after all. The rest includes what that leaves (`proration.allowance_after`).
    """
    ends_at = period.ends_at
    part = part_left(period.starts_at, ends_at, at)
    of_whole = _part_of_whole(subscription, period)
    period.ends_at = at
    period.save(update_fields=["ends_at"])
    accrue_part(period, now=now)
    items = [Item(subscription.plan_version, subscription.seats), *add_ons_at(subscription, at)]
    rows = _rows_after(period, allowances_of(items, at=at), words=_words(period, items), part=part, of_whole=of_whole)
    rest = open_period(subscription, starts_at=at, ends_at=ends_at, kind=period.kind, allowances=rows)
    accrue_part(rest, now=now)
    return rest


def _rows_after(
    period: BillingPeriod,
    wanted: list[PeriodAllowance],
    *,
    words: Mapping[str, str],
    part: Fraction,
    of_whole: Fraction,
) -> list[PeriodAllowance]:
    """Return the allowances of the rest: the new terms' own, and what is left of those that only the old ones have."""
    old = {row.code: row for row in period.allowances.order_by("position")}
    rows: list[PeriodAllowance] = []
    for row in wanted:
        before = old.pop(row.code, None)
        is_other = before is not None and (before.measure, before.each_dimension) != (row.measure, row.each_dimension)
        row.amount = _amount_after(None if is_other else before, row, words[row.code], part=part, of_whole=of_whole)
        rows.append(row)
    for before in old.values():
        if before.measure == Measure.CAP:
            continue
        gone = _copy(before, ZERO)
        gone.amount = _amount_after(
            before, gone, words.get(before.code, AtPlanChange.PRORATE), part=part, of_whole=WHOLE
        )
        if gone.amount is None or gone.amount > 0:
            rows.insert(_before_cap(rows), gone)
    return rows


def _amount_after(
    before: PeriodAllowance | None, row: PeriodAllowance, word: str, *, part: Fraction, of_whole: Fraction
) -> Decimal | None:
    """`row` holds what a whole period would include; a period that was divided before is a part of one itself."""
    new, places = row.amount, places_of(row)
    if row.measure == Measure.CAP:
        word = AtPlanChange.PRORATE
    if new is not None and word != AtPlanChange.RESTART:
        new = part_of_amount(new, of_whole, places=places)
    if row.each_dimension:
        # Each value has a pool of its own: the rest includes its share of the time in each.
        share = (before.amount if before is not None else ZERO) if word == AtPlanChange.KEEP else new
        return share if share is None or word == AtPlanChange.RESTART else part_of_amount(share, part, places=places)
    return allowance_after(
        old=before.amount if before is not None else ZERO,
        new=new,
        at_plan_change=word,
        part=part,
        used=_used(before) if before is not None else ZERO,
        places=places,
    )


def _words(period: BillingPeriod, items: list[Item]) -> dict[str, str]:
    """What each allowance says of a change, by its code in a period. The old terms' word counts: they promised it."""
    words: dict[str, str] = {}
    held = [Item(period.plan_version, period.seats)]
    held += [Item(row.plan_version, row.seats) for row in period.add_ons.select_related("plan_version__plan")]
    for group in (items, held):
        for place, item in enumerate(group):
            for allowance in Allowance.objects.filter(plan_version=item.version):
                words[item.code_of(allowance.code, is_plan=place == 0)] = allowance.at_plan_change
    return {**{row.code: AtPlanChange.PRORATE for row in allowances_of(items, at=period.ends_at)}, **words}


def _used(allowance: PeriodAllowance) -> Decimal:
    """What an allowance has paid for; of a cap, what it limits: the usage that was left to invoice."""
    if allowance.measure == Measure.CAP:
        unbilled = UsageAccrual.objects.filter(period_id=allowance.period_id).aggregate(sum=Sum("unbilled"))["sum"]
        return max(unbilled or ZERO, ZERO)
    field = "quantity" if allowance.measure == Measure.UNITS else "amount"
    return AllowanceDrawdown.objects.filter(allowance=allowance).aggregate(sum=Sum(field))["sum"] or ZERO


def _part_of_whole(subscription: Subscription, period: BillingPeriod) -> Fraction:
    """
    Which part of its cadence's whole period a period is: less than all where it was divided before.

    The whole one is that around its middle: Stripe counts from a few seconds after our first instant, which therefore
    lies in the period before.
    """
    middle = period.starts_at + (period.ends_at - period.starts_at) / 2
    whole_from, whole_to = cadence_of(subscription).containing(middle)
    return min(
        WHOLE, Fraction((period.ends_at - period.starts_at) // MICROSECOND, (whole_to - whole_from) // MICROSECOND)
    )


def _copy(row: PeriodAllowance, amount: Decimal) -> PeriodAllowance:
    return PeriodAllowance(
        code=row.code,
        name=row.name,
        measure=row.measure,
        amount=amount,
        each_dimension=row.each_dimension,
        covers=row.covers,
    )


def _before_cap(rows: list[PeriodAllowance]) -> int:
    return next((place for place, row in enumerate(rows) if row.measure == Measure.CAP), len(rows))


def accrue_part(period: BillingPeriod, *, now: datetime) -> None:
    """Rate each part by its own terms at once; what cannot be rated now is tried again by the next run."""
    try:
        accrue_period(period_id=period.pk, now=now)
    except RatingError:
        logger.exception("period %s was not accrued when its terms changed", period.pk)
