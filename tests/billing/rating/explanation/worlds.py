"""Periods by chance, without a database: usage, prices of every kind, allowances and credits; and their events."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from billing.catalog.models import Rate
from billing.catalog.queries import RateTable
from billing.rating.allocation import AllowanceTerms
from billing.rating.explanation.recomputed import Recomputed
from billing.rating.target import PeriodTerms, PeriodUsage, allocate
from metering.queries import MeterEvent, WeighedEvent, Window
from promotions.burn_down import GrantBalance
from tests.factories import OCTOBER

START, END = OCTOBER + timedelta(minutes=30), OCTOBER + timedelta(hours=5)
METER, MODELS = "input_tokens", ("a", "b")
CHANGE = OCTOBER + timedelta(hours=2, minutes=20)
TIERS = [{"up_to": "100", "unit_price": "2", "flat": "3"}, {"up_to": None, "unit_price": "0.5", "flat": "1"}]
BLOCKS = {"block_size": "30", "max_blocks": "2", "price_per_block": "5"}
PRICES: list[tuple[str, dict[str, Any]]] = [
    ("per_unit", {}),
    ("graduated", {"tiers": TIERS}),
    ("graduated", {"tiers": TIERS, "minimum": "200"}),
    ("volume", {"tiers": TIERS}),
    ("volume", {"tiers": TIERS, "per": "window"}),
    ("package", {"package_size": "25", "package_price": "4", "free_units": "10"}),
    ("percentage", {"rate_percent": "2.5"}),
    ("percentage", {"rate_percent": "2.5", "fixed_per_event": "0.3", "free_events": "2", "max_per_event": "1"}),
    ("blocks", {"mode": "top_tier", "tiers": [BLOCKS, {**BLOCKS, "price_per_block": "2", "max_blocks": None}]}),
    (
        "matrix",
        {
            "cells": [
                {"dimensions": {"model": "a"}, "charge_model": "volume", "tiers": TIERS},
                {
                    "dimensions": {"model": "b"},
                    "charge_model": "percentage",
                    "rate_percent": "1",
                    "fixed_per_event": "0.2",
                },
            ]
        },
    ),
]


@dataclass(frozen=True)
class World:
    recomputed: Recomputed
    events: list[WeighedEvent]
    caps: frozenset[int]


def _rate(number: int, price: tuple[str, dict[str, Any]], since: datetime, **dimensions: str) -> Rate:
    model, terms = price
    of_unit = {"unit_price": Decimal("0.7"), "unit_size": 3} if model == "per_unit" else {}
    return Rate(
        pk=number,
        rate_card_id=1,
        meter_code=METER,
        dimensions=dimensions,
        charge_model=model,
        terms=terms,
        effective_from=since,
        **of_unit,
    )


def _part(at: datetime, rates: RateTable) -> datetime:
    """Where the window begins that usage of this instant is priced in."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    cuts = [cut for cut in rates.changes(METER, START, END) if hour <= cut <= at]
    return max([hour, START, *cuts])


def _windows(events: Sequence[WeighedEvent]) -> list[Window]:
    found: dict[tuple[datetime, str], list[WeighedEvent]] = defaultdict(list)
    for event in events:
        found[event.window_start, str(event.dimensions["model"])].append(event)
    return [
        Window(at, "acme", METER, 1, {"model": model}, sum((one.value for one in of), Decimal(0)), len(of), 1)
        for (at, model), of in sorted(found.items())
    ]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A period of five hours, the first of them in part; a price of a model or of all, which may change meanwhile."""
    # Multiples of 3, as 0.7 for 3 is exact for no other number.
    made = st.tuples(st.integers(30, 299), st.sampled_from(MODELS), st.integers(0, 40).map(lambda n: Decimal(3 * n)))
    drawn = draw(st.lists(made, max_size=14))
    price = st.sampled_from(PRICES)
    rates = [_rate(1, draw(price), datetime(2020, 1, 1, tzinfo=START.tzinfo))]
    if draw(st.booleans()):
        rates.append(_rate(2, draw(price), datetime(2020, 1, 1, tzinfo=START.tzinfo), model="a"))
    if draw(st.booleans()):
        rates.append(_rate(3, draw(price), CHANGE))
    table = RateTable([rates])
    events = [
        WeighedEvent(
            at := OCTOBER + timedelta(minutes=minute),
            "tests",
            f"e{number}",
            _part(at, table),
            METER,
            1,
            {"model": model},
            value,
            value,
        )
        for number, (minute, model, value) in enumerate(drawn)
    ]
    terms = PeriodTerms(START, END, table, tuple(_allowances(draw)))
    ordered = sorted(events, key=lambda one: (one.event_time, one.source, one.event_id))
    usage = PeriodUsage(_windows(events), {METER: [_as_read(event) for event in ordered]})
    grants = [_grant(draw, number) for number in range(draw(st.integers(0, 2)))]
    allocated = allocate(usage, terms, grants, is_over=draw(st.booleans()))
    caps = frozenset(one.allowance_id for one in terms.allowances if one.measure == "cap")
    return World(Recomputed.of(terms, usage, allocated), events, caps)


def _as_read(event: WeighedEvent) -> MeterEvent:
    return MeterEvent(event.event_time, event.source, event.event_id, event.meter_code, event.dimensions, event.value)


def _allowances(draw: st.DrawFn) -> list[AllowanceTerms]:
    kinds = draw(st.lists(st.sampled_from(["money", "units", "each", "cap"]), max_size=3, unique=True))
    # Multiples of 3 as well: an allowance in units ends where its units have an exact price.
    amounts = st.integers(0, 50).map(lambda number: Decimal(3 * number))
    return [
        AllowanceTerms(
            allowance_id=number,
            measure="money" if kind == "each" else kind,
            amount=draw(amounts),
            each_dimension="model" if kind == "each" else "",
        )
        for number, kind in enumerate(sorted(kinds, key=lambda kind: kind == "cap"), start=1)
    ]


def _grant(draw: st.DrawFn, number: int) -> GrantBalance:
    amount = Decimal(draw(st.integers(1, 100)))
    return GrantBalance(
        grant_id=number,
        kind="promotional",
        priority=number,
        effective_at=START + timedelta(hours=draw(st.integers(-1, 3))),
        expires_at=None,
        recorded_at=START,
        amount=amount,
        available=amount,
    )
