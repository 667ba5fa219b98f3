"""Reconciliation can see: a fault is planted behind everybody's back, and it is named where the two sides part."""

import os
from decimal import Decimal

import psycopg

from billing.invoicing.models import InvoiceLine
from billing.reconciliation.models import Discrepancy
from billing.reconciliation.operations import reconcile
from billing.stripe.models import InboxEvent
from tests.plugin import admin_url
from tests.scenarios.test_month import run_month
from tests.scenarios.thread import MONTH_START, RECONCILED_TO, MainThread, wait_for


def discrepancies() -> list[Discrepancy]:
    run = reconcile(range_start=MONTH_START, range_end=RECONCILED_TO, now=RECONCILED_TO, actor="service:scenario")
    return list(run.discrepancies.all())


def test_a_raw_event_changed_by_sql_is_named_at_its_window(thread: MainThread) -> None:
    run_month(thread)
    with psycopg.connect(admin_url(os.environ["DATABASE_URL"].rsplit("/", 1)[1]), autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")  # the triggers would refuse it
        changed = superuser.execute(
            """UPDATE metering_event SET data = jsonb_set(data, '{input_tokens}', '7000000')
                WHERE event_id = 'grant-1' RETURNING customer_key"""
        ).fetchall()
    assert changed == [("grant",)]

    found = discrepancies()

    assert {(d.check_code, d.customer_key) for d in found} == {("events_windows", "grant")}
    quantity = [d for d in found if Decimal(7000000) in _numbers(d)]
    assert len(quantity) == 1
    assert MONTH_START.replace(day=20).strftime("%Y-%m-%d") in quantity[0].subject
    assert Decimal(3000000) in _numbers(quantity[0])


def test_an_invoice_line_changed_at_stripe_is_named_by_its_id(thread: MainThread) -> None:
    run_month(thread)
    line = InvoiceLine.objects.get(
        kind="usage", rate__meter_code="output_tokens", invoice__customer__customer_key="grant"
    )
    thread.sandbox.alter(str(line.stripe_line_id), amount=line.amount_minor + 100)

    found = discrepancies()

    named = [d for d in found if str(line.stripe_line_id) in d.subject]
    assert [d.check_code for d in named] == ["ledger_stripe_invoices"]
    assert {named[0].left_value, named[0].right_value} == {str(line.amount_minor), str(line.amount_minor + 100)}
    assert {d.check_code for d in found} == {"ledger_stripe_invoices"}


def test_a_webhook_that_never_arrives_is_named_by_its_event(thread: MainThread) -> None:
    thread.replace_card_of("declined", "pm_card_chargeCustomerFail")
    thread.use()
    thread.sandbox.fault(event=r"invoice\.payment_failed", mode="drop", times=1)
    thread.end_month()
    thread.settle()
    [lost] = [event for event in thread.sandbox.state()["event"] if event["type"] == "invoice.payment_failed"]
    assert not InboxEvent.objects.filter(pk=lost["id"]).exists()

    found = discrepancies()

    assert lost["id"] in {d.subject for d in found if d.check_code == "events_inbox"}


def test_the_poller_brings_a_webhook_that_never_arrived(thread: MainThread) -> None:
    from billing.stripe.tasks import task_poll_missed_events

    thread.replace_card_of("declined", "pm_card_chargeCustomerFail")
    thread.use()
    thread.sandbox.fault(event=r"invoice\.(paid|finalized)|charge\.succeeded", mode="drop", times=6)
    thread.end_month()
    thread.settle()

    task_poll_missed_events.delay()
    wait_for(lambda: InboxEvent.objects.filter(source="poll").count() == 6, "the poller finds what was lost")
    thread.settle()

    assert discrepancies() == []


def _numbers(discrepancy: Discrepancy) -> set[Decimal]:
    words = f"{discrepancy.left_value} {discrepancy.right_value}".replace(",", " ").split()
    return {Decimal(word) for word in words if word.replace(".", "", 1).isdigit()}
