"""Payment methods: made of test cards and test bank accounts, found by name, given to a customer and taken away."""

from typing import Any

from tests.sandbox.billing.payments.cards import CARDS, card_name
from tests.sandbox.billing.payments.declines import Decline
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

EXPIRY_MONTH, EXPIRY_YEAR = 12, 2034  # of a card that a request names without an expiry


def find_payment_method(world: World, name: str, *, param: str = "payment_method") -> StripeObject:
    """A stored payment method, or a new one where `name` is that of a test card. Raises `StripeError`.

    A card of the old API (`card_…`) is shown as the payment method that it can be used as.
    """
    found = world.store.find("payment_method", name)
    if found is not None:
        return found
    source = world.store.find("card", name)
    if source is not None:
        return _as_payment_method(world, source)
    known = card_name(name) if name.startswith("pm_card_") else None
    if known is None:
        raise resource_missing("PaymentMethod", name, param=param, status=404 if param == "id" else 400)
    return new_card_method(world, known)


def attach(world: World, name: str, customer: StripeObject) -> StripeObject:
    """Give a customer a card. Raises the card's `StripeError` 402 if it declines already here."""
    payment_method = find_payment_method(world, name)
    if payment_method["customer"] == customer["id"]:
        return payment_method
    if payment_method["customer"] is not None:
        raise StripeError("The payment method you provided has already been attached to a customer.")
    require_unspent(world, payment_method)
    if payment_method["type"] == "customer_balance":
        raise StripeError("Payment methods of type customer_balance cannot be attached to a customer.")
    decline = decline_at_attach(world, payment_method)
    if decline is not None:
        raise StripeError(
            decline.message, status=402, kind="card_error", code=decline.code, decline_code=decline.decline_code
        )
    world.update(payment_method, None, customer=customer["id"])
    world.emit("payment_method.attached", payment_method)
    return payment_method


def detach(world: World, payment_method: StripeObject) -> None:
    """Take a payment method from its customer, who can never use it again."""
    customer = world.store.find("customer", payment_method["customer"])
    previous = world.update(payment_method, None, customer=None)
    world.spent.add(payment_method["id"])
    world.emit("payment_method.detached", payment_method, previous=previous)
    if customer and customer["invoice_settings"]["default_payment_method"] == payment_method["id"]:
        settings = {**customer["invoice_settings"], "default_payment_method": None}
        world.update(customer, "customer.updated", invoice_settings=settings)


def decline_at_attach(world: World, payment_method: StripeObject) -> Decline | None:
    """Why the issuer does not let the card be kept, None when it does or when it is no card."""
    name = world.cards.get(payment_method["id"])
    return CARDS[name].at_attach if name is not None else None


def decline_at_charge(world: World, payment_method: StripeObject) -> Decline | None:
    """Why a card will be declined when it is charged, as far as its kind tells."""
    name = world.cards.get(payment_method["id"])
    return CARDS[name].decline if name is not None else None


def require_unspent(world: World, payment_method: StripeObject) -> None:
    """Raises `StripeError` for one that was detached, or paid without belonging to a customer."""
    if payment_method["id"] in world.spent and payment_method["customer"] is None:
        raise StripeError(
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
            "Customer, and may not be used again.",
            code="payment_method_unexpected_state",
        )


def require_usable(world: World, payment_method: StripeObject, customer: str | None) -> None:
    """Raises `StripeError` for another customer's payment method, and for one that is used up."""
    owner = payment_method["customer"]
    if owner is None:
        require_unspent(world, payment_method)
    elif customer is None:
        raise StripeError(
            f"The PaymentMethod {payment_method['id']} belongs to the Customer {owner}. Please include the Customer in "
            "the `customer` parameter.",
            param="payment_method",
        )
    elif owner != customer:
        raise StripeError(
            f"The customer does not have a payment method with the ID {payment_method['id']}. The payment method must "
            "be attached to the customer.",
            code="resource_missing",
            param="payment_method",
        )


def card_details(world: World, known: str, *, month: int = EXPIRY_MONTH, year: int = EXPIRY_YEAR) -> StripeObject:
    """What a payment method shows of its card."""
    card = CARDS[known]
    return world.skeletons.new(
        "payment_method_card",
        brand=card.brand,
        checks={"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "unchecked"},
        country=card.country,
        display_brand=card.brand,
        exp_month=month,
        exp_year=year,
        fingerprint=card.fingerprint,
        funding=card.funding,
        last4=card.last4,
        networks={"available": [card.brand], "preferred": None},
        three_d_secure_usage={"supported": card.supports_authentication},
    )


def new_card_method(
    world: World, known: str, *, month: int = EXPIRY_MONTH, year: int = EXPIRY_YEAR, **fields: Any
) -> StripeObject:
    """A payment method of the test card `known`."""
    card = card_details(world, known, month=month, year=year)
    payment_method = new_method(world, "card", card=card, **fields)
    world.cards[payment_method["id"]] = known
    return payment_method


def new_method(world: World, kind: str, **fields: Any) -> StripeObject:
    return world.new(
        "payment_method",
        "pm",
        allow_redisplay=fields.pop("allow_redisplay", "unspecified"),
        billing_details=fields.pop("billing_details", None) or world.skeletons.new("billing_details"),
        metadata=fields.pop("metadata", {}),
        type=kind,
        **fields,
    )


def _as_payment_method(world: World, source: StripeObject) -> StripeObject:
    known = world.cards[source["id"]]
    return world.skeletons.new(
        "payment_method",
        id=source["id"],
        allow_redisplay="unspecified",
        billing_details=world.skeletons.new("billing_details", name=source["name"]),
        card=card_details(world, known, month=source["exp_month"], year=source["exp_year"]),
        created=world.now,
        customer=source["customer"],
        metadata=source["metadata"],
        type="card",
    )
