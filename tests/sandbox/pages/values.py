"""A field of an object as people read it: money by its currency, moments, statuses, links."""

from typing import Any

from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.layout import Html, badge, code, html, joined, moment, money, unit_price
from tests.sandbox.pages.naming import link_to
from tests.sandbox.world import World

TEXT_LENGTH_MAX = 90
STATUSES = frozenset({"status", "payment_status", "state", "collection_method_status"})
MOMENTS = frozenset(
    {"created", "available_on", "arrival_date", "due_date", "period_start", "period_end", "trial_start", "trial_end"}
    | {"current_period_start", "current_period_end", "billing_cycle_anchor", "start_date", "next_payment_attempt"}
    | {"frozen_time", "redeem_by", "start", "end", "due_by", "effective_at", "date", "timestamp", "start_time"}
    | {"end_time", "cancel_at", "expires", "proration_date", "next_pending_invoice_item_invoice"}
)
MONEY = frozenset(
    {"balance", "total", "subtotal", "fee", "net", "starting_balance", "ending_balance", "unit_amount", "tax"}
    | {"subtotal_excluding_tax", "total_excluding_tax", "pre_payment_credit_notes_amount", "discount_amount"}
    | {"post_payment_credit_notes_amount", "shipping_amount", "application_fee_amount", "custom_amount"}
)
NOT_MONEY = frozenset({"amount_details", "amounts"})


def shown(world: World, thing: StripeObject, field: str) -> Html:
    """The value at a field, or at a path of fields joined by dots."""
    *parents, name = field.split(".")
    holder: Any = thing
    for parent in parents:
        holder = holder.get(parent) if isinstance(holder, dict) else None
    value = holder.get(name) if isinstance(holder, dict) else None
    currency = (holder.get("currency") if isinstance(holder, dict) else None) or thing.get("currency")
    return shown_value(world, name, value, currency)


def shown_value(world: World, name: str, value: Any, currency: str | None = None) -> Html:
    if value is None or value == "" or value == [] or value == {}:
        return Html('<span class="soft">–</span>')
    if isinstance(value, bool):
        return html("yes" if value else "no")
    if name in STATUSES:
        return badge(value)
    if isinstance(value, int):
        return _number(name, value, currency)
    if isinstance(value, str):
        return _text(world, name, value)
    if isinstance(value, list):
        return _list(world, name, value, currency)
    return _nested(world, name, value)


def is_money(name: str) -> bool:
    return name in MONEY or (name.startswith("amount") and name not in NOT_MONEY) or name.endswith("_amount")


def is_moment(name: str) -> bool:
    return name in MOMENTS or name.endswith("_at")


def _number(name: str, value: int, currency: str | None) -> Html:
    if is_moment(name):
        return moment(value)
    if is_money(name) and currency is not None:
        return html(money(value, currency))
    return html(value)


def _text(world: World, name: str, value: str) -> Html:
    if name != "id" and "_" in value and world.store.by_id(value) is not None:
        return link_to(world, value)
    short = value if len(value) <= TEXT_LENGTH_MAX else value[: TEXT_LENGTH_MAX - 1] + "…"
    if name == "currency":
        return html(value.upper())
    return code(short) if name == "id" or name.endswith("_secret") else html(short)


def _list(world: World, name: str, value: list[Any], currency: str | None) -> Html:
    if len(value) > 4 or any(isinstance(item, list) for item in value):
        return html(f"{len(value)} {name.replace('_', ' ')}")
    return joined((shown_value(world, name, item, currency) for item in value), ", ")


def _nested(world: World, name: str, value: dict[str, Any]) -> Html:
    if isinstance(value.get("id"), str):
        if value.get("object") == "price":
            return Html(f"{link_to(world, value['id'])} {html(unit_price(value))}")
        return link_to(world, value["id"])
    if value.get("object") == "list":
        return html(f"{len(value['data'])}{'+' if value.get('has_more') else ''}")
    said = {key: item for key, item in value.items() if item not in (None, "", [], {})}
    parts = [
        f'<span class="soft">{html(key.replace("_", " "))}</span> '
        f"{shown_value(world, key, item, value.get('currency'))}"
        for key, item in list(said.items())[:6]
    ]
    return Html(", ".join(parts)) if parts else Html('<span class="soft">–</span>')
