"""The pages of events with their deliveries, of faults, and of recent requests."""

from typing import get_args

from tests.sandbox.core.faults import RequestMode, WebhookMode
from tests.sandbox.core.store import StripeObject
from tests.sandbox.delivery import Deliveries, Delivery
from tests.sandbox.pages.layout import Html, badge, joined, link, moment, section, table
from tests.sandbox.world import World

ROWS_MAX = 200
REQUESTS_SHOWN = 30


def event_table(world: World, deliveries: Deliveries) -> Html:
    by_event: dict[str, list[Delivery]] = {}
    for delivery in deliveries.log:
        by_event.setdefault(delivery.event, []).append(delivery)
    rows = [
        [
            link(event["id"]),
            event["type"],
            link(event["data"]["object"].get("id")),
            moment(event["created"]),
            joined(badge(delivery.state) for delivery in by_event.get(event["id"], [])) or "not wanted",
        ]
        for event in world.store.all("event")[-ROWS_MAX:][::-1]
    ]
    return table(["Event", "Type", "About", "At", "Deliveries"], rows)


def event_deliveries(deliveries: Deliveries, event: StripeObject) -> Html:
    rows = [
        [
            delivery.url,
            badge(delivery.state),
            delivery.fault or "–",
            len(delivery.attempts),
            "; ".join(str(attempt["status"] or attempt["error"]) for attempt in delivery.attempts) or "–",
        ]
        for delivery in deliveries.of_event(event["id"])
    ]
    return section(
        "Deliveries", table(["To", "State", "Fault", "#Attempts", "Answers"], rows, nothing="No endpoint wants it.")
    )


def faults_page(world: World, held: list[tuple[str, str]]) -> list[Html]:
    rules = [
        [fault.target, fault.pattern.pattern, fault.mode, fault.times, fault.seconds] for fault in world.faults.active()
    ]
    return [
        section(
            "Switch a fault on",
            _fault_form("operation", "POST /v1/invoiceitems", get_args(RequestMode)),
            Html("<p></p>"),
            _fault_form("event", "invoice.paid", get_args(WebhookMode)),
        ),
        section(
            "In force",
            table(["Target", "Pattern", "Mode", "#Uses left", "#Seconds"], rules, nothing="Nothing goes wrong."),
            _button("/faults/clear", "Clear all"),
        ),
        section(
            "Held requests",
            table(["Call", "Mode"], held, nothing="None."),
            _button("/faults/release", "Let them go on"),
        ),
    ]


def request_table(world: World) -> Html:
    recent = list(world.recent_requests)[-REQUESTS_SHOWN:][::-1]
    rows = [[item["call"], item["status"], item["id"], moment(item["at"])] for item in recent]
    return table(["Request", "#Status", "Id", "At"], rows)


def _fault_form(target: str, example: str, modes: tuple[str, ...]) -> Html:
    options = "".join(f"<option>{mode}</option>" for mode in modes)
    return Html(
        f'<form method="post" action="/faults/add"><label>{target} matching '
        f'<input name="{target}" value="{example}" size="34"></label>'
        f'<select name="mode" aria-label="mode">{options}</select>'
        '<label>times <input name="times" type="number" min="1" value="1"></label><button>Switch on</button></form>'
    )


def _button(action: str, name: str) -> Html:
    return Html(f'<form method="post" action="{action}"><button>{name}</button></form>')
