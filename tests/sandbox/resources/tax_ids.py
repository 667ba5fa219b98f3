"""Tax ids of customers and of the account itself, with Stripe's test values for their verification."""

import re

from tests.sandbox.billing.invoices.invoicing import follow_customer
from tests.sandbox.core.errors import StripeError, not_implemented, resource_missing
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Kinds that Stripe holds against the tax authorities' records; of others the verification is unavailable.
VERIFIED_KINDS = frozenset({"au_abn", "eu_vat", "gb_vat"})
# docs.stripe.com/invoicing/customer/tax-ids: values whose verification ends in a known way in test mode.
VERIFICATION_OF_VALUE = {"000000000": "verified", "111111111": "unverified", "222222222": "pending"}
EU_VAT = re.compile(r"[A-Z]{2}[0-9A-Z+*]{2,12}")


@handles("POST /v1/customers/{customer}/tax_ids")
def create_customer_tax_id(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    return new_tax_id(world, parameters, customer=world.store.get("customer", customer_id))


@handles("GET /v1/customers/{customer}/tax_ids")
def list_customer_tax_ids(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    world.store.get("customer", customer_id)
    tax_ids = world.store.where("tax_id", "customer", customer_id)
    return page_of(world.store, tax_ids, parameters, url=f"/v1/customers/{customer_id}/tax_ids")


@handles("GET /v1/customers/{customer}/tax_ids/{id}")
def retrieve_customer_tax_id(world: World, parameters: Parameters, customer_id: str, tax_id: str) -> StripeObject:
    found = world.store.find("tax_id", tax_id)
    if found is None or found["customer"] != customer_id:
        raise resource_missing("tax id", tax_id)
    return found


@handles("DELETE /v1/customers/{customer}/tax_ids/{id}")
def delete_customer_tax_id(world: World, parameters: Parameters, customer_id: str, tax_id: str) -> StripeObject:
    retrieve_customer_tax_id(world, parameters, customer_id, tax_id)
    return delete_tax_id(world, parameters, tax_id)


@handles("POST /v1/tax_ids")
def create_tax_id(world: World, parameters: Parameters) -> StripeObject:
    owner = parameters.get("owner", {"type": "self"})
    customer = None
    if owner["type"] == "customer":
        if "customer" not in owner:
            raise StripeError(
                "Missing required param: owner[customer].", code="parameter_missing", param="owner[customer]"
            )
        customer = world.store.get("customer", owner["customer"], param="owner[customer]")
    elif owner["type"] != "self":
        raise not_implemented("tax ids of other accounts and of applications", param="owner[type]")
    return new_tax_id(world, parameters, customer=customer)


@handles("GET /v1/tax_ids")
def list_tax_ids(world: World, parameters: Parameters) -> StripeObject:
    owner = parameters.get("owner", {"type": "self"})
    if owner["type"] == "customer":
        tax_ids = world.store.where("tax_id", "customer", owner.get("customer", ""))
    elif owner["type"] == "self":
        tax_ids = [tax_id for tax_id in world.store.all("tax_id") if tax_id["customer"] is None]
    else:
        raise not_implemented("tax ids of other accounts and of applications", param="owner[type]")
    return page_of(world.store, tax_ids, parameters, url="/v1/tax_ids")


@handles("GET /v1/tax_ids/{id}")
def retrieve_tax_id(world: World, parameters: Parameters, tax_id: str) -> StripeObject:
    return world.store.get("tax_id", tax_id, noun="tax id")


@handles("DELETE /v1/tax_ids/{id}")
def delete_tax_id(world: World, parameters: Parameters, tax_id: str) -> StripeObject:
    found = world.store.get("tax_id", tax_id, noun="tax id")
    world.store.remove(found)
    if found["customer"] is not None:
        world.emit("customer.tax_id.deleted", found)
        customer = world.store.find("customer", found["customer"])
        if customer is not None:
            follow_customer(world, customer)
    return {"id": tax_id, "object": "tax_id", "deleted": True}


def new_tax_id(world: World, given: Parameters, *, customer: StripeObject | None) -> StripeObject:
    """A stored tax id; without a customer the account's own. Raises `StripeError` for what cannot be one."""
    require_valid(given)
    kind, value = given["type"], given["value"].replace(" ", "")
    verified = kind in VERIFIED_KINDS and customer is not None
    verification = {
        "status": "pending" if verified else "unavailable",
        "verified_address": None,
        "verified_name": None,
    }
    tax_id = world.new(
        "tax_id",
        "txi",
        country=_country(kind, value),
        customer=customer["id"] if customer else None,
        owner={"customer": customer["id"], "type": "customer"} if customer else {"type": "self"},
        type=kind,
        value=value,
        verification=verification,
    )
    if customer is None:
        return tax_id
    world.emit("customer.tax_id.created", tax_id)
    follow_customer(world, customer)
    if verified:
        _verify_soon(world, tax_id)
    return tax_id


def require_valid(given: Parameters, *, param: str = "value") -> None:
    """Raises `StripeError` for a European VAT number that cannot be one; other kinds are taken as they are."""
    value = given["value"].replace(" ", "").upper()
    if given["type"] == "eu_vat" and value not in VERIFICATION_OF_VALUE and not EU_VAT.fullmatch(value):
        raise StripeError("Invalid value for eu_vat.", code="tax_id_invalid", param=param)


def _country(kind: str, value: str) -> str | None:
    """By the kind's name; a European value begins with its country."""
    prefix = value[:2] if kind == "eu_vat" else kind.split("_", maxsplit=1)[0]
    return prefix.upper() if prefix.isalpha() and kind != "unknown" else None


def _verify_soon(world: World, tax_id: StripeObject) -> None:
    """After the request is answered, as the authorities' answer comes later at Stripe too."""

    def due() -> None:
        status = VERIFICATION_OF_VALUE.get(tax_id["value"], "verified")
        if world.store.find("tax_id", tax_id["id"]) is None or status == "pending":
            return
        name = "TEST" if status == "verified" else None
        verification = {"status": status, "verified_address": name, "verified_name": name}
        world.update(tax_id, "customer.tax_id.updated", verification=verification)

    world.clock.at(world.now, due, f"verification of tax id {tax_id['id']}")
