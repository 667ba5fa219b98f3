"""Checks that both sides of a conversation with Stripe keep to Stripe's OpenAPI document.

Hook it in as the SDK's HTTP client: `stripe.StripeClient(key, http_client=CheckedClient(), …)`. It knows nothing of how
the sandbox behaves; it works as well in front of the real Stripe (then with `strict=False`: real answers carry fields
that the document does not list).
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import stripe

from tests.sandbox import tally
from tests.sandbox.core.document import Document, load_document
from tests.sandbox.core.parameters import parameter_problems
from tests.sandbox.core.schema import problems

Json = dict[str, Any]


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
        """What the document does not allow in an answer, and in the objects of the events it holds."""
        path = unquote(urlsplit(url).path)
        match = self.document.match(method, path)
        if match is None and status < 300:
            return [f"{method} {path}: no such operation in {self.document.version}"]
        schema = match.operation.answer if match is not None and status < 300 else self.document.error
        found = [f"{method} {path} answers {status}: {item}" for item in problems(answer, schema, strict=self.strict)]
        for event in events_in(answer):
            found += self._subject_problems(event)
        return found

    def object_problems(self, thing: Json) -> list[str]:
        """Any object by its `object` field; of an event, also the object it is about."""
        schema = self.document.object_schema(str(thing.get("object")), deleted=thing.get("deleted") is True)
        if schema is None:
            return [f"unknown object {thing.get('object')!r}"]
        found = [f"{thing['object']} {thing.get('id')}: {item}" for item in problems(thing, schema, strict=self.strict)]
        if thing["object"] == "event":
            found += self._subject_problems(thing)
        return found

    def _subject_problems(self, event: Json) -> list[str]:
        """Of the object that an event is about; the document itself says only that there is one."""
        data = event.get("data")
        subject = data.get("object") if isinstance(data, dict) else None
        if not isinstance(subject, dict):
            return [f"event {event.get('id')}: no object in its data"]
        return [f"event {event.get('type')}: {problem}" for problem in self.object_problems(subject)]


def events_in(answer: Any) -> list[Json]:
    """The events of an answer: itself, or those of a page of the list."""
    if not isinstance(answer, dict):
        return []
    if answer.get("object") == "event":
        return [answer]
    data = answer.get("data") if answer.get("object") == "list" else None
    things = data if isinstance(data, list) else []
    return [thing for thing in things if isinstance(thing, dict) and thing.get("object") == "event"]


class CheckedClient(stripe.RequestsClient):
    """The SDK's HTTP client with the checker in between. Raises `ConformanceProblem`, and tells the session's tally.

    Every answer is checked. `check_requests=False` is for requests that are wrong on purpose, to see how they are
    refused. What goes to /v2 passes: the document has nothing about it.
    """

    name = "requests"

    def __init__(self, *args: Any, strict: bool = True, check_requests: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._checker = Checker(strict=strict)
        self._check_requests = check_requests

    def request(  # type: ignore[override]  # as RequestsClient itself: the base class names a private parameter more
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        if urlsplit(url).path.startswith("/v2/"):  # Stripe's document describes /v1 alone
            return super().request(method, url, headers, post_data)
        if self._check_requests:
            insist(self._checker.request_problems(method.upper(), url, _text(post_data)))
            tally.count(requests=1)
        body, status, answer_headers = super().request(method, url, headers, post_data)
        self._check_answer(method.upper(), url, status, body)
        return body, status, answer_headers

    def request_stream(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Nothing here streams, and what cannot be checked is not sent."""
        raise ConformanceProblem("a streamed answer cannot be checked")

    async def request_async(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Nothing here is asynchronous, and what cannot be checked is not sent."""
        raise ConformanceProblem("an asynchronous request is not checked")

    async def request_stream_async(self, *args: Any, **kwargs: Any) -> NoReturn:
        """As `request_async`."""
        raise ConformanceProblem("an asynchronous request is not checked")

    def _check_answer(self, method: str, url: str, status: int, body: bytes) -> None:
        try:
            answer = json.loads(body)
        except ValueError:
            insist([f"{method} {url} answers {status}: no JSON: {body[:60]!r}"])
            return
        insist(self._checker.answer_problems(method, url, status, answer))
        tally.count(answers=1, events=len(events_in(answer)))


def check_plain_answer(method: str, url: str, status: int, answer: Any) -> None:
    """The same check for whoever asks without the SDK; operations that the document does not list pass."""
    checker = Checker()
    if checker.document.match(method, unquote(urlsplit(url).path)) is not None:
        insist(checker.answer_problems(method, url, status, answer))
        tally.count(answers=1, events=len(events_in(answer)))


def insist(found: list[str]) -> None:
    """Raise `ConformanceProblem` if anything was found, after telling the tally."""
    for problem in found:
        tally.note_problem(problem)
    if found:
        raise ConformanceProblem("\n".join(found))


def client_for_wrong_requests(*, timeout: float = 60) -> CheckedClient:
    """A client for requests that are wrong on purpose. What they are answered is checked all the same."""
    return CheckedClient(timeout=timeout, check_requests=False)


def client_for_measurements(*, timeout: float = 60) -> stripe.RequestsClient:
    """The SDK's own client without any check, for benchmarks alone."""
    return stripe.RequestsClient(timeout=timeout)


def _text(post_data: Any) -> str | None:
    return post_data.decode() if isinstance(post_data, bytes) else post_data
