"""The requests to Stripe's API that the sandbox remembers: what they asked, what they got, what they made."""

from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import merge
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from tests.sandbox.core.history import FaultHit, PastRequest
from tests.sandbox.pages.layout import (
    Html,
    anchor,
    badge,
    code,
    empty,
    facts,
    folded,
    html,
    link,
    moment,
    section,
    status_code,
    table,
)
from tests.sandbox.pages.naming import link_to, linked_text, source
from tests.sandbox.pages.tables import filter_form, page_number, pager
from tests.sandbox.world import World

Seen = PastRequest | FaultHit
ROWS_SHOWN = 50
KEY_LENGTH_MAX = 18
# Parameters whose values nobody needs to see: a card's digits, an account's, what opens a session.
SECRET = ("number", "cvc", "client_secret", "secret", "account_number", "routing_number", "password", "api_key")
MASKED = "••••"


def seen(world: World) -> list[Seen]:
    """What came in, newest first: answered requests, and before each the fault that hit it."""
    streams: tuple[Iterable[Seen], Iterable[Seen]] = (world.history.hits, world.history.requests)
    return list(merge(*streams, key=lambda item: item.place))[::-1]


def request_table(world: World, things: Sequence[Seen], *, nothing: str | Html) -> Html:
    rows = [_hit_row(item) if isinstance(item, FaultHit) else _row(world, item) for item in things]
    return table(["Status", "Request", "Outcome", "Idempotency key", "At"], rows, nothing=nothing, kind="flowing")


def requests_page(world: World, query: dict[str, str], *, nothing: Html) -> list[Html]:
    """The remembered requests, newest first; `q` is searched in their paths, keys, parameters and answers."""
    remembered = seen(world)
    if not remembered:
        return [section("Requests", empty(nothing))]
    counts = Counter(group for item in remembered for group in _groups(item))
    shown, words = query.get("show", ""), query.get("q", "").strip()
    found = [item for item in remembered if (not shown or shown in _groups(item)) and _matches(item, words)]
    place = page_number(query, len(found))
    rows = found[(place - 1) * ROWS_SHOWN : place * ROWS_SHOWN]
    return [
        filter_form("/requests", query, {"show": counts}, hint="Path, id, key, value"),
        section(
            f"{len(found):,} requests",
            request_table(world, rows, nothing="None like that."),
            pager("/requests", query, len(found)),
        ),
    ]


def _row(world: World, request: PastRequest) -> list[Html]:
    return [
        status_code(request.status),
        anchor(f"/requests/{request.id}", code(f"{request.method} {request.path}")),
        _said(world, request),
        _short_key(request.idempotency_key),
        moment(request.at),
    ]


def _hit_row(hit: FaultHit) -> list[Html]:
    outcome = Html(f"hit by {badge(hit.mode)}")
    return [Html('<span class="badge bad">fault</span>'), code(hit.call), outcome, Html(""), moment(hit.at)]


def request_page(world: World, request: PastRequest) -> list[Html]:
    made = [event for event in world.store.all("event") if event["request"] and event["request"]["id"] == request.id]
    said = answer_of(request)
    said_facts = facts(
        [
            ("Status", status_code(request.status)),
            *([("Error", Html(f'<span class="bad">{html(error_of(request))}</span>'))] if error_of(request) else []),
            ("At", moment(request.at)),
            ("Answered with", link_to(world, answered_id(request))),
            ("Idempotency key", code(request.idempotency_key) if request.idempotency_key else "none"),
            *(
                [("Replay of", anchor(f"/requests/{request.replay_of}", request.replay_of))]
                if request.replay_of
                else []
            ),
        ]
    )
    rows = [[code(name), linked_text(world, value)] for name, value in parameters_of(request)]
    events = [[link(event["id"], event["type"]), link_to(world, event["data"]["object"].get("id"))] for event in made]
    return [
        section(f"{request.method} {request.path}", said_facts),
        section("Parameters", table(["Name", "Value"], rows, nothing="It had none.", kind="wrapped")),
        section("Events it caused", table(["Event", "About"], events, nothing="None.")),
        section("Answer", folded("JSON", source(world, masked(said))) if said else empty("Not kept: it was too long.")),
    ]


def parameters_of(request: PastRequest) -> list[tuple[str, str]]:
    """Query and body as they were sent, with secrets masked."""
    text = request.query + "&" + request.body.decode(errors="replace")
    return [(name, MASKED if _is_secret(name) else value) for name, value in parse_qsl(text, keep_blank_values=True)]


def answer_of(request: PastRequest) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(request.answer)
    except msgspec.DecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def error_of(request: PastRequest) -> str:
    """What Stripe's error says, or nothing for a success."""
    if request.status < 300:
        return ""
    return str(answer_of(request).get("error", {}).get("message", ""))


def answered_id(request: PastRequest) -> str | None:
    """The id of the object in the answer; none for a list."""
    if request.status >= 300 or request.method == "GET":
        return None
    found = answer_of(request).get("id")
    return found if isinstance(found, str) else None


def masked(said: Any) -> Any:
    if isinstance(said, dict):
        return {
            key: MASKED if _is_secret(key) and isinstance(value, str) else masked(value) for key, value in said.items()
        }
    return [masked(item) for item in said] if isinstance(said, list) else said


def _said(world: World, request: PastRequest) -> Html:
    error = error_of(request)
    if error:
        return Html(f'<span class="bad">{linked_text(world, error)}</span>')
    replay = badge("replayed") if request.replay_of else Html("")
    return Html(f"{replay}{link_to(world, answered_id(request))}")


def _short_key(key: str | None) -> Html:
    if key is None:
        return Html("")
    short = key if len(key) <= KEY_LENGTH_MAX else key[: KEY_LENGTH_MAX - 1] + "…"
    return Html(f'<code title="{html(key)}">{html(short)}</code>')


def _is_secret(name: str) -> bool:
    return name.rstrip("]").rpartition("[")[2] in SECRET


def _groups(item: Seen) -> set[str]:
    if isinstance(item, FaultHit):
        return {"faults"}
    groups = {"reads" if item.method == "GET" else "writes", "failed" if item.status >= 300 else "succeeded"}
    return groups | ({"replayed"} if item.replay_of is not None else set())


def _matches(item: Seen, words: str) -> bool:
    if isinstance(item, FaultHit):
        return words in item.call or words.encode() in item.body
    if words in item.path or words in (item.id, item.idempotency_key):
        return True
    return words.encode() in item.body or words.encode() in item.answer
