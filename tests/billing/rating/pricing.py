"""Periods that exist in memory only: rates, windows and events for the pure parts of rating."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from billing.catalog.models import Rate
from billing.catalog.queries import RateTable
from billing.rating.allocation import AllowanceTerms
from billing.rating.target import PeriodTerms
from billing.reconciliation.prices import Price, Used, cell_of, price_of_cell
from metering.queries import MeterEvent, Window

START = datetime(2026, 10, 1, tzinfo=UTC)
END = datetime(2026, 11, 1, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

# One of each way of pricing; their figures are such that tiers, packages and free units are met by a few windows.
TERMS: dict[str, dict[str, Any]] = {
    "per_unit": {},
    "graduated": {
        "tiers": [
            {"up_to": "10", "unit_price": "1", "flat": "2"},
            {"up_to": "40", "unit_price": "0.5"},
            {"up_to": None, "unit_price": "0.25", "flat": "3"},
        ]
    },
    "volume": {
        "tiers": [{"up_to": "10", "unit_price": "2"}, {"up_to": "30", "unit_price": "1"}, {"unit_price": "0.1"}]
    },
    "package": {"package_size": "7", "package_price": "3", "free_units": "4"},
    "graduated_percentage": {"tiers": [{"up_to": "20", "rate_percent": "10"}, {"up_to": None, "rate_percent": "1"}]},
    "percentage": {"rate_percent": "2.5", "free_total": "12"},
    "blocks": {
        "mode": "top_tier",
        "tiers": [
            {"block_size": "5", "max_blocks": "3", "price_per_block": "10"},
            {"block_size": "5", "price_per_block": "1"},
        ],
    },
    "cost_plus": {"cost_price": "3", "margin_percent": "20", "platform_fee": "0.5", "minimum": "30"},
    "matrix": {
        "each": {"charge_model": "graduated"},
        "cells": [
            {"dimensions": {"model": "a"}, "tiers": [{"up_to": "15", "unit_price": "1"}, {"unit_price": "0.5"}]},
            {"dimensions": {}, "charge_model": "package", "package_size": "3", "package_price": "1"},
        ],
    },
}
BY_WINDOW = {"package_size": "7", "package_price": "3", "per": "window", "maximum": "6"}
BY_EVENT = {
    "rate_percent": "3",
    "fixed_per_event": "0.30",
    "free_events": "2",
    "free_total": "10",
    "min_per_event": "0.5",
    "max_per_event": "2",
}


def rate(
    rate_id: int, model: str, terms: Mapping[str, Any] | None = None, *, meter: str = "units", **values: Any
) -> Rate:
    per_unit = {"unit_price": Decimal("2.5"), "unit_size": 10} if model == "per_unit" else {}
    given = TERMS[model] if terms is None else terms
    needs_no_meter = model in ("flat", "minimum_commitment", "maximum_commitment")
    return Rate(
        **{
            "id": rate_id,
            "meter_code": "" if needs_no_meter else meter,
            "dimensions": {},
            "charge_model": model,
            "terms": given,
            "effective_from": LONG_AGO,
        }
        | per_unit
        | values
    )


def terms(*rates: Rate, allowances: Sequence[AllowanceTerms] = (), starts_at: datetime = START) -> PeriodTerms:
    return PeriodTerms(starts_at, END, RateTable([rates]), tuple(allowances))


def window(hour: int, quantity: Decimal | int | str, *, meter: str = "units", model: str = "a") -> Window:
    return Window(START + hour * HOUR, "acme", meter, 1, {"model": model}, Decimal(quantity), 1, 0)


def event(at: datetime, quantity: Decimal | int | str, *, number: int = 0, meter: str = "units") -> MeterEvent:
    return MeterEvent(at, "test", f"e{number:05}", meter, {"model": "a"}, Decimal(quantity))


def asked(rate: Rate, windows: Sequence[Window], *, is_over: bool = False) -> Fraction:
    """What a price asks for these windows, by the reconciliation's own arithmetic."""
    if rate.charge_model != "matrix":
        columns = {"unit_price": str(rate.unit_price), "unit_size": rate.unit_size} if rate.unit_price else {}
        return _asked(Price(rate.charge_model, {**rate.terms, **columns}), windows, is_over=is_over)
    cells = range(len(rate.terms["cells"]))
    return sum(
        (
            _asked(
                price_of_cell(rate.terms, place),
                [one for one in windows if cell_of(rate.terms, one.dimensions) == place],
                is_over=is_over,
            )
            for place in cells
        ),
        Fraction(0),
    )


def _asked(price: Price, windows: Sequence[Window], *, is_over: bool) -> Fraction:
    hours: dict[tuple[datetime, str], Fraction] = defaultdict(Fraction)
    for one in windows:
        hours[one.window_start, str(one.dimensions)] += Fraction(one.quantity)
    amount = price.of(Used(sum(hours.values(), Fraction(0)), list(hours.values())))
    return max(amount, price.minimum) if is_over else amount


quantities = st.decimals(0, 20, places=2)
windows = st.lists(
    st.builds(window, st.integers(0, 30), quantities, model=st.sampled_from(["a", "b", "c"])), max_size=14
)
models = st.sampled_from(sorted(TERMS))
