"""The frame of a page and the small pieces its tables are made of. What came from outside is escaped here."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tests.sandbox.billing.money import plain_decimal
from tests.sandbox.core.clock import iso
from tests.sandbox.core.store import StripeObject

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
SECTIONS = (
    ("/", "Overview"),
    ("/customers", "Customers"),
    ("/subscriptions", "Subscriptions"),
    ("/invoices", "Invoices"),
    ("/events", "Events"),
    ("/faults", "Faults"),
)
MOVES = (("hour", "+1 hour"), ("day", "+1 day"), ("month", "To next month"))
GOOD = frozenset({"paid", "active", "succeeded", "delivered", "enabled"})
BAD = frozenset({"past_due", "unpaid", "failed", "uncollectible", "incomplete_expired", "dropped"})
WAITING = frozenset({"draft", "open", "incomplete", "queued", "waiting", "requires_action", "requires_payment_method"})
WITHOUT_DECIMALS = frozenset({"jpy", "krw", "vnd", "clp", "pyg", "xaf", "xof", "xpf"})


class Html(str):
    """Text that is markup already. Everything else is escaped when it enters a page."""

    __slots__ = ()


def html(value: object) -> Html:
    return value if isinstance(value, Html) else Html(escape(str(value)))


def joined(parts: Iterable[object]) -> Html:
    return Html("".join(html(part) for part in parts))


def frame(title: str, now: int, parts: Iterable[Html]) -> str:
    """A whole page: navigation, the clock with its buttons, and `parts`."""
    links = "".join(f'<a href="{path}">{name}</a>' for path, name in SECTIONS)
    buttons = "".join(f'<button name="move" value="{value}">{name}</button>' for value, name in MOVES)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · Stripe sandbox</title><style>{STYLE}</style></head><body>"
        f"<header><strong>Stripe sandbox</strong><nav>{links}</nav>"
        f'<span class="clock">{moment(now)}</span><form method="post" action="/clock">{buttons}</form></header>'
        f"<main>{joined(parts)}</main></body></html>"
    )


def section(title: str, *content: Html) -> Html:
    return Html(f"<section><h2>{escape(title)}</h2>{joined(content)}</section>")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, nothing: str = "None yet.") -> Html:
    """A table; a column whose name starts with # holds amounts and is aligned right."""
    if not rows:
        return Html(f'<p class="soft">{escape(nothing)}</p>')
    kinds = [' class="amount"' if column.startswith("#") else "" for column in columns]
    head = "".join(f"<th{kind}>{escape(name.lstrip('#'))}</th>" for kind, name in zip(kinds, columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{html(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return Html(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    return Html("<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{html(value)}</dd>" for name, value in pairs) + "</dl>")


def link(object_id: str | None, text: str | None = None) -> Html:
    """A link to the page of any object."""
    if not object_id:
        return Html("–")
    return Html(f'<a href="/objects/{escape(object_id)}">{escape(text or object_id)}</a>')


def badge(status: object) -> Html:
    text = str(status)
    kind = "good" if text in GOOD else "bad" if text in BAD else "wait" if text in WAITING else ""
    return Html(f'<span class="badge {kind}">{escape(text)}</span>')


def money(amount: int | None, currency: str) -> str:
    """Minor units as people write them: `1,234.50 USD`."""
    if amount is None:
        return "–"
    if currency in WITHOUT_DECIMALS:
        return f"{amount:,} {currency.upper()}"
    sign = "−" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100:,}.{abs(amount) % 100:02d} {currency.upper()}"


def unit_price(price: StripeObject) -> str:
    if price["unit_amount"] is not None:
        return money(price["unit_amount"], price["currency"])
    return f"{plain_decimal(price['unit_amount_decimal'])} {price['currency'].upper()} minor units"


def moment(value: int | None) -> str:
    return iso(value).replace("T", " ").replace("Z", " UTC") if value is not None else "–"


def source(thing: Any) -> Html:
    return Html(f"<pre>{escape(json.dumps(thing, indent=2, ensure_ascii=False))}</pre>")
