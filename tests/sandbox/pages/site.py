"""The pages for people: everything outside /v1, /v2 and /_sandbox. What changes something is a POST (`actions.py`)."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from tests.sandbox.pages.actions import Actions
from tests.sandbox.pages.clocks import clock_page, move_notice, move_page
from tests.sandbox.pages.events import events_page
from tests.sandbox.pages.faults import faults_page
from tests.sandbox.pages.frame import framed
from tests.sandbox.pages.hosted import answer_payer
from tests.sandbox.pages.kinds import DECLARED, Kind, kind_of, path_name
from tests.sandbox.pages.layout import STYLE, STYLE_PATH, Html, code, empty, html, object_path, section
from tests.sandbox.pages.naming import name_of
from tests.sandbox.pages.objects import object_page, title_of
from tests.sandbox.pages.overview import everything, first_steps, overview, search_page
from tests.sandbox.pages.requests import request_page, requests_page
from tests.sandbox.pages.tables import list_page
from tests.sandbox.wire import Request, Response
from tests.sandbox.world import World

if TYPE_CHECKING:
    from tests.sandbox.server import Sandbox

POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
FOR_PAYERS = "/pay/"  # their pages: `hosted.py`
Query = dict[str, str]
Page = tuple[str, list[Html]]  # title, parts


class Site:
    """Answers the pages and what their buttons do."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._actions = Actions(sandbox)
        self._pages: dict[str, Callable[[Query], Page]] = {
            "/": lambda query: ("Overview", overview(self._world, self._sandbox.deliveries)),
            "/events": lambda query: ("Events", self._events(query)),
            "/requests": lambda query: ("Requests", requests_page(self._world, query, nothing=self._first_steps())),
            "/clock": lambda query: ("Clock", clock_page(self._world, self._actions.moves)),
            "/faults": lambda query: ("Faults", self._faults()),
            "/everything": lambda query: ("Everything", everything(self._world)),
            "/search": lambda query: ("Search", search_page(self._world, query.get("q", "").strip())),
            "/reset": lambda query: ("Reset the account", [_reset_form()]),
        }
        self._below: dict[str, Callable[[str, Query], Page | None]] = {
            "objects": self._object,
            "requests": self._request,
            "moves": self._move,
        }

    def answer(self, request: Request) -> Response:
        if request.path.startswith(FOR_PAYERS):
            return answer_payer(self._world, request)
        if request.method == "POST":
            return self._act(request)
        if request.method != "GET":
            return self._page(request, ("Not allowed", [section("Only GET and POST are", empty(""))]), status=405)
        if request.path == STYLE_PATH:
            return Response(200, STYLE, "text/css; charset=utf-8", {"Cache-Control": "no-cache"})
        query = dict(parse_qsl(request.query))
        found = self._found_by_search(request.path, query)
        if found is not None:
            return redirect(object_path(found))
        page = self._find(request.path, query)
        if page is None:
            return self._page(request, ("Not found", [_not_found(request.path)]), status=404)
        return self._page(request, page, query=query)

    @property
    def _world(self) -> World:
        return self._sandbox.application.world

    def _find(self, path: str, query: Query) -> Page | None:
        if path in self._pages:
            return self._pages[path](query)
        head, _, rest = path.strip("/").partition("/")
        if rest:
            return self._below[head](unquote(rest), query) if head in self._below else None
        kind = self._kind(head)
        if kind is None:
            return None
        return kind.title, list_page(self._world, kind, query, nothing=self._how_to_make(kind))

    def _kind(self, name: str) -> Kind | None:
        """The kind whose list is at /name: a declared one, or any other there is."""
        kinds = [kind.name for kind in DECLARED] + [kind for kind, _ in self._world.store.counts()]
        wanted = next((kind for kind in kinds if path_name(kind) == name), None)
        if wanted is None:
            return None
        things = self._world.store.all(wanted)
        return kind_of(wanted, things[0] if things else None)

    def _found_by_search(self, path: str, query: Query) -> str | None:
        """An id in the search field leads straight to its page."""
        words = query.get("q", "").strip()
        return words if path == "/search" and self._world.store.by_id(words) is not None else None

    def _object(self, object_id: str, query: Query) -> Page | None:
        thing = self._world.store.by_id(object_id)
        if thing is None:
            gone = self._world.tombstones.get(object_id)
            return (f"Deleted: {object_id}", [_deleted(gone)]) if gone is not None else None
        return title_of(self._world, thing), object_page(self._world, self._sandbox.deliveries, thing, query)

    def _request(self, request_id: str, query: Query) -> Page | None:
        request = self._world.history.find(request_id)
        return (f"Request {request_id}", request_page(self._world, request)) if request is not None else None

    def _move(self, number: str, query: Query) -> Page | None:
        move = self._actions.move(number)
        return (f"Move {number}", move_page(self._world, move)) if move is not None else None

    def _events(self, query: Query) -> list[Html]:
        return events_page(self._world, self._sandbox.deliveries, query, nothing=self._first_steps())

    def _faults(self) -> list[Html]:
        held = [(held.call, held.mode) for held in self._sandbox.held]
        return faults_page(self._world, self._sandbox.deliveries, held)

    def _act(self, request: Request) -> Response:
        outcome = self._actions.act(request)
        if isinstance(outcome, Response):
            return outcome
        return self._page(
            request, (outcome.title, [section("Nothing was changed", empty(outcome.text))]), status=outcome.status
        )

    def _page(self, request: Request, page: Page, *, status: int = 200, query: Query | None = None) -> Response:
        title, parts = page
        move = self._actions.move((query or {}).get("moved", ""))
        notice = move_notice(self._world, move) if move is not None else None
        text = framed(self._world, title, request.path, parts, notice=notice)
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
        return Response(status, text.encode(), "text/html; charset=utf-8", headers)

    def _first_steps(self) -> Html:
        return first_steps(self._world.settings.address)

    def _how_to_make(self, kind: Kind) -> Html:
        """For an empty list: the call that makes one, as Stripe's document has it."""
        made_by = f"POST /v1/{kind.name.replace('.', '/')}s"
        known = made_by in self._world.document.operation_keys()
        if not known:
            return Html("None yet. They come about by themselves when something else happens.")
        return Html(f"None yet. {code(made_by)} makes one.{self._first_steps()}")


def redirect(path: str) -> Response:
    return Response(303, b"", "text/plain", {"Location": path})


def _not_found(path: str) -> Html:
    return section(
        "There is nothing here",
        Html(
            f'<p class="empty">{code(path)} may be of an account that was reset, or an object that the sandbox '
            "never made.</p>"
        ),
    )


def _deleted(gone: dict[str, object]) -> Html:
    return section(
        "It was deleted", empty(f"{name_of(gone) if gone.get('object') else 'It'} is gone; events still tell of it.")
    )


def _reset_form() -> Html:
    warning = "Every object, event, request and fault of the account is forgotten. Webhooks under way are dropped."
    return section(
        "Forget everything?",
        Html(
            f'<p>{html(warning)}</p><form method="post" action="/reset">'
            '<label>The clock starts at (UTC; empty: where it is) <input name="now" placeholder="2026-10-01"></label>'
            '<button class="danger">Reset the account</button></form>'
            '<p><a href="/">No, go back</a></p>'
        ),
    )
