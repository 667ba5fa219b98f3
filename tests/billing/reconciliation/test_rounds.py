"""A round goes slice by slice, over as many runs of the task as it takes, and finds what one look at all would."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from billing import machine_health
from billing.admin_links import page_url
from billing.reconciliation import checks, operations, slices
from billing.reconciliation.comparison import Findings, Part, Scope, Slicing
from billing.reconciliation.models import Discrepancy, ReconciliationRun
from billing.reconciliation.tasks import task_reconcile
from billing.stripe.errors import StripeUnavailable
from config import clock
from tests.billing.reconciliation.faults import FAULTS, planted
from tests.billing.reconciliation.month import live_through
from tests.billing.thread import SECOND_MONTH, Thread
from tests.factories import CustomerFactory

NIGHT = datetime(2026, 12, 3, 5, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
SEVERAL_DAYS: Any = {"range_start": SECOND_MONTH - DAY, "range_end": SECOND_MONTH + DAY, "now": NIGHT, "actor": "a"}


class Stopped(BaseException):
    """As a worker that is killed."""


def found(run: ReconciliationRun) -> list[tuple[str, ...]]:
    named = Discrepancy.objects.filter(run=run).order_by("check_code", "subject")
    return list(named.values_list("check_code", "subject", "left_value", "right_value", "explanation"))


def test_slices_together_find_what_one_look_does_and_a_stop_loses_one(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_through(thread)
    for _ in range(2):
        CustomerFactory()
    moved = next(fault for fault in FAULTS if fault.name == "an invoice has another status")
    unheard = next(fault for fault in FAULTS if fault.name == "a webhook never arrived")
    looked: list[str] = []

    def stopping(name: str, part: Part) -> Part:
        def check(scope: Scope) -> Findings:
            looked.append(f"{name} {scope.range_start:%d} {scope.customers_from}")
            yield from part.check(scope)
            if looked.count(looked[-1]) == 1 and len(looked) % 3 == 0:
                raise Stopped

        return Part(part.slicing, check)

    with planted(unheard), planted(moved):
        at_once = operations.reconcile(**SEVERAL_DAYS)
        for code, parts in list(checks.CHECKS.items()):
            monkeypatch.setitem(
                checks.CHECKS, code, tuple(stopping(f"{code}/{nth}", part) for nth, part in enumerate(parts))
            )
        monkeypatch.setattr(slices, "CUSTOMERS_AT_ONCE", 1)
        pk = operations.begin(**SEVERAL_DAYS).pk
        stops = 0
        while (run := ReconciliationRun.objects.get(pk=pk)).finished_at is None:
            try:
                operations.go_on(run, clock=lambda: NIGHT, by_day=True)
            except Stopped:
                stops += 1

    assert found(run) == found(at_once) != []
    assert any(explanation.startswith("Follows from event") for *_, explanation in found(run))
    # What Stripe has none of is said once a day.
    assert {**run.checks, "stripe_money": None} == {**at_once.checks, "stripe_money": None}
    assert run.discrepancy_count == at_once.discrepancy_count
    assert stops > 5
    assert len(looked) == len(set(looked)) + stops
    assert "identity/0 31 0" in looked
    assert "events_inbox/0 01 0" in looked


@pytest.fixture
def one_check(db: None, monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The only check there is looks at days, and ends as `ends` says."""
    looked: list[datetime] = []

    def look(scope: Scope) -> Findings:
        looked.append(scope.range_start)
        yield from ()

    monkeypatch.setattr(slices, "CODES", slices.CODES[:1])
    monkeypatch.setattr(operations, "CODES", slices.CODES)
    monkeypatch.setitem(checks.CHECKS, slices.CODES[0], (Part(Slicing.DAYS, look),))
    return looked


def test_what_stops_every_run_is_named_and_passed_over_but_a_silent_stripe_is_waited_for(
    one_check: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[BaseException] = [StripeUnavailable("not now")] * 5 + [Stopped()] * 3

    def look(scope: Scope) -> Findings:
        if scope.range_start == SECOND_MONTH and ends:
            raise ends.pop(0)
        yield from ()

    monkeypatch.setitem(checks.CHECKS, slices.CODES[0], (Part(Slicing.DAYS, look),))
    pk = operations.begin(**SEVERAL_DAYS).pk
    while (run := ReconciliationRun.objects.get(pk=pk)).finished_at is None:
        try:
            operations.go_on(run, clock=lambda: NIGHT, by_day=True)
        except (StripeUnavailable, Stopped):
            continue
    assert [(subject, left, right) for _, subject, left, right, _ in found(run)] == [
        ("events windows, a part from 2026-11-01T00:00:00+00:00 on", "no", "yes")
    ]
    assert (ends, run.discrepancy_count) == ([], 1)


def test_the_task_goes_on_until_its_time_is_over_and_begins_once_a_day(
    one_check: list[datetime], monkeypatch: pytest.MonkeyPatch, admin_client: Client
) -> None:
    midnight = NIGHT.replace(hour=0)
    operations.begin(range_start=midnight - 3 * DAY, range_end=midnight, now=NIGHT, actor="task:reconcile")
    now = NIGHT

    def passing() -> datetime:
        """Every look takes four minutes of a run's nine."""
        nonlocal now
        now += 4 * MINUTE
        return now

    monkeypatch.setattr(clock, "now", passing)
    task_reconcile()
    assert one_check == [midnight - 3 * DAY, midnight - 2 * DAY]
    rounds = ReconciliationRun.objects.filter(actor="task:reconcile")
    run = rounds.get()
    assert run.finished_at is None
    ReconciliationRun.objects.create(
        range_start=midnight - DAY,
        range_end=midnight,
        started_at=NIGHT - 3 * DAY,
        finished_at=NIGHT,
        checked=7,
        actor="a",
    )
    said = machine_health._discrepancies(NIGHT)
    assert said.note == (
        "7 pairs of figures compared, 30 Nov 05:00 UTC; the round of 03 Dec 05:00 UTC is at check 1 of 1,"
        " events windows, 0 found so far"
    )
    assert said.tone == "bad"
    page = admin_client.get(page_url("billing.reconciliationrun", run.pk), secure=True)
    assert "Not finished, at check 1 of 1, events windows" in page.content.decode()
    assert "under way" not in page.content.decode()
    task_reconcile()
    assert one_check[2:] == [midnight - DAY]
    assert rounds.get().finished_at is not None
    task_reconcile()
    now = midnight + DAY
    task_reconcile()
    assert rounds.count() == 1
    now += timedelta(hours=5)
    task_reconcile()
    assert rounds.count() == 2
    assert one_check[3:] == [midnight]
