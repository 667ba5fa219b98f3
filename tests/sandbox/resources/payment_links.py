"""Payment links: an address to hand out, behind which everybody gets a checkout session of their own."""

from typing import Any

from tests.sandbox.billing.selling.line_items import (
    is_recurring,
    line_items_page,
    new_line_items,
    reduce_and_tax,
    shown_line_items,
)
from tests.sandbox.billing.selling.linking import link_address
from tests.sandbox.core.errors import StripeError, not_implemented, resource_missing
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.checkout_sessions import METHODS, PARTS
from tests.sandbox.world import World

URL = "/v1/payment_links"
UPDATABLE = frozenset(
    {"active", "after_completion", "allow_promotion_codes", "automatic_tax", "billing_address_collection"}
    | {"custom_text", "customer_creation", "inactive_message", "invoice_creation", "line_items", "metadata"}
    | {"payment_intent_data", "payment_method_collection", "payment_method_types", "phone_number_collection"}
    | {"restrictions", "submit_type", "subscription_data", "tax_id_collection"}
)
CREATABLE = (UPDATABLE | {"currency"}) - {"active"}
AS_GIVEN = (
    *("active", "allow_promotion_codes", "billing_address_collection", "customer_creation"),
    *("payment_method_collection", "phone_number_collection", "submit_type"),
)
CUSTOM_TEXTS = ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")


@handles("POST /v1/payment_links")
def create_payment_link(world: World, parameters: Parameters) -> StripeObject:
    operation = "POST /v1/payment_links"
    refuse_unsupported(parameters, CREATABLE, operation)
    currency = parameters.get("currency", "").lower() or None
    items = new_line_items(world, parameters["line_items"], operation, currency=currency)
    reduce_and_tax(world, items)
    recurring = any(is_recurring(item) for item in items)
    link = world.skeletons.new(
        "payment_link",
        id=world.ids.new("plink"),
        active=True,
        after_completion={"hosted_confirmation": {"custom_message": None}, "type": "hosted_confirmation"},
        automatic_tax={"enabled": False, "liability": None},
        billing_address_collection="auto",
        currency=items[0]["currency"],
        custom_text=dict.fromkeys(CUSTOM_TEXTS),
        customer_creation="always" if recurring else "if_required",
        invoice_creation=None if recurring else {"enabled": False, "invoice_data": None},
        payment_intent_data=None,
        payment_method_collection="always",
        phone_number_collection={"enabled": False},
        submit_type="auto",
        subscription_data=_subscription_data(world, {}) if recurring else None,
        tax_id_collection={"enabled": False, "required": "never"},
    )
    link["url"] = link_address(world, link["id"])
    link.update(_changes(world, link, parameters, operation, recurring=recurring))
    world.line_items[link["id"]] = items
    world.store.add(link)
    world.emit("payment_link.created", link)
    return link


@handles("GET /v1/payment_links")
def list_payment_links(world: World, parameters: Parameters) -> StripeObject:
    links = matching(world.store.all("payment_link"), parameters, "active")
    return page_of(world.store, links, parameters, url=URL)


@handles("GET /v1/payment_links/{payment_link}")
def retrieve_payment_link(world: World, parameters: Parameters, link_id: str) -> StripeObject:
    return world.store.get("payment_link", link_id, noun="payment link")


@handles("POST /v1/payment_links/{payment_link}")
def update_payment_link(world: World, parameters: Parameters, link_id: str) -> StripeObject:
    operation = "POST /v1/payment_links/{payment_link}"
    refuse_unsupported(parameters, UPDATABLE, operation)
    link = world.store.get("payment_link", link_id, noun="payment link")
    recurring = any(is_recurring(item) for item in world.line_items[link_id])
    changes = _changes(world, link, parameters, operation, recurring=recurring)
    if "line_items" in parameters:
        world.line_items[link_id] = _requantified(world, link, parameters["line_items"], operation)
    world.update(link, "payment_link.updated", **changes)
    return link


@handles("GET /v1/payment_links/{payment_link}/line_items")
def list_line_items(world: World, parameters: Parameters, link_id: str) -> StripeObject:
    world.store.get("payment_link", link_id, noun="payment link")
    return line_items_page(world, link_id, parameters, url=f"{URL}/{link_id}/line_items")


@includes("payment_link", "line_items")
def link_line_items(world: World, link: StripeObject) -> Any:
    return shown_line_items(world, link["id"], f"{URL}/{link['id']}/line_items")


def _changes(
    world: World, link: StripeObject, parameters: Parameters, operation: str, *, recurring: bool
) -> dict[str, Any]:
    for name in ("automatic_tax", "invoice_creation", "tax_id_collection"):
        if parameters.get(name, {}).get("enabled"):
            raise not_implemented(f"{name} of {operation}", param=f"{name}[enabled]")
    for name in parameters.get("payment_method_types") or []:
        if name not in METHODS:
            raise not_implemented(f"the payment method type {name!r}", param="payment_method_types")
    changes: dict[str, Any] = {name: parameters[name] for name in AS_GIVEN if name in parameters}
    changes["metadata"] = merged_metadata(link["metadata"], parameters)
    if "inactive_message" in parameters:
        changes["inactive_message"] = unset(parameters["inactive_message"])
    if "payment_method_types" in parameters:
        changes["payment_method_types"] = parameters["payment_method_types"] or None
    if "custom_text" in parameters:
        given = parameters["custom_text"]
        changes["custom_text"] = {**link["custom_text"], **{name: value or None for name, value in given.items()}}
    if "after_completion" in parameters:
        changes["after_completion"] = _after_completion(parameters["after_completion"])
    if "restrictions" in parameters:
        changes["restrictions"] = _restrictions(link, parameters["restrictions"])
    for name, wanted in (("subscription_data", True), ("payment_intent_data", False)):
        if name in parameters and recurring is not wanted:
            raise StripeError(f"You can not pass `{name}` with these line items.", param=name)
        refuse_unsupported(parameters.get(name, {}), PARTS[name], f"{operation} ({name})")
    if "subscription_data" in parameters:
        changes["subscription_data"] = _subscription_data(world, parameters["subscription_data"])
    if "payment_intent_data" in parameters:
        data = {name: value or None for name, value in parameters["payment_intent_data"].items() if name != "metadata"}
        data["metadata"] = parameters["payment_intent_data"].get("metadata") or {}
        changes["payment_intent_data"] = world.skeletons.new("payment_links_resource_payment_intent_data", **data)
    return changes


def _subscription_data(world: World, given: dict[str, Any]) -> StripeObject:
    fields = {"invoice_settings": {"issuer": {"type": "self"}}, "metadata": {}} | {
        name: value or ({} if name == "metadata" else None) for name, value in given.items()
    }
    return world.skeletons.new("payment_links_resource_subscription_data", **fields)


def _after_completion(given: dict[str, Any]) -> StripeObject:
    if given["type"] == "redirect":
        if "redirect" not in given:
            raise StripeError(
                "Missing required param: after_completion[redirect].",
                code="parameter_missing",
                param="after_completion[redirect]",
            )
        return {"redirect": {"url": given["redirect"]["url"]}, "type": "redirect"}
    message = given.get("hosted_confirmation", {}).get("custom_message")
    return {"hosted_confirmation": {"custom_message": message}, "type": "hosted_confirmation"}


def _restrictions(link: StripeObject, given: dict[str, Any] | str) -> StripeObject | None:
    if not isinstance(given, dict):
        return None
    former = (link["restrictions"] or {}).get("completed_sessions", {})
    return {"completed_sessions": {"count": former.get("count", 0), "limit": given["completed_sessions"]["limit"]}}


def _requantified(world: World, link: StripeObject, given: list[dict[str, Any]], operation: str) -> list[StripeObject]:
    """Items with the quantities of an update; at Stripe too no other change of them is possible."""
    quantities = {item["id"]: item.get("quantity") for item in given}
    current = world.line_items[link["id"]]
    for place, item in enumerate(given):
        refuse_unsupported(item, frozenset({"id", "quantity"}), f"{operation} (line_items[{place}])")
        if all(known["id"] != item["id"] for known in current):
            raise resource_missing("line item", item["id"], param=f"line_items[{place}][id]", status=400)
    wanted = [
        {**world.asked_for[item["id"]], "quantity": quantities.get(item["id"]) or item["quantity"]} for item in current
    ]
    for item, former in zip(wanted, current, strict=True):
        item.pop("price_data", None)
        item["price"] = former["price"]["id"]
    items = new_line_items(world, wanted, operation, currency=link["currency"])
    for item, former in zip(items, current, strict=True):
        world.asked_for[former["id"]] = world.asked_for.pop(item["id"])
        item["id"] = former["id"]
    reduce_and_tax(world, items)
    return items
