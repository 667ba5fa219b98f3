"""The sandbox's application in this process, without HTTP: many lives fit into a second."""

from typing import Any
from urllib.parse import urlencode

import msgspec

from tests.sandbox.application import Application
from tests.sandbox.wire import Request
from tests.sandbox.world import Settings, World
from tests.stripe_sandbox.account import KEY

START = 1_790_812_800  # 2026-10-01T00:00:00Z
HEADERS = {"authorization": f"Bearer {KEY}"}


class InProcess:
    """One account, strict; the same requests draw the same identifiers."""

    def __init__(self, **settings: Any) -> None:
        self.application = Application(now=START, settings=Settings(strict=True, **settings), seed=1)

    @property
    def world(self) -> World:
        return self.application.world

    def ask(self, path: str, method: str = "POST", **parameters: Any) -> dict[str, Any]:
        """One request; keys may be in form notation. Anything but an answer or a refusal fails the test."""
        query, body = ("", urlencode(parameters)) if method == "POST" else (urlencode(parameters), "")
        response = self.application.answer(Request(method, f"/v1/{path}", query, HEADERS, body.encode()))
        answer: dict[str, Any] = msgspec.json.decode(response.body)
        assert response.status < 500, answer
        return answer
