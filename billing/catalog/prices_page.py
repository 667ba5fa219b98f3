"""
What a rate card's prices look like to people: a table of models by meters, other prices with their tiers, what is
charged for a period, and when prices change.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.catalog.fingerprint import card_chain
from billing.catalog.meaning import Price, RateKey
from billing.catalog.models import Rate, RateCard
from billing.catalog.stored import price_of, rate_key
from billing.catalog.words import price_change_texts, tier_texts, value_text
from billing.money_text import exact_text, quantity_text
from billing.rating.charges.kinds import ChargeModel

Subject = tuple[str, tuple[tuple[str, str | None], ...], str]


@dataclass(frozen=True, slots=True)
class Shown:
    """One price with where it was agreed and since when."""

    key: RateKey
    price: Price
    card: RateCard
    rate_id: int

    @property
    def subject(self) -> Subject:
        return (self.key.meter_code, self.key.dimensions, self.key.charge)

    @property
    def name(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value in self.key.dimensions)
        return values or ("any usage" if self.key.meter_code else ChargeModel(self.key.charge).label)


@dataclass(frozen=True, slots=True)
class Cell:
    """A price in the table; empty where nothing is priced."""

    text: str
    rate_id: int | None
    is_agreed: bool


@dataclass(frozen=True, slots=True)
class Grid:
    """Prices of so many units: one row a value of the dimension, one column a meter."""

    dimension: str
    unit_size: int
    meters: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True, slots=True)
class Other:
    """A price that has no place in a table: its terms, and its tiers or cells as rows."""

    name: str
    meter_code: str
    model: str
    terms: tuple[tuple[str, str], ...]
    tiers: tuple[tuple[str, str], ...]
    card: RateCard
    rate_id: int


@dataclass(frozen=True, slots=True)
class Step:
    """A price that changes: at this instant, from this to that."""

    at: datetime
    what: str
    was: str
    will_be: str
    is_ahead: bool


def price_sections(card: RateCard, *, now: datetime) -> Mapping[str, Any]:
    """What the pages of cards and versions show of prices, as they are at `now` and as they will be."""
    shown = list(_shown(card))
    in_force = _in_force(shown, now)
    grids, rest = _grids(in_force, card)
    return {
        "card": card,
        "grids": grids,
        "others": [_other(one) for one in rest if one.key.meter_code],
        "charges": [
            (one.name, value_text("amount", json.loads(one.price.terms)["amount"], card.currency), one)
            for one in rest
            if not one.key.meter_code
        ],
        "steps": sorted(_steps(shown, card.currency, now), key=lambda step: step.at, reverse=True),
        "has_prices": bool(shown),
        "has_base": card.base_id is not None,
    }


def _shown(card: RateCard) -> Iterator[Shown]:
    """Every price of the card and of those it stands on, the card's own first."""
    chain = card_chain(card.pk)
    cards = RateCard.objects.in_bulk(chain)
    rates: dict[int, list[Rate]] = {}
    for rate in Rate.objects.filter(rate_card_id__in=chain).order_by("pk"):
        rates.setdefault(rate.rate_card_id, []).append(rate)
    for card_id in chain:
        for rate in rates.get(card_id, []):
            yield Shown(rate_key(rate), price_of(rate), cards[card_id], rate.pk)


def _in_force(shown: Iterable[Shown], now: datetime) -> list[Shown]:
    """
    Of each subject the price that applies: the first card's that has one by now, and of that card's the latest. What
    an earlier card prices already, with the same or fewer dimensions, no usage pays.
    """
    found: dict[Subject, Shown] = {}
    for one in shown:
        known = found.get(one.subject)
        is_later = known is not None and known.card == one.card and known.key.effective_from < one.key.effective_from
        if one.key.effective_from <= now and (known is None or is_later):
            found[one.subject] = one
    in_force = list(found.values())
    return [
        one
        for place, one in enumerate(in_force)
        if not one.key.meter_code
        or not any(
            earlier.key.meter_code == one.key.meter_code and set(earlier.key.dimensions) <= set(one.key.dimensions)
            for earlier in in_force[:place]
            if earlier.card != one.card
        )
    ]


def _grids(in_force: Sequence[Shown], card: RateCard) -> tuple[list[Grid], list[Shown]]:
    """Prices of one unit size by one dimension, as tables; and what is left."""
    tables: dict[tuple[str, int], list[Shown]] = {}
    rest = []
    for one in in_force:
        if one.price.unit_size is not None and len(one.key.dimensions) == 1:
            tables.setdefault((one.key.dimensions[0][0], one.price.unit_size), []).append(one)
        else:
            rest.append(one)
    return [_grid(name, size, prices, card) for (name, size), prices in tables.items()], rest


def _grid(dimension: str, unit_size: int, prices: Sequence[Shown], card: RateCard) -> Grid:
    meters = tuple(dict.fromkeys(one.key.meter_code for one in prices))
    by_place = {(one.key.dimensions[0][1], one.key.meter_code): one for one in prices}
    values = sorted({value for value, _ in by_place}, key=lambda value: (value is None, value or ""))

    def cell(value: str | None, meter: str) -> Cell:
        one = by_place.get((value, meter))
        if one is None or one.price.unit_price is None:
            return Cell("", None, is_agreed=False)
        text = exact_text(one.price.unit_price, card.currency)
        return Cell(text, one.rate_id, is_agreed=card.base_id is not None and one.card == card)

    rows = tuple((_value_text(value), tuple(cell(value, meter) for meter in meters)) for value in values)
    return Grid(dimension, unit_size, meters, rows)


def _value_text(value: str | None) -> str:
    """A dimension's value; usage may have none, or one that is empty."""
    if value is None:
        return "(no value)"
    return value or "(empty)"


def _other(one: Shown) -> Other:
    currency = one.card.currency
    terms = json.loads(one.price.terms)
    rows = tier_texts(terms["tiers"], currency) if isinstance(terms.get("tiers"), list) else []
    if one.price.unit_price is not None and one.price.unit_size is not None:
        rows = [(f"Each {quantity_text(Decimal(one.price.unit_size))}", exact_text(one.price.unit_price, currency))]
    rows += _cells(terms.get("cells"), currency)
    return Other(
        name=one.name,
        meter_code=one.key.meter_code,
        model=ChargeModel(one.price.charge_model).label,
        terms=tuple(
            (name.replace("_", " "), value_text(name, value, currency))
            for name, value in terms.items()
            if name not in ("tiers", "cells")
        ),
        tiers=tuple(rows),
        card=one.card,
        rate_id=one.rate_id,
    )


def _cells(cells: Any, currency: str) -> list[tuple[str, str]]:
    if not isinstance(cells, list):
        return []
    return [
        (
            ", ".join(f"{name} {value}" for name, value in cell.get("dimensions", {}).items()) or "any usage",
            "; ".join(
                f"{name.replace('_', ' ')} {value_text(name, value, currency)}"
                for name, value in cell.items()
                if name != "dimensions"
            ),
        )
        for cell in cells
    ]


def _steps(shown: Iterable[Shown], currency: str, now: datetime) -> Iterator[Step]:
    """Every change of a price after its first, and every price that is still ahead."""
    dated: dict[tuple[int, Subject], list[Shown]] = {}
    for one in shown:
        dated.setdefault((one.card.pk, one.subject), []).append(one)
    for prices in dated.values():
        was: Price | None = None
        for one in sorted(prices, key=lambda price: price.key.effective_from):
            at = one.key.effective_from
            if was is not None or at > now:
                texts = price_change_texts(was, one.price, currency)
                yield Step(at, f"{one.name} {one.key.meter_code}".strip(), *texts, is_ahead=at > now)
            was = one.price
