"""Random requests by the document: any operation that is answered, with any parameters that its schema allows.

A request is drawn from one number, so that a list of (operation, number) is a whole test. Names of objects are mostly
of objects that there are, and mostly of the kind that is asked for; numbers and texts are ordinary or extreme.
"""

import random
from collections.abc import Iterator
from typing import Any

from tests.sandbox.core.document import Operation
from tests.sandbox.core.schema import Schema
from tests.sandbox.world import World

Parameters = dict[str, Any]

DAY = 86_400
TEXTS = (
    "",
    "a",
    "Pro",
    "ÄÖ 漢字 🙂",
    "a@example.com",
    "0",
    "-1",
    "now",
    "null",
    "x" * 255,
    "x" * 5000,
    "\x00",
    'it\'s "x"',
)
URLS = ("https://example.com/x", "http://127.0.0.1:9/hook")
DECIMALS = ("0", "1", "0.5", "12.5", "-3", "1000000.0000001", "99999999999999999999", "1000")
SMALL = (0, 1, 1, 2, 3, 5, 10, 12, 100, 500, 1000, 2000, 5000)
EXTREME = (-1, -100, 99_999_999, 10**11 - 1, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**18, 10**30, -(2**63))
MOMENT_WORDS = ("_at", "start", "end", "date", "anchor", "created", "timestamp", "_by", "after", "before", "gt", "lt")
CURRENCIES = ("usd", "usd", "usd", "eur", "jpy", "USD", "xyz")
COUNTRIES = ("US", "DE", "XX")
SENTENCES = {
    "query": ("email:'a@example.com'", 'metadata["a"]:"b"', "created>1", "status:'active' AND -currency:'usd'", "x"),
    "payment_method": ("pm_card_visa", "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"),
    "default_payment_method": ("pm_card_visa",),
    "source": ("tok_visa", "btok_us_verified", "tok_chargeDeclined"),
    "default_source": ("tok_visa",),
    "time_zone": ("Europe/Berlin", "Mars/Crater"),
    "number": ("4242424242424242", "4000000000000002", "1"),
    "iban": ("DE89370400440532013000", "DE62370400440532013001"),
    "event_name": ("tokens", "nothing"),
    "stripe_customer_id": (),
}
# Words of a parameter's name that say which kind of object it names, other than the kind's own name.
KINDS = {
    "latest_invoice": "invoice",
    "pending_invoice_item": "invoiceitem",
    "invoice_item": "invoiceitem",
    "payment_method": "payment_method",
    "payment_intent": "payment_intent",
    "intent": "payment_intent",
    "schedule": "subscription_schedule",
    "from_subscription": "subscription",
    "subscription": "subscription",
    "tax_rate": "tax_rate",
    "tax_rates": "tax_rate",
    "coupon": "coupon",
    "promotion_code": "promotion_code",
    "promotion": "coupon",
    "price": "price",
    "plan": "plan",
    "product": "product",
    "products": "product",
    "applies_to": "product",
    "customer": "customer",
    "invoiceitem": "invoiceitem",
    "invoice": "invoice",
    "charge": "charge",
    "refund": "refund",
    "dispute": "dispute",
    "meter": "billing.meter",
    "credit_grant": "billing.credit_grant",
    "test_clock": "test_helpers.test_clock",
    "frozen_time": "",
    "session": "checkout.session",
    "configuration": "billing_portal.configuration",
    "quote": "quote",
    "from_quote": "quote",
    "payment_link": "payment_link",
    "feature": "entitlements.feature",
    "entitlement_feature": "entitlements.feature",
    "webhook_endpoint": "webhook_endpoint",
    "payout": "payout",
    "transaction": "customer_balance_transaction",
    "discount": "discount",
    "discounts": "discount",
    "line_item_id": "line",
    "invoice_line_item": "line",
    "credit_note": "credit_note",
    "topup": "topup",
    "token": "token",
    "mandate": "mandate",
    "early_fraud_warning": "radar.early_fraud_warning",
    "invoice_payment": "invoice_payment",
    "subscription_item": "item",
    "item": "item",
    "stripe_customer_id": "customer",
}
# What `{id}` in a path stands for, by the words before it.
NOUNS = {
    "products": "product",
    "credit_grants": "billing.credit_grant",
    "meters": "billing.meter",
    "credit_notes": "credit_note",
    "tax_ids": "tax_id",
    "sources": "card",
    "events": "event",
    "balance_transactions": "balance_transaction",
    "history": "balance_transaction",
    "credit_balance_transactions": "billing.credit_balance_transaction",
    "features": "entitlements.feature",
    "active_entitlements": "entitlements.active_entitlement",
    "setup_intents": "setup_intent",
}


class RequestMaker:
    """Draws requests about a world as it is."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._random = random.Random(number)
        # Some requests ask for much, some for the least there is, some keep to ordinary values.
        self._fullness = self._random.choice((0.0, 0.05, 0.1, 0.25, 0.6))
        self._wildness = self._random.choice((0.0, 0.0, 0.05, 0.3))

    def path(self, template: str) -> str:
        parts = template.split("/")
        return "/".join(self._path_value(parts, place) if "{" in part else part for place, part in enumerate(parts))

    def parameters(self, operation: Operation) -> Parameters:
        drawn: Parameters = self._object(operation.parameters, depth=0)
        if "expand" in drawn:
            drawn["expand"] = self._expansions(operation.answer)
        return drawn

    def more(self, operation: Operation, parameters: Parameters, missing: str) -> Parameters:
        """The parameters with one that was missed, which may be a part of one that is there."""
        name = missing.partition("[")[0]
        former = self._fullness
        self._fullness = max(former, 0.25)
        drawn = self._value(name, operation.parameters.properties[name], 0)
        self._fullness = former
        return {**parameters, name: drawn}

    def _path_value(self, parts: list[str], place: int) -> str:
        name = parts[place].strip("{}")
        noun = parts[place - 1]
        kind = NOUNS.get(noun) if name in ("id", "intent") else None
        return self._name_of(kind or _kind(name)).replace("/", "") or "x"

    def _object(self, schema: Schema, *, depth: int) -> Parameters:
        chosen: Parameters = {}
        for name, inner in sorted(schema.properties.items()):
            if name in schema.required or self._random.random() < self._fullness / (1 + depth / 2):
                chosen[name] = self._value(name, inner, depth)
        if schema.additional is not None and self._random.random() < 0.5:
            for name in self._random.sample(("a", "0", "stripe_customer_id", "value", "eur", "key with space"), 3):
                chosen[name] = self._value(name, schema.additional, depth)
        return chosen

    def _value(self, name: str, schema: Schema, depth: int) -> Any:
        pick = self._random
        if schema.type == "union":
            return self._value(name, pick.choice(schema.branches), depth)
        if schema.enum is not None:
            return pick.choice(sorted(schema.enum, key=str))
        match schema.type:
            case "object":
                return self._object(schema, depth=depth + 1)
            case "array":
                assert schema.items is not None
                length = pick.choice((0, 1, 1, 1, 2, 3))
                return [self._value(name, schema.items, depth) for _ in range(length)]
            case "boolean":
                return pick.random() < 0.5
            case "integer":
                return self._integer(name)
            case "number":
                return pick.choice((0, 1, 12.5, 100, -1, 33.333, 1e9) if self._wild() else (1, 10, 19, 12.5))
            case _:
                return self._text(name, schema)

    def _integer(self, name: str) -> int:
        pick = self._random
        if self._wild():
            return pick.choice(EXTREME)
        if any(word in name for word in MOMENT_WORDS):
            return self._world.now + pick.choice((-400, -31, -7, -1, 0, 1, 3, 7, 14, 30, 31, 60, 365, 400)) * DAY
        return pick.choice(SMALL)

    def _text(self, name: str, schema: Schema) -> str:
        pick = self._random
        if schema.decimal:
            return pick.choice(DECIMALS)
        if self._wild():
            texts = [text for text in TEXTS if schema.max_length is None or len(text) <= schema.max_length]
            return pick.choice(texts)
        if "currency" in name:
            return pick.choice(CURRENCIES)
        if name == "country":
            return pick.choice(COUNTRIES)
        if "url" in name:
            return pick.choice(URLS)
        if SENTENCES.get(name) and pick.random() < 0.5:
            return pick.choice(SENTENCES[name])
        kind = _kind(name)
        if kind or name in ("starting_after", "ending_before", "id", "ids"):
            found = self._name_of(kind)
            return found if schema.max_length is None else found[: schema.max_length]
        if name == "value":
            return pick.choice(("1", "5", "1000", "x", "-1"))
        text = pick.choice(("a", "Pro", "10", "a@example.com", "Ä 漢字", f"t{pick.randrange(10**6)}"))
        return text if schema.max_length is None else text[: schema.max_length]

    def _name_of(self, kind: str) -> str:
        """The id of an object that there is, mostly of `kind`."""
        pick = self._random
        names = list(self._names(kind))
        if not names or pick.random() < 0.04 + self._wildness / 3:
            kinds = [other for other, _ in self._world.store.counts() if other != "event"]
            names = [*self._names(pick.choice(kinds)), "nothing_1"]
        return pick.choice(names)

    def _names(self, kind: str) -> Iterator[str]:
        world = self._world
        if kind == "line":
            yield from (line["id"] for lines in world.lines.values() for line in lines)
        elif kind == "item":
            yield from world.subscription_items
        else:
            yield from (thing["id"] for thing in world.store.all(kind))

    def _expansions(self, schema: Schema) -> list[str]:
        """Names of fields of the answer, deeper and deeper, some of which cannot be expanded."""
        parts: list[str] = []
        for _ in range(self._random.choice((1, 1, 2, 3, 5))):
            while schema.type in ("union", "array"):
                inner = schema.items if schema.type == "array" else self._random.choice(schema.branches)
                schema = inner or Schema()
            if not schema.properties:
                break
            parts.append(self._random.choice(sorted(schema.properties)))
            schema = schema.properties[parts[-1]]
        return [".".join(parts) or self._random.choice(TEXTS)]

    def _wild(self) -> bool:
        return self._random.random() < self._wildness


def form_pairs(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Parameters as a form; a list that is empty is told by an empty text, as SDKs do."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from form_pairs(item, f"{name}[{key}]" if name else key)
    elif isinstance(value, list):
        if not value:
            yield name, ""
        for place, item in enumerate(value):
            yield from form_pairs(item, f"{name}[{place}]")
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    else:
        yield name, str(value)


def is_parameter(name: str, operation: Operation) -> bool:
    """Whether an error's `param` is a parameter of the operation, or of its path; `id` is what the path names."""
    head, *rest = name.replace("]", "").split("[")
    if not rest and (head == "id" or f"{{{head}}}" in operation.key):
        return True
    return _leads(operation.parameters, [head, *rest])


def _leads(schema: Schema, parts: list[str]) -> bool:
    if not parts:
        return True
    if schema.type == "union":
        return any(_leads(branch, parts) for branch in schema.branches)
    if schema.type == "array" and schema.items is not None:
        return (parts[0].isdigit() or parts[0] == "") and _leads(schema.items, parts[1:])
    inner = schema.properties.get(parts[0]) or schema.additional
    return inner is not None and _leads(inner, parts[1:])


def _kind(name: str) -> str:
    if name in KINDS:
        return KINDS[name]
    return next((kind for word, kind in KINDS.items() if name.endswith(word) or name.startswith(word)), "")
