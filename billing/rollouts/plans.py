"""What a rollout is planned with, and what it must be: two versions, stages and limits. Writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.rollouts.refusals import InvalidTerms

STAGES_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTerms:
    """So many per cent, at most two places, of all customers or those of one kind; watched for so many hours."""

    percent: Decimal
    observe_hours: int
    customer_kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the guards allow, in per cent with at most two places; the fields are those of RolloutLimits."""

    worse_off_percent: Decimal
    worse_off_share_max: Decimal
    total_change_min: Decimal
    total_change_max: Decimal
    error_share_max: Decimal
    customers_min: int


def require_comparable(baseline: PlanVersion, candidate: PlanVersion) -> None:
    """Raises InvalidTerms unless customers of the one can be moved to the other at the end of a period."""

    def refuse(text: str, field: str = "candidate") -> None:
        raise InvalidTerms(text, field=field)

    if baseline.pk == candidate.pk:
        refuse("the candidate is the baseline; choose another version")
    if baseline.plan_id != candidate.plan_id:
        refuse(f"{candidate} is of another plan than {baseline}; choose a version of the same plan")
    if baseline.currency != candidate.currency:
        refuse(
            f"{candidate} is in {candidate.currency}, {baseline} in {baseline.currency}; roll each currency out apart"
        )
    if baseline.status == PlanVersion.Status.RETIRED:
        refuse(f"{baseline} is retired, so that nobody could be rolled back to it; choose a published one", "baseline")
    if baseline.status != PlanVersion.Status.PUBLISHED:
        refuse(f"{baseline} is {baseline.status}: nobody has it", "baseline")
    if candidate.status not in (PlanVersion.Status.APPROVED, PlanVersion.Status.PUBLISHED):
        refuse(f"{candidate} is {candidate.status}; let it be approved first")
    for version, field in ((baseline, "baseline"), (candidate, "candidate")):
        if version.only_for_id is not None:
            refuse(f"{version} is a contract of one customer, which no rollout moves", field)
    if _rhythm(baseline) != _rhythm(candidate):
        refuse("the candidate's periods are of another length or begin elsewhere; Stripe would bill customers at once")
    if _is_free(baseline) != _is_free(candidate):
        refuse("one of the two has a fee and the other has none; Stripe would move the day of billing")


def _rhythm(version: PlanVersion) -> tuple[str, int, str, str]:
    return version.interval, version.interval_count, version.alignment, version.time_zone


def _is_free(version: PlanVersion) -> bool:
    return version.fee_minor == 0 and not version.fee_tiers


def require_stages(stages: Sequence[StageTerms]) -> None:
    """Raises InvalidTerms unless each stage is larger than the one before it, and the last is everybody."""
    if not 1 <= len(stages) <= STAGES_MAX:
        raise InvalidTerms(f"give between 1 and {STAGES_MAX} stages", field="stages")
    for stage in stages:
        if not _has_two_places(stage.percent) or not 0 < stage.percent <= 100:
            raise InvalidTerms("a stage is above 0 and at most 100 %, with at most two places", field="stages")
        if not 0 <= stage.observe_hours <= 10_000:
            raise InvalidTerms("a stage is watched for 0 to 10000 hours", field="stages")
        if stage.customer_kind not in ("", *Customer.Kind.values):
            kinds = ", ".join(Customer.Kind.values)
            raise InvalidTerms(f"{stage.customer_kind!r} is no kind of customer: {kinds}", field="stages")
    if stages[-1].percent != 100 or stages[-1].customer_kind:
        raise InvalidTerms("the last stage is 100 % of all customers: a rollout ends with everybody", field="stages")
    for kind in {stage.customer_kind for stage in stages}:
        of_kind = [stage.percent for stage in stages if stage.customer_kind == kind]
        if any(later <= earlier for earlier, later in pairwise(of_kind)):
            raise InvalidTerms("each stage is larger than the one before it", field="stages")


def require_limits(limits: Limits) -> None:
    """Raises InvalidTerms for a limit that no figure could break, or that every figure would."""
    bounds = {
        "worse_off_percent": (0, 99999),
        "worse_off_share_max": (0, 100),
        "total_change_min": (-100, 0),
        "total_change_max": (0, 99999),
        "error_share_max": (0, 100),
        "customers_min": (1, 1_000_000),
    }
    for field, (lowest, highest) in bounds.items():
        value = getattr(limits, field)
        if not _has_two_places(Decimal(value)) or not lowest <= value <= highest:
            raise InvalidTerms(f"give a number from {lowest} to {highest}, with at most two places", field=field)


def _has_two_places(number: Decimal) -> bool:
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -2
