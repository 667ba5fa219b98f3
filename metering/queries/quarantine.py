"""What waits in quarantine, and why."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Min

from metering.models import QuarantinedEvent

CAUSES_SHOWN = 50


@dataclass(frozen=True, slots=True)
class QuarantineCause:
    """Waiting events of one reason, type and source: what one remedy would let through."""

    reason: str
    event_type: str
    source: str
    events: int
    customers: int
    oldest: datetime
    newest: datetime


def quarantine_causes() -> list[QuarantineCause]:
    """The causes of what waits, the largest first; at most CAUSES_SHOWN."""
    waiting = QuarantinedEvent.objects.filter(resolved_at=None).values("reason", "event_type", "source")
    counted = waiting.annotate(
        events=Count("id"),
        customers=Count("customer_key", distinct=True),
        oldest=Min("received_at"),
        newest=Max("received_at"),
    ).order_by("-events", "reason", "event_type", "source")
    return [QuarantineCause(**row) for row in counted[:CAUSES_SHOWN]]
