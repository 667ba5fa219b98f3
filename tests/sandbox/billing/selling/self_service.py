"""What a customer does in the portal, within what its configuration allows: change the card, cancel, switch."""

from typing import Any

from tests.sandbox.billing.payments.attaching import attach
from tests.sandbox.billing.payments.declines import Decline
from tests.sandbox.billing.payments.intents import follows_intents
from tests.sandbox.billing.payments.setting_up import confirm_setup, new_setup_intent
from tests.sandbox.billing.subscriptions.changing import change_from_parameters
from tests.sandbox.billing.subscriptions.ending import cancel_subscription
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

RUNNING = frozenset({"active", "past_due", "unpaid", "trialing", "paused"})


def portal_subscriptions(world: World, session: StripeObject) -> list[StripeObject]:
    """The customer's subscriptions that have not ended, oldest first."""
    found = world.store.where("subscription", "customer", session["customer"])
    return [subscription for subscription in found if subscription["status"] in RUNNING]


def features_of(world: World, session: StripeObject) -> StripeObject:
    features: StripeObject = world.store.get("billing_portal.configuration", session["configuration"])["features"]
    return features


def change_card(world: World, session: StripeObject, payment_method: StripeObject) -> StripeObject:
    """Set a card up and make it what pays the customer's invoices. The answer is the setup intent.

    A card that has to be authenticated becomes that only then. Raises the card's `StripeError` 402.
    """
    _require(features_of(world, session)["payment_method_update"]["enabled"], "payment_method_update")
    intent = new_setup_intent(world, customer=session["customer"])
    world.portal_setups[intent["id"]] = session["id"]
    confirm_setup(world, intent, payment_method)
    follow(world, intent, None)
    return intent


@follows_intents
def follow(world: World, intent: StripeObject, decline: Decline | None) -> None:
    """A card that was set up in the portal is kept; told also when the customer has authenticated it."""
    session = world.store.find("billing_portal.session", world.portal_setups.get(intent["id"]))
    if session is not None and intent["status"] == "succeeded":
        _keep_card(world, session, world.store.get("payment_method", intent["payment_method"]))


def _keep_card(world: World, session: StripeObject, payment_method: StripeObject) -> None:
    """The default of the customer, and of subscriptions that had one of their own."""
    customer = world.store.get("customer", session["customer"])
    attach(world, payment_method["id"], customer)
    settings = {**customer["invoice_settings"], "default_payment_method": payment_method["id"]}
    world.update(customer, "customer.updated", invoice_settings=settings)
    for subscription in portal_subscriptions(world, session):
        if subscription["default_payment_method"] is not None:
            change_from_parameters(world, subscription, {"default_payment_method": payment_method["id"]})


def cancel(world: World, session: StripeObject, subscription: StripeObject, details: dict[str, Any]) -> None:
    """End a subscription, now or with its period, as the configuration says. `details`: `feedback` and `comment`."""
    wanted = features_of(world, session)["subscription_cancel"]
    _require(wanted["enabled"], "subscription_cancel")
    _require_own(world, session, subscription)
    if wanted["mode"] == "at_period_end":
        parameters: Parameters = {"cancel_at_period_end": True}
        if details:
            parameters["cancellation_details"] = details
        change_from_parameters(world, subscription, parameters)
    else:
        behavior = wanted["proration_behavior"]
        cancel_subscription(
            world,
            subscription,
            prorate=behavior != "none",
            invoice_now=behavior == "always_invoice",
            details=details,
        )


def keep(world: World, session: StripeObject, subscription: StripeObject) -> None:
    """Take a cancellation at the period's end back."""
    _require(features_of(world, session)["subscription_cancel"]["enabled"], "subscription_cancel")
    _require_own(world, session, subscription)
    change_from_parameters(world, subscription, {"cancel_at_period_end": False})


def offers(world: World, session: StripeObject) -> list[StripeObject]:
    """The prices that the customer can switch to."""
    wanted = features_of(world, session)["subscription_update"]
    if not wanted["enabled"] or "price" not in wanted["default_allowed_updates"]:
        return []
    names = [name for product in wanted.get("products", []) for name in product["prices"]]
    return [price for name in names if (price := world.store.find("price", name)) and price["active"]]


def switch(world: World, session: StripeObject, subscription: StripeObject, items: list[dict[str, Any]]) -> None:
    """Change items (`id`, `price`, `quantity`) as the configuration allows and prorates. Raises `StripeError`."""
    wanted = features_of(world, session)["subscription_update"]
    _require(wanted["enabled"], "subscription_update")
    _require_own(world, session, subscription)
    allowed = {price["id"] for price in offers(world, session)}
    current = {item["id"]: item for item in subscription["items"]["data"]}
    for item in items:
        if item["id"] not in current:
            raise StripeError("This item is not of the subscription.", param="items")
        before = current[item["id"]]
        if item.get("price", before["price"]["id"]) != before["price"]["id"] and item["price"] not in allowed:
            raise StripeError("The portal's configuration does not offer this price.", param="items")
        quantity = item.get("quantity", before.get("quantity"))
        if quantity != before.get("quantity") and "quantity" not in wanted["default_allowed_updates"]:
            raise StripeError("The portal's configuration does not allow another quantity.", param="items")
    parameters: Parameters = {"items": items, "proration_behavior": wanted["proration_behavior"]}
    if subscription["status"] == "trialing" and wanted["trial_update_behavior"] == "end_trial":
        parameters["trial_end"] = "now"
    change_from_parameters(world, subscription, parameters)


def update_customer(world: World, session: StripeObject, changes: dict[str, str]) -> None:
    """Change the customer's own data, as far as it may be changed. Raises `StripeError` for more than that."""
    feature = features_of(world, session)["customer_update"]
    _require(feature["enabled"] and set(changes) <= set(feature["allowed_updates"]), "customer_update")
    customer = world.store.get("customer", session["customer"])
    world.update(customer, "customer.updated", **{name: value.strip() or None for name, value in changes.items()})


def _require(enabled: bool, feature: str) -> None:
    if not enabled:
        raise StripeError(f"The portal's configuration does not enable {feature}.", param="features")


def _require_own(world: World, session: StripeObject, subscription: StripeObject) -> None:
    if all(own["id"] != subscription["id"] for own in portal_subscriptions(world, session)):
        raise StripeError("This subscription is not the customer's, or has ended.", param="subscription")
