"""
The worked examples of payouts (docs/ledger-examples.md, 27), told at the sandbox; balances written down beforehand.

Ada has paid 20.00, of which Stripe kept 0.88; the money is available at once.
"""

from typing import Any

from django.db import transaction

from billing.payments.models import Payout
from billing.payments.payouts import project_payout
from billing.stripe import gateway
from tests.billing.accounting.stripe_story import amounts_of, balances, days_pass, discrepancies, post, subscribed
from tests.billing.thread import Thread

AVAILABLE = "pm_card_bypassPending"
SENT = """
    revenue:subscription  20.00
    fees:stripe            0.88
    payout:in_transit     19.12
"""
ARRIVED = """
    revenue:subscription  20.00
    fees:stripe            0.88
    bank                  19.12
"""
BACK = """
    revenue:subscription  20.00
    fees:stripe            0.88
    stripe:clearing       19.12
"""


def test_a_payout_is_on_its_way_and_arrives(thread: Thread) -> None:
    subscribed(thread, AVAILABLE)
    post("/v1/payouts", amount=1912, currency="usd")
    thread.settle()
    assert balances() == amounts_of(SENT)

    days_pass(thread, 2)

    assert balances() == amounts_of(ARRIVED)
    payout = Payout.objects.get()
    assert (payout.status, payout.arrived_at) == ("paid", payout.expected_at)
    assert discrepancies(thread, days_later=60) == []


def test_one_that_fails_comes_back(thread: Thread) -> None:
    subscribed(thread, AVAILABLE)
    thread.sandbox.choose_payout_account("000111111113")
    post("/v1/payouts", amount=1912, currency="usd")
    thread.settle()
    assert balances() == amounts_of(SENT)

    days_pass(thread, 2)

    assert balances() == amounts_of(BACK)
    assert (Payout.objects.get().status, Payout.objects.get().failure_code) == ("failed", "account_closed")
    assert discrepancies(thread, days_later=60) == []


def test_one_that_is_called_back_comes_back(thread: Thread) -> None:
    subscribed(thread, AVAILABLE)
    payout = post("/v1/payouts", amount=1912, currency="usd")
    post(f"/v1/payouts/{payout['id']}/cancel")
    thread.settle()

    assert balances() == amounts_of(BACK)
    assert Payout.objects.get().status == "canceled"


def test_one_that_had_arrived_and_fails_after_all_never_was_at_the_bank(thread: Thread) -> None:
    """Stripe: some payouts show as paid first. The sandbox's never do, so its answer is told by hand."""
    subscribed(thread, AVAILABLE)
    payout_id = post("/v1/payouts", amount=1912, currency="usd")["id"]
    thread.settle()
    days_pass(thread, 2)
    assert balances() == amounts_of(ARRIVED)
    paid = gateway.retrieve(f"/v1/payouts/{payout_id}", expand=("balance_transaction",))
    returned: dict[str, Any] = {
        **paid["balance_transaction"],
        "id": "txn_back",
        "type": "payout_failure",
        "reporting_category": "payout_reversal",
        "amount": 1912,
        "net": 1912,
        "source": payout_id,
    }
    failed = {**paid, "status": "failed", "failure_balance_transaction": returned, "failure_code": "account_closed"}

    for _ in range(2):
        with transaction.atomic():
            project_payout(failed, now=thread.now)

    assert balances() == amounts_of(BACK)
    payout = Payout.objects.get()
    assert payout.arrived_at is not None
    assert payout.returned_at is not None


def test_one_that_is_reversed_leaves_the_bank_again(thread: Thread) -> None:
    """A reversal is a payout of a negative amount."""
    subscribed(thread, AVAILABLE)
    payout = post("/v1/payouts", amount=1912, currency="usd")
    thread.settle()
    days_pass(thread, 2)
    post(f"/v1/payouts/{payout['id']}/reverse")
    thread.settle()
    on_its_way = """
        revenue:subscription  20.00
        fees:stripe            0.88
        bank                  19.12
        payout:in_transit    -19.12
        stripe:clearing       19.12
    """
    assert balances() == amounts_of(on_its_way)

    days_pass(thread, 2)

    assert balances() == amounts_of(BACK)
    assert discrepancies(thread, days_later=60) == []


def test_one_nobody_heard_of_again_is_named(thread: Thread) -> None:
    subscribed(thread, AVAILABLE)
    payout = post("/v1/payouts", amount=1912, currency="usd")
    thread.settle()

    assert discrepancies(thread, days_later=6) == []
    named = ("clearing_accounts", f"account payout:in_transit:USD: {payout['id']}", "0", "19.12")
    assert discrepancies(thread, days_later=8) == [named]
