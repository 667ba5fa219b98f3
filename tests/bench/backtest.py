"""
A backtest of a hundred thousand customer-months with two processes, against a bare loop with the same arithmetic.

A month of a customer is 60 windows of three prices, 6,000,000 in all. A tenth of them have allowances in units,
so that their figures depend on the order of the hours; half of them began at an odd second, so that both ends of their
periods cut an hour, whose part is worked out from raw events. The bare loop adds up the same windows by one statement,
prices them twice and takes an allowance off: no terms to find, no grants, no failures, nothing written.

BENCH_BACKTEST_CUSTOMERS (20,000) have five months each.
"""

import os
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from django.db import connection
from rich.console import Console
from rich.table import Table

from billing.catalog.models import Allowance, Plan, PlanVersion, Rate, RateCard
from billing.customers.models import Customer
from billing.management.commands.backtest import others
from billing.rollouts.backtests import operations as backtests
from billing.rollouts.models.backtests import Backtest
from billing.subscriptions.models import BillingPeriod, PeriodAllowance, Subscription
from billing.subscriptions.periods import boundary
from config import clock
from metering import operations as metering

CUSTOMERS = int(os.environ.get("BENCH_BACKTEST_CUSTOMERS", "20000"))
MONTHS, PRICES, HOURS = 5, ("input_tokens", "output_tokens", "cache_read_tokens"), 20
START = datetime(2026, 1, 1, tzinfo=UTC)
ODD = timedelta(days=9, hours=7, minutes=23, seconds=41)
BATCH = 2_000
T = TypeVar("T")

_WINDOWS = """
INSERT INTO metering_window (window_start, customer_key, meter_id, dimensions, quantity, event_count, fingerprint,
                             updated_at)
SELECT %(start)s::timestamptz + make_interval(hours => h * %(step)s), 'c' || n, m.id, '{"model": "auto"}',
       1000 * (1 + (n * 7 + h * 13 + m.id) %% 997), 3, 1, now()
  FROM generate_series(%(first)s::int, %(last)s::int) AS n, generate_series(0, %(hours)s::int - 1) AS h,
       metering_meter AS m
"""
_EVENTS = """
INSERT INTO metering_event (event_time, received_at, key, source, event_id, event_type, customer_key, data)
SELECT s.anchor_at + make_interval(months => k) + interval '5 minutes', now(), gen_random_uuid(), 'bench',
       s.id || '-' || k, 'llm.request', c.customer_key, '{"model": "auto", "input_tokens": 1000}'
  FROM billing_subscription AS s JOIN billing_customer AS c ON c.id = s.customer_id,
       generate_series(0, %(months)s::int) AS k WHERE s.anchor_at <> %(start)s
"""
_BARE = """
SELECT w.customer_key, date_trunc('month', w.window_start), m.code, sum(w.quantity)
  FROM metering_window AS w JOIN metering_meter AS m ON m.id = w.meter_id GROUP BY 1, 2, 3 ORDER BY 1, 2
"""


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    seconds, (candidate, windows) = _timed(_world)
    console.print(f"backtest: {CUSTOMERS:,} customers, {windows:,} windows made in {seconds:,.0f} s")
    cpu = _cpu()
    seconds, lines = _timed(lambda: _backtest(candidate, processes=2))
    cpu = _cpu() - cpu
    bare, priced = _timed(_bare)
    table = Table("", "customer-months", "seconds", "a second")
    table.add_row("backtest, two processes", f"{lines:,}", f"{seconds:,.1f}", f"{lines / seconds:,.0f}")
    table.add_row("bare loop, one process", f"{priced:,}", f"{bare:,.1f}", f"{priced / bare:,.0f}")
    console.print(table)
    console.print(
        f"the bare loop takes {bare / seconds:.2f} of its time; both processes had {cpu:,.1f} s of CPU,"
        f" {1000 * cpu / lines:.2f} ms a customer-month; {windows / seconds:,.0f} windows a second"
    )


def _cpu() -> float:
    """Seconds that this process and those it waited for have computed, the database's not among them."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _backtest(candidate: PlanVersion, *, processes: int) -> int:
    """Run it as the command does; say how much memory one process had after the first tenth, and at the end."""
    backtest = backtests.request_backtest(
        candidate_id=candidate.pk,
        starts_at=START,
        ends_at=START + timedelta(days=200),
        idempotency_key="bench",
        actor="bench",
        now=clock.now(),
    )
    parts = backtest.parts.count()
    memory: list[int] = []
    with others(backtest.pk, processes - 1):
        backtests.run_backtest(
            backtest_id=backtest.pk,
            clock=clock.now,
            on_part=lambda: memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
        )
    backtests.finish_backtest(backtest_id=backtest.pk, now=clock.now())
    backtest.refresh_from_db()
    assert backtest.state == Backtest.State.DONE
    assert not backtest.report["failures"], backtest.report["failures"]
    early, late = (memory[place] // 1024 for place in (len(memory) // 10, -1))
    print(f"{len(memory)} of {parts} parts by this process; its memory {early} MB after a tenth, {late} MB at the end")
    return int(backtest.report["lines"])


def _bare() -> int:
    """Both totals of every customer and month; returns how many these are."""
    before: dict[tuple[str, datetime], Decimal] = {}
    after: dict[tuple[str, datetime], Decimal] = {}
    old = {code: Decimal("0.000003") for code in PRICES}
    new = {code: Decimal("0.000004") for code in PRICES}
    with connection.cursor() as cursor:
        cursor.execute(_BARE)
        for key, month, code, quantity in cursor:
            place = key, month
            before[place] = before.get(place, Decimal(0)) + quantity * old[code]
            after[place] = after.get(place, Decimal(0)) + quantity * new[code]
    for place, amount in before.items():
        before[place], after[place] = max(amount - 20, Decimal(0)), max(after[place] - 20, Decimal(0))
    return len(before)


def _world() -> tuple[PlanVersion, int]:
    """The candidate, and how many windows there are."""
    for code in PRICES:
        metering.define_meter(
            code=code,
            event_type="llm.request",
            value_path=f"data.{code}",
            aggregation="sum",
            dimensions=["model"],
            unit="token",
        )
    money, units = _version("money", "3"), _version("units", "3", in_units=True)
    candidate = _version("new", "4", is_draft=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT metering_ensure_partitions(%s, %s)", [START, START + timedelta(days=220)])
    for first in range(0, CUSTOMERS, BATCH):
        _customers(range(first, min(first + BATCH, CUSTOMERS)), money, units)
    step = 31 * 24 * MONTHS // (HOURS * MONTHS)
    with connection.cursor() as cursor:
        for first in range(0, CUSTOMERS, BATCH):
            last = min(first + BATCH, CUSTOMERS) - 1
            parameters: dict[str, Any] = {
                "start": START,
                "step": step,
                "first": first,
                "last": last,
                "hours": HOURS * MONTHS,
            }
            cursor.execute(_WINDOWS, parameters)
        cursor.execute(_EVENTS, {"start": START, "months": MONTHS})
        # They count as aggregated: what windows hold of these hours is not read.
        cursor.execute("UPDATE metering_cursor SET next_xid = (pg_current_xact_id()::text)::bigint + 1")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_window")
        (windows,) = cursor.fetchone()
    return candidate, int(windows)


def _version(code: str, price: str, *, in_units: bool = False, is_draft: bool = False) -> PlanVersion:
    card = RateCard.objects.create(code=code, name=code, currency="USD")
    for meter_code in PRICES:
        Rate.objects.create(
            rate_card=card,
            meter_code=meter_code,
            unit_price=Decimal(price),
            unit_size=1_000_000,
            effective_from=START - timedelta(days=1),
        )
    plan = Plan.objects.create(code=code, name=code)
    version = PlanVersion.objects.create(plan=plan, version=1, currency="USD", fee_minor=2000, rate_card=card)
    amount, measure = (Decimal(1_000_000), "units") if in_units else (Decimal(20), "money")
    Allowance.objects.create(
        plan_version=version, position=1, code="included", name="Included", measure=measure, amount=amount
    )
    if not is_draft:
        PlanVersion.objects.filter(pk=version.pk).update(status="published", published_at=START)
    version.refresh_from_db()
    return version


def _customers(numbers: range, money: PlanVersion, units: PlanVersion) -> None:
    """Customers with their subscription and periods; no ledger accounts, as a backtest posts nothing."""
    customers = Customer.objects.bulk_create(
        Customer(
            customer_key=f"c{n}", name=f"C{n}", email="c@example.com", kind="team", currency="USD", created_at=START
        )
        for n in numbers
    )
    subscriptions = Subscription.objects.bulk_create(
        Subscription(
            customer=customer,
            plan_version=money if n % 10 else units,
            started_at=START + ODD * (n % 2),
            anchor_at=START + ODD * (n % 2),
            status="active",
        )
        for n, customer in zip(numbers, customers, strict=True)
    )
    periods = []
    for month in range(MONTHS):
        # Month by month: a period follows the one before it.
        periods += BillingPeriod.objects.bulk_create(
            BillingPeriod(
                subscription=subscription,
                starts_at=boundary(subscription.anchor_at, month),
                ends_at=boundary(subscription.anchor_at, month + 1),
                plan_version=subscription.plan_version,
                seats=1,
            )
            for subscription in subscriptions
        )
    PeriodAllowance.objects.bulk_create(
        PeriodAllowance(
            period=period,
            position=1,
            code="included",
            name="Included",
            measure="money" if period.plan_version_id == money.pk else "units",
            amount=Decimal(20) if period.plan_version_id == money.pk else Decimal(1_000_000),
        )
        for period in periods
    )
