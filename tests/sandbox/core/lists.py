"""Stripe's lists: newest first, `limit`, the two cursors, and filters on `created`."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import Store, StripeObject

LIMIT_DEFAULT = 10
LIMIT_MAX = 100
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


def list_answer(data: Sequence[StripeObject], *, has_more: bool, url: str) -> StripeObject:
    return {"object": "list", "data": list(data), "has_more": has_more, "url": url}


def page_of(store: Store, things: Sequence[StripeObject], parameters: Parameters, *, url: str) -> StripeObject:
    """One page of `things` (given oldest first), newest first, after the filters `created` and the cursors."""
    limit = read_limit(parameters)
    if "created" in parameters:
        things = [thing for thing in things if in_range(created_of(thing), parameters["created"])]
    if "ending_before" in parameters:
        place = _cursor_place(store, parameters, "ending_before")
        newer = [thing for thing in things if store.place(thing["id"]) > place]
        return list_answer(newer[:limit][::-1], has_more=len(newer) > limit, url=url)
    if "starting_after" in parameters:
        place = _cursor_place(store, parameters, "starting_after")
        things = [thing for thing in things if store.place(thing["id"]) < place]
    newest = things[-limit:][::-1]
    return list_answer(newest, has_more=len(things) > limit, url=url)


def ordered_page(things: Sequence[StripeObject], parameters: Parameters, *, url: str) -> StripeObject:
    """One page of a list that keeps its own order (the lines of an invoice)."""
    limit = read_limit(parameters)
    places = {thing["id"]: place for place, thing in enumerate(things)}
    start, stop = 0, len(things)
    if "starting_after" in parameters:
        start = _known(places, parameters["starting_after"], "starting_after") + 1
    if "ending_before" in parameters:
        stop = _known(places, parameters["ending_before"], "ending_before")
        first = max(start, stop - limit)
        return list_answer(things[first:stop], has_more=first > start, url=url)
    return list_answer(things[start : start + limit], has_more=stop - start > limit, url=url)


def created_of(thing: StripeObject) -> int:
    """When a thing was made; an invoice item calls it its `date`."""
    moment: int = thing["created"] if "created" in thing else thing["date"]
    return moment


def in_range(value: int, wanted: int | dict[str, int]) -> bool:
    if isinstance(wanted, int):
        return value == wanted
    return all(COMPARISONS[name](value, bound) for name, bound in wanted.items())


def matching(things: Sequence[StripeObject], parameters: Parameters, *fields: str) -> list[StripeObject]:
    """Those whose `fields` equal the parameters of the same name, where given."""
    wanted: dict[str, Any] = {field: parameters[field] for field in fields if field in parameters}
    if not wanted:
        return list(things)
    return [thing for thing in things if all(thing.get(field) == value for field, value in wanted.items())]


def read_limit(parameters: Parameters) -> int:
    limit: int = parameters.get("limit", LIMIT_DEFAULT)
    if not 1 <= limit <= LIMIT_MAX:
        bound = f"less than or equal to {LIMIT_MAX}" if limit > LIMIT_MAX else "greater than or equal to 1"
        raise StripeError(f"This value must be {bound}.", code="parameter_invalid_integer", param="limit")
    return limit


def _cursor_place(store: Store, parameters: Parameters, name: str) -> int:
    cursor: str = parameters[name]
    try:
        return store.place(cursor)
    except KeyError:
        raise resource_missing("object", cursor, param=name, status=400) from None


def _known(places: dict[str, int], cursor: str, name: str) -> int:
    if cursor not in places:
        raise resource_missing("object", cursor, param=name, status=400)
    return places[cursor]
