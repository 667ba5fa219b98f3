"""
The mirror as a whole: made again from Stripe's lists, and compared with them.

Both go page by page and keep nothing in memory but a page. A rebuilding writes its position down after each page, so
that an interrupted one goes on where it stopped. What it reads newest first may grow meanwhile at the top: those are
objects with events, which the refresh follows.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction

from billing.stripe import gateway, mirror
from billing.stripe.errors import StripeUnavailable
from billing.stripe.gateway import StripeDict
from billing.stripe.inbox_models import MirrorRebuild
from billing.stripe.mirror import KINDS, Kind

logger = logging.getLogger(__name__)

# Kind, how many of it were read so far, whether that is all.
Progress = Callable[[str, int, bool], None]
FIELDS_NAMED_MAX = 5
# Copied by dj-stripe to the top of a customer, where its column is filled from.
ADDED_BY_DJ_STRIPE = frozenset({"default_payment_method"})


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuilding did: how many objects it read by kind, and those that dj-stripe could not take."""

    read: dict[str, int]
    refused: tuple[str, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """One object of which mirror and Stripe say different things."""

    kind: str
    object_id: str
    what: str


def begin_rebuild(*, actor: str, now: datetime) -> MirrorRebuild:
    """The rebuilding that was interrupted, or a new one. Of two that begin at once there is one."""
    unfinished = MirrorRebuild.objects.filter(finished_at=None)
    found = unfinished.first()
    if found is not None:
        return found
    try:
        with transaction.atomic():
            return MirrorRebuild.objects.create(started_at=now, started_by=actor)
    except IntegrityError:
        return unfinished.get()


def rebuild(
    started: MirrorRebuild, *, clock: Callable[[], datetime], go_on: Callable[[], bool], on_page: Progress
) -> Rebuilt:
    """Mirror every object of every kind that Stripe lists. Raises StripeUnavailable; said again it goes on."""
    mirror.ensure_account()
    refused: list[str] = []
    for name, kind in KINDS.items():
        at = started.positions.setdefault(name, {"after": "", "read": 0, "done": False})
        while not at["done"]:
            if not go_on():
                return Rebuilt(_read(started), tuple(refused), is_complete=False)
            refused += _mirror_page(kind, at)
            MirrorRebuild.objects.filter(pk=started.pk, finished_at=None).update(positions=started.positions)
            on_page(name, at["read"], at["done"])
    MirrorRebuild.objects.filter(pk=started.pk, finished_at=None).update(finished_at=clock())
    return Rebuilt(_read(started), tuple(refused), is_complete=True)


def _read(started: MirrorRebuild) -> dict[str, int]:
    return {name: at["read"] for name, at in started.positions.items()}


def _mirror_page(kind: Kind, at: dict[str, Any]) -> list[str]:
    """Fetch and save the next page; the ids that dj-stripe could not take. The position is changed in place."""
    refused = []
    with mirror.alone(waiting=True):
        page = _page(kind, after=at["after"])
        for thing in page["data"]:
            try:
                mirror.save(kind, gateway.client().deserialize(thing, api_mode="V1"))
            except StripeUnavailable:  # no turn for what dj-stripe asks itself: the page is read again
                raise
            except Exception:
                logger.warning("dj-stripe could not mirror %s", thing["id"], exc_info=True)
                refused.append(str(thing["id"]))
    at["read"] += len(page["data"])
    at["done"] = not page["has_more"] or not page["data"]
    if page["data"]:
        at["after"] = page["data"][-1]["id"]
    return refused


def _page(kind: Kind, *, after: str) -> StripeDict:
    query: dict[str, Any] = {"limit": gateway.PAGE_SIZE_MAX, **dict(kind.filters)}
    if after:
        query["starting_after"] = after
    return gateway.request("get", kind.path, query).data


def compare(*, go_on: Callable[[], bool], on_page: Progress) -> Iterator[Difference]:
    """Every object of which mirror and Stripe say different things, kind by kind. Raises StripeUnavailable."""
    for name, kind in KINDS.items():
        read, after, is_done = 0, "", False
        _forget_seen()
        while not is_done:
            if not go_on():
                return
            page = _page(kind, after=after)
            yield from _differences(name, kind, page["data"])
            read += len(page["data"])
            after = page["data"][-1]["id"] if page["data"] else after
            is_done = not page["has_more"] or not page["data"]
            on_page(name, read, is_done)
        yield from _unlisted(name, kind)


def _differences(name: str, kind: Kind, listed: list[StripeDict]) -> Iterator[Difference]:
    ids = [thing["id"] for thing in listed]
    held = dict(kind.model.objects.filter(id__in=ids).values_list("id", "stripe_data"))
    _note_seen(ids)
    for thing in listed:
        if thing["id"] not in held:
            yield Difference(name, thing["id"], "not in the mirror")
            continue
        fields = sorted(_differing(held[thing["id"]], thing))
        if fields:
            named = ", ".join(fields[:FIELDS_NAMED_MAX])
            more = f" and {len(fields) - FIELDS_NAMED_MAX} more" if len(fields) > FIELDS_NAMED_MAX else ""
            yield Difference(name, thing["id"], f"differs in {named}{more}")


def _differing(held: StripeDict, listed: StripeDict) -> set[str]:
    """The names of the fields that differ. Nothing and an empty list are the same: dj-stripe takes no null for one."""
    names = (held.keys() - ADDED_BY_DJ_STRIPE) | listed.keys()
    return {name for name in names if (held.get(name) or None) != (listed.get(name) or None)}


def _unlisted(name: str, kind: Kind) -> Iterator[Difference]:
    table = kind.model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM {connection.ops.quote_name(table)} AS held"
            " WHERE NOT EXISTS (SELECT FROM mirror_seen WHERE mirror_seen.id = held.id) ORDER BY id"
        )
        while rows := cursor.fetchmany(1000):
            yield from (Difference(name, object_id, "in the mirror only") for (object_id,) in rows)


def _forget_seen() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE IF NOT EXISTS mirror_seen (id text PRIMARY KEY)")
        cursor.execute("DELETE FROM mirror_seen")


def _note_seen(ids: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO mirror_seen SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", [ids])
