"""What belongs together with an object: what its body names, what names it, and the objects whose fate is its own."""

from collections.abc import Iterator
from typing import Any

import msgspec

from tests.sandbox.billing.invoices.invoicing import subscription_of
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Told by their own parts of a page, or of no use as a reference.
NOT_SEARCHED = frozenset({"event", "v2.core.event"})


def named_in(world: World, thing: StripeObject) -> list[tuple[str, str]]:
    """The other objects that the body names: (path of the field, id), each id once."""
    seen: dict[str, str] = {}
    for path, value in _texts(thing, ""):
        if value != thing["id"] and value not in seen and "_" in value and world.store.by_id(value) is not None:
            seen[value] = path
    return [(path, value) for value, path in seen.items()]


def naming(world: World, object_id: str) -> dict[str, list[StripeObject]]:
    """The objects whose body names this one, by kind, oldest first.

    Nothing keeps track of this: each body is searched as JSON, which takes microseconds an object.
    """
    wanted = b'"' + object_id.encode() + b'"'
    encode = msgspec.json.Encoder().encode
    found: dict[str, list[StripeObject]] = {}
    for kind, _ in world.store.counts():
        if kind not in NOT_SEARCHED:
            hits = [thing for thing in world.store.all(kind) if wanted in encode(thing) and thing["id"] != object_id]
            if hits:
                found[kind] = hits
    return found


def invoices_of(world: World, subscription: StripeObject) -> list[StripeObject]:
    """The invoices of a subscription, oldest first."""
    invoices = world.store.where("invoice", "customer", subscription["customer"])
    return [invoice for invoice in invoices if subscription_of(invoice) == subscription["id"]]


def intents_of(world: World, invoice: StripeObject) -> list[StripeObject]:
    """The payment intents of an invoice, oldest first."""
    payments = world.store.where("invoice_payment", "invoice", invoice["id"])
    names = [payment["payment"].get("payment_intent") for payment in payments]
    return [found for name in names if (found := world.store.find("payment_intent", name)) is not None]


def circle(world: World, thing: StripeObject) -> set[str]:
    """The ids of the objects whose events tell the story of this one, its own among them."""
    kind = thing["object"]
    ids = {thing["id"]}
    if kind == "customer":
        return ids  # its events are found by their `customer`
    if kind == "subscription":
        for invoice in invoices_of(world, thing):
            ids |= _payment_circle(world, invoice)
        if thing.get("schedule"):
            ids.add(thing["schedule"])
    elif kind == "invoice":
        ids |= _payment_circle(world, thing)
        ids |= {note["id"] for note in world.store.all("credit_note") if note["invoice"] == thing["id"]}
    elif kind in ("payment_intent", "charge"):
        intent = thing["id"] if kind == "payment_intent" else thing["payment_intent"]
        charges = world.store.where("charge", "payment_intent", intent) if intent else [thing]
        ids |= {charge["id"] for charge in charges}
        ids |= {refund["id"] for charge in charges for refund in world.store.where("refund", "charge", charge["id"])}
        ids |= {dispute["id"] for dispute in world.store.all("dispute") if dispute["charge"] in ids}
        ids |= {intent} if intent else set()
    elif kind == "subscription_schedule" and thing.get("subscription"):
        ids.add(thing["subscription"])
    return ids


def _payment_circle(world: World, invoice: StripeObject) -> set[str]:
    intents = [intent["id"] for intent in intents_of(world, invoice)]
    payments = [payment["id"] for payment in world.store.where("invoice_payment", "invoice", invoice["id"])]
    charges = [charge["id"] for name in intents for charge in world.store.where("charge", "payment_intent", name)]
    return {invoice["id"], *intents, *payments, *charges}


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, path)
