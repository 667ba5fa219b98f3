"""`pending_setup_intent`: a subscription that costs nothing yet asks for the card that it will charge later.

Stripe makes one with `payment_behavior=default_incomplete`; that it does so only without any other way to pay is an
assumption.
"""

from typing import Any

from tests.sandbox.billing.consequences import when_set_up
from tests.sandbox.billing.payments.setting_up import new_setup_intent
from tests.sandbox.billing.subscriptions.subscription_invoices import has_means
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def offer_setup(world: World, subscription: StripeObject) -> None:
    """Give a subscription whose start needs no payment a setup intent, unless it can be charged already."""
    if subscription["status"] != "incomplete" and not has_means(world, subscription):
        intent = new_setup_intent(world, customer=subscription["customer"])
        subscription["pending_setup_intent"] = intent["id"]


@when_set_up
def take_payment_method(world: World, intent: StripeObject) -> None:
    """The card is there: the subscription waits no longer, and keeps the card if its settings say so."""
    for subscription in world.store.where("subscription", "customer", intent["customer"] or ""):
        if subscription["pending_setup_intent"] == intent["id"]:
            changes: dict[str, Any] = {"pending_setup_intent": None}
            if subscription["payment_settings"]["save_default_payment_method"] == "on_subscription":
                changes["default_payment_method"] = intent["payment_method"]
            world.update(subscription, "customer.subscription.updated", **changes)
