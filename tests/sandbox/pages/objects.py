"""The page of any object: what it is, what belongs to it, what happened to it, and its JSON."""

from collections.abc import Callable

from tests.sandbox.core.store import StripeObject
from tests.sandbox.delivery import Deliveries
from tests.sandbox.pages.circle import named_in, naming
from tests.sandbox.pages.clocks import test_clock_parts
from tests.sandbox.pages.customers import customer_parts
from tests.sandbox.pages.events import event_parts
from tests.sandbox.pages.invoices import invoice_parts
from tests.sandbox.pages.kinds import kind_of, plural, singular
from tests.sandbox.pages.layout import (
    Html,
    anchor,
    badge,
    button,
    code,
    facts,
    folded,
    html,
    joined,
    moment,
    section,
    table,
)
from tests.sandbox.pages.naming import link_to, name_of, source
from tests.sandbox.pages.subscriptions import subscription_parts
from tests.sandbox.pages.tables import related_table
from tests.sandbox.pages.timeline import timeline
from tests.sandbox.pages.values import shown
from tests.sandbox.world import World

FACTS_SHOWN = 28
FIRST_FACTS = ("amount", "customer", "invoice", "payment_intent", "charge", "payment_method", "reason", "description")
# Told elsewhere on the page, or nothing to a person.
NO_FACTS = frozenset({"id", "object", "livemode", "created", "metadata", "data", "lines", "status", "client_secret"})
OWN_PARTS: dict[str, Callable[[World, StripeObject], list[Html]]] = {
    "customer": customer_parts,
    "subscription": subscription_parts,
    "invoice": invoice_parts,
    "test_helpers.test_clock": test_clock_parts,
}
# Kinds that the pages above show in full already.
SHOWN_BY_OWN_PARTS: dict[str, frozenset[str]] = {
    "customer": frozenset(
        {"subscription", "invoice", "payment_intent", "payment_method", "customer_balance_transaction"}
    ),
    "subscription": frozenset({"invoice"}),
}


def object_page(world: World, deliveries: Deliveries, thing: StripeObject, query: dict[str, str]) -> list[Html]:
    kind = thing["object"]
    head = object_head(world, thing)
    if kind == "event":
        return [head, *event_parts(world, deliveries, thing), _json(world, thing)]
    maker = OWN_PARTS.get(kind)
    parts = maker(world, thing) if maker else [section("In short", facts(_facts(world, thing)))]
    return [
        head,
        *_actions(thing),
        *parts,
        timeline(world, deliveries, thing, query),
        _related(world, thing),
        _json(world, thing),
    ]


def object_head(world: World, thing: StripeObject) -> Html:
    """Under the title: the kind, the id, the status, when it was made, its metadata."""
    kind = kind_of(thing["object"], thing)
    parts = [anchor(kind.path, singular(thing["object"]).capitalize()), code(thing["id"])]
    status = thing.get("status")
    if isinstance(status, str):
        parts.append(badge(status))
    if thing.get("deleted"):
        parts.append(badge("deleted"))
    if isinstance(thing.get("created"), int):
        parts.append(Html(f'<span class="soft">made {moment(thing["created"])}</span>'))
    if thing.get("metadata"):
        said = ", ".join(f"{key}: {value}" for key, value in thing["metadata"].items())
        parts.append(Html(f'<span class="soft">{html(said)}</span>'))
    return Html(f'<p class="object-head">{joined(parts, " ")}</p>')


def title_of(world: World, thing: StripeObject) -> str:
    kind, name = singular(thing["object"]).capitalize(), name_of(thing)
    if name != thing["id"]:
        return f"{kind} {name}"
    owner = world.store.find("customer", thing["customer"]) if isinstance(thing.get("customer"), str) else None
    return f"{kind} of {name_of(owner)}" if owner is not None else kind


def _facts(world: World, thing: StripeObject) -> list[tuple[str, object]]:
    """The fields that say something: what is empty is left to the JSON."""
    said = [
        field
        for field, value in thing.items()
        if field not in NO_FACTS
        and value not in (None, "", [], {})
        and not (isinstance(value, dict) and _says_nothing(value))
    ]
    said.sort(key=lambda field: FIRST_FACTS.index(field) if field in FIRST_FACTS else len(FIRST_FACTS))
    pairs: list[tuple[str, object]] = [
        (field.replace("_", " ").capitalize(), shown(world, thing, field)) for field in said[:FACTS_SHOWN]
    ]
    return pairs or [("Fields", "see its JSON below")]


def _says_nothing(value: StripeObject) -> bool:
    return all(item in (None, "", [], {}) for item in value.values())


def _actions(thing: StripeObject) -> list[Html]:
    if thing["object"] in ("payment_intent", "setup_intent") and thing["status"] == "requires_action":
        explanation = Html(
            '<p class="soft">It waits for the payer, as a bank does that asks for a code (3-D Secure).</p>'
        )
        succeed = button("/authenticate", "Authenticate", kind="primary", id=thing["id"], result="succeed")
        fail = button("/authenticate", "Fail it", id=thing["id"], result="fail")
        payers = anchor(f"/pay/authenticate/{thing['id']}", "What the payer sees")
        buttons = Html(f'<div class="buttons">{succeed}{fail}</div>')
        return [section("Authentication", explanation, buttons, aside=payers)]
    return []


def _related(world: World, thing: StripeObject) -> Html:
    """Links both ways: what this object names, and what names it."""
    names = [[field, link_to(world, name), code(name)] for field, name in named_in(world, thing)]
    hidden = SHOWN_BY_OWN_PARTS.get(thing["object"], frozenset())
    named_by = [
        Html(f"<h3>{html(plural(kind))} ({len(things):,})</h3>{related_table(world, kind, things)}")
        for kind, things in naming(world, thing["id"]).items()
        if kind not in hidden
    ]
    parts = [Html(f"<h3>It names</h3>{table(['Field', 'Object', 'Id'], names)}")] if names else []
    content = joined([*parts, *named_by])
    return section("Related", content or Html('<p class="empty">It names no other object, and none names it.</p>'))


def _json(world: World, thing: StripeObject) -> Html:
    return section("JSON", folded(f"{thing['object']} as the API answers it", source(world, thing)))
