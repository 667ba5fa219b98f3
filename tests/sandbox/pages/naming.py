"""What an object is called on a page, and text in which every known identifier is a link."""

import json
import re
from html import escape
from typing import Any

from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.layout import Html, html, link, money
from tests.sandbox.world import World

# What is known by its amount, whatever its description says.
KNOWN_BY_AMOUNT = frozenset({"payment_intent", "charge", "refund", "dispute", "payout", "balance_transaction", "topup"})
# The fields that name an object to a person, the first that is set.
NAMING_FIELDS = ("name", "number", "nickname", "display_name", "event_name", "code", "email", "description", "url")
NAME_LENGTH_MAX = 60
IDENTIFIER = re.compile(r"\b[a-z][a-z_]{1,18}_[A-Za-z0-9]{10,}\b")
QUOTED = re.compile(r"&quot;([A-Za-z0-9_\-]{2,80})&quot;")


def name_of(thing: StripeObject) -> str:
    """The name a person gave it, or its identifier."""
    if thing["object"] == "event":
        return str(thing["type"])
    if thing["object"] in KNOWN_BY_AMOUNT:
        return money(thing["amount"], thing["currency"])
    named = next((thing[field] for field in NAMING_FIELDS if isinstance(thing.get(field), str) and thing[field]), None)
    if named is None and isinstance(thing.get("card"), dict):
        named = f"{thing['card'].get('brand', 'card')} {thing['card'].get('last4', '')}"
    if named is None and isinstance(thing.get("amount"), int) and isinstance(thing.get("currency"), str):
        named = money(thing["amount"], thing["currency"])
    text = str(named or thing["id"])
    return text if len(text) <= NAME_LENGTH_MAX else text[: NAME_LENGTH_MAX - 1] + "…"


def link_to(world: World, object_id: str | None) -> Html:
    """A link with the object's name; only its identifier where the object is gone."""
    if not object_id:
        return Html("–")
    thing = world.store.by_id(object_id)
    return link(object_id, name_of(thing)) if thing is not None else Html(f"<code>{escape(object_id)}</code>")


def linked_text(world: World, text: str) -> Html:
    """Text with each identifier of a stored object as a link."""

    def linked(found: re.Match[str]) -> str:
        return link(found[0]) if world.store.by_id(found[0]) is not None else found[0]

    return Html(IDENTIFIER.sub(linked, html(text)))


def reason(world: World, why: str) -> Html:
    """The reason of due work, with links, and whose it is."""
    found = IDENTIFIER.search(why)
    thing = world.store.by_id(found[0]) if found else None
    owner = world.store.find("customer", thing.get("customer")) if thing is not None else None
    whose = Html(f' <span class="soft">of {link(owner["id"], name_of(owner))}</span>') if owner is not None else ""
    return Html(f"{linked_text(world, why or 'something due')}{whose}")


def without_ids(why: str) -> str:
    """The kind of work that a reason tells: "renewal of sub_…" is a renewal."""
    return IDENTIFIER.sub("", why).strip().removesuffix(" of").removesuffix(" for")


def source(world: World, thing: Any) -> Html:
    """An object as JSON, with links."""

    def linked(found: re.Match[str]) -> str:
        known = world.store.by_id(found[1]) is not None
        return f"&quot;{link(found[1])}&quot;" if known else found[0]

    text = escape(json.dumps(thing, indent=2, ensure_ascii=False))
    return Html(f'<pre tabindex="0">{QUOTED.sub(linked, text)}</pre>')
