"""The storm's senders: what they send is decided by a seed, what they know to be stored is what was answered.

Each keeps its own sum of what was acknowledged, which the windows are compared with at the end.
"""

import gzip
import http.client
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from random import Random
from typing import Any

import msgspec

Event = dict[str, Any]
WindowKey = tuple[datetime, str, str]
"""Hour, customer, model."""

CUSTOMERS = [f"storm-{number:02}" for number in range(50)]
MODELS = ["claude-opus-5", "claude-sonnet-5", "composer-2.5", "auto"]
EVENT_TYPE, METER = "storm.request", "storm_tokens"
HOURS = 30
BATCH_SIZES = (20, 700)
# Shares of requests, and of the events of a batch.
SINGLE, PACKED, IMPATIENT, ABANDONED = 0.1, 0.15, 0.04, 0.08
REPEATED, CONTRADICTED, SHARED = 0.04, 0.004, 0.03
PATIENCE_SECONDS = 30.0
IMPATIENCE_SECONDS = (0.002, 0.08)
PAUSE_SECONDS = (0.05, 0.4)
RECENT_EVENTS = 2_000

_encoder = msgspec.json.Encoder(decimal_format="number")


class StormFailed(AssertionError):
    """The endpoint answered something that no sender may be answered, or a figure does not add up."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What all senders share: where to send, when the usage lies, and what decides what they do."""

    port: int
    key: str
    seed: int
    start: datetime
    events_per_client: int


def shared_event(weather: Weather, number: int) -> Event:
    """An event that every sender sends, each with the same body."""
    return make_event(weather, Random(f"{weather.seed}:shared:{number}"), "shared", number)


def make_event(weather: Weather, random: Random, source: str, number: int) -> Event:
    microseconds = random.randrange(HOURS * 3_600_000_000)
    return {
        "specversion": "1.0",
        "id": f"{weather.seed}-{number}",
        "source": f"storm/{source}",
        "type": EVENT_TYPE,
        "subject": random.choice(CUSTOMERS),
        "time": (weather.start + timedelta(microseconds=microseconds)).isoformat(),
        "data": {"model": random.choice(MODELS), "tokens": Decimal(random.randrange(1, 10**9)).scaleb(-6)},
    }


def _number_of(event: Event) -> int:
    return int(event["id"].rpartition("-")[2])


def window_of(event: Event) -> WindowKey:
    hour = datetime.fromisoformat(event["time"]).replace(minute=0, second=0, microsecond=0)
    return hour, event["subject"], event["data"]["model"]


@dataclass(slots=True)
class Sums:
    """Number and quantity of events by window."""

    count: Counter[WindowKey] = field(default_factory=Counter)
    quantity: dict[WindowKey, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def add(self, event: Event) -> None:
        window = window_of(event)
        self.count[window] += 1
        self.quantity[window] += event["data"]["tokens"]

    def add_all(self, other: "Sums") -> None:
        self.count.update(other.count)
        for window, quantity in other.quantity.items():
            self.quantity[window] += quantity


@dataclass(slots=True)
class Sending:
    """One request until it is answered: what it holds, and which of its events contradict others on purpose."""

    events: list[Event]
    contradictions: frozenset[int]


class Client(threading.Thread):
    """Sends until every event of its own is acknowledged, or given up by decision of the seed."""

    def __init__(self, weather: Weather, number: int) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.weather, self.number = weather, number
        self.random = Random(f"{weather.seed}:{number}")
        self.sums = Sums()
        self.acknowledged = 0
        self.shared_acknowledged: set[int] = set()
        self.abandoned: dict[str, Event] = {}
        self.contradicted: set[tuple[str, str]] = set()
        self.figures: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._recent: deque[Event] = deque(maxlen=RECENT_EVENTS)
        self._seen = bytearray(weather.events_per_client)
        self._made = self.shared_made = 0
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        try:
            while self._made < self.weather.events_per_client:
                self._deliver(self._next())
        except BaseException as error:  # noqa: BLE001  (told to the thread that waits for this one)
            self.failure = error
        finally:
            self._hang_up()

    def _next(self) -> Sending:
        random = self.random
        size = 1 if random.random() < SINGLE else random.randint(*BATCH_SIZES)
        size = min(size, self.weather.events_per_client - self._made)
        events = [make_event(self.weather, random, str(self.number), self._made + position) for position in range(size)]
        self._made += size
        if size == 1:
            return Sending(events, frozenset())
        for _ in range(int(size * SHARED)):
            events.append(shared_event(self.weather, self.shared_made))
            self.shared_made += 1
        events += [random.choice(self._recent) for _ in range(int(size * REPEATED)) if self._recent]
        start = len(events)
        events += [
            self._contradiction(random.choice(self._recent))
            for _ in range(1 + int(size * CONTRADICTED))
            if self._recent
        ]
        return Sending(events, frozenset(range(start, len(events))))

    def _contradiction(self, event: Event) -> Event:
        """The same id as an event that is known to be stored, with another body or only another time."""
        self.contradicted.add((event["source"], event["id"]))
        if self.random.random() < 0.5:
            later = datetime.fromisoformat(event["time"]) + timedelta(hours=1)
            return {**event, "time": later.isoformat()}
        return {**event, "data": {**event["data"], "tokens": event["data"]["tokens"] + 1}}

    def _deliver(self, sending: Sending) -> None:
        """Send until it is answered, now and then in two parts, or give it up after a try that ended in the unknown."""
        while True:
            answer = self._attempt(sending)
            if answer is not None:
                self._take(sending, answer)
                return
            if not sending.contradictions and self.random.random() < ABANDONED:
                self._abandon(sending.events)
                return
            if len(sending.events) > 1 and self.random.random() < 0.2:
                for part in self._halves(sending):
                    self._deliver(part)
                return

    def _halves(self, sending: Sending) -> Iterator[Sending]:
        middle = self.random.randrange(1, len(sending.events))
        marks = sending.contradictions
        yield Sending(sending.events[:middle], frozenset(mark for mark in marks if mark < middle))
        yield Sending(sending.events[middle:], frozenset(mark - middle for mark in marks if mark >= middle))

    def _abandon(self, events: Iterable[Event]) -> None:
        for event in events:
            if event["source"] == f"storm/{self.number}" and not self._seen[_number_of(event)]:
                self.abandoned[event["id"]] = event

    def _attempt(self, sending: Sending) -> Mapping[str, Any] | None:
        """The answer, or None when it is not known what became of the request or it was turned away."""
        self.figures["requests"] += 1
        is_impatient = self.random.random() < IMPATIENT
        try:
            status, headers, text = self._post(sending, is_impatient)
        except (OSError, http.client.HTTPException):
            self.figures["unanswered"] += 1
            self._hang_up()
            if not is_impatient:
                time.sleep(self.random.uniform(*PAUSE_SECONDS))
            return None
        if status == HTTPStatus.OK:
            answer: Mapping[str, Any] = msgspec.json.decode(text)
            return answer
        if status not in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            raise StormFailed(f"answered {status}: {text[:300]!r}")
        self.figures["turned away"] += 1
        time.sleep(int(headers["Retry-After"]))
        return None

    def _post(self, sending: Sending, is_impatient: bool) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.weather.port)
        patience = self.random.uniform(*IMPATIENCE_SECONDS) if is_impatient else PATIENCE_SECONDS
        self._connection.timeout = patience
        if self._connection.sock is not None:
            self._connection.sock.settimeout(patience)
        is_single = len(sending.events) == 1
        kind = "application/cloudevents+json" if is_single else "application/cloudevents-batch+json"
        headers = {"Authorization": f"Bearer {self.weather.key}", "Content-Type": kind}
        body = _encoder.encode(sending.events[0] if is_single else sending.events)
        if self.random.random() < PACKED:
            headers["Content-Encoding"], body = "gzip", gzip.compress(body, 1)
        self._connection.request("POST", "/api/v1/events", body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if is_impatient:  # what follows on this connection has more patience
            self._hang_up()
        return answer.status, answer.headers, text

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _take(self, sending: Sending, answer: Mapping[str, Any]) -> None:
        outcomes = {result["index"]: result["status"] for result in answer["results"]}
        if answer["accepted"] != len(sending.events) - len(outcomes):
            raise StormFailed(f"the counts of an answer do not add up: {answer}")
        for index, event in enumerate(sending.events):
            status = outcomes.get(index, "accepted")
            self.figures[status] += 1
            if index in sending.contradictions:
                if status != "conflict":
                    raise StormFailed(f"{event['id']} contradicts a stored event and was answered {status}")
            elif status in {"accepted", "duplicate"}:
                self._acknowledge(event)
            else:
                raise StormFailed(f"{event['id']} was answered {status}")

    def _acknowledge(self, event: Event) -> None:
        number = _number_of(event)
        if event["source"] == "storm/shared":
            self.shared_acknowledged.add(number)
            return
        if self._seen[number]:
            return
        self._seen[number] = 1
        self.acknowledged += 1
        self.sums.add(event)
        if self.random.random() < 0.1:
            self._recent.append(event)


def wait_for(clients: Sequence[Client], *, seconds: float) -> bool:
    """Whether all have ended within so many seconds. Raises what one of them failed with."""
    deadline = time.monotonic() + seconds
    for client in clients:
        client.join(max(0.0, deadline - time.monotonic()))
    for client in clients:
        if client.failure is not None:
            raise client.failure
    return not any(client.is_alive() for client in clients)
