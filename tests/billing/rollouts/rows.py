"""Rows of an approval and a rollout as they look half-way, written without the people who would have made them."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from billing.catalog.models import PlanVersion
from billing.catalog.operations import approve_plan_version, publish_plan_version
from billing.rollouts.models.rollouts import (
    ApprovalDecision,
    ApprovalRequest,
    Rollout,
    RolloutCheck,
    RolloutEvent,
    RolloutLimits,
    RolloutMove,
    RolloutStage,
)
from billing.subscriptions.models import Subscription
from tests.billing.rollouts.world import EMRE, FIONA, backtest_of


def half_way(subscription: Subscription, *, now: datetime) -> Rollout:
    """A rollout of the next version of its plan, approved and in its first stage, with the subscription on its way."""
    baseline = subscription.plan_version
    candidate = PlanVersion.objects.create(
        plan=baseline.plan,
        version=baseline.version + 1,
        currency=baseline.currency,
        fee_minor=baseline.fee_minor + 100,
        rate_card=baseline.rate_card,
    )
    backtest = backtest_of(candidate)
    request = ApprovalRequest.objects.create(
        plan_version=candidate,
        backtest=backtest,
        fingerprint=backtest.fingerprint,
        reason="margin",
        requested_by=EMRE,
        requested_at=now,
    )
    ApprovalDecision.objects.create(
        request=request, outcome="approved", requested_by=EMRE, decided_by=FIONA, decided_at=now, reason="read"
    )
    approve_plan_version(plan_version_id=candidate.pk, now=now)
    publish_plan_version(plan_version_id=candidate.pk, now=now)
    with transaction.atomic():
        rollout = _begun(baseline, candidate, now=now)
    RolloutMove.objects.create(
        rollout=rollout,
        subscription=subscription,
        direction="forward",
        from_version=baseline,
        to_version=candidate,
        stage=1,
        intended_at=now,
    )
    return rollout


def _begun(baseline: PlanVersion, candidate: PlanVersion, *, now: datetime) -> Rollout:
    rollout = Rollout.objects.create(
        plan=baseline.plan,
        currency=baseline.currency,
        baseline=baseline,
        candidate=candidate,
        salt="rows",
        changed_at=now,
    )
    RolloutStage.objects.create(rollout=rollout, position=1, percent=Decimal(100), observe_hours=24)
    limits = RolloutLimits.objects.create(
        rollout=rollout,
        worse_off_percent=Decimal(10),
        worse_off_share_max=Decimal(20),
        total_change_min=Decimal(-10),
        total_change_max=Decimal(15),
        error_share_max=Decimal(2),
        customers_min=1,
        set_by=EMRE,
        set_at=now,
    )
    RolloutCheck.objects.create(
        rollout=rollout,
        limits=limits,
        stage=1,
        is_before_stage=True,
        checked_at=now,
        reached=1,
        examined=1,
        compared=1,
        worse_off=0,
        failed=0,
        moved=0,
        current_total=Decimal(20),
        candidate_total=Decimal(21),
    )
    for kind, state, stage in (("planned", "planned", 0), ("started", "running", 0), ("stage_begun", "running", 1)):
        if kind != "planned":
            Rollout.objects.filter(pk=rollout.pk).update(
                state=state, stage=stage, stage_began_at=now if stage else None, changed_at=now
            )
        RolloutEvent.objects.create(
            rollout=rollout, kind=kind, state=state, stage=stage, at=now, actor=EMRE, reason="as planned"
        )
    rollout.refresh_from_db()
    return rollout
