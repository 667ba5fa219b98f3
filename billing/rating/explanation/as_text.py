"""
Explanations as plain text that a customer can be sent: no number of ours in it, every amount to its last place.

Columns are laid out with spaces, as mail shows them; no line of ours is wider than WIDTH unless a name is.
"""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from billing.money_text import exact_text, minor_text, quantity_text
from billing.rating.explanation.model import EventCost, Explanation, Payer, PriceExplained
from billing.rating.rating import EXACT

WIDTH = 78
_INDENT = 2
_HEADINGS = {
    "invoice_line": "How this line of your invoice comes about",
    "accrual": "What this computation of your usage changed",
    "accrual_line": "What this computation of your usage changed",
    "period": "How your usage of this period comes about",
}
_TO_PAY = "To pay"


def explanation_text(explained: Explanation) -> str:
    """The whole explanation."""
    lines = [_HEADINGS[explained.subject.kind], "=" * len(_HEADINGS[explained.subject.kind]), ""]
    lines += _facts(explained)
    for number, price in enumerate(explained.prices, start=1):
        lines += ["", *_price(price, number if len(explained.prices) > 1 else 0, explained.period.currency)]
    if not explained.prices:
        lines += ["", "No usage was counted."]
    if len(explained.prices) > 1:
        lines += ["", "In all", "-" * 6, *_payers(explained.total.rated, explained.payers, explained.period.currency)]
    lines += _charge(explained)
    return "\n".join(lines) + "\n"


def event_text(costs: Sequence[EventCost]) -> str:
    """What one event cost, meter by meter."""
    lines: list[str] = []
    # A meter that does not count the event is worth a word only where none counts it.
    counted = [cost for cost in costs if cost.standing != "excluded"]
    for cost in counted or costs:
        lines += [cost.meter_code.replace("_", " "), "-" * len(cost.meter_code), *_wrapped(cost.text)]
        if cost.period is not None and cost.parts:
            currency = cost.period.currency
            lines += [*_wrapped(cost.how), "", _row("Price of this event", exact_text(cost.amount, currency))]
            for part in cost.parts:
                lines += _step_rows(_payer_name(part.payer), _pays(part.payer, currency))
                lines += _wrapped(part.why, 2 * _INDENT)
        lines.append("")
    return "\n".join(lines)


def _facts(explained: Explanation) -> list[str]:
    period = explained.period
    seats = f", {period.seats} seats" if period.seats != 1 else ""
    terms = ", ".join([f"{period.terms}{seats}", *period.add_ons])
    rows = [
        ("Customer", period.customer_name),
        ("Period", f"{_instant(period.starts_at)} to {_instant(period.ends_at)} UTC"),
        ("Plan", terms),
    ]
    if explained.charged is not None:
        rows.append(("Invoice", explained.charged.invoice))
        rows.append(("Line", explained.charged.description))
    return [line for name, value in rows for line in _wrapped(f"{name:<10}{value}", 0, hang=10)]


def _price(explained: PriceExplained, number: int, currency: str) -> Iterator[str]:
    title = f"{number}. {explained.price.title}" if number else explained.price.title
    yield title
    yield "-" * len(title)
    yield from _how_much(explained)
    yield ""
    dated = f"Price ({explained.price.charge_label.lower()}, since {explained.price.effective_from:%d %b %Y}"
    until = explained.price.effective_until
    yield from _wrapped(f"{dated}{f' until {until:%d %b %Y}' if until else ''})")
    for step in explained.steps:
        yield from _step_rows(step.text, exact_text(step.amount, currency))
    if explained.before.rated or explained.before.quantity:
        yield _row("Together", exact_text(explained.after.rated, currency))
        yield _row("Accounted for before", exact_text(EXACT.minus(explained.before.rated), currency))
    yield from _payers(explained.change.rated, explained.payers, currency)


def _how_much(explained: PriceExplained) -> Iterator[str]:
    if not explained.price.meter_code:
        return
    usage, quantity = explained.usage, quantity_text(explained.after.quantity)
    text = f"Used: {quantity} {explained.price.meter_code.replace('_', ' ')}"
    if usage is not None and usage.quantity == explained.after.quantity and usage.first and usage.last:
        hours = f"{usage.windows:,} hour{'' if usage.windows == 1 else 's'}"
        text += f", in {usage.events:,} event{'' if usage.events == 1 else 's'} of {hours}"
        text += f", {_instant(usage.first)} to {_instant(usage.last)} UTC"
    if explained.before.quantity:
        text += f"; {quantity_text(explained.change.quantity)} of it since the last time"
    yield from _wrapped(text)


def _payers(rated: Decimal, payers: Sequence[Payer], currency: str) -> Iterator[str]:
    yield _row("Price of the usage", exact_text(rated, currency))
    for payer in payers:
        if payer.kind != "unbilled":
            yield from _step_rows(_payer_name(payer), _pays(payer, currency))
    unbilled = next((payer.amount for payer in payers if payer.kind == "unbilled"), Decimal(0))
    yield _row(_TO_PAY, exact_text(unbilled, currency))


def _payer_name(payer: Payer) -> str:
    if payer.kind == "unbilled":
        return _TO_PAY
    if payer.kind == "grant":
        return f"Paid by the credit “{payer.name}”"
    if payer.measure == "cap":
        return f"Beyond the agreed maximum (“{payer.name}”), not charged"
    units = f", {quantity_text(payer.quantity)} units" if payer.quantity else ""
    return f"Included in your plan (“{payer.name}”{units})"


def _pays(payer: Payer, currency: str) -> str:
    return exact_text(payer.amount if payer.kind == "unbilled" else EXACT.minus(payer.amount), currency)


def _charge(explained: Explanation) -> list[str]:
    charged, currency = explained.charged, explained.period.currency
    if charged is None or charged.kind != "usage":
        return []
    lines = ["", "On the invoice", "-" * 14]
    if charged.exact != explained.total.unbilled:
        settled = exact_text(EXACT.subtract(charged.exact, explained.total.unbilled), currency)
        lines.append(_row("Settled otherwise before", settled))
    lines.append(_row("Exact amount", exact_text(charged.exact, currency)))
    if charged.rounding:
        smallest = minor_text(charged.increment_minor, currency)
        lines.append(_row(f"Rounded once, to {smallest}", exact_text(charged.rounding, currency)))
    lines.append(_row("Charged, before discount and tax", minor_text(charged.minor, currency)))
    return lines


def _step_rows(text: str, amount: str) -> list[str]:
    """A step may be long: its amount stands at the end of its last line."""
    wrapped = textwrap.wrap(text, WIDTH - _INDENT - len(amount) - 2) or [""]
    return [" " * _INDENT + line for line in wrapped[:-1]] + [_row(wrapped[-1], amount)]


def _row(name: str, amount: str) -> str:
    return f"{' ' * _INDENT}{name:<{WIDTH - _INDENT - len(amount) - 1}} {amount}"


def _wrapped(text: str, indent: int = _INDENT, *, hang: int = 0) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang),
        break_long_words=False,
    )


def _instant(at: datetime) -> str:
    return f"{at:%d %b %Y %H:%M}"
