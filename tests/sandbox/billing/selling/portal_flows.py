"""A flow of the customer portal: the one thing that a customer was sent there for."""

from typing import Any

from tests.sandbox.billing.selling.self_service import RUNNING
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

FLOW_PARTS = frozenset({"subscription_cancel", "subscription_update", "subscription_update_confirm"})


def new_flow(
    world: World, customer: StripeObject, configuration: StripeObject, given: dict[str, Any]
) -> dict[str, Any]:
    """The `flow` of a session from `flow_data`. Raises `StripeError` for what the configuration does not enable."""
    kind = given["type"]
    feature = kind.removesuffix("_confirm")
    if not configuration["features"][feature]["enabled"]:
        raise StripeError(f"The portal's configuration does not enable {feature}.", param="flow_data[type]")
    for part in sorted(FLOW_PARTS & set(given)):
        if part != kind:
            raise StripeError(f"`{part}` does not go with a flow of type {kind}.", param=f"flow_data[{part}]")
    flow: dict[str, Any] = {"after_completion": _after_completion(given.get("after_completion", {})), "type": kind}
    flow |= dict.fromkeys(("customer_update", *sorted(FLOW_PARTS)))
    if kind in FLOW_PARTS:
        if kind not in given:
            raise StripeError(
                f"Missing required param: flow_data[{kind}].", code="parameter_missing", param=f"flow_data[{kind}]"
            )
        flow[kind] = _flow_part(world, customer, kind, given[kind])
    elif kind == "customer_update":
        flow[kind] = {}
    return flow


def _flow_part(world: World, customer: StripeObject, kind: str, given: dict[str, Any]) -> dict[str, Any]:
    where = f"flow_data[{kind}]"
    subscription = world.store.get("subscription", given["subscription"], param=f"{where}[subscription]")
    if subscription["customer"] != customer["id"] or subscription["status"] not in RUNNING:
        raise StripeError("The subscription is not this customer's, or has ended.", param=f"{where}[subscription]")
    part: dict[str, Any] = {"subscription": subscription["id"]}
    if kind == "subscription_cancel":
        if "retention" in given:
            raise not_implemented("retention offers", param=f"{where}[retention]")
        part["retention"] = None
    if kind == "subscription_update_confirm":
        if given.get("discounts"):
            raise not_implemented("discounts of a portal flow", param=f"{where}[discounts]")
        if len(given["items"]) != 1:
            raise StripeError("Exactly one item can be updated.", param=f"{where}[items]")
        part |= {"discounts": None, "items": [_flow_item(subscription, item, where) for item in given["items"]]}
    return part


def _flow_item(subscription: StripeObject, given: dict[str, Any], where: str) -> dict[str, Any]:
    item = next((item for item in subscription["items"]["data"] if item["id"] == given["id"]), None)
    if item is None:
        raise StripeError(f"No such subscription item: '{given['id']}'", param=f"{where}[items][0][id]")
    return {
        "id": item["id"],
        "price": given.get("price", item["price"]["id"]),
        "quantity": given.get("quantity", item.get("quantity", 1)),
    }


def _after_completion(given: dict[str, Any]) -> dict[str, Any]:
    kind = given.get("type", "portal_homepage")
    if kind == "redirect" and "redirect" not in given:
        raise StripeError(
            "Missing required param: flow_data[after_completion][redirect].",
            code="parameter_missing",
            param="flow_data[after_completion][redirect]",
        )
    confirmation = given.get("hosted_confirmation")
    return {
        "hosted_confirmation": {"custom_message": None, **(confirmation or {})}
        if kind == "hosted_confirmation"
        else None,
        "redirect": given["redirect"] if kind == "redirect" else None,
        "type": kind,
    }
