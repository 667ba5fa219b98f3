"""A backtest asked for and worked off, and five customers it is about."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from billing.catalog.models import PlanVersion
from billing.rating.operations import accrue_period
from billing.rollouts.backtests.operations import (
    request_backtest,
    run_backtest,
)
from billing.rollouts.models.backtests import Backtest
from tests.billing import usage
from tests.billing.rollouts.making import NOON, aggregate, close, spend, subscribe
from tests.factories import (
    ACTOR,
    NOVEMBER,
    OCTOBER,
    PlanVersionFactory,
)

LATER = NOVEMBER + timedelta(days=2)


def ask(candidate: PlanVersion, **asked: Any) -> Backtest:
    terms: dict[str, Any] = {
        "candidate_id": candidate.pk,
        "starts_at": OCTOBER,
        "ends_at": NOVEMBER,
        "idempotency_key": "one",
        "actor": ACTOR,
        "now": LATER,
    }
    return request_backtest(**{**terms, **asked})


def at(instant: datetime = LATER) -> Callable[[], datetime]:
    return lambda: instant


def run(backtest: Backtest) -> Backtest:
    return run_backtest(backtest_id=backtest.pk, clock=at())


def five_customers() -> dict[str, int]:
    """October's input tokens in dollars at list price, by customer; each pays 20 a month and has 20 included."""
    version = PlanVersionFactory(rate_card=usage.rate_card())
    spent = {"none": 0, "little": 10, "some": 30, "much": 100, "most": 200}
    for key, dollars in spent.items():
        period = subscribe(key, version=version)
        if dollars:
            spend(key, (NOON, dollars * usage.INPUT_TOKENS_PER_DOLLAR))
        aggregate()
        accrue_period(period_id=period.pk, now=NOVEMBER)
        close(period)
    return spent
