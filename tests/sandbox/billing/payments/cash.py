"""A customer's cash balance: bank transfers come in, and pay the intents that wait for them, oldest first."""

from typing import Any

from tests.sandbox.billing.payments.charges import complete, new_charge
from tests.sandbox.billing.payments.charging import collects
from tests.sandbox.billing.payments.intents import succeed, tell_followers
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

TRANSFERS = {
    "eur": "eu_bank_transfer",
    "gbp": "gb_bank_transfer",
    "jpy": "jp_bank_transfer",
    "mxn": "mx_bank_transfer",
    "usd": "us_bank_transfer",
}


def cash_balance_of(world: World, customer: StripeObject) -> StripeObject:
    """Stripe's cash balance object, which has no id of its own."""
    if customer["id"] not in world.cash_balances:
        settings = {"reconciliation_mode": "automatic", "using_merchant_default": True}
        world.cash_balances[customer["id"]] = world.skeletons.new(
            "cash_balance", customer=customer["id"], settings=settings
        )
    return world.cash_balances[customer["id"]]


def fund(world: World, customer: StripeObject, *, amount: int, currency: str, reference: str | None) -> StripeObject:
    """A bank transfer of the customer came in. Raises `StripeError` for a currency without bank transfers."""
    if currency not in TRANSFERS:
        raise StripeError(f"Bank transfers are not available in {currency}.", param="currency")
    if amount <= 0:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    kind = TRANSFERS[currency]
    transfer: dict[str, Any] = {"reference": reference, "type": kind}
    details = {
        "eu_bank_transfer": {"bic": None, "iban_last4": None, "sender_name": None},
        "gb_bank_transfer": {"account_number_last4": None, "sender_name": None, "sort_code": None},
        "jp_bank_transfer": {"sender_bank": None, "sender_branch": None, "sender_name": None},
        "us_bank_transfer": {"network": "ach", "sender_name": None},
    }
    if kind in details:
        transfer[kind] = details[kind]
    transaction = _move(world, customer, amount, currency, "funded", {"bank_transfer": transfer})
    balance = cash_balance_of(world, customer)
    if balance["settings"]["reconciliation_mode"] == "automatic":
        for intent in world.store.where("payment_intent", "customer", customer["id"]):
            if _waits_for_transfer(intent) and intent["currency"] == currency:
                _apply(world, intent, customer)
    if (balance["available"] or {}).get(currency, 0) > 0:
        world.emit("cash_balance.funds_available", balance)
    return transaction


@collects("customer_balance")
def await_transfer(world: World, intent: StripeObject, payment_method: StripeObject) -> None:
    """Pay from what the customer has, and wait for the rest. Raises `StripeError` without customer."""
    if intent["customer"] is None:
        raise StripeError("A payment by bank transfer needs a customer.", param="customer")
    if intent["currency"] not in TRANSFERS:
        raise StripeError(f"Bank transfers are not available in {intent['currency']}.", param="currency")
    customer = world.store.get("customer", intent["customer"])
    world.update(
        intent,
        None,
        last_payment_error=None,
        next_action=_instructions(intent, intent["amount"]),
        payment_method=payment_method["id"],
        status="requires_action",
    )
    has = (cash_balance_of(world, customer)["available"] or {}).get(intent["currency"], 0)
    if has >= intent["amount"]:
        _apply(world, intent, customer)
        return
    world.emit("payment_intent.requires_action", intent)
    _apply(world, intent, customer)


def unapply(world: World, intent: StripeObject) -> None:
    """Give back what was taken for an intent that is canceled."""
    customer = world.store.find("customer", intent["customer"])
    applied = _applied(world, intent)
    if customer is not None and applied:
        details = {"payment_intent": intent["id"]}
        _move(world, customer, applied, intent["currency"], "unapplied_from_payment", details)


def _apply(world: World, intent: StripeObject, customer: StripeObject) -> None:
    currency = intent["currency"]
    has = (cash_balance_of(world, customer)["available"] or {}).get(currency, 0)
    wanted = intent["amount"] - _applied(world, intent)
    amount = min(has, wanted)
    if amount <= 0:
        return
    _move(world, customer, -amount, currency, "applied_to_payment", {"payment_intent": intent["id"]})
    if amount < wanted:
        world.update(intent, None, next_action=_instructions(intent, wanted - amount))
        world.emit("payment_intent.partially_funded", intent)
        return
    payment_method = world.store.get("payment_method", intent["payment_method"])
    charge = new_charge(world, intent, payment_method)
    complete(world, charge, charge["amount"])
    world.emit("charge.succeeded", charge)
    succeed(world, intent, charge, payment_method)
    tell_followers(world, intent, None)


def _move(
    world: World, customer: StripeObject, amount: int, currency: str, kind: str, details: dict[str, Any]
) -> StripeObject:
    balance = cash_balance_of(world, customer)
    ending = (balance["available"] or {}).get(currency, 0) + amount
    balance["available"] = {**(balance["available"] or {}), currency: ending}
    transaction = world.new(
        "customer_cash_balance_transaction",
        "ccsbtxn",
        currency=currency,
        customer=customer["id"],
        ending_balance=ending,
        net_amount=amount,
        type=kind,
    )
    transaction[kind] = details
    world.emit("customer_cash_balance_transaction.created", transaction)
    return transaction


def _applied(world: World, intent: StripeObject) -> int:
    moves = world.store.where("customer_cash_balance_transaction", "customer", intent["customer"])
    return -sum(
        move["net_amount"]
        for move in moves
        if (move.get("applied_to_payment") or move.get("unapplied_from_payment") or {}).get("payment_intent")
        == intent["id"]
    )


def _waits_for_transfer(intent: StripeObject) -> bool:
    action = intent["next_action"]
    return bool(
        intent["status"] == "requires_action" and action and action["type"] == "display_bank_transfer_instructions"
    )


def _instructions(intent: StripeObject, remaining: int) -> StripeObject:
    return {
        "display_bank_transfer_instructions": {
            "amount_remaining": remaining,
            "currency": intent["currency"],
            "hosted_instructions_url": f"https://payments.stripe.com/bank_transfers/instructions/{intent['id']}",
            "reference": intent["id"][-12:].upper(),
            "type": TRANSFERS[intent["currency"]],
        },
        "type": "display_bank_transfer_instructions",
    }
