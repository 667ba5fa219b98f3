"""The catalogue's terms in words that people read: on pages, in plans of a change, on the command line. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from billing.catalog.meaning import Pool, Price, Version, instant_text
from billing.money_text import exact_text, minor_text, quantity_text
from billing.rating.charges.kinds import ChargeModel

# Terms of charge models that are amounts of money; the rest are quantities, percentages and words.
MONEY_TERMS = frozenset(
    {
        "amount", "unit_price", "flat", "package_price", "price_per_block", "cost_price", "platform_fee",
        "fixed_per_event", "min_per_event", "max_per_event", "minimum", "maximum",
    }
)  # fmt: skip
_SHOWN_CELLS = 4
AT_PLAN_CHANGE = {
    "prorate": "each plan's part of the period",
    "restart": "begins anew",
    "keep": "the old one stays until the period ends",
}


def price_text(price: Price, currency: str) -> str:
    """A price in one line, such as "$5.00 per 1,000,000" or "Graduated tiers: up to 100 $2.00, then $1.00"."""
    return _price_text(price, currency, None)


def price_change_texts(was: Price | None, will_be: Price | None, currency: str) -> tuple[str, str]:
    """
    Two prices in one line each, with every cell in which they differ: nothing that changes is left away. Empty for what
    is not there.
    """
    texts = tuple(
        "" if price is None else _price_text(price, currency, [] if other is None else _cells(other))
        for price, other in ((was, will_be), (will_be, was))
    )
    if texts[0] == texts[1] and was is not None and will_be is not None and was != will_be:
        # They differ in what these words do not tell, such as the order of the cells.
        return f"{texts[0]} {was.terms}", f"{texts[1]} {will_be.terms}"
    return texts[0], texts[1]


def _cells(price: Price) -> list[Any]:
    return list(json.loads(price.terms).get("cells", ()))


def _price_text(price: Price, currency: str, known_cells: Sequence[Any] | None) -> str:
    if price.unit_price is not None and price.unit_size is not None:
        return f"{exact_text(price.unit_price, currency)} per {quantity_text(Decimal(price.unit_size))}"
    label = ChargeModel(price.charge_model).label
    terms = json.loads(price.terms)
    return f"{label}: {'; '.join(_terms_texts(terms, currency, known_cells))}" if terms else label


def _terms_texts(terms: Mapping[str, Any], currency: str, known_cells: Sequence[Any] | None = None) -> Iterator[str]:
    """The cells that are not known from elsewhere are told, all of them; the first ones where nothing is compared."""
    tiers = terms.get("tiers")
    if isinstance(tiers, list):
        yield ", ".join(f"{name.lower()} {text}" for name, text in tier_texts(tiers, currency))
    for name, value in terms.items():
        if name == "cells" and isinstance(value, list):
            told = value[:_SHOWN_CELLS] if known_cells is None else [cell for cell in value if cell not in known_cells]
            more = len(value) - len(told)
            rest = [f"{more} {'more' if known_cells is None else 'as before'}"] if more else []
            shown = ", ".join(f"{_values(cell)} {_cell_text(cell, currency)}" for cell in told)
            yield " and ".join(filter(None, [shown, *rest]))
        elif name not in ("tiers", "cells"):
            yield f"{name.replace('_', ' ')} {value_text(name, value, currency)}"


def tier_texts(tiers: Sequence[Mapping[str, Any]], currency: str) -> list[tuple[str, str]]:
    """Each tier's range and its price, by units or by blocks."""
    texts: list[tuple[str, str]] = []
    last: Any = None
    for tier in tiers:
        ends = tier.get("up_to")
        if "block_size" in tier:
            most = tier.get("max_blocks")
            name = f"Blocks of {tier['block_size']}" + (f", {most} at most" if most is not None else "")
        elif ends is None:
            name = "All" if last is None else f"Above {_number(last)}"
        else:
            name = f"Up to {_number(ends)}"
        prices = [
            f"{'' if term.startswith(('unit', 'price', 'rate')) else term.replace('_', ' ') + ' '}"
            f"{value_text(term, value, currency)}"
            for term, value in sorted(tier.items(), key=lambda item: item[0].startswith("flat"))
            if term not in ("up_to", "block_size", "max_blocks") and value is not None
        ]
        texts.append((name, " + ".join(prices)))
        last = ends
    return texts


def value_text(name: str, value: Any, currency: str) -> str:
    """One term of a charge model as people read it."""
    if isinstance(value, Mapping):
        return ", ".join(
            f"{inner.replace('_', ' ')} {value_text(inner, one, currency)}" for inner, one in value.items()
        )
    if isinstance(value, list):
        return ", ".join(value_text(name, one, currency) for one in value)
    if name in MONEY_TERMS and _is_number(value):
        return exact_text(Decimal(value), currency)
    if name.endswith("_percent"):
        return f"{value} %"
    return "none" if value is None else _number(value)


def amount_text(amount: Decimal) -> str:
    """An amount as a document writes it: every place it has, and no zeros after the last."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _values(cell: Mapping[str, Any]) -> str:
    return " ".join(str(value) for value in cell.get("dimensions", {}).values())


def _cell_text(cell: Mapping[str, Any], currency: str) -> str:
    terms = {name: value for name, value in cell.items() if name != "dimensions"}
    if set(terms) <= {"unit_price", "unit_size"} and "unit_price" in terms:
        size = terms.get("unit_size")
        return value_text("unit_price", terms["unit_price"], currency) + (f" per {_number(size)}" if size else "")
    return "; ".join(_terms_texts(terms, currency))


def _is_number(value: Any) -> bool:
    text = str(value)
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def _number(value: Any) -> str:
    return quantity_text(Decimal(value)) if _is_number(value) and len(str(value)) < 30 else str(value)


def fee_text(terms: Mapping[str, Any], currency: str) -> str:
    """The recurring fee, such as "$20.00 a month and seat"."""
    every = f"a {period_text(terms)} and seat"
    if not terms["fee_tiers"]:
        return f"{minor_text(terms['fee_minor'], currency)} {every}" if terms["fee_minor"] else "no fee"
    parts = [text for _, text in fee_tier_texts(terms["fee_tiers"], currency)]
    names = [name for name, _ in fee_tier_texts(terms["fee_tiers"], currency)]
    return f"{', '.join(f'{name} {text}' for name, text in zip(names, parts, strict=True))} {every}"


def fee_tier_texts(tiers: Sequence[Mapping[str, Any]], currency: str) -> list[tuple[str, str]]:
    """Each tier's seats and what each of them costs."""
    texts, first = [], 1
    for tier in tiers:
        ends, flat = tier["up_to"], tier.get("flat_minor", 0)
        name = f"seats {first:,} to {ends:,}" if ends is not None else f"seats from {first:,}"
        flat_text = f" + {minor_text(flat, currency)} a period" if flat else ""
        texts.append((name, f"{minor_text(tier['unit_minor'], currency)}{flat_text}"))
        first = (ends or 0) + 1
    return texts


def period_text(terms: Mapping[str, Any]) -> str:
    """How long a period is: "month", "3 months"."""
    count = terms["interval_count"]
    return str(terms["interval"]) if count == 1 else f"{count} {terms['interval']}s"


def pool_text(pool: Pool, currency: str) -> str:
    """An allowance in one line."""
    amount = exact_text(pool.amount, currency) if pool.measure == "money" else f"{quantity_text(pool.amount)} units"
    share = " a seat, shared" if pool.is_per_seat else ", shared"
    each = f" for each {pool.each_dimension}" if pool.each_dimension else share
    change = f"; at a change of plan: {AT_PLAN_CHANGE[pool.at_plan_change]}"
    return f"{amount}{each}, for {covers_text(pool.covers)}{change}"


def covers_text(covers: str) -> str:
    """What an allowance pays for; `covers` is JSON."""
    entries = json.loads(covers)
    return " and ".join(_cover_text(entry) for entry in entries) if entries else "all usage"


def _cover_text(entry: Mapping[str, Any]) -> str:
    dimensions = [f"{name} {' or '.join(values)}" for name, values in entry.get("dimensions", {}).items()]
    return " of ".join(filter(None, (entry.get("meter_code", ""), ", ".join(dimensions))))


def term_text(name: str, version: Version) -> str:
    """One of a version's terms by its name in the document."""
    value, currency = version.terms[name], version.currency
    if name in ("fee_minor", "fee_tiers"):
        return fee_text(version.terms, currency)
    if name == "late_absorb_up_to":
        return exact_text(value, currency)
    return "no limit" if value is None else str(value).replace("_", " ")


__all__ = [
    "amount_text",
    "covers_text",
    "fee_text",
    "fee_tier_texts",
    "instant_text",
    "period_text",
    "pool_text",
    "price_change_texts",
    "price_text",
    "term_text",
    "tier_texts",
    "value_text",
]
