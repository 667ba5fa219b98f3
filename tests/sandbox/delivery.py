"""Webhooks: every event to every endpoint that wants it, signed, in order, tried again until the receiver says 2xx.

The queue lives on the event loop; the POST itself runs in a thread, so a receiver may call the sandbox while it
handles an event. Waiting is in real seconds: a receiver that is down is down in real time, whatever the clock says.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import urllib3

from tests.sandbox import tally
from tests.sandbox.core.faults import WEBHOOK, Fault
from tests.sandbox.core.store import StripeObject
from tests.sandbox.posting import DESTINATION, ENDPOINT, EVENT, THIN_EVENT, body_of, names, post, url_of, wants
from tests.sandbox.world import World

# Declared: Stripe goes on for three days; the sandbox gives up after these waits, in real seconds.
RETRY_WAITS_SECONDS = (0.2, 1.0, 5.0, 5.0, 15.0, 30.0, 60.0)
THREADS_MAX = 8

State = Literal["queued", "waiting", "delivered", "failed", "dropped", "canceled"]


@dataclass(slots=True)
class Delivery:
    """One event on its way to one endpoint. `attempts` holds what each try got; `twin` is sent at the same moment."""

    id: int
    event: str
    type: str
    endpoint: str
    url: str
    state: State = "queued"
    fault: str | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    twin: "Delivery | None" = field(default=None, repr=False)

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if name != "twin"}


@dataclass(slots=True)
class HeldBack:
    """A delivery that waits until `places` later events of its endpoint have overtaken it."""

    delivery: Delivery
    places: int


class Deliveries:
    """The deliveries of one world. `close` ends them when the world is replaced."""

    def __init__(self, world: World, *, at_once: int = 1) -> None:
        self._world = world
        self._at_once = at_once
        self._queues: dict[str, asyncio.Queue[Delivery]] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self._held_back: dict[str, list[HeldBack]] = {}
        self._outstanding: dict[str, set[str]] = {}  # event to the endpoints that have not had it
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="webhook")
        self._http = urllib3.PoolManager(maxsize=THREADS_MAX, retries=False)
        self._pending = 0
        self.log: list[Delivery] = []

    @property
    def idle(self) -> bool:
        """Nothing queued, in flight or waiting for its next try."""
        return self._pending == 0

    def of_event(self, event_id: str) -> list[Delivery]:
        return [delivery for delivery in self.log if delivery.event == event_id]

    def pump(self) -> None:
        """Hand the world's new events to the endpoints that want them."""
        world = self._world
        events, world.new_events = world.new_events, []
        thin_events, world.new_thin_events = world.new_thin_events, []
        if not events and not thin_events:
            return
        if world.settings.strict:
            tally.count(events=len(events))  # each was checked when it was emitted
        endpoints = self._endpoints()
        if not endpoints:
            return
        for event in (*events, *thin_events):
            wanted = [endpoint for endpoint in endpoints if wants(endpoint, event)]
            if event["object"] == EVENT:
                event["pending_webhooks"] = len(wanted)
            self._outstanding[event["id"]] = {endpoint["id"] for endpoint in wanted}
            for endpoint in wanted:
                self._submit(event, endpoint)

    def resend(self, event_id: str, endpoint_id: str | None = None) -> int:
        """Deliver an event once more, as the dashboard's button does, where it is wanted; to how many endpoints.

        Raises KeyError for an event or endpoint that there is not.
        """
        event = self._found(event_id, EVENT, THIN_EVENT)
        named = [self._found(endpoint_id, ENDPOINT, DESTINATION)] if endpoint_id is not None else self._endpoints()
        wanted = [endpoint for endpoint in named if wants(endpoint, event)]
        for endpoint in wanted:
            self._enqueue(self._new_delivery(event, endpoint))
        return len(wanted)

    def close(self) -> None:
        for task in self._workers:
            task.cancel()
        for timer in self._timers:
            timer.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def _endpoints(self) -> list[StripeObject]:
        return self._world.store.all(ENDPOINT) + self._world.store.all(DESTINATION)

    def _new_delivery(self, event: StripeObject, endpoint: StripeObject) -> Delivery:
        delivery = Delivery(len(self.log), event["id"], event["type"], endpoint["id"], url_of(endpoint))
        self.log.append(delivery)
        return delivery

    def _submit(self, event: StripeObject, endpoint: StripeObject) -> None:
        delivery = self._new_delivery(event, endpoint)
        fault = self._world.faults.take("event", event["type"], modes=WEBHOOK, names=partial(names, event))
        if fault is not None and fault.mode == "reorder":
            delivery.fault = fault.mode
            self._hold_back(delivery, fault)
            return
        if fault is None:
            self._enqueue(delivery)
        else:
            self._submit_wrong(delivery, fault, event, endpoint)
        self._overtake(endpoint["id"])

    def _submit_wrong(self, delivery: Delivery, fault: Fault, event: StripeObject, endpoint: StripeObject) -> None:
        delivery.fault = fault.mode
        match fault.mode:
            case "drop":
                delivery.state = "dropped"
            case "duplicate":
                self._enqueue(delivery)
                self._enqueue(self._twin_of(delivery, event, endpoint))
            case "duplicate_at_once":
                delivery.twin = self._twin_of(delivery, event, endpoint)
                self._pending += 1
                self._enqueue(delivery)
            case "delay":
                self._pending += 1
                self._later(fault.seconds, delivery)
            case "bad_signature":
                self._enqueue(delivery)
            case mode:
                raise AssertionError(f"nobody carries out {mode}")

    def _twin_of(self, delivery: Delivery, event: StripeObject, endpoint: StripeObject) -> Delivery:
        twin = self._new_delivery(event, endpoint)
        twin.fault = delivery.fault
        return twin

    def _hold_back(self, delivery: Delivery, fault: Fault) -> None:
        """Reorder: wait for the endpoint's next events to overtake, or for the fault's seconds if they do not come."""
        self._pending += 1
        held = HeldBack(delivery, fault.places)
        self._held_back.setdefault(delivery.endpoint, []).append(held)

        def give_up() -> None:
            waiting = self._held_back[delivery.endpoint]
            if held in waiting:
                waiting.remove(held)
                self._put(delivery)

        self._timers.add(asyncio.get_running_loop().call_later(fault.seconds, give_up))

    def _overtake(self, endpoint_id: str) -> None:
        """One more event of the endpoint is on its way before those held back."""
        waiting = self._held_back.get(endpoint_id, [])
        for held in waiting:
            held.places -= 1
        for held in [held for held in waiting if held.places == 0]:
            waiting.remove(held)
            self._put(held.delivery)

    def _enqueue(self, delivery: Delivery) -> None:
        self._pending += 1
        self._put(delivery)

    def _put(self, delivery: Delivery) -> None:
        queue = self._queues.get(delivery.endpoint)
        if queue is None:
            queue = self._queues[delivery.endpoint] = asyncio.Queue()
            for _ in range(self._at_once):
                self._workers.append(asyncio.get_running_loop().create_task(self._work(queue)))
        queue.put_nowait(delivery)

    def _later(self, seconds: float, delivery: Delivery) -> None:
        delivery.state = "waiting"
        self._timers.add(asyncio.get_running_loop().call_later(seconds, self._put, delivery))

    async def _work(self, queue: asyncio.Queue[Delivery]) -> None:
        while True:
            await self._attempt(await queue.get())

    async def _attempt(self, delivery: Delivery) -> None:
        twin, delivery.twin = delivery.twin, None
        if twin is not None:
            await asyncio.gather(self._attempt(delivery), self._attempt(twin))
            return
        event = self._found(delivery.event, EVENT, THIN_EVENT)
        endpoint = self._world.store.by_id(delivery.endpoint)
        if endpoint is None or endpoint["status"] != "enabled":
            self._finish(delivery, "canceled")
            return
        delivery.state = "queued"
        secret = self._world.webhook_secrets[delivery.endpoint]
        if delivery.fault == "bad_signature" and not delivery.attempts:
            secret = secret[::-1]
        send = partial(post, self._http, url_of(endpoint), body_of(event), secret)
        status, error = await asyncio.get_running_loop().run_in_executor(self._threads, send)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        delivery.attempts.append({"status": status, "error": error, "at": at})
        if status is not None and 200 <= status < 300:
            self._arrived(event, delivery.endpoint)
            self._finish(delivery, "delivered")
        elif len(delivery.attempts) > len(RETRY_WAITS_SECONDS):
            self._finish(delivery, "failed")
        else:
            self._later(RETRY_WAITS_SECONDS[len(delivery.attempts) - 1], delivery)

    def _arrived(self, event: StripeObject, endpoint_id: str) -> None:
        """Each endpoint counts once, however often it gets the event."""
        outstanding = self._outstanding.get(event["id"], set())
        outstanding.discard(endpoint_id)
        if event["object"] == EVENT:
            event["pending_webhooks"] = len(outstanding)

    def _finish(self, delivery: Delivery, state: State) -> None:
        delivery.state = state
        self._pending -= 1

    def _found(self, object_id: str, *kinds: str) -> StripeObject:
        for kind in kinds:
            thing = self._world.store.find(kind, object_id)
            if thing is not None:
                return thing
        raise KeyError(object_id)
