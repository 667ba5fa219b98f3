"""
Rollouts, from the plan to the end: people plan, start, halt, resume and roll back; the guards go on, halt and complete.

A stage begins only on a check of that instant which broke no limit, and a check that breaks one halts the rollout in
the transaction that records it. Moving customers is told in `moves`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from billing.catalog.models import PlanVersion
from billing.catalog.operations import publish_plan_version
from billing.rollouts import guards, moves
from billing.rollouts.approvals.operations import changed_since_approval
from billing.rollouts.models.rollouts import (
    Rollout,
    RolloutCheck,
    RolloutEvent,
    RolloutLimits,
    RolloutStage,
)
from billing.rollouts.plans import Limits, StageTerms, require_comparable, require_limits, require_stages
from billing.rollouts.refusals import InvalidTerms, NotFound, NotNow, reason_of, require_may

PLAN, STEER = "billing.plan_rollout", "billing.steer_rollout"
GUARDS = "service:rollout"
# How often a rollout is looked at while it waits for its next stage.
CHECK_EVERY = timedelta(hours=1)
LIVE = (Rollout.State.PLANNED, Rollout.State.RUNNING, Rollout.State.HALTED)
State, Kind = Rollout.State, RolloutEvent.Kind
_REASON_CHARS_MAX = 1000


def plan_rollout(
    *,
    baseline_id: int,
    candidate_id: int,
    stages: Sequence[StageTerms],
    limits: Limits,
    reason: str,
    actor: str,
    now: datetime,
) -> Rollout:
    """
    Plan that the baseline's customers move to the candidate, stage by stage. Nothing happens before it is started.

    Raises NotPermitted, NotFound, InvalidTerms (with the field) and NotNow (the plan has a rollout that goes on).
    """
    require_may(actor, PLAN, what="plan a rollout")
    reason = reason_of(reason)
    versions = PlanVersion.objects.select_related("plan").in_bulk([baseline_id, candidate_id])
    for field, version_id in (("baseline", baseline_id), ("candidate", candidate_id)):
        if version_id not in versions:
            raise NotFound(f"there is no plan version {version_id}", field=field)
    baseline, candidate = versions[baseline_id], versions[candidate_id]
    require_comparable(baseline, candidate)
    require_stages(stages)
    require_limits(limits)
    try:
        with transaction.atomic():
            return _planned(baseline, candidate, stages, limits, reason=reason, actor=actor, now=now)
    except IntegrityError as error:
        if "billing_rollout_one_live" not in str(error):
            raise
        raise NotNow(f"{baseline.plan} has a rollout in {baseline.currency} that goes on; end it first") from error


def _planned(
    baseline: PlanVersion,
    candidate: PlanVersion,
    stages: Sequence[StageTerms],
    limits: Limits,
    *,
    reason: str,
    actor: str,
    now: datetime,
) -> Rollout:
    rollout = Rollout.objects.create(
        plan=baseline.plan,
        currency=baseline.currency,
        baseline=baseline,
        candidate=candidate,
        salt=f"{baseline.version}-{candidate.version}:{now:%Y%m%d%H%M%S%f}",
        changed_at=now,
    )
    RolloutStage.objects.bulk_create(
        RolloutStage(rollout=rollout, position=position, **asdict(stage))
        for position, stage in enumerate(stages, start=1)
    )
    RolloutLimits.objects.create(rollout=rollout, set_by=actor, set_at=now, **asdict(limits))
    _tell(rollout, Kind.PLANNED, actor=actor, reason=reason, now=now)
    return rollout


def start(*, rollout_id: int, reason: str, actor: str, now: datetime) -> Rollout:
    """
    Publish the candidate, if it is not, and let the guards begin the first stage. Said twice it changes nothing.

    Raises NotFound, NotPermitted, InvalidTerms (the terms are not those that were approved) and NotNow.
    """
    require_may(actor, PLAN, what="start a rollout")
    reason = reason_of(reason)
    with transaction.atomic():
        rollout = _locked(rollout_id)
        if rollout.state == State.RUNNING:
            return rollout
        if rollout.state != State.PLANNED:
            raise NotNow(f"the rollout is {rollout.get_state_display().lower()}; only a planned one is started")
        _require_approved_terms(rollout.candidate)
        publish_plan_version(plan_version_id=rollout.candidate_id, now=now)
        _enter(rollout, State.RUNNING, now=now)
        _tell(rollout, Kind.STARTED, actor=actor, reason=reason, now=now)
    return rollout


def halt(*, rollout_id: int, reason: str, actor: str, now: datetime) -> Rollout:
    """
    Move nobody on until a person says so. Said twice it changes nothing. Raises NotFound, NotPermitted, InvalidTerms
    and NotNow.
    """
    require_may(actor, STEER, what="halt a rollout")
    reason = reason_of(reason)
    with transaction.atomic():
        rollout = _locked(rollout_id)
        if rollout.state == State.HALTED:
            return rollout
        if rollout.state != State.RUNNING:
            raise NotNow(f"the rollout is {rollout.get_state_display().lower()}; only a running one is halted")
        _enter(rollout, State.HALTED, now=now)
        _tell(rollout, Kind.HALTED, actor=actor, reason=reason, now=now)
    return rollout


def resume(*, rollout_id: int, reason: str, actor: str, now: datetime, limits: Limits | None = None) -> Rollout:
    """
    Let a halted rollout go on, within other limits if they are given; the guards look again before anybody moves.

    Said twice it changes nothing. Raises NotFound, NotPermitted, InvalidTerms and NotNow.
    """
    require_may(actor, STEER, what="resume a rollout")
    reason = reason_of(reason)
    if limits is not None:
        require_limits(limits)
    with transaction.atomic():
        rollout = _locked(rollout_id)
        if rollout.state == State.RUNNING:
            return rollout
        if rollout.state != State.HALTED:
            raise NotNow(f"the rollout is {rollout.get_state_display().lower()}; only a halted one is resumed")
        if limits is not None and limits != limits_of(rollout):
            RolloutLimits.objects.create(rollout=rollout, set_by=actor, set_at=now, **asdict(limits))
        _enter(rollout, State.RUNNING, now=now)
        _tell(rollout, Kind.RESUMED, actor=actor, reason=reason, now=now)
    return rollout


def roll_back(*, rollout_id: int, reason: str, actor: str, now: datetime) -> Rollout:
    """
    End the rollout, and let everybody it moved return to the baseline with their next period.

    Who was not told to Stripe stays where they are; what is being told is taken back once that is over. Said twice it
    changes nothing. Raises NotFound, NotPermitted, InvalidTerms and NotNow.
    """
    require_may(actor, STEER, what="roll a rollout back")
    reason = reason_of(reason)
    with transaction.atomic():
        rollout = _locked(rollout_id)
        if rollout.state == State.ROLLED_BACK:
            return rollout
        if rollout.state not in LIVE:
            raise NotNow("the rollout is completed; plan one from its candidate to its baseline instead")
        _enter(rollout, State.ROLLED_BACK, now=now)
        _tell(rollout, Kind.ROLLED_BACK, actor=actor, reason=reason, now=now)
        moves.intend_return(rollout, because=f"rolled back: {reason}", now=now)
    return rollout


def advance(*, rollout_id: int, now: datetime) -> RolloutCheck | None:
    """
    Look at the rollout if it is time to, and halt it, begin its next stage or complete it as the guards say.

    Returns the check, or None where nothing was due. Of two at once one changes nothing. Raises NotFound.
    """
    rollout = by_id(rollout_id)
    before = (rollout.state, rollout.stage)
    if rollout.state != State.RUNNING:
        return None
    stage, is_before_stage = _stage_to_check(rollout, now=now)
    if not is_before_stage and not _is_check_due(rollout, now=now):
        return None
    limits = rollout.limits.latest("id")
    measured = guards.measure(rollout, limits, stage=stage, now=now)
    with transaction.atomic():
        rollout = _locked(rollout_id)
        if (rollout.state, rollout.stage) != before or rollout.limits.latest("id") != limits:
            return None
        check = RolloutCheck.objects.create(
            rollout=rollout,
            limits=limits,
            stage=stage,
            is_before_stage=is_before_stage,
            checked_at=now,
            breaches=guards.breaches(measured, limits),
            **measured.columns(),
        )
        _act(rollout, check, now=now)
    return check


def _act(rollout: Rollout, check: RolloutCheck, *, now: datetime) -> None:
    """Do what the check says; the caller records it in the same transaction."""
    if check.breaches:
        _enter(rollout, State.HALTED, now=now)
        reason = "; ".join(check.breaches)
        _tell(rollout, Kind.HALTED, actor=GUARDS, reason=reason, now=now, check=check)
    elif check.is_before_stage:
        rollout.stage, rollout.stage_began_at = check.stage, now
        _enter(rollout, State.RUNNING, now=now)
        reason = f"{check.compared} customers compared, no limit broken"
        _tell(rollout, Kind.STAGE_BEGUN, actor=GUARDS, reason=reason, now=now, check=check)
        moves.intend_stage(rollout, now=now)
    elif _is_over(rollout, now=now):
        _enter(rollout, State.COMPLETED, now=now)
        _tell(rollout, Kind.COMPLETED, actor=GUARDS, reason=_said_of_the_end(rollout), now=now, check=check)
    else:
        moves.intend_stage(rollout, now=now)  # who came to the baseline since, or is free again


def _said_of_the_end(rollout: Rollout) -> str:
    """Who is on the candidate's terms. Nobody is on the way any more, so the rest are those whom Stripe refused."""
    reached = guards.members(rollout, stage=rollout.stage)
    refused = sum(not member.is_on_candidate for member in reached)
    if not refused:
        return "every customer whom a stage reaches is on the candidate's terms"
    moved = f"{len(reached) - refused} of {len(reached)} customers whom a stage reaches are on the candidate's terms"
    return f"{moved}; Stripe refused to move {refused}, who stay on the baseline's"


def _stage_to_check(rollout: Rollout, *, now: datetime) -> tuple[int, bool]:
    """The stage whose customers are to be looked at, and whether it may begin now."""
    if rollout.stage == 0:
        return 1, True
    current = rollout.stages.get(position=rollout.stage)
    assert rollout.stage_began_at is not None
    is_watched = now >= rollout.stage_began_at + timedelta(hours=current.observe_hours)
    if is_watched and rollout.stages.filter(position=rollout.stage + 1).exists():
        return rollout.stage + 1, True
    return rollout.stage, False


def _is_check_due(rollout: Rollout, *, now: datetime) -> bool:
    """Every so often, and at once after a person changed something."""
    latest = rollout.checks.order_by("-id").first()
    return latest is None or now >= latest.checked_at + CHECK_EVERY or rollout.changed_at > latest.checked_at


def _is_over(rollout: Rollout, *, now: datetime) -> bool:
    """Whether the last stage was watched for its time, and nobody is on the way any more."""
    last = rollout.stages.latest("position")
    assert rollout.stage_began_at is not None
    return (
        rollout.stage == last.position
        and now >= rollout.stage_began_at + timedelta(hours=last.observe_hours)
        and not moves.on_the_way(rollout)
        and not moves.left_behind(rollout)
    )


def by_id(rollout_id: int) -> Rollout:
    """Return a rollout with its versions. Raises NotFound."""
    rollout = Rollout.objects.select_related("plan", "baseline__plan", "candidate__plan").filter(pk=rollout_id).first()
    if rollout is None:
        raise NotFound(f"there is no rollout {rollout_id}")
    return rollout


def limits_of(rollout: Rollout) -> Limits:
    """The limits that count now."""
    row = rollout.limits.latest("id")
    return Limits(**{name: getattr(row, name) for name in Limits.__dataclass_fields__})


def _require_approved_terms(candidate: PlanVersion) -> None:
    """Raises NotNow for a draft or a retired version, InvalidTerms if it is not what was approved any more."""
    if candidate.status not in (PlanVersion.Status.APPROVED, PlanVersion.Status.PUBLISHED):
        raise NotNow(f"{candidate} is {candidate.status}; only an approved version is rolled out")
    if objection := changed_since_approval(candidate):
        raise InvalidTerms(objection)


def _locked(rollout_id: int) -> Rollout:
    if not Rollout.objects.select_for_update(no_key=True).filter(pk=rollout_id).exists():
        raise NotFound(f"there is no rollout {rollout_id}")
    return by_id(rollout_id)


def _enter(rollout: Rollout, state: Rollout.State, *, now: datetime) -> None:
    rollout.state, rollout.changed_at = state, now
    rollout.save(update_fields=["state", "stage", "stage_began_at", "changed_at"])


def _tell(
    rollout: Rollout, kind: str, *, actor: str, reason: str, now: datetime, check: RolloutCheck | None = None
) -> None:
    RolloutEvent.objects.create(
        rollout=rollout,
        kind=kind,
        state=rollout.state,
        stage=rollout.stage,
        at=now,
        actor=actor,
        reason=reason[:_REASON_CHARS_MAX],
        check_seen=check,
    )
