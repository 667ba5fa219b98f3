"""
What Stripe could not deliver: its own lists are asked, and what is unknown here goes the way of all events.

How far the lists were read is kept in the cache. Losing it costs a longer list, never an event: everything is
recognised by its id.
"""

import json
from datetime import datetime

from django.core.cache import cache
from django.db import transaction

from billing.payments.operations import record_balance_transactions
from billing.stripe import gateway, inbox, readers
from billing.stripe.gateway import StripeDict
from billing.stripe.projection import ENABLED_EVENTS

EVENTS_CURSOR = "stripe:poll:events"
MOVEMENTS_CURSOR = "stripe:poll:balance_transactions"
# Stripe's lists may show a new object late; what is read twice is recognised.
OVERLAP_SECONDS = 3600


def fetch_missed_events(*, now: datetime) -> list[str]:
    """Store events of Stripe's list (30 days back) that are not in the inbox; return their ids, oldest first."""
    listed = list(gateway.listed_events(ENABLED_EVENTS, **_since(EVENTS_CURSOR)))
    unknown = inbox.unknown_ids(event["id"] for event in listed)
    missed = [event for event in reversed(listed) if event["id"] in unknown]
    for event in missed:
        inbox.receive(event, body=json.dumps(event), source="poll", received_at=now)
    _remember(EVENTS_CURSOR, listed)
    return [event["id"] for event in missed]


def fetch_missed_balance_transactions(*, now: datetime) -> int:
    """Enter every movement on our balance that no event led us to: fees, adjustments, kinds not known here."""
    listed = list(gateway.listed("/v1/balance_transactions", **_since(MOVEMENTS_CURSOR)))
    movements = [readers.with_source(movement) for movement in reversed(listed)]
    with transaction.atomic():
        recorded = record_balance_transactions(movements, now=now)
    _remember(MOVEMENTS_CURSOR, listed)
    return recorded


def _since(cursor_key: str) -> dict[str, dict[str, int]]:
    """The filter of a list that was read before; none for the first time."""
    read_until = cache.get(cursor_key)
    return {} if read_until is None else {"created": {"gte": max(read_until - OVERLAP_SECONDS, 0)}}


def _remember(cursor_key: str, listed: list[StripeDict]) -> None:
    """The cursor is Stripe's own time, which need not be ours. Set last: a crash before it only means reading again."""
    if listed:
        cache.set(cursor_key, max(int(one["created"]) for one in listed), timeout=None)
