"""Amounts, instants and links as the ledger's pages show them. Pure but for the addresses, which are Django's."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from ledger.causes import May, causes_of, everything

NOTHING = "–"
_MINUS = "\N{MINUS SIGN}"
_FIGURE_SPACE = "\N{FIGURE SPACE}"
# Written into a cause by the ledger itself, and shown where a page says when something happened.
_SHOWN_APART = "occurred_at"


def shown(amount: Decimal | None) -> str:
    """The amount with every digit that counts, two places at least: 1,234.50, −0.000123."""
    if amount is None:
        return ""
    whole, _, places = f"{amount.copy_abs():,.12f}".partition(".")
    return f"{_MINUS if amount < 0 else ''}{whole}.{places.rstrip('0').ljust(2, '0')}"


def places_of(amounts: Iterable[Decimal | None]) -> int:
    """How many decimal places the longest of the amounts is shown with."""
    return max((len(shown(amount).partition(".")[2]) for amount in amounts if amount is not None), default=2)


def aligned(amount: Decimal | None, places: int) -> str:
    """As `shown`, with blanks as wide as digits behind it: points stand below each other in a column of `places`."""
    text = shown(amount)
    return text and text + _FIGURE_SPACE * (places - len(text.partition(".")[2]))


def moment(at: datetime) -> str:
    """An instant in UTC, to the second; the microseconds where there are any."""
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}" + (f".{at.microsecond:06}" if at.microsecond else "")


def anchor(url: str | None, text: object) -> SafeString | str:
    return str(text) if url is None else format_html('<a class="bb-link" href="{}">{}</a>', url, text)


def account_url(account_id: int) -> str:
    return reverse("admin:ledger_account_change", args=[account_id])


def entry_url(entry_id: int) -> str:
    return reverse("admin:ledger_journalentry_change", args=[entry_id])


def entry_link(entry_id: int, *, may: May) -> SafeString | str:
    return anchor(entry_url(entry_id) if may("ledger.view_journalentry") else None, f"#{entry_id}")


def account_link(account_id: int, code: str, *, may: May) -> SafeString | str:
    return anchor(account_url(account_id) if may("ledger.view_account") else None, code)


def customer_link(customer_key: str, *, may: May = everything) -> SafeString | str:
    (customer,) = causes_of({"customer": customer_key}, may=may)
    return anchor(customer.url, customer.value)


def cause_text(cause: Mapping[str, str], *, may: May) -> SafeString | str:
    """What caused an entry, each with a link where there is a page that the reader may open."""
    named = {name: value for name, value in cause.items() if name != _SHOWN_APART}
    return format_html_join(
        ", ",
        "{} {}",
        ((found.name.replace("_", " "), anchor(found.url, found.value)) for found in causes_of(named, may=may)),
    )
