"""Cards of the old API: tokens, and the `card_…` that a customer gets from one. A payment can be made with them."""

from datetime import UTC, datetime

from tests.sandbox.billing.payments.attaching import EXPIRY_MONTH, EXPIRY_YEAR
from tests.sandbox.billing.payments.cards import CARDS, card_name
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

ADDRESS = ("address_city", "address_country", "address_line1", "address_line2", "address_state", "address_zip")
OWNER = (*ADDRESS, "name")


def new_token(world: World, known: str, *, month: int, year: int, owner: Parameters) -> StripeObject:
    """A token of a card, to be used once."""
    card = source_card(world, known, month=month, year=year, owner=owner)
    token = world.new("token", "tok", card=card, client_ip="127.0.0.1", type="card", used=False)
    world.cards[token["id"]] = known
    return token


def source_card(
    world: World, known: str, *, month: int = EXPIRY_MONTH, year: int = EXPIRY_YEAR, owner: Parameters | None = None
) -> StripeObject:
    """The `card` object of a test card, not yet stored."""
    card = CARDS[known]
    brands = {"amex": "American Express", "diners": "Diners Club", "jcb": "JCB", "mastercard": "MasterCard"}
    return world.skeletons.new(
        "card",
        id=world.ids.new("card"),
        allow_redisplay="unspecified",
        brand=brands.get(card.brand, card.brand.capitalize()),
        country=card.country,
        cvc_check="unchecked",
        exp_month=month,
        exp_year=year,
        fingerprint=card.fingerprint,
        funding=card.funding,
        last4=card.last4,
        metadata={},
        networks={"preferred": None},
        **{name: value or None for name, value in (owner or {}).items() if name in OWNER},
    )


def card_of_token(world: World, name: str) -> StripeObject:
    """The card object behind `tok_visa` or a token that was made; that one is used up. Raises `StripeError`."""
    token = world.store.find("token", name)
    if token is not None:
        if token["used"]:
            raise StripeError(
                f"You cannot use a Stripe token more than once: {name}.", code="token_already_used", param="source"
            )
        if token["type"] != "card":
            raise StripeError(f"The token {name} is no card.", param="source")
        token["used"] = True
        card = {**token["card"], "metadata": {}}
        world.cards[card["id"]] = world.cards[name]
        return card
    known = card_name(name) if name.startswith("tok_") else None
    if known is None:
        raise resource_missing("token", name, param="source", status=400)
    card = source_card(world, known)
    world.cards[card["id"]] = known
    return card


def add_source(world: World, customer: StripeObject, name: str, parameters: Parameters) -> StripeObject:
    """Give a customer the card of a token; the first becomes the default. Raises the card's `StripeError` 402."""
    card = card_of_token(world, name)
    decline = CARDS[world.cards[card["id"]]].at_attach
    if decline is not None:
        raise StripeError(
            decline.message, status=402, kind="card_error", code=decline.code, decline_code=decline.decline_code
        )
    card.update(customer=customer["id"], metadata=merged_metadata({}, parameters))
    world.store.add(card)
    world.emit("customer.source.created", card)
    warn_of_expiry(world, card)
    return card


def warn_of_expiry(world: World, card: StripeObject) -> None:
    """At the beginning of its last month tell that a card will expire, if it still has that expiry then."""
    year, month = card["exp_year"], card["exp_month"]
    moment = int(datetime(year, month, 1, tzinfo=UTC).timestamp())

    def due() -> None:
        if (card["exp_year"], card["exp_month"]) == (year, month) and world.store.find("card", card["id"]) is card:
            world.emit("customer.source.expiring", card)

    if moment > world.now:
        world.clock.at(moment, due, f"last month of {card['id']}")


def sources_of(world: World, customer: StripeObject) -> list[StripeObject]:
    return world.store.where("card", "customer", customer["id"])


def own_source(world: World, customer: StripeObject, card_id: str) -> StripeObject:
    """A card of this customer. Raises `StripeError` resource_missing."""
    card = world.store.find("card", card_id)
    if card is None or card["customer"] != customer["id"]:
        raise resource_missing("source", card_id, param="default_source", status=400)
    return card


def remove_source(world: World, card: StripeObject) -> StripeObject:
    """Take a card from its customer. The answer is what Stripe shows of a deleted one."""
    customer = world.store.get("customer", card["customer"])
    world.store.remove(card)
    gone = {"id": card["id"], "object": "card", "deleted": True}
    world.tombstones[card["id"]] = gone
    world.emit("customer.source.deleted", card)
    if customer["default_source"] == card["id"]:
        left = sources_of(world, customer)
        world.update(customer, "customer.updated", default_source=left[-1]["id"] if left else None)
    return gone


def replaced_default_source(world: World, customer: StripeObject, name: str) -> str:
    """`source` of a customer's request: a new card that takes the place of the default one. The answer is its id."""
    former = world.store.find("card", customer["default_source"])
    card = add_source(world, customer, name, {})
    if former is not None:
        world.store.remove(former)
        world.tombstones[former["id"]] = {"id": former["id"], "object": "card", "deleted": True}
        world.emit("customer.source.deleted", former)
    return str(card["id"])
