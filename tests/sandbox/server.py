"""The HTTP server: one process, one thread for all state, keep-alive, one write an answer."""

import asyncio
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.sandbox import tally
from tests.sandbox.application import Application
from tests.sandbox.billing.payments.paying_out import ACCOUNT_ID
from tests.sandbox.breaking import note_crash, unknown_error
from tests.sandbox.control import Control
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.faults import FAILING, LAGGING_LISTS
from tests.sandbox.core.journal import Journal
from tests.sandbox.core.store import StripeObject
from tests.sandbox.delivery import Deliveries
from tests.sandbox.pages.site import Site
from tests.sandbox.wire import BadRequest, Request, Response, json_response, take_request
from tests.sandbox.world import Settings

API_PATH = re.compile(r"/v[12](/|$)")
FREED_AT_ONCE = 500  # objects; about a millisecond
Reply = Callable[[Response | None], None]  # None closes the connection without an answer


@dataclass(slots=True, eq=False)
class HeldRequest:
    """A request that waits for `POST /_sandbox/faults/release`. `resume` goes on with it."""

    call: str
    mode: str
    resume: Callable[[], None]


class Sandbox:
    """Everything behind the port: Stripe's API, the control endpoints, the page, the webhook deliveries."""

    def __init__(self, application: Application, *, deliveries_at_once: int = 1) -> None:
        self.application = application
        self._deliveries_at_once = deliveries_at_once
        self.deliveries = Deliveries(application.world, at_once=deliveries_at_once)
        self.held: list[HeldRequest] = []
        self._control = Control(self)
        self._site = Site(self)
        self._problems_printed = 0
        self.refuse_connections: Callable[[float], None] = lambda seconds: None  # set by whoever listens

    def serve(self, request: Request, reply: Reply) -> None:
        """Answer through `reply`, at once or when a held request is released. None closes the connection."""
        if API_PATH.match(request.path):
            self._serve_stripe(request, reply)
        else:
            reply(self._serve_people(request))
        self.settle()

    def settle(self) -> None:
        """After any change: send what was emitted, and print conformance problems once."""
        self.deliveries.pump()
        self._keep_journal()
        problems = self.application.world.problems
        for problem in problems[self._problems_printed :]:
            print(f"conformance: {problem}", flush=True)
            tally.note_problem(f"the sandbox: {problem}")
        self._problems_printed = len(problems)

    def _keep_journal(self) -> None:
        """Lists can lag behind what is known from here on."""
        world = self.application.world
        if not world.faults.has(LAGGING_LISTS):
            world.store.journal = None
        elif world.store.journal is None:
            world.store.journal = Journal(lambda: world.account_clock.now)

    def reset(self, *, now: int, settings: Settings | None = None) -> None:
        """A new, empty account. The old one's deliveries end, held requests go on (and meet the new one)."""
        former = self.application.world.store.everything()
        self.application.reset(now=now, settings=settings)
        self._let_go(former)
        self.deliveries.close()
        self.deliveries = Deliveries(self.application.world, at_once=self._deliveries_at_once)
        self._problems_printed = 0
        self.release()

    def _let_go(self, former: list[StripeObject]) -> None:
        """Free a former world's objects a few at a time: all of a full one at once would hold the next request up."""
        del former[-FREED_AT_ONCE:]
        if former:
            asyncio.get_running_loop().call_soon(self._let_go, former)

    def release(self) -> int:
        held, self.held = self.held, []
        for request in held:
            request.resume()
        self.settle()
        return len(held)

    def _serve_people(self, request: Request) -> Response:
        """The control endpoints and the page."""
        try:
            if request.path.startswith("/_sandbox"):
                return self._control.answer(request)
            return self._site.answer(request)
        except Exception as error:  # noqa: BLE001  # whatever it is: the client is answered, the server lives on
            note_crash(self.application.world, f"{request.method} {request.path}", error)
            return json_response({"error": f"the sandbox broke: {type(error).__name__}: {error}"}, 500)

    def _serve_stripe(self, request: Request, reply: Reply) -> None:
        call = f"{request.method} {request.path}"
        world = self.application.world
        fault = world.faults.take("operation", call, modes=FAILING, names=request.names)
        if fault is None:
            reply(self.application.answer(request))
            return
        world.history.hit(fault.mode, call, body=request.body, at=world.now, place=world.store.created_count)
        match fault.mode:
            case "hold_before":
                self._hold(call, "hold_before", lambda: reply(self.application.answer(request)))
            case "hold_after":
                response = self.application.answer(request)
                self._hold(call, "hold_after", lambda: reply(response))
            case "slow":
                asyncio.get_running_loop().call_later(fault.seconds, reply, self.application.answer(request))
            case "timeout_after_commit":
                self.application.answer(request)
                reply(None)
            case "error_500_after_commit":
                self.application.answer(request)
                error = _unknown_error()
                key = request.headers.get("idempotency-key", "")
                world.idempotency.overwrite(key, status=error.status, body=error.body)
                reply(error)
            case "error_500":
                reply(_unknown_error())
            case "rate_limit":
                reply(_rate_limited(fault.seconds))
            case "forbidden":
                reply(_forbidden(request, fault.permission))
            case "connection_reset":
                reply(None)
            case "connection_refused":
                self.refuse_connections(fault.seconds)
            case mode:
                raise AssertionError(f"nobody carries out {mode}")

    def _hold(self, call: str, mode: str, resume: Callable[[], None]) -> None:
        self.held.append(HeldRequest(call, mode, resume))


def _unknown_error() -> Response:
    return _plain_error(unknown_error())


def _rate_limited(seconds: float) -> Response:
    wait = {"Retry-After": str(math.ceil(seconds))}  # the header takes whole seconds
    return _plain_error(StripeError("Request rate limit exceeded.", status=429, code="rate_limit", headers=wait))


def _forbidden(request: Request, permission: str) -> Response:
    """As Stripe words it to a restricted key; it names the account even to a key that may not read it."""
    key = request.headers.get("authorization", "").rpartition(" ")[2][:7]
    said = (
        f"The provided key '{key}***' does not have the required permissions for this endpoint on account"
        f" '{ACCOUNT_ID}'."
    )
    if permission:
        said += f" Having the '{permission}' permission would allow this request to continue."
    return _plain_error(StripeError(said, status=403))


def _plain_error(error: StripeError) -> Response:
    response = json_response(error.body(), error.status)
    response.headers.update(error.headers)
    return response


class Connection(asyncio.Protocol):
    """One client. Requests on a connection are answered one after another."""

    def __init__(self, sandbox: Sandbox, open_ones: "set[Connection]") -> None:
        self._sandbox = sandbox
        self._open_ones = open_ones
        self._buffer = bytearray()
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport  # asyncio sets TCP_NODELAY itself
        self._open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._open_ones.discard(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._go_on()

    def _go_on(self) -> None:
        while not self._busy and self._transport is not None and not self._transport.is_closing():
            try:
                request = take_request(self._buffer)
            except BadRequest as error:
                self._transport.write(_plain_error(StripeError(str(error))).encoded())
                self._transport.close()
                return
            if request is None:
                if self._buffer.startswith(b"Expect") or b"100-continue" in self._buffer[:4096]:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._busy = True
            self._sandbox.serve(request, partial(self._reply, request))

    def _reply(self, request: Request, response: Response | None) -> None:
        self._busy = False
        if self._transport is None or self._transport.is_closing():
            return
        if response is None:
            self._transport.abort()
            return
        self._transport.write(response.encoded(without_body=request.method == "HEAD"))
        if not request.keep_alive:
            self._transport.close()
        elif self._buffer:
            asyncio.get_running_loop().call_soon(self._go_on)


class Listener:
    """The port, with every connection to it. It can be shut for a while, as a server that is being restarted is."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._reopening: asyncio.Task[None] | None = None
        self.address = ("", 0)
        sandbox.refuse_connections = self.refuse

    async def open(self, host: str, port: int) -> None:
        def connection() -> Connection:
            return Connection(self._sandbox, self._connections)

        self._server = await asyncio.get_running_loop().create_server(connection, host, port)
        self.address = self._server.sockets[0].getsockname()[:2]

    def close(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
        if self._server is not None:
            self._server.close()

    def refuse(self, seconds: float) -> None:
        """Cut every connection and refuse new ones for `seconds`."""
        self.close()
        for connection in tuple(self._connections):
            connection.abort()
        self._reopening = asyncio.get_running_loop().create_task(self._reopen(seconds))

    async def _reopen(self, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        await self.open(*self.address)


async def listen(sandbox: Sandbox, *, host: str, port: int) -> Listener:
    listener = Listener(sandbox)
    await listener.open(host, port)
    return listener
