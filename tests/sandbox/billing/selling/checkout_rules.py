"""What Stripe asks of the parameters of a checkout session taken together."""

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.world import World

LIFETIME_SECONDS = 24 * 3600
LIFETIME_MINIMUM_SECONDS = 30 * 60


def require_coherence(parameters: Parameters) -> None:
    """Raises `StripeError` for the first two that do not go together, and for what is missing."""
    mode = parameters.get("mode")
    if mode is None:
        raise StripeError("Missing required param: mode.", code="parameter_missing", param="mode")
    for one, other in (("customer", "customer_email"), ("allow_promotion_codes", "discounts")):
        if parameters.get(one) and parameters.get(other):
            raise StripeError(
                f"You may only specify one of these parameters: {one}, {other}.",
                code="parameters_exclusive",
                param=other,
            )
    if parameters.get("customer_creation") and (mode == "subscription" or "customer" in parameters):
        raise StripeError(
            "`customer_creation` can only be used in `payment` and `setup` mode, without `customer`.",
            param="customer_creation",
        )
    own = {"payment_intent_data": "payment", "subscription_data": "subscription", "setup_intent_data": "setup"}
    for name, wanted in own.items():
        if name in parameters and mode != wanted:
            raise StripeError(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    if "customer_update" in parameters and "customer" not in parameters:
        raise StripeError("`customer_update` can only be used with `customer`.", param="customer_update")
    if "payment_method_collection" in parameters and mode == "setup":
        raise StripeError(
            "`payment_method_collection` can not be set in `setup` mode.", param="payment_method_collection"
        )
    hosted = parameters.get("ui_mode", "hosted_page") == "hosted_page"
    if hosted and "success_url" not in parameters:
        raise StripeError("Missing required param: success_url.", code="parameter_missing", param="success_url")
    if not hosted:
        for name in ("success_url", "cancel_url"):
            if name in parameters:
                raise StripeError(f"`{name}` is not allowed when `ui_mode` is not `hosted_page`.", param=name)
        if "return_url" not in parameters and parameters.get("redirect_on_completion") != "never":
            raise StripeError("Missing required param: return_url.", code="parameter_missing", param="return_url")
    elif "return_url" in parameters:
        raise StripeError("`return_url` is not allowed when `ui_mode` is `hosted_page`.", param="return_url")


def expiry_of(world: World, parameters: Parameters) -> int:
    """When the session ends by itself, Unix seconds: a day from now unless the request says less."""
    expires_at: int = parameters.get("expires_at", world.now + LIFETIME_SECONDS)
    for bad, rule in (
        (expires_at < world.now + LIFETIME_MINIMUM_SECONDS, "at least 30 minutes"),
        (expires_at > world.now + LIFETIME_SECONDS, "less than 24 hours"),
    ):
        if bad:
            raise StripeError(
                f"The `expires_at` timestamp must be {rule} from Checkout Session creation.", param="expires_at"
            )
    return expires_at
