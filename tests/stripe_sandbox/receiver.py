"""A webhook receiver: a real HTTP server in a thread that verifies each signature with Stripe's own code.

Each event is held to Stripe's document; what it does not allow fails the test (tests/conformance.py).
"""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import stripe

from tests.sandbox import tally
from tests.sandbox.conformance import Checker


class Receiver:
    """`received` holds the verified events in their order of arrival; `answer` decides the status of each."""

    def __init__(self) -> None:
        self.received: list[stripe.Event] = []
        self.bodies: list[tuple[bytes, str]] = []
        self.refused: list[bytes] = []  # because of their signature
        self.secret = ""
        self.answer: Callable[[stripe.Event], int] = lambda event: 200
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/stripe"

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.received]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_for(self, count: int, *, timeout_seconds: float = 60) -> None:
        deadline = time.monotonic() + timeout_seconds
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} events came: {self.types}"
            time.sleep(0.02)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                signature = self.headers["Stripe-Signature"]
                try:
                    event = stripe.Webhook.construct_event(body, signature, receiver.secret)
                except stripe.SignatureVerificationError:
                    receiver.refused.append(body)
                    self.answer(400)
                    return
                check_event(body)
                receiver.bodies.append((body, signature))
                status = receiver.answer(event)
                receiver.received.append(event)
                self.answer(status)

            def answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing: a test's failure tells enough."""

        return Handler


def check_event(body: bytes) -> None:
    for problem in Checker().object_problems(json.loads(body)):
        tally.note_problem(f"webhook: {problem}")
    tally.count(events=1)
