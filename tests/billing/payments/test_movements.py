"""Every movement at Stripe is entered once, on the accounts DESIGN §5 names; amounts were worked out by hand."""

from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction

from billing.customers.models import Customer
from billing.payments.models import BalanceTransaction, CustomerBalanceTransaction, Payment
from billing.payments.operations import record_balance_transactions, record_customer_balance_transactions
from billing.stripe import gateway, poll
from billing.stripe.models import InboxEvent
from ledger import queries as ledger_queries
from tests.billing.thread import SECOND_MONTH, Thread

CREATED = 1_790_000_000


def movement(stripe_id: str, kind: str, amount: int, *, fee: int = 0, currency: str = "usd") -> dict[str, Any]:
    return {
        "id": stripe_id,
        "object": "balance_transaction",
        "type": kind,
        "currency": currency,
        "amount": amount,
        "fee": fee,
        "net": amount - fee,
        "source": f"source_of_{stripe_id}",
        "created": CREATED,
    }


def record(thread: Thread, *movements: dict[str, Any]) -> int:
    with transaction.atomic():
        return record_balance_transactions(movements, now=thread.now)


class TestBalanceTransactions:
    @pytest.mark.parametrize(
        ("kind", "amount", "fee", "balances"),
        [
            ("charge", 2000, 88, {"stripe:clearing": "19.12", "fees:stripe": "0.88", "stripe:in_transit": "-20"}),
            ("refund", -2000, 0, {"stripe:clearing": "-20", "stripe:in_transit": "20"}),
            ("payout", -5000, 0, {"stripe:clearing": "-50", "payout:in_transit": "50"}),
            ("payout_failure", 5000, 0, {"stripe:clearing": "50", "payout:in_transit": "-50"}),
            ("stripe_fee", -300, 0, {"stripe:clearing": "-3", "fees:stripe": "3"}),
            ("climate_order_purchase", -700, 0, {"stripe:clearing": "-7", "suspense": "7"}),
        ],
    )
    def test_go_to_the_accounts_of_their_kind(
        self, thread: Thread, kind: str, amount: int, fee: int, balances: dict[str, str]
    ) -> None:
        thread.subscribe()  # opens the accounts
        assert record(thread, movement("txn_1", kind, amount, fee=fee)) == 1

        assert thread.balances() == {name: Decimal(value).normalize() for name, value in balances.items()}

    def test_are_entered_once_by_their_id(self, thread: Thread) -> None:
        thread.subscribe()
        one, other = movement("txn_1", "charge", 2000, fee=88), movement("txn_2", "payout", -1000)

        assert [record(thread, one), record(thread, one, other), record(thread, other, one)] == [1, 1, 0]

        assert BalanceTransaction.objects.count() == 2
        assert thread.balances()["stripe:clearing"] == Decimal("9.12")

    def test_in_a_currency_no_customer_has_open_its_accounts(self, thread: Thread) -> None:
        record(thread, movement("txn_1", "charge", 5000, fee=200, currency="jpy"))

        assert ledger_queries.balance_of("stripe:clearing:JPY") == Decimal(4800)

    def test_of_nothing_have_no_entry(self, thread: Thread) -> None:
        assert record(thread, movement("txn_1", "stripe_fee", 0)) == 0


class TestCustomerBalance:
    def record(self, thread: Thread, kind: str, amount: int) -> None:
        customer = Customer.objects.get()
        fetched = {
            "id": f"cbtxn_{kind}",
            "type": kind,
            "currency": "usd",
            "amount": amount,
            "ending_balance": amount,
            "invoice": None,
            "created": CREATED,
        }
        with transaction.atomic():
            record_customer_balance_transactions([fetched], customer=customer, now=thread.now)
            record_customer_balance_transactions([fetched], customer=customer, now=thread.now)

    @pytest.mark.parametrize(
        ("kind", "amount", "balances"),
        [
            ("invoice_too_small", 30, {"balance": "-0.3", "receivable": "-0.3"}),
            ("applied_to_invoice", -30, {"balance": "0.3", "receivable": "0.3"}),
            ("unapplied_from_invoice", 30, {"balance": "-0.3", "receivable": "-0.3"}),
            ("invoice_overpaid", -500, {"balance": "5", "receivable": "5"}),
            ("adjustment", -1000, {"balance": "10", "contra:adjustments": "10"}),
            ("credit_note", -1000, {"balance": "10", "refund_due": "-10"}),
            ("migration", -1000, {"balance": "10", "suspense": "10"}),
        ],
    )
    def test_stands_against_what_caused_it(
        self, thread: Thread, kind: str, amount: int, balances: dict[str, str]
    ) -> None:
        """Above zero the customer owes more (Stripe's sign), so our liability falls. Said twice it is entered once."""
        thread.subscribe()
        self.record(thread, kind, amount)

        assert thread.balances() == {name: Decimal(value).normalize() for name, value in balances.items()}

    def test_given_by_hand_at_stripe_is_followed_and_used_by_the_next_invoice(self, thread: Thread) -> None:
        """5.00 USD of credit: the first invoice of 20.00 was paid (0.88 fee), the next takes 15.00 (0.74 fee)."""
        thread.subscribe()
        thread.settle()
        customer = Customer.objects.get()
        params = {"amount": -500, "currency": "usd"}
        gateway.request("post", f"/v1/customers/{customer.stripe_customer_id}/balance_transactions", params)
        thread.settle()
        assert thread.balances()["balance"] == Decimal(5)

        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()

        assert thread.balances() == {
            "revenue:subscription": Decimal(40).normalize(),
            "contra:adjustments": Decimal(5),
            "stripe:clearing": Decimal("33.38"),
            "fees:stripe": Decimal("1.62"),
        }
        kinds = CustomerBalanceTransaction.objects.order_by("id").values_list("type", flat=True)
        assert list(kinds) == ["adjustment", "applied_to_invoice"]


class TestMissedEvents:
    def test_are_found_in_stripes_list_and_projected(self, thread: Thread) -> None:
        """No webhook ever came."""
        thread.subscribe()
        missed = poll.fetch_missed_events(now=thread.now)
        assert missed
        assert set(InboxEvent.objects.values_list("source", flat=True)) == {"poll"}
        thread.settle()

        assert Payment.objects.get().status == "succeeded"
        assert thread.balances()["stripe:clearing"] == Decimal("19.12")

    def test_are_not_stored_twice_nor_counted_as_deliveries(self, thread: Thread) -> None:
        thread.subscribe()
        thread.settle()
        stored = InboxEvent.objects.count()

        assert [poll.fetch_missed_events(now=thread.now) for _ in range(2)] == [[], []]
        cache.clear()
        assert poll.fetch_missed_events(now=thread.now) == []

        assert InboxEvent.objects.count() == stored
        assert set(InboxEvent.objects.values_list("deliveries", flat=True)) == {1}

    def test_movements_nobody_told_us_of_are_found_in_their_list(self, thread: Thread) -> None:
        thread.subscribe()

        assert poll.fetch_missed_balance_transactions(now=thread.now) == 1
        assert poll.fetch_missed_balance_transactions(now=thread.now) == 0
        assert BalanceTransaction.objects.get().type == "charge"
        thread.settle()
        assert thread.balances() == {
            "revenue:subscription": Decimal(20).normalize(),
            "stripe:clearing": Decimal("19.12"),
            "fees:stripe": Decimal("0.88"),
        }
