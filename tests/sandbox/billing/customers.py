"""A customer's life: made with their first card and balance, changed, deleted with all that was still to be paid."""

from typing import Any

from tests.sandbox.billing.invoices.balance import move_balance
from tests.sandbox.billing.invoices.invoicing import follow_customer
from tests.sandbox.billing.invoices.leaving import leave_invoices
from tests.sandbox.billing.invoices.tax_ids import new_tax_id, require_valid
from tests.sandbox.billing.payments.attaching import attach, detach
from tests.sandbox.billing.payments.sources import own_source, remove_source, replaced_default_source, sources_of
from tests.sandbox.billing.subscriptions.ended import ENDED, end_subscription
from tests.sandbox.billing.subscriptions.simulating import require_room_for_customer
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

TEXTS = ("description", "email", "name", "phone")
NAMES = ("business_name", "individual_name")  # by the document never null: unset, they are empty texts


def new_customer(world: World, parameters: Parameters) -> StripeObject:
    """A customer from the parameters of `POST /v1/customers`. Raises `StripeError`, a card's 402 among them."""
    tax_ids = parameters.get("tax_id_data", [])
    for place, given in enumerate(tax_ids):
        require_valid(given, param=f"tax_id_data[{place}][value]")
    if "test_clock" in parameters:
        world.store.get("test_helpers.test_clock", parameters["test_clock"], noun="test_clock", param="test_clock")
        require_room_for_customer(world)
    customer = world.new(
        "customer",
        "cus",
        balance=0,
        delinquent=False,
        invoice_prefix=parameters.get("invoice_prefix") or world.ids.capitals(8),
        invoice_settings=world.skeletons.new("invoice_setting_customer_setting"),
        metadata={},
        next_invoice_sequence=1,
        preferred_locales=[],
        tax_exempt="none",
    )
    try:
        customer.update(_changes(world, customer, parameters))
    except StripeError:  # a card that declines when it is attached: there is no customer then
        world.store.remove(customer)
        raise
    balance = parameters.get("balance", 0)
    world.emit("customer.created", customer)
    for given in tax_ids:
        new_tax_id(world, given, customer=customer)
    if balance:
        move_balance(world, customer, amount=balance, kind="initial", currency=customer["currency"] or "usd")
    return customer


def change_customer(world: World, customer: StripeObject, parameters: Parameters) -> None:
    """Change them by the parameters of `POST /v1/customers/{customer}`. Raises `StripeError`."""
    world.update(customer, "customer.updated", **_changes(world, customer, parameters))
    follow_customer(world, customer)
    if "balance" in parameters and parameters["balance"] != customer["balance"]:
        difference = parameters["balance"] - customer["balance"]
        move_balance(world, customer, amount=difference, kind="adjustment", currency=customer["currency"] or "usd")


def delete_customer(world: World, customer: StripeObject) -> StripeObject:
    """Subscriptions end, cards and what waits go with them. The answer is what Stripe shows of a deleted one."""
    for subscription in world.store.where("subscription", "customer", customer["id"]):
        if subscription["status"] not in ENDED:
            end_subscription(world, subscription, reason="cancellation_requested")
    for payment_method in world.store.where("payment_method", "customer", customer["id"]):
        detach(world, payment_method)
    for card in sources_of(world, customer):
        remove_source(world, card)
    leave_invoices(world, customer)
    world.store.remove(customer)
    gone = {"id": customer["id"], "object": "customer", "deleted": True}
    world.tombstones[customer["id"]] = gone
    world.emit("customer.deleted", customer)
    return gone


def _changes(world: World, customer: StripeObject, parameters: Parameters) -> dict[str, Any]:
    changes: dict[str, Any] = {name: unset(parameters[name]) for name in TEXTS if name in parameters}
    changes["metadata"] = merged_metadata(customer["metadata"], parameters)
    for name in (*NAMES, "invoice_prefix", "next_invoice_sequence", "preferred_locales"):
        if name in parameters:
            changes[name] = parameters[name]
    if "tax_exempt" in parameters:
        changes["tax_exempt"] = parameters["tax_exempt"] or "none"
    for name, schema in (("address", "address"), ("shipping", "shipping")):
        if name in parameters:
            given = parameters[name]
            changes[name] = world.skeletons.new(schema, **given) if given else None
    named: dict[str, str] = {}  # test card names to the payment methods made of them
    if "payment_method" in parameters:
        name = parameters["payment_method"]
        named[name] = attach(world, name, customer)["id"]
    if "source" in parameters:
        changes["default_source"] = replaced_default_source(world, customer, parameters["source"])
    elif "default_source" in parameters:
        changes["default_source"] = own_source(world, customer, parameters["default_source"])["id"]
    settings = parameters.get("invoice_settings", {})
    if settings:
        default = settings.get("default_payment_method", customer["invoice_settings"]["default_payment_method"])
        default = named.get(default, default) or None
        if default is not None and world.store.find("payment_method", default) is None:
            default = attach(world, default, customer)["id"]
        changes["invoice_settings"] = {
            **customer["invoice_settings"],
            **{key: value or None for key, value in settings.items()},
            "default_payment_method": default,
        }
        if settings.get("rendering_options"):
            options = world.skeletons.new("invoice_setting_customer_rendering_options", **settings["rendering_options"])
            changes["invoice_settings"]["rendering_options"] = options
    return changes
