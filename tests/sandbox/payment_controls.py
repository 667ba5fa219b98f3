"""Controls of money that no request of Stripe's stands for: a customer at the bank's page, the bank of the payouts."""

from typing import Any, get_args

from tests.sandbox.billing.payments.bank_accounts import PAYOUT_ACCOUNTS
from tests.sandbox.billing.payments.bank_page import Result, authenticate
from tests.sandbox.billing.payments.renewing_cards import renew_card
from tests.sandbox.core.belonging import named_test_clock
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

Body = dict[str, Any]


def authenticate_intent(world: World, body: Body) -> StripeObject:
    """`{"intent": "pi_… or seti_…", "result": "succeed" or "fail"}`; answers the intent. Raises ValueError."""
    intent_id, result = body.get("intent"), body.get("result", "succeed")
    if not isinstance(intent_id, str) or result not in get_args(Result):
        raise ValueError(f'give {{"intent": "pi_… or seti_…", "result": one of {", ".join(get_args(Result))}}}')
    with world.by_clock(world.clock_with(named_test_clock(world.store, {"intent": intent_id}, (intent_id,)))):
        intent = authenticate(world, intent_id, result)
    world.run_due()
    return intent


def choose_payout_account(world: World, body: Body) -> Body:
    """`{"account_number": one of Stripe's test account numbers}`: later payouts go there. Raises ValueError."""
    number = body.get("account_number")
    if number not in PAYOUT_ACCOUNTS:
        raise ValueError(f'give {{"account_number": one of {", ".join(sorted(PAYOUT_ACCOUNTS))}}}')
    world.payout_account_number = number
    return {"account_number": number}


def renew_card_of(world: World, body: Body) -> StripeObject:
    """`{"payment_method": "pm_…", "exp_month", "exp_year"}`: the bank sent a new card. Raises ValueError."""
    payment_method = world.store.find("payment_method", body.get("payment_method"))
    if payment_method is None or payment_method["type"] != "card":
        raise ValueError('give {"payment_method": "pm_… of a card", "exp_month": 1 to 12, "exp_year"}')
    return renew_card(world, payment_method, month=int(body["exp_month"]), year=int(body["exp_year"]))
