"""The guards: what they count, at which figure they halt, and that they do it by themselves and at once."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.db.models import QuerySet
from hypothesis import given
from hypothesis import strategies as st

from billing.catalog.models import PlanVersion
from billing.rollouts import guards
from billing.rollouts.guards import EXAMINED_MAX, Measured, breaches, telling_periods
from billing.rollouts.models.rollouts import Rollout, RolloutCheck, RolloutLimits, RolloutMove
from billing.rollouts.operations import advance, resume
from billing.rollouts.plans import StageTerms
from billing.subscriptions.models import Subscription
from tests.billing.rollouts.world import (
    FIONA,
    LATE_OCTOBER,
    OPEN_LIMITS,
    approved,
    hire,
    rolling,
    subscribe,
    two_versions,
    use_dollars,
)
from tests.billing.usage import MODEL
from tests.factories import NOVEMBER, OCTOBER, BillingPeriodFactory, RateCardFactory, RateFactory

HOUR = timedelta(hours=1)
percents = st.integers(0, 10_000).map(lambda hundredths: Decimal(hundredths) / 100)
amounts = st.integers(0, 10**9).map(lambda cents: Decimal(cents) / 100)


class TestBreaches:
    """Against the same rules in fractions, written down apart."""

    @given(
        compared=st.integers(0, 300),
        worse=st.integers(0, 300),
        failed=st.integers(0, 300),
        extra=st.integers(0, 300),
        unknown=st.integers(0, 300),
        before=amounts,
        after=amounts,
        share=percents,
        fall=percents,
        rise=percents,
        errors=percents,
        least=st.integers(1, 300),
    )
    def test_are_those_of_the_rules(
        self,
        compared: int,
        worse: int,
        failed: int,
        extra: int,
        unknown: int,
        before: Decimal,
        after: Decimal,
        share: Decimal,
        fall: Decimal,
        rise: Decimal,
        errors: Decimal,
        least: int,
    ) -> None:
        worse, examined = min(worse, compared), compared + extra
        failed = min(failed, examined)
        unknown, sampled = min(unknown, failed), min(examined, EXAMINED_MAX)
        measured = Measured(
            reached=examined,
            examined=examined,
            compared=compared,
            worse_off=worse,
            failed=failed,
            unknown=unknown,
            current_total=before,
            candidate_total=after,
        )
        limits = RolloutLimits(
            worse_off_percent=Decimal(10),
            worse_off_share_max=share,
            total_change_min=-fall,
            total_change_max=rise,
            error_share_max=errors,
            customers_min=least,
        )
        expected = set()
        if compared < least:
            expected.add("not enough data")
        if compared and Fraction(worse, compared) > Fraction(share) / 100:
            expected.add("worse off")
        if before == 0:
            expected |= {"total"} if after else set()
        elif (
            not -Fraction(fall) / 100 <= (Fraction(after) - Fraction(before)) / Fraction(before) <= Fraction(rise) / 100
        ):
            expected.add("total")
        if examined and Fraction(failed - unknown, examined) + Fraction(unknown, sampled) > Fraction(errors) / 100:
            expected.add("errors")

        assert {text.partition(":")[0] for text in breaches(measured, limits)} == expected

    def test_say_the_figures(self) -> None:
        measured = Measured(
            reached=8,
            examined=8,
            compared=8,
            worse_off=3,
            failed=1,
            current_total=Decimal(200),
            candidate_total=Decimal(250),
        )
        limits = RolloutLimits(
            worse_off_percent=Decimal(10),
            worse_off_share_max=Decimal(20),
            total_change_min=Decimal(-5),
            total_change_max=Decimal("7.50"),
            error_share_max=Decimal(5),
            customers_min=8,
        )

        assert breaches(measured, limits) == [
            "worse off: 3 of 8 customers (37.50 %) would pay more by over 10 %, at most 20 % may",
            "total: all together would pay +25.00 %; from -5 % to +7.5 % is allowed",
            "errors: 1 of 8 customers (12.50 %), at most 5 % may",
        ]


@pytest.fixture
def pair(committed_db: None) -> tuple[PlanVersion, PlanVersion]:
    """20 USD and 5 a million, to 20 USD and 6 a million."""
    hire()
    baseline, candidate = two_versions()
    return baseline, approved(candidate)


def checked(rollout: Rollout, *, now: object = LATE_OCTOBER + HOUR) -> RolloutCheck:
    check = advance(rollout_id=rollout.pk, now=now)  # type: ignore[arg-type]
    assert check is not None
    rollout.refresh_from_db()
    return check


def ended(moves: QuerySet[RolloutMove], state: str, **facts: Any) -> None:
    for each in ("telling", state):
        moves.update(state=each, **(facts if each == state else {}))


class TestMeasure:
    def test_compares_what_customers_pay(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        """At 100 USD of usage 120 become 140 (+16.7 %), at 10 USD 30 become 32 (+6.7 %); who used nothing pays 20."""
        subscribe(pair[0], 5)
        use_dollars(["c0", "c1"], "100")
        use_dollars(["c2"], "10")

        check = checked(rolling(*pair))

        assert (check.reached, check.examined, check.compared, check.failed, check.moved) == (5, 5, 5, 0, 0)
        assert check.worse_off == 2
        assert (check.current_total, check.candidate_total) == (Decimal(310), Decimal(352))

    def test_counts_exactly_the_percentage_as_not_worse_off(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        """At 20 USD of usage 40 become 44, exactly 10 % more."""
        subscribe(pair[0], 1)
        use_dollars(["c0"], "20")

        assert checked(rolling(*pair)).worse_off == 0

    def test_counts_what_cannot_be_compared(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        subscribe(pair[0], 2)
        use_dollars(["c0"], "20")
        limits = replace(OPEN_LIMITS, error_share_max=Decimal(10))
        rollout = rolling(*pair, limits=limits)
        # A model that nobody gave a price: nothing can be said of c0.
        from metering.operations import UsageEventInput, catch_up_windows, ingest_events

        unknown = UsageEventInput(
            id="x", source="t", type="llm.request", subject="c0", time=OCTOBER, data={"model": "new", "input_tokens": 1}
        )
        ingest_events([unknown], received_at=OCTOBER)
        catch_up_windows(now=NOVEMBER)

        check = checked(rollout)

        assert (check.examined, check.compared, check.failed) == (2, 1, 1)
        assert check.failures[0].startswith("c0: ")
        assert rollout.state == "halted"

    def test_counts_a_minimum_whole_though_the_period_goes_on(self, committed_db: None) -> None:
        """10 USD of usage each; the candidate differs by a minimum of 500 alone: 30 become 520."""
        baseline, candidate = two_versions(candidate_price="5")
        with_minimum = RateCardFactory()
        terms = {"tiers": [{"up_to": None, "unit_price": "0.000005"}], "minimum": "500"}
        RateFactory(
            rate_card=with_minimum,
            model=MODEL,
            charge_model="graduated",
            unit_price=None,
            unit_size=None,
            terms=terms,
        )
        PlanVersion.objects.filter(pk=candidate.pk).update(rate_card=with_minimum)
        candidate.refresh_from_db()
        approved(candidate)
        subscribe(baseline, 3)
        use_dollars(["c0", "c1", "c2"], "10")

        check = checked(rolling(baseline, candidate, limits=replace(OPEN_LIMITS, worse_off_share_max=Decimal(0))))

        assert (check.current_total, check.candidate_total, check.worse_off) == (90, 1560, 3)

    def test_counts_refusals_of_everybody_reached(
        self, pair: tuple[PlanVersion, PlanVersion], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two of six are compared; Stripe refused to move four, who came last."""
        monkeypatch.setattr(guards, "EXAMINED_MAX", 2)
        subscribe(pair[0], 6)
        rollout = rolling(*pair, limits=replace(OPEN_LIMITS, error_share_max=Decimal(60)))
        assert checked(rollout).failed == 0
        last = [member.subscription_id for member in guards.members(rollout, stage=1)[2:]]
        ended(rollout.moves.filter(subscription__in=last), "refused", detail="no")

        check = checked(rollout, now=LATE_OCTOBER + 3 * HOUR)

        assert (check.reached, check.examined, check.compared, check.failed) == (6, 6, 2, 4)
        assert check.breaches == [
            "errors: 4 of 6 customers refused or held, and 0 of 2 not to be compared (66.67 %), at most 60 % may"
        ]
        assert rollout.state == "halted"

    def test_says_at_the_end_whom_stripe_refused_to_move(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        moved, _ = subscribe(pair[0], 2)
        rollout = rolling(*pair)
        checked(rollout)
        Subscription.objects.filter(pk=moved.pk).update(plan_version=pair[1])
        ended(rollout.moves.filter(subscription=moved), "done", effective_at=NOVEMBER)
        ended(rollout.moves.exclude(subscription=moved), "refused", detail="no")

        checked(rollout, now=LATE_OCTOBER + 3 * HOUR)

        assert rollout.state == "completed"
        said = "1 of 2 customers whom a stage reaches are on the candidate's terms; Stripe refused to move 1,"
        assert rollout.events.latest("id").reason.startswith(said)

    def test_leaves_out_who_is_not_moved(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        pinned, ended, pending, _ = subscribe(pair[0], 4)
        Subscription.objects.filter(pk=pinned.pk).update(pinned_at=OCTOBER, pinned_because="promised")
        Subscription.objects.filter(pk=ended.pk).update(status="canceled")
        Subscription.objects.filter(pk=pending.pk).update(status="pending", stripe_subscription_id=None)

        assert checked(rolling(*pair)).reached == 1

    def test_costs_as_many_queries_for_many_members(
        self,
        pair: tuple[PlanVersion, PlanVersion],
        django_assert_max_num_queries: Callable[..., AbstractContextManager[Any]],
    ) -> None:
        subscribe(pair[0], 12)
        rollout = rolling(*pair)

        with django_assert_max_num_queries(3):
            assert len(guards.members(rollout, stage=1)) == 12


class TestTellingPeriod:
    def test_is_the_open_one_once_half_of_it_is_over(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        (subscription,) = subscribe(pair[0], 1)
        october = subscription.periods.get()
        november = BillingPeriodFactory(subscription=subscription)
        half = november.starts_at + (november.ends_at - november.starts_at) / 2

        def at(now: object) -> list[int]:
            return [period.pk for period in telling_periods([subscription.pk], now=now)]  # type: ignore[arg-type]

        assert at(OCTOBER) == [october.pk]
        assert at(half - timedelta(seconds=1)) == [october.pk]
        assert at(half) == [november.pk]
        assert at(november.ends_at + timedelta(days=9)) == [november.pk]
        assert list(telling_periods([0], now=half)) == []


class TestHalt:
    def test_is_of_the_transaction_that_records_the_check(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        subscribe(pair[0], 2)
        use_dollars(["c0"], "100")
        limits = replace(OPEN_LIMITS, worse_off_share_max=Decimal(49))

        rollout = rolling(*pair, limits=limits)
        check = checked(rollout)

        assert check.breaches == ["worse off: 1 of 2 customers (50.00 %) would pay more by over 10 %, at most 49 % may"]
        assert (rollout.state, rollout.stage) == ("halted", 0)
        event = rollout.events.latest("id")
        assert (event.kind, event.actor, event.reason) == ("halted", "service:rollout", check.breaches[0])
        assert event.check_seen == check
        assert not rollout.moves.exists()
        assert advance(rollout_id=rollout.pk, now=LATE_OCTOBER + 9 * HOUR) is None

    def test_comes_later_too_when_usage_changes_the_picture(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        subscribe(pair[0], 4)
        half = StageTerms(percent=Decimal(50), observe_hours=48)
        everybody = StageTerms(percent=Decimal(100), observe_hours=0)
        rollout = rolling(*pair, stages=(half, everybody), limits=replace(OPEN_LIMITS, total_change_max=Decimal(5)))
        assert checked(rollout).breaches == []
        assert rollout.stage == 1
        use_dollars(["c0", "c1", "c2", "c3"], "40")

        assert advance(rollout_id=rollout.pk, now=LATE_OCTOBER + timedelta(minutes=90)) is None
        check = checked(rollout, now=LATE_OCTOBER + 3 * HOUR)

        assert not check.is_before_stage
        assert [text.partition(":")[0] for text in check.breaches] == ["total"]
        assert rollout.state == "halted"

    def test_comes_for_too_little_data(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        subscribe(pair[0], 2)

        rollout = rolling(*pair, limits=replace(OPEN_LIMITS, customers_min=3))
        check = checked(rollout)

        assert check.breaches == ["not enough data: 2 customers could be compared, 3 are needed"]
        assert rollout.state == "halted"

    def test_is_lifted_by_a_person_within_limits_they_set(self, pair: tuple[PlanVersion, PlanVersion]) -> None:
        subscribe(pair[0], 2)
        rollout = rolling(*pair, limits=replace(OPEN_LIMITS, customers_min=3))
        checked(rollout)

        later = LATE_OCTOBER + 2 * HOUR
        resume(rollout_id=rollout.pk, reason="two is all", actor=FIONA, now=later, limits=OPEN_LIMITS)
        check = checked(rollout, now=later + HOUR)

        assert check.breaches == []
        assert (rollout.state, rollout.stage) == ("running", 1)
        assert rollout.limits.count() == 2
        assert check.limits.set_by == FIONA
