"""The balance, payouts by request and by schedule, and top-ups: every figure the sum of its transactions."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.test_payment_intents import pay

BYPASS = "pm_card_bypassPending"


def amounts(account: Account) -> tuple[int, int]:
    """Available and pending, checked against the transactions."""
    balance = account.api.balance.retrieve()
    available, pending = balance.available[0].amount, balance.pending[0].amount
    sums = {"available": 0, "pending": 0}
    for transaction in account.api.balance_transactions.list({"limit": 100}).auto_paging_iter():
        sums[transaction.status] += transaction.net
    assert (available, pending) == (sums["available"], sums["pending"])
    return available, pending


def payout(account: Account, amount: int = 1000, **fields: Any) -> Any:
    return account.api.payouts.create({"amount": amount, "currency": "usd", **fields})


def test_pending_until_two_days_later(account: Account, sandbox: SandboxProcess) -> None:
    pay(account)
    pay(account, amount=1000)
    assert amounts(account) == (0, 2853)  # 2000 - 88 and 1000 - 59

    sandbox.advance("2026-10-03T00:00:00Z")

    assert amounts(account) == (2853, 0)
    [event] = account.api.events.list({"type": "balance.available"}).data
    assert event.data.object.available[0].amount == 2853


def test_card_whose_money_is_available_at_once(account: Account) -> None:
    pay(account, BYPASS)

    assert amounts(account) == (1912, 0)
    assert account.event_types()[-1] == "balance.available"


def test_payout_on_its_way(account: Account, sandbox: SandboxProcess) -> None:
    pay(account, BYPASS)

    made = payout(account, 1100, description="March")

    assert (made.status, made.automatic, made.reconciliation_status) == ("pending", False, "not_applicable")
    assert made.arrival_date == sandbox.now() + 2 * 86_400
    transaction = account.api.balance_transactions.retrieve(made.balance_transaction)
    assert (transaction.type, transaction.amount, transaction.fee) == ("payout", -1100, 0)
    assert amounts(account) == (812, 0)
    sandbox.advance("2026-10-02T00:00:00Z")
    assert account.api.payouts.retrieve(made.id).status == "in_transit"
    sandbox.advance("2026-10-03T00:00:00Z")
    assert account.api.payouts.retrieve(made.id).status == "paid"
    assert account.event_types()[-3:] == ["payout.created", "payout.updated", "payout.paid"]
    assert amounts(account) == (812, 0)


def test_no_more_than_is_available(account: Account) -> None:
    pay(account)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        payout(account, 1)

    assert refusal.value.code == "balance_insufficient"
    assert account.api.payouts.list().data == []


def test_pending_payout_is_canceled(account: Account, sandbox: SandboxProcess) -> None:
    pay(account, BYPASS)
    made = payout(account)

    canceled = account.api.payouts.cancel(made.id, {"expand": ["failure_balance_transaction"]})

    assert canceled.status == "canceled"
    returned = canceled.failure_balance_transaction
    assert (returned.type, returned.amount) == ("payout_cancel", 1000)
    assert amounts(account) == (1912, 0)
    sandbox.advance("2026-10-10T00:00:00Z")
    assert account.api.payouts.retrieve(made.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        account.api.payouts.cancel(made.id)


def test_bank_that_refuses(account: Account, sandbox: SandboxProcess) -> None:
    pay(account, BYPASS)
    sandbox.choose_payout_account("000111111113")
    made = payout(account)

    sandbox.advance("2026-10-03T00:00:00Z")

    failed = account.api.payouts.retrieve(made.id)
    assert (failed.status, failed.failure_code) == ("failed", "account_closed")
    assert account.event_types()[-1] == "payout.failed"
    assert amounts(account) == (1912, 0)


def test_paid_payout_is_reversed(account: Account, sandbox: SandboxProcess) -> None:
    pay(account, BYPASS)
    made = payout(account)
    sandbox.advance("2026-10-03T00:00:00Z")

    reversal = account.api.payouts.reverse(made.id)

    assert (reversal.amount, reversal.original_payout) == (-1000, made.id)
    assert account.api.payouts.retrieve(made.id).reversed_by == reversal.id
    assert amounts(account) == (1912, 0)
    with pytest.raises(stripe.InvalidRequestError):
        account.api.payouts.reverse(made.id)


def test_daily_payouts_name_what_they_paid_out(account: Account, sandbox: SandboxProcess) -> None:
    settings = account.api.balance_settings.update({"payments": {"payouts": {"schedule": {"interval": "daily"}}}})
    assert settings.payments.payouts.schedule.interval == "daily"
    pay(account)
    sandbox.advance("2026-10-01T12:00:00Z")
    second = pay(account, amount=1000)
    account.api.refunds.create({"payment_intent": second.id, "amount": 400})

    sandbox.advance("2026-10-03T00:00:00Z")

    [first] = account.api.payouts.list().data
    assert (first.amount, first.automatic, first.reconciliation_status) == (1912, True, "completed")
    contained = account.api.balance_transactions.list({"payout": first.id}).data
    assert [(item.type, item.net) for item in contained] == [("payout", -1912), ("charge", 1912)]
    sandbox.advance("2026-10-04T00:00:00Z")
    last = account.api.payouts.list().data[0]
    contained = account.api.balance_transactions.list({"payout": last.id}).data
    assert last.amount == 541  # 1000 - 59 - 400
    assert [(item.type, item.net) for item in contained] == [("payout", -541), ("refund", -400), ("charge", 941)]
    assert amounts(account) == (0, 0)
    events = [name for name in account.event_types() if name.startswith("payout")]
    assert events[:2] == ["payout.created", "payout.reconciliation_completed"]


def test_manual_payout_names_no_transactions(account: Account) -> None:
    pay(account, BYPASS)
    made = payout(account)

    with pytest.raises(stripe.InvalidRequestError, match="automatic"):
        account.api.balance_transactions.list({"payout": made.id})


def test_failed_daily_payout_is_paid_out_again(account: Account, sandbox: SandboxProcess) -> None:
    pay(account, BYPASS)
    sandbox.choose_payout_account("000111111116")
    account.api.balance_settings.update({"payments": {"payouts": {"schedule": {"interval": "daily"}}}})
    sandbox.advance("2026-10-02T00:00:00Z")
    sandbox.choose_payout_account("000123456789")

    sandbox.advance("2026-10-06T00:00:00Z")

    again, failed = account.api.payouts.list().data
    assert (failed.status, again.status, again.amount) == ("failed", "paid", 1912)
    assert amounts(account) == (0, 0)


def test_topup(account: Account, sandbox: SandboxProcess) -> None:
    topup = account.api.topups.create({"amount": 5000, "currency": "usd"})
    gone = account.api.topups.create({"amount": 100, "currency": "usd"})
    assert account.api.topups.cancel(gone.id).status == "canceled"
    assert (topup.status, amounts(account)) == ("pending", (0, 0))

    sandbox.advance("2026-10-02T00:00:00Z")

    assert account.api.topups.retrieve(topup.id).status == "succeeded"
    assert amounts(account) == (5000, 0)
    assert account.event_types() == ["topup.created", "topup.created", "topup.canceled", "topup.succeeded"]


def test_each_currency_has_a_balance_of_its_own(account: Account) -> None:
    pay(account, BYPASS)
    pay(account, BYPASS, currency="eur")

    available = account.api.balance.retrieve().available

    assert [(item.currency, item.amount) for item in available] == [("eur", 1912), ("usd", 1912)]
