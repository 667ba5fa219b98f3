"""What happened to an object, in order: requests, events with what they changed, deliveries, faults, the clock."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from typing import Any

from tests.sandbox.core.history import FaultHit, PastRequest
from tests.sandbox.core.store import StripeObject
from tests.sandbox.delivery import Deliveries, Delivery
from tests.sandbox.pages.changes import change_list
from tests.sandbox.pages.circle import circle
from tests.sandbox.pages.layout import (
    Html,
    address,
    anchor,
    badge,
    code,
    html,
    joined,
    link,
    moment,
    object_path,
    section,
    status_code,
)
from tests.sandbox.pages.naming import link_to, reason
from tests.sandbox.pages.requests import answered_id, error_of
from tests.sandbox.world import Cause, World

ENTRIES_SHOWN = 60
FAULT, REQUEST, WORK, EVENT = 0, 1, 2, 3  # of one place: what caused something stands before it


@dataclass(frozen=True, slots=True)
class Entry:
    """`moment` is of the account's clock; `place` counts the objects made until then.

    `cause` joins events with the request or the work that made them. `content` is made only where it is shown.
    """

    moment: int
    place: int
    rank: int
    content: Callable[[], Html]
    cause: str | Cause | None = None

    @property
    def key(self) -> tuple[int, int]:
        return self.place, self.rank


def timeline(world: World, deliveries: Deliveries, thing: StripeObject, query: dict[str, str]) -> Html:
    """The section of an object's page. `query` may ask for the `oldest` first, or for `all` of it."""
    ids = circle(world, thing)
    events = [event for event in world.store.all("event") if _concerns(event, ids, thing)]
    sent = deliveries_by_event(deliveries)
    entries = [_event_entry(world, sent.get(event["id"], []), event, thing) for event in events]
    entries += _request_entries(world, ids, events)
    entries += _fault_entries(world, ids)
    entries += _work_entries(world, events)
    entries = _in_order(entries, oldest_first=query.get("order") == "oldest")
    path = object_path(thing["id"])
    other = ("", "newest first") if query.get("order") == "oldest" else ("oldest", "oldest first")
    turn = anchor(address(path, {**query, "order": other[0]}) + "#timeline", other[1])
    shown = entries if query.get("all") else entries[:ENTRIES_SHOWN]
    rest = len(entries) - len(shown)
    more = anchor(address(path, {**query, "all": "yes"}) + "#timeline", f"Show {rest} more") if rest else ""
    body = Html(f'<ol class="timeline" id="timeline">{joined(_items(shown))}</ol>{more}')
    return section("What happened", body if entries else Html('<p class="empty">Nothing yet.</p>'), aside=turn)


def deliveries_by_event(deliveries: Deliveries) -> dict[str, list[Delivery]]:
    by_event: dict[str, list[Delivery]] = {}
    for delivery in deliveries.log:
        by_event.setdefault(delivery.event, []).append(delivery)
    return by_event


def delivery_line(delivery: Delivery) -> Html:
    """One delivery with the receiver's answers."""
    fault = f" {badge(delivery.fault)}" if delivery.fault else ""
    answers = [
        status_code(attempt["status"])
        if attempt["status"]
        else Html(f'<span class="bad">{html(plain_error(attempt))}</span>')
        for attempt in delivery.attempts
    ]
    runs = [(answer, len(list(group))) for answer, group in groupby(answers)]
    said = joined((Html(f"{answer} × {count}") if count > 1 else answer for answer, count in runs), ", then ")
    said = Html(f": {said}") if runs else Html("")
    return Html(f'→ <span class="url">{html(delivery.url)}</span> {badge(delivery.state)}{fault}{said}')


def plain_error(attempt: dict[str, Any]) -> str:
    """Why an attempt failed, without the names of the library's classes."""
    error = str(attempt["error"])
    return error.rpartition("] ")[2] if "[Errno" in error else error


def _items(entries: Iterable[Entry]) -> Iterable[Html]:
    """The moment is written once for all that happened at it."""
    last = None
    kinds = {FAULT: "fault", REQUEST: "request", WORK: "work", EVENT: "event"}
    for entry in entries:
        when = moment(entry.moment) if entry.moment != last else Html("")
        last = entry.moment
        yield Html(f'<li class="{kinds[entry.rank]}"><div class="when">{when}</div><div>{entry.content()}</div></li>')


def _concerns(event: StripeObject, ids: set[str], thing: StripeObject) -> bool:
    about = event["data"]["object"]
    if about.get("id") in ids:
        return True
    return thing["object"] == "customer" and about.get("customer") == thing["id"]


def _in_order(entries: list[Entry], *, oldest_first: bool) -> list[Entry]:
    """A cause stands before what it caused, also where the newest cause comes first."""
    groups: list[list[Entry]] = []
    for entry in sorted(entries, key=lambda entry: entry.key):
        if entry.rank == EVENT and groups and groups[-1][-1].cause == entry.cause:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return list(chain.from_iterable(groups if oldest_first else reversed(groups)))


def _event_entry(world: World, sent: list[Delivery], event: StripeObject, thing: StripeObject) -> Entry:
    def content() -> Html:
        about = event["data"]["object"].get("id")
        other = Html(f" {link_to(world, about)}") if about != thing["id"] else Html("")
        title = Html(f"<strong>{link(event['id'], event['type'])}</strong>{other}")
        lines = [Html(f'<div class="delivery">{delivery_line(item)}</div>') for item in sent]
        return joined([title, change_list(world, event), *lines])

    return Entry(event["created"], world.store.place(event["id"]), EVENT, content, _cause(world, event))


def _request_entries(world: World, ids: set[str], events: list[StripeObject]) -> list[Entry]:
    """Requests that named one of the objects, made one, or caused one of the events. Reading is no happening."""
    causes = {event["request"]["id"] for event in events if event["request"]}
    return [
        Entry(request.at, request.place, REQUEST, partial(_request_line, request), request.id)
        for request in world.history.requests
        if request.id in causes or (request.method != "GET" and _touches(request, ids))
    ]


def _touches(request: PastRequest, ids: set[str]) -> bool:
    if len(ids) <= 8 and any(name in request.path or name.encode() in request.body for name in ids):
        return True
    return bool(ids & set(request.path.split("/"))) or answered_id(request) in ids


def _request_line(request: PastRequest) -> Html:
    error = error_of(request)
    said = Html(f' <span class="bad">{html(error)}</span>') if error else Html("")
    title = anchor(f"/requests/{request.id}", f"{request.method} {request.path}")
    return Html(f"{code(title)} {status_code(request.status)}{said}")


def _fault_entries(world: World, ids: set[str]) -> list[Entry]:
    """The fault switches that hit a request about one of the objects. Those of webhooks stand with their delivery."""
    return [
        Entry(hit.at, hit.place, FAULT, partial(_hit_line, hit))
        for hit in world.history.hits
        if any(name in hit.call or name.encode() in hit.body for name in ids)
    ]


def _hit_line(hit: FaultHit) -> Html:
    return Html(f"Fault {badge(hit.mode)} hit {code(hit.call)}")


def _work_entries(world: World, events: list[StripeObject]) -> list[Entry]:
    """The clocks' work that caused events, each once, before the first of its events."""
    entries, last = [], None
    for event in events:
        cause = world.causes.get(event["id"])
        if cause is not None and cause != last:
            line = partial(cause_line, world, cause)
            entries.append(Entry(event["created"], world.store.place(event["id"]), WORK, line, cause))
        last = cause
    return entries


def _cause(world: World, event: StripeObject) -> str | Cause | None:
    """The id of the request that made an event, or the work of a clock."""
    request_id: str | None = event["request"]["id"] if event["request"] else None
    return request_id or world.causes.get(event["id"])


def cause_line(world: World, cause: Cause) -> Html:
    """What was due, and by which clock where that was not the account's."""
    if not cause.what:
        return Html("By hand: a page or a control of the sandbox")
    what = reason(world, cause.what)
    if cause.test_clock is None:
        return Html(f"Clock: {what}")
    return Html(f"Test clock {link_to(world, cause.test_clock)} at {moment(cause.moment)}: {what}")
