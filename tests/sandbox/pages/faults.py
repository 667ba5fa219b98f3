"""The fault switches: what each does, which rules are in force, and what they hit."""

from collections.abc import Sequence
from typing import get_args

from tests.sandbox.core.faults import SECONDS_OF, RequestMode, WebhookMode
from tests.sandbox.delivery import Deliveries
from tests.sandbox.pages.layout import Html, anchor, badge, button, code, html, joined, link, moment, section, table
from tests.sandbox.pages.naming import link_to
from tests.sandbox.world import World

HITS_SHOWN = 30
# One sentence a mode. A mode that is declared and not described here is shown by its name.
MEANINGS = {
    "hold_before": "The request waits before any work, until it is let go on here.",
    "hold_after": "The work is done, the answer waits until it is let go on here.",
    "slow": "The work is done, the answer comes some seconds later.",
    "error_500": "500 and no work done.",
    "error_500_after_commit": "The work is done, and 500 is answered; its idempotency key answers 500 again.",
    "rate_limit": "429 with Retry-After, and no work done.",
    "forbidden": "403, as for a restricted key that lacks a permission, and no work done.",
    "timeout_after_commit": "The work is done, and the connection dropped without an answer.",
    "connection_reset": "The connection is cut before any work.",
    "connection_refused": "The port is shut for some seconds, as while a server restarts.",
    "lagging_lists": "Lists do not show the latest changes yet.",
    "forget_idempotency_keys": "The idempotency key is forgotten: a repeat does the work again.",
    "drop": "The webhook is never sent.",
    "duplicate": "The webhook is sent twice, one after the other.",
    "duplicate_at_once": "The webhook is sent twice at the same time.",
    "delay": "The webhook is sent some seconds later.",
    "reorder": "Later events of the endpoint overtake it.",
    "bad_signature": "The webhook's signature is wrong.",
}


def faults_page(world: World, deliveries: Deliveries, held: Sequence[tuple[str, str]]) -> list[Html]:
    release = button("/faults/release", f"Let {len(held)} go on") if held else None
    parts = [
        section(
            "In force", _rules(world), aside=button("/faults/clear", "Clear all") if world.faults.active() else None
        ),
        section("Switch one on for requests", _form("operation", "POST /v1/invoiceitems", get_args(RequestMode))),
        section("Switch one on for webhooks", _form("event", "invoice.paid", get_args(WebhookMode))),
        section("What they hit", _hits(world, deliveries)),
    ]
    if held:
        parts.insert(1, section("Held requests", table(["Call", "Mode"], held), aside=release))
    return parts


def _rules(world: World) -> Html:
    rows = []
    for fault in world.faults.active():
        conditions: list[object] = [code(fault.where)] if fault.where else []
        conditions += [f"after {fault.after} more"] if fault.after else []
        conditions += [f"with chance {fault.probability} (seed {fault.seed})"] if fault.probability != 1 else []
        rows.append(
            [
                badge(fault.mode),
                "requests" if fault.target == "operation" else "webhooks",
                code(fault.pattern.pattern),
                joined(conditions, ", ") or "–",
                "no end" if fault.times is None else fault.times,
                fault.hits,
            ]
        )
    heads = ["Mode", "Concerns", "Matching", "Only", "#Left", "#Hit so far"]
    return table(heads, rows, nothing="Nothing goes wrong. Switch something on below and repeat what you did.")


def _form(target: str, example: str, modes: tuple[str, ...]) -> Html:
    choices = "".join(
        f'<label class="choice"><input type="radio" name="mode" value="{mode}"{" checked" if place == 0 else ""}>'
        f"<span><b>{html(mode)}</b> {html(MEANINGS.get(mode, ''))}</span></label>"
        for place, mode in enumerate(modes)
    )
    matched = "METHOD path" if target == "operation" else "event type"
    waiting = ", ".join(mode for mode in modes if mode in SECONDS_OF)
    places = '<label>Places (reorder) <input name="places" type="number" min="1"></label>' if target == "event" else ""
    writes = (
        '<label>Writes (lagging_lists) <input name="writes" type="number" min="1"></label>'
        if target == "operation"
        else ""
    )
    return Html(
        f'<form class="switch" method="post" action="/faults/add"><fieldset><legend>Mode</legend>{choices}</fieldset>'
        f'<div class="fields"><label class="long">Regular expression on the {matched} '
        f'<input name="{target}" value="{html(example)}" required></label>'
        '<label>Only about the object <input name="where" placeholder="cus_…"></label>'
        '<label>Times <input name="times" type="number" min="1" value="1"></label>'
        '<label>Let pass first <input name="after" type="number" min="0"></label>'
        '<label>Chance <input name="probability" placeholder="1/7" size="5"></label>'
        '<label>Seed <input name="seed" type="number" min="0"></label>'
        f'<label>Seconds ({waiting}) <input name="seconds" type="number" min="0" step="any"></label>'
        f'{places}{writes}</div><button class="primary">Switch on</button></form>'
    )


def _hits(world: World, deliveries: Deliveries) -> Html:
    """The latest of both kinds, newest first."""
    hits: list[tuple[int, list[object]]] = [
        (hit.place, [badge(hit.mode), code(hit.call), "", moment(hit.at)]) for hit in world.history.hits
    ]
    for delivery in deliveries.log:
        event = world.store.find("event", delivery.event) if delivery.fault else None
        if event is not None:
            about = joined([link(event["id"], event["type"]), " to ", link(delivery.endpoint, delivery.url)])
            row: list[object] = [badge(delivery.fault), about, link_to(world, event["data"]["object"].get("id"))]
            hits.append((world.store.place(event["id"]), [*row, moment(event["created"])]))
    hits.sort(key=lambda hit: hit[0], reverse=True)
    nothing = Html(f"Nothing yet. The {anchor('/requests', 'requests')} show what came and was answered.")
    return table(["Mode", "What", "About", "At"], [row for _, row in hits[:HITS_SHOWN]], nothing=nothing)
