"""Making products and prices, for requests about them and for items that bring their own. Each is told by its event."""

from typing import Any

from tests.sandbox.billing.prices.lookup_keys import holder_of_key
from tests.sandbox.billing.prices.plans import change_price, tell_price
from tests.sandbox.billing.prices.price_terms import Terms, read_terms
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

PRODUCT_FIELDS = ("active", "name", "shippable")
URL_LENGTH_MAX = 2048  # of a product as it is answered; the parameter of the document may be longer
PRODUCT_TEXTS = ("description", "package_dimensions", "statement_descriptor", "tax_code", "unit_label", "url")
PRODUCT_LISTS = ("images", "marketing_features")


def new_product(world: World, parameters: Parameters) -> StripeObject:
    """A stored product, with its default price when `default_price_data` describes one."""
    if world.store.find("product", parameters.get("id")):
        raise StripeError("Product already exists.", code="resource_already_exists", param="id")
    price_data = parameters.get("default_price_data")
    terms = read_terms(world, price_data) if price_data is not None else None
    fields: dict[str, Any] = {"active": True, "images": [], "marketing_features": [], "updated": world.now}
    if "id" in parameters:
        fields["id"] = parameters["id"]
    product = world.new("product", "prod", metadata={}, **fields)
    product.update(product_changes(world, product, parameters))
    price = None
    if terms is not None:
        price = _stored_price(world, product, parameters["default_price_data"], terms)
        product["default_price"] = price["id"]
    world.emit("product.created", product)
    if price is not None:
        tell_price(world, price, "created")
    return product


def product_changes(world: World, product: StripeObject, parameters: Parameters) -> dict[str, Any]:
    """The fields of a product that a request sets. Raises `StripeError` for a default price of another product."""
    changes: dict[str, Any] = {name: parameters[name] for name in PRODUCT_FIELDS if name in parameters}
    changes |= {name: unset(parameters[name]) for name in PRODUCT_TEXTS if name in parameters}
    if len(changes.get("url") or "") > URL_LENGTH_MAX:
        raise StripeError(
            f"Invalid string: must be at most {URL_LENGTH_MAX} characters",
            code="parameter_invalid_string_too_long",
            param="url",
        )
    changes |= {name: parameters[name] or [] for name in PRODUCT_LISTS if name in parameters}
    if "default_price" in parameters:
        price = world.store.get("price", parameters["default_price"], param="default_price")
        if price["product"] != product["id"]:
            raise StripeError(
                f"The price specified ({price['id']}) does not belong to the product {product['id']}.",
                param="default_price",
            )
        changes["default_price"] = price["id"]
    changes["metadata"] = merged_metadata(product["metadata"], parameters)
    return changes


def new_price(world: World, product: StripeObject, parameters: Parameters) -> StripeObject:
    """A stored price from the parameters of `POST /v1/prices` or a `price_data`. Raises `StripeError`."""
    price = _stored_price(world, product, parameters, read_terms(world, parameters))
    tell_price(world, price, "created")
    return price


def new_price_and_product(world: World, parameters: Parameters) -> StripeObject:
    """A stored price of the product that `product` names or `product_data` describes.

    Raises `StripeError` before anything is made.
    """
    if "product" in parameters and "product_data" in parameters:
        raise StripeError("You may only specify one of these parameters: product, product_data.", param="product")
    if "product" not in parameters and "product_data" not in parameters:
        raise StripeError("You must specify either `product` or `product_data` when creating a price.")
    terms = read_terms(world, parameters)
    holder = holder_of_key(world, parameters)
    if "product_data" in parameters:
        product = new_product(world, parameters["product_data"])
    else:
        product = world.store.get("product", parameters["product"], param="product")
    if holder is not None:
        change_price(world, holder, {"lookup_key": None})
    price = _stored_price(world, product, parameters, terms)
    tell_price(world, price, "created")
    return price


def _stored_price(world: World, product: StripeObject, parameters: Parameters, terms: Terms) -> StripeObject:
    own_id = {"id": parameters["id"]} if "id" in parameters else {}  # only a plan may choose its own
    price = world.new(
        "price",
        "price",
        active=parameters.get("active", True),
        lookup_key=unset(parameters.get("lookup_key")),
        metadata=merged_metadata({}, parameters),
        nickname=parameters.get("nickname"),
        product=product["id"],
        **terms.fields,
        **own_id,
    )
    if terms.tiers:
        world.price_tiers[price["id"]] = terms.tiers
    if terms.currency_options:
        world.currency_options[price["id"]] = terms.currency_options
    if "trial_period_days" in parameters:
        world.trial_period_days[price["id"]] = parameters["trial_period_days"]
    return price
