"""`expand[]=data.customer`: replace identifiers by the objects they name, on a copy of the answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.schema import Schema
from tests.sandbox.core.store import StripeObject, copied

if TYPE_CHECKING:
    from tests.sandbox.world import World

DEPTH_MAX = 4  # Stripe's documented limit. Each `data` of a list is a level, too: stripe-java issue 2011

# Fields that are absent until asked for: (object, field) to a function that makes them.
Inclusion = Callable[["World", StripeObject], Any]
INCLUSIONS: dict[tuple[str, str], Inclusion] = {}


def includes(kind: str, field: str) -> Callable[[Inclusion], Inclusion]:
    """Register the maker of a field that `kind` carries only when it is expanded."""

    def register(maker: Inclusion) -> Inclusion:
        INCLUSIONS[kind, field] = maker
        return maker

    return register


def expanded(world: "World", answer: StripeObject, schema: Schema, paths: list[str]) -> StripeObject:
    """A copy of `answer` with every path expanded. Raises `StripeError` 400 for one that cannot be."""
    copy = copied(answer)
    for path in paths:
        parts = path.split(".")
        if len(parts) > DEPTH_MAX:
            raise StripeError(
                f"You cannot expand more than {DEPTH_MAX} levels of a property. Property: {path}",
                code="property_expansion_max_depth",
            )
        _expand(world, copy, schema, parts, path)
    return copy


def _expand(world: "World", node: StripeObject, schema: Schema, parts: list[str], path: str) -> None:
    field, rest = parts[0], parts[1:]
    kind = str(node.get("object", ""))
    child = _branch_with(schema, kind).properties.get(field)
    if child is None:
        raise StripeError(f"This property cannot be expanded ({path}).", param="expand")
    if (kind, field) in INCLUSIONS and field not in node:
        made = INCLUSIONS[kind, field](world, node)
        if made is not None or child.nullable:
            node[field] = copied(made) if made is not None else None
    value = node.get(field)
    if isinstance(value, str) and child.expands_to:
        found = world.store.by_id(value) or world.tombstones.get(value)
        if found is not None:
            node[field] = value = copied(found)
    elif isinstance(value, list) and child.items is not None and child.items.expands_to:
        node[field] = value = [_found_or_same(world, name) for name in value]
    elif not rest and (kind, field) not in INCLUSIONS and not child.expands_to:
        raise StripeError(f"This property cannot be expanded ({path}).", param="expand")
    if not rest:
        return
    items = value if isinstance(value, list) else [value]
    item_schema = child.items if isinstance(value, list) and child.items else child
    for item in items:
        if isinstance(item, dict):
            _expand(world, item, _item_schema(world, item, item_schema), rest, path)


def _found_or_same(world: "World", name: StripeObject | str) -> StripeObject | str:
    """The object named in a list of identifiers, a copy; what is expanded already stays."""
    if not isinstance(name, str):
        return name
    found = world.store.by_id(name) or world.tombstones.get(name)
    return name if found is None else copied(found)


def _item_schema(world: "World", item: StripeObject, schema: Schema) -> Schema:
    kind = item.get("object")
    # Former values in an event have a field `object`, too, which names no kind.
    named = world.document.object_schema(kind) if isinstance(kind, str) and kind != "list" else None
    return named or schema


def _branch_with(schema: Schema, kind: str) -> Schema:
    """The object schema inside a union; with several, the one whose `object` is `kind`."""
    if schema.type != "union":
        return schema
    objects = [branch for branch in schema.branches if branch.type == "object"]
    tagged = [branch for branch in objects if branch.tag == kind]
    return (tagged or objects or [schema])[0]
