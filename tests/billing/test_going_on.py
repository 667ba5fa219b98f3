"""Work through all there is that is stopped in the middle goes on from there, and goes through it in batches."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.invoicing import late_documents
from billing.invoicing.late_models import LateCorrection
from billing.payments.recovery import tasks as recovery
from billing.payments.recovery.models import RecoveryCase
from billing.rating import operations as rating
from billing.teams import seats
from billing.teams import tasks as teams
from billing.teams.models import TeamPolicy
from config import clock
from tests.billing import usage
from tests.billing.fixtures import at_sandbox, sandbox_process
from tests.billing.test_at_size import invoice
from tests.billing.usage import AFTER_OCTOBER, october_of, use_dollars
from tests.factories import NOVEMBER, OCTOBER, CustomerFactory
from tests.sandbox.client import SandboxProcess

__all__ = ["at_sandbox", "sandbox_process"]

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    cache.clear()


class Stopped(BaseException):
    """As a worker that is told to end."""


def stopping(at: int) -> tuple[list[Any], Callable[[Any], None]]:
    """What was done, and what is called with each: it stops everything once, when it meets `at`."""
    met: list[Any] = []

    def meet(one: Any) -> None:
        met.append(one)
        if one == at and met.count(one) == 1:
            raise Stopped

    return met, meet


def test_accruing_goes_on_after_the_last_batch(committed_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    usage.define_token_meters()
    periods = {key: october_of(key) for key in ("ada", "bob", "cid")}
    for key in periods:
        use_dollars(key, OCTOBER + DAY, "1")
    met, meet = stopping(periods["bob"].pk)
    real = rating.accrue_period

    def accrue(*, period_id: int, now: datetime) -> object:
        meet(period_id)
        return real(period_id=period_id, now=now)

    monkeypatch.setattr(rating, "CUSTOMERS_AT_ONCE", 1)
    monkeypatch.setattr(rating, "accrue_period", accrue)
    with pytest.raises(Stopped):
        rating.accrue_changed_periods(now=AFTER_OCTOBER)
    use_dollars("ada", OCTOBER + 2 * DAY, "1")  # done already: the next pass has it

    assert rating.accrue_changed_periods(now=AFTER_OCTOBER) == 2
    assert met == [periods[key].pk for key in ("ada", "bob", "bob", "cid")]
    assert rating.accrue_changed_periods(now=AFTER_OCTOBER) == 1
    assert met[4:] == [periods["ada"].pk]


def test_settling_seats_goes_on_after_the_last_batch(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    customers = [CustomerFactory().pk for _ in range(3)]
    for customer_id in customers:
        TeamPolicy.objects.create(customer_id=customer_id, seats_follow_members=True)
    met, meet = stopping(customers[1])
    real = seats.settle_seats

    def settle(*, customer_id: int, actor: str, now: datetime) -> object:
        meet(customer_id)
        return real(customer_id=customer_id, actor=actor, now=now)

    monkeypatch.setattr(teams, "CUSTOMERS_AT_ONCE", 1)
    monkeypatch.setattr(seats, "settle_seats", settle)
    with pytest.raises(Stopped):
        teams.task_settle_seats()
    assert teams.task_settle_seats() == 2
    assert met == [customers[0], customers[1], customers[1], customers[2]]
    assert teams.task_settle_seats() == 3


def test_late_documents_are_read_in_batches(committed_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    usage.define_token_meters()
    for key in ("ada", "bob", "cid"):
        period = october_of(key)
        use_dollars(key, OCTOBER + DAY, "1")
        accrual = rating.accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
        assert accrual is not None
        LateCorrection.objects.create(
            kind="debit_note", period=period, accrual=accrual, intended_by="x", created_at=NOVEMBER
        )

    monkeypatch.setattr(late_documents, "AT_ONCE_MAX", 2)
    with CaptureQueriesContext(connection) as asked:
        assert late_documents.carry_out(now=AFTER_OCTOBER) == 0
    looks = [one["sql"] for one in asked if "'intended'" in one["sql"] and one["sql"].startswith("SELECT")]
    assert ["LIMIT 2" in look for look in looks] == [True] * 3
    assert LateCorrection.objects.filter(error__startswith="StripeUnavailable").count() == 3


@pytest.mark.parametrize(("minutes", "opened"), [(0, 3), (60, 1)])
def test_recovery_goes_on_while_there_is_more_and_time_is_left(
    committed_db: None, at_sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch, minutes: int, opened: int
) -> None:
    """Every look at the clock takes `minutes`. Stripe knows none of the invoices: a whole batch that fails is left."""
    customer = CustomerFactory()
    for nth in range(3):
        invoice(customer, nth, due_at=NOW - DAY)
    now = NOW

    def passing() -> datetime:
        nonlocal now
        now += timedelta(minutes=minutes)
        return now

    monkeypatch.setattr(clock, "now", passing)

    monkeypatch.setattr(recovery, "AT_ONCE_MAX", 1)
    monkeypatch.setattr(recovery, "WORKS_FOR", timedelta(minutes=90))
    recovery.task_recover_payments()
    assert RecoveryCase.objects.count() == opened
