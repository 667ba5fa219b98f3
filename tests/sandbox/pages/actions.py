"""What the buttons do. Every action is a POST from a page of the sandbox itself, and ends on the page it came from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from tests.sandbox.core.errors import StripeError
from tests.sandbox.pages.layout import object_path
from tests.sandbox.pages.moves import Move, NoSuchMove, read_moment, wanted_moment
from tests.sandbox.payment_controls import authenticate_intent
from tests.sandbox.wire import Request, Response
from tests.sandbox.world import World

if TYPE_CHECKING:
    from tests.sandbox.server import Sandbox

Form = dict[str, str]
PAGE_KEY = "Bearer sk_test_page"
# The fields of a fault's form that are numbers; what is left empty is the switch's own default.
WHOLE_FIELDS = ("times", "after", "seed", "places", "writes")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing was changed, for people."""

    title: str
    text: str
    status: int = 400


class Actions:
    """Carries the POSTs out, and remembers what moving a clock did."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._moves: list[Move] = []
        self._moves_of: World | None = None
        self._routes: dict[str, Callable[[Form], str | None]] = {
            "/clock": self._move_clock,
            "/faults/add": self._add_fault,
            "/faults/clear": self._clear_faults,
            "/faults/release": self._release,
            "/resend": self._resend,
            "/authenticate": self._authenticate,
            "/reset": self._reset,
        }

    @property
    def moves(self) -> list[Move]:
        """Of this world, oldest first."""
        if self._moves_of is not self._world:
            self._moves, self._moves_of = [], self._world
        return self._moves

    def move(self, number: str) -> Move | None:
        return next((move for move in self.moves if str(move.number) == number), None)

    def act(self, request: Request) -> Response | Refusal:
        """Do what a button asks, and lead back to the page it is on."""
        if not from_own_page(request):
            return Refusal("Refused", "The form was not sent by a page of this sandbox.", 403)
        form = dict(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True))
        try:
            target = self._carry_out(unquote(request.path), form)
        except (StripeError, ValueError) as error:
            return Refusal("That cannot be done", str(error))
        if target is None:
            return Refusal("Not found", f"There is no action {request.path}.", 404)
        if not target or target.startswith("?"):
            target = _back(request) + target
        return Response(303, b"", "text/plain", {"Location": target})

    @property
    def _world(self) -> World:
        return self._sandbox.application.world

    def _carry_out(self, path: str, form: Form) -> str | None:
        """Where to go on: a path, or nothing for back; None when there is no such action."""
        if path in self._routes:
            return self._routes[path](form) or ""
        object_id = path.removeprefix("/objects/").removesuffix("/move")
        if path == f"/objects/{object_id}/move" and object_id in self._world.test_clocks:
            return self._move_test_clock(object_id, form)
        return None

    def _move_clock(self, form: Form) -> str:
        clock = self._world.account_clock
        moment = wanted_moment(clock, form)
        return self._moved(None, clock.now, moment, lambda: clock.advance(moment))

    def _move_test_clock(self, test_clock: str, form: Form) -> str:
        """By Stripe's own operation, so that its limits hold and the request is seen."""
        clock = self._world.test_clocks[test_clock]
        moment = wanted_moment(clock, form)
        return self._moved(test_clock, clock.now, moment, lambda: self._advance_by_request(test_clock, moment))

    def _advance_by_request(self, test_clock: str, moment: int) -> None:
        path = f"/v1/test_helpers/test_clocks/{test_clock}/advance"
        headers = {"authorization": PAGE_KEY}
        answer = self._sandbox.application.answer(
            Request("POST", path, "", headers, urlencode({"frozen_time": moment}).encode())
        )
        if answer.status >= 300:
            raise NoSuchMove(answer.body.decode())

    def _moved(self, test_clock: str | None, start: int, end: int, work: Callable[[], None]) -> str:
        first = self._world.store.created_count
        work()
        number = len(self.moves) + 1
        self.moves.append(Move(number, test_clock, start, end, first, self._world.store.created_count))
        return f"?moved={number}"

    def _add_fault(self, form: Form) -> str:
        wanted: dict[str, Any] = {name: value.strip() for name, value in form.items() if value.strip()}
        for name in WHOLE_FIELDS:
            if name in wanted:
                wanted[name] = int(wanted[name])
        if "seconds" in wanted:
            wanted["seconds"] = float(wanted["seconds"])
        self._world.faults.add(wanted)
        return "/faults"

    def _clear_faults(self, form: Form) -> None:
        self._world.faults.clear()

    def _release(self, form: Form) -> None:
        self._sandbox.release()

    def _resend(self, form: Form) -> str:
        try:
            count = self._sandbox.deliveries.resend(form.get("event", ""), form.get("endpoint") or None)
        except KeyError as error:
            raise NoSuchMove(f"There is no {error.args[0]}.") from None
        if count == 0:
            raise NoSuchMove("No endpoint wants this event.")
        return object_path(form["event"])

    def _authenticate(self, form: Form) -> str:
        intent = authenticate_intent(self._world, {"intent": form.get("id"), "result": form.get("result")})
        return object_path(intent["id"])

    def _reset(self, form: Form) -> str:
        now = form.get("now", "").strip()
        self._sandbox.reset(now=read_moment(now) if now else self._world.now)
        return "/"


def from_own_page(request: Request) -> bool:
    """Any web page can post to localhost, but a browser says whose page it is. No Origin: no browser."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return False
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _back(request: Request) -> str:
    """The page that the form is on."""
    parts = urlsplit(request.headers.get("referer", ""))
    return parts.path if parts.path.startswith("/") and not parts.path.startswith("//") else "/"
