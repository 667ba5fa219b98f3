"""Webhooks: every event to every endpoint that wants it, signed, in order, tried again until the receiver says 2xx.

The queue lives on the event loop; the POST itself runs in a thread, so a receiver may call the sandbox while it
handles an event. Waiting is in real seconds: a receiver that is down is down in real time, whatever the clock says.
"""

import asyncio
import hashlib
import hmac
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import msgspec
import urllib3

from tests.sandbox.core.faults import Fault
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Declared: Stripe goes on for three days; the sandbox gives up after these waits, in real seconds.
RETRY_WAITS_SECONDS = (0.2, 1.0, 5.0, 5.0, 15.0, 30.0, 60.0)
ATTEMPT_TIMEOUT_SECONDS = 20.0
THREADS_MAX = 8

State = Literal["queued", "waiting", "delivered", "failed", "dropped", "canceled"]


@dataclass(slots=True)
class Delivery:
    """One event on its way to one endpoint. `attempts` holds what each try got."""

    id: int
    event: str
    type: str
    endpoint: str
    url: str
    state: State = "queued"
    fault: str | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Deliveries:
    """The deliveries of one world. `close` ends them when the world is replaced."""

    def __init__(self, world: World, *, at_once: int = 1) -> None:
        self._world = world
        self._at_once = at_once
        self._queues: dict[str, asyncio.Queue[Delivery]] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self._held_back: dict[str, Delivery] = {}
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
        events, self._world.new_events = self._world.new_events, []
        if not events:
            return
        endpoints = self._world.store.all("webhook_endpoint")
        for event in events:
            wanted = [endpoint for endpoint in endpoints if _wants(endpoint, event["type"])]
            event["pending_webhooks"] = len(wanted)
            for endpoint in wanted:
                self._submit(event, endpoint)

    def close(self) -> None:
        for task in self._workers:
            task.cancel()
        for timer in self._timers:
            timer.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def _submit(self, event: StripeObject, endpoint: StripeObject) -> None:
        delivery = Delivery(len(self.log), event["id"], event["type"], endpoint["id"], endpoint["url"])
        self.log.append(delivery)
        fault = self._world.faults.take("event", event["type"])
        if fault is None:
            self._enqueue(delivery)
        else:
            self._submit_wrong(delivery, fault)
        held = self._held_back.get(endpoint["id"])
        if held is not None and held is not delivery:
            del self._held_back[endpoint["id"]]
            self._put(held)

    def _submit_wrong(self, delivery: Delivery, fault: Fault) -> None:
        delivery.fault = fault.mode
        if fault.mode == "drop":
            delivery.state = "dropped"
        elif fault.mode == "duplicate":
            self._enqueue(delivery)
            twin = Delivery(len(self.log), delivery.event, delivery.type, delivery.endpoint, delivery.url)
            twin.fault = fault.mode
            self.log.append(twin)
            self._enqueue(twin)
        elif fault.mode == "delay":
            self._pending += 1
            self._later(fault.seconds, delivery)
        else:
            self._pending += 1
            self._hold_back(delivery, fault.seconds)

    def _hold_back(self, delivery: Delivery, seconds: float) -> None:
        """Reorder: wait for the endpoint's next event to overtake, or `seconds` if none comes."""
        overtaken = self._held_back.pop(delivery.endpoint, None)
        if overtaken is not None:
            self._put(overtaken)
        self._held_back[delivery.endpoint] = delivery

        def give_up() -> None:
            if self._held_back.get(delivery.endpoint) is delivery:
                del self._held_back[delivery.endpoint]
                self._put(delivery)

        self._timers.add(asyncio.get_running_loop().call_later(seconds, give_up))

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
        endpoint = self._world.store.find("webhook_endpoint", delivery.endpoint)
        event = self._world.store.find("event", delivery.event)
        if endpoint is None or event is None or endpoint["status"] != "enabled":
            self._finish(delivery, "canceled")
            return
        delivery.state = "queued"
        body = msgspec.json.encode(event)
        secret = self._world.webhook_secrets[delivery.endpoint]
        loop = asyncio.get_running_loop()
        status, error = await loop.run_in_executor(self._threads, self._post, endpoint["url"], body, secret)
        delivery.attempts.append({"status": status, "error": error})
        if status is not None and 200 <= status < 300:
            event["pending_webhooks"] = max(0, event["pending_webhooks"] - 1)
            self._finish(delivery, "delivered")
        elif len(delivery.attempts) > len(RETRY_WAITS_SECONDS):
            self._finish(delivery, "failed")
        else:
            self._later(RETRY_WAITS_SECONDS[len(delivery.attempts) - 1], delivery)

    def _finish(self, delivery: Delivery, state: State) -> None:
        delivery.state = state
        self._pending -= 1

    def _post(self, url: str, body: bytes, secret: str) -> tuple[int | None, str | None]:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signature_header(body, secret, at=int(time.time())),
        }
        try:
            answer = self._http.request(
                "POST", url, body=body, headers=headers, timeout=ATTEMPT_TIMEOUT_SECONDS, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            return None, f"{type(error).__name__}: {error}"[:300]
        return answer.status, None if 200 <= answer.status < 300 else answer.data[:300].decode(errors="replace")


def signature_header(body: bytes, secret: str, *, at: int) -> str:
    """Stripe's `t=…,v1=…`: HMAC-SHA256 of "<t>.<body>". `at` is real time, which receivers compare with theirs."""
    signed = f"{at}.".encode() + body
    return f"t={at},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def _wants(endpoint: StripeObject, event_type: str) -> bool:
    if endpoint["status"] != "enabled":
        return False
    return "*" in endpoint["enabled_events"] or event_type in endpoint["enabled_events"]
