"""
What a customer's usage came to, and what it would come to under other terms: the same usage, seats and grants on both
sides. Reads, and writes nothing.

Three assumptions carry every comparison: customers would have used as much under the other terms; the grants they
have would have been theirs to the same amounts; and a trial stays a trial. Whatever else cannot be assumed is a
failure that says why, never a figure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal

from billing.catalog.models import PlanVersion
from billing.rating import queries as rating_queries
from billing.rating.operations import grants_for
from billing.rating.rating import EXACT, InexactAmount, RatingError, require_storable
from billing.rating.target import PeriodUsage, UnratedUsage, target
from billing.rating.terms import UsageArchived, read_usage
from billing.rating.totals import PeriodState
from billing.rollouts.comparing.failures import CannotCompare, Failure
from billing.rollouts.comparing.sides import Side, Sides, side_of, side_under
from billing.subscriptions.models import BillingPeriod
from promotions.burn_down import GrantBalance

__all__ = [
    "CannotCompare",
    "Comparison",
    "Failure",
    "Figures",
    "Side",
    "Sides",
    "compare_period",
    "compared",
    "failed",
    "figures",
    "figures_of",
    "kind_of",
    "side_of",
    "side_under",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a period comes to under some terms; in currency units, exact. rated = included + credited + unbilled."""

    fee: Decimal
    rated: Decimal
    included: Decimal
    credited: Decimal
    unbilled: Decimal

    @property
    def pays(self) -> Decimal:
        """What the customer is asked for in money: the fee, and the usage that nothing else pays."""
        return EXACT.add(self.fee, self.unbilled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """
    One period of one customer under two sets of terms.

    A side is None if its terms cannot say what it comes to; `failure` then tells a person why, `failure_kind` sorts it.
    `period_id` is None for a span that is no billing period.
    """

    customer_key: str
    period_id: int | None
    starts_at: datetime
    ends_at: datetime
    currency: str
    current: Figures | None
    candidate: Figures | None
    failure: str = ""
    failure_kind: str = ""

    @property
    def change(self) -> Decimal | None:
        """What the customer would pay more, in currency units; None where one side is not known."""
        if self.current is None or self.candidate is None:
            return None
        return EXACT.subtract(self.candidate.pays, self.current.pays)


def compare_period(
    period: BillingPeriod,
    candidate: PlanVersion,
    *,
    baseline: PlanVersion | None = None,
    is_over: bool | None = None,
    sides: Sides | None = None,
) -> Comparison:
    """
    Return what the period comes to now, and under the candidate, a draft too.

    Without a baseline the period's own frozen terms are the current side. Grants count on both sides with what they may
    give to this period. `is_over` says that a minimum that is not reached is owed; left out, that is so of closed
    periods. `sides` keeps prices from one call to the next. Raises nothing for terms or usage that cannot be compared:
    the comparison says so.
    """
    sides = sides or Sides()
    customer = period.subscription.customer
    comparison = Comparison(
        customer_key=customer.customer_key,
        period_id=period.pk,
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        currency=customer.currency,
        current=None,
        candidate=None,
    )
    try:
        current = sides.of(period) if baseline is None else sides.under(baseline, period)
        other = sides.under(candidate, period)
        usage = read_usage(customer.customer_key, period.starts_at, period.ends_at, terms=[current.terms, other.terms])
    # ValueError: tiers of a fee, or a time zone, that cannot be read.
    except (CannotCompare, RatingError, ValueError) as error:
        return failed(comparison, error)
    grants = grants_for(period, rating_queries.posted_state(period.pk))
    if is_over is None:
        is_over = period.state == BillingPeriod.State.CLOSED
    return compared(comparison, usage, current, other, grants, is_over=is_over)


def compared(
    comparison: Comparison,
    usage: PeriodUsage,
    current: Side,
    candidate: Side,
    grants: Iterable[GrantBalance],
    *,
    is_over: bool,
) -> Comparison:
    """Return the comparison with the figures of both sides, or with what failed; the current side comes first."""
    grants = list(grants)
    try:
        before = figures(usage, current, grants, is_over=is_over)
    except RatingError as error:
        return failed(comparison, error, of="under the current terms: ")
    try:
        after = figures(usage, candidate, grants, is_over=is_over)
    except RatingError as error:
        return failed(replace(comparison, current=before), error, of="under the candidate: ")
    return replace(comparison, current=before, candidate=after)


def figures(usage: PeriodUsage, side: Side, grants: Iterable[GrantBalance], *, is_over: bool) -> Figures:
    """Return what the usage comes to on one side. Raises RatingErrors."""
    return figures_of(target(usage, side.terms, grants, is_over=is_over), side.fee)


def figures_of(state: PeriodState, fee: Decimal) -> Figures:
    """
    The figures of a period that has come to this, beside its fee in currency units.

    Raises InexactAmount for one that a column would round: what is written down is what was worked out.
    """
    total = state.total()
    found = Figures(
        fee=fee,
        rated=total.rated,
        included=total.included,
        credited=total.credited,
        unbilled=total.unbilled,
    )
    for one in fields(found):
        require_storable(getattr(found, one.name), one.name)
    return found


def failed(comparison: Comparison, error: Exception, *, of: str = "") -> Comparison:
    """Return the comparison with what went wrong, in words and by kind."""
    return replace(comparison, failure=f"{of}{error}", failure_kind=kind_of(error).value)


def kind_of(error: Exception) -> Failure:
    """Sort what went wrong."""
    match error:
        case CannotCompare(kind=kind):
            return kind
        case UnratedUsage():
            return Failure.UNRATED
        case UsageArchived():
            return Failure.ARCHIVED
        case InexactAmount():
            return Failure.INEXACT
        case _:
            return Failure.OTHER
