"""What a checkout session leaves behind: who bought, the redeemed discount, and the word that it is complete."""

from tests.sandbox.billing.customers import new_customer
from tests.sandbox.billing.invoices.discounts import new_discounts
from tests.sandbox.billing.payments.debiting import accept_mandate
from tests.sandbox.billing.selling.linking import count_completed
from tests.sandbox.billing.selling.session_fields import customer_details, given_discounts
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def preset_email(world: World, session: StripeObject) -> str | None:
    """The e-mail that the session was made with, which the person cannot change."""
    customer = world.store.find("customer", world.asked_for[session["id"]].get("customer"))
    email: str | None = session["customer_email"] or (customer["email"] if customer is not None else None)
    return email


def take_details(world: World, session: StripeObject, payment_method: StripeObject | None, phone: str | None) -> None:
    """The session shows who buys as soon as they said it; an e-mail given at its creation stays."""
    known = session["customer_details"] or {}
    given = payment_method["billing_details"] if payment_method is not None else {}
    details = customer_details(
        email=preset_email(world, session) or given.get("email") or known.get("email"),
        name=given.get("name") or known.get("name"),
        address=None if session["mode"] == "setup" else given.get("address"),
        phone=phone or given.get("phone"),
        tax_exempt=known.get("tax_exempt", "none"),
    )
    world.update(session, None, customer_details=details)


def take_mandate(world: World, payment_method: StripeObject) -> None:
    """The page's button is the consent to a debit."""
    if payment_method["type"] == "sepa_debit" and payment_method["id"] not in world.mandates:
        accept_mandate(world, payment_method, {"customer_acceptance": {"type": "online"}})


def customer_of(world: World, session: StripeObject) -> StripeObject:
    """The session's customer, made as a request would make it if there is none yet."""
    customer = world.store.find("customer", session["customer"])
    if customer is None:
        details = session["customer_details"]
        given = {name: details[name] for name in ("address", "email", "name", "phone") if details[name]}
        if "address" in given:
            given["address"] = {name: part for name, part in given["address"].items() if part}
        customer = new_customer(world, given)
        world.update(session, None, customer=customer["id"])
    return customer


def redeem(world: World, session: StripeObject) -> None:
    new_discounts(world, given_discounts(session), customer=session["customer"] or "", checkout_session=session["id"])


def _update_customer(world: World, session: StripeObject) -> None:
    """`customer_update`: what the person entered replaces what was known of an existing customer."""
    wanted = world.asked_for[session["id"]].get("customer_update", {})
    details = session["customer_details"]
    changes = {name: details[name] for name in ("address", "name") if wanted.get(name) == "auto" and details[name]}
    if changes:
        world.update(world.store.get("customer", session["customer"]), "customer.updated", **changes)


def complete(world: World, session: StripeObject, payment_status: str) -> None:
    _update_customer(world, session)
    world.update(session, None, payment_status=payment_status, status="complete", url=None)
    world.emit("checkout.session.completed", session)
    count_completed(world, session)
