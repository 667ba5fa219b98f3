# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""Late usage beside a close that is under way, and beside late usage that cannot be settled: none is passed over."""

import threading
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from billing.accounting.usage import post_usage_absorbed
from billing.invoicing.late import accrue_closed_periods, settle_late_usage
from billing.rating.models import LateUsage
from billing.rating.operations import accrue_period
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import close_period
from metering import operations as metering
from tests.billing import usage
from tests.billing.usage import AFTER_OCTOBER, october_of, rate_card, send, use_dollars
from tests.factories import OCTOBER, PlanVersionFactory
from tests.settled import wait_until_settled

MORNING = OCTOBER + timedelta(days=2, hours=10, minutes=30)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def close(period: BillingPeriod) -> None:
    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
    close_period(period_id=period.pk, now=AFTER_OCTOBER)


def test_an_event_that_is_counted_while_its_period_is_being_closed_is_not_passed_over() -> None:
    """The close has read the windows when an advance adds the event, and commits after arrivals were looked through."""
    period = october_of("acme", included="0")
    use_dollars("acme", MORNING, "5")
    send("acme", MORNING, input_tokens=usage.INPUT_TOKENS_PER_DOLLAR)
    wait_until_settled()  # else the one advance below might not reach the event
    has_read, may_commit, failures = threading.Event(), threading.Event(), []

    def closing() -> None:
        try:
            with transaction.atomic():
                close(period)
                has_read.set()
                assert may_commit.wait(timeout=60)
        except Exception as error:  # noqa: BLE001  (shown by the assertion below)
            failures.append(error)
        finally:
            connections.close_all()

    def looking() -> None:
        try:
            accrue_closed_periods(now=AFTER_OCTOBER)
        except Exception as error:  # noqa: BLE001  (shown by the assertion below)
            failures.append(error)
        finally:
            connections.close_all()

    runs = [threading.Thread(target=closing), threading.Thread(target=looking)]
    runs[0].start()
    assert has_read.wait(timeout=60)
    assert metering.advance_windows(now=AFTER_OCTOBER).events == 1
    runs[1].start()
    wait_until_it_ends_or_waits_for_a_lock(runs[1])
    may_commit.set()
    for run in runs:
        run.join(timeout=60)

    assert failures == []
    accrue_closed_periods(now=AFTER_OCTOBER)
    found = LateUsage.objects.get()
    assert (found.events, found.accrual.revision, found.accrual.rated, found.rated_before) == (1, 2, 1, 5)


def test_a_period_that_cannot_be_settled_holds_no_other_up() -> None:
    periods = []
    for number, key in enumerate(("acme", "beta"), start=1):
        terms = PlanVersionFactory(
            rate_card=rate_card(), included_amount=Decimal(0), late_policy="absorb", late_absorb_up_to=Decimal(10)
        )
        periods.append(october_of(key, version=terms))
        close(periods[-1])
        use_dollars(key, MORNING, str(number))
    accrue_closed_periods(now=AFTER_OCTOBER)
    first, second = LateUsage.objects.order_by("accrual__period_id")
    # The ledger knows the key of the first one's entry already, with another amount.
    post_usage_absorbed(
        idempotency_key=f"late_usage:{first.pk}",
        customer_key="acme",
        currency="USD",
        period_id=periods[0].pk,
        amount=Decimal(7),
        effective_at=AFTER_OCTOBER,
        recorded_at=AFTER_OCTOBER,
        actor="user:tester",
        reason="by mistake",
    )

    settle_late_usage(now=AFTER_OCTOBER)

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("found", "settled")


def wait_until_it_ends_or_waits_for_a_lock(run: threading.Thread) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and run.is_alive():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() != (0,):
                return
        time.sleep(0.02)


def test_arrivals_of_many_customers_are_looked_up_together() -> None:
    """Each minute most customers send something, and hardly any of it is late."""
    version = PlanVersionFactory(rate_card=rate_card())
    for key in ("acme", "globex", "initech"):
        october_of(key, version=version)

    def queries_for(*keys: str) -> int:
        for key in keys:
            send(key, MORNING, input_tokens=1)
        wait_until_settled()
        metering.catch_up_windows(now=AFTER_OCTOBER)
        with CaptureQueriesContext(connection) as asked:
            assert accrue_closed_periods(now=MORNING) == 0
        return len(asked)

    queries_for("acme")  # the first makes the row that says how far it came
    assert queries_for("acme") == queries_for("acme", "globex", "initech")
    assert accrue_closed_periods(now=AFTER_OCTOBER) == 0  # nothing arrived since
    send("globex", MORNING, input_tokens=1)
    wait_until_settled()
    metering.catch_up_windows(now=AFTER_OCTOBER)
    assert accrue_closed_periods(now=AFTER_OCTOBER) == 1  # October has ended, and is found by what arrived
