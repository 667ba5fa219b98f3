"""Asking for a backtest, and the command that runs, shows, stops and resumes one."""

import os
import signal
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from billing.customers.models import Customer
from billing.rollouts.backtests import operations as backtests
from billing.rollouts.backtests.operations import (
    BacktestConflict,
    BacktestRefused,
)
from billing.rollouts.comparing.cohorts import Cohort, in_share
from billing.rollouts.models.backtests import Backtest, BacktestLine, BacktestPart
from billing.subscriptions.models import Subscription
from tests.billing import usage
from tests.billing.rollouts.backtesting import ask, five_customers, run
from tests.billing.rollouts.making import draft, subscribe
from tests.factories import (
    DECEMBER,
    OCTOBER,
    CustomerFactory,
    PlanVersionFactory,
)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


class TestRequest:
    def test_said_twice_it_is_one(self) -> None:
        candidate = draft()

        assert ask(candidate).pk == ask(candidate).pk
        with pytest.raises(BacktestConflict):
            ask(candidate, threshold_percent=Decimal(5))

    def test_leaves_out_who_would_keep_their_terms_unless_asked_for(self) -> None:
        periods = {key: subscribe(key) for key in ("moves", "pinned", "gone", "contract")}
        own = PlanVersionFactory(
            rate_card=usage.rate_card(),
            only_for=Customer.objects.get(customer_key="contract"),
            included_amount=Decimal(0),
        )
        of = {key: Subscription.objects.filter(pk=period.subscription_id) for key, period in periods.items()}
        of["pinned"].update(pinned_at=OCTOBER, pinned_because="promised")
        of["gone"].update(status="canceled")
        of["contract"].update(plan_version=own)

        few, all_of_them = (
            ask(draft()),
            ask(draft(), cohort=Cohort(also=("pinned", "contracts", "ended")), idempotency_key="2"),
        )

        assert (few.customers, few.left_out) == (1, {"contracts": 1, "ended": 1, "pinned": 1})
        assert (all_of_them.customers, all_of_them.left_out) == (4, {})

    def test_takes_a_cohort_by_plan_kind_key_and_share(self) -> None:
        version = PlanVersionFactory(rate_card=usage.rate_card())
        for number in range(8):
            subscribe(f"c{number}", version=version)
        subscribe("other")
        CustomerFactory(customer_key="nobody")

        sizes = [
            ask(draft(), cohort=cohort, idempotency_key=f"{number}").customers
            for number, cohort in enumerate(
                [
                    Cohort(plans=(version.plan.code,)),
                    Cohort(kinds=("team",)),
                    Cohort(customer_keys=("c1", "other", "nobody")),
                    Cohort(plans=(version.plan.code,), share_percent=Decimal(50)),
                ]
            )
        ]

        in_half = sum(in_share(f"c{number}", Decimal(50)) for number in range(8))
        assert sizes == [8, 0, 2, in_half]

    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            ({"ends_at": OCTOBER}, "ends_at"),
            ({"ends_at": DECEMBER}, "ends_at"),
            ({"starts_at": datetime(2026, 10, 1)}, "starts_at"),  # noqa: DTZ001
            ({"starts_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))}, "starts_at"),
            ({"starts_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), "unit": "months"}, "starts_at"),
            ({"unit": "weeks"}, "unit"),
            ({"unit": "months", "starts_at": OCTOBER + timedelta(days=1)}, "starts_at"),
            ({"threshold_percent": Decimal("0.001")}, "threshold_percent"),
            ({"threshold_percent": Decimal("NaN")}, "threshold_percent"),
            ({"cohort": Cohort(plans=("none",))}, "cohort"),
            ({"cohort": Cohort(customer_keys=("none",))}, "cohort"),
            ({"candidate_id": 0}, "candidate"),
            ({"baseline_id": 0}, "baseline"),
        ],
    )
    def test_names_the_field_of_a_mistake(self, asked: dict[str, Any], field: str) -> None:
        with pytest.raises(BacktestRefused) as refused:
            ask(draft(), **asked)

        assert refused.value.field == field
        assert not Backtest.objects.exists()


class TestCommand:
    def test_runs_shows_and_writes_files(self) -> None:
        five_customers()
        candidate = draft(price="10", included="120", fee_minor=2200)

        out = self.call("run", candidate.plan.code, str(candidate.version), "--from=2026-10-01", "--to=2026-11-01")
        backtest = Backtest.objects.get()

        assert "5 customers, 5 periods compared" in out
        assert "$370.00" in out
        assert self.call("show", str(backtest.pk)) == out
        customers = self.call("csv", str(backtest.pk)).splitlines()
        assert customers[6].startswith("most,1,200.000000000000,302.000000000000,102.000000000000,20.0")
        assert len(customers) == 6 + 5
        periods = self.call("csv", str(backtest.pk), "--periods").splitlines()
        assert len(periods) == 6 + 5

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["resume", "77"], "there is no backtest 77"),
            (["run", "none", "1", "--from=2026-10-01", "--to=2026-11-01"], "there is no version 1 of plan 'none'"),
            (["run", "none", "1", "--from=soon", "--to=2026-11-01"], "neither a date"),
            (["run", "none", "1", "--from=2026-10-01", "--to=2026-11-01", "--share=0"], "share_percent"),
            (["stop", "77", "--because=x"], "there is no backtest 77"),
        ],
    )
    def test_says_a_mistake_in_one_line(self, arguments: list[str], text: str) -> None:
        with pytest.raises(CommandError) as error:
            self.call(*arguments)

        assert text in str(error.value)
        assert "\n" not in str(error.value)

    def test_processes_are_checked_before_anything_is_written(self) -> None:
        asked = ["run", draft().plan.code, "1", "--from=2026-10-01", "--to=2026-11-01"]
        with pytest.raises(CommandError, match="processes"):
            self.call(*asked, "--processes=0")

        assert not Backtest.objects.exists()

    def test_an_interrupt_lets_the_part_be_finished_and_says_how_to_go_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backtests, "SUBSCRIPTIONS_A_PART", 2)
        five_customers()
        candidate, real = draft(), backtests._work_on

        def interrupted(part: BacktestPart, **options: Any) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            real(part, **options)

        monkeypatch.setattr(backtests, "_work_on", interrupted)
        with pytest.raises(CommandError, match=r"interrupted; go on with: manage.py backtest resume \d+") as stopped:
            self.call("run", candidate.plan.code, str(candidate.version), "--from=2026-10-01", "--to=2026-11-01")
        assert (stopped.value.returncode, BacktestLine.objects.count()) == (130, 2)

        monkeypatch.setattr(backtests, "_work_on", real)
        assert "5 customers, 5 periods compared" in self.call("resume", str(Backtest.objects.get().pk))

    def test_a_part_that_failed_is_free_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        five_customers()
        backtest = ask(draft())
        with monkeypatch.context() as broken:
            broken.setattr(backtests, "compare_many", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                run(backtest)

        assert run(backtest).state == "done"

    @staticmethod
    def call(*arguments: str) -> str:
        out = StringIO()
        call_command("backtest", *arguments, stdout=out)
        return out.getvalue()
