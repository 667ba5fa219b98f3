"""Lag: percentiles within their stated error, recorded with the stage's commit, kept small."""

import math
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from config import clock
from metering import freshness, operations, queries
from metering.freshness import RELATIVE_ERROR, count_steps, lag_of
from metering.models import FreshnessCount
from tests.metering.usage import MORNING, NOW, advance, event, ingest

AGES = st.lists(st.tuples(st.integers(2, 40 * 365 * 86_400 * 10**6), st.integers(1, 500)), min_size=1, max_size=60)


def exact(ages: list[tuple[int, int]], percent: int) -> float:
    """The age of the event at place ceil(p % of all), in seconds: an independent count, event by event."""
    ordered = sorted(age for age, number in ages for _ in range(number))
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] / 1e6


@given(ages=AGES)
def test_percentiles_are_within_the_stated_error(ages: list[tuple[int, int]]) -> None:
    lag = lag_of(count_steps(ages))
    for percent, found in zip(freshness.PERCENTILES, (lag.p50, lag.p90, lag.p99), strict=True):
        wanted = exact(ages, percent)
        assert found is not None
        assert abs(found - wanted) <= wanted * RELATIVE_ERROR * (1 + 1e-9)
    assert lag.longest == max(age for age, _ in ages) / 1e6


@given(ages=AGES, cut=st.integers(0, 60))
def test_parts_add_up_to_the_whole(ages: list[tuple[int, int]], cut: int) -> None:
    together = lag_of([*count_steps(ages[:cut]), *count_steps(ages[cut:])])
    assert together == lag_of(count_steps(ages))


def test_no_event_has_no_lag_and_a_clock_that_went_back_none_below_zero() -> None:
    assert lag_of([]).p99 is None
    assert lag_of(count_steps([(0, 1), (-5, 1)])).p99 == 0
    assert freshness.step_of(10**30) == freshness.MAX_STEP


@pytest.mark.usefixtures("metered")
class TestRecorded:
    def test_with_every_advance(self) -> None:
        ingest(event("e1"), event("e2"), received_at=NOW)
        ingest(event("e3"), received_at=NOW + timedelta(seconds=40))
        advance(now=NOW + timedelta(seconds=50))

        lag = queries.lags(NOW, NOW + timedelta(minutes=2))["windowed"]
        assert (lag.events, lag.longest) == (3, 50)
        assert lag.p50 == pytest.approx(50, rel=RELATIVE_ERROR)

    def test_not_when_the_stage_did_not_commit(self) -> None:
        with transaction.atomic():
            operations.record_freshness("rated", at=NOW, received=[(MORNING, 1)])
            transaction.set_rollback(True)
        assert not FreshnessCount.objects.exists()

    def test_commits_of_one_minute_do_not_wait_for_each_other(self, app_connection: psycopg.Connection) -> None:
        statement = (
            "INSERT INTO metering_freshness (stage, minute, step, events, longest_us, span_seconds)"
            " VALUES ('rated', %s, 5, 1, 9, 60)"
        )
        app_connection.execute("SET statement_timeout = '60s'")
        with transaction.atomic():
            operations.record_freshness("rated", at=NOW, received=[(NOW, 1)])
            app_connection.execute(statement, [NOW])
        assert queries.lags(NOW, NOW + timedelta(minutes=1))["rated"].events == 2

    def test_over_time(self) -> None:
        for minutes in (0, 1, 70):
            at = MORNING + timedelta(minutes=minutes)
            operations.record_freshness("windowed", at=at, received=[(at - timedelta(seconds=2), 10)])
        found = queries.lag_over_time("windowed", MORNING, MORNING + timedelta(hours=2), span=timedelta(hours=1))
        assert [(at.start, at.lag.events) for at in found] == [(MORNING, 20), (MORNING + timedelta(hours=1), 10)]

    def test_old_minutes_are_added_up_by_the_hour_with_the_same_figures(self) -> None:
        old = (clock.now() - timedelta(days=5)).replace(minute=0, second=0, microsecond=0)
        for minute in range(30):
            at = old + timedelta(minutes=minute)
            operations.record_freshness("windowed", at=at, received=[(at - timedelta(seconds=2), 1)])
        before = queries.lags(old, old + timedelta(hours=1))
        for _ in range(2):
            operations.thin_figures(now=clock.now())
        assert queries.lags(old, old + timedelta(hours=1)) == before
        assert FreshnessCount.objects.count() == 1

    def test_todays_figures_cannot_be_thinned(self, app_connection: psycopg.Connection) -> None:
        with pytest.raises(psycopg.errors.RestrictViolation) as refusal:
            app_connection.execute("SELECT metering_thin_figures(now())")
        assert refusal.value.diag.constraint_name == "metering_figures_of_today"

    def test_what_was_not_accepted_is_counted_by_outcome(self, settings: Any) -> None:
        ingest(event("e1"), event("e1"), event("e2", subject="stranger"), event("e3", time="nonsense"))
        ingest(event("e1", data={"input_tokens": 5}))
        advance(now=NOW)
        assert queries.outcome_totals() == {
            "accepted": 1,
            "duplicate": 1,
            "conflict": 1,
            "quarantined": 1,
            "refused": 1,
        }
