# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""Accrual brings the ledger to what usage came to: once, exactly, whenever and by whomever it is run."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from billing.rating import operations, queries
from billing.rating.models import GrantDrawdown, UsageAccrual, UsageAccrualLine
from billing.rating.operations import UnratedUsage, accrue_changed_periods, accrue_period
from billing.rating.queries import PeriodTotals
from billing.subscriptions.operations import close_period
from ledger import queries as ledger
from metering import operations as metering
from promotions.operations import end_grant, expire_due_grants
from tests.billing import usage
from tests.billing.usage import AFTER_OCTOBER, MODEL, october_of, use, use_dollars
from tests.factories import (
    NOVEMBER,
    OCTOBER,
    BillingPeriodFactory,
    CreditGrantFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
)

MORNING = OCTOBER + timedelta(days=2, hours=10, minutes=30)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def totals(rated: str, included: str, credited: str, unbilled: str) -> PeriodTotals:
    return PeriodTotals(Decimal(rated), Decimal(included), Decimal(credited), Decimal(unbilled))


def balances(*codes: str) -> list[Decimal]:
    return [ledger.balance_of(code) for code in codes]


class TestAccruePeriod:
    def test_posts_what_usage_came_to_by_funding_source(self) -> None:
        period = october_of("acme", included="3")
        CreditGrantFactory(customer_key="acme", amount=Decimal(4))
        use("acme", MORNING, input_tokens=1_000_000, output_tokens=200_000)

        accrual = accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert accrual is not None
        assert queries.period_totals(period.pk) == totals("10", "3", "4", "3")
        assert balances("revenue:usage:USD", "contra:included:USD", "contra:promotions:USD", "unbilled:acme:USD") == [
            10,
            3,
            4,
            3,
        ]
        assert ledger.out_of_balance() == []

    def test_keeps_a_line_for_each_rate_and_a_drawdown_for_each_rate_and_grant(self) -> None:
        period = october_of("acme", included="0")
        grant = CreditGrantFactory(customer_key="acme", amount=Decimal(7))
        use("acme", MORNING, input_tokens=1_000_000, output_tokens=200_000)

        accrual = accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert accrual is not None
        lines = UsageAccrualLine.objects.filter(accrual=accrual).order_by("rate_id")
        assert {(line.rate.meter_code, line.quantity, line.rated, line.credited, line.unbilled) for line in lines} == {
            ("input_tokens", 1_000_000, 5, 5, 0),
            ("output_tokens", 200_000, 5, 2, 3),
        }
        drawn = GrantDrawdown.objects.filter(accrual=accrual, grant=grant.pk)
        assert {(one.rate.meter_code, one.amount) for one in drawn} == {("input_tokens", 5), ("output_tokens", 2)}

    def test_run_again_finds_nothing_to_do(self) -> None:
        period = october_of("acme")
        use_dollars("acme", MORNING, "5")
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert accrue_period(period_id=period.pk, now=AFTER_OCTOBER + HOUR) is None
        assert UsageAccrual.objects.filter(period=period).count() == 1

    def test_without_usage_posts_nothing(self) -> None:
        period = october_of("acme")

        assert accrue_period(period_id=period.pk, now=AFTER_OCTOBER) is None
        assert ledger.count_entries() == 0

    def test_after_every_event_in_any_order_comes_to_the_same_as_once(self) -> None:
        often, once = october_of("often", included="4"), october_of("once", included="4")
        for key in ("often", "once"):
            CreditGrantFactory(customer_key=key, amount=Decimal(3), expires_at=OCTOBER + 5 * DAY, priority=1)
            CreditGrantFactory(customer_key=key, amount=Decimal(2), effective_at=OCTOBER + 4 * DAY, priority=2)
        arrivals = [(6, "3"), (1, "2"), (4, "4"), (0, "1"), (4, "2")]

        for days, dollars in arrivals:
            use_dollars("often", OCTOBER + days * DAY, dollars)
            accrue_period(period_id=often.pk, now=AFTER_OCTOBER)
        for days, dollars in arrivals:
            use_dollars("once", OCTOBER + days * DAY, dollars)
        accrue_period(period_id=once.pk, now=AFTER_OCTOBER)

        assert UsageAccrual.objects.filter(period=often).count() == 5
        # 3 of allowance by day 1 and 1 on day 4, then 3 of the first grant, 2 of the second, 3 unbilled.
        assert queries.period_totals(often.pk) == queries.period_totals(once.pk) == totals("12", "4", "5", "3")
        assert [amount for _, amount in queries.drawdowns(often.pk)] == [3, 2]
        assert [amount for _, amount in queries.drawdowns(once.pk)] == [3, 2]

    def test_prices_each_hour_by_the_rate_in_force_at_its_start(self) -> None:
        card = RateCardFactory()
        RateFactory(rate_card=card, unit_price=Decimal(5))
        RateFactory(rate_card=card, unit_price=Decimal(7), effective_from=OCTOBER + 10 * DAY)
        period = october_of("acme", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(0)))
        use("acme", OCTOBER + 10 * DAY - timedelta(seconds=1), input_tokens=1_000_000)
        use("acme", OCTOBER + 10 * DAY, input_tokens=1_000_000)

        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert [(one.rate.unit_price, one.unbilled) for one in queries.rate_totals(period.pk)] == [(5, 5), (7, 7)]

    def test_of_usage_without_a_rate_posts_nothing_and_says_which(self) -> None:
        period = october_of("acme")
        use_dollars("acme", MORNING, "5")
        use("acme", MORNING, model="unheard-of", input_tokens=10)

        with pytest.raises(UnratedUsage, match=r"10 input_tokens of model 'unheard-of' by acme at 2026-10-03 10:00"):
            accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert ledger.count_entries() == 0
        assert not UsageAccrual.objects.exists()

    def test_counts_free_usage_without_an_entry(self) -> None:
        card = RateCardFactory()
        RateFactory(rate_card=card, unit_price=Decimal(0))
        period = october_of("acme", version=PlanVersionFactory(rate_card=card))
        use("acme", MORNING, input_tokens=77)

        accrual = accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert accrual is not None
        assert accrual.journal_entry_id is None
        assert [one.quantity for one in queries.rate_totals(period.pk)] == [77]

    def test_ends_with_the_last_microsecond_before_the_next_period(self) -> None:
        period = october_of("acme", included="0")
        following = BillingPeriodFactory(subscription=period.subscription)
        use_dollars("acme", NOVEMBER - timedelta(microseconds=1), "1")
        use_dollars("acme", NOVEMBER, "2")

        for one in (period, following):
            accrue_period(period_id=one.pk, now=NOVEMBER + DAY)

        assert queries.period_totals(period.pk).rated == 1
        assert queries.period_totals(following.pk).rated == 2

    def test_asks_the_same_number_of_questions_for_much_usage_as_for_little(self) -> None:
        def questions(customer_key: str, hours: int, grants: int) -> int:
            period = october_of(customer_key, included="1")
            for _ in range(grants):
                CreditGrantFactory(customer_key=customer_key, amount=Decimal(1))
            for hour in range(hours):
                usage.send(customer_key, OCTOBER + hour * HOUR, input_tokens=400_000, output_tokens=40_000)
            metering.catch_up_windows(now=AFTER_OCTOBER)
            with CaptureQueriesContext(connection) as captured:
                accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
            return len(captured)

        assert questions("little", hours=1, grants=1) == questions("much", hours=48, grants=5)


class TestEffectiveTime:
    def accrue(self, now: datetime, *, close_first: bool = False) -> datetime:
        period = october_of("acme")
        use_dollars("acme", MORNING, "5")
        if close_first:
            close_period(period_id=period.pk, now=NOVEMBER + HOUR)
        accrual = accrue_period(period_id=period.pk, now=now)
        assert accrual is not None
        assert accrual.journal_entry_id is not None
        entry = ledger.entry(accrual.journal_entry_id)
        assert entry.recorded_at == now
        return entry.effective_at

    def test_is_now_while_the_period_runs(self) -> None:
        assert self.accrue(OCTOBER + 5 * DAY) == OCTOBER + 5 * DAY

    def test_is_the_period_s_last_instant_for_what_is_found_at_the_close(self) -> None:
        assert self.accrue(NOVEMBER + HOUR) == NOVEMBER - timedelta(microseconds=1)

    def test_is_now_for_what_comes_after_the_close(self) -> None:
        assert self.accrue(NOVEMBER + 3 * DAY, close_first=True) == NOVEMBER + 3 * DAY


class TestGrants:
    def test_burn_in_order_and_are_left_with_the_rest(self) -> None:
        period = october_of("acme", included="0")
        late = CreditGrantFactory(customer_key="acme", amount=Decimal(5), expires_at=NOVEMBER + DAY)
        soon = CreditGrantFactory(customer_key="acme", amount=Decimal(2), expires_at=NOVEMBER)
        use_dollars("acme", MORNING, "3")

        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert balances(f"grant:{soon.pk}", f"grant:{late.pk}", "unbilled:acme:USD") == [0, 4, 0]

    def test_of_other_customers_and_currencies_are_left_alone(self) -> None:
        period = october_of("acme", included="0")
        CreditGrantFactory(customer_key="beta", amount=Decimal(5))
        CreditGrantFactory(customer_key="acme", amount=Decimal(5), currency="EUR")
        use_dollars("acme", MORNING, "3")

        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert queries.period_totals(period.pk) == totals("3", "0", "0", "3")

    def test_cover_the_whole_hour_in_which_they_take_effect(self) -> None:
        period = october_of("acme", included="0")
        CreditGrantFactory(customer_key="acme", amount=Decimal(5), effective_at=MORNING + timedelta(minutes=10))
        use_dollars("acme", MORNING - HOUR, "1")
        use_dollars("acme", MORNING, "2")

        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert queries.period_totals(period.pk) == totals("3", "0", "2", "1")

    def test_issued_for_the_past_take_over_what_was_unbilled(self) -> None:
        period = october_of("acme", included="0")
        use_dollars("acme", MORNING, "3")
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
        CreditGrantFactory(customer_key="acme", amount=Decimal(2))

        accrual = accrue_period(period_id=period.pk, now=AFTER_OCTOBER + HOUR)

        assert accrual is not None
        assert (accrual.rated, accrual.credited, accrual.unbilled) == (0, 2, -2)
        assert balances("unbilled:acme:USD", "revenue:usage:USD") == [1, 3]

    def test_are_shared_by_periods_and_never_taken_back_from_another(self) -> None:
        period = october_of("acme", included="0")
        following = BillingPeriodFactory(subscription=period.subscription)
        grant = CreditGrantFactory(customer_key="acme", amount=Decimal(5))
        use_dollars("acme", NOVEMBER + HOUR, "4")
        accrue_period(period_id=following.pk, now=NOVEMBER + DAY)
        use_dollars("acme", MORNING, "3")

        accrue_period(period_id=period.pk, now=NOVEMBER + DAY)

        assert queries.period_totals(following.pk).credited == 4
        assert queries.period_totals(period.pk) == totals("3", "0", "1", "2")
        assert balances(f"grant:{grant.pk}") == [0]

    @pytest.mark.parametrize("expire_first", [True, False])
    def test_that_expired_before_they_were_accrued_still_pay_for_usage_from_before(self, expire_first: bool) -> None:
        period = october_of("acme", included="0")
        grant = CreditGrantFactory(customer_key="acme", amount=Decimal(10), expires_at=MORNING + DAY)
        use_dollars("acme", MORNING, "3")
        steps: list[Callable[[], object]] = [
            lambda: expire_due_grants(now=AFTER_OCTOBER),
            lambda: accrue_period(period_id=period.pk, now=AFTER_OCTOBER),
        ]

        for step in steps if expire_first else reversed(steps):
            step()

        assert queries.period_totals(period.pk) == totals("3", "0", "3", "0")
        # What was given away in the end is what was used.
        assert balances(f"grant:{grant.pk}", "contra:promotions:USD", "unbilled:acme:USD") == [0, 3, 0]

    def test_that_ended_take_back_in_the_same_entry_what_they_no_longer_pay(self) -> None:
        period = october_of("acme", included="0")
        grant = CreditGrantFactory(customer_key="acme", amount=Decimal(10))
        use_dollars("acme", MORNING, "3")
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
        # Voided for a moment before the usage: it should not have paid for it.
        end_grant(
            grant_id=grant.pk, at=MORNING - DAY, actor="user:cs", reason="issued by mistake", recorded_at=AFTER_OCTOBER
        )

        accrual = accrue_period(period_id=period.pk, now=AFTER_OCTOBER + HOUR)

        assert accrual is not None
        assert (accrual.rated, accrual.credited, accrual.unbilled) == (0, -3, 3)
        assert balances(f"grant:{grant.pk}", "contra:promotions:USD", "unbilled:acme:USD") == [0, 0, 3]
        assert accrual.journal_entry_id is not None
        lines = ledger.entry(accrual.journal_entry_id).lines
        assert sorted(line.amount for line in lines if line.account.startswith("grant")) == [-3, 3]


class TestAccrueChangedPeriods:
    def test_accrues_whoever_used_something_since_the_last_time(self) -> None:
        first, second = october_of("first"), october_of("second")
        use_dollars("first", MORNING, "1")

        assert accrue_changed_periods(now=AFTER_OCTOBER) == 1
        assert accrue_changed_periods(now=AFTER_OCTOBER) == 0
        use_dollars("second", MORNING, "2")
        assert accrue_changed_periods(now=AFTER_OCTOBER) == 1

        assert [queries.period_totals(one.pk).rated for one in (first, second)] == [1, 2]

    def test_holds_nobody_up_for_one_without_a_rate_and_tries_it_again(self, caplog: pytest.LogCaptureFixture) -> None:
        broken, sound = october_of("broken"), october_of("sound")
        use("broken", MORNING, model="new-model", input_tokens=200_000)
        use_dollars("sound", MORNING, "1")

        assert accrue_changed_periods(now=AFTER_OCTOBER) == 1
        assert "of broken was not accrued" in caplog.text
        card = broken.plan_version.rate_card
        RateFactory(rate_card=card, model="new-model", unit_price=Decimal(5))
        assert accrue_changed_periods(now=AFTER_OCTOBER) == 1

        assert [queries.period_totals(one.pk).rated for one in (broken, sound)] == [1, 1]

    def test_holds_nobody_up_for_one_that_the_database_refuses(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refused, sound = october_of("refused"), october_of("sound")
        for key in ("refused", "sound"):
            use_dollars(key, MORNING, "1")
        real = operations.accrue_period

        def accrue(*, period_id: int, now: datetime) -> UsageAccrual | None:
            if period_id == refused.pk:
                raise IntegrityError("a rule of billing_usageaccrual")
            return real(period_id=period_id, now=now)

        monkeypatch.setattr(operations, "accrue_period", accrue)

        assert accrue_changed_periods(now=AFTER_OCTOBER) == 1
        assert "of refused was not accrued" in caplog.text
        assert queries.period_totals(sound.pk).rated == 1

    def test_finds_within_the_hour_what_changed_without_usage(self) -> None:
        period = october_of("acme", included="0")
        use_dollars("acme", MORNING, "3")
        accrue_changed_periods(now=AFTER_OCTOBER)
        CreditGrantFactory(customer_key="acme", amount=Decimal(2))

        assert accrue_changed_periods(now=AFTER_OCTOBER + timedelta(minutes=59)) == 0
        assert accrue_changed_periods(now=AFTER_OCTOBER + operations.COMPLETE_PASS_EVERY) == 1

        assert queries.period_totals(period.pk).credited == 2

    def test_leaves_closed_periods_to_those_who_ask(self) -> None:
        period = october_of("acme", included="0")
        close_period(period_id=period.pk, now=AFTER_OCTOBER)
        use_dollars("acme", MORNING, "3")

        assert accrue_changed_periods(now=AFTER_OCTOBER) == 0
        assert accrue_period(period_id=period.pk, now=AFTER_OCTOBER) is not None
        assert queries.period_totals(period.pk).unbilled == 3


def test_the_model_of_the_helper_has_a_price_for_every_meter() -> None:
    card = usage.rate_card()

    assert sorted(card.rates.filter(dimensions={"model": MODEL}).values_list("meter_code", flat=True)) == sorted(
        usage.PRICES
    )
