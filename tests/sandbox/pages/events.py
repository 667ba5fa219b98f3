"""Events and their deliveries: which were told to whom, what the receiver answered, and sending one again."""

from collections import Counter

from tests.sandbox.core.store import StripeObject
from tests.sandbox.delivery import Deliveries, Delivery
from tests.sandbox.pages.changes import change_list
from tests.sandbox.pages.kinds import singular
from tests.sandbox.pages.layout import (
    Html,
    anchor,
    badge,
    button,
    code,
    empty,
    facts,
    html,
    joined,
    link,
    moment,
    section,
    status_code,
    table,
)
from tests.sandbox.pages.naming import link_to
from tests.sandbox.pages.tables import ROWS_SHOWN, count_text, filter_form, page_number, pager
from tests.sandbox.pages.timeline import cause_line, deliveries_by_event, plain_error
from tests.sandbox.world import World

CHANGES_SHOWN = 3
UNWANTED = "not wanted"


def events_page(world: World, deliveries: Deliveries, query: dict[str, str], *, nothing: Html) -> list[Html]:
    """Events, newest first, by `type`, by the state of a `delivery`, by what they are about (`q`)."""
    events = world.store.all("event")
    if not events:
        return [section("Events", empty(nothing))]
    sent = deliveries_by_event(deliveries)
    states = Counter(state for event in events for state in _states(sent.get(event["id"], [])))
    kind, state, words = query.get("type", ""), query.get("delivery", ""), query.get("q", "").strip()
    found = [
        event
        for event in reversed(events)
        if (not kind or event["type"] == kind)
        and (not state or state in _states(sent.get(event["id"], [])))
        and (
            not words
            or words in (event["id"], event["data"]["object"].get("id"), event["data"]["object"].get("customer"))
            or words in event["type"]
        )
    ]
    place = page_number(query, len(found))
    rows = found[(place - 1) * ROWS_SHOWN : place * ROWS_SHOWN]
    filters = {"type": Counter(event["type"] for event in events), "delivery": states}
    return [
        filter_form("/events", query, filters, hint="Type, or an object's id"),
        section(
            f"{count_text(len(found), len(events))} events",
            event_table(world, rows, sent, nothing=Html(f"Nothing like that. {anchor('/events', 'Show all')}")),
            pager("/events", query, len(found)),
        ),
    ]


def event_table(
    world: World, events: list[StripeObject], sent: dict[str, list[Delivery]], *, nothing: str | Html = "None."
) -> Html:
    rows = [
        [
            link(event["id"], event["type"]),
            about(world, event),
            change_list(world, event, shown=CHANGES_SHOWN),
            joined((_state(delivery) for delivery in sent.get(event["id"], [])), " ")
            or Html(f'<span class="soft">{UNWANTED}</span>'),
            moment(event["created"]),
        ]
        for event in events
    ]
    return table(["Event", "About", "Changed", "Deliveries", "At"], rows, nothing=nothing)


def event_parts(world: World, deliveries: Deliveries, event: StripeObject) -> list[Html]:
    """What is particular to an event's page: why it happened, what changed, and its deliveries."""
    pairs: list[tuple[str, object]] = [
        ("Type", code(event["type"])),
        ("About", about(world, event)),
        ("Why", cause_of(world, event)),
        ("Changed", change_list(world, event) or "nothing that it tells"),
    ]
    return [section("In short", facts(pairs)), _deliveries(deliveries, event)]


def about(world: World, event: StripeObject) -> Html:
    """The object of an event; what has no id of its own is named by its kind."""
    thing = event["data"]["object"]
    return link_to(world, thing["id"]) if thing.get("id") else html(singular(thing["object"]))


def cause_of(world: World, event: StripeObject) -> Html:
    """The request or the work of a clock that made the event."""
    request_id = event["request"]["id"] if event["request"] else None
    if request_id is None:
        cause = world.causes.get(event["id"])
        return cause_line(world, cause) if cause is not None else html("the sandbox itself")
    request = world.history.find(request_id)
    if request is None:
        return Html(f"request {code(request_id)}, too long ago to be remembered")
    return Html(f"request {anchor(f'/requests/{request.id}', code(f'{request.method} {request.path}'))}")


def delivery_answers(delivery: Delivery) -> Html:
    """Each attempt with its real time of day and the receiver's answer."""
    lines = []
    for number, attempt in enumerate(delivery.attempts, 1):
        answer = status_code(attempt["status"]) if attempt["status"] else Html("")
        error = Html(f' <span class="bad">{html(plain_error(attempt))}</span>') if attempt.get("error") else Html("")
        when = Html(f'<span class="soft">{html(attempt["at"][11:23])}</span>')  # real time, UTC
        lines.append(Html(f"<li>{number}. {when} {answer}{error}</li>"))
    return Html(f'<ul class="attempts">{joined(lines)}</ul>') if lines else Html('<span class="soft">not tried</span>')


def _deliveries(deliveries: Deliveries, event: StripeObject) -> Html:
    rows = [
        [
            link(delivery.endpoint, delivery.url),
            _state(delivery),
            delivery_answers(delivery),
            button("/resend", "Send again", event=event["id"], endpoint=delivery.endpoint),
        ]
        for delivery in deliveries.of_event(event["id"])
    ]
    nothing = "No endpoint was there that wants it. POST /v1/webhook_endpoints makes one; later events go to it."
    anew = button("/resend", "Send to every endpoint that wants it", event=event["id"])
    heads = ["To", "State", "Attempts", ""]
    return section("Deliveries", table(heads, rows, nothing=nothing, kind="wrapped"), anew)


def _state(delivery: Delivery) -> Html:
    fault = f" {badge(delivery.fault)}" if delivery.fault else ""
    return Html(f"{badge(delivery.state)}{fault}")


def _states(sent: list[Delivery]) -> set[str]:
    return {delivery.state for delivery in sent} or {UNWANTED}
