"""The customer portal: what customers may do there, and the way in for one of them."""

from typing import Any

from tests.sandbox.billing.selling.hosting import page_address
from tests.sandbox.billing.selling.portal_flows import new_flow
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

KIND = "billing_portal.configuration"
URL = "/v1/billing_portal/configurations"
CREATABLE = frozenset({"business_profile", "default_return_url", "features", "login_page", "metadata", "name"})
REASONS = (
    *("too_expensive", "missing_features", "switched_service", "unused", "customer_service", "too_complex"),
    *("low_quality", "other"),
)
FEATURES: dict[str, dict[str, Any]] = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": False},
    "payment_method_update": {"enabled": False, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": False, "options": list(REASONS)},
        "enabled": False,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "products": [],
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}
# What the dashboard's portal settings are before anybody changes them.
DEFAULT_FEATURES: Parameters = {
    "customer_update": {"allowed_updates": ["email", "name"], "enabled": True},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {"enabled": True},
}


@handles("POST /v1/billing_portal/configurations")
def create_configuration(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/billing_portal/configurations")
    return _new_configuration(world, parameters, is_default=False)


@handles("GET /v1/billing_portal/configurations")
def list_configurations(world: World, parameters: Parameters) -> StripeObject:
    _default_configuration(world)
    configurations = matching(world.store.all(KIND), parameters, "active", "is_default")
    return page_of(world.store, configurations, parameters, url=URL)


@handles("GET /v1/billing_portal/configurations/{configuration}")
def retrieve_configuration(world: World, parameters: Parameters, configuration_id: str) -> StripeObject:
    return world.store.get(KIND, configuration_id, noun="configuration")


@handles("POST /v1/billing_portal/configurations/{configuration}")
def update_configuration(world: World, parameters: Parameters, configuration_id: str) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE | {"active"}, "POST /v1/billing_portal/configurations/{configuration}")
    configuration = world.store.get(KIND, configuration_id, noun="configuration")
    if configuration["is_default"] and parameters.get("active") is False:
        raise StripeError("The default configuration cannot be deactivated.", param="active")
    changes = _changes(world, configuration, parameters)
    if any(configuration[name] != value for name, value in changes.items()):
        changes["updated"] = world.now
    world.update(configuration, "billing_portal.configuration.updated", **changes)
    return configuration


@handles("POST /v1/billing_portal/sessions")
def create_session(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(
        parameters,
        frozenset({"configuration", "customer", "flow_data", "locale", "return_url"}),
        "POST /v1/billing_portal/sessions",
    )
    if "customer" not in parameters:
        raise StripeError("Missing required param: customer.", code="parameter_missing", param="customer")
    customer = world.store.get("customer", parameters["customer"], param="customer")
    if "configuration" in parameters:
        configuration = world.store.get(KIND, parameters["configuration"], noun="configuration", param="configuration")
    else:
        configuration = _default_configuration(world)
    if not configuration["active"]:
        raise StripeError("The configuration is not active.", param="configuration")
    flow = new_flow(world, customer, configuration, parameters["flow_data"]) if "flow_data" in parameters else None
    session = world.new(
        "billing_portal.session",
        "bps",
        configuration=configuration["id"],
        customer=customer["id"],
        flow=flow,
        locale=parameters.get("locale"),
        return_url=parameters.get("return_url", configuration["default_return_url"]),
    )
    session["url"] = page_address(world, "portal", session["id"])
    world.emit("billing_portal.session.created", session)
    return session


def _new_configuration(world: World, parameters: Parameters, *, is_default: bool) -> StripeObject:
    configuration = world.skeletons.new(
        KIND,
        id=world.ids.new("bpc"),
        created=world.now,
        active=True,
        business_profile={"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
        features=copied(FEATURES),
        is_default=is_default,
        login_page={"enabled": False, "url": None},
        metadata={},
        updated=world.now,
    )
    configuration.update(_changes(world, configuration, parameters))
    world.store.add(configuration)
    world.emit("billing_portal.configuration.created", configuration)
    return configuration


def _default_configuration(world: World) -> StripeObject:
    """The one the dashboard keeps; made when it is first needed."""
    found = next((item for item in world.store.all(KIND) if item["is_default"]), None)
    return found or _new_configuration(world, {"features": DEFAULT_FEATURES}, is_default=True)


def _changes(world: World, configuration: StripeObject, parameters: Parameters) -> dict[str, Any]:
    changes: dict[str, Any] = {"metadata": merged_metadata(configuration["metadata"], parameters)}
    if "active" in parameters:
        changes["active"] = parameters["active"]
    for name in ("default_return_url", "name"):
        if name in parameters:
            changes[name] = unset(parameters[name])
    if parameters.get("login_page", {}).get("enabled"):
        raise not_implemented("a login page of the portal", param="login_page[enabled]")
    if isinstance(parameters.get("business_profile"), dict):
        given = {name: unset(value) for name, value in parameters["business_profile"].items()}
        changes["business_profile"] = {**configuration["business_profile"], **given}
    if "features" in parameters:
        changes["features"] = {
            name: _feature(world, name, current, parameters["features"].get(name))
            for name, current in configuration["features"].items()
        }
    return changes


def _feature(world: World, name: str, current: dict[str, Any], given: dict[str, Any] | None) -> dict[str, Any]:
    if given is None:
        return current
    if given.get("payment_method_configuration"):
        raise not_implemented(
            "payment method configurations", param="features[payment_method_update][payment_method_configuration]"
        )
    if given.get("schedule_at_period_end", {}).get("conditions"):
        raise not_implemented(
            "portal changes at the end of a period", param="features[subscription_update][schedule_at_period_end]"
        )
    if given.get("billing_cycle_anchor") == "now":
        raise not_implemented(
            "portal changes that reset the billing cycle", param="features[subscription_update][billing_cycle_anchor]"
        )
    if given.get("cancellation_reason", {}).get("feedback_options"):
        raise not_implemented(
            "feedback options", param="features[subscription_cancel][cancellation_reason][feedback_options]"
        )
    feature = {**current, **{key: [] if value == "" else value for key, value in given.items()}}
    if "cancellation_reason" in given:
        reasons = {key: [] if value == "" else value for key, value in given["cancellation_reason"].items()}
        reasons.pop("feedback_options", None)  # shown only where there are any
        feature["cancellation_reason"] = {**current["cancellation_reason"], **reasons}
    if name == "payment_method_update":
        feature["payment_method_configuration"] = None
    if name == "subscription_update":
        feature["products"] = [_product(world, place, item) for place, item in enumerate(feature["products"])]
        if feature["enabled"] and not (feature["products"] and feature["default_allowed_updates"]):
            raise StripeError(
                "`products` and `default_allowed_updates` are required to enable subscription_update.",
                code="parameter_missing",
                param="features[subscription_update][products]",
            )
    return feature


def _product(world: World, place: int, given: dict[str, Any]) -> dict[str, Any]:
    where = f"features[subscription_update][products][{place}]"
    product = world.store.get("product", given["product"], param=f"{where}[product]")
    for name in given["prices"]:
        price = world.store.get("price", name, param=f"{where}[prices]")
        if price["product"] != product["id"] or price["type"] != "recurring":
            raise StripeError(
                f"The price {name} is not a recurring price of the product {product['id']}.", param=f"{where}[prices]"
            )
    adjustable = {"enabled": False, "maximum": None, "minimum": 1} | given.get("adjustable_quantity", {})
    return {"adjustable_quantity": adjustable, "prices": given["prices"], "product": product["id"]}
