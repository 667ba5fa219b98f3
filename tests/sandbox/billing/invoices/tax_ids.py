"""Tax ids: made, verified after a while by Stripe's test values, taken away."""

import re

from tests.sandbox.billing.invoices.invoicing import follow_customer
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Kinds that Stripe holds against the tax authorities' records; of others the verification is unavailable.
VERIFIED_KINDS = frozenset({"au_abn", "eu_vat", "gb_vat"})
# docs.stripe.com/invoicing/customer/tax-ids: values whose verification ends in a known way in test mode.
VERIFICATION_OF_VALUE = {"000000000": "verified", "111111111": "unverified", "222222222": "pending"}
EU_VAT = re.compile(r"[A-Z]{2}[0-9A-Z+*]{2,12}")


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


def remove_tax_id(world: World, tax_id: StripeObject) -> None:
    world.store.remove(tax_id)
    if tax_id["customer"] is not None:
        world.emit("customer.tax_id.deleted", tax_id)
        customer = world.store.find("customer", tax_id["customer"])
        if customer is not None:
            follow_customer(world, customer)


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
