"""
Payloads of events are dropped some time after they were done; their rows stay.

The row is what a repeat is recognised by: Stripe's list reaches 30 days back and its dashboard sends any event again,
however old. What an event said is in our books by then, as fetched from Stripe, and Stripe keeps it for itself.
"""

from datetime import datetime, timedelta

from billing.stripe.models import InboxEvent

# One statement holds the locks of so many rows, and frees so much at a time.
BATCH = 2000


def drop_old_payloads(*, keep: timedelta, now: datetime, batches_max: int = 500) -> int:
    """
    Drop the payloads of events that were done longer than `keep` ago, in batches; return of how many.

    Not of those the mirror still has to follow: it reads from them which object to fetch.
    """
    dropped = 0
    for _ in range(batches_max):
        old = InboxEvent.objects.filter(
            state=InboxEvent.State.DONE,
            payload_dropped_at=None,
            mirrored_at__isnull=False,
            processed_at__lt=now - keep,
        )
        ids = list(old.order_by("processed_at").values_list("pk", flat=True)[:BATCH])
        if not ids:
            break
        # Asked again in the statement itself: a person may have had one tried again meanwhile.
        dropped += old.filter(pk__in=ids).update(payload=None, payload_dropped_at=now)
    return dropped
