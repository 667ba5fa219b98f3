"""The list of a kind: search, filters by the values there are, and one page of rows, whatever the number of objects."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tests.sandbox.billing.invoices.invoicing import subscription_of
from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.kinds import Kind, kind_of, singular
from tests.sandbox.pages.layout import Html, address, anchor, empty, html, joined, link, section, table, unit_price
from tests.sandbox.pages.naming import name_of
from tests.sandbox.pages.values import is_money, shown
from tests.sandbox.world import World

ROWS_SHOWN = 50
SEARCHED = ("id", "name", "email", "number", "description", "nickname", "code", "customer_name", "customer_email")
Cell = Callable[[World, StripeObject], Html]


def list_page(world: World, kind: Kind, query: dict[str, str], *, nothing: Html) -> list[Html]:
    """The objects that match `query` (q, page, and the kind's filters), newest first."""
    things = world.store.all(kind.name)
    if not things:
        return [section(kind.title, empty(nothing))]
    filters = {name: query[name] for name in kind.filters if query.get(name)}
    found = [thing for thing in reversed(things) if _passes(thing, filters)]
    if words := query.get("q", "").strip().lower():
        found = [thing for thing in found if matches(world, thing, words)]
    place = page_number(query, len(found))
    rows = found[(place - 1) * ROWS_SHOWN : place * ROWS_SHOWN]
    content = object_table(world, kind, rows, nothing=Html(f"Nothing like that. {anchor(kind.path, 'Show all')}"))
    return [
        filter_form(kind.path, query, {name: _values(things, name) for name in kind.filters}),
        section(count_text(len(found), len(things)), content, pager(kind.path, query, len(found))),
    ]


def object_table(
    world: World, kind: Kind, things: Sequence[StripeObject], *, nothing: str | Html = "None.", without: str = ""
) -> Html:
    """A table with the kind's columns; `without` leaves out the one that is the same for all."""
    columns = [column for column in kind.columns if column != without]
    heads = [("#" if is_amount(column) else "") + _head(column, kind) for column in columns]
    rows = [[cell(world, thing, column) for column in columns] for thing in things]
    return table(heads, rows, nothing=nothing)


def cell(world: World, thing: StripeObject, column: str) -> Html:
    maker = CELLS.get((thing["object"], column)) or CELLS.get(("", column))
    return maker(world, thing) if maker else shown(world, thing, column)


def related_table(world: World, kind_name: str, things: Sequence[StripeObject], *, without: str = "") -> Html:
    """The newest of some objects of one kind."""
    newest = list(reversed(things[-ROWS_SHOWN:]))
    more = len(things) - len(newest)
    content = object_table(world, kind_of(kind_name), newest, without=without)
    return Html(f"{content}<p class='soft'>and {more} earlier ones</p>") if more > 0 else content


def matches(world: World, thing: StripeObject, words: str) -> bool:
    """Whether one of the searched fields, or its customer's name or address, holds `words` (in lower case)."""
    if any(words in value.lower() for field in SEARCHED if isinstance(value := thing.get(field), str)):
        return True
    owner = world.store.find("customer", thing["customer"]) if isinstance(thing.get("customer"), str) else None
    return owner is not None and matches(world, owner, words)


def page_number(query: dict[str, str], count: int) -> int:
    wanted = query.get("page", "1")
    last = max(1, -(-count // ROWS_SHOWN))
    return min(max(1, int(wanted)), last) if wanted.isdecimal() and len(wanted) < 9 else 1


def pager(path: str, query: dict[str, str], count: int) -> Html:
    """Links to the page before and the one after; nothing when there is one only."""
    place, last = page_number(query, count), max(1, -(-count // ROWS_SHOWN))
    if last == 1:
        return Html("")
    before = anchor(address(path, {**query, "page": place - 1}), "← Newer") if place > 1 else ""
    after = anchor(address(path, {**query, "page": place + 1}), "Older →") if place < last else ""
    return Html(f'<p class="pager">{before}<span class="soft">page {place} of {last}</span>{after}</p>')


def filter_form(
    path: str, query: dict[str, str], filters: dict[str, Counter[str]], *, hint: str = "Id, name, e-mail"
) -> Html:
    """Search and one choice per filter, each with how many there are. A GET: the address says what is shown."""
    selects = "".join(_select(name, values, query.get(name, "")) for name, values in filters.items() if len(values) > 1)
    text = html(query.get("q", ""))
    field = f'<input name="q" type="search" value="{text}" placeholder="{html(hint)}" aria-label="Search">'
    clear = anchor(path, "Clear") if any(query.get(name) for name in ("q", *filters)) else ""
    return Html(f'<form class="filters" action="{path}">{field}{selects}<button>Show</button>{clear}</form>')


def count_text(found: int, of: int) -> str:
    return f"{found:,}" if found == of else f"{found:,} of {of:,}"


def is_amount(column: str) -> bool:
    name = column.rpartition(".")[2]
    return is_money(name) or name in ("unit", "times_redeemed", "percentage", "percent_off")


def _select(name: str, values: Counter[str], chosen: str) -> str:
    options = "".join(
        f'<option value="{html(value)}"{" selected" if value == chosen else ""}>'
        f"{html(value.replace('_', ' '))} ({count:,})</option>"
        for value, count in sorted(values.items())
    )
    title = _head(name)
    return f'<label>{title} <select name="{html(name)}"><option value="">any</option>{options}</select></label>'


def _values(things: Sequence[StripeObject], name: str) -> Counter[str]:
    return Counter(_text(thing.get(name)) for thing in things if thing.get(name) is not None)


def _passes(thing: StripeObject, filters: dict[str, str]) -> bool:
    return all(_text(thing.get(name)) == value for name, value in filters.items())


def _text(value: Any) -> str:
    return "yes" if value is True else "no" if value is False else str(value)


HEADS = {
    "invoice_settings.default_payment_method": "Card",
    "last_payment_error.code": "Error",
    "failure_message": "Error",
    "items": "Items",
    "period_end": "Period ends",
    "amount_remaining": "Remaining",
    "next_payment_attempt": "Next attempt",
    "billing_reason": "Reason",
    "default_payment_method": "Card",
    "payment_method": "Card",
    "evidence_details.due_by": "Evidence due",
    "recurring.interval": "Every",
    "recurring.usage_type": "Usage",
    "default_aggregation.formula": "Formula",
    "payment.payment_intent": "Payment",
    "unit": "Per unit",
}


def _head(column: str, kind: Kind | None = None) -> str:
    if kind is not None and column == kind.columns[0]:
        return singular(kind.name).capitalize()
    return HEADS.get(column) or column.rpartition(".")[2].replace("_", " ").capitalize()


def _items(world: World, thing: StripeObject) -> Html:
    items = thing["items"]["data"]
    parts = [
        Html(f"{html(item.get('quantity') or 'usage')} × {link(item['price']['id'], unit_price(item['price']))}")
        for item in items[:3]
    ]
    return joined([*parts, *([f"and {len(items) - 3} more"] if len(items) > 3 else [])], ", ")


def _period_end(world: World, thing: StripeObject) -> Html:
    items = thing["items"]["data"]
    return shown(world, items[0], "current_period_end") if items else html("–")


CELLS: dict[tuple[str, str], Cell] = {
    ("", "name"): lambda world, thing: link(thing["id"], name_of(thing)),
    ("", "id"): lambda world, thing: link(thing["id"]),
    ("subscription", "items"): _items,
    ("subscription", "period_end"): _period_end,
    ("price", "unit"): lambda world, thing: html(unit_price(thing)),
    ("webhook_endpoint", "url"): lambda world, thing: link(thing["id"], thing["url"]),
    ("promotion_code", "code"): lambda world, thing: link(thing["id"], thing["code"]),
    ("invoice", "subscription"): lambda world, thing: link(subscription_of(thing)),
}
