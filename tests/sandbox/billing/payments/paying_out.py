"""Payouts from the account's balance to its bank: by request or daily, on their way by the clock, failed, reversed."""

from typing import Any

from tests.sandbox.billing.payments.balance_transactions import available_amount, new_balance_transaction
from tests.sandbox.billing.payments.bank_accounts import PAYOUT_FAILURES
from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Assumptions: a payout leaves the day after it is made and arrives another day later.
LEAVES_AFTER_SECONDS = DAY_SECONDS
ARRIVES_AFTER_SECONDS = 2 * DAY_SECONDS
ACCOUNT_ID = "acct_1BoringSandbox0000"
FAILURE_MESSAGES = {
    "no_account": "No bank account could be located with the details on file, which are probably incorrect.",
    "account_closed": "The bank account has been closed.",
    "insufficient_funds": "Your Stripe account has insufficient funds to cover the payout.",
    "debit_not_authorized": "Debit transactions are not approved on your bank account.",
    "invalid_currency": "The bank was unable to process this payout because of its currency.",
}


def pay_out(world: World, *, amount: int, currency: str, **fields: Any) -> StripeObject:
    """A payout by request. Raises `StripeError` balance_insufficient where not so much is available."""
    if amount > available_amount(world, currency):
        raise StripeError(
            "You have insufficient funds in your Stripe account for this transfer. Your card balance is too low. You "
            "can use the /v1/balance endpoint to view your Stripe balance.",
            code="balance_insufficient",
        )
    payout = _new_payout(world, amount=amount, currency=currency, automatic=False, **fields)
    world.emit("payout.created", payout)
    _travel(world, payout)
    return payout


def schedule_daily(world: World) -> None:
    """At every midnight from now on pay out what is available, as long as the schedule is daily."""
    clock = world.account_clock
    midnight = (clock.now // DAY_SECONDS + 1) * DAY_SECONDS
    if world.next_daily_payout == midnight:
        return
    world.next_daily_payout = midnight

    def due() -> None:
        world.next_daily_payout = None
        if world.payout_interval != "daily":
            return
        for currency, amount in sorted(world.balances["available"].items()):
            if amount > 0:
                _pay_out_automatically(world, currency, amount)
        schedule_daily(world)

    clock.at(midnight, due, "daily payout")


def cancel(world: World, payout: StripeObject) -> None:
    """Call a payout back. Raises `StripeError` once it left, and for the schedule's own."""
    if payout["automatic"] or payout["status"] != "pending":
        raise StripeError(
            "Payouts can only be canceled if they are manual and their status is `pending`; this payout's status is "
            f"`{payout['status']}`.",
            code="payout_not_cancelable",
        )
    _return_money(world, payout, "payout_cancel", "Payout cancellation")
    payout["status"] = "canceled"
    world.emit("payout.canceled", payout)


def reverse(world: World, payout: StripeObject, metadata: dict[str, str]) -> StripeObject:
    """Get money back from the bank account by a debit: a payout of a negative amount. Raises `StripeError`."""
    if payout["status"] != "paid" or payout["reversed_by"] is not None or payout["amount"] < 0:
        raise StripeError(f"Payout {payout['id']} cannot be reversed.", code="payout_reversal_not_allowed")
    reversal = _new_payout(
        world,
        amount=-payout["amount"],
        currency=payout["currency"],
        automatic=False,
        metadata=metadata,
        original_payout=payout["id"],
    )
    world.emit("payout.created", reversal)
    world.update(payout, "payout.updated", reversed_by=reversal["id"])
    _travel(world, reversal)
    return reversal


def bank_account(world: World) -> StripeObject:
    """Where payouts go. It is made when the first payout asks for it, or its number changes."""
    number = world.payout_account_number
    for account in world.store.all("bank_account"):
        if account["last4"] == number[-4:]:
            return account
    return world.new(
        "bank_account",
        "ba",
        account=ACCOUNT_ID,
        available_payout_methods=["standard"],
        bank_name="STRIPE TEST BANK",
        country="US",
        currency="usd",
        default_for_currency=True,
        last4=number[-4:],
        metadata={},
        routing_number="110000000",
        status="new",
    )


def _pay_out_automatically(world: World, currency: str, amount: int) -> None:
    paid_for = [
        transaction["id"]
        for transaction in world.store.all("balance_transaction")
        if transaction["currency"] == currency
        and transaction["status"] == "available"
        and transaction["id"] not in world.paid_out
    ]
    payout = _new_payout(world, amount=amount, currency=currency, automatic=True, description="STRIPE PAYOUT")
    world.paid_out |= dict.fromkeys([*paid_for, payout["balance_transaction"]], payout["id"])
    world.emit("payout.created", payout)
    world.update(payout, None, reconciliation_status="completed")
    world.emit("payout.reconciliation_completed", payout)
    _travel(world, payout)


def _new_payout(
    world: World, *, amount: int, currency: str, automatic: bool, description: str | None = None, **fields: Any
) -> StripeObject:
    payout = world.new(
        "payout",
        "po",
        amount=amount,
        arrival_date=world.now + ARRIVES_AFTER_SECONDS,
        automatic=automatic,
        currency=currency,
        description=description,
        destination=bank_account(world)["id"],
        method="standard",
        reconciliation_status="in_progress" if automatic else "not_applicable",
        source_type="card",
        status="pending",
        trace_id={"status": "pending", "value": None},
        type="bank_account",
    )
    payout.update(metadata={})
    payout.update(fields)
    transaction = new_balance_transaction(
        world,
        kind="payout",
        amount=-amount,
        fee=0,
        source=payout,
        description=description or "STRIPE PAYOUT",
        available_on=world.now,
    )
    payout["balance_transaction"] = transaction["id"]
    return payout


def _travel(world: World, payout: StripeObject) -> None:
    """On its way a day later, and there or refused by the bank another day later."""
    failure = PAYOUT_FAILURES.get(world.payout_account_number)

    def leave() -> None:
        if payout["status"] == "pending":
            world.update(payout, "payout.updated", status="in_transit")

    def arrive() -> None:
        if payout["status"] != "in_transit":
            return
        if failure is None:
            trace = {"status": "supported", "value": world.ids.capitals(16)}
            world.update(payout, None, status="paid", trace_id=trace)
            world.emit("payout.paid", payout)
            return
        _return_money(world, payout, "payout_failure", "Payout failure")
        payout.update(status="failed", failure_code=failure, failure_message=FAILURE_MESSAGES[failure])
        world.emit("payout.failed", payout)

    world.clock.at(world.now + LEAVES_AFTER_SECONDS, leave, f"departure of {payout['id']}")
    world.clock.at(payout["arrival_date"], arrive, f"arrival of {payout['id']}")


def _return_money(world: World, payout: StripeObject, kind: str, description: str) -> None:
    transaction = new_balance_transaction(
        world,
        kind=kind,
        category="payout_reversal",
        amount=payout["amount"],
        fee=0,
        source=payout,
        description=description,
        available_on=world.now,
    )
    payout["failure_balance_transaction"] = transaction["id"]
