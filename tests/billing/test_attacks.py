"""
SQL that tries to rewrite history, and the rule that must refuse it: as the owner of the tables, whom no missing
privilege stops, and as the application's own role.
"""

from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from psycopg import errors

from billing.customers.models import Customer
from billing.invoicing.late_models import AbsorbedUsage, LateCorrection, LateCreditLine
from billing.invoicing.models import (
    CreditNote,
    CreditNoteLine,
    Invoice,
    InvoiceClose,
    InvoiceCloseStep,
    InvoiceLine,
    PrepaidPurchase,
)
from billing.payments.models import (
    BalanceTransaction,
    CreditNoteRefund,
    CustomerBalanceTransaction,
    Dispute,
    Payment,
    Payout,
    Refund,
)
from billing.rating.models import LateProgress, LateUsage, UsageAccrualLine
from billing.rating.operations import accrue_period
from billing.rating.queries import latest_accrual
from billing.reconciliation.models import Discrepancy, ReconciliationRun
from billing.stripe.models import InboxEvent, OutboxIntent
from billing.subscriptions.models import BillingPeriod
from config.privileges import DELETABLE_TABLES
from promotions.models import CreditGrant, GrantWithdrawal
from promotions.operations import end_grant
from tests.billing import usage
from tests.billing.usage import AFTER_OCTOBER, october_of, use_dollars
from tests.factories import NOVEMBER, OCTOBER, CreditGrantFactory, PlanVersionFactory

APPEND_ONLY = (
    "billing_usageaccrual",
    "billing_usageaccrualline",
    "billing_grantdrawdown",
    "billing_rate",
    "billing_balancetransaction",
    "billing_creditnoterefund",
    "billing_customerbalancetransaction",
    "billing_discrepancy",
    "billing_invoiceclosestep",
    "billing_creditnoteline",
    "billing_absorbedusage",
    "billing_latecreditline",
    "promotions_grantwithdrawal",
)
KEPT = (
    *APPEND_ONLY,
    "billing_customer",
    "billing_ratecard",
    "billing_plan",
    "billing_planversion",
    "billing_subscription",
    "billing_billingperiod",
    "billing_invoice",
    "billing_invoiceline",
    "billing_invoiceclose",
    "billing_creditnote",
    "billing_lateusage",
    "billing_latecorrection",
    "billing_lateprogress",
    "billing_prepaidpurchase",
    "billing_payment",
    "billing_refund",
    "billing_dispute",
    "billing_payout",
    "billing_reconciliationrun",
    "billing_inboxevent",
    "billing_outboxintent",
    "promotions_creditgrant",
)
# What would rewrite history, and the rule it breaks. Rows are those of `history`.
REWRITES = (
    ("UPDATE billing_refund SET amount_minor = 1", "billing_refund_terms"),
    ("UPDATE billing_refund SET sent_at = now()", "billing_refund_moved"),
    ("UPDATE billing_dispute SET currency = 'EUR'", "billing_dispute_terms"),
    ("UPDATE billing_payout SET amount_minor = 1", "billing_payout_terms"),
    ("UPDATE billing_payout SET arrived_at = NULL", "billing_payout_moved"),
    ("UPDATE billing_customer SET customer_key = 'other'", "billing_customer_identity"),
    ("UPDATE billing_customer SET currency = 'EUR'", "billing_customer_identity"),
    ("UPDATE billing_planversion SET fee_minor = 1 WHERE status = 'published'", "billing_planversion_terms"),
    ("UPDATE billing_allowance SET amount = 1e6", "billing_allowance_terms"),
    ("UPDATE billing_planversion SET version = 2 WHERE status = 'retired'", "billing_planversion_terms"),
    ("UPDATE billing_planversion SET status = 'draft' WHERE status = 'published'", "billing_planversion_status"),
    ("UPDATE billing_planversion SET status = 'published' WHERE status = 'retired'", "billing_planversion_status"),
    ("UPDATE billing_planversion SET stripe_price_id = 'p' WHERE status = 'published'", "billing_planversion_price"),
    ("UPDATE billing_planversion SET stripe_price_id = NULL WHERE status = 'published'", "billing_planversion_price"),
    ("UPDATE billing_billingperiod SET seats = 100", "billing_billingperiod_terms"),
    ("UPDATE billing_billingperiod SET ends_at = ends_at + interval '1 day'", "billing_billingperiod_terms"),
    ("UPDATE billing_billingperiod SET state = 'open', closed_at = NULL", "billing_billingperiod_closed"),
    ("UPDATE billing_billingperiod SET closed_at = closed_at + interval '1 day'", "billing_billingperiod_closed"),
    ("UPDATE billing_invoiceline SET amount_minor = 0", "billing_invoiceline_written"),
    ("UPDATE billing_invoiceline SET rounding = 1, exact_amount = 0", "billing_invoiceline_written"),
    ("UPDATE billing_invoiceline SET stripe_line_id = 'il_2'", "billing_invoiceline_pushed"),
    ("UPDATE billing_invoiceline SET stripe_line_id = NULL", "billing_invoiceline_pushed"),
    ("UPDATE billing_invoiceline SET exclusive_tax_minor = 0", "billing_invoiceline_finalized"),
    ("UPDATE billing_creditnote SET total_minor = 1, pre_payment_minor = 1", "billing_creditnote_terms"),
    ("UPDATE billing_creditnote SET journal_entry_id = 9", "billing_creditnote_terms"),
    ("UPDATE billing_creditnote SET status = 'issued'", "billing_creditnote_void"),
    ("UPDATE billing_creditnote SET unwound_at = NULL", "billing_creditnote_unwound"),
    ("UPDATE billing_prepaidpurchase SET bonus_amount = 1e6", "billing_prepaidpurchase_terms"),
    ("UPDATE billing_prepaidpurchase SET grant_id = NULL", "billing_prepaidpurchase_granted"),
    (
        "UPDATE billing_planversion SET late_policy = 'absorb', late_absorb_up_to = 1 WHERE status = 'published'",
        "billing_planversion_terms",
    ),
    ("UPDATE billing_lateusage SET events = 0", "billing_lateusage_facts"),
    ("UPDATE billing_lateusage SET policy = 'absorb', rated_before = 1", "billing_lateusage_facts"),
    ("UPDATE billing_lateusage SET outcome = 'other' WHERE state = 'settled'", "billing_lateusage_settled"),
    ("UPDATE billing_latecorrection SET kind = 'debit_note'", "billing_latecorrection_intent"),
    ("UPDATE billing_latecorrection SET finished_at = NULL, state = 'intended'", "billing_latecorrection_learned"),
    ("UPDATE billing_latecorrection SET credit_note_id = NULL", "billing_latecorrection_learned"),
    ("UPDATE billing_outboxintent SET purpose = 'other'", "billing_outboxintent_intent"),
    ("""UPDATE billing_outboxintent SET params = '{"amount": 1}'""", "billing_outboxintent_intent"),
    ("UPDATE billing_outboxintent SET target = 'in_2'", "billing_outboxintent_intent"),
    ("UPDATE billing_outboxintent SET state = 'intended', finished_at = NULL", "billing_outboxintent_finished"),
    ("UPDATE billing_outboxintent SET stripe_object_id = 'in_2'", "billing_outboxintent_finished"),
    ("UPDATE promotions_creditgrant SET amount = 1e6", "promotions_grant_terms"),
    ("UPDATE promotions_creditgrant SET expires_at = NULL", "promotions_grant_terms"),
    ("UPDATE promotions_creditgrant SET ended_at = NULL", "promotions_grant_ended_once"),
    ("UPDATE promotions_creditgrant SET ended_at = ended_at + interval '1 day'", "promotions_grant_ended_once"),
)


@pytest.fixture
def history(committed_db: None) -> None:
    """At least one row in every table that is kept: an UPDATE or DELETE of nothing would prove nothing."""
    usage.define_token_meters()
    period = october_of("acme", included="1")
    grant = CreditGrantFactory(customer_key="acme", amount=Decimal(1), expires_at=NOVEMBER)
    use_dollars("acme", OCTOBER, "3")
    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
    end_grant(grant_id=grant.pk, at=OCTOBER + timedelta(days=1), actor="user:a", reason="-", recorded_at=NOVEMBER)
    BillingPeriod.objects.update(state="closed", closed_at=AFTER_OCTOBER)
    version = period.plan_version
    version.stripe_price_id = "price_1"
    version.save(update_fields=["stripe_price_id"])
    retired = PlanVersionFactory()
    retired.status = "retired"
    retired.save(update_fields=["status"])
    _documents(period)
    _stripe(period.subscription.customer)


def _documents(period: BillingPeriod) -> None:
    customer, accrual = period.subscription.customer, latest_accrual(period.pk)
    invoice = Invoice.objects.create(
        stripe_invoice_id="in_1", customer=customer, subscription=period.subscription, billing_reason="manual",
        status="open", currency="USD", total_minor=100, amount_due_minor=100, amount_paid_minor=0,
        amount_remaining_minor=100, starting_balance_minor=0, created_at=NOVEMBER, projected_at=NOVEMBER,
    )  # fmt: skip
    InvoiceLine.objects.create(
        invoice=invoice, kind="usage", position=1, period=period, rate=UsageAccrualLine.objects.get().rate,
        accrual=accrual, description="usage", quantity=200_000, exact_amount=1, amount_minor=100, rounding=0,
        stripe_line_id="il_1", exclusive_tax_minor=20,
    )  # fmt: skip
    _corrections(invoice, period)
    close = InvoiceClose.objects.create(invoice=invoice, period=period, next_attempt_at=NOVEMBER)
    InvoiceCloseStep.objects.create(close=close, step="started", recorded_at=NOVEMBER)
    run = ReconciliationRun.objects.create(range_start=OCTOBER, range_end=NOVEMBER, started_at=NOVEMBER, actor="user:a")
    Discrepancy.objects.create(
        run=run, check_code="x", subject="x", left_name="a", left_value="1", right_name="b", right_value="2",
        explanation="-",
    )  # fmt: skip


def _corrections(invoice: Invoice, period: BillingPeriod) -> None:
    line = invoice.lines.get()
    assert line.rate is not None
    assert line.accrual is not None
    grant = CreditGrant.objects.get()
    note = CreditNote.objects.create(
        stripe_credit_note_id="cn_1", invoice=invoice, number="1-CN-1", status="void", currency="USD", total_minor=10,
        pre_payment_minor=10, to_balance_minor=0, refunded_minor=0, out_of_band_minor=0, issued_at=NOVEMBER,
        voided_at=NOVEMBER, unwound_at=NOVEMBER, journal_entry_id=3, projected_at=NOVEMBER,
    )  # fmt: skip
    CreditNoteLine.objects.create(
        credit_note=note, position=1, invoice_line=line, description="usage", amount_minor=10, discount_minor=0,
        exclusive_tax_minor=0, inclusive_tax_minor=0, stripe_line_id="cnli_1",
    )  # fmt: skip
    LateUsage.objects.create(
        accrual=line.accrual, policy="credit_or_debit_note", rated_before=0, unbilled_before=0, events=1, voided=0,
        restored=0, windows=1, state="settled", outcome="-", settled_by="user:a", settled_at=NOVEMBER,
    )  # fmt: skip
    correction = LateCorrection.objects.create(
        kind="credit_note", period=period, accrual=line.accrual, invoice=invoice, credit_note=note, state="done",
        intended_by="user:a", created_at=NOVEMBER, finished_at=NOVEMBER,
    )  # fmt: skip
    LateCreditLine.objects.create(
        correction=correction, invoice_line=line, quantity=-1, exact_amount=-1, amount_minor=-100, rounding=0
    )
    LateProgress.objects.create(pk=1, next_xid=1)
    PrepaidPurchase.objects.create(line=line, name="Top-up", grant=grant)
    GrantWithdrawal.objects.create(
        grant=grant, amount=1, reason="-", idempotency_key="withdrawal", recorded_at=NOVEMBER
    )
    AbsorbedUsage.objects.create(
        idempotency_key="absorbed", period=period, rate=line.rate, accrual=line.accrual, quantity=1, amount=1,
        reason="-", absorbed_by="user:a", recorded_at=NOVEMBER,
    )  # fmt: skip


def _stripe(customer: Customer) -> None:
    moved = {"type": "charge", "currency": "USD", "amount_minor": 100, "occurred_at": NOVEMBER}
    BalanceTransaction.objects.create(stripe_id="txn_1", fee_minor=3, net_minor=97, journal_entry_id=1, **moved)
    CustomerBalanceTransaction.objects.create(
        stripe_id="cbtxn_1", customer=customer, ending_balance_minor=0, journal_entry_id=2, **moved
    )
    told = {"amount_minor": 100, "currency": "USD", "occurred_at": NOVEMBER, "projected_at": NOVEMBER}
    paid = Payment.objects.create(stripe_payment_intent_id="pi_1", customer=customer, status="succeeded", **told)
    Refund.objects.create(stripe_refund_id="re_1", payment=paid, status="succeeded", sent_at=NOVEMBER, **told)
    Dispute.objects.create(stripe_dispute_id="du_1", payment=paid, status="lost", **told)
    Payout.objects.create(
        stripe_payout_id="po_1", status="paid", is_automatic=True, expected_at=NOVEMBER, arrived_at=NOVEMBER, **told
    )
    CreditNoteRefund.objects.create(stripe_credit_note_id="cn_1", stripe_refund_id="re_1", amount_minor=100)
    InboxEvent.objects.create(
        event_id="evt_1", type="invoice.paid", livemode=False, payload={}, stripe_created_at=NOVEMBER,
        received_at=NOVEMBER, source="webhook", next_attempt_at=NOVEMBER,
    )  # fmt: skip
    OutboxIntent.objects.create(
        purpose="close:1:finalize", operation="invoices.finalize", target="in_1", params={}, state="succeeded",
        created_at=NOVEMBER, finished_at=NOVEMBER, stripe_object_id="in_1",
    )  # fmt: skip


def rule_that_refuses(connection: psycopg.Connection, statement: str) -> str | None:
    """Run the statement in a transaction of its own; return the name of the rule that refused it."""
    with pytest.raises(errors.IntegrityError) as refusal, connection.transaction():
        connection.execute(statement)
    return refusal.value.diag.constraint_name


class TestOwner:
    def test_cannot_rewrite_history(self, history: None, owner_connection: psycopg.Connection) -> None:
        refused = {statement: rule_that_refuses(owner_connection, statement) for statement, _ in REWRITES}

        assert refused == dict(REWRITES)

    def test_cannot_change_a_fact(self, history: None, owner_connection: psycopg.Connection) -> None:
        refused = {table: rule_that_refuses(owner_connection, f"UPDATE {table} SET id = id") for table in APPEND_ONLY}

        assert refused == {table: f"{table}_append_only" for table in APPEND_ONLY}

    def test_cannot_delete_or_truncate(self, history: None, owner_connection: psycopg.Connection) -> None:
        rules = {table: f"{table}_kept" for table in KEPT} | {"promotions_creditgrant": "promotions_grant_kept"}

        deleted = {table: rule_that_refuses(owner_connection, f"DELETE FROM {table}") for table in KEPT}
        emptied = {table: rule_that_refuses(owner_connection, f"TRUNCATE {table} CASCADE") for table in KEPT}

        assert deleted == rules
        # CASCADE reaches other kept tables too; whichever comes first refuses.
        assert set(emptied.values()) <= {*rules.values(), "ledger_append_only"}


class TestApplication:
    def test_cannot_rewrite_history(self, history: None, app_connection: psycopg.Connection) -> None:
        refused = {statement: rule_that_refuses(app_connection, statement) for statement, _ in REWRITES}

        assert refused == dict(REWRITES)

    @pytest.mark.parametrize("statement", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
    def test_has_no_right_to_touch_facts(
        self, history: None, app_connection: psycopg.Connection, statement: str
    ) -> None:
        deletable = DELETABLE_TABLES if statement.startswith("DELETE") else frozenset()
        for table in set(APPEND_ONLY) - deletable:
            with pytest.raises(errors.InsufficientPrivilege):
                app_connection.execute(statement.format(table))

    def test_has_no_right_to_delete_anything(self, history: None, app_connection: psycopg.Connection) -> None:
        # Of rates it may delete those that only drafts use: tests/billing/catalog/test_attacks.py.
        for table in set(KEPT) - DELETABLE_TABLES:
            with pytest.raises(errors.InsufficientPrivilege):
                app_connection.execute(f"DELETE FROM {table}")

    def test_cannot_switch_the_rules_off(self, history: None, app_connection: psycopg.Connection) -> None:
        for statement in (
            "ALTER TABLE billing_invoiceline DISABLE TRIGGER ALL",
            "DROP TRIGGER billing_invoiceline_written ON billing_invoiceline",
            "CREATE OR REPLACE FUNCTION billing_refuse() RETURNS trigger LANGUAGE sql AS 'SELECT NULL::trigger'",
            "SET session_replication_role = replica",
        ):
            with pytest.raises((errors.InsufficientPrivilege, errors.InvalidFunctionDefinition)):
                app_connection.execute(statement)

    def test_cannot_drive_a_grant_below_zero_or_bill_a_price_twice(
        self, history: None, app_connection: psycopg.Connection
    ) -> None:
        copied = """
            INSERT INTO billing_invoiceline (invoice_id, kind, position, period_id, rate_id, accrual_id, description,
                                             quantity, exact_amount, amount_minor, rounding, discount_minor,
                                             exclusive_tax_minor, inclusive_tax_minor)
            SELECT invoice_id, kind, position + 1, period_id, rate_id, accrual_id, description, quantity, exact_amount,
                   amount_minor, rounding, 0, 0, 0 FROM billing_invoiceline
        """
        assert rule_that_refuses(app_connection, copied) == "billing_line_usage_once"
        with pytest.raises(errors.InsufficientPrivilege):
            app_connection.execute("UPDATE ledger_account SET balance = -1 WHERE code LIKE 'grant:%'")

    def test_cannot_let_periods_overlap_or_funding_differ(
        self, history: None, app_connection: psycopg.Connection
    ) -> None:
        overlapping = """
            INSERT INTO billing_billingperiod (subscription_id, starts_at, ends_at, plan_version_id, seats, kind, state)
            SELECT subscription_id, starts_at + interval '1 day', ends_at, plan_version_id, seats, 'regular', 'open'
            FROM billing_billingperiod
        """
        unfunded = """
            INSERT INTO billing_usageaccrual (period_id, revision, rated, included, credited, unbilled,
                                              aggregated_through, recorded_at)
            SELECT period_id, 2, 5, 0, 0, 4, now(), now() FROM billing_usageaccrual
        """
        assert rule_that_refuses(app_connection, unfunded) == "billing_accrual_rated_is_funded"
        assert rule_that_refuses(app_connection, overlapping) == "billing_period_no_overlap"


class TestWhatMayHappen:
    """The rules leave open what the operations need."""

    def test_a_line_learns_its_id_and_a_period_closes(self, history: None, app_connection: psycopg.Connection) -> None:
        for statement in (
            """INSERT INTO billing_invoiceline (invoice_id, kind, position, description, quantity, exact_amount,
                                                amount_minor, rounding, discount_minor, exclusive_tax_minor,
                                                inclusive_tax_minor)
               SELECT id, 'coverage', 2, 'included', 0, 0, 0, 0, 0, 0, 0 FROM billing_invoice""",
            "UPDATE billing_invoiceline SET stripe_line_id = 'il_2' WHERE stripe_line_id IS NULL",
            "UPDATE billing_planversion SET status = 'retired' WHERE status = 'published'",
            "UPDATE billing_customer SET name = 'Other', stripe_customer_id = 'cus_9'",
            "UPDATE billing_outboxintent SET attempts = attempts + 1, error = 'seen again'",
            "UPDATE billing_inboxevent SET state = 'done', processed_at = now(), outcome = 'known'",
            "UPDATE billing_invoice SET status = 'paid'",
        ):
            assert app_connection.execute(statement).rowcount == 1
