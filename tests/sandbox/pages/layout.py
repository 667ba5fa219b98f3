"""The pieces pages are made of. What came from outside is escaped when it enters one of them."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote, urlencode

from tests.sandbox.billing.money import plain_decimal
from tests.sandbox.core.clock import iso
from tests.sandbox.core.store import StripeObject

STYLE = (Path(__file__).parent / "style.css").read_bytes()
STYLE_PATH = "/style.css"
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%234f46e5'/%3E"
    "%3Cpath d='M4 10.5h8M4 8h8M4 5.5h5' stroke='white' stroke-width='1.5'/%3E%3C/svg%3E"
)
GOOD = frozenset(
    {"paid", "active", "succeeded", "delivered", "enabled", "complete", "completed", "available", "accepted"}
    | {"won", "ready", "valid", "trialing", "issued", "verified"}
)
BAD = frozenset(
    {"past_due", "unpaid", "failed", "uncollectible", "incomplete_expired", "dropped", "lost", "disputed"}
    | {"needs_response", "warning_needs_response", "internal_failure"}
)
WAITING = frozenset(
    {"draft", "open", "incomplete", "queued", "waiting", "requires_action", "requires_payment_method", "pending"}
    | {"requires_confirmation", "requires_capture", "processing", "under_review", "warning_under_review", "paused"}
    | {"in_transit", "advancing", "not_started", "held"}
)
# Stripe's tables of currencies by their minor units; every other one has two decimals. (ISK and UGX are written with
# two decimals at Stripe although they have none.)
WITHOUT_DECIMALS = frozenset(
    "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split()  # noqa: SIM905 (reads as the list it is)
)
THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})


class Html(str):
    """Text that is markup already. Everything else is escaped when it enters a page."""

    __slots__ = ()


def html(value: object) -> Html:
    return value if isinstance(value, Html) else Html(escape(str(value)))


def joined(parts: Iterable[object], between: str = "") -> Html:
    return Html(between.join(html(part) for part in parts))


def document(title: str, body: Html, *, body_class: str = "") -> str:
    """A whole page, also for the pages that a payer sees."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)} · Stripe sandbox</title><link rel="icon" href="{ICON}">'
        f'<link rel="stylesheet" href="{STYLE_PATH}"></head><body class="{escape(body_class)}">{body}</body></html>'
    )


def section(title: str, *content: Html, aside: Html | None = None) -> Html:
    """A box with a heading; `aside` stands right of the heading (a link to all of it, a count)."""
    beside = f'<div class="aside">{aside}</div>' if aside else ""
    return Html(f'<section><div class="head"><h2>{escape(title)}</h2>{beside}</div>{joined(content)}</section>')


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, nothing: str | Html = "None yet.", kind: str = ""
) -> Html:
    """A table; a column whose name starts with # holds amounts and is aligned right."""
    if not rows:
        return empty(nothing)
    kinds = [' class="amount"' if column.startswith("#") else "" for column in columns]
    head = "".join(f"<th{kind}>{escape(name.lstrip('#'))}</th>" for kind, name in zip(kinds, columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{html(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return scrolling(Html(f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'))


def scrolling(content: Html) -> Html:
    """A box that scrolls by itself when the screen is narrower; focusable, so that keys can scroll it."""
    return Html(f'<div class="scroll" tabindex="0" role="group" aria-label="scrolls sideways">{content}</div>')


def empty(text: str | Html) -> Html:
    return Html(f'<p class="empty">{html(text)}</p>')


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    return Html(
        "<dl>" + "".join(f"<div><dt>{escape(name)}</dt><dd>{html(value)}</dd></div>" for name, value in pairs) + "</dl>"
    )


def link(object_id: str | None, text: object = None) -> Html:
    """A link to the page of any object."""
    if not object_id:
        return Html("–")
    return anchor(object_path(object_id), text or object_id)


def object_path(object_id: str) -> str:
    return f"/objects/{quote(object_id, safe='')}"


def anchor(path: str, text: object, *, current: bool = False) -> Html:
    marker = ' aria-current="page"' if current else ""
    return Html(f'<a href="{escape(path)}"{marker}>{html(text)}</a>')


def address(path: str, query: Mapping[str, object]) -> str:
    """The path with the parts of the query that say something."""
    said = {name: value for name, value in query.items() if value not in ("", None)}
    return f"{path}?{urlencode(said)}" if said else path


def button(action: str, name: str, *, kind: str = "", **fields: object) -> Html:
    """A form of one button: what changes something is a POST."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(field)}" value="{escape(str(value))}">' for field, value in fields.items()
    )
    return Html(
        f'<form method="post" action="{escape(action)}">{hidden}<button class="{kind}">{escape(name)}</button></form>'
    )


def badge(status: object) -> Html:
    text = str(status)
    kind = "good" if text in GOOD else "bad" if text in BAD else "wait" if text in WAITING else ""
    return Html(f'<span class="badge {kind}">{escape(text)}</span>')


def status_code(status: int | None) -> Html:
    """An HTTP status; none where the connection was dropped."""
    if status is None:
        return Html('<span class="badge bad">no answer</span>')
    return Html(f'<span class="badge {"good" if status < 300 else "bad"}">{status}</span>')


def code(text: object) -> Html:
    return Html(f"<code>{html(text)}</code>")


def folded(title: str, content: Html) -> Html:
    return Html(f"<details><summary>{escape(title)}</summary>{content}</details>")


def money(amount: int | None, currency: str) -> str:
    """Minor units as people write them: `1,234.50 USD`, `500 JPY`, `1.250 KWD`."""
    if amount is None:
        return "–"
    decimals = 0 if currency in WITHOUT_DECIMALS else 3 if currency in THREE_DECIMALS else 2
    whole, part = divmod(abs(amount), 10**decimals)
    fraction = f".{part:0{decimals}d}" if decimals else ""
    return f"{'−' if amount < 0 else ''}{whole:,}{fraction} {currency.upper()}"


def unit_price(price: StripeObject) -> str:
    """The price of one unit: money, or minor units with their decimals, or how it is made up."""
    if price.get("unit_amount") is not None:
        return money(price["unit_amount"], price["currency"])
    if price.get("unit_amount_decimal") is not None:
        return f"{plain_decimal(price['unit_amount_decimal'])} {price['currency'].upper()} minor units"
    return f"{price.get('tiers_mode') or price.get('billing_scheme') or 'custom'} ({price['currency'].upper()})"


def moment(value: int | None) -> Html:
    """Date and time in UTC; seconds only where there are some."""
    if value is None:
        return Html("–")
    text = iso(value)
    return Html(f'<time datetime="{text}" title="{value}">{moment_text(value)}</time>')


def moment_text(value: int) -> str:
    return iso(value).replace("T", " ").replace("Z", "").removesuffix(":00")


def day(value: int | None) -> str:
    return iso(value)[:10] if value is not None else "–"
