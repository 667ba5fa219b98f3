"""Whether an object at Stripe is as a request wanted it. Pure; for requests that were sent and never answered."""

from collections.abc import Collection
from typing import Any

# What a request says about how it is carried out; the object does not keep it.
_MANNERS = frozenset(
    {
        "billing_cycle_anchor",
        "expand",
        "off_session",
        "payment_behavior",
        "proration_behavior",
        "proration_date",
        "trial_from_plan",
    }
)
# Two names of one thing at Stripe: who sets one of them overwrites the other.
_SAME_FIELD = {"cancel_at_period_end": "cancel_at"}
# Set and taken away as a whole: its parts are no fields of their own.
_WHOLE_FIELDS = frozenset({"pause_collection"})
# Of an item of a subscription or a schedule: what names it, and what deletes it.
_DELETED = "deleted"


def fields_set(params: dict[str, Any], prefix: str = "") -> set[str]:
    """
    The fields a request sets, nested ones by their whole name ("metadata.team"); a list counts as one field, and so do
    a planned end however it is named, and a pause.
    """
    found: set[str] = set()
    for name, value in params.items():
        if not prefix and name in _MANNERS:
            continue
        whole = prefix + name
        if isinstance(value, dict) and value and whole not in _WHOLE_FIELDS:
            found |= fields_set(value, f"{whole}.")
        else:
            found.add(_SAME_FIELD.get(whole, whole))
    return found


def are_covered(fields: Collection[str], by: Collection[str]) -> bool:
    """Whether the others set each of these fields, themselves or all that they are part of ("metadata")."""
    return all(any(name == other or name.startswith(f"{other}.") for other in by) for name in fields)


def shows(thing: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """
    Whether the object shows everything that the request set.

    False as well where it cannot be told: a field that the object does not show, or another one than was sent.
    """
    return all(_shows_field(thing, name, value) for name, value in wanted.items() if name not in _MANNERS)


def _shows_field(thing: dict[str, Any], name: str, wanted: Any) -> bool:
    if name == "metadata":
        return _shows_metadata(thing.get("metadata") or {}, wanted)
    if name == "items" and isinstance(wanted, list):
        return _shows_items((thing.get("items") or {}).get("data") or [], wanted)
    if name not in thing:
        return wanted in ("", None) and name != _DELETED
    actual = thing[name]
    if wanted in ("", None):
        return actual in ("", None, [])
    if isinstance(wanted, dict):
        return isinstance(actual, dict) and all(_shows_field(actual, key, value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(actual, list) and len(actual) == len(wanted) and all(map(_is_same, actual, wanted))
    return _is_same(actual, wanted)


def _is_same(actual: Any, wanted: Any) -> bool:
    """A value, or an object where its id was sent."""
    if isinstance(actual, dict):
        return shows(actual, wanted) if isinstance(wanted, dict) else bool(actual.get("id") == wanted)
    if isinstance(actual, bool) or isinstance(wanted, bool):
        return actual is wanted
    return str(actual) == str(wanted)


def _shows_metadata(actual: dict[str, str], wanted: Any) -> bool:
    """An empty value takes a name away, an empty text takes all away."""
    if not isinstance(wanted, dict):
        return not actual
    return all(actual.get(name, "") == str(value if value is not None else "") for name, value in wanted.items())


def _shows_items(items: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> bool:
    """A changed item is as it was to be, a deleted one gone, and for each added one there is an item of its own."""
    by_id = {item["id"]: item for item in items}
    free = [item for item in items if item["id"] not in {one.get("id") for one in wanted}]
    for one in wanted:
        terms = {name: value for name, value in one.items() if name not in ("id", _DELETED)}
        if "id" in one:
            item = by_id.get(one["id"])
            if one.get(_DELETED):
                if item is not None:
                    return False
            elif item is None or not shows(item, terms):
                return False
            continue
        added = next((item for item in free if shows(item, terms)), None)
        if added is None:
            return False
        free.remove(added)
    return True
