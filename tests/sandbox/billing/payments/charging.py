"""Confirming payment intents: charged with a payment method, authenticated first or not."""

from collections.abc import Callable

from tests.sandbox.billing.payments.authentication import (
    authenticated,
    authentication_action,
    is_expired,
    needs_authentication,
)
from tests.sandbox.billing.payments.capturing import hold
from tests.sandbox.billing.payments.cards import CARDS
from tests.sandbox.billing.payments.charges import complete, new_charge
from tests.sandbox.billing.payments.declines import (
    AUTHENTICATION_IMPOSSIBLE,
    AUTHENTICATION_NOT_HANDLED,
    AUTHENTICATION_REQUIRED,
    EXPIRED,
    Decline,
)
from tests.sandbox.billing.payments.intents import fail, shown_payment_method, succeed
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Ways to pay other than cards: type of payment method to what confirms an intent with it.
Collector = Callable[[World, StripeObject, StripeObject], None]
COLLECTORS: dict[str, Collector] = {}


def collects(kind: str) -> Callable[[Collector], Collector]:
    """Register what confirms an intent with a payment method of the type."""

    def register(collector: Collector) -> Collector:
        COLLECTORS[kind] = collector
        return collector

    return register


def confirm(
    world: World,
    intent: StripeObject,
    payment_method: StripeObject,
    *,
    off_session: bool = False,
    asks: bool = True,
    handles_actions: bool = True,
    return_url: str | None = None,
) -> Decline | None:
    """Try to collect the intent with a payment method. The answer is why it did not work, or None.

    None also when the intent is left in `processing` (debits) or `requires_action` (transfers): look at its status. A
    card that needs authentication leaves it in requires_action with `AUTHENTICATION_REQUIRED`, which is no failed
    charge. `off_session`: nobody is there, which some cards excuse from authentication. Without `asks` one that is
    needed fails the attempt; without `handles_actions` too, and without a charge.
    """
    kind = payment_method["type"]
    if kind in COLLECTORS:
        COLLECTORS[kind](world, intent, payment_method)
        return None
    card = CARDS[world.cards[payment_method["id"]]]
    if not needs_authentication(world, payment_method, card, _asked_for(intent), off_session=off_session):
        return charge_card(world, intent, payment_method)
    if not handles_actions:
        fail(world, intent, payment_method, AUTHENTICATION_NOT_HANDLED, charge=None)
        return AUTHENTICATION_NOT_HANDLED
    if off_session and not asks:
        charge = new_charge(world, intent, payment_method)
        fail(world, intent, payment_method, AUTHENTICATION_IMPOSSIBLE, charge=charge)
        return AUTHENTICATION_IMPOSSIBLE
    world.update(
        intent,
        None,
        last_payment_error=None,
        next_action=authentication_action(world, intent, return_url),
        payment_method=shown_payment_method(payment_method),
        status="requires_action",
    )
    world.emit("payment_intent.requires_action", intent)
    return AUTHENTICATION_REQUIRED


def charge_card(
    world: World, intent: StripeObject, payment_method: StripeObject, *, authentication: StripeObject | None = None
) -> Decline | None:
    """Charge a card that is authenticated, or need not be. The answer is why it did not work, or None."""
    card = CARDS[world.cards[payment_method["id"]]]
    if card.frictionless and authentication is None:
        authentication = authenticated(world, flow="frictionless")
    charge = new_charge(world, intent, payment_method, authentication=authentication)
    decline = card.decline or (EXPIRED if is_expired(world, payment_method) else None)
    if decline is not None:
        fail(world, intent, payment_method, decline, charge=charge)
        return decline
    if intent["capture_method"] == "manual":
        hold(world, intent, charge, payment_method)
    else:
        complete(world, charge, charge["amount"])
        world.emit("charge.succeeded", charge)
        succeed(world, intent, charge, payment_method)
    return None


def _asked_for(intent: StripeObject) -> bool:
    options = (intent["payment_method_options"] or {}).get("card") or {}
    return options.get("request_three_d_secure") in ("any", "challenge")
