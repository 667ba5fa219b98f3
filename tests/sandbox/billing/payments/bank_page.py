"""What the customer does at the bank's page (3D Secure): succeed or fail. A control of the sandbox stands for it."""

from typing import Literal

from tests.sandbox.billing.payments.attaching import find_payment_method
from tests.sandbox.billing.payments.authentication import authenticated
from tests.sandbox.billing.payments.charging import charge_card
from tests.sandbox.billing.payments.declines import AUTHENTICATION_FAILED, SETUP_AUTHENTICATION_FAILED
from tests.sandbox.billing.payments.intents import fail, tell_followers
from tests.sandbox.billing.payments.setting_up import authenticate_setup
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

Result = Literal["succeed", "fail"]


class NothingToAuthenticate(ValueError):
    """No intent waits under this id; the text is for people."""


def authenticate(world: World, intent_id: str, result: Result) -> StripeObject:
    """Carry on an intent (`pi_…` or `seti_…`) that is in requires_action. Raises `NothingToAuthenticate`."""
    setup = world.store.find("setup_intent", intent_id)
    intent = setup or world.store.find("payment_intent", intent_id)
    if intent is None:
        raise NothingToAuthenticate(f"there is no intent {intent_id}")
    if intent["status"] != "requires_action" or intent["payment_method"] is None:
        raise NothingToAuthenticate(f"{intent_id} is {intent['status']}, no customer has to authenticate it")
    if setup is not None:
        authenticate_setup(world, setup, succeeds=result == "succeed")
        tell_followers(world, setup, None if result == "succeed" else SETUP_AUTHENTICATION_FAILED)
        return setup
    payment_method = find_payment_method(world, intent["payment_method"])
    if payment_method["type"] != "card":
        raise NothingToAuthenticate(f"{intent_id} waits for a bank transfer, not for the customer to authenticate")
    if result == "succeed":
        decline = charge_card(world, intent, payment_method, authentication=authenticated(world))
    else:
        decline = AUTHENTICATION_FAILED
        fail(world, intent, payment_method, decline, charge=None)
    tell_followers(world, intent, decline)
    return intent
