"""Checks that both sides of a conversation with Stripe keep to Stripe's OpenAPI document.

Hook it in as the SDK's HTTP client: `stripe.StripeClient(key, http_client=CheckedClient(), …)`. It knows nothing of how
the sandbox behaves; it works as well in front of the real Stripe (then with `strict=False`: real answers carry fields
that the document does not list).
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import stripe

from tests.sandbox.core.document import Document, load_document
from tests.sandbox.core.parameters import parameter_problems
from tests.sandbox.core.schema import problems


class ConformanceProblem(AssertionError):
    """A request, an answer or an event that Stripe's document does not allow."""


class Checker:
    """The checks by themselves, for whoever has the pieces of a conversation."""

    def __init__(self, document: Document | None = None, *, strict: bool = True) -> None:
        self.document = document or load_document()
        self.strict = strict

    def request_problems(self, method: str, url: str, body: str | None = None) -> list[str]:
        """What the document does not allow in a request; `body` is form-encoded."""
        parts = urlsplit(url)
        match = self.document.match(method, unquote(parts.path))
        if match is None:
            return [f"{method} {parts.path}: no such operation in {self.document.version}"]
        _, found = parameter_problems(match.operation, parts.query, body or "")
        return [f"{method} {parts.path}: {problem}" for problem in found]

    def answer_problems(self, method: str, url: str, status: int, answer: Any) -> list[str]:
        path = unquote(urlsplit(url).path)
        match = self.document.match(method, path)
        if match is None:
            return [f"{method} {path}: no such operation in {self.document.version}"]
        schema = match.operation.answer if status < 300 else self.document.error
        return [f"{method} {path} answers {status}: {item}" for item in problems(answer, schema, strict=self.strict)]

    def object_problems(self, thing: dict[str, Any]) -> list[str]:
        """Any object by its `object` field; of an event, also the object it is about."""
        schema = self.document.object_schema(str(thing.get("object")))
        if schema is None:
            return [f"unknown object {thing.get('object')!r}"]
        found = [f"{thing['object']} {thing.get('id')}: {item}" for item in problems(thing, schema, strict=self.strict)]
        if thing["object"] == "event":
            found += self.object_problems(thing["data"]["object"])
        return found


class CheckedClient(stripe.RequestsClient):
    """The SDK's HTTP client with the checker in between. Raises `ConformanceProblem`."""

    name = "requests"

    def __init__(self, *args: Any, strict: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._checker = Checker(strict=strict)

    def request(  # type: ignore[override]  # as RequestsClient itself: the base class names a private parameter more
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        self._insist(self._checker.request_problems(method.upper(), url, _text(post_data)))
        body, status, answer_headers = super().request(method, url, headers, post_data)
        if status < 500:
            self._insist(self._checker.answer_problems(method.upper(), url, status, json.loads(body)))
        return body, status, answer_headers

    @staticmethod
    def _insist(found: list[str]) -> None:
        if found:
            raise ConformanceProblem("\n".join(found))


def _text(post_data: Any) -> str | None:
    return post_data.decode() if isinstance(post_data, bytes) else post_data
