"""
Approval of a draft: somebody asks for it on the report of a backtest, somebody else decides on that report.

What is approved is what was tested: the fingerprint of the terms is that of the backtest when it is asked for, and
worked out again when it is decided. The database refuses the same person, another fingerprint and a second decision.
"""

from datetime import datetime

from django.db import transaction

from billing.catalog.fingerprint import terms_fingerprint
from billing.catalog.models import Plan, PlanVersion
from billing.catalog.operations import CatalogConflict, approve_plan_version, hold_cards, publish_plan_version
from billing.rollouts.approvals.reports import why_no_proof
from billing.rollouts.models.backtests import Backtest
from billing.rollouts.models.rollouts import ApprovalDecision, ApprovalRequest
from billing.rollouts.refusals import InvalidTerms, NotFound, NotNow, NotPermitted, reason_of, require_may

REQUEST, DECIDE = "billing.request_approval", "billing.decide_approval"
Outcome = ApprovalDecision.Outcome


def request_approval(*, backtest_id: int, reason: str, actor: str, now: datetime) -> ApprovalRequest:
    """
    Ask that the draft be approved that this backtest tried. Asked again by the same person while it waits: the first.

    Raises NotFound, NotPermitted, NotNow (no draft, an unfinished backtest, a request that waits) and InvalidTerms (no
    reason, the terms are not those that were tested, or nobody was compared while the plan has customers).
    """
    require_may(actor, REQUEST, what="ask for an approval")
    reason = reason_of(reason)
    backtest = Backtest.objects.filter(pk=backtest_id).first()
    if backtest is None:
        raise NotFound(f"there is no backtest {backtest_id}", field="backtest")
    with transaction.atomic():
        version = _held(backtest.candidate_id)
        waiting = waiting_request(version.pk)
        if waiting is not None:
            if (waiting.backtest_id, waiting.requested_by) == (backtest_id, actor):
                return waiting
            raise NotNow(f"{version} waits for a decision already: see approval {waiting.pk}")
        if backtest.state != Backtest.State.DONE:
            raise NotNow(f"backtest {backtest_id} is {backtest.state}; wait until it is done", field="backtest")
        _require_draft(version)
        _require_same_terms(version, backtest.fingerprint)
        _require_proof(version, backtest)
        return ApprovalRequest.objects.create(
            plan_version=version,
            backtest=backtest,
            fingerprint=backtest.fingerprint,
            reason=reason,
            requested_by=actor,
            requested_at=now,
        )


def approve(*, request_id: int, reason: str, actor: str, now: datetime) -> ApprovalRequest:
    """
    Approve the terms that were tested, as a second person. Said twice by the same person it changes nothing.

    Raises NotFound, NotPermitted, NotNow (decided before) and InvalidTerms (no reason, terms that changed since, or
    a report that compared nobody).
    """
    require_may(actor, DECIDE, what="approve plan versions")
    with transaction.atomic():
        asked = _asked(request_id, actor=actor, outcome=Outcome.APPROVED)
        if asked is None:
            return by_id(request_id)
        _require_second_person(asked, actor)
        version = PlanVersion.objects.select_related("plan").get(pk=asked.plan_version_id)
        _require_draft(version)
        _require_same_terms(version, asked.fingerprint)
        _require_proof(version, asked.backtest)
        _decide(asked, Outcome.APPROVED, reason=reason, actor=actor, now=now)
        try:
            approve_plan_version(plan_version_id=asked.plan_version_id, now=now)
        except CatalogConflict as conflict:
            raise NotNow(str(conflict)) from conflict
    return by_id(request_id)


def reject(*, request_id: int, reason: str, actor: str, now: datetime) -> ApprovalRequest:
    """Refuse the terms, as a second person; they stay a draft. Raises as `approve` does, except for changed terms."""
    require_may(actor, DECIDE, what="reject plan versions")
    with transaction.atomic():
        asked = _asked(request_id, actor=actor, outcome=Outcome.REJECTED)
        if asked is not None:
            _require_second_person(asked, actor)
            _decide(asked, Outcome.REJECTED, reason=reason, actor=actor, now=now)
    return by_id(request_id)


def withdraw(*, request_id: int, reason: str, actor: str, now: datetime) -> ApprovalRequest:
    """Take back one's own request. Raises NotFound, NotPermitted for somebody else's, NotNow and InvalidTerms."""
    with transaction.atomic():
        asked = _asked(request_id, actor=actor, outcome=Outcome.WITHDRAWN)
        if asked is not None:
            if asked.requested_by != actor:
                raise NotPermitted("only who asked can withdraw the request; others reject it")
            _decide(asked, Outcome.WITHDRAWN, reason=reason, actor=actor, now=now)
    return by_id(request_id)


def publish_approved(*, request_id: int, actor: str, now: datetime) -> PlanVersion:
    """
    Offer an approved version to everybody at once, without a rollout: nobody who has another one is moved.

    Raises NotFound, NotPermitted, and NotNow while it is not approved, or when it is not what was approved any more.
    """
    require_may(actor, DECIDE, what="publish plan versions")
    asked = by_id(request_id)
    version, decision = asked.plan_version, decision_of(asked)
    if version.status not in (PlanVersion.Status.APPROVED, PlanVersion.Status.PUBLISHED):
        raise NotNow(f"{version} is {version.status}; only an approved version is published")
    if decision is None or decision.outcome != Outcome.APPROVED:
        raise NotNow(f"{asked} is not the one on which {version} was approved; publish it from that one")
    try:
        return publish_plan_version(plan_version_id=version.pk, now=now)
    except CatalogConflict as conflict:
        raise NotNow(str(conflict)) from conflict


def changed_since_approval(version: PlanVersion) -> str:
    """Why the version is not what a second person approved, or nothing; without an approval nothing was promised."""
    approved = version.approval_requests.filter(decision__outcome=Outcome.APPROVED).first()
    if approved is None or approved.fingerprint == terms_fingerprint(version):
        return ""
    return f"prices of {version} changed since it was approved; test and approve a new version"


def by_id(request_id: int) -> ApprovalRequest:
    """Return a request with its version and decision. Raises NotFound."""
    found = ApprovalRequest.objects.select_related("plan_version__plan", "backtest", "decision").filter(pk=request_id)
    asked = found.first()
    if asked is None:
        raise NotFound(f"there is no approval {request_id}")
    return asked


def decision_of(asked: ApprovalRequest) -> ApprovalDecision | None:
    """The decision about a request; None while it waits for a second person."""
    return getattr(asked, "decision", None)


def waiting_request(plan_version_id: int) -> ApprovalRequest | None:
    """The request about a version that nobody has decided about, or None."""
    return ApprovalRequest.objects.filter(plan_version_id=plan_version_id, decision=None).first()


def _held(plan_version_id: int) -> PlanVersion:
    """
    The version, with everything held that its terms are made of: nobody changes them until the transaction ends.

    A new rate needs its card's row, a changed allowance or rate the version's. The order is that of the catalogue's own
    operations: cards, plan, version.
    """
    hold_cards(plan_version_id)
    Plan.objects.select_for_update(no_key=True, of=("self",)).get(versions=plan_version_id)
    return (
        PlanVersion.objects.select_for_update(of=("self",), no_key=True).select_related("plan").get(pk=plan_version_id)
    )


def _asked(request_id: int, *, actor: str, outcome: str) -> ApprovalRequest | None:
    """
    The request, its version held; None if this person decided so before. Raises NotFound and NotNow.
    """
    plan_version_id = by_id(request_id).plan_version_id
    _held(plan_version_id)
    asked = by_id(request_id)
    decision = decision_of(asked)
    if decision is None:
        return asked
    if (decision.decided_by, decision.outcome) == (actor, outcome):
        return None
    who = decision.decided_by.removeprefix("user:")
    raise NotNow(f"{who} decided about it before: {decision.get_outcome_display().lower()}")


def _require_draft(version: PlanVersion) -> None:
    if version.status != PlanVersion.Status.DRAFT:
        raise NotNow(f"{version} is {version.status}; only a draft can be approved")


def _require_same_terms(version: PlanVersion, fingerprint: str) -> None:
    if terms_fingerprint(version) != fingerprint:
        raise InvalidTerms(
            f"the terms of {version} are not those that were tested; run a backtest of them, and ask on its report",
            field="backtest",
        )


def _require_proof(version: PlanVersion, backtest: Backtest) -> None:
    why = why_no_proof(version, backtest)
    if why:
        raise InvalidTerms(why, field="backtest")


def _require_second_person(asked: ApprovalRequest, actor: str) -> None:
    if asked.requested_by == actor:
        raise NotPermitted("a second person decides: you asked for this yourself, and can only withdraw it")


def _decide(asked: ApprovalRequest, outcome: str, *, reason: str, actor: str, now: datetime) -> None:
    ApprovalDecision.objects.create(
        request=asked,
        outcome=outcome,
        requested_by=asked.requested_by,
        decided_by=actor,
        decided_at=now,
        reason=reason_of(reason),
    )
