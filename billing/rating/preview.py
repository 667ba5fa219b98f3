"""
What would become of money if windows changed: nothing is written.

The figures come from the functions that accrual itself uses, on windows as they would be. Periods of one customer draw
on the same grants, so they are worked through in the order of time, each leaving to the next what it leaves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from billing.admin_links import page_url
from billing.catalog.models import LatePolicy
from billing.rating import queries
from billing.rating.rating import EXACT, ZERO, RatingError, plain
from billing.rating.target import PeriodUsage, burnable, target
from billing.rating.terms import terms_of, usage_of
from billing.rating.totals import Amounts, PeriodState
from billing.subscriptions import periods
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import ENDED_STATUSES
from metering.effects import MoneyEffect, WindowChange
from metering.queries import MeterEvent, Window
from promotions import queries as promotions_queries
from promotions.burn_down import GrantBalance

HOUR = timedelta(hours=1)
_FIGURES = (("Rated", "rated"), ("Included", "included"), ("Credited", "credited"), ("To invoice", "unbilled"))
_WindowKey = tuple[datetime, str, int, str]


@dataclass(frozen=True, slots=True)
class PeriodEffect:
    """A period before and after, and the change of each figure; `before` is what its windows come to now."""

    period: BillingPeriod
    before: PeriodState
    after: PeriodState

    @property
    def change(self) -> PeriodState:
        return self.after.minus(self.before)


def money_effects(changes: Sequence[WindowChange]) -> list[MoneyEffect]:
    """What the changes would do to each billing period, in texts; for a closed period also what would then be done."""
    effects: list[MoneyEffect] = []
    by_customer: dict[str, list[WindowChange]] = {}
    for change in changes:
        by_customer.setdefault(change.customer_key, []).append(change)
    for customer_key, of_customer in sorted(by_customer.items()):
        affected = _affected_periods(customer_key, of_customer)
        outside = _outside(of_customer, affected)
        if outside:
            label = f"Usage of {outside} hour{'' if outside == 1 else 's'} in no billing period"
            effects.append(MoneyEffect(customer_key, label, "", "", "Nobody pays for it", ""))
        try:
            for effect in period_effects(affected, of_customer):
                effects += _texts(customer_key, effect)
        except RatingError as error:
            effects.append(MoneyEffect(customer_key, "Cannot be rated", "", "", str(error), ""))
    return effects


def period_effects(affected: Iterable[BillingPeriod], changes: Sequence[WindowChange]) -> list[PeriodEffect]:
    """
    What each of one customer's periods would come to. Raises RatingError where usage would have no price, and where its
    events are in an archive.

    An hour that belongs to two periods in part changes in the later one, by at most what that part holds: a window does
    not say when within the hour its events were. So there the preview is near, and accrual exact.
    """
    found: list[PeriodEffect] = []
    # What the periods before gave to and took from grants, if they were accrued so.
    moved_before: dict[int, Decimal] = {}
    moved_after: dict[int, Decimal] = {}
    for period in affected:
        usage = usage_of(period)
        posted = queries.posted_state(period.pk)
        of_period = _of_period(period, changes)
        after_it = replace(
            usage,
            windows=changed(usage.windows, of_period),
            events={code: _changed_events(code, found, of_period, period) for code, found in usage.events.items()},
        )
        before = _target(period, usage, posted, moved_before)
        after = _target(period, after_it, posted, moved_after)
        _add(moved_before, before.minus(posted).by_grant())
        _add(moved_after, after.minus(posted).by_grant())
        found.append(PeriodEffect(period, before, after))
    return found


def changed(windows: Iterable[Window], changes: Iterable[WindowChange]) -> list[Window]:
    """The windows as they would be: each change adds its difference to its window, which may be new."""
    after = {_key(window): window for window in windows}
    for change in changes:
        key = _key(change)
        window = after.get(key) or Window(
            window_start=change.window_start,
            customer_key=change.customer_key,
            meter_code=change.meter_code,
            meter_version=change.meter_version,
            dimensions=dict(change.dimensions),
            quantity=ZERO,
            event_count=0,
            fingerprint=0,
        )
        difference = EXACT.subtract(change.quantity_after, change.quantity_before)
        after[key] = replace(window, quantity=max(EXACT.add(window.quantity, difference), ZERO))
    return list(after.values())


def _changed_events(
    meter_code: str, events: Sequence[MeterEvent], changes: Iterable[WindowChange], period: BillingPeriod
) -> list[MeterEvent]:
    """
    The events as they would be, for prices by the event. A change of a window does not say of which events it is: what
    comes is taken for one event at the window's start, what goes for the last ones. So there the preview is near.
    """
    after = list(events)
    for change in changes:
        if change.meter_code != meter_code:
            continue
        rest = EXACT.subtract(change.quantity_after, change.quantity_before)
        if rest > 0:
            at = max(change.window_start, period.starts_at)
            after.append(MeterEvent(at, "preview", "", meter_code, dict(change.dimensions), rest))
        for place in range(len(events) - 1, -1, -1):
            event = after[place]
            is_of_it = periods.floor_hour(event.event_time) == change.window_start
            if rest < 0 and is_of_it and event.dimensions == change.dimensions:
                taken = min(event.quantity, -rest)
                after[place] = replace(event, quantity=EXACT.subtract(event.quantity, taken))
                rest = EXACT.add(rest, taken)
    return after


def _key(window: Window | WindowChange) -> _WindowKey:
    return window.window_start, window.meter_code, window.meter_version, repr(sorted(window.dimensions.items()))


def _affected_periods(customer_key: str, changes: Sequence[WindowChange]) -> list[BillingPeriod]:
    """
    Every period of the customer from the first change on, in the order of time: grants that one of them gives back or
    burns are missing or left over in the next.
    """
    first = min(change.window_start for change in changes)
    found = BillingPeriod.objects.filter(subscription__customer__customer_key=customer_key, ends_at__gt=first)
    return list(found.select_related("subscription__customer", "plan_version").order_by("starts_at", "pk"))


def _of_period(period: BillingPeriod, changes: Iterable[WindowChange]) -> list[WindowChange]:
    start, end = periods.floor_hour(period.starts_at), periods.floor_hour(period.ends_at)
    return [change for change in changes if start <= change.window_start < end]


def _outside(changes: Iterable[WindowChange], affected: Iterable[BillingPeriod]) -> int:
    """How many hours of the changes lie in no period."""
    ranges = [(periods.floor_hour(period.starts_at), period.ends_at) for period in affected]
    hours = {change.window_start for change in changes}
    return sum(not any(start <= hour < end for start, end in ranges) for hour in hours)


def _target(
    period: BillingPeriod, usage: PeriodUsage, posted: PeriodState, moved: Mapping[int, Decimal]
) -> PeriodState:
    is_over = period.state == BillingPeriod.State.CLOSED
    return target(usage, terms_of(period), _grants_after(period, posted, moved), is_over=is_over)


def _grants_after(period: BillingPeriod, posted: PeriodState, moved: Mapping[int, Decimal]) -> list[GrantBalance]:
    """The grants as they would be once the periods before had moved so much more of each."""
    customer = period.subscription.customer
    grants = promotions_queries.grants_of(customer.customer_key, currency=customer.currency)
    by_others = queries.taken_by_other_periods([grant.grant_id for grant in grants], period_id=period.pk)
    _add(by_others, moved)
    live = [
        grant
        if grant.ended_at is not None
        else replace(grant, available=EXACT.subtract(grant.available, moved.get(grant.grant_id, ZERO)))
        for grant in grants
    ]
    return burnable(live, by_this=posted.by_grant(), by_others=by_others)


def _add(sums: dict[int, Decimal], amounts: Mapping[int, Decimal]) -> None:
    for grant_id, amount in amounts.items():
        sums[grant_id] = EXACT.add(sums.get(grant_id, ZERO), amount)


def _texts(customer_key: str, effect: PeriodEffect) -> list[MoneyEffect]:
    before, after, change = effect.before.total(), effect.after.total(), effect.change.total()
    period, currency = effect.period, effect.period.plan_version.currency
    url = page_url("billing.billingperiod", period.pk)
    found = [
        MoneyEffect(
            customer_key,
            f"{period}: {name}",
            _money(getattr(before, figure), currency),
            _money(getattr(after, figure), currency),
            _signed(getattr(change, figure), currency),
            url,
        )
        for name, figure in _FIGURES
        if getattr(change, figure)
    ]
    if found and period.state == BillingPeriod.State.CLOSED:
        found.append(MoneyEffect(customer_key, f"{period} is closed", "", "", _then(period, change), url))
    return found


def _then(period: BillingPeriod, change: Amounts) -> str:
    """What the contract says of such a change after the close, in words."""
    terms, amount = period.plan_version, _money(abs(change.unbilled), period.plan_version.currency)
    is_over = period.subscription.status in ENDED_STATUSES
    if not change.unbilled:
        return "The allowance and credits cover it: nothing is billed or given back"
    if terms.late_policy == LatePolicy.ABSORB and change.unbilled > 0:
        limit = _money(terms.late_absorb_up_to, terms.currency)
        return f"{amount} would be absorbed if all that is absorbed of the period stays within {limit}"
    if change.unbilled < 0 and (is_over or terms.late_policy == LatePolicy.CREDIT_OR_DEBIT_NOTE):
        return f"A credit note would give {amount} back"
    if terms.late_policy == LatePolicy.CREDIT_OR_DEBIT_NOTE:
        return f"An invoice of its own would ask for {amount}"
    if is_over:
        return f"A person would decide about {amount}: the subscription has ended"
    return f"The next invoice would {'ask for' if change.unbilled > 0 else 'take off'} {amount}"


def _money(amount: Decimal, currency: str) -> str:
    return f"{plain(amount)} {currency}"


def _signed(amount: Decimal, currency: str) -> str:
    return f"{'+' if amount > 0 else '−'}{plain(abs(amount))} {currency}"
