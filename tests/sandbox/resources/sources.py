"""A customer's cards of the old API, and tokens of cards."""

from typing import Any

from tests.sandbox.billing.payments.methods_by_request import read_card, read_expiry
from tests.sandbox.billing.payments.sources import (
    OWNER,
    add_source,
    new_token,
    remove_source,
    sources_of,
    warn_of_expiry,
)
from tests.sandbox.core.errors import StripeError, not_implemented, resource_missing
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import list_answer, page_of
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@handles("GET /v1/customers/{customer}/sources")
def list_sources(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    customer = world.store.get("customer", customer_id)
    cards = sources_of(world, customer) if parameters.get("object", "card") == "card" else []
    return page_of(world.store, cards, parameters, url=f"/v1/customers/{customer_id}/sources")


@handles("POST /v1/customers/{customer}/sources")
def create_source(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    """A card of a token; the customer's first becomes the default."""
    refuse_unsupported(parameters, frozenset({"metadata", "source"}), "POST /v1/customers/{customer}/sources")
    if "source" not in parameters:
        raise StripeError("Missing required param: source.", code="parameter_missing", param="source")
    customer = world.store.get("customer", customer_id)
    card = add_source(world, customer, parameters["source"], parameters)
    if customer["default_source"] is None:
        world.update(customer, "customer.updated", default_source=card["id"])
    return card


@handles("GET /v1/customers/{customer}/sources/{id}")
def retrieve_source(world: World, parameters: Parameters, customer_id: str, card_id: str) -> StripeObject:
    return _find(world, customer_id, card_id)


@handles("POST /v1/customers/{customer}/sources/{id}")
def update_source(world: World, parameters: Parameters, customer_id: str, card_id: str) -> StripeObject:
    supported = frozenset({*OWNER, "exp_month", "exp_year", "metadata"})
    refuse_unsupported(parameters, supported, "POST /v1/customers/{customer}/sources/{id}")
    card = _find(world, customer_id, card_id)
    changes: dict[str, Any] = {"metadata": merged_metadata(card["metadata"], parameters)}
    changes |= {name: parameters[name] or None for name in OWNER if name in parameters}
    for name in ("exp_month", "exp_year"):
        if name in parameters:
            if not parameters[name].isdecimal():
                raise StripeError(f"Invalid integer: {parameters[name]}", code="parameter_invalid_integer", param=name)
            changes[name] = int(parameters[name])
    changes["exp_month"], changes["exp_year"] = read_expiry({**card, **changes})
    world.update(card, "customer.source.updated", **changes)
    if changes.keys() & {"exp_month", "exp_year"}:
        warn_of_expiry(world, card)
    return card


@handles("DELETE /v1/customers/{customer}/sources/{id}")
def delete_source(world: World, parameters: Parameters, customer_id: str, card_id: str) -> StripeObject:
    return remove_source(world, _find(world, customer_id, card_id))


@handles("POST /v1/tokens")
def create_token(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, frozenset({"card"}), "POST /v1/tokens")
    card = parameters.get("card")
    if card is None:
        raise StripeError("Missing required param: card.", code="parameter_missing", param="card")
    if isinstance(card, str):
        raise not_implemented("tokens of a customer's card", param="card")
    known, month, year = read_card(world, card)
    return new_token(world, known, month=month, year=year, owner=card)


@handles("GET /v1/tokens/{token}")
def retrieve_token(world: World, parameters: Parameters, token_id: str) -> StripeObject:
    return world.store.get("token", token_id)


@includes("customer", "sources")
def customer_sources(world: World, customer: StripeObject) -> Any:
    cards = sources_of(world, customer)
    url = f"/v1/customers/{customer['id']}/sources"
    return list_answer(cards[::-1][:10], has_more=len(cards) > 10, url=url)


def _find(world: World, customer_id: str, card_id: str) -> StripeObject:
    world.store.get("customer", customer_id)
    card = world.store.find("card", card_id)
    if card is None or card["customer"] != customer_id:
        raise resource_missing("source", card_id, status=404)
    return card
