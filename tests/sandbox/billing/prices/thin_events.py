"""Thin events, those of /v2: small, without a version, with a reference to the object in place of a copy of it."""

from datetime import UTC, datetime

from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def emit_thin(world: World, event_type: str, related: StripeObject | None, data: StripeObject | None) -> StripeObject:
    """Record a thin event. Kept in the store as `v2.core.event`, and queued for the event destinations."""
    event: StripeObject = {
        "id": world.ids.new("evt_test"),
        "object": "v2.core.event",
        "changes": None,
        "context": None,
        "created": moment_text(world.account_clock.now),
        "data": data,
        "livemode": False,
        "reason": None,
        "related_object": related,
        "type": event_type,
    }
    world.store.add(event)
    world.new_thin_events.append(event)
    return event


def moment_text(moment: int) -> str:
    """Unix seconds as the timestamps of /v2."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
