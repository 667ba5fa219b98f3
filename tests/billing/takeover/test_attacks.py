"""SQL against the record of a takeover, and against its cut: each refused by its rule."""

import psycopg
import pytest
from django.utils import timezone
from psycopg import errors

from billing.invoicing.models import Invoice
from billing.payments.models import BalanceTransaction, Payment
from billing.takeover.models import OpeningEntry, TakenOver, Takeover, TakeoverCheck, TakeoverRun
from tests.factories import ACTOR, DECEMBER, NOVEMBER, OCTOBER, CustomerFactory

FACTS = ("takeover", "takeoverrun", "takenover", "openingentry", "takeovercheck")
MOVEMENT = """
    INSERT INTO billing_balancetransaction (stripe_id, type, reporting_category, currency, amount_minor, fee_minor,
                                            net_minor, stripe_source_id, source_currency, exchange_rate, occurred_at,
                                            journal_entry_id)
    SELECT 'txn_2', 'charge', '', 'USD', 1, 0, 1, '', '', '', '{at}', 92
"""
# As an invoice of ours, made when and marked how it says.
INVOICE = """
    INSERT INTO billing_invoice (stripe_invoice_id, customer_id, number, billing_reason, status, currency, total_minor,
                                 amount_due_minor, amount_paid_minor, amount_remaining_minor, discount_minor, tax_minor,
                                 credited_before_payment_minor, credited_after_payment_minor, written_off_minor,
                                 paid_off_stripe_minor, starting_balance_minor, attempt_count, created_at, projected_at,
                                 taken_over)
    SELECT 'in_9', customer_id, '', '', 'draft', 'USD', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{at}', now(), '{mark}'
      FROM billing_invoice LIMIT 1
"""
LINE = """
    INSERT INTO billing_invoiceline (invoice_id, kind, position, description, quantity, exact_amount, amount_minor,
                                     discount_minor, exclusive_tax_minor, inclusive_tax_minor, rounding, is_exempt)
    SELECT id, '{kind}', 9, '', 1, 1, 100, 0, 0, 0, 0, false FROM billing_invoice WHERE stripe_invoice_id = '{invoice}'
"""
NOTE = """
    INSERT INTO billing_creditnote (stripe_credit_note_id, invoice_id, number, status, reason, memo, currency,
                                    total_minor, pre_payment_minor, to_balance_minor, refunded_minor, out_of_band_minor,
                                    issued_at, projected_at, journal_entry_id)
    SELECT 'cn_1', id, '', 'issued', '', '', 'USD', 1, 1, 0, 0, 0, '2026-12-01Z', now(), NULL
      FROM billing_invoice LIMIT 1
"""
BEFORE, AFTER = "2026-10-31 23:59:59Z", "2026-11-01 00:00:01Z"
ATTACKS = (
    *((f"DELETE FROM billing_{fact}", f"billing_{fact}_kept") for fact in FACTS),
    ("UPDATE billing_takeover SET as_of = '2026-12-01Z'", "billing_takeover_append_only"),
    ("UPDATE billing_takeoverrun SET found = '{}'", "billing_takeoverrun_append_only"),
    ("UPDATE billing_takenover SET outcome = 'history'", "billing_takenover_append_only"),
    ("UPDATE billing_openingentry SET debit_minor = 1", "billing_openingentry_append_only"),
    ("UPDATE billing_takeovercheck SET difference_count = 0", "billing_takeovercheck_append_only"),
    ("INSERT INTO billing_takeover VALUES (2, '2026-01-01Z', now(), 'user:eve')", "billing_takeover_one"),
    ("INSERT INTO billing_takeover VALUES (1, '2026-11-30Z', now(), 'user:eve')", "billing_takeover_before_the_books"),
    (MOVEMENT.format(at=BEFORE), "billing_balancetransaction_after_the_cut"),
    (INVOICE.format(at=BEFORE, mark=""), "billing_invoice_taken_over"),
    (INVOICE.format(at=AFTER, mark="open"), "billing_invoice_taken_over"),
    ("UPDATE billing_invoice SET taken_over = 'settled'", "billing_invoice_taken_over_stays"),
    (LINE.format(kind="fee", invoice="in_1"), "billing_invoiceline_brought_in"),
    (LINE.format(kind="brought_in", invoice="in_2"), "billing_invoiceline_brought_in"),
    ("UPDATE billing_payment SET is_taken_over = NOT is_taken_over", "billing_payment_taken_over"),
    (NOTE, "billing_creditnote_entered"),
)


@pytest.fixture
def taken_over(committed_db: None) -> Takeover:
    customer = CustomerFactory()
    now = timezone.now()
    takeover = Takeover.objects.create(as_of=NOVEMBER, started_at=now, started_by=ACTOR)
    TakeoverRun.objects.create(takeover=takeover, started_at=now, finished_at=now, actor=ACTOR)
    TakenOver.objects.create(
        takeover=takeover, kind="customer", stripe_id="cus_1", outcome="brought_in", recorded_at=now, recorded_by=ACTOR
    )
    OpeningEntry.objects.create(
        takeover=takeover, account_kind="stripe:clearing", currency="USD", debit_minor=5, journal_entry_id=1,
        recorded_at=now,
    )  # fmt: skip
    TakeoverCheck.objects.create(takeover=takeover, compared=1, difference_count=1, checked_at=now, actor=ACTOR)
    for number, at, mark in ((1, OCTOBER, "open"), (2, DECEMBER, "")):
        Invoice.objects.create(
            stripe_invoice_id=f"in_{number}", customer=customer, status="draft", currency="USD", total_minor=0,
            amount_due_minor=0, amount_paid_minor=0, amount_remaining_minor=0, starting_balance_minor=0, created_at=at,
            projected_at=now, taken_over=mark,
        )  # fmt: skip
    Payment.objects.create(
        stripe_payment_intent_id="pi_1", customer=customer, status="succeeded", amount_minor=1, currency="USD",
        occurred_at=OCTOBER, projected_at=now, is_taken_over=True,
    )  # fmt: skip
    BalanceTransaction.objects.create(
        stripe_id="txn_1", type="charge", currency="USD", amount_minor=1, fee_minor=0, net_minor=1,
        occurred_at=NOVEMBER.replace(second=1), journal_entry_id=91,
    )  # fmt: skip
    return takeover


def test_the_owner_is_refused_each_by_its_rule(taken_over: Takeover, owner_connection: psycopg.Connection) -> None:
    refused = {}
    for statement, _ in ATTACKS:
        with pytest.raises(errors.IntegrityError) as refusal, owner_connection.transaction():
            owner_connection.execute(statement)
        refused[statement] = refusal.value.diag.constraint_name

    assert refused == dict(ATTACKS)


def test_the_application_may_only_add_facts(taken_over: Takeover, app_connection: psycopg.Connection) -> None:
    for fact in FACTS:
        for statement in (f"UPDATE billing_{fact} SET id = id", f"DELETE FROM billing_{fact}"):
            with pytest.raises(errors.InsufficientPrivilege), app_connection.transaction():
                app_connection.execute(statement)


def test_a_cut_waits_for_money_that_is_being_entered_without_knowing_of_it(
    app_connection: psycopg.Connection, owner_connection: psycopg.Connection
) -> None:
    entering = (
        "INSERT INTO billing_payout (stripe_payout_id, status, amount_minor, currency, is_automatic, failure_code,"
        " failure_message, trace_id, statement_descriptor, occurred_at, expected_at, projected_at)"
        " VALUES ('po_1', 'paid', 1, 'USD', false, '', '', '', '', '2026-10-01Z', now(), now())"
    )
    cut = "INSERT INTO billing_takeover VALUES (1, '2026-11-01Z', now(), 'user:eve')"
    app_connection.execute("SET lock_timeout = '100ms'")
    with owner_connection.transaction():
        owner_connection.execute(entering)
        with pytest.raises(errors.LockNotAvailable):
            app_connection.execute(cut)

    with pytest.raises(errors.IntegrityError) as refusal:
        app_connection.execute(cut)
    assert refusal.value.diag.constraint_name == "billing_takeover_before_the_books"
