"""Whether a customer has to authenticate (3D Secure), where they do, and what a charge shows of it."""

from datetime import UTC, datetime

from tests.sandbox.billing.payments.cards import Card
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def needs_authentication(
    world: World, payment_method: StripeObject, card: Card, asked_for: bool, *, off_session: bool
) -> bool:
    """Whether the customer has to authenticate, by the card's kind (docs.stripe.com/testing, regulatory cards)."""
    match card.authentication:
        case "always":
            return True
        case "unless_set_up":
            return not (off_session and payment_method["id"] in world.set_up)
        case "on_session":
            return not off_session
        case "on_request":
            return asked_for
        case "never":
            return False


def authenticated(world: World, *, flow: str = "challenge") -> StripeObject:
    """What a charge shows of 3D Secure that went well."""
    return world.skeletons.new(
        "three_d_secure_details_charge",
        authentication_flow=flow,
        electronic_commerce_indicator="05",
        result="authenticated",
        transaction_id=world.ids.capitals(20),
        version="2.2.0",
    )


def authentication_action(world: World, intent: StripeObject, return_url: str | None) -> StripeObject:
    """Where the customer goes: a page of the bank for those who gave a `return_url`, else Stripe's own script."""
    if return_url is None:
        return {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
    url = f"{world.settings.address}/pay/authenticate/{intent['id']}"
    return {"type": "redirect_to_url", "redirect_to_url": {"return_url": return_url, "url": url}}


def is_expired(world: World, payment_method: StripeObject) -> bool:
    card, now = payment_method["card"], datetime.fromtimestamp(world.now, UTC)
    return (card["exp_year"], card["exp_month"]) < (now.year, now.month)
