# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""Runs of accrual at the same time, on real connections: one posts, the others find nothing left to do."""

import threading
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, connections, transaction

from billing.rating import queries
from billing.rating.operations import accrue_period
from billing.rating.queries import PeriodTotals
from ledger import queries as ledger
from promotions.operations import end_grant
from tests.billing import usage
from tests.billing.usage import AFTER_OCTOBER, october_of, use_dollars
from tests.factories import (
    NOVEMBER,
    OCTOBER,
    BillingPeriodFactory,
    CreditGrantFactory,
)

MORNING = OCTOBER + timedelta(days=2, hours=10, minutes=30)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def totals(rated: str, included: str, credited: str, unbilled: str) -> PeriodTotals:
    return PeriodTotals(Decimal(rated), Decimal(included), Decimal(credited), Decimal(unbilled))


def balances(*codes: str) -> list[Decimal]:
    return [ledger.balance_of(code) for code in codes]


class TestAtTheSameTime:
    def test_of_two_runs_one_posts_and_the_other_finds_nothing_to_do(self) -> None:
        period = october_of("acme", included="1")
        CreditGrantFactory(customer_key="acme", amount=Decimal(1))
        use_dollars("acme", MORNING, "5")
        start, results, lock = threading.Barrier(4), [], threading.Lock()

        def run() -> None:
            try:
                start.wait(timeout=60)
                accrual = accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
                with lock:
                    results.append(accrual is not None)
            finally:
                connections.close_all()

        runs = [threading.Thread(target=run) for _ in range(4)]
        for one in runs:
            one.start()
        for one in runs:
            one.join(timeout=60)

        assert sorted(results) == [False, False, False, True]
        assert queries.period_totals(period.pk) == totals("5", "1", "1", "3")
        assert balances("unbilled:acme:USD") == [3]

    def test_two_periods_never_take_the_same_credit(self) -> None:
        period = october_of("acme", included="0")
        following = BillingPeriodFactory(subscription=period.subscription)
        grant = CreditGrantFactory(customer_key="acme", amount=Decimal(5))
        use_dollars("acme", MORNING, "4")
        use_dollars("acme", NOVEMBER, "4")
        start, failures = threading.Barrier(2), []

        def run(period_id: int) -> None:
            try:
                start.wait(timeout=60)
                accrue_period(period_id=period_id, now=NOVEMBER + DAY)
            except Exception as error:  # noqa: BLE001  (shown by the assertion below)
                failures.append(error)
            finally:
                connections.close_all()

        runs = [threading.Thread(target=run, args=(one.pk,)) for one in (period, following)]
        for one in runs:
            one.start()
        for one in runs:
            one.join(timeout=60)

        assert failures == []
        assert balances(f"grant:{grant.pk}", "unbilled:acme:USD") == [0, 3]

    def test_a_close_of_several_periods_and_an_accrual_of_one_do_not_wait_in_a_circle(self) -> None:
        period = october_of("acme", included="0")
        following = BillingPeriodFactory(subscription=period.subscription)
        use_dollars("acme", MORNING, "4")
        use_dollars("acme", NOVEMBER, "2")
        failures: list[Exception] = []

        def run() -> None:
            try:
                accrue_period(period_id=period.pk, now=NOVEMBER + DAY)
            except Exception as error:  # noqa: BLE001  (shown by the assertion below)
                failures.append(error)
            finally:
                connections.close_all()

        other = threading.Thread(target=run)
        with transaction.atomic():
            accrue_period(period_id=following.pk, now=NOVEMBER + DAY)
            other.start()
            wait_until_somebody_waits_for_a_lock()
            accrue_period(period_id=period.pk, now=NOVEMBER + DAY)
        other.join(timeout=60)

        assert failures == []
        assert balances("unbilled:acme:USD") == [6]

    def test_a_grant_that_is_being_ended_is_waited_for(self) -> None:
        period = october_of("acme", included="0")
        grant = CreditGrantFactory(customer_key="acme", amount=Decimal(5))
        use_dollars("acme", MORNING, "3")
        failures: list[Exception] = []

        def run() -> None:
            try:
                accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
            except Exception as error:  # noqa: BLE001  (shown by the assertion below)
                failures.append(error)
            finally:
                connections.close_all()

        other = threading.Thread(target=run)
        with transaction.atomic():
            end_grant(grant_id=grant.pk, at=OCTOBER, actor="user:cs", reason="mistake", recorded_at=AFTER_OCTOBER)
            other.start()
            wait_until_somebody_waits_for_a_lock()
        other.join(timeout=60)

        assert failures == []
        assert balances(f"grant:{grant.pk}", "contra:promotions:USD", "unbilled:acme:USD") == [0, 0, 3]


def wait_until_somebody_waits_for_a_lock() -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() != (0,):
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits for a lock")
