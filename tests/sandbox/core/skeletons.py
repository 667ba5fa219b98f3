"""Objects that are valid by the document before any behaviour fills them: every required and every nullable field."""

from typing import Any

import msgspec

from tests.sandbox.core.document import Document
from tests.sandbox.core.schema import Schema
from tests.sandbox.core.store import StripeObject

JsonValue = Any  # JSON, whose recursive type Python 3.11 cannot spell without a forward reference everywhere

# Nullable or required in the document, yet sent by Stripe only when asked for with `expand`.
ONLY_WHEN_EXPANDED: dict[str, frozenset[str]] = {
    "invoice": frozenset({"amount_paid_off_stripe", "confirmation_secret", "payments"}),
    "charge": frozenset({"refunds"}),
    "line_item": frozenset({"subscription"}),  # recorded lines name it in their parent only
    "price": frozenset({"tiers", "currency_options"}),
}


class Skeletons:
    """Minimal valid objects by schema name."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._encoded: dict[str, bytes] = {}

    def new(self, schema_name: str, **fields: JsonValue | StripeObject) -> StripeObject:
        """A fresh object of the schema, with `fields` set."""
        if schema_name not in self._encoded:
            empty = _empty(self._document.schema(schema_name), ONLY_WHEN_EXPANDED.get(schema_name, frozenset()))
            self._encoded[schema_name] = msgspec.json.encode(empty)
        thing: StripeObject = msgspec.json.decode(self._encoded[schema_name])
        thing.update(fields)
        return thing


def _empty(schema: Schema, left_out: frozenset[str] = frozenset()) -> JsonValue:
    if schema.nullable:
        return None
    if schema.type == "union":
        texts = any(branch.type == "string" for branch in schema.branches)
        return "" if texts else _empty(schema.branches[0])
    if schema.enum is not None:
        return min(schema.enum) if schema.type == "string" else next(iter(schema.enum))
    if schema.type == "object":
        return {
            name: _empty(child)
            for name, child in schema.properties.items()
            if (name in schema.required or child.nullable) and name not in left_out
        }
    if schema.type == "string":
        return "0" if schema.decimal else ""
    empties: dict[str, JsonValue] = {"integer": 0, "number": 0, "boolean": False, "array": []}
    return empties.get(schema.type)
