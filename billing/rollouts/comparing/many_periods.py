"""
Many periods compared at once: their usage, grants and posted figures are read for all of them together.

A period whose figures do not depend on the order of its hours is read as one sum for each meter and dimensions, the
others hour by hour; both go through the same rating (tests/billing/rollouts/test_many_periods.py holds them, and
`compare_period`, against each other).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum

from django.db.models import Sum

from billing.catalog.models import PlanVersion
from billing.rating.charges import Basis
from billing.rating.models import GrantDrawdown, UsageAccrual
from billing.rating.rating import EXACT, ZERO, RatingError
from billing.rating.target import PeriodTerms, PeriodUsage, burnable, target
from billing.rating.terms import UsageArchived, read_usage
from billing.rollouts.comparing.comparison import Comparison, Figures, failed, figures_of
from billing.rollouts.comparing.failures import CannotCompare
from billing.rollouts.comparing.sides import Side, Sides, is_stored
from billing.subscriptions import periods as period_times
from billing.subscriptions.models import BillingPeriod, PeriodAllowance
from metering import queries as metering
from metering.queries import CustomerSpan, Window
from promotions import queries as promotions
from promotions.burn_down import GrantBalance

# How many customers' hours are in memory at once; the sums of far more fit into the same.
SUMMED_AT_ONCE, HOURLY_AT_ONCE = 250, 10
_FIGURES = ("rated", "included", "credited", "unbilled")
_Read = Callable[[Sequence[CustomerSpan]], dict[str, list[Window]]]


class _Way(Enum):
    """How usage is read: as sums, hour by hour, customer by customer, or not at all."""

    SUMS = "sums"
    HOURS = "hours"
    ALONE = "alone"
    NOT = "not"


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison, and whether its current side is what was posted; None where nothing final was."""

    period: BillingPeriod
    comparison: Comparison
    is_as_posted: bool | None


@dataclass(slots=True)
class _Subject:
    """A period on its way through: what it is compared by, or why it is not."""

    period: BillingPeriod
    comparison: Comparison
    current: Side | None = None
    candidate: Side | None = None
    grants: list[GrantBalance] = field(default_factory=list)

    @property
    def span(self) -> CustomerSpan:
        return CustomerSpan(self.comparison.customer_key, self.period.starts_at, self.period.ends_at)

    def terms(self) -> list[PeriodTerms]:
        return [side.terms for side in (self.current, self.candidate) if side is not None]

    def fail(self, error: Exception, *, under: str = "") -> None:
        self.comparison = failed(self.comparison, error, of=under)


@dataclass(slots=True)
class _Posted:
    """What accrual posted: figures by period, and grants' part by period and in all."""

    figures: dict[int, tuple[Decimal, ...]]
    by_period: dict[int, dict[int, Decimal]]
    by_grant: dict[int, Decimal]


def compare_many(
    periods: Iterable[BillingPeriod],
    candidate: PlanVersion,
    *,
    baseline: PlanVersion | None = None,
    is_over: bool = True,
) -> Iterator[Compared]:
    """
    Compare periods as `compare_period` does, each customer's in the order of time.

    A grant that would have paid more of one period has less left for the customer's next one. The periods come with
    `subscription.customer`, `plan_version`, `allowances` and `add_ons` read; a span that is no stored period has no
    grants.
    """
    sides = Sides()
    subjects = [_subject(period, candidate, baseline, sides) for period in periods]
    posted = _add_grants(subjects)
    # What each customer's periods before took of grants more than they did, per side.
    moved: tuple[dict[int, Decimal], dict[int, Decimal]] = ({}, {})
    for wave in _waves(subjects):
        for subject, usage in _with_usage(wave):
            _rate(subject, usage, posted, moved, is_over=is_over, is_as_it_was=baseline is None)
            yield Compared(subject.period, subject.comparison, _is_as_posted(subject, posted, baseline))


def _subject(period: BillingPeriod, candidate: PlanVersion, baseline: PlanVersion | None, sides: Sides) -> _Subject:
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
    subject = _Subject(period, comparison)
    try:
        subject.current = sides.of(period) if baseline is None else sides.under(baseline, period)
        subject.candidate = sides.under(candidate, period)
    # ValueError: tiers of a fee, or a time zone, that cannot be read. One customer's terms hold nobody else up.
    except (CannotCompare, RatingError, ValueError) as error:
        subject.fail(error)
    return subject


def _add_grants(subjects: Sequence[_Subject]) -> _Posted:
    """Read the customers' grants, with what each may give to each period, and what was posted."""
    stored = [subject for subject in subjects if is_stored(subject.period)]
    found: dict[str, list[GrantBalance]] = {}
    for currency in sorted({subject.comparison.currency for subject in stored}):
        keys = {s.comparison.customer_key for s in stored if s.comparison.currency == currency}
        found |= promotions.grants_of_many(sorted(keys), currency=currency)
    posted = _posted([s.period.pk for s in stored], [grant.grant_id for grants in found.values() for grant in grants])
    for subject in stored:
        by_this = posted.by_period.get(subject.period.pk, {})
        grants = found.get(subject.comparison.customer_key, [])
        by_others = {
            grant.grant_id: EXACT.subtract(posted.by_grant.get(grant.grant_id, ZERO), by_this.get(grant.grant_id, ZERO))
            for grant in grants
        }
        subject.grants = burnable(grants, by_this=by_this, by_others=by_others)
    return posted


def _posted(period_ids: Sequence[int], grant_ids: Sequence[int]) -> _Posted:
    accruals = UsageAccrual.objects.filter(period_id__in=period_ids).values_list("period_id").order_by("period_id")
    sums = accruals.annotate(*(Sum(name) for name in _FIGURES))
    by_period: dict[int, dict[int, Decimal]] = defaultdict(dict)
    by_grant: dict[int, Decimal] = {}
    drawn = GrantDrawdown.objects.filter(grant_id__in=grant_ids).order_by("grant_id", "accrual__period_id")
    for grant_id, period_id, amount in drawn.values_list("grant_id", "accrual__period_id").annotate(Sum("amount")):
        by_period[period_id][grant_id] = amount
        by_grant[grant_id] = EXACT.add(by_grant.get(grant_id, ZERO), amount)
    return _Posted({period_id: tuple(figures) for period_id, *figures in sums}, by_period, by_grant)


def _waves(subjects: Iterable[_Subject]) -> Iterator[list[_Subject]]:
    """Every customer's first period, every customer's second one, and so on."""
    by_customer: dict[str, list[_Subject]] = defaultdict(list)
    for subject in sorted(subjects, key=lambda subject: subject.period.starts_at):
        by_customer[subject.comparison.customer_key].append(subject)
    for number in range(max((len(found) for found in by_customer.values()), default=0)):
        yield [found[number] for found in by_customer.values() if number < len(found)]


def _with_usage(subjects: Sequence[_Subject]) -> Iterator[tuple[_Subject, PeriodUsage | None]]:
    """Every subject with its usage, None where it failed; of each customer one."""
    archived = set(metering.spans_archived([subject.span for subject in subjects]))
    ways: dict[_Way, list[_Subject]] = defaultdict(list)
    for subject in subjects:
        if not subject.comparison.failure and subject.span in archived:
            subject.fail(UsageArchived("a boundary of the period cuts an hour whose events are in an archive"))
        ways[_way(subject)].append(subject)
    yield from ((subject, None) for subject in ways[_Way.NOT])
    yield from _read(ways[_Way.SUMS], metering.sums_of_spans, SUMMED_AT_ONCE)
    yield from _read(ways[_Way.HOURS], metering.hours_of_spans, HOURLY_AT_ONCE)
    for subject in ways[_Way.ALONE]:
        yield subject, _read_alone(subject)


def _way(subject: _Subject) -> _Way:
    """How the subject's usage is read."""
    if subject.comparison.failure:
        return _Way.NOT
    try:
        if not all(_has_whole_hours(terms) for terms in subject.terms()):
            return _Way.ALONE
        adds_up = all(_adds_up(terms, subject.grants) for terms in subject.terms())
    except RatingError as error:
        subject.fail(error)
        return _Way.NOT
    return _Way.SUMS if adds_up else _Way.HOURS


def _read(subjects: Sequence[_Subject], read: _Read, at_once: int) -> Iterator[tuple[_Subject, PeriodUsage | None]]:
    for first in range(0, len(subjects), at_once):
        some = subjects[first : first + at_once]
        windows = read([subject.span for subject in some])
        for subject in some:
            # Let go of each as soon as it is rated.
            yield subject, PeriodUsage(windows.pop(subject.comparison.customer_key, []))


def _read_alone(subject: _Subject) -> PeriodUsage | None:
    span = subject.span
    try:
        return read_usage(span.customer_key, span.start, span.end, terms=subject.terms())
    except RatingError as error:
        subject.fail(error)
        return None


def _has_whole_hours(terms: PeriodTerms) -> bool:
    """Whether the terms can rate whole hours: no price changes within one, and none goes by the event."""
    rates = terms.rates
    changes = rates.changes_of_any(terms.starts_at, terms.ends_at)
    return all(at == period_times.floor_hour(at) for at in changes) and not rates.meters_by_event(terms.ends_at)


def _adds_up(terms: PeriodTerms, grants: Iterable[GrantBalance]) -> bool:
    """
    Whether the figures are those of the sums, whichever hour came first: one price for the whole period that counts its
    quantity, allowances that pay for any usage, and grants that may be used in every hour or in none.
    """
    rates = terms.rates
    return (
        not rates.changes_of_any(terms.starts_at, terms.ends_at)
        and all(
            rates.charge_of(rate).basis in (Basis.QUANTITY, Basis.PERIOD) for rate in rates.in_force(terms.starts_at)
        )
        and all(
            one.measure != PeriodAllowance.Measure.UNITS and not one.each_dimension and not one.covers
            for one in terms.allowances
        )
        and all(_covers_all_or_nothing(grant, terms.starts_at, terms.ends_at) for grant in grants)
    )


def _covers_all_or_nothing(grant: GrantBalance, starts_at: datetime, ends_at: datetime) -> bool:
    ends = [at for at in (grant.expires_at, grant.ended_at) if at is not None]
    covers_all = grant.effective_at <= starts_at and all(at >= ends_at for at in ends)
    covers_nothing = not grant.available or grant.effective_at >= ends_at or any(at <= starts_at for at in ends)
    return covers_all or covers_nothing


def _rate(
    subject: _Subject,
    usage: PeriodUsage | None,
    posted: _Posted,
    moved: tuple[dict[int, Decimal], dict[int, Decimal]],
    *,
    is_over: bool,
    is_as_it_was: bool,
) -> None:
    """Work out both sides. The periods before leave to the current one what they left, unless a baseline was chosen."""
    if usage is None or subject.current is None or subject.candidate is None:
        return
    by_this = posted.by_period.get(subject.period.pk, {})
    before = _one_side(
        subject, subject.current, usage, by_this, {} if is_as_it_was else moved[0], "current terms", is_over=is_over
    )
    if before is None:
        return
    subject.comparison = replace(subject.comparison, current=before)
    after = _one_side(subject, subject.candidate, usage, by_this, moved[1], "candidate", is_over=is_over)
    subject.comparison = replace(subject.comparison, candidate=after)


def _one_side(
    subject: _Subject,
    side: Side,
    usage: PeriodUsage,
    by_this: Mapping[int, Decimal],
    moved: dict[int, Decimal],
    name: str,
    *,
    is_over: bool,
) -> Figures | None:
    grants = [
        replace(grant, available=max(EXACT.subtract(grant.available, moved.get(grant.grant_id, ZERO)), ZERO))
        for grant in subject.grants
    ]
    try:
        state = target(usage, side.terms, grants, is_over=is_over)
        found = figures_of(state, side.fee)
    except RatingError as error:
        subject.fail(error, under=f"under the {name}: ")
        return None
    given = state.by_grant()
    for grant in grants:
        more = EXACT.subtract(given.get(grant.grant_id, ZERO), by_this.get(grant.grant_id, ZERO))
        moved[grant.grant_id] = EXACT.add(moved.get(grant.grant_id, ZERO), more)
    return found


def _is_as_posted(subject: _Subject, posted: _Posted, baseline: PlanVersion | None) -> bool | None:
    current, period = subject.comparison.current, subject.period
    if baseline is not None or current is None or not is_stored(period) or period.state != BillingPeriod.State.CLOSED:
        return None
    return posted.figures.get(period.pk, (ZERO,) * len(_FIGURES)) == tuple(getattr(current, name) for name in _FIGURES)
