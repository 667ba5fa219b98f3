"""Debits from bank accounts (SEPA): the intent is processed, for days at times, and only then the money is there."""

from typing import Any

from tests.sandbox.billing.payments.charges import complete, new_charge
from tests.sandbox.billing.payments.charging import collects
from tests.sandbox.billing.payments.declines import Decline
from tests.sandbox.billing.payments.disputing import dispute_debit
from tests.sandbox.billing.payments.intents import fail, succeed, tell_followers
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Stripe's test accounts answer right after the request, those called delayed "after at least three minutes"
# (docs.stripe.com/payments/sepa-debit/accept-a-payment); assumption: three days, as real banks.
DELAY_SECONDS = 3 * 24 * 3600
REFUSALS = {
    "fails": Decline("generic_decline", None, "The transaction was refused by the customer's bank."),
    "fails_later": Decline("generic_decline", None, "The transaction was refused by the customer's bank."),
    "exceeds_source_limit": Decline(
        "charge_exceeds_source_limit", None, "This payment exceeds the account's weekly volume limit."
    ),
    "exceeds_weekly_limit": Decline(
        "charge_exceeds_weekly_limit", None, "This payment exceeds the account's weekly transaction limit."
    ),
    "insufficient_funds": Decline(
        "insufficient_funds", None, "The customer's account has insufficient funds to cover this payment."
    ),
}


@collects("sepa_debit")
def debit(world: World, intent: StripeObject, payment_method: StripeObject) -> None:
    """Send a debit to the bank. Raises `StripeError` without the customer's mandate, or for other currencies."""
    if intent["currency"] != "eur":
        raise StripeError("The payment method `sepa_debit` takes payments in eur only.", param="payment_method_types")
    if payment_method["id"] not in world.mandates:
        raise StripeError(
            "This PaymentIntent requires a mandate: give `mandate_data`, or a payment method that was set up.",
            code="payment_intent_mandate_invalid",
            param="mandate_data",
        )
    charge = new_charge(world, intent, payment_method)
    world.update(
        intent,
        None,
        last_payment_error=None,
        latest_charge=charge["id"],
        next_action=None,
        payment_method=payment_method["id"],
        status="processing",
    )
    world.emit("charge.pending", charge)
    world.emit("payment_intent.processing", intent)
    behaviour = world.debits[payment_method["id"]]
    waits = DELAY_SECONDS if behaviour.endswith("_later") else 0

    def due() -> None:
        refusal = REFUSALS.get(behaviour)
        if refusal is not None:
            fail(world, intent, payment_method, refusal, charge=charge)
        else:
            complete(world, charge, charge["amount"])
            world.emit("charge.succeeded", charge)
            succeed(world, intent, charge, payment_method)
            if behaviour == "disputed":
                dispute_debit(world, charge)
        tell_followers(world, intent, refusal)

    world.clock.at(world.now + waits, due, f"answer of the bank for {intent['id']}")


def accept_mandate(world: World, payment_method: StripeObject, mandate_data: Parameters) -> StripeObject:
    """The customer's consent to debits from now on."""
    acceptance: dict[str, Any] = {"accepted_at": world.now, **mandate_data["customer_acceptance"]}
    if acceptance["type"] == "online":
        acceptance["online"] = world.skeletons.new("online_acceptance", **acceptance.get("online", {}))
    else:
        acceptance["offline"] = {}
    reference = world.ids.capitals(16)
    mandate = world.new(
        "mandate",
        "mandate",
        customer_acceptance=acceptance,
        multi_use={},
        payment_method=payment_method["id"],
        payment_method_details={
            "sepa_debit": {"reference": reference, "url": f"https://pay.stripe.com/sepa/mandates/{reference}"},
            "type": "sepa_debit",
        },
        status="active",
        type="multi_use",
    )
    world.mandates[payment_method["id"]] = mandate["id"]
    return mandate
