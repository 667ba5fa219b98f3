"""Billing credits of a customer: grants, what is left of them, and each credit and debit."""

from typing import Any

from tests.sandbox.billing.prices.credit_balance import GRANT, KIND, balance_of, empty, is_usable
from tests.sandbox.billing.prices.credit_grants import (
    PRIORITY_DEFAULT,
    applies_to,
    expire_when_due,
    grant_credits,
    is_spent_on,
)
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

NOUN = "credit grant"


@handles("POST /v1/billing/credit_grants")
def create_credit_grant(world: World, parameters: Parameters) -> StripeObject:
    customer = _customer(world, parameters)
    effective_at = parameters.get("effective_at", world.now)
    expires_at = parameters.get("expires_at")
    if expires_at is not None and expires_at <= max(effective_at, world.now):
        raise StripeError("`expires_at` must be later than `effective_at` and in the future.", param="expires_at")
    priority = parameters.get("priority", PRIORITY_DEFAULT)
    if not 0 <= priority <= 100:
        raise StripeError("`priority` must be between 0 and 100.", code="parameter_invalid_integer", param="priority")
    return grant_credits(
        world,
        customer=customer,
        amount=_amount(parameters["amount"]),
        applicability_config={"scope": _scope(world, parameters["applicability_config"]["scope"])},
        category=parameters.get("category", "paid"),
        effective_at=effective_at,
        expires_at=expires_at,
        metadata=merged_metadata({}, parameters),
        name=parameters.get("name"),
        priority=priority,
    )


@handles("GET /v1/billing/credit_grants")
def list_credit_grants(world: World, parameters: Parameters) -> StripeObject:
    if "customer_account" in parameters:
        raise not_implemented("accounts as customers", param="customer_account")
    grants = world.store.all(GRANT)
    if "customer" in parameters:
        grants = world.store.where(GRANT, "customer", _customer(world, parameters)["id"])
    return page_of(world.store, grants, parameters, url="/v1/billing/credit_grants")


@handles("GET /v1/billing/credit_grants/{id}")
def retrieve_credit_grant(world: World, parameters: Parameters, grant_id: str) -> StripeObject:
    return world.store.get(GRANT, grant_id, noun=NOUN)


@handles("POST /v1/billing/credit_grants/{id}")
def update_credit_grant(world: World, parameters: Parameters, grant_id: str) -> StripeObject:
    grant = world.store.get(GRANT, grant_id, noun=NOUN)
    changes: dict[str, Any] = {"metadata": merged_metadata(grant["metadata"], parameters)}
    if "expires_at" in parameters:
        _require_running(world, grant)
        expires_at = parameters["expires_at"] or None
        if expires_at is not None and expires_at <= max(grant["effective_at"], world.now):
            raise StripeError("`expires_at` must be later than `effective_at` and in the future.", param="expires_at")
        changes["expires_at"] = expires_at
    if any(grant[name] != value for name, value in changes.items()):
        world.update(grant, "billing.credit_grant.updated", updated=world.now, **changes)
        expire_when_due(world, grant)
    return grant


@handles("POST /v1/billing/credit_grants/{id}/expire")
def expire_credit_grant(world: World, parameters: Parameters, grant_id: str) -> StripeObject:
    grant = world.store.get(GRANT, grant_id, noun=NOUN)
    _require_running(world, grant)
    world.update(grant, "billing.credit_grant.updated", expires_at=world.now, updated=world.now)
    empty(world, grant, "credits_expired")
    return grant


@handles("POST /v1/billing/credit_grants/{id}/void")
def void_credit_grant(world: World, parameters: Parameters, grant_id: str) -> StripeObject:
    grant = world.store.get(GRANT, grant_id, noun=NOUN)
    _require_running(world, grant)
    if is_spent_on(world, grant):
        raise StripeError("A credit grant that was applied to an invoice cannot be voided; expire it instead.")
    world.update(grant, "billing.credit_grant.updated", updated=world.now, voided_at=world.now)
    empty(world, grant, "credits_voided")
    return grant


@handles("GET /v1/billing/credit_balance_summary")
def retrieve_credit_balance_summary(world: World, parameters: Parameters) -> StripeObject:
    """What is left, by currency. Nothing is ever reserved, so that both balances are the same."""
    customer = _customer(world, parameters)
    grants = [grant for grant in world.store.where(GRANT, "customer", customer["id"]) if is_usable(world, grant)]
    sums: dict[str, int] = {}
    for grant in _filtered(world, grants, parameters["filter"]):
        currency = grant["amount"]["monetary"]["currency"]
        sums[currency] = sums.get(currency, 0) + balance_of(world, grant)
    balances = [
        {
            "available_balance": {"monetary": {"currency": currency, "value": value}, "type": "monetary"},
            "ledger_balance": {"monetary": {"currency": currency, "value": value}, "type": "monetary"},
        }
        for currency, value in sums.items()
    ]
    return world.skeletons.new("billing.credit_balance_summary", balances=balances, customer=customer["id"])


@handles("GET /v1/billing/credit_balance_transactions")
def list_credit_balance_transactions(world: World, parameters: Parameters) -> StripeObject:
    grants = world.store.where(GRANT, "customer", _customer(world, parameters)["id"])
    wanted = {grant["id"] for grant in grants}
    if "credit_grant" in parameters:
        wanted &= {world.store.get(GRANT, parameters["credit_grant"], noun=NOUN, param="credit_grant")["id"]}
    found = [transaction for transaction in world.store.all(KIND) if transaction["credit_grant"] in wanted]
    return page_of(world.store, found, parameters, url="/v1/billing/credit_grants")  # so the document has it


@handles("GET /v1/billing/credit_balance_transactions/{id}")
def retrieve_credit_balance_transaction(world: World, parameters: Parameters, transaction_id: str) -> StripeObject:
    return world.store.get(KIND, transaction_id, noun="credit balance transaction")


def _customer(world: World, parameters: Parameters) -> StripeObject:
    if "customer_account" in parameters:
        raise not_implemented("accounts as customers", param="customer_account")
    if "customer" not in parameters:
        raise StripeError("Missing required param: customer.", code="parameter_missing", param="customer")
    return world.store.get("customer", parameters["customer"], param="customer")


def _amount(given: Parameters) -> StripeObject:
    if "monetary" not in given:
        raise StripeError(
            "Missing required param: amount[monetary].", code="parameter_missing", param="amount[monetary]"
        )
    monetary = given["monetary"]
    if monetary["value"] <= 0:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount[monetary][value]")
    return {"monetary": {"currency": monetary["currency"].lower(), "value": monetary["value"]}, "type": "monetary"}


def _scope(world: World, given: Parameters) -> StripeObject:
    if ("price_type" in given) == ("prices" in given):
        raise StripeError(
            "You must specify exactly one of `price_type` and `prices`.", param="applicability_config[scope]"
        )
    if "price_type" in given:
        return {"price_type": "metered"}
    for index, wanted in enumerate(given["prices"]):
        param = f"applicability_config[scope][prices][{index}][id]"
        price = world.store.get("price", wanted["id"], param=param)
        if not price["recurring"] or price["recurring"]["meter"] is None:
            raise StripeError("Credit grants only apply to metered prices with a billing meter.", param=param)
    return {"prices": [{"id": wanted["id"]} for wanted in given["prices"]]}


def _filtered(world: World, grants: list[StripeObject], wanted: Parameters) -> list[StripeObject]:
    name = wanted["type"]
    if name not in wanted:
        raise StripeError(f"Missing required param: filter[{name}].", code="parameter_missing", param=f"filter[{name}]")
    if name == "credit_grant":
        grant = world.store.get(GRANT, wanted["credit_grant"], noun=NOUN, param="filter[credit_grant]")
        return [found for found in grants if found is grant]
    prices = wanted["applicability_scope"].get("prices")
    if prices is None:
        return [grant for grant in grants if "price_type" in grant["applicability_config"]["scope"]]
    return [grant for grant in grants if all(applies_to(grant, price["id"]) for price in prices)]


def _require_running(world: World, grant: StripeObject) -> None:
    if grant["voided_at"] is not None:
        raise StripeError(f"The credit grant {grant['id']} is voided.")
    if grant["expires_at"] is not None and grant["expires_at"] <= world.now:
        raise StripeError(f"The credit grant {grant['id']} has expired.")
