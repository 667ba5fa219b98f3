"""Payment links: a page of their own that makes a checkout session for everybody who opens it."""

from typing import Any

from tests.sandbox.billing.selling.checking_out import new_session
from tests.sandbox.billing.selling.hosting import page_address
from tests.sandbox.billing.selling.line_items import is_recurring
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

HOSTED_CONFIRMATION_URL = "https://stripe.com"  # the success_url that sessions of such links have at Stripe


def mode_of(world: World, link: StripeObject) -> str:
    return "subscription" if any(is_recurring(item) for item in world.line_items[link["id"]]) else "payment"


def is_open(link: StripeObject) -> bool:
    """Whether the link still makes sessions: it is active, and not used up."""
    restrictions = link["restrictions"]
    if restrictions is None:
        return bool(link["active"])
    sessions = restrictions["completed_sessions"]
    return bool(link["active"]) and sessions["count"] < sessions["limit"]


def new_session_of(
    world: World, link: StripeObject, *, client_reference_id: str | None = None, email: str | None = None
) -> StripeObject:
    """The session of one who opened the link's page. Raises `StripeError` for a link that is not active."""
    if not is_open(link):
        raise StripeError(link["inactive_message"] or "This link is no longer active.")
    mode = mode_of(world, link)
    redirect = link["after_completion"].get("redirect")
    parameters: Parameters = {
        "allow_promotion_codes": link["allow_promotion_codes"],
        "billing_address_collection": link["billing_address_collection"],
        "custom_text": link["custom_text"],
        "line_items": [_wanted(item) for item in world.line_items[link["id"]]],
        "metadata": link["metadata"],
        "mode": mode,
        "payment_method_collection": link["payment_method_collection"],
        "phone_number_collection": link["phone_number_collection"],
        "success_url": redirect["url"] if redirect else HOSTED_CONFIRMATION_URL,
    }
    if link["payment_method_types"]:
        parameters["payment_method_types"] = link["payment_method_types"]
    if mode == "payment":
        parameters |= {"customer_creation": link["customer_creation"], "submit_type": link["submit_type"]}
        parameters["payment_intent_data"] = _given(link["payment_intent_data"])
    else:
        parameters["subscription_data"] = _given(link["subscription_data"], without="invoice_settings")
    if client_reference_id:
        parameters["client_reference_id"] = client_reference_id
    if email:
        parameters["customer_email"] = email
    return new_session(world, parameters, payment_link=link["id"])


def count_completed(world: World, session: StripeObject) -> None:
    """A link restricted to a number of completed sessions counts this one."""
    link = world.store.find("payment_link", session["payment_link"])
    if link is None or link["restrictions"] is None:
        return
    sessions = link["restrictions"]["completed_sessions"]
    restrictions = {"completed_sessions": {**sessions, "count": sessions["count"] + 1}}
    world.update(link, "payment_link.updated", restrictions=restrictions)


def link_address(world: World, link_id: str) -> str:
    return page_address(world, "links", link_id)


def _wanted(item: StripeObject) -> Parameters:
    wanted: Parameters = {"price": item["price"]["id"]}
    same = {name: item.get(name) for name in ("adjustable_quantity", "quantity")}
    return wanted | {name: value for name, value in same.items() if value is not None}


def _given(data: StripeObject | None, *, without: str = "") -> dict[str, Any]:
    return {name: value for name, value in (data or {}).items() if value not in (None, {}) and name != without}
