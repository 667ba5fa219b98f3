"""The HTTP server: one process, one thread for all state, keep-alive, one write an answer."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.sandbox.application import Application
from tests.sandbox.control import Control
from tests.sandbox.core.errors import StripeError
from tests.sandbox.delivery import Deliveries
from tests.sandbox.pages.site import Site
from tests.sandbox.wire import BadRequest, Request, Response, json_response, take_request


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

    def serve(self, request: Request, reply: Callable[[Response | None], None]) -> None:
        """Answer through `reply`, at once or when a held request is released. None closes the connection."""
        if request.path.startswith("/v1"):
            self._serve_stripe(request, reply)
        elif request.path.startswith("/_sandbox"):
            reply(self._control.answer(request))
        else:
            reply(self._site.answer(request))
        self.settle()

    def settle(self) -> None:
        """After any change: send what was emitted, and print conformance problems once."""
        self.deliveries.pump()
        problems = self.application.world.problems
        for problem in problems[self._problems_printed :]:
            print(f"conformance: {problem}", flush=True)
        self._problems_printed = len(problems)

    def replace_world(self) -> None:
        """After a reset: the old world's deliveries end, held requests go on (and meet the new world)."""
        self.deliveries.close()
        self.deliveries = Deliveries(self.application.world, at_once=self._deliveries_at_once)
        self._problems_printed = 0
        self.release()

    def release(self) -> int:
        held, self.held = self.held, []
        for request in held:
            request.resume()
        self.settle()
        return len(held)

    def _serve_stripe(self, request: Request, reply: Callable[[Response | None], None]) -> None:
        call = f"{request.method} {request.path}"
        fault = self.application.world.faults.take("operation", call)
        match fault.mode if fault else None:
            case None:
                reply(self.application.answer(request))
            case "hold_before":
                self._hold(call, "hold_before", lambda: reply(self.application.answer(request)))
            case "hold_after":
                response = self.application.answer(request)
                self._hold(call, "hold_after", lambda: reply(response))
            case "timeout_after_commit":
                self.application.answer(request)
                reply(None)
            case "rate_limit":
                error = StripeError(
                    "Request rate limit exceeded.", status=429, code="rate_limit", headers={"Retry-After": "1"}
                )
                reply(_plain_error(error))
            case "error_500":
                reply(_plain_error(StripeError("An unknown error occurred.", status=500, kind="api_error")))

    def _hold(self, call: str, mode: str, resume: Callable[[], None]) -> None:
        self.held.append(HeldRequest(call, mode, resume))


def _plain_error(error: StripeError) -> Response:
    response = json_response(error.body(), error.status)
    response.headers.update(error.headers)
    return response


class Connection(asyncio.Protocol):
    """One client. Requests on a connection are answered one after another."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._buffer = bytearray()
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport  # asyncio sets TCP_NODELAY itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._go_on()

    def _go_on(self) -> None:
        while not self._busy and self._transport is not None:
            try:
                request = take_request(self._buffer)
            except BadRequest as error:
                self._transport.write(json_response({"error": {"message": str(error)}}, 400).encoded())
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
        if self._transport is None:
            return
        if response is None:
            self._transport.abort()
            return
        self._transport.write(response.encoded())
        if not request.keep_alive:
            self._transport.close()
        elif self._buffer:
            asyncio.get_running_loop().call_soon(self._go_on)


async def listen(sandbox: Sandbox, *, host: str, port: int) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(lambda: Connection(sandbox), host, port)
