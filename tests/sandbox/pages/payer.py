"""The pages that a payer sees: their frame, the choice of a test card or account, and the sums of what is bought."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from tests.sandbox.billing.payments.attaching import find_payment_method
from tests.sandbox.billing.payments.methods_by_request import new_payment_method
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.layout import Html, html, joined
from tests.sandbox.world import World

STYLE = (Path(__file__).parent / "payer.css").read_bytes()
STYLE_PATH = "/pay/style.css"
SELLER = "Boring Billing sandbox"
TYPED = "typed"
ADDRESS = (
    ("line1", "Street and number"),
    ("postal_code", "Postal code"),
    ("city", "City"),
    ("country", "Country (two letters)"),
)
Form = dict[str, str]


class Way(NamedTuple):
    """A test card or account to pay with: what is sent, what the person reads."""

    number: str
    does: str


CARDS = (
    Way("4242 4242 4242 4242", "Visa: pays"),
    Way("5555 5555 5555 4444", "Mastercard: pays"),
    Way("4000 0000 0000 0002", "Declined"),
    Way("4000 0000 0000 9995", "Declined for insufficient funds"),
    Way("4000 0000 0000 0341", "Can be kept, and is declined when it is charged"),
    Way("4000 0025 0000 3155", "Asks to authenticate once (3-D Secure)"),
    Way("4000 0027 6000 3184", "Asks to authenticate every time (3-D Secure)"),
)
ACCOUNTS = (
    Way("AT61 1904 3002 3457 3201", "SEPA debit: pays"),
    Way("AT86 1904 3002 3547 3202", "SEPA debit: fails"),
)


def payer_document(
    title: str, parts: Iterable[Html], *, wide: bool = False, back: tuple[str, str] | None = None
) -> str:
    """A whole page. `back` is an address and what the link to it says."""
    link = f'<a class="back" href="{escape(back[0])}">{escape(back[1])}</a>' if back else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)} · {SELLER}</title><link rel="stylesheet" href="{STYLE_PATH}"></head>'
        f'<body class="{"two" if wide else "narrow"}">'
        f'<div class="top"><strong>{SELLER}</strong><span class="mark wait">Test mode</span>{link}</div>'
        f"<main>{joined(parts)}</main>"
        "<footer>Nothing here moves money. The cards are Stripe's test cards.</footer></body></html>"
    )


def card(*content: Html) -> Html:
    return Html(f'<section class="card">{joined(content)}</section>')


def heading(text: str, *, level: int = 2) -> Html:
    return Html(f"<h{level}>{escape(text)}</h{level}>")


def said(text: str, kind: str = "soft") -> Html:
    return Html(f'<p class="{kind}">{escape(text)}</p>')


def notice(text: str | None, *, good: bool = False) -> Html:
    """What came of the last button, read out by screen readers."""
    if not text:
        return Html("")
    return Html(f'<p class="notice {"good" if good else "bad"}" role="alert">{escape(text)}</p>')


def mark(text: str, kind: str = "") -> Html:
    return Html(f'<span class="mark {kind}">{escape(text.replace("_", " "))}</span>')


def sum_lines(rows: Sequence[tuple[object, object, str]]) -> Html:
    """Rows of what, how much, and the class of the row."""
    items = "".join(
        f'<li class="{kind}"><span>{html(what)}</span><span class="value">{html(value)}</span></li>'
        for what, value, kind in rows
    )
    return Html(f'<ul class="lines">{items}</ul>')


def pairs(rows: Iterable[tuple[str, object]]) -> Html:
    return Html(
        '<dl class="pairs">'
        + "".join(f"<dt>{escape(name)}</dt><dd>{html(value)}</dd>" for name, value in rows)
        + "</dl>"
    )


def field(name: str, label: str, value: str = "", *, kind: str = "text", fixed: bool = False, **more: object) -> Html:
    marks = "".join(f' {attribute}="{escape(str(content))}"' for attribute, content in more.items())
    required = "" if fixed else " required"
    return Html(
        f'<label class="field"><span>{escape(label)}</span><input type="{kind}" name="{name}" value="{escape(value)}"'
        f"{' readonly' if fixed else required}{marks}></label>"
    )


def method_choice(world: World, types: Sequence[str], customer: str | None, chosen: str = "") -> Html:
    """Radio buttons: the cards that the customer has, test cards, any other number, and test accounts."""
    ways: list[tuple[str, str, str]] = []
    if customer:
        for saved in world.store.where("payment_method", "customer", customer):
            if saved["type"] == "card" and "card" in types:
                shown = saved["card"]
                ways.append((saved["id"], f"{shown['brand'].capitalize()} •••• {shown['last4']}", "The card on file"))
    if "card" in types:
        ways += [(way.number, way.number, way.does) for way in CARDS]
    if "sepa_debit" in types:
        ways += [(way.number, way.number, way.does) for way in ACCOUNTS]
    chosen = chosen or ways[0][0]
    rows = [
        f'<label><input type="radio" name="method" value="{escape(value)}"{" checked" if value == chosen else ""}>'
        f'<span class="number">{escape(text)}</span><span class="does">{escape(does)}</span></label>'
        for value, text, does in ways
    ]
    rows.append(
        f'<label><input type="radio" name="method" value="{TYPED}"{" checked" if chosen == TYPED else ""}>'
        '<span class="number">Another test number</span>'
        f'<input class="typed" name="{TYPED}" autocomplete="off" aria-label="Another test number"></label>'
    )
    return Html(f'<fieldset><legend>Payment method</legend><div class="choices">{"".join(rows)}</div></fieldset>')


def read_method(world: World, form: Form) -> StripeObject:
    """The payment method that a form names, made if it is a number. Raises `StripeError` as Stripe's page would."""
    number = form.get("method", "")
    if number == TYPED:
        number = form.get(TYPED, "").strip()
    if number.startswith("pm_"):
        return find_payment_method(world, number)
    details: Parameters = {name: form[name] for name in ("email", "name", "phone") if form.get(name)}
    address = {name: form[name] for name, _ in ADDRESS if form.get(name)}
    if address:
        details["address"] = address
    parameters: Parameters = {"billing_details": details, "type": "card", "card": {"number": number.replace(" ", "")}}
    if number[:2].isalpha():
        parameters = {
            "billing_details": details,
            "type": "sepa_debit",
            "sepa_debit": {"iban": number.replace(" ", "")},
        }
    if not number:
        raise StripeError("Your card number is incomplete.", status=402, kind="card_error", code="incomplete_number")
    return new_payment_method(world, parameters)
