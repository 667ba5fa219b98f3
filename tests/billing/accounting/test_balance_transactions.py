"""Every type of Stripe's balance transactions has its place, and a converted one is exact in both currencies."""

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from billing.accounting.balance_transactions import (
    ADJUSTMENTS,
    PLACES,
    SUSPENDED,
    Movement,
    balance_transaction_draft,
    place_of,
)
from billing.accounting.chart import SYSTEM_ACCOUNTS
from billing.customers.models import Customer
from billing.payments.models import BalanceTransaction, Payment
from billing.payments.operations import record_balance_transactions
from billing.stripe import gateway, poll
from billing.stripe.errors import ProjectionRefused
from ledger.drafts import JournalEntryDraft
from tests.billing.accounting.stripe_story import amounts_of, balances, discrepancies, payment_of, post, subscribed
from tests.billing.thread import Thread
from tests.sandbox.core.document import DOCUMENT_PATH

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)


def types_of_the_document() -> set[str]:
    with gzip.open(DOCUMENT_PATH, "rt", encoding="utf-8") as document:
        schema = json.load(document)["components"]["schemas"]["balance_transaction"]
    return set(schema["properties"]["type"]["enum"])


def draft(kind: str, amount: str, *, category: str = "", fee: str = "0", source: str = "", **more: Any) -> Any:
    given = {"currency": "USD", "source_id": source, "occurred_at": NOON, **more}
    return balance_transaction_draft(
        Movement(
            stripe_id="txn_1",
            type=kind,
            reporting_category=category,
            amount=Decimal(amount),
            fee=Decimal(fee),
            **given,
        )
    )


def moved(entry: JournalEntryDraft) -> dict[str, Decimal]:
    return {line.account: line.amount for line in entry.lines}


class TestPlaces:
    def test_every_type_of_the_document_was_thought_of(self) -> None:
        assert types_of_the_document() == set(PLACES) | SUSPENDED | {"adjustment"}
        assert not set(PLACES) & SUSPENDED

    def test_every_place_is_an_account_of_the_chart(self) -> None:
        names = {account.name for account in SYSTEM_ACCOUNTS}
        assert {account for account, _ in [*PLACES.values(), *ADJUSTMENTS.values()]} <= names

    @pytest.mark.parametrize("kind", sorted(SUSPENDED | {"adjustment", "a type of tomorrow"}))
    def test_what_is_not_known_is_seen_in_suspense(self, kind: str) -> None:
        assert place_of(kind, "other_adjustment") == ("suspense", "stripe_unknown")

    @pytest.mark.parametrize(
        ("kind", "category", "amount", "fee", "lines"),
        [
            ("charge", "charge", "20", "0.88", "stripe:clearing 19.12 fees:stripe 0.88 stripe:in_transit -20"),
            ("refund", "refund", "-20", "0", "stripe:clearing -20 stripe:in_transit 20"),
            ("adjustment", "dispute", "-20", "15", "stripe:clearing -35 fees:stripe 15 disputes 20"),
            ("adjustment", "dispute_reversal", "20", "0", "stripe:clearing 20 disputes -20"),
            ("adjustment", "refund_failure", "20", "0", "stripe:clearing 20 stripe:in_transit -20"),
            ("stripe_fee", "fee", "-3", "0", "stripe:clearing -3 fees:stripe 3"),
            ("tax_fee", "tax", "-0.57", "0", "stripe:clearing -0.57 fees:stripe 0.57"),
            ("payout", "payout", "-50", "0", "stripe:clearing -50 payout:in_transit 50"),
            ("payout_cancel", "payout_reversal", "50", "0", "stripe:clearing 50 payout:in_transit -50"),
            ("topup", "topup", "100", "0", "stripe:clearing 100 bank -100"),
            ("reserve_hold", "risk_reserved_funds", "-9", "0", "stripe:clearing -9 stripe:reserve 9"),
            ("transfer", "transfer", "-9", "0", "stripe:clearing -9 suspense 9"),
        ],
    )
    def test_its_entry(self, kind: str, category: str, amount: str, fee: str, lines: str) -> None:
        words = lines.split()
        expected = {f"{a}:USD": Decimal(b) for a, b in zip(words[::2], words[1::2], strict=True)}

        assert moved(draft(kind, amount, category=category, fee=fee)) == expected

    @pytest.mark.parametrize(
        ("source", "noun"),
        [("ch_1", "charge"), ("py_1", "charge"), ("re_1", "refund"), ("pyr_1", "refund"), ("du_1", "dispute"),
         ("dp_1", "dispute"), ("po_1", "payout")],
    )  # fmt: skip
    def test_its_cause_names_its_source(self, source: str, noun: str) -> None:
        assert draft("charge", "1", source=source).cause == {"balance_transaction": "txn_1", noun: source}
        assert draft("charge", "1", source="tu_1").cause == {"balance_transaction": "txn_1"}


def converted(thread: Thread, stripe_id: str, *, amount: int, fee: int, rate: str) -> None:
    """Stripe settled this movement in dollars, at its own rate."""
    changes = {"amount": amount, "fee": fee, "net": amount - fee, "currency": "usd", "exchange_rate": float(rate)}
    thread.sandbox.alter(stripe_id, **changes)


def movements_at_stripe(kind: str) -> list[str]:
    return [one["id"] for one in gateway.listed("/v1/balance_transactions", type=kind)]


class TestConversion:
    """
    10.00 EUR that arrive as 12.34 USD, of which Stripe keeps 0.66; refunded whole at another rate, for 12.40 USD.

    `fx` shows what the two rates cost: 0.06 USD, and nothing in euros.
    """

    def paid_in_euros(self, thread: Thread) -> str:
        subscribed(thread)
        intent = payment_of(Customer.objects.get(), 1000, currency="eur")
        (eur_charge, _) = movements_at_stripe("charge")
        converted(thread, eur_charge, amount=1234, fee=66, rate="1.234")
        return intent

    def test_is_exact_on_both_sides(self, thread: Thread) -> None:
        self.paid_in_euros(thread)
        thread.settle()

        expected = """
            revenue:subscription  20.00
            refund_due:EUR        10.00
            fx:EUR                10.00
            fx                   -12.34
            fees:stripe            1.54
            stripe:clearing       30.80
        """
        assert balances() == amounts_of(expected)
        row = BalanceTransaction.objects.get(currency="USD", source_currency="EUR")
        assert (row.source_amount_minor, row.exchange_rate) == (1000, "1.234")
        assert discrepancies(thread) == []

    def test_found_in_stripes_list_first_it_is_the_same_entry(self, thread: Thread) -> None:
        self.paid_in_euros(thread)
        assert poll.fetch_missed_balance_transactions(now=thread.now) == 1

        thread.settle()

        assert balances()["fx:EUR"] == 10
        assert "stripe:in_transit:EUR" not in balances()
        assert BalanceTransaction.objects.filter(source_currency="EUR").count() == 1

    def test_a_refund_at_another_rate_leaves_what_the_rates_cost(self, thread: Thread) -> None:
        intent = self.paid_in_euros(thread)
        post("/v1/refunds", payment_intent=intent)
        (refund,) = movements_at_stripe("refund")
        converted(thread, refund, amount=-1240, fee=0, rate="1.24")
        thread.settle()

        expected = """
            revenue:subscription  20.00
            fx                     0.06
            fees:stripe            1.54
            stripe:clearing       18.40
        """
        assert balances() == amounts_of(expected)
        assert Payment.objects.filter(currency="EUR").count() == 1
        assert discrepancies(thread, days_later=60) == []

    def test_without_its_source_it_is_refused(self, thread: Thread) -> None:
        self.paid_in_euros(thread)
        (found, _) = gateway.listed("/v1/balance_transactions", type="charge")

        with pytest.raises(ProjectionRefused, match="was not fetched"), transaction.atomic():
            record_balance_transactions([found], now=thread.now)

        assert BalanceTransaction.objects.count() == 1


class TestSuspense:
    def test_is_named_at_once(self, thread: Thread) -> None:
        payment = subscribed(thread)
        (charge,) = gateway.listed("/v1/balance_transactions", type="charge")
        strange = {**charge, "id": "txn_strange", "type": "contribution", "amount": -700, "net": -700, "fee": 0}
        with transaction.atomic():
            record_balance_transactions([{**strange, "source": None}], now=thread.now)
        assert payment.stripe_charge_id

        found = [one for one in discrepancies(thread) if one[0] == "clearing_accounts"]

        assert found == [("clearing_accounts", "account suspense:USD: txn_strange", "0", "7")]
