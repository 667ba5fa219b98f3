"""A backtest from the request to its report: whole, once, whoever works on it and however often it is interrupted."""

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connections

from billing.catalog.models import Allowance, PlanVersion, Rate
from billing.rollouts.backtests import operations as backtests
from billing.rollouts.backtests.operations import (
    BacktestEnded,
    finish_backtest,
    run_backtest,
    stop_backtest,
)
from billing.rollouts.backtests.tasks import task_work_on_backtests
from billing.rollouts.models.backtests import Backtest, BacktestLine
from tests.billing import usage
from tests.billing.rollouts.backtesting import LATER, ask, at, five_customers, run
from tests.billing.rollouts.making import NOON, aggregate, draft, spend, subscribe
from tests.factories import (
    ACTOR,
    DECEMBER,
    NOVEMBER,
    OCTOBER,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


class TestReport:
    def test_says_what_everyone_would_have_paid(self) -> None:
        five_customers()
        subscribe("unpriced", version=PlanVersionFactory(rate_card=usage.rate_card()))
        usage.use("unpriced", NOON, output_tokens=1000)

        # Twice the price, 120 included instead of 20, and 22 a month instead of 20.
        report = run(ask(draft(price="10", included="120", fee_minor=2200), threshold_percent=Decimal("9.99"))).report

        # Before: 20, 20, 30, 100, 200. After: 22, 22, 22, 102, 302.
        assert (report["customers"], report["lines"], report["currency"]) == (5, 5, "USD")
        assert report["totals"]["current"]["pays"] == "370"
        assert report["totals"]["candidate"] == {
            "fee": "110", "rated": "680", "included": "320", "credited": "0", "unbilled": "360", "pays": "470",
        }  # fmt: skip
        found = {row["label"]: (row["customers"], row["change"]) for row in report["distribution"] if row["customers"]}
        assert found == {
            "25–50 % less": (1, "-8"),
            "1–5 % more": (1, "2"),
            "5–10 % more": (2, "4"),
            "50–100 % more": (1, "102"),
        }
        assert report["above"] == {"percent": "9.99", "customers": 3, "change": "106"}
        assert [row["customer_key"] for row in report["more"]] == ["most", "little", "much", "none"]
        assert [(row["customer_key"], row["change"]) for row in report["less"]] == [("some", "-8")]
        assert report["months"] == [{"month": "2026-10", "lines": 5, "current": "370", "candidate": "470"}]
        (failure,) = report["failures"]
        assert (failure["kind"], failure["lines"], failure["examples"][0]["customer_key"]) == ("unrated", 1, "unpriced")
        assert report["not_as_posted"]["lines"] == 0

    def test_who_pays_exactly_the_threshold_more_does_not_pay_over_it(self) -> None:
        five_customers()
        candidate = draft(price="5", fee_minor=2200)

        above = run(ask(candidate, threshold_percent=Decimal(10))).report["above"]
        just_below = run(ask(candidate, threshold_percent=Decimal("9.99"), idempotency_key="two")).report["above"]

        assert (above["customers"], just_below["customers"]) == (0, 2)

    def test_names_periods_that_came_to_something_else_than_was_posted(self) -> None:
        five_customers()
        spend("some", (NOON, 1_000_000))
        aggregate()

        report = run(ask(draft())).report

        assert report["not_as_posted"]["lines"] == 1
        assert report["not_as_posted"]["examples"][0]["customer_key"] == "some"

    def test_months_need_no_billing_period(self) -> None:
        subscribe("acme", starts_at=OCTOBER + timedelta(days=14))
        spend("acme", (NOON, 6_000_000), (NOON + timedelta(days=31), 8_000_000))
        aggregate()

        done = run(ask(draft(price="10"), unit="months", ends_at=DECEMBER, now=DECEMBER))

        lines = [(line.starts_at, line.current_rated, line.candidate_rated) for line in done.lines.all()]
        assert lines == [(OCTOBER, 30, 60), (NOVEMBER, 40, 80)]
        assert done.lines.filter(period=None).count() == 2

    def test_an_empty_cohort_has_an_empty_report(self) -> None:
        done = run(ask(draft()))

        assert (done.state, done.report["customers"], done.report["totals"]["current"]["pays"]) == ("done", 0, "0")


class TestWork:
    def test_goes_on_where_it_was_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backtests, "SUBSCRIPTIONS_A_PART", 2)
        five_customers()
        candidate = draft()
        backtest = ask(candidate)
        parts: list[int] = []

        stopped = run_backtest(
            backtest_id=backtest.pk, clock=at(), go_on=lambda: not parts, on_part=lambda: parts.append(1)
        )

        assert (stopped.state, stopped.report, backtest.lines.count()) == ("running", {}, 2)
        whole = run(ask(candidate, idempotency_key="in one go"))
        assert run(backtest).report == whole.report
        assert backtest.lines.count() == 5

    def test_a_part_whose_worker_died_is_taken_over_when_its_claim_is_over(self) -> None:
        five_customers()
        backtest = ask(draft())
        Backtest.objects.filter(pk=backtest.pk).update(state="running", started_at=LATER)
        assert backtests._claim(backtest.pk, now=LATER) is not None

        assert run(backtest).state == "running"
        after = run_backtest(backtest_id=backtest.pk, clock=at(LATER + backtests.CLAIM_LASTS))

        assert after.state == "done"

    def test_many_workers_write_every_line_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backtests, "SUBSCRIPTIONS_A_PART", 1)
        five_customers()
        backtest = ask(draft())
        failures: list[BaseException] = []

        def work() -> None:
            try:
                run(backtest)
            except BaseException as error:  # noqa: BLE001  (told below)
                failures.append(error)
            finally:
                connections.close_all()

        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=60)
        finish_backtest(backtest_id=backtest.pk, now=LATER)

        backtest.refresh_from_db()
        assert (failures, backtest.state, backtest.lines.count(), backtest.report["lines"]) == ([], "done", 5, 5)

    def test_two_who_worked_on_one_part_write_it_once(self) -> None:
        five_customers()
        backtest = ask(draft())
        Backtest.objects.filter(pk=backtest.pk).update(state="running", started_at=LATER)
        part = backtests._claim(backtest.pk, now=LATER)
        assert part is not None

        for _ in range(2):
            backtests._work_on(part, clock=at())

        assert backtest.lines.count() == 5

    def test_a_draft_that_changes_stops_it(self) -> None:
        five_customers()
        candidate = draft()
        backtest = ask(candidate)
        PlanVersion.objects.filter(pk=candidate.pk).update(fee_minor=1)

        stopped = run(backtest)

        assert (stopped.state, stopped.report, stopped.lines.count()) == ("stopped", {}, 0)
        assert "were changed meanwhile" in stopped.stopped_because

    def test_a_stopped_one_is_not_gone_on_with(self) -> None:
        five_customers()
        backtest = ask(draft())
        stop_backtest(backtest_id=backtest.pk, because="Wrong cohort", actor=ACTOR, now=LATER)

        assert (run(backtest).state, backtest.lines.count()) == ("stopped", 0)
        with pytest.raises(BacktestEnded):
            stop_backtest(backtest_id=backtest.pk, because="again", actor=ACTOR, now=LATER)

    def test_the_task_takes_the_oldest_that_is_not_finished(self) -> None:
        first, second = ask(draft()), ask(draft(), idempotency_key="two")

        assert [task_work_on_backtests(), task_work_on_backtests(), task_work_on_backtests()] == [
            first.pk,
            second.pk,
            0,
        ]

    def test_figures_that_would_be_rounded_are_named_and_stop_nothing(self) -> None:
        card = RateCardFactory()
        RateFactory(rate_card=card, model=usage.MODEL, unit_price=Decimal("0.000000000001"), unit_size=1)
        fine = draft(card=card, included="0")
        Allowance.objects.create(
            plan_version=fine, code="half", name="Half", position=1, measure="units", amount=Decimal("0.5")
        )
        for key in ("much", "nothing"):
            subscribe(key)
        spend("much", (NOON, 2_000_000))
        aggregate()

        report = run(ask(fine)).report

        assert report["lines"] == 1
        assert [(row["kind"], row["lines"]) for row in report["failures"]] == [("inexact", 1)]

    def test_the_task_goes_on_with_the_next_when_one_breaks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        broken, second = ask(draft()), ask(draft(), idempotency_key="two")

        def breaks(*, backtest_id: int, **terms: Any) -> Backtest:
            if backtest_id == broken.pk:
                raise ArithmeticError
            return run_backtest(backtest_id=backtest_id, **terms)

        monkeypatch.setattr(backtests, "run_backtest", breaks)

        assert [task_work_on_backtests(), task_work_on_backtests()] == [second.pk, 0]

    def test_the_task_leaves_it_to_the_one_that_is_at_it(self, app_connection: psycopg.Connection) -> None:
        """Two would fill both processes of the money queue."""
        waiting = ask(draft())
        lock = "hashtextextended('billing.work_on_backtests', 0)"
        app_connection.execute(f"SELECT pg_advisory_lock({lock})")

        assert task_work_on_backtests() == 0

        app_connection.execute(f"SELECT pg_advisory_unlock({lock})")
        assert task_work_on_backtests() == waiting.pk


def test_lines_are_not_of_the_tables_that_rates_are_kept_in() -> None:
    """A line names its amounts itself: prices of drafts may go, and the report stays."""
    assert Rate not in {field.related_model for field in BacktestLine._meta.get_fields()}
