"""Approval of a draft: on a report of exactly these terms, by a second person, once."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.catalog.models import PlanVersion
from billing.rollouts.approvals import operations as approvals
from billing.rollouts.approvals import reports
from billing.rollouts.models.rollouts import ApprovalDecision, ApprovalRequest
from billing.rollouts.refusals import InvalidTerms, NotFound, NotNow, NotPermitted
from billing.subscriptions.models import Subscription
from tests.billing.rollouts.world import (
    EMRE,
    FIONA,
    FRED,
    SAM,
    approved,
    asked,
    backtest_of,
    hire,
    subscribe,
    two_versions,
)
from tests.factories import OCTOBER, PlanFactory, PlanVersionFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def draft() -> PlanVersion:
    hire()
    return two_versions()[1]


class TestRequest:
    def test_names_the_terms_that_were_tested(self, draft: PlanVersion) -> None:
        request = asked(draft)

        assert request.fingerprint == request.backtest.fingerprint
        assert asked_again(request) == request

    def test_is_refused_when_the_terms_changed_since(self, draft: PlanVersion) -> None:
        backtest = backtest_of(draft)
        PlanVersion.objects.filter(pk=draft.pk).update(fee_minor=2500)

        with pytest.raises(InvalidTerms, match="not those that were tested") as refused:
            approvals.request_approval(backtest_id=backtest.pk, reason="why", actor=EMRE, now=OCTOBER)
        assert refused.value.field == "backtest"

    @pytest.mark.parametrize("reason", ["", "  ", "\x00", "x" * 501])
    def test_needs_a_reason(self, draft: PlanVersion, reason: str) -> None:
        with pytest.raises(InvalidTerms) as refused:
            approvals.request_approval(backtest_id=backtest_of(draft).pk, reason=reason, actor=EMRE, now=OCTOBER)
        assert refused.value.field == "reason"

    def test_needs_a_finished_backtest_and_a_draft(self, draft: PlanVersion) -> None:
        running = backtest_of(draft, is_done=False)
        with pytest.raises(NotNow, match="running"):
            approvals.request_approval(backtest_id=running.pk, reason="why", actor=EMRE, now=OCTOBER)
        with pytest.raises(NotFound):
            approvals.request_approval(backtest_id=0, reason="why", actor=EMRE, now=OCTOBER)

        again = backtest_of(draft)
        approved(draft)
        with pytest.raises(NotNow, match="approved"):
            approvals.request_approval(backtest_id=again.pk, reason="why", actor=EMRE, now=OCTOBER)

    def test_is_one_at_a_time(self, draft: PlanVersion) -> None:
        request = asked(draft)

        with pytest.raises(NotNow, match=f"approval {request.pk}"):
            approvals.request_approval(backtest_id=backtest_of(draft).pk, reason="why", actor=FRED, now=OCTOBER)

    def test_is_for_who_may(self, draft: PlanVersion) -> None:
        for actor in (SAM, "service:rollout", "user:nobody", ""):
            with pytest.raises(NotPermitted):
                approvals.request_approval(backtest_id=backtest_of(draft).pk, reason="why", actor=actor, now=OCTOBER)


class TestReport:
    """What a report has to say of the customers whom the price is for."""

    def test_over_nobody_approves_nothing_while_the_plan_has_customers(self, draft: PlanVersion) -> None:
        over_nobody, request = backtest_of(draft), asked(draft)
        subscribe(PlanVersion.objects.get(version=1), 2)

        with pytest.raises(InvalidTerms, match="compared nobody, while 2 subscriptions"):
            approvals.approve(request_id=request.pk, reason="read", actor=FIONA, now=OCTOBER)
        approvals.reject(request_id=request.pk, reason="of nobody", actor=FIONA, now=OCTOBER)
        with pytest.raises(InvalidTerms, match="run one over their usage") as refused:
            approvals.request_approval(backtest_id=over_nobody.pk, reason="why", actor=EMRE, now=OCTOBER)
        assert refused.value.field == "backtest"
        found = reports.tested(draft, over_nobody, now=OCTOBER)
        assert found is not None
        assert found.doubts == ["Nobody was compared: nothing can be approved on this report."]

        assert approved(draft).status == "approved"  # on one over both

    def test_over_nobody_is_right_where_everybody_stays(self, draft: PlanVersion) -> None:
        over_nobody = backtest_of(draft)
        gone, pinned = subscribe(PlanVersion.objects.get(version=1), 2)
        Subscription.objects.filter(pk=gone.pk).update(status="canceled")
        Subscription.objects.filter(pk=pinned.pk).update(pinned_at=OCTOBER, pinned_because="promised")

        assert reports.why_no_proof(draft, over_nobody) == ""

    def test_that_is_weak_says_so(self, draft: PlanVersion) -> None:
        subscribe(PlanVersion.objects.get(version=1), 1)
        PlanFactory(code="other")
        weak = backtest_of(draft, cohort={"plans": ["other"], "share_percent": "10"})
        subscribe(PlanVersion.objects.get(version=1), 3, first=1)

        found = reports.tested(draft, weak, now=OCTOBER + timedelta(days=93))

        assert found is not None
        assert (found.cohort, found.on_plan) == ("10 % of on other", "1 of 4 subscriptions")
        assert [doubt.partition(" ")[0] for doubt in found.doubts] == ["It", "Only", "It", "The"]
        assert found.doubts[0] == f"It was run on customers of other, and not on those of {draft.plan}."
        assert found.doubts[-1] == "The usage is old: it ends 93 days ago."
        strong = reports.tested(draft, backtest_of(draft), now=OCTOBER)
        assert strong is not None
        assert strong.doubts == []


class TestDecision:
    def test_of_a_second_person_approves_the_version(self, draft: PlanVersion) -> None:
        request = asked(draft)
        later = OCTOBER + timedelta(days=1)

        decided = approvals.approve(request_id=request.pk, reason="read it", actor=FIONA, now=later)

        draft.refresh_from_db()
        assert (draft.status, draft.approved_at) == ("approved", later)
        assert decided.decision.decided_by == FIONA
        assert approvals.approve(request_id=request.pk, reason="again", actor=FIONA, now=later) == decided
        assert ApprovalDecision.objects.count() == 1

    def test_of_the_same_person_is_refused(self, draft: PlanVersion) -> None:
        request = approvals.request_approval(backtest_id=backtest_of(draft).pk, reason="why", actor=FIONA, now=OCTOBER)

        for decide in (approvals.approve, approvals.reject):
            with pytest.raises(NotPermitted, match="second person"):
                decide(request_id=request.pk, reason="me", actor=FIONA, now=OCTOBER)

    def test_is_refused_when_the_terms_changed_since(self, draft: PlanVersion) -> None:
        request = asked(draft)
        draft.rate_card.rates.create(
            meter_code="output_tokens", unit_price=Decimal(1), unit_size=1, effective_from=OCTOBER
        )

        with pytest.raises(InvalidTerms, match="not those that were tested"):
            approvals.approve(request_id=request.pk, reason="read", actor=FIONA, now=OCTOBER)
        assert approvals.waiting_request(draft.pk) == request

    def test_is_one(self, draft: PlanVersion) -> None:
        request = asked(draft)
        approvals.reject(request_id=request.pk, reason="too dear", actor=FIONA, now=OCTOBER)

        with pytest.raises(NotNow, match="fiona decided about it before: rejected"):
            approvals.approve(request_id=request.pk, reason="no, good", actor=FRED, now=OCTOBER)
        with pytest.raises(NotNow):
            approvals.withdraw(request_id=request.pk, reason="late", actor=EMRE, now=OCTOBER)
        draft.refresh_from_db()
        assert draft.status == "draft"
        assert asked(draft).pk != request.pk

    def test_is_for_finance_and_withdrawing_for_who_asked(self, draft: PlanVersion) -> None:
        request = asked(draft)

        for decide, actor in ((approvals.approve, EMRE), (approvals.reject, SAM), (approvals.withdraw, FIONA)):
            with pytest.raises(NotPermitted):
                decide(request_id=request.pk, reason="why", actor=actor, now=OCTOBER)
        withdrawn = approvals.withdraw(request_id=request.pk, reason="a typing error", actor=EMRE, now=OCTOBER)
        assert withdrawn.decision.outcome == "withdrawn"

    def test_waits_for_what_the_version_bundles(self, draft: PlanVersion) -> None:
        add_on = PlanVersionFactory(plan=PlanFactory(is_add_on=True), rate_card=draft.rate_card, is_draft=True)
        draft.bundled.add(add_on)
        request = asked(draft)

        with pytest.raises(NotNow, match="bundle"):
            approvals.approve(request_id=request.pk, reason="read", actor=FIONA, now=OCTOBER)

        assert approvals.decision_of(approvals.by_id(request.pk)) is None


class TestPublication:
    def test_follows_an_approval_only(self, draft: PlanVersion) -> None:
        request = asked(draft)
        with pytest.raises(NotNow, match="only an approved version"):
            approvals.publish_approved(request_id=request.pk, actor=FIONA, now=OCTOBER)

        approvals.approve(request_id=request.pk, reason="read", actor=FIONA, now=OCTOBER)

        with pytest.raises(NotPermitted):
            approvals.publish_approved(request_id=request.pk, actor=EMRE, now=OCTOBER)
        assert approvals.publish_approved(request_id=request.pk, actor=FIONA, now=OCTOBER).status == "published"

    def test_is_of_the_approved_terms_whoever_publishes(self, draft: PlanVersion) -> None:
        from billing.catalog.export import document_of
        from billing.catalog.operations import CatalogConflict, load_catalog
        from billing.catalog.stored import read_stored

        request = asked(draft)
        approvals.approve(request_id=request.pk, reason="read", actor=FIONA, now=OCTOBER)
        draft.rate_card.rates.create(
            meter_code="output_tokens", unit_price=Decimal(999), unit_size=1, effective_from=OCTOBER
        )

        with pytest.raises(NotNow, match="changed since it was approved"):
            approvals.publish_approved(request_id=request.pk, actor=FIONA, now=OCTOBER)
        document = document_of(read_stored().meaning)
        document["plans"][0]["versions"][1]["status"] = "published"
        with pytest.raises(CatalogConflict, match="changed since it was approved"):
            load_catalog(document, now=OCTOBER)
        draft.refresh_from_db()
        assert draft.status == "approved"

    def test_is_not_made_from_a_request_that_was_rejected(self, draft: PlanVersion) -> None:
        rejected = asked(draft)
        approvals.reject(request_id=rejected.pk, reason="no", actor=FRED, now=OCTOBER)
        approved(draft)

        with pytest.raises(NotNow, match="not the one on which"):
            approvals.publish_approved(request_id=rejected.pk, actor=FIONA, now=OCTOBER)

    def test_of_a_draft_of_a_sold_plan_is_refused(self, draft: PlanVersion) -> None:
        from billing.catalog.operations import CatalogError, publish_plan_version

        with pytest.raises(CatalogError, match="approve"):
            publish_plan_version(plan_version_id=draft.pk, now=OCTOBER + timedelta(days=1))


def asked_again(request: ApprovalRequest) -> ApprovalRequest:
    return approvals.request_approval(backtest_id=request.backtest_id, reason="again", actor=EMRE, now=OCTOBER)
