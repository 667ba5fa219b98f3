"""The fields of a checkout session as its request gives them, and as a request would give them again."""

from typing import Any

from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

BRANDING = {
    "background_color": "#ffffff",
    "border_style": "rounded",
    "button_color": "#0074d4",
    "display_name": "Boring Billing sandbox",
    "font_family": "default",
    "icon": None,
    "logo": None,
}


def session_fields(world: World, parameters: Parameters, customer: StripeObject | None) -> dict[str, Any]:
    mode = parameters["mode"]
    email = customer["email"] if customer else parameters.get("customer_email")
    details = None
    if customer is not None or email is not None:
        details = customer_details(
            email=email,
            name=customer["name"] if customer else None,
            tax_exempt=customer["tax_exempt"] if customer else "none",
        )
    creation = parameters.get("customer_creation", "always" if mode == "subscription" else "if_required")
    hosted = parameters.get("ui_mode", "hosted_page") == "hosted_page"
    fields: dict[str, Any] = {
        "allow_promotion_codes": parameters.get("allow_promotion_codes"),
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": parameters.get("billing_address_collection"),
        "branding_settings": BRANDING,
        "cancel_url": parameters.get("cancel_url"),
        "client_reference_id": parameters.get("client_reference_id"),
        "collected_information": {"business_name": None, "individual_name": None, "shipping_details": None},
        "custom_fields": [],
        "custom_text": {
            name: parameters.get("custom_text", {}).get(name) or None
            for name in ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
        },
        "customer": customer["id"] if customer else None,
        "customer_creation": None if customer else creation,
        "customer_details": details,
        "customer_email": parameters.get("customer_email"),
        "discounts": [],
        "locale": parameters.get("locale"),
        "metadata": merged_metadata({}, parameters),
        "mode": mode,
        "payment_method_collection": parameters.get(
            "payment_method_collection", "if_required" if mode == "payment" else "always"
        ),
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}} if mode != "setup" else {},
        "payment_method_types": parameters.get("payment_method_types", ["card"]),
        "payment_status": "no_payment_required" if mode == "setup" else "unpaid",
        "phone_number_collection": parameters.get("phone_number_collection", {"enabled": False}),
        "status": "open",
        "submit_type": parameters.get("submit_type"),
        "success_url": parameters.get("success_url"),
        "ui_mode": parameters.get("ui_mode", "hosted_page"),
    }
    if "return_url" in parameters:
        fields["return_url"] = parameters["return_url"]
    if not hosted:
        fields["redirect_on_completion"] = parameters.get("redirect_on_completion", "always")
    if mode == "payment":
        fields["invoice_creation"] = {
            "enabled": False,
            "invoice_data": world.skeletons.new("payment_pages_checkout_session_invoice_settings", metadata={}),
        }
    return fields


def customer_details(*, email: str | None, name: str | None = None, **more: Any) -> StripeObject:
    """What Checkout knows of the person who buys."""
    return {
        "address": None,
        "business_name": None,
        "email": email,
        "individual_name": None,
        "name": name,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    } | more


def given_discounts(session: StripeObject) -> list[Parameters]:
    """The session's discounts as a `discounts` parameter."""
    return [{name: value for name, value in entry.items() if value is not None} for entry in session["discounts"]]
