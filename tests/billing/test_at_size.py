"""What runs by itself, and the pages that everybody opens, among millions of rows: none reads them all."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing import machine_health, overview
from billing.admin_links import list_url
from billing.customers.models import Customer
from billing.invoicing import late_page
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.proofs import queries as proof_queries
from billing.invoicing.queries import due_closes
from billing.invoicing.tasks import task_settle_late_usage
from billing.payments.models import BalanceTransaction, Payment
from billing.payments.recovery.cards import warn_of_expiry
from billing.payments.recovery.models import PaymentCard, RecoveryCase
from billing.payments.recovery.operations import open_overdue_cases
from billing.rating.tasks import task_accrue_usage
from billing.rollouts.backtests.tasks import task_work_on_backtests
from billing.stripe.models import OutboxIntent
from billing.subscriptions import moving
from billing.subscriptions.models import BillingPeriod
from billing.teams.tasks import task_settle_seats
from tests.factories import CustomerFactory, SubscriptionFactory

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DAY = timedelta(days=1)


def listed(model: type[Any]) -> list[Any]:
    """The first page of a list in the admin, in its order."""
    page = admin.site._registry[model]
    return list(model.objects.order_by(*(page.ordering or model._meta.ordering))[:50])


LOOKS: dict[str, Callable[[], object]] = {
    "billing_close_due": lambda: due_closes(now=NOW, limit=200),
    "billing_close_held": lambda: overview.held_closes(now=NOW),
    "billing_invoice_open": lambda: (open_overdue_cases(now=NOW, limit=200), overview.past_due_invoices()),
    "billing_invoice_finalized": lambda: proof_queries.figures(start=NOW - 30 * DAY, end=NOW),
    "billing_invoice_made": lambda: listed(Invoice),
    "billing_payment_made": lambda: listed(Payment),
    "billing_payment_charge": lambda: list(Payment.objects.filter(stripe_charge_id__in=["ch_1", "ch_2"]).order_by()),
    "billing_movement_made": lambda: listed(BalanceTransaction),
    "billing_period_made": lambda: listed(BillingPeriod),
    "billing_outbox_made": lambda: listed(OutboxIntent),
    "billing_outbox_not_done": machine_health._outbox,
    "billing_outbox_object": lambda: list(OutboxIntent.objects.filter(stripe_object_id="in_1").order_by()),
    "billing_inbox_not_done": lambda: (machine_health._inbox(NOW), overview.failed_events()),
    "billing_subscription_trial": lambda: moving.open_due(now=NOW, limit=200),
}


def plans_with(index: str, selects: list[str], owner: psycopg.Connection) -> list[str]:
    """How PostgreSQL answers when `index` is the only one of its table and reading every row is the last resort.

    Of a table without rows every plan costs the same, and which one is taken changes with what ran before: so what
    else could be taken is away, and comes back.
    """
    with owner.transaction(force_rollback=True):
        others = owner.execute(
            "SELECT this.indrelid::regclass::text, this.indexrelid::regclass::text, made.conname"
            " FROM pg_index this LEFT JOIN pg_constraint made"
            "   ON made.conindid = this.indexrelid AND made.conrelid = this.indrelid"
            " WHERE this.indexrelid <> %(index)s::regclass"
            "   AND this.indrelid = (SELECT indrelid FROM pg_index WHERE indexrelid = %(index)s::regclass)",
            {"index": index},
        ).fetchall()
        for table, other, constraint in others:
            alone = f"ALTER TABLE {table} DROP CONSTRAINT {constraint} CASCADE" if constraint else f"DROP INDEX {other}"
            owner.execute(alone.encode())
        owner.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        return ["\n".join(line for (line,) in owner.execute(f"EXPLAIN {one}".encode())) for one in selects]


def test_an_index_answers_what_is_asked_all_the_time(owner_connection: psycopg.Connection) -> None:
    without = {}
    for index, look in LOOKS.items():
        with CaptureQueriesContext(connection) as asked:
            look()
        plans = plans_with(index, [one["sql"] for one in asked if one["sql"].startswith("SELECT")], owner_connection)
        if not any(index in plan for plan in plans):
            without[index] = "\n\n".join(plans)
    assert without == {}


def invoice(customer: Customer, nth: int, **values: Any) -> Invoice:
    given: dict[str, Any] = {
        "stripe_invoice_id": f"in_{nth}",
        "customer": customer,
        "billing_reason": "manual",
        "status": "open",
        "currency": "USD",
        "total_minor": 700,
        "amount_due_minor": 700,
        "amount_paid_minor": 0,
        "amount_remaining_minor": 700,
        "starting_balance_minor": 0,
        "created_at": NOW - 20 * DAY,
        "projected_at": NOW - DAY,
    }
    return Invoice.objects.create(**given | values)


def test_an_invoice_that_was_tried_before_it_is_due_hides_none_that_is_late(db: None) -> None:
    customer = CustomerFactory()
    invoice(customer, 1, due_at=NOW + 5 * DAY, attempt_count=1)
    late = invoice(customer, 2, due_at=NOW - DAY)
    assert open_overdue_cases(now=NOW, limit=1) == 1
    assert RecoveryCase.objects.get().invoice == late


def test_late_usage_of_an_invoice_is_not_looked_for_among_all_of_it(db: None) -> None:
    found = invoice(CustomerFactory(), 1)
    InvoiceClose.objects.create(invoice=found, next_attempt_at=NOW)
    with CaptureQueriesContext(connection) as asked:
        assert late_page.of_invoice(found) == []
    # An OR of conditions on several tables is answered only after all of them were put together.
    assert not [one["sql"] for one in asked if " OR " in one["sql"]]


def test_cards_are_looked_through_without_naming_everybody(db: None) -> None:
    def asked_for() -> list[int]:
        with CaptureQueriesContext(connection) as asked:
            assert warn_of_expiry(now=NOW) == 0
        return [len(one["sql"]) for one in asked]

    before = asked_for()
    for number in range(3):
        subscription = SubscriptionFactory(starts_at=NOW - DAY, status="active")
        PaymentCard.objects.create(
            stripe_payment_method_id=f"pm_{number}", customer=subscription.customer, brand="visa", last4="4242",
            exp_month=12, exp_year=2030, is_default=True, projected_at=NOW,
        )  # fmt: skip
    assert asked_for() == before


def test_a_list_is_neither_counted_whole_nor_searched_by_an_or_across_tables(admin_client: Client) -> None:
    ada = CustomerFactory(customer_key="ada", name="Ada Lovelace")
    hers = [invoice(ada, 1, number="ADA-0042"), invoice(ada, 2, number="ADA-0043")]
    invoice(CustomerFactory(name="Grace"), 3, number="GRACE-1")

    def found(text: str) -> list[Invoice]:
        with CaptureQueriesContext(connection) as asked:
            page = admin_client.get(list_url("billing.invoice", q=text), secure=True)
        of_invoices = [one["sql"] for one in asked if '"billing_invoice"' in one["sql"]]
        assert of_invoices
        assert not [sql for sql in of_invoices if " OR " in sql or "COUNT(*)" in sql]
        return sorted(page.context["cl"].queryset, key=lambda one: one.pk)

    assert found("ADA-0042") == found("ada-0042") == found("in_1") == hers[:1]
    assert found("lovelace") == found('"Ada Love"') == found("lovelace ada") == hers
    assert found("lovelace GRACE-1") == []
    assert len(found("")) == 3


@pytest.mark.parametrize(
    ("task", "lock"),
    [
        (task_settle_late_usage, "billing.settle_late_usage"),
        (task_accrue_usage, "billing.accrue_usage"),
        (task_settle_seats, "task:settle_seats"),
        (task_work_on_backtests, "billing.work_on_backtests"),
    ],
)
def test_what_takes_longer_than_its_interval_does_not_run_beside_itself(
    app_connection: psycopg.Connection, task: Callable[[], int], lock: str
) -> None:
    app_connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [lock])
    with CaptureQueriesContext(connection) as asked:
        assert task() == 0
    assert len(asked) == 1
    app_connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [lock])
    with CaptureQueriesContext(connection) as asked:
        task()
    assert len(asked) > 2
    given_back = app_connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [lock]).fetchone()
    assert given_back == (True,)
