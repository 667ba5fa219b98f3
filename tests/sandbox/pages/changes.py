"""What an event says has changed: the former value, and the one after it."""

import json
from typing import Any

from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.layout import Html, html, joined
from tests.sandbox.pages.values import shown_value
from tests.sandbox.world import World

SHOWN_MAX = 8
TEXT_LENGTH_MAX = 120


def change_list(world: World, event: StripeObject, *, shown: int = SHOWN_MAX) -> Html:
    """The changed fields of an event, former → now. Empty for an event that tells of none."""
    previous = event["data"].get("previous_attributes") or {}
    if not previous:
        return Html("")
    thing = event["data"]["object"]
    pairs = [pair for field, former in previous.items() for pair in _pairs(field, former, thing.get(field))]
    items = [
        Html(
            f'<li><span class="soft">{html(name)}</span> {_value(world, name, former, thing)} → '
            f"{_value(world, name, now, thing)}</li>"
        )
        for name, former, now in pairs[:shown]
    ]
    more = [Html(f"<li class='soft'>and {len(pairs) - shown} more</li>")] if len(pairs) > shown else []
    return Html(f'<ul class="changes">{joined([*items, *more])}</ul>')


def _pairs(field: str, former: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """Of a nested object only its changed keys, each as a pair of its own; of the items of a list as well."""
    if isinstance(former, dict) and isinstance(now, dict):
        return [
            pair
            for key in former
            if former[key] != now.get(key)
            for pair in _pairs(f"{field}.{key}", former[key], now.get(key))
        ]
    if _are_objects(former) and _are_objects(now) and len(former) == len(now):
        return [
            pair
            for place, (one, other) in enumerate(zip(former, now, strict=True))
            for pair in _pairs(f"{field}[{place}]", one, other)
        ]
    return [(field, former, now)]


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _value(world: World, name: str, value: Any, thing: StripeObject) -> Html:
    if isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False)
        return html(text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…")
    return shown_value(world, name.rpartition(".")[2], value, thing.get("currency"))
