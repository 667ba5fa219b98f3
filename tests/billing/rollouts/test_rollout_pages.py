"""The pages of approvals and rollouts: who may do what, what a form refuses, and what it shows of a halt."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from billing.catalog.models import PlanVersion
from billing.rollouts import operations as rollouts
from billing.rollouts.forms import PlanForm
from billing.rollouts.models.rollouts import ApprovalRequest, Rollout
from billing.subscriptions.models import Subscription
from tests.billing.rollouts.world import (
    EMRE,
    FIONA,
    LATE_OCTOBER,
    OPEN_LIMITS,
    SAM,
    approved,
    asked,
    backtest_of,
    hire,
    rolling,
    subscribe,
    two_versions,
    user_of,
)

pytestmark = pytest.mark.django_db
SignedIn = Callable[[str], Client]
LIMITS = {
    "worse_off_percent": "10",
    "worse_off_share_max": "20",
    "total_change_min": "-10",
    "total_change_max": "15",
    "error_share_max": "2",
    "customers_min": "20",
}


@pytest.fixture
def signed_in() -> SignedIn:
    def sign_in(actor: str) -> Client:
        client = Client()
        client.force_login(user_of(actor))
        return client

    return sign_in


@pytest.fixture
def pair() -> tuple[PlanVersion, PlanVersion]:
    hire()
    return two_versions()


def at(model: str, name: str, *arguments: object) -> str:
    return reverse(f"admin:billing_{model}_{name}", args=arguments)


class TestApproval:
    def test_is_asked_for_and_given_by_two_people(
        self, pair: tuple[PlanVersion, PlanVersion], signed_in: SignedIn
    ) -> None:
        backtest = backtest_of(pair[1])
        asking = at("approvalrequest", "ask", backtest.pk)
        emre, fiona = signed_in(EMRE), signed_in(FIONA)
        assert emre.get(asking).status_code == 200
        assert emre.post(asking, {"reason": " "}).status_code == 422
        emre.post(asking, {"reason": "margin"})
        request = ApprovalRequest.objects.get()
        page = at("approvalrequest", "change", request.pk)
        assert "Withdraw" in emre.get(page).content.decode()
        assert emre.post(at("approvalrequest", "approve", request.pk), {"reason": "me"}).status_code == 403
        assert signed_in(SAM).post(at("approvalrequest", "reject", request.pk), {"reason": "me"}).status_code == 403
        assert signed_in(SAM).get(asking).status_code == 403

        assert "Approve" in fiona.get(page).content.decode()
        assert fiona.get(at("approvalrequest", "approve", request.pk)).status_code == 200
        fiona.post(at("approvalrequest", "approve", request.pk), {"reason": "read"})

        assert "Plan a rollout" in fiona.get(page).content.decode()
        again = fiona.post(at("approvalrequest", "reject", request.pk), {"reason": "no"})
        assert again.status_code == 422
        assert "fiona decided about it before" in again.content.decode()
        assert fiona.post(at("approvalrequest", "publish", request.pk)).status_code == 302
        assert PlanVersion.objects.get(pk=pair[1].pk).status == "published"

    def test_says_that_the_terms_changed(self, pair: tuple[PlanVersion, PlanVersion], signed_in: SignedIn) -> None:
        request = asked(pair[1])
        PlanVersion.objects.filter(pk=pair[1].pk).update(fee_minor=1)

        assert "changed since" in signed_in(FIONA).get(at("approvalrequest", "change", request.pk)).content.decode()
        refused = signed_in(FIONA).post(at("approvalrequest", "approve", request.pk), {"reason": "ok"})
        assert refused.status_code == 422
        assert "run a backtest" in refused.content.decode()

    def test_says_what_the_report_leaves_open(self, pair: tuple[PlanVersion, PlanVersion], signed_in: SignedIn) -> None:
        over_nobody = backtest_of(pair[1], cohort={"plans": ["other"], "share_percent": "5"}, left_out={"pinned": 3})
        subscribe(pair[0], 2)

        page = signed_in(EMRE).get(at("approvalrequest", "ask", over_nobody.pk)).content.decode()

        for said in ("Nobody was compared", "5 % of on other", "3 subscriptions pinned", "0 of 2 subscriptions"):
            assert said in page

    def test_of_nothing_is_not_found(self, pair: tuple[PlanVersion, PlanVersion], signed_in: SignedIn) -> None:
        assert signed_in(EMRE).get(at("approvalrequest", "ask", 999)).status_code == 404
        assert signed_in(FIONA).get(at("approvalrequest", "approve", 999)).status_code == 403


class TestPlan:
    def test_is_read_from_the_form(self, pair: tuple[PlanVersion, PlanVersion], signed_in: SignedIn) -> None:
        approved(pair[1])
        emre, typed = signed_in(EMRE), {"baseline": pair[0].pk, "candidate": pair[1].pk, "reason": "go", **LIMITS}
        page = emre.get(at("rollout", "plan"), {"candidate": pair[1].pk})
        assert page.status_code == 200

        emre.post(at("rollout", "plan"), {**typed, "stages": "5% 48h\n10% 24h team\r\n100 0"})

        rollout = Rollout.objects.get()
        assert [(stage.percent, stage.observe_hours, stage.customer_kind) for stage in rollout.stages.all()] == [
            (5, 48, ""), (10, 24, "team"), (100, 0, ""),
        ]  # fmt: skip
        assert rollouts.limits_of(rollout).total_change_min == -10
        again = emre.post(at("rollout", "plan"), {**typed, "stages": "100% 0h"})
        assert again.status_code == 422
        assert "end it first" in again.content.decode()

    def test_says_what_is_wrong(self, pair: tuple[PlanVersion, PlanVersion], signed_in: SignedIn) -> None:
        approved(pair[1])
        emre = signed_in(EMRE)
        typed = {"baseline": pair[0].pk, "candidate": pair[1].pk, "reason": "go", "stages": "100% 0h", **LIMITS}

        for changes, says in (
            ({"stages": "half"}, "is no stage"),
            ({"stages": "5% 48h"}, "the last stage is 100 %"),
            ({"stages": "5% 48h martian\n100% 0h"}, "no kind of customer"),
            ({"stages": "x\x00y"}, "Null characters"),
            ({"stages": "1e9999999% 1h\n100% 0h"}, "at most 100"),
            ({"stages": "NaN% 1h\n100% 0h"}, "at most 100"),
            ({"baseline": "999"}, "valid choice"),
            ({"baseline": "x\x00"}, "Null characters"),
            ({"worse_off_share_max": "101"}, "from 0 to 100"),
            ({"customers_min": "99999999"}, "from 1 to"),
            ({"reason": ""}, "required"),
        ):
            refused = emre.post(at("rollout", "plan"), {**typed, **changes})
            assert (refused.status_code, says in refused.content.decode()) == (422, True), changes
        assert not Rollout.objects.exists()

    def test_is_for_who_may(self, pair: tuple[PlanVersion, PlanVersion], signed_in: SignedIn) -> None:
        assert signed_in(SAM).get(at("rollout", "plan")).status_code == 403
        for nonsense in ("x", "\x00", "9" * 400, "²"):
            assert signed_in(EMRE).get(at("rollout", "plan"), {"candidate": nonsense}).status_code == 200

    def test_offers_versions_that_can_be(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        form = PlanForm()
        offered = {name: list(form.fields[name].queryset) for name in ("baseline", "candidate")}  # type: ignore[attr-defined]
        assert offered == {"baseline": [pair[0]], "candidate": [pair[0]]}


class TestSteering:
    def test_halts_resumes_and_rolls_back(self, pair: tuple[PlanVersion, PlanVersion], signed_in: SignedIn) -> None:
        subscribe(pair[0], 2)
        limits = replace(OPEN_LIMITS, customers_min=50)
        rollout = rolling(pair[0], approved(pair[1]), limits=limits)
        rollouts.advance(rollout_id=rollout.pk, now=LATE_OCTOBER)
        fiona, page = signed_in(FIONA), at("rollout", "change", rollout.pk)

        shown = fiona.get(page).content.decode()
        assert "not enough data: 2 customers could be compared, 50 are needed" in shown
        assert "Resume" in shown
        assert "Resume" not in signed_in(SAM).get(page).content.decode()
        assert signed_in(SAM).post(at("rollout", "resume", rollout.pk), {"reason": "x", **LIMITS}).status_code == 403
        assert fiona.post(at("rollout", "resume", rollout.pk), {"reason": "", **LIMITS}).status_code == 422
        assert fiona.post(at("rollout", "halt", rollout.pk), {"reason": "x"}).status_code == 302
        assert "nobody confirms them" in fiona.get(at("rollout", "resume", rollout.pk)).content.decode()
        fiona.post(at("rollout", "resume", rollout.pk), {"reason": "enough", **LIMITS, "customers_min": "1"})
        assert rollouts.limits_of(rollout).customers_min == 1
        assert rollouts.by_id(rollout.pk).state == "running"

        assert fiona.get(at("rollout", "roll_back", rollout.pk)).status_code == 200
        fiona.post(at("rollout", "roll_back", rollout.pk), {"reason": "no"})
        assert rollouts.by_id(rollout.pk).state == "rolled_back"
        refused = fiona.post(at("rollout", "start", rollout.pk), {"reason": "again"})
        assert refused.status_code == 422
        assert "only a planned one" in refused.content.decode()
        assert fiona.get(at("rollout", "halt", 999)).status_code == 404

    def test_lists_who_moves(self, pair: tuple[PlanVersion, PlanVersion], signed_in: SignedIn) -> None:
        subscribe(pair[0], 2)
        rollout = rolling(pair[0], approved(pair[1]))
        rollouts.advance(rollout_id=rollout.pk, now=LATE_OCTOBER)

        shown = signed_in(SAM).get(at("rolloutmove", "changelist"), {"rollout__id__exact": rollout.pk})

        assert "C0 (c0)" in shown.content.decode()


def test_a_subscription_is_pinned_and_let_go(pair: tuple[PlanVersion, PlanVersion], signed_in: SignedIn) -> None:
    (subscription,) = subscribe(pair[0], 1)
    sam, address = signed_in(SAM), at("rollout", "pin", subscription.pk)
    assert sam.get(address).status_code == 200
    assert sam.post(address, {"reason": Decimal(0)}).status_code == 302
    assert Subscription.objects.get().pinned_because == "0 (sam)"
    assert "Unpin" in sam.get(address).content.decode()
    sam.post(address, {"reason": "over"})
    assert Subscription.objects.get().pinned_at is None
    assert sam.get(at("rollout", "pin", 999)).status_code == 404
