"""What the database refuses of orders, requests and releases, whoever asks."""

from collections.abc import Callable

import psycopg
import pytest
from django.db import transaction
from psycopg import errors

from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.orders.operations import OrderedLine, order_one_off
from billing.invoicing.release_models import InvoiceCloseRelease
from billing.invoicing.requests import operations, terms
from tests.billing.invoicing.ordering import FINANCE, people
from tests.factories import NOVEMBER, CustomerFactory

_DECIDE = (
    "INSERT INTO billing_invoicerequestdecision (invoice_request_id, outcome, requested_by, needs_second_person,"
    " decided_by, decided_at, words) SELECT id, '{}', requested_by, {}, requested_by, now(), 'x'"
    " FROM billing_invoicerequest WHERE state = 'waiting'"
)
# The statement and the rule that refuses it, also to the owner of the tables.
REFUSED = [
    ("UPDATE billing_invoiceorder SET amount_minor = 1", "billing_invoiceorder_terms"),
    ("UPDATE billing_invoiceorder SET reason = 'x'", "billing_invoiceorder_terms"),
    ("UPDATE billing_invoiceorder SET state = 'dropped'", "billing_invoiceorder_finished"),
    ("UPDATE billing_invoiceorder SET state = 'drafted', finished_at = now()", "billing_invoiceorder_drafted"),
    ("UPDATE billing_invoiceorder SET state = 'lost'", "billing_invoiceorder_finished"),
    ("UPDATE billing_invoiceorderline SET amount_minor = 1", "billing_invoiceorderline_append_only"),
    ("DELETE FROM billing_invoiceorderline", "billing_invoiceorderline_kept"),
    ("DELETE FROM billing_invoiceorder", "billing_invoiceorder_kept"),
    ("UPDATE billing_invoicerequest SET amount_minor = 1", "billing_invoicerequest_terms"),
    ("UPDATE billing_invoicerequest SET needs_second_person = false", "billing_invoicerequest_terms"),
    (
        "UPDATE billing_invoicerequest SET state = 'intended' WHERE state = 'waiting'",
        "billing_invoicerequest_carried_out_as_decided",
    ),
    ("UPDATE billing_invoicerequest SET state = 'intended' WHERE state = 'done'", "billing_invoicerequest_ended"),
    (_DECIDE.format("approved", "true"), "billing_invoicerequest_second_person"),
    (_DECIDE.format("within_limit", "false"), "billing_invoicerequest_decided_as_asked"),
    ("UPDATE billing_invoicerequestdecision SET words = 'x'", "billing_invoicerequestdecision_append_only"),
    ("DELETE FROM billing_invoicerequest", "billing_invoicerequest_kept"),
    ("UPDATE billing_invoicecloserelease SET words = 'x'", "billing_invoicecloserelease_append_only"),
    ("DELETE FROM billing_invoicecloserelease", "billing_invoicecloserelease_kept"),
]


@pytest.fixture
def history(committed_db: None) -> None:
    """An order, a request that was done and one that waits, and a release."""
    people()
    customer = CustomerFactory(customer_key="ada", currency="USD")
    with transaction.atomic():
        order_one_off(
            customer=customer,
            lines=[OrderedLine("Work", 100)],
            reason="a test",
            actor=FINANCE,
            idempotency_key="order",
            now=NOVEMBER,
        )
    for key, amount in (("small", 100), ("large", 90000)):
        wanted = terms.one_off(customer_key="ada", lines=[OrderedLine("Work", amount)])
        operations.ask(wanted, reason="a test", actor=FINANCE, idempotency_key=key, now=NOVEMBER)
    invoice = Invoice.objects.create(
        stripe_invoice_id="in_1", customer=customer, billing_reason="manual", status="draft", currency="USD",
        total_minor=1, amount_due_minor=1, amount_paid_minor=0, amount_remaining_minor=1, starting_balance_minor=0,
        created_at=NOVEMBER, projected_at=NOVEMBER,
    )  # fmt: skip
    close = InvoiceClose.objects.create(invoice=invoice, next_attempt_at=NOVEMBER)
    InvoiceCloseRelease.objects.create(
        close=close, step="started", held_reason="x", words="y", released_by=FINANCE, released_at=NOVEMBER
    )


def rules(connection: psycopg.Connection, statement: str) -> str | None:
    """The name of the rule that refuses a statement, or that the role lacks the right."""
    try:
        with connection.transaction():
            connection.execute(statement)
    except errors.IntegrityError as refusal:
        return refusal.diag.constraint_name
    except errors.InsufficientPrivilege:
        return "no right"
    return None


def test_the_owner_is_refused_by_each_rule(history: None, owner_connection: psycopg.Connection) -> None:
    assert {statement: rules(owner_connection, statement) for statement, _ in REFUSED} == dict(REFUSED)


def test_the_application_is_refused_too(history: None, app_connection: psycopg.Connection) -> None:
    def refused(statement: str, rule: str) -> bool:
        return rules(app_connection, statement) in (rule, "no right")

    assert [statement for statement, rule in REFUSED if not refused(statement, rule)] == []


def test_one_closing_order_for_a_period_and_one_reissue_for_an_invoice(
    history: None, owner_connection: psycopg.Connection
) -> None:
    copy: Callable[[str], str] = lambda key: (  # noqa: E731
        "INSERT INTO billing_invoiceorder (kind, customer_id, replaces_id, currency, reason, ordered_by, ordered_at,"
        " idempotency_key, state, outcome, error, attempts, next_attempt_at) SELECT 'reissue', customer_id, id, 'USD',"
        f" 'x', 'x', now(), '{key}', 'intended', '', '', 0, now() FROM billing_invoice"
    )
    assert rules(owner_connection, copy("a")) is None
    assert rules(owner_connection, copy("b")) == "billing_invoiceorder_one_reissue"
