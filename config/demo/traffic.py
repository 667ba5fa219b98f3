"""
Sends the month's events to the ingest endpoint, as a fleet of edge servers would: in batches, from several senders at
once, with the retries, repeats and mistakes that real senders make.
"""

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from copy import deepcopy
from dataclasses import dataclass, fields
from http import HTTPStatus
from itertools import islice
from threading import local
from typing import Any
from urllib.parse import urlsplit

import msgspec

from config.demo.errors import DemoFailed

Event = dict[str, Any]
PATH = "/api/v1/events"
CONTENT_TYPE = "application/cloudevents-batch+json"
EVENTS_PER_BATCH = 1_000
SENDERS = 4
# One batch in so many is sent twice, as after a time-out whose answer was lost.
REPEAT_ONE_IN = 80
# So many events of each batch come again with the next one.
STRAGGLERS_PER_BATCH = 3
CONFLICTS = 5
STRANGERS = 4
ATTEMPTS_MAX = 8
TIMEOUT_SECONDS = 60


class TrafficFailed(DemoFailed):
    """The ingest endpoint refused a whole batch, or could not be reached."""


@dataclass(slots=True)
class Answers:
    """What the endpoint answered, summed over requests."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0
    refused: int = 0

    def add(self, answer: dict[str, Any]) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + answer[field.name])


def batches(events: Iterator[Event]) -> Iterator[list[Event]]:
    """Yield the events in batches, with repeats among them and, in the last one, an event nobody can count."""
    previous: list[Event] = []
    batch = list(islice(events, EVENTS_PER_BATCH))
    number = 0
    while batch:
        following = list(islice(events, EVENTS_PER_BATCH))
        sent = batch + previous[:STRAGGLERS_PER_BATCH]
        yield sent if following else [*sent, _uncountable(batch[0])]
        if number % REPEAT_ONE_IN == REPEAT_ONE_IN // 8:
            yield batch
        previous, batch, number = batch, following, number + 1


def mistakes(originals: list[Event]) -> list[Event]:
    """Return events that contradict ones already counted, and events of customers nobody knows."""
    conflicting = deepcopy(originals[:CONFLICTS])
    for event in conflicting:
        event["data"]["output_tokens"] += 1_000
    strangers = deepcopy(originals[:STRANGERS])
    for number, event in enumerate(strangers, start=1):
        event["id"] += "-stranger"
        event["subject"] = f"trial-{number:04d}"
    return conflicting + strangers


def _uncountable(model: Event) -> Event:
    event = deepcopy(model)
    event["id"] += "-negative"
    event["data"]["input_tokens"] = -1
    return event


class Traffic:
    """Several senders with one keep-alive connection each."""

    def __init__(self, *, address: str, api_key: str) -> None:
        parts = urlsplit(address)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.api_key = api_key
        self.answers = Answers()
        self._connections = local()
        self._opened: list[http.client.HTTPConnection] = []

    def send(self, batches: Iterator[list[Event]], *, progress: Callable[[int], None]) -> None:
        """Send every batch; `progress` is told how many events were answered. Raises TrafficFailed."""
        try:
            self._send_from_threads(batches, progress)
        finally:
            self._hang_up()

    def _send_from_threads(self, batches: Iterator[list[Event]], progress: Callable[[int], None]) -> None:
        with ThreadPoolExecutor(SENDERS, "sender") as pool:
            waiting: set[Future[tuple[int, dict[str, Any]]]] = set()
            for batch in batches:
                waiting.add(pool.submit(self._send_batch, batch))
                if len(waiting) >= 2 * SENDERS:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    self._take(done, progress)
            self._take(waiting, progress)

    def _hang_up(self) -> None:
        """Close every sender's connection; the threads that held them are gone."""
        while self._opened:
            self._opened.pop().close()
        self._connections = local()

    def _take(self, done: set[Future[tuple[int, dict[str, Any]]]], progress: Callable[[int], None]) -> None:
        for future in done:
            sent, answer = future.result()
            self.answers.add(answer)
            progress(sent)

    def _send_batch(self, batch: list[Event]) -> tuple[int, dict[str, Any]]:
        body = msgspec.json.encode(batch)
        for attempt in range(ATTEMPTS_MAX):
            try:
                status, text, retry_after = self._post(body)
            except (OSError, http.client.HTTPException):
                # The batch may have been taken: sending it again is safe, because events are counted once.
                self._connections.connection = None
                time.sleep(0.1 * 2**attempt)
                continue
            if status == HTTPStatus.OK:
                return len(batch), msgspec.json.decode(text)
            if status not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
                message = f"POST {PATH} answered {status}: {text[:500].decode(errors='replace')}"
                raise TrafficFailed(message)
            time.sleep(retry_after or 0.1 * 2**attempt)
        message = f"POST {PATH} took no batch in {ATTEMPTS_MAX} attempts."
        raise TrafficFailed(message)

    def _post(self, body: bytes) -> tuple[int, bytes, int]:
        connection: http.client.HTTPConnection | None = getattr(self._connections, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_SECONDS)
            self._connections.connection = connection
            self._opened.append(connection)
        headers = {"Authorization": f"Api-Key {self.api_key}", "Content-Type": CONTENT_TYPE}
        connection.request("POST", PATH, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), int(answer.headers.get("Retry-After") or 0)
