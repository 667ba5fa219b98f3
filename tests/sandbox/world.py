"""One Stripe account: its clock, objects, events and switches. A reset makes a new one."""

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any, Literal

from tests.sandbox.core.clock import Clock
from tests.sandbox.core.document import Document
from tests.sandbox.core.faults import Faults
from tests.sandbox.core.idempotency import IdempotencyKeys
from tests.sandbox.core.ids import IdSource
from tests.sandbox.core.schema import problems
from tests.sandbox.core.skeletons import Skeletons
from tests.sandbox.core.store import Store, StripeObject, copied

AfterLastRetry = Literal["past_due", "unpaid", "cancel"]
REQUESTS_REMEMBERED = 500


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Whose doing an event is. Work of the clock has no request."""

    id: str
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What an account owner chooses in Stripe's dashboard."""

    strict: bool = False
    after_last_retry: AfterLastRetry = "past_due"


class World:
    """The state every operation works on. Single-threaded: nothing here is ever touched from another thread."""

    def __init__(
        self, *, document: Document, skeletons: Skeletons, ids: IdSource, settings: Settings, now: int
    ) -> None:
        self.document = document
        self.skeletons = skeletons
        self.ids = ids
        self.settings = settings
        self.clock = Clock(now)
        self.store = Store()
        self.faults = Faults()
        self.idempotency = IdempotencyKeys()
        self.request: RequestContext | None = None
        self.tombstones: dict[str, StripeObject] = {}
        self.lines: dict[str, list[StripeObject]] = defaultdict(list)  # of an invoice, all of them, in their order
        self.cards: dict[str, str] = {}  # payment method id to the name of its test card
        self.webhook_secrets: dict[str, str] = {}
        self.new_events: list[StripeObject] = []  # emitted, not yet handed to the webhook deliveries
        self.problems: list[str] = []
        self.recent_requests: deque[dict[str, Any]] = deque(maxlen=REQUESTS_REMEMBERED)

    @property
    def now(self) -> int:
        return self.clock.now

    def new(self, schema_name: str, prefix: str, **fields: Any) -> StripeObject:
        """A stored, valid object of the schema with a fresh id, created now."""
        fields.setdefault("id", self.ids.new(prefix))
        if "created" in self.document.schema(schema_name).properties:
            fields.setdefault("created", self.now)
        return self.store.add(self.skeletons.new(schema_name, **fields))

    def update(self, thing: StripeObject, event_type: str | None = None, **changes: Any) -> StripeObject:
        """Change a stored object. With `event_type`, an event tells the former values, if anything changed."""
        previous = self.store.change(thing, changes)
        if previous and event_type is not None:
            self.emit(event_type, thing, previous=previous)
        return previous

    def emit(self, event_type: str, thing: StripeObject, *, previous: StripeObject | None = None) -> StripeObject:
        """Record an event about `thing` as it is now."""
        data: StripeObject = {"object": copied(thing)}
        if previous is not None:
            data["previous_attributes"] = previous_attributes(thing, previous)
        request = self.request
        event = self.new(
            "event",
            "evt",
            api_version=self.document.version,
            data=data,
            type=event_type,
            request={
                "id": request.id if request else None,
                "idempotency_key": request.idempotency_key if request else None,
            },
        )
        self.new_events.append(event)
        if self.settings.strict:
            self._check_event(event)
        return event

    def _check_event(self, event: StripeObject) -> None:
        thing = event["data"]["object"]
        found = problems(event, self.document.schema("event"))
        schema = self.document.object_schema(thing["object"])
        if schema is None:
            self.problems.append(f"event {event['type']}: unknown object {thing['object']!r}")
        elif not thing.get("deleted"):
            found += problems(thing, schema)
        self.problems.extend(f"event {event['type']} {thing.get('id')}: {problem}" for problem in found)


def previous_attributes(thing: StripeObject, previous: StripeObject) -> StripeObject:
    """Stripe's form of former values: of a changed nested object only the changed keys, of a list all of it."""
    attributes: StripeObject = {}
    for field, former in previous.items():
        current = thing.get(field)
        if isinstance(former, dict) and isinstance(current, dict):
            keys = former.keys() | current.keys()
            attributes[field] = {key: former.get(key) for key in sorted(keys) if former.get(key) != current.get(key)}
        else:
            attributes[field] = former
    return attributes
