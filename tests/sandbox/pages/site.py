"""The page at `/`: a person testing by hand sees what there is, and why something happened."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.sandbox.billing.periods import Interval, boundary_after
from tests.sandbox.core.faults import UnknownFault
from tests.sandbox.core.forms import decode_form
from tests.sandbox.pages.happenings import event_deliveries, event_table, faults_page, request_table
from tests.sandbox.pages.layout import Html, facts, frame, html, link, section
from tests.sandbox.pages.objects import customer_table, invoice_table, object_page, subscription_table
from tests.sandbox.wire import Request, Response

if TYPE_CHECKING:
    from tests.sandbox.server import Sandbox

FIRST_SHOWN = 10
LISTS = {"/customers": "customer", "/subscriptions": "subscription", "/invoices": "invoice"}


class Site:
    """Answers everything outside /v1 and /_sandbox."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox

    def answer(self, request: Request) -> Response:
        if request.method == "POST":
            return self._act(request)
        parts = self._parts(request.path)
        if parts is None:
            return self._page(
                "Not found", [section("There is no such page", Html("<p>It may be of an earlier world.</p>"))], 404
            )
        title = request.path.strip("/").partition("/")[0].capitalize() or "Overview"
        return self._page(title, parts)

    def _parts(self, path: str) -> list[Html] | None:
        world = self._sandbox.application.world
        if path == "/":
            return self._overview()
        if path in LISTS:
            things = world.store.all(LISTS[path])
            return [section(f"{len(things)} {path.strip('/')}", self._table(LISTS[path], len(things)))]
        if path == "/events":
            return [section("Events, newest first", event_table(world, self._sandbox.deliveries))]
        if path == "/faults":
            return faults_page(world, [(held.call, held.mode) for held in self._sandbox.held])
        thing = world.store.by_id(path.removeprefix("/objects/")) if path.startswith("/objects/") else None
        if thing is None:
            return None
        parts = object_page(world, thing)
        if thing["object"] == "event":
            about = section(
                "Event", facts([("Type", thing["type"]), ("About", link(thing["data"]["object"].get("id")))])
            )
            parts = [about, event_deliveries(self._sandbox.deliveries, thing), *parts]
        return parts

    def _overview(self) -> list[Html]:
        world = self._sandbox.application.world
        problems = world.problems
        endpoints = world.store.all("webhook_endpoint")
        counts = facts(
            [
                *((name.replace("_", " "), count) for name, count in world.store.counts()),
                ("webhooks go to", ", ".join(endpoint["url"] for endpoint in endpoints) or "nobody"),
                ("conformance problems", f"{len(problems)}: {problems[-1]}" if problems else "none"),
            ]
        )
        return [
            section("This account", counts),
            section("Customers", self._table("customer", FIRST_SHOWN)),
            section("Invoices", self._table("invoice", FIRST_SHOWN)),
            section("Latest requests", request_table(world)),
        ]

    def _table(self, kind: str, newest: int) -> Html:
        world = self._sandbox.application.world
        things = world.store.all(kind)[-newest:]
        if kind == "customer":
            return customer_table(world, things)
        return subscription_table(things) if kind == "subscription" else invoice_table(things)

    def _act(self, request: Request) -> Response:
        form = decode_form(request.body.decode())
        world = self._sandbox.application.world
        now = world.now
        if request.path == "/clock":
            moves = {"hour": now + 3600, "day": now + 86_400, "month": _next_month(now)}
            world.clock.advance(moves.get(str(form.get("move")), now))
        elif request.path == "/faults/add":
            try:
                world.faults.add({**form, "times": int(form.get("times") or 1)})
            except (UnknownFault, ValueError) as error:
                return self._page("Faults", [section("That is no fault", Html("<p></p>"), html(error))], 400)
        elif request.path == "/faults/clear":
            world.faults.clear()
        elif request.path == "/faults/release":
            self._sandbox.release()
        else:
            return self._page("Not found", [section("There is no such action", Html(""))], 404)
        back = urlsplit(request.headers.get("referer", "/")).path or "/"
        return Response(303, b"", "text/plain", {"Location": back})

    def _page(self, title: str, parts: list[Html], status: int = 200) -> Response:
        page = frame(title, self._sandbox.application.world.now, parts)
        return Response(status, page.encode(), "text/html; charset=utf-8")


def _next_month(now: int) -> int:
    """The first of the next month, 00:00 UTC."""
    return boundary_after(0, Interval("month", 1), now)  # the epoch is the first of a month
