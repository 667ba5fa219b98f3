"""Charges without a payment intent, as the old API makes them."""

from tests.sandbox.billing.payments.attaching import find_payment_method
from tests.sandbox.billing.payments.authentication import is_expired, needs_authentication
from tests.sandbox.billing.payments.cards import CARDS
from tests.sandbox.billing.payments.charges import (
    AUTHORIZATION_SECONDS,
    authorize,
    complete,
    new_charge,
    refuse,
    release,
)
from tests.sandbox.billing.payments.declines import AUTHENTICATION_IMPOSSIBLE, EXPIRED, Decline
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def charge_directly(world: World, terms: StripeObject, source: str, *, captures: bool) -> StripeObject:
    """Charge a card by its id. `terms` are amount, currency and all else that an intent would hold.

    Raises the card's `StripeError` 402 when it is declined, or when the customer would have to authenticate.
    """
    payment_method = find_payment_method(world, source, param="source")
    charge = new_charge(world, terms, payment_method)
    decline = _decline(world, payment_method)
    if decline is not None:
        refuse(world, charge, decline)
        world.emit("charge.failed", charge)
        raise StripeError(
            decline.message,
            status=402,
            kind="card_error",
            code=decline.code,
            decline_code=decline.decline_code,
            charge=charge["id"],
        )
    if captures:
        complete(world, charge, charge["amount"])
    else:
        authorize(world, charge)
        _release_when_due(world, charge)
    world.emit("charge.succeeded", charge)
    return charge


def capture_directly(world: World, charge: StripeObject, amount: int | None) -> None:
    """Take held money, all or in part; what is not taken is released. Raises `StripeError`."""
    if charge["captured"] or charge["refunded"] or charge["status"] != "succeeded":
        raise StripeError(
            f"Charge {charge['id']} has already been captured, or cannot be.", code="charge_already_captured"
        )
    amount = charge["amount"] if amount is None else amount
    if not 0 < amount <= charge["amount"]:
        raise StripeError(
            f"The amount to capture ({amount}) is not within the amount that is held ({charge['amount']}).",
            param="amount",
        )
    complete(world, charge, amount)
    if amount < charge["amount"]:
        release(world, charge, reason=None)
    world.emit("charge.captured", charge)


def _decline(world: World, payment_method: StripeObject) -> Decline | None:
    card = CARDS[world.cards[payment_method["id"]]]
    if needs_authentication(world, payment_method, card, False, off_session=True):
        return AUTHENTICATION_IMPOSSIBLE
    return card.decline or (EXPIRED if is_expired(world, payment_method) else None)


def _release_when_due(world: World, charge: StripeObject) -> None:
    def due() -> None:
        if not charge["captured"] and not charge["refunded"]:
            release(world, charge, reason="expired_uncaptured_charge")
            world.emit("charge.expired", charge)

    world.clock.at(world.now + AUTHORIZATION_SECONDS, due, f"end of the authorisation of {charge['id']}")
