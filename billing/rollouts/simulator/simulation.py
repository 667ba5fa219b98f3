"""
One customer's real usage under two sets of terms, and where the difference comes from. Reads, and writes nothing.

What a side asks for is its fee and the usage that neither allowances nor grants pay. So the difference is, exactly,
that of the fees and of each price, less that of what is included and credited: the causes shown add up to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from billing.catalog.fees import InvalidFeeTiers
from billing.catalog.models import Interval, PlanVersion, Rate
from billing.customers.models import Customer
from billing.rating import queries as rating_queries
from billing.rating.models import GrantDrawdown
from billing.rating.operations import grants_for
from billing.rating.rating import EXACT, ZERO, RatingError
from billing.rating.target import Allocated, PeriodUsage, UnratedUsage, allocate, burnable
from billing.rating.terms import read_usage
from billing.rollouts.comparing.comparison import Figures, kind_of
from billing.rollouts.comparing.failures import CannotCompare, Failure
from billing.rollouts.comparing.sides import Side, side_of, side_under
from billing.rollouts.simulator.figures import Cause, PriceRow, Usage, causes, prices, without_price
from billing.subscriptions.models import BillingPeriod, Subscription
from promotions import queries as promotions_queries
from promotions.burn_down import GrantBalance

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Span:
    """[starts_at, ends_at) of one customer: a billing period of theirs, or a calendar month in UTC (`period` None)."""

    customer: Customer
    starts_at: datetime
    ends_at: datetime
    period: BillingPeriod | None = None

    @property
    def days(self) -> list[date]:
        """Every day in UTC that the span touches."""
        first, last = self.starts_at.date(), (self.ends_at - _INSTANT).date()
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The terms of one side: a version with so many seats; without one, the period's own terms as they were frozen."""

    version: PlanVersion | None
    seats: int


@dataclass(frozen=True, slots=True)
class PoolUse:
    """An allowance and what it paid; `amount` in its own measure, None without a limit."""

    name: str
    measure: str
    amount: Decimal | None
    each_dimension: str
    paid: Decimal
    quantity: Decimal

    @property
    def used(self) -> Decimal:
        """In the measure of `amount`."""
        return self.quantity if self.measure == "units" else self.paid


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one side comes to, or why it cannot be said; amounts in currency units, exact."""

    version: PlanVersion
    seats: int
    is_own: bool
    fee: Decimal | None = None
    figures: Figures | None = None
    allocated: Sequence[Allocated] = ()
    pools: Sequence[PoolUse] = ()
    grants: Mapping[int, Decimal] = field(default_factory=dict)
    failure: str = ""
    failure_kind: str = ""
    without_price: Sequence[tuple[Usage, Decimal]] = ()


@dataclass(frozen=True, slots=True)
class Simulation:
    """Both sides of one span, and where they part."""

    span: Span
    left: Outcome
    right: Outcome
    rates: Mapping[int, Rate] = field(default_factory=dict)
    prices: Sequence[PriceRow] = ()
    causes: Sequence[Cause] = ()

    @property
    def change(self) -> Decimal | None:
        """What the right side asks for more; None where one of them cannot be said."""
        if self.left.figures is None or self.right.figures is None:
            return None
        return EXACT.subtract(self.right.figures.pays, self.left.figures.pays)


def month_of(customer: Customer, first_day: datetime) -> Span:
    """Return a calendar month, in UTC, of a customer."""
    return Span(customer, first_day, (first_day + timedelta(days=31)).replace(day=1))


def simulate(span: Span, left: Chosen, right: Chosen, *, now: datetime, counts_grants: bool = True) -> Simulation:
    """
    Rate the usage of the span under both sides; a minimum that is not reached is owed once the span is over, at `now`.

    Raises nothing for terms or usage that cannot be rated: the side says so.
    """
    sides = [_side(span, one) for one in (left, right)]
    outcomes = [_outcome(span, one) for one in (left, right)]
    usages = _usages(span, sides)
    grants = grants_in(span) if counts_grants else []
    rated = [
        _rated(outcome, side, usage, grants, is_over=span.ends_at <= now)
        for outcome, side, usage in zip(outcomes, sides, usages, strict=True)
    ]
    return _beside(span, rated[0], rated[1])


def _usages(span: Span, sides: Sequence[Side | Exception]) -> list[PeriodUsage | RatingError]:
    """The same usage for both sides, read once; where one side's terms cannot read it, the other reads it alone."""
    try:
        usage = _read(span, [side for side in sides if isinstance(side, Side)])
    except RatingError:
        return [_read_alone(span, side) for side in sides]
    return [usage for _ in sides]


def _read_alone(span: Span, side: Side | Exception) -> PeriodUsage | RatingError:
    try:
        return _read(span, [side] if isinstance(side, Side) else [])
    except RatingError as error:
        return error


def _read(span: Span, sides: Iterable[Side]) -> PeriodUsage:
    terms = [side.terms for side in sides]
    return read_usage(span.customer.customer_key, span.starts_at, span.ends_at, terms=terms)


def _beside(span: Span, left: Outcome, right: Outcome) -> Simulation:
    ids = {one.rate_id for side in (left, right) for one in side.allocated}
    rates = Rate.objects.select_related("rate_card").in_bulk(ids)
    rows = prices(left.allocated, right.allocated, rates)
    if left.figures is None or right.figures is None:
        return Simulation(span, left, right, rates, rows)
    return Simulation(span, left, right, rates, rows, causes(left.figures, right.figures, rows))


def grants_in(span: Span) -> list[GrantBalance]:
    """
    Return the customer's grants with what each may give to the span.

    To a billing period what accrual would let it have; to a month, as if what the periods that touch it took from a
    grant were there again.
    """
    if span.period is not None:
        return grants_for(span.period, rating_queries.posted_state(span.period.pk))
    key = span.customer.customer_key
    grants = promotions_queries.grants_of(key, currency=span.customer.currency)
    touching: dict[int, Decimal] = {}
    others: dict[int, Decimal] = {}
    if grants:
        drawn = GrantDrawdown.objects.filter(grant_id__in=[grant.grant_id for grant in grants])
        rows = drawn.values_list("grant_id", "amount", "accrual__period__starts_at", "accrual__period__ends_at")
        for grant_id, amount, starts_at, ends_at in rows:
            taken = touching if starts_at < span.ends_at and span.starts_at < ends_at else others
            taken[grant_id] = EXACT.add(taken.get(grant_id, ZERO), amount)
    return burnable(grants, by_this=touching, by_others=others)


def _side(span: Span, chosen: Chosen) -> Side | Exception:
    """The terms of a side, or why it has none."""
    try:
        if chosen.version is None:
            assert span.period is not None  # the form offers a period's own terms with a period alone
            return side_of(span.period)
        return side_under(chosen.version, _as_if(span, chosen.version, chosen.seats))
    except (CannotCompare, RatingError, InvalidFeeTiers) as refused:
        return refused


def _as_if(span: Span, version: PlanVersion, seats: int) -> BillingPeriod:
    """The span as a billing period with so many seats, not saved. Raises CannotCompare for a month of a longer plan."""
    if span.period is not None:
        own = span.period
        return BillingPeriod(
            pk=own.pk,
            subscription=own.subscription,
            starts_at=own.starts_at,
            ends_at=own.ends_at,
            plan_version=own.plan_version,
            seats=seats,
            kind=own.kind,
            state=own.state,
        )
    if (version.interval, version.interval_count) != (Interval.MONTH, 1):
        text = f"{version} is not billed by the month. Choose a billing period of the customer instead of a month."
        raise CannotCompare(Failure.INTERVAL, text)
    begun = {"started_at": span.starts_at, "anchor_at": span.starts_at}
    subscription = Subscription(customer=span.customer, plan_version=version, seats=seats, **begun)
    return BillingPeriod(
        subscription=subscription, starts_at=span.starts_at, ends_at=span.ends_at, plan_version=version, seats=seats
    )


def _outcome(span: Span, chosen: Chosen) -> Outcome:
    """The side with nothing worked out yet."""
    if chosen.version is None:
        assert span.period is not None
        return Outcome(version=span.period.plan_version, seats=span.period.seats, is_own=True)
    return Outcome(version=chosen.version, seats=max(chosen.seats, chosen.version.min_seats), is_own=False)


def _failed(outcome: Outcome, error: Exception) -> Outcome:
    return Outcome(
        version=outcome.version,
        seats=outcome.seats,
        is_own=outcome.is_own,
        failure=str(error),
        failure_kind=kind_of(error).value,
    )


def _rated(
    outcome: Outcome,
    side: Side | Exception,
    usage: PeriodUsage | RatingError,
    grants: Iterable[GrantBalance],
    *,
    is_over: bool,
) -> Outcome:
    if not isinstance(side, Side):
        return _failed(outcome, side)
    if not isinstance(usage, PeriodUsage):
        return _failed(outcome, usage)
    try:
        allocated = allocate(usage, side.terms, grants, is_over=is_over)
    except UnratedUsage as error:
        return replace(_failed(outcome, error), without_price=without_price(usage, side.terms))
    except RatingError as error:
        return _failed(outcome, error)
    paid: dict[str, dict[int | None, list[Decimal]]] = {"allowance": {}, "grant": {}, "unbilled": {}}
    rated = ZERO
    for one in allocated:
        rated = EXACT.add(rated, one.amount)
        for source in one.sources:
            sums = paid[source.kind].setdefault(source.id, [ZERO, ZERO])
            sums[0] = EXACT.add(sums[0], source.amount)
            sums[1] = EXACT.add(sums[1], source.quantity)
    included, credited, unbilled = (_total(paid[kind]) for kind in ("allowance", "grant", "unbilled"))
    figures = Figures(fee=side.fee, rated=rated, included=included, credited=credited, unbilled=unbilled)
    return Outcome(
        version=outcome.version,
        seats=outcome.seats,
        is_own=outcome.is_own,
        fee=side.fee,
        figures=figures,
        allocated=allocated,
        pools=_pools(side, paid["allowance"]),
        grants={grant_id: sums[0] for grant_id, sums in paid["grant"].items() if grant_id is not None},
    )


def _total(sums: Mapping[int | None, Sequence[Decimal]]) -> Decimal:
    total = ZERO
    for amount, _ in sums.values():
        total = EXACT.add(total, amount)
    return total


def _pools(side: Side, paid: Mapping[int | None, Sequence[Decimal]]) -> list[PoolUse]:
    """The allowances of a side in their order, used or not."""
    found = []
    for one, name in zip(side.terms.allowances, side.names, strict=True):
        sums = paid.get(one.allowance_id, (ZERO, ZERO))
        found.append(PoolUse(name, one.measure, one.amount, one.each_dimension, paid=sums[0], quantity=sums[1]))
    return found
