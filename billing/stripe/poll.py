"""
What Stripe could not deliver: its own lists are asked, and what is unknown here goes the way of all events.

How far each list was read is a row (`PollPosition`): lost with a cache, the first reading after it would go through 30
days of a large account in one run. Lists begin with the newest, so a reading goes downwards to where the last complete
one began. One that is stopped, or comes to the end of its share, goes on where it was. Positions are Stripe's times,
from the objects themselves; everything read twice is recognised by its id.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Count
from django.db.models.functions import TruncDate
from django.utils.dateparse import parse_datetime

from billing.payments.operations import record_balance_transactions
from billing.stripe import gateway, inbox, readers
from billing.stripe.errors import StripeUnavailable
from billing.stripe.gateway import StripeDict
from billing.stripe.inbox_models import PollPosition
from billing.stripe.models import InboxEvent
from billing.stripe.projection import ENABLED_EVENTS, ENABLED_THIN_EVENTS
from billing.stripe.seconds import second_from, second_of

logger = logging.getLogger(__name__)

EVENTS, THIN_EVENTS, MOVEMENTS = LISTS = "events", "thin_events", "balance_transactions"
# The type of our own events; its handler is named by its beginning (billing.stripe.projection).
MOVEMENT_NOT_ENTERED = "balance_transaction.not_entered"
# Stripe's lists may show a new object late; what is read twice is recognised.
OVERLAP = timedelta(hours=1)
# Stripe's lists of events reach back so far. What happened before and was not read is to be found by reconciliation.
STRIPE_KEEPS = timedelta(days=30)
# A run reads so much of a list, a hundred to a request, and never stops within a second of Stripe's.
READ_AT_ONCE_MAX = 5000
STORED_AT_ONCE = 200

Listed = Callable[[dict[str, int]], Iterable[StripeDict]]


def fetch_missed_events(*, now: datetime) -> list[str]:
    """
    Store events of Stripe's lists (30 days back) that are not in the inbox; return their ids, oldest first.

    Raises StripeUnavailable; what was stored until then stays.
    """
    return _read(EVENTS, _listed_snapshots, _store, now=now)[::-1]


def fetch_missed_thin_events(*, now: datetime) -> list[str]:
    """The same of the events of API v2."""
    return _read(THIN_EVENTS, _listed_thin, _store, now=now)[::-1]


def fetch_missed_balance_transactions(*, now: datetime) -> int:
    """
    Enter every movement on our balance that no event led us to, and return how many: fees, adjustments, unknown kinds.

    One that cannot be entered stops no other: it goes into the inbox, which tries it again and sets it aside for a
    person. Raises StripeUnavailable.
    """
    return len(_read(MOVEMENTS, _listed_movements, _enter, now=now))


def _enter(listed: list[StripeDict], now: datetime) -> list[str]:
    """All of a part of the list at once. Where that goes wrong one by one, and what is to blame goes into the inbox."""
    movements = listed[::-1]
    try:
        return _entered(movements, now=now)
    except (StripeUnavailable, OperationalError, InterfaceError):
        raise
    except Exception:
        logger.warning("of %s movements not all can be entered together", len(movements), exc_info=True)
    entered: list[str] = []
    for movement in movements:
        try:
            entered += _entered([movement], now=now)
        except (StripeUnavailable, OperationalError, InterfaceError):
            raise
        except Exception:
            logger.warning("%s cannot be entered", movement["id"], exc_info=True)
            event = _event_of(movement)
            inbox.receive(event, body=json.dumps(event), source="poll", received_at=now)
    return entered


def _entered(movements: list[StripeDict], *, now: datetime) -> list[str]:
    with_sources = [readers.with_source(movement) for movement in movements]
    with transaction.atomic():
        return ["entered"] * record_balance_transactions(with_sources, now=now)


def _event_of(movement: StripeDict) -> StripeDict:
    """Stripe has no events of movements: this one is ours, and has the movement's id."""
    return {
        "id": movement["id"],
        "object": "event",
        "type": MOVEMENT_NOT_ENTERED,
        "created": movement["created"],
        "livemode": settings.STRIPE_LIVE_MODE,
        "data": {"object": movement},
    }


def _store(listed: list[StripeDict], now: datetime) -> list[str]:
    unknown = inbox.unknown_ids(event["id"] for event in listed)
    missed = [event for event in listed if event["id"] in unknown]
    for event in missed:
        inbox.receive(event, body=json.dumps(event), source="poll", received_at=now)
    return [event["id"] for event in missed]


def _read(
    name: str, listed: Listed, take: Callable[[list[StripeDict], datetime], list[str]], *, now: datetime
) -> list[str]:
    """Go on with a list, newest first, and give all that is read to `take`; return what that returned."""
    position, _ = PollPosition.objects.get_or_create(name=name)
    created: dict[str, int] = {}
    if position.read_until is not None:
        created["gte"] = second_of(position.read_until - OVERLAP)
    if position.unread_until is not None:
        # Times of API v2 have fractions: what is left of that second is below it, and is not to be passed over.
        created["lte"] = second_from(position.unread_until)
    found: list[str] = []
    read = 0
    for at, batch in _batches(listed(created)):
        found += take(batch, now)
        read += len(batch)
        if not _moved(position, _begun(position, at=_created_at(batch[0]), unread_until=at, now=now)):
            return found
        if read >= READ_AT_ONCE_MAX:
            return found
    _moved(position, _complete(position, now=now))
    return found


def _batches(listed: Iterable[StripeDict]) -> Iterator[tuple[datetime, list[StripeDict]]]:
    """Parts of a list that end with all objects of a second, and that second."""
    batch: list[StripeDict] = []
    for at, of_second in groupby(listed, key=_created_at):
        batch.extend(of_second)
        if len(batch) >= STORED_AT_ONCE:
            yield at, batch
            batch = []
    if batch:
        yield _created_at(batch[-1]), batch


def _created_at(thing: StripeDict) -> datetime:
    created = thing["created"]
    if isinstance(created, int):
        return datetime.fromtimestamp(created, tz=UTC)
    parsed = parse_datetime(created)  # of API v2
    if parsed is None:
        raise ValueError(f"created is {created!r}")
    return parsed


def _begun(
    position: PollPosition, *, at: datetime, unread_until: datetime, now: datetime
) -> dict[str, datetime | None]:
    """How the position changes by what was read of the list. Its first part also tells what was lost before it."""
    changes: dict[str, datetime | None] = {"unread_until": unread_until}
    if position.newest is None:
        changes |= {"newest": at, "begun_at": now} | _lost(position, at=at, now=now)
    return changes


def _lost(position: PollPosition, *, at: datetime, now: datetime) -> dict[str, datetime | None]:
    """From when to when Stripe's list was gone before it was read. Said once and kept: a second gap makes it longer."""
    is_gap = position.complete_at is not None and now - position.complete_at > STRIPE_KEEPS
    if not is_gap or position.read_until is None or position.read_until >= at:
        return {}
    lost_from = position.lost_from or position.read_until
    return {"lost_from": lost_from, "lost_until": max(now - STRIPE_KEEPS, lost_from + timedelta(seconds=1))}


def _complete(position: PollPosition, *, now: datetime) -> dict[str, datetime | None]:
    newest = [one for one in (position.read_until, position.newest) if one is not None]
    begun_at = position.begun_at or now
    return {
        "read_until": max(newest, default=None),
        "complete_at": max(begun_at, position.complete_at or begun_at),
        "newest": None,
        "unread_until": None,
        "begun_at": None,
    }


def _moved(position: PollPosition, changes: dict[str, datetime | None]) -> bool:
    """Write the position down, unless another run moved it meanwhile: then that one goes on and this one stops."""
    as_read = {"read_until": position.read_until, "unread_until": position.unread_until, "newest": position.newest}
    if not PollPosition.objects.filter(pk=position.pk, **as_read).update(**changes):
        return False
    for name, value in changes.items():
        setattr(position, name, value)
    return True


def _listed_snapshots(created: dict[str, int]) -> Iterable[StripeDict]:
    return gateway.listed_events(ENABLED_EVENTS, **_filter(created))


def _listed_movements(created: dict[str, int]) -> Iterable[StripeDict]:
    return gateway.listed("/v1/balance_transactions", **_filter(created))


def _filter(created: Mapping[str, int | str]) -> dict[str, Mapping[str, int | str]]:
    return {"created": created} if created else {}


def _listed_thin(created: dict[str, int]) -> Iterator[StripeDict]:
    """Lists of API v2 name the address of the next page, and write times as text."""
    bounds = {
        bound: datetime.fromtimestamp(second, tz=UTC).isoformat().replace("+00:00", "Z")
        for bound, second in created.items()
    }
    query = {"types": list(ENABLED_THIN_EVENTS), "limit": gateway.PAGE_SIZE_MAX, **_filter(bounds)}
    page = gateway.request("get", "/v2/core/events", query).data
    while True:
        yield from page["data"]
        if not page.get("next_page_url"):
            return
        page = gateway.request("get", page["next_page_url"]).data


def is_under_way(name: str = EVENTS) -> bool:
    """Whether the reading of a list has not come to its end, so that the next run should not wait."""
    return PollPosition.objects.filter(name=name, unread_until__isnull=False).exists()


def found_by_day(*, since: datetime) -> dict[date, int]:
    """How many events were found only by polling, by the day on which they were."""
    found = InboxEvent.objects.filter(source="poll", received_at__gte=since)
    days = found.annotate(day=TruncDate("received_at", tzinfo=UTC)).values_list("day").order_by("day")
    return dict(days.annotate(number=Count("pk")))
