"""
Whole lives against the sandbox. Every figure was worked out by hand before the code ran.

The plan costs 20.00 USD a month in advance; a million input tokens cost 3 USD; Stripe's fee is 2.9 % + 0.30 USD of
each charge, so 0.88 of 20.00.
"""

import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.invoicing.closing import advance_close
from billing.invoicing.holding import release_close
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.queries import due_closes
from billing.payments.models import CustomerBalanceTransaction, Payment
from billing.stripe import gateway, readers
from billing.subscriptions.models import BillingPeriod, Subscription
from ledger import queries as ledger_queries
from promotions.operations import issue_grant
from tests.billing.invoicing.ordering import FINANCE, people
from tests.billing.thread import MODEL, SECOND_MONTH, START, Crasher, Thread
from tests.sandbox.client import SandboxProcess

OCT_10 = datetime(2026, 10, 10, 12, tzinfo=UTC)
NOV_10 = datetime(2026, 11, 10, 12, tzinfo=UTC)
THIRD_MONTH = datetime(2026, 12, 1, tzinfo=UTC)


def amounts(**balances: str) -> dict[str, Decimal]:
    return {name.replace("__", ":"): Decimal(amount).normalize() for name, amount in balances.items()}


def cycle_invoice() -> Invoice:
    return Invoice.objects.get(billing_reason="subscription_cycle")


class TestUsageAndFee:
    # 1,234,567 tokens are 3.703701 USD, charged as 3.70; the second invoice is 23.70, Stripe keeps 0.99 of it.
    BALANCES = amounts(
        revenue__usage="3.703701",
        revenue__subscription="40",
        rounding="-0.003701",
        stripe__clearing="41.83",
        fees__stripe="1.87",
    )

    def test_are_invoiced_paid_and_entered(self, thread: Thread) -> None:
        thread.subscribe()
        thread.settle()
        thread.use(1_234_567, at=OCT_10)
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()

        assert thread.unfinished() == []
        assert thread.balances() == self.BALANCES
        assert ledger_queries.out_of_balance() == []
        invoice = cycle_invoice()
        assert (invoice.status, invoice.total_minor, invoice.amount_remaining_minor) == ("paid", 2370, 0)
        assert [(line.kind, line.amount_minor) for line in invoice.lines.all()] == [("usage", 370), ("fee", 2000)]
        assert all(line.stripe_line_id for line in invoice.lines.all())
        assert [step.step for step in invoice.close.steps.all()] == [
            "started",
            "accrued",
            "items_pushed",
            "verified",
            "proved",
            "finalized",
        ]
        periods = BillingPeriod.objects.order_by("starts_at").values_list("starts_at", "state")
        assert list(periods) == [(START, "closed"), (SECOND_MONTH, "open")]
        assert Payment.objects.filter(status="succeeded", invoice__isnull=False).count() == 2
        assert thread.sandbox.problems() == []

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_end_the_same_when_every_event_comes_three_times_in_any_order(self, thread: Thread, seed: int) -> None:
        chance = random.Random(seed)
        thread.subscribe()
        thread.use(1_234_567, at=OCT_10)
        thread.settle(copies=3, shuffle=chance)
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle(copies=3, shuffle=chance)
        entries = ledger_queries.count_entries()
        thread.redeliver_everything()

        assert thread.unfinished() == []
        assert thread.balances() == self.BALANCES
        assert ledger_queries.count_entries() == entries
        # Sent to Stripe once each: one take-over, one push of lines, one finalisation.
        assert thread.calls_counted("POST /v1/invoices/") == 3

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_end_the_same_when_workers_die_before_statements_chosen_by_chance(self, thread: Thread, seed: int) -> None:
        thread.subscribe()
        thread.use(1_234_567, at=OCT_10)
        thread.settle()
        thread.crasher = Crasher(random.Random(seed), statements_max=40, crashes_max=12)
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()

        assert thread.crasher.crashes > 2
        assert thread.unfinished() == []
        assert thread.balances() == self.BALANCES
        assert ledger_queries.out_of_balance() == []
        # Sent again after a crash, and recognised by Stripe each time.
        _, lines = readers.invoice_with_lines(cycle_invoice().stripe_invoice_id)
        assert sorted(line["amount"] for line in lines) == [370, 2000]

    def test_go_on_the_next_invoice_when_stripe_finalised_the_draft_before_any_event_came(self, thread: Thread) -> None:
        thread.subscribe()
        thread.use(1_234_567, at=OCT_10)
        thread.sandbox.advance(datetime(2026, 11, 2, tzinfo=UTC))
        thread.settle()

        invoice = cycle_invoice()
        assert (invoice.status, invoice.total_minor) == ("paid", 2000)
        assert "before its usage was on it" in invoice.close.held_reason

        thread.advance_our_clock_to(THIRD_MONTH)
        thread.sandbox.advance(THIRD_MONTH)
        thread.settle()
        latest = Invoice.objects.order_by("-created_at")[0]
        assert (latest.status, latest.total_minor) == ("paid", 2370)
        assert "Late usage of 01 Oct 2026 – 01 Nov 2026" in latest.lines.all()[0].description
        assert BillingPeriod.objects.filter(state="open").count() == 1
        assert "unbilled" not in thread.balances()


class TestCoverage:
    def test_allowance_and_grant_are_zero_lines_and_only_the_rest_is_charged(
        self, committed_db: None, at_sandbox: SandboxProcess
    ) -> None:
        """5 million tokens are 15 USD: 4 by the allowance, 6 by the grant, 5 on the invoice."""
        thread = Thread(at_sandbox, included="4")
        thread.subscribe()
        issue_grant(
            customer_key="ada",
            kind="promotional",
            name="Welcome",
            amount=Decimal(6),
            currency="USD",
            effective_at=START,
            expires_at=None,
            reason="a test",
            actor="user:tester",
            idempotency_key="welcome",
            recorded_at=thread.now,
        )
        thread.use(5_000_000, at=OCT_10)
        thread.settle()
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()

        assert [(line.kind, line.amount_minor, line.description) for line in cycle_invoice().lines.all()] == [
            ("usage", 500, f"{MODEL} input tokens: 5,000,000 × 3 USD per 1,000,000 = 15 USD, of which 10 USD covered"),
            ("coverage", 0, "Included usage: 4 of 4 USD used"),
            ("coverage", 0, "Credit “Welcome”: 6 USD used"),
            ("fee", 2000, "1 × Pro (at $20.00 / month)"),
        ]
        balances = thread.balances()
        # 25.00 is charged: fee 1.03; with the first 20.00 (0.88) that is 1.91.
        assert balances == amounts(
            revenue__usage="15",
            revenue__subscription="40",
            contra__included="4",
            contra__promotions="6",
            stripe__clearing="43.09",
            fees__stripe="1.91",
        )


class TestSubMinimumInvoice:
    """0.30 USD is less than Stripe charges (0.50): the invoice counts as paid and the customer's balance owes it."""

    @pytest.fixture
    def free_plan(self, committed_db: None, at_sandbox: SandboxProcess) -> Thread:
        thread = Thread(at_sandbox, fee_minor=0)
        thread.subscribe()
        thread.use(100_000, at=OCT_10)
        thread.settle()
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()
        return thread

    def test_moves_to_the_customer_balance(self, free_plan: Thread) -> None:
        assert free_plan.unfinished() == []
        assert free_plan.balances() == amounts(revenue__usage="0.30", balance="-0.30")
        movement = CustomerBalanceTransaction.objects.get()
        assert (movement.type, movement.amount_minor, movement.ending_balance_minor) == ("invoice_too_small", 30, 30)
        invoice = cycle_invoice()
        assert (invoice.status, invoice.total_minor, invoice.amount_due_minor) == ("paid", 30, 0)

    def test_is_asked_for_on_the_next_invoice(self, free_plan: Thread) -> None:
        """3.00 USD of new usage and the 0.30: 3.30 is charged, of which Stripe keeps 0.40 (0.0957 + 0.30)."""
        free_plan.use(1_000_000, at=NOV_10)
        free_plan.advance_our_clock_to(THIRD_MONTH)
        free_plan.sandbox.advance(THIRD_MONTH)
        free_plan.settle()

        invoice = Invoice.objects.order_by("-created_at")[0]
        assert (invoice.status, invoice.total_minor, invoice.amount_due_minor) == ("paid", 300, 330)
        assert free_plan.balances() == amounts(revenue__usage="3.30", stripe__clearing="2.90", fees__stripe="0.40")

    def test_below_half_a_cent_goes_into_rounding(self, committed_db: None, at_sandbox: SandboxProcess) -> None:
        """1,000 tokens are 0.003 USD: nothing is charged, nothing stays unbilled."""
        thread = Thread(at_sandbox, fee_minor=0)
        thread.subscribe()
        thread.use(1_000, at=OCT_10)
        thread.settle()
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()

        assert (cycle_invoice().status, cycle_invoice().total_minor) == ("paid", 0)
        assert thread.balances() == amounts(revenue__usage="0.003", rounding="-0.003")


class TestDeclinedCard:
    def test_leaves_an_open_invoice_and_a_past_due_subscription(self, thread: Thread) -> None:
        thread.subscribe()
        thread.settle()
        thread.use_card("ada", "pm_card_chargeCustomerFail")
        thread.use(1_000_000, at=OCT_10)
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()

        assert thread.unfinished() == []
        invoice = cycle_invoice()
        assert (invoice.status, invoice.total_minor, invoice.amount_remaining_minor) == ("open", 2300, 2300)
        assert Subscription.objects.get().status == "past_due"
        payment = Payment.objects.get(invoice=invoice)
        assert (payment.status, payment.amount_minor, payment.failure_code) == ("failed", 2300, "card_declined")
        assert payment.failure_message
        assert thread.balances() == amounts(
            revenue__usage="3",
            revenue__subscription="40",
            receivable="23",
            stripe__clearing="19.12",
            fees__stripe="0.88",
        )

    def test_is_paid_once_a_later_try_succeeds(self, thread: Thread) -> None:
        self.test_leaves_an_open_invoice_and_a_past_due_subscription(thread)
        thread.use_card("ada", "pm_card_visa")
        gateway.request("post", f"/v1/invoices/{cycle_invoice().stripe_invoice_id}/pay")
        thread.settle()

        assert (cycle_invoice().status, Subscription.objects.get().status) == ("paid", "active")
        # 23.00 cost 0.97 (0.667 + 0.30).
        assert thread.balances() == amounts(
            revenue__usage="3", revenue__subscription="40", stripe__clearing="41.15", fees__stripe="1.85"
        )


class TestVoid:
    def test_takes_the_finalisation_back_so_that_the_usage_is_unbilled_again(self, thread: Thread) -> None:
        TestDeclinedCard().test_leaves_an_open_invoice_and_a_past_due_subscription(thread)
        gateway.request("post", f"/v1/invoices/{cycle_invoice().stripe_invoice_id}/void")
        thread.settle()

        assert thread.unfinished() == []
        assert cycle_invoice().status == "void"
        assert thread.balances() == amounts(
            revenue__usage="3",
            unbilled="3",
            revenue__subscription="20",
            stripe__clearing="19.12",
            fees__stripe="0.88",
        )


class TestForeignInvoice:
    def test_with_a_line_of_unknown_kind_is_set_aside_and_nothing_is_entered(self, thread: Thread) -> None:
        thread.subscribe()
        thread.settle()
        before = thread.balances()
        customer = Subscription.objects.get().customer.stripe_customer_id
        invoice = gateway.request("post", "/v1/invoices", {"customer": customer, "auto_advance": False}).data
        item = {
            "customer": customer,
            "invoice": invoice["id"],
            "amount": 500,
            "currency": "usd",
            "description": "Extra",
        }
        gateway.request("post", "/v1/invoiceitems", item)
        gateway.request("post", f"/v1/invoices/{invoice['id']}/finalize", {"auto_advance": False})
        thread.settle()

        set_aside = [(state, error) for _, state, error in thread.unfinished()]
        assert {state for state, _ in set_aside} == {"dead"}
        assert all("(Extra, 500) of the finalised invoice" in error for _, error in set_aside)
        assert thread.balances() == before
        assert not Invoice.objects.filter(stripe_invoice_id=invoice["id"], finalized_at__isnull=False).exists()


class TestLateUsage:
    def test_is_explained_on_the_next_invoice(self, thread: Thread) -> None:
        thread.subscribe()
        thread.use(1_000_000, at=OCT_10)
        thread.settle()
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()
        thread.use(2_000_000, at=OCT_10)
        thread.advance_our_clock_to(THIRD_MONTH)
        thread.sandbox.advance(THIRD_MONTH)
        thread.settle()

        lines = Invoice.objects.order_by("-created_at")[0].lines.all()
        assert [(line.kind, line.amount_minor, line.description) for line in lines] == [
            ("usage", 600, f"Late usage of 01 Oct 2026 – 01 Nov 2026: {MODEL} input tokens: 2,000,000 units, 6 USD"),
            ("fee", 2000, "1 × Pro (at $20.00 / month)"),
        ]
        assert "unbilled" not in thread.balances()


class TestVerification:
    @pytest.fixture
    def pushed(self, thread: Thread) -> InvoiceClose:
        """A close whose lines are at Stripe and not compared yet."""
        thread.subscribe()
        thread.settle()
        thread.use(1_000_000, at=OCT_10)
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle(is_closing=False)
        (close_id,) = due_closes(now=thread.now, limit=10)
        assert advance_close(close_id=close_id, now=thread.now) == "accrued"
        assert advance_close(close_id=close_id, now=thread.now) == "items_pushed"
        return InvoiceClose.objects.get(pk=close_id)

    def stripe_line(self, close: InvoiceClose, kind: str) -> str:
        _, lines = readers.invoice_with_lines(close.invoice.stripe_invoice_id)
        is_ours = {line["id"]: bool(line["metadata"].get("line")) for line in lines}
        return next(line_id for line_id, ours in is_ours.items() if ours == (kind == "usage"))

    @pytest.mark.parametrize(
        ("kind", "reason"),
        [("usage", "charges 301 instead of 300"), ("fee", "the subscription fee is 301 instead of 2000")],
    )
    def test_a_line_changed_at_stripe_holds_the_invoice(
        self, thread: Thread, pushed: InvoiceClose, kind: str, reason: str
    ) -> None:
        thread.sandbox.alter(self.stripe_line(pushed, kind), amount=301)
        thread.settle()

        pushed.refresh_from_db()
        assert reason in pushed.held_reason
        assert (pushed.step, cycle_invoice().status) == ("items_pushed", "draft")
        assert gateway.retrieve(f"/v1/invoices/{cycle_invoice().stripe_invoice_id}")["status"] == "draft"

    def test_a_foreign_line_holds_the_invoice(self, thread: Thread, pushed: InvoiceClose) -> None:
        invoice = pushed.invoice
        params = {
            "customer": invoice.customer.stripe_customer_id,
            "invoice": invoice.stripe_invoice_id,
            "amount": 500,
            "currency": "usd",
            "description": "Extra",
        }
        gateway.request("post", "/v1/invoiceitems", params)
        thread.settle()

        pushed.refresh_from_db()
        assert "(Extra, 500) is of a kind not known here" in pushed.held_reason
        assert "the total is 2800 instead of 2300" in pushed.held_reason

    def test_a_held_close_goes_on_once_it_was_mended_and_released(self, thread: Thread, pushed: InvoiceClose) -> None:
        line = self.stripe_line(pushed, "usage")
        thread.sandbox.alter(line, amount=301)
        thread.settle()
        thread.sandbox.alter(line, amount=300)
        people()
        release_close(close_id=pushed.pk, words="mended", actor=FINANCE, now=thread.now)
        thread.settle()

        assert (cycle_invoice().status, cycle_invoice().total_minor) == ("paid", 2300)

    def test_waits_while_usage_is_not_aggregated(self, thread: Thread) -> None:
        an_hour_before = datetime(2026, 10, 31, 23, tzinfo=UTC)
        thread.subscribe()
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle(aggregated_until=an_hour_before)

        close = InvoiceClose.objects.get()
        assert close.step == "started"
        assert close.error == "usage received before 2026-11-01 00:00:00 is not aggregated yet"
        thread.settle()
        assert cycle_invoice().status == "paid"
