"""
The guards of a rollout: what its customers pay under both versions, and which limits that breaks. Reads alone.

Each customer counts with one period: the open one once half of it is over, before that the one that ended last. So a
period that has hardly begun, in which the fee is all there is, says nothing yet. Fees and minimums count whole, as they
will be owed when the period is over.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Q, QuerySet

from billing.invoicing.models import InvoiceClose
from billing.rating.rating import EXACT
from billing.rollouts.comparing.cohorts import PLACES, place_of
from billing.rollouts.comparing.comparison import Comparison, compare_period
from billing.rollouts.models.rollouts import Rollout, RolloutEvent, RolloutLimits, RolloutMove, RolloutStage
from billing.subscriptions.models import BillingPeriod, Subscription

# A check stays a matter of seconds. Those with the lowest places are compared: chance picked them, and they go first.
# What failed at work is counted of everybody.
EXAMINED_MAX = 500
FAILURES_SHOWN_MAX = 10
MOVABLE_STATUSES = (Subscription.Status.ACTIVE, Subscription.Status.TRIALING, Subscription.Status.PAST_DUE)
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Member:
    """A subscription that a rollout is about; `place` is that of its customer."""

    subscription_id: int
    customer_key: str
    place: int
    is_on_candidate: bool


@dataclass(slots=True)
class Measured:
    """
    What a check found; totals in the rollout's currency, exact. The counts are of customers.

    `examined` are those of the sample, and whoever else something failed for; `unknown` are those of `failed` for whom
    nothing but the comparison did, so that they stand for a share of the sample and the others for one of all reached.
    """

    reached: int = 0
    examined: int = 0
    compared: int = 0
    worse_off: int = 0
    failed: int = 0
    unknown: int = 0
    moved: int = 0
    current_total: Decimal = _ZERO
    candidate_total: Decimal = _ZERO
    failures: list[str] = field(default_factory=list)

    @property
    def sampled(self) -> int:
        """How many the comparison was tried for."""
        return min(self.reached, EXAMINED_MAX)

    def columns(self) -> dict[str, Any]:
        """What a RolloutCheck keeps of it."""
        kept = asdict(self)
        del kept["unknown"]
        return kept


def reaches(stages: Iterable[RolloutStage], *, place: int, kind: str) -> bool:
    """Whether one of the stages takes in a customer of this place and kind."""
    return any(place < stage.percent * (PLACES // 100) and stage.customer_kind in ("", kind) for stage in stages)


def cohort(rollout: Rollout) -> QuerySet[Subscription]:
    """Whose terms it is about: live at Stripe, free to move, and with as many seats as the candidate is sold for."""
    candidate = rollout.candidate
    found = Subscription.objects.filter(
        plan_version_id__in=(rollout.baseline_id, rollout.candidate_id),
        status__in=MOVABLE_STATUSES,
        stripe_subscription_id__isnull=False,
        pinned_at=None,
        seats__gte=candidate.min_seats,
    )
    return found if candidate.max_seats is None else found.filter(seats__lte=candidate.max_seats)


def members(rollout: Rollout, *, stage: int) -> list[Member]:
    """The cohort's customers whom the stages up to this one reach, those who go first first."""
    stages = [one for one in rollout.stages.all() if one.position <= stage]
    rows = cohort(rollout).values_list("pk", "customer__customer_key", "customer__kind", "plan_version_id")
    found = []
    for pk, key, kind, version_id in rows.iterator(chunk_size=5000):
        place = place_of(key, salt=rollout.salt)
        if reaches(stages, place=place, kind=kind):
            found.append(Member(pk, key, place, version_id == rollout.candidate_id))
    return sorted(found, key=lambda member: (member.place, member.subscription_id))


def measure(rollout: Rollout, limits: RolloutLimits, *, stage: int, now: datetime) -> Measured:
    """Look at the customers whom the stage reaches."""
    reached = members(rollout, stage=stage)
    measured = Measured(reached=len(reached), moved=sum(member.is_on_candidate for member in reached))
    sample = [member.subscription_id for member in reached[:EXAMINED_MAX]]
    failures = _failures_at_work(rollout, {member.subscription_id for member in reached})
    measured.examined = len({*sample, *failures})
    at_work = len(failures)
    for period in telling_periods(sample, now=now):
        comparison = compare_period(period, rollout.candidate, baseline=rollout.baseline, is_over=True)
        if comparison.failure:
            failures.setdefault(period.subscription_id, f"{comparison.customer_key}: {comparison.failure}")
        else:
            _count(measured, comparison, worse_off_percent=limits.worse_off_percent)
    measured.failed, measured.unknown = len(failures), len(failures) - at_work
    measured.failures = [text[:300] for _, text in sorted(failures.items())][:FAILURES_SHOWN_MAX]
    return measured


def _count(measured: Measured, comparison: Comparison, *, worse_off_percent: Decimal) -> None:
    assert comparison.current is not None
    assert comparison.candidate is not None
    before, after = comparison.current.pays, comparison.candidate.pays
    measured.compared += 1
    measured.current_total = EXACT.add(measured.current_total, before)
    measured.candidate_total = EXACT.add(measured.candidate_total, after)
    rise = EXACT.subtract(after, before)
    allowed = EXACT.multiply(before, worse_off_percent)
    measured.worse_off += rise > 0 and EXACT.multiply(rise, Decimal(100)) > allowed


def telling_periods(subscription_ids: list[int], *, now: datetime) -> Iterator[BillingPeriod]:
    """The one period of each subscription that says most about what it pays; none for one that has none yet."""
    begun = BillingPeriod.objects.filter(subscription_id__in=subscription_ids, starts_at__lte=now)
    latest_first = begun.order_by("subscription_id", "-starts_at").distinct("subscription_id")
    with_terms = latest_first.select_related("subscription__customer", "plan_version")
    ended = {period.subscription_id: period for period in with_terms.filter(ends_at__lte=now)}
    for latest in with_terms:
        is_half_over = (now - latest.starts_at) * 2 >= latest.ends_at - latest.starts_at
        yield latest if is_half_over else ended.get(latest.subscription_id, latest)


def _failures_at_work(rollout: Rollout, reached: Collection[int]) -> dict[int, str]:
    """
    By subscription, of all that are reached: what went wrong since a person last let the rollout go on, at Stripe or
    with an invoice.
    """
    since = going_on_since(rollout)
    refused = RolloutMove.objects.filter(rollout=rollout, state=RolloutMove.State.REFUSED, intended_at__gte=since)
    failures = {
        subscription_id: f"{key}: Stripe refused the move: {detail}"
        for subscription_id, key, detail in refused.values_list(
            "subscription_id", "subscription__customer__customer_key", "detail"
        )
        if subscription_id in reached
    }
    moved = Q(period__subscription__rollout_moves__rollout=rollout)
    held = InvoiceClose.objects.filter(moved, invoice__created_at__gte=since).exclude(held_reason="")
    for subscription_id, key, reason in held.values_list(
        "period__subscription_id", "period__subscription__customer__customer_key", "held_reason"
    ):
        if subscription_id in reached:
            failures.setdefault(subscription_id, f"{key}: the invoice is held: {reason}")
    return failures


def going_on_since(rollout: Rollout) -> datetime:
    """When a person last let the rollout go on: failures from before were looked at."""
    kinds = (RolloutEvent.Kind.PLANNED, RolloutEvent.Kind.STARTED, RolloutEvent.Kind.RESUMED)
    return rollout.events.filter(kind__in=kinds).latest("id").at


def breaches(measured: Measured, limits: RolloutLimits) -> list[str]:
    """Each limit that the figures break, in words with the figures; none is good. Pure."""
    found = []
    if measured.compared < limits.customers_min:
        found.append(
            f"not enough data: {measured.compared} customers could be compared, {limits.customers_min} are needed"
        )
    if measured.worse_off * 100 > limits.worse_off_share_max * measured.compared:
        found.append(
            f"worse off: {measured.worse_off} of {measured.compared} customers"
            f" ({percent_text(Decimal(measured.worse_off), Decimal(measured.compared))}) would pay more by over"
            f" {plain(limits.worse_off_percent)} %, at most {plain(limits.worse_off_share_max)} % may"
        )
    found += _total_breaches(measured, limits)
    return [*found, *_error_breaches(measured, limits)]


def _error_breaches(measured: Measured, limits: RolloutLimits) -> list[str]:
    """What failed at work is known of everybody; what cannot be compared is a share of those it was tried for."""
    at_work, reached, sampled = measured.failed - measured.unknown, measured.reached, measured.sampled
    part, whole = at_work * sampled + measured.unknown * reached, reached * sampled
    if part * 100 <= limits.error_share_max * whole:
        return []
    counted = f"{measured.failed} of {reached} customers"
    if sampled < reached:
        counted = (
            f"{at_work} of {reached} customers refused or held, and {measured.unknown} of {sampled} not to be compared"
        )
    share = percent_text(Decimal(part), Decimal(whole))
    return [f"errors: {counted} ({share}), at most {plain(limits.error_share_max)} % may"]


def _total_breaches(measured: Measured, limits: RolloutLimits) -> list[str]:
    before, change = measured.current_total, EXACT.subtract(measured.candidate_total, measured.current_total)
    hundredfold = EXACT.multiply(change, Decimal(100))
    lowest, highest = (
        EXACT.multiply(before, limits.total_change_min),
        EXACT.multiply(before, limits.total_change_max),
    )
    if lowest <= hundredfold <= highest:
        return []
    by = percent_text(change, before, signed=True) if before else "from nothing"
    allowed = f"from {plain(limits.total_change_min)} % to +{plain(limits.total_change_max)} % is allowed"
    return [f"total: all together would pay {by}; {allowed}"]


def percent_text(part: Decimal, whole: Decimal, *, signed: bool = False) -> str:
    """A share for people, to a hundredth of a per cent; nothing of nothing is none."""
    share = part * 100 / whole if whole else _ZERO
    return f"{share:+.2f} %" if signed else f"{share:.2f} %"


def plain(number: Decimal) -> str:
    """A limit as a person would write it."""
    return f"{number.normalize():f}"
