"""
Tax, discount, prorations, credit notes and prepaid credit, from Stripe's own arithmetic to our books and back.

The plan costs 20.00 USD a month in advance; a million input tokens cost 3 USD, so 1,234,567 are 3.703701, charged as
3.70. Every figure was worked out by hand before the code ran; at the end of each story reconciliation finds nothing.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from billing.customers.models import Customer
from billing.invoicing.models import CreditNote, Invoice, PrepaidPurchase
from billing.invoicing.stripe_lines import PrepaidTerms
from billing.rating.operations import accrue_period
from billing.reconciliation.operations import reconcile
from billing.stripe import gateway
from billing.subscriptions.models import BillingPeriod, Subscription
from ledger import queries as ledger
from promotions.queries import available
from tests.billing.thread import SECOND_MONTH, START, Thread

OCT_10 = datetime(2026, 10, 10, 12, tzinfo=UTC)
OCT_16 = datetime(2026, 10, 16, 12, tzinfo=UTC)
TOKENS = 1_234_567


def post(path: str, **params: Any) -> dict[str, Any]:
    return gateway.request("post", path, params).data


def of_ada(*kinds: str) -> dict[str, Decimal]:
    """Balances of accounts that are not at zero: of Ada's by their kind, of the house's by their name."""
    found = {kind: ledger.balance_of(f"{kind}:ada:USD") for kind in kinds if kind in OF_A_CUSTOMER}
    found |= {kind: ledger.balance_of(f"{kind}:USD") for kind in kinds if kind not in OF_A_CUSTOMER}
    return {kind: amount for kind, amount in found.items() if amount}


OF_A_CUSTOMER = ("unbilled", "receivable", "balance", "refund_due", "prepaid_pending")


def assert_reconciled(thread: Thread) -> None:
    assert thread.unfinished() == []
    for period in BillingPeriod.objects.filter(state="open"):
        accrue_period(period_id=period.pk, now=thread.now)
    until = datetime.fromtimestamp(thread.sandbox.now(), tz=UTC) + timedelta(hours=1)
    run = reconcile(range_start=START, range_end=until, now=thread.now, actor="user:tester")
    assert [(found.subject, found.left_value, found.right_value) for found in run.discrepancies.all()] == []
    assert ledger.out_of_balance() == []


def cycle_invoice() -> Invoice:
    return Invoice.objects.get(billing_reason="subscription_cycle")


@pytest.fixture
def subscribed(thread: Thread) -> Thread:
    """Ada has paid her first 20.00 and used 1,234,567 tokens since."""
    thread.subscribe()
    thread.use(TOKENS, at=OCT_10)
    thread.settle()
    return thread


def on_subscription(**changes: Any) -> None:
    post(f"/v1/subscriptions/{Subscription.objects.get().stripe_subscription_id}", **changes)


def tax_rate(*, inclusive: bool) -> str:
    return str(post("/v1/tax_rates", display_name="VAT", percentage=20, inclusive=inclusive)["id"])


class TestTax:
    def test_on_top_of_fee_and_usage_is_owed_to_the_authorities(self, subscribed: Thread) -> None:
        """20 % of 20.00 is 4.00, of 3.70 it is 0.74: 28.44."""
        on_subscription(default_tax_rates=[tax_rate(inclusive=False)])
        subscribed.sandbox.advance(SECOND_MONTH)
        subscribed.settle()

        invoice = cycle_invoice()
        assert (invoice.status, invoice.total_minor, invoice.tax_minor) == ("paid", 2844, 474)
        assert {line.kind: line.exclusive_tax_minor for line in invoice.lines.all()} == {"usage": 74, "fee": 400}
        assert of_ada("unbilled", "receivable", "rounding", "tax:payable", "revenue:usage", "revenue:subscription") == {
            "rounding": Decimal("-0.003701"),
            "tax:payable": Decimal("4.74"),
            "revenue:usage": Decimal("3.703701"),
            "revenue:subscription": Decimal(40),
        }
        assert_reconciled(subscribed)

    def test_within_the_prices_is_no_revenue(self, subscribed: Thread) -> None:
        """20 % within 20.00 is 3.33, within 3.70 it is 0.62: 23.70 in all."""
        on_subscription(default_tax_rates=[tax_rate(inclusive=True)])
        subscribed.sandbox.advance(SECOND_MONTH)
        subscribed.settle()

        assert (cycle_invoice().status, cycle_invoice().total_minor, cycle_invoice().tax_minor) == ("paid", 2370, 395)
        assert of_ada("unbilled", "receivable", "rounding", "tax:payable", "revenue:usage", "revenue:subscription") == {
            "rounding": Decimal("-0.003701"),
            "tax:payable": Decimal("3.95"),
            "revenue:usage": Decimal("3.083701"),
            "revenue:subscription": Decimal("36.67"),
        }
        assert_reconciled(subscribed)


class TestDiscount:
    def test_takes_off_the_fee_and_not_the_usage(self, subscribed: Thread) -> None:
        """Usage lines are pushed as not discountable: 10 % of 20.00 is 2.00, so 21.70 is asked for."""
        post("/v1/coupons", id="TEN", percent_off=10, duration="forever")
        on_subscription(discounts=[{"coupon": "TEN"}])
        subscribed.sandbox.advance(SECOND_MONTH)
        subscribed.settle()

        assert (cycle_invoice().status, cycle_invoice().total_minor, cycle_invoice().discount_minor) == (
            "paid", 2170, 200,
        )  # fmt: skip
        assert of_ada("unbilled", "receivable", "contra:promotions", "revenue:usage", "revenue:subscription") == {
            "contra:promotions": Decimal(2),
            "revenue:usage": Decimal("3.703701"),
            "revenue:subscription": Decimal(40),
        }
        assert_reconciled(subscribed)


class TestProration:
    def test_of_a_seat_added_within_the_month_is_fee_on_the_next_invoice(self, subscribed: Thread) -> None:
        """At half of October, 15.5 of 31 days: 10.00 of the one seat come back, 20.00 for two are due; then 40.00."""
        item = gateway.retrieve(f"/v1/subscriptions/{Subscription.objects.get().stripe_subscription_id}")["items"]
        subscribed.sandbox.advance(OCT_16)
        on_subscription(items=[{"id": item["data"][0]["id"], "quantity": 2}], proration_behavior="create_prorations")
        subscribed.settle()
        subscribed.sandbox.advance(SECOND_MONTH)
        subscribed.settle()

        invoice = cycle_invoice()
        assert (invoice.status, invoice.total_minor) == ("paid", 370 + 4000 - 1000 + 2000)
        assert sorted((line.kind, line.amount_minor) for line in invoice.lines.all()) == [
            ("fee", -1000),
            ("fee", 2000),
            ("fee", 4000),
            ("usage", 370),
        ]
        assert of_ada("unbilled", "receivable", "revenue:subscription") == {"revenue:subscription": Decimal(70)}
        assert_reconciled(subscribed)


class TestCreditNote:
    def test_after_payment_goes_back_as_refund_as_balance_and_outside_stripe(self, subscribed: Thread) -> None:
        """10.00 of the fee of 20.00: 6.00 refunded, 3.00 onto the balance, 1.00 from the bank."""
        invoice = Invoice.objects.get()
        post(
            "/v1/credit_notes",
            invoice=invoice.stripe_invoice_id,
            lines=[{"type": "invoice_line_item", "invoice_line_item": self.fee_of(invoice), "amount": 1000}],
            refund_amount=600,
            credit_amount=300,
            out_of_band_amount=100,
        )
        subscribed.settle()
        subscribed.redeliver_everything()

        note = CreditNote.objects.get()
        assert (note.total_minor, note.to_balance_minor, note.refunded_minor) == (1000, 300, 600)
        assert note.lines.get().invoice_line == invoice.lines.get()
        shown = ("receivable", "refund_due", "balance", "bank", "contra:refunds", "stripe:in_transit")
        assert of_ada(*shown) == {
            "balance": Decimal(3),
            "bank": Decimal(-1),
            "contra:refunds": Decimal(10),
        }
        assert_reconciled(subscribed)

    def fee_of(self, invoice: Invoice) -> str:
        return str(invoice.lines.get(kind="fee").stripe_line_id)

    def test_for_a_refund_that_was_made_before_counts_once(self, subscribed: Thread) -> None:
        """7.00 were refunded without a reason; the credit note gives it, and nothing moves twice."""
        invoice = Invoice.objects.get()
        charge = next(gateway.listed("/v1/charges"))
        refund = post("/v1/refunds", charge=charge["id"], amount=700)
        subscribed.settle()
        assert of_ada("refund_due", "contra:refunds") == {"contra:refunds": Decimal(7)}
        post("/v1/credit_notes", invoice=invoice.stripe_invoice_id, amount=700, refunds=[{"refund": refund["id"]}])
        subscribed.settle()

        assert of_ada("refund_due", "contra:refunds") == {"contra:refunds": Decimal(7)}
        assert_reconciled(subscribed)

    def test_before_payment_is_not_asked_for_and_asked_for_again_once_void(self, subscribed: Thread) -> None:
        subscribed.use_card("ada", "pm_card_chargeCustomerFail")
        subscribed.sandbox.advance(SECOND_MONTH)
        subscribed.settle()
        invoice = cycle_invoice()
        assert (invoice.status, invoice.amount_remaining_minor) == ("open", 2370)

        made = post("/v1/credit_notes", invoice=invoice.stripe_invoice_id, amount=570)
        subscribed.settle()
        assert of_ada("receivable", "contra:refunds") == {"receivable": Decimal(18), "contra:refunds": Decimal("5.7")}
        assert_reconciled(subscribed)

        post(f"/v1/credit_notes/{made['id']}/void")
        subscribed.settle()
        assert of_ada("receivable", "contra:refunds") == {"receivable": Decimal("23.7")}
        assert (CreditNote.objects.get().status, cycle_invoice().credited_before_payment_minor) == ("void", 0)
        assert_reconciled(subscribed)

    def test_and_write_off_are_taken_back_by_a_void(self, subscribed: Thread) -> None:
        self.test_before_payment_is_not_asked_for_and_asked_for_again_once_void(subscribed)
        invoice = cycle_invoice().stripe_invoice_id
        post("/v1/credit_notes", invoice=invoice, amount=370)
        post(f"/v1/invoices/{invoice}/mark_uncollectible")
        subscribed.settle()
        assert of_ada("receivable", "bad_debt", "contra:refunds") == {
            "bad_debt": Decimal(20),
            "contra:refunds": Decimal("3.7"),
        }
        assert_reconciled(subscribed)

        post(f"/v1/invoices/{invoice}/void")
        subscribed.settle()
        assert of_ada("receivable", "bad_debt", "contra:refunds", "unbilled", "revenue:subscription") == {
            "unbilled": Decimal("3.703701"),
            "revenue:subscription": Decimal(20),
        }
        assert subscribed.unfinished() == []


class TestPrepaid:
    TERMS = PrepaidTerms(name="Top-up", bonus=Decimal(2), valid_days=60)

    def sold(self) -> str:
        """An open invoice of 10.00 of credit."""
        customer = Customer.objects.get().stripe_customer_id
        invoice = post("/v1/invoices", customer=customer, auto_advance=False)["id"]
        post(
            "/v1/invoiceitems", customer=customer, invoice=invoice, amount=1000, currency="usd",
            description="Top-up", metadata=self.TERMS.metadata(),
        )  # fmt: skip
        post(f"/v1/invoices/{invoice}/finalize", auto_advance=False)
        return str(invoice)

    def test_is_granted_once_it_is_paid_and_burnt_after_its_bonus(self, subscribed: Thread) -> None:
        """12.00 of credit for 10.00, then 7.407402 of usage: the bonus of 2.00, then 5.407402 that were paid."""
        invoice = self.sold()
        subscribed.settle()
        assert of_ada("receivable", "prepaid_pending") == {"receivable": Decimal(10), "prepaid_pending": Decimal(10)}

        post(f"/v1/invoices/{invoice}/pay")
        paid_at = datetime.fromtimestamp(subscribed.sandbox.now(), tz=UTC)
        subscribed.settle()
        subscribed.redeliver_everything()
        subscribed.use(TOKENS, at=paid_at + timedelta(days=12))
        subscribed.sandbox.advance(SECOND_MONTH)
        subscribed.settle()

        purchase = PrepaidPurchase.objects.get()
        assert purchase.grant_id is not None
        assert purchase.bonus_grant_id is not None
        assert available(purchase.bonus_grant_id) == 0
        assert available(purchase.grant_id) == Decimal("4.592598")
        assert of_ada("receivable", "prepaid_pending", "unbilled", "contra:promotions", "revenue:usage") == {
            "contra:promotions": Decimal(2),
            "revenue:usage": Decimal("7.407402"),
        }
        assert cycle_invoice().total_minor == 2000
        assert_reconciled(subscribed)

    def test_unused_is_refunded_by_a_credit_note(self, subscribed: Thread) -> None:
        """Of 10.00 paid, 4.00 go back to the card; 6.00 are left."""
        invoice = self.sold()
        post(f"/v1/invoices/{invoice}/pay")
        subscribed.settle()
        sold = PrepaidPurchase.objects.get().line
        post(
            "/v1/credit_notes",
            invoice=invoice,
            lines=[{"type": "invoice_line_item", "invoice_line_item": sold.stripe_line_id, "amount": 400}],
            refund_amount=400,
        )
        subscribed.settle()

        purchase = PrepaidPurchase.objects.get()
        assert purchase.grant_id is not None
        assert available(purchase.grant_id) == Decimal(6)
        assert of_ada("receivable", "refund_due", "contra:refunds", "prepaid_pending", "stripe:in_transit") == {}
        assert_reconciled(subscribed)


@pytest.mark.parametrize("is_seen_at_once", [True, False], ids=["one by one", "only at the end"])
def test_what_was_given_up_and_ended_after_all_is_told_alike_whenever_we_look(
    thread: Thread, is_seen_at_once: bool
) -> None:
    """Six invoices of 10.00, three of them credited with 3.00 before: each is written off and recovered when it was."""
    thread.subscribe()
    stripe_id = Customer.objects.get().stripe_customer_id
    ends: dict[str, dict[str, Any]] = {"pay": {}, "void": {}, "pay out of band": {"paid_out_of_band": True}}
    invoices = {(end, credited): one_off(stripe_id) for end in ends for credited in (0, 300)}
    thread.settle()

    def pass_an_hour() -> None:
        thread.sandbox.advance(datetime.fromtimestamp(thread.sandbox.now(), tz=UTC) + timedelta(hours=1))
        if is_seen_at_once:
            thread.settle()

    for (_, credited), invoice in invoices.items():
        if credited:
            post("/v1/credit_notes", invoice=invoice, amount=credited)
    pass_an_hour()
    for invoice in invoices.values():
        post(f"/v1/invoices/{invoice}/mark_uncollectible")
    pass_an_hour()
    for (end, _), invoice in invoices.items():
        post(f"/v1/invoices/{invoice}/{end.split()[0]}", **ends[end])
    pass_an_hour()
    thread.settle()

    expected = []
    for (_, credited), invoice in invoices.items():
        moments = gateway.retrieve(f"/v1/invoices/{invoice}")["status_transitions"]
        amount, ended_at = Decimal(1000 - credited) / 100, moments["paid_at"] or moments["voided_at"]
        assert ended_at - moments["marked_uncollectible_at"] >= 3600
        expected += [(f"written_off:{invoice}", amount, moments["marked_uncollectible_at"])]
        expected += [(f"recovered:{invoice}:0.00", -amount, ended_at)]
    assert bad_debts() == sorted(expected)
    assert of_ada("receivable", "bad_debt", "bank", "contra:refunds") == {
        "bank": Decimal(17),
        "contra:refunds": Decimal(6),  # what was credited on the void one is unwound
    }
    assert_reconciled(thread)


def one_off(stripe_customer_id: str | None) -> str:
    """An open invoice of 10.00 that nobody charges."""
    sent = {"collection_method": "send_invoice", "days_until_due": 30}
    invoice = post("/v1/invoices", customer=stripe_customer_id, auto_advance=False, **sent)["id"]
    post("/v1/invoiceitems", customer=stripe_customer_id, invoice=invoice, amount=1000, currency="usd",
         metadata={"kind": "one_off"})  # fmt: skip
    post(f"/v1/invoices/{invoice}/finalize", auto_advance=False)
    return str(invoice)


def bad_debts() -> list[tuple[str, Decimal, int]]:
    """By its key what each entry debits to bad debt, and the second at which it counts."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT je.idempotency_key, po.amount, extract(epoch FROM je.effective_at)::bigint"
            "  FROM ledger_journalentry je JOIN ledger_posting po ON po.entry_id = je.id"
            "  JOIN ledger_account ac ON ac.id = po.account_id WHERE ac.kind = 'bad_debt' ORDER BY 1"
        )
        return cursor.fetchall()
