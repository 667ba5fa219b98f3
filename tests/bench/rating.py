"""
Rating: what a window costs, by charge model, and a customer-month of 720 hours × 20 meters rated again from nothing.

Three layers, each in CPU time of this process, and each checked before its figure counts:

1. A charge model alone: `amount` of a quantity, against the same Decimal operations written out for that very price.
2. The engine in memory (`target`: look the price up, price, allowance, grant, rest), against a bare loop over the same
   windows with the same arithmetic: a dict of prices, the price written out (of a tier: of all so far, less what was
   paid), who pays by two `min`s, three sums a price.
3. A period in the database: read its windows, rate it, find that nothing changed (what every re-run does), in wall time
   too, as PostgreSQL works beside it.

Rounds alternate the sides. As in a worker (config/celery.py), what was loaded before is out of the garbage collector's
sight.
"""

import gc
import statistics
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from billing.catalog.models import Rate
from billing.catalog.queries import RateTable
from billing.rating.allocation import AllowanceTerms
from billing.rating.charges import Basis, Charge, charge_of, charge_of_rate
from billing.rating.operations import accrue_period
from billing.rating.queries import period_totals
from billing.rating.rating import EXACT, ZERO
from billing.rating.target import PeriodTerms, PeriodUsage, allocate, target
from billing.rating.terms import terms_of, usage_of
from metering.operations import UsageEventInput, catch_up_windows, ingest_events
from metering.queries import MeterEvent, Window
from promotions.burn_down import GrantBalance
from tests.billing import usage

HOURS, MODELS = 720, tuple(f"model-{number}" for number in range(5))
CLASSES = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")
ROUNDS, CALLS = 7, 20_000
START = datetime(2026, 10, 1, tzinfo=UTC)
END = START + timedelta(hours=HOURS)
MILLION = Decimal(1_000_000)
AIM_WINDOWS_A_SECOND, AIM_MILLISECONDS = 100_000, 50
# Tiers that a month's quantity walks through.
TIERS = [
    {"up_to": "1000000", "unit_price": "5", "flat": "1"},
    {"up_to": "10000000", "unit_price": "4"},
    {"up_to": "50000000", "unit_price": "3"},
    {"up_to": None, "unit_price": "2"},
]
BLOCKS = [
    {"block_size": "1000", "max_blocks": "1000", "price_per_block": "0.005"},
    {"block_size": "1000", "max_blocks": None, "price_per_block": "0.004"},
]
TERMS: dict[str, dict[str, Any]] = {
    "per_unit": {},
    "cost_plus": {"cost_price": "5", "unit_size": "1000000", "margin_percent": "20", "platform_fee": "0.25"},
    "graduated": {"tiers": TIERS, "unit_size": "1000000"},
    "volume": {"tiers": TIERS, "unit_size": "1000000"},
    "package": {"package_size": "1000", "package_price": "0.005"},
    "graduated, by window": {"tiers": TIERS, "unit_size": "1000000", "per": "window"},
    "blocks": {"mode": "all_tiers", "tiers": BLOCKS},
    "percentage, by event": {"rate_percent": "0.0005", "fixed_per_event": "0.01", "free_events": 10},
    "graduated_percentage": {"tiers": [{"up_to": None, "rate_percent": "0.0005"}], "free_units": "5"},
    "matrix": {
        "each": {"charge_model": "cost_plus", "unit_size": "1000000", "platform_fee": "0.25"},
        "cells": [{"dimensions": {"model": model}, "cost_price": "5"} for model in MODELS],
    },
}


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    gc.collect()
    gc.freeze()
    _measure_charges(console)
    windows = _windows()
    _measure_engine(console, windows)
    _measure_trace(console, windows)
    _measure_period(console)


def _measure_charges(console: Console) -> None:
    quantities = [Decimal(number * 977 % 60_000_000) for number in range(CALLS)]
    table = Table(title=f"A charge model alone, {CALLS:,} prices: CPU us each, medians of {ROUNDS} rounds")
    for heading in ("model", "amount()", "written out", "ratio", "explain()"):
        table.add_column(heading, justify="right")
    for name, bare in _BARE.items():
        charge = _charge(name)
        if [charge.amount(quantity) for quantity in quantities] != [bare(quantity) for quantity in quantities]:
            raise AssertionError(f"{name} and its written-out price differ: the figures do not count")
        ours, other = _alternately(partial(_all, charge.amount, quantities), partial(_all, bare, quantities))
        told = _cpu(partial(_explain_all, charge, quantities[:1_000])) / 1_000
        table.add_row(
            name,
            f"{ours / CALLS * 1e6:.2f}",
            f"{other / CALLS * 1e6:.2f}",
            f"{ours / other:.2f}",
            f"{told * 1e6:.1f}",
        )
    console.print(table)


def _bare_per_unit(quantity: Decimal) -> Decimal:
    return EXACT.divide(EXACT.multiply(quantity, Decimal(5)), MILLION)


def _bare_tiers() -> tuple[tuple[Decimal, ...], tuple[Decimal, ...], tuple[Decimal, ...], tuple[Decimal, ...]]:
    """Bounds, starts, prices of one unit, and what all before each tier come to."""
    bounds = (MILLION, 10 * MILLION, 50 * MILLION)
    prices = tuple(Decimal(price) / MILLION for price in (5, 4, 3, 2))
    return bounds, (ZERO, *bounds), prices, (Decimal(1), Decimal(6), Decimal(42), Decimal(162))


def _bare_graduated(quantity: Decimal, tiers: tuple[tuple[Decimal, ...], ...] = _bare_tiers()) -> Decimal:
    bounds, starts, prices, bases = tiers
    place = bisect_left(bounds, quantity)
    return EXACT.fma(EXACT.subtract(quantity, starts[place]), prices[place], bases[place])


def _bare_volume(quantity: Decimal, tiers: tuple[tuple[Decimal, ...], ...] = _bare_tiers()) -> Decimal:
    bounds, _, prices, _ = tiers
    place = bisect_left(bounds, quantity)
    return EXACT.fma(quantity, prices[place], ZERO if place else Decimal(1))


def _bare_package(quantity: Decimal, size: Decimal = Decimal(1000), price: Decimal = Decimal("0.005")) -> Decimal:
    full = EXACT.divide_int(quantity, size)
    return EXACT.multiply(EXACT.add(full, Decimal(1)) if EXACT.remainder(quantity, size) else full, price)


_BARE: dict[str, Callable[[Decimal], Decimal]] = {
    "per_unit": _bare_per_unit,
    "graduated": _bare_graduated,
    "volume": _bare_volume,
    "package": _bare_package,
}
# What the bare loop has for the engine: a price of one unit, and prices of all so far that never fall.
_PRICE_OF_ONE = Decimal(5) / MILLION
_LOOPED: dict[str, Callable[[Decimal], Decimal]] = {
    "per_unit": lambda quantity: quantity * _PRICE_OF_ONE,
    "graduated": _bare_graduated,
    "package": _bare_package,
}


def _measure_engine(console: Console, windows: list[Window]) -> None:
    table = Table(
        title=f"The engine, {len(windows):,} windows of a customer-month: CPU, medians of {ROUNDS} rounds"
        f" (aims: {AIM_WINDOWS_A_SECOND:,} windows/s, {AIM_MILLISECONDS} ms)"
    )
    for heading in ("charge model", "ms", "us a window", "windows/s", "bare loop ms", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    grants = _grants()
    for name in TERMS:
        terms = _terms(name)
        is_same, price = name in _LOOPED, _LOOPED.get(name, _LOOPED["per_unit"])
        bare = partial(_bare_loop, windows, price, is_linear=price is _LOOPED["per_unit"])
        of = PeriodUsage(windows, _events(windows) if _is_by_event(terms) else {})
        rate = partial(target, of, terms, grants, is_over=True)
        state = rate().total()
        if state.rated != state.included + state.credited + state.unbilled or not state.rated:
            raise AssertionError(f"{name} is not paid for exactly: the figures do not count")
        if is_same and (state.rated, state.included, state.credited) != bare():
            raise AssertionError(f"engine and bare loop differ in {name}: the figures do not count")
        ours, other = _alternately(rate, bare)
        each = ours / len(windows)
        table.add_row(
            name,
            f"{ours * 1e3:.1f}",
            f"{each * 1e6:.2f}",
            f"{1 / each:,.0f}",
            f"{other * 1e3:.1f}" if is_same else "",
            f"{ours / other:.2f}" if is_same else "",
        )
    console.print(table)


def _measure_trace(console: Console, windows: list[Window]) -> None:
    terms, grants, of = _terms("per_unit"), _grants(), PeriodUsage(windows)
    sums = target(of, terms, grants, is_over=True).total()
    if sum((one.amount for one in allocate(of, terms, grants, is_over=True)), ZERO) != sums.rated:
        raise AssertionError("the trace does not add up: the figures do not count")
    seconds = statistics.median(_cpu(lambda: allocate(of, terms, grants, is_over=True)) for _ in range(ROUNDS))
    console.print(f"allocate (who paid for each window), per_unit: {seconds * 1e3:.1f} ms CPU")


def _measure_period(console: Console) -> None:
    """The same month in the database: its windows read and rated, and the accrual that finds nothing to do."""
    usage.define_token_meters()
    period = usage.october_of("bench-rating", included="20", version=None)
    for first in range(0, HOURS, 100):
        batch = [_event(hour, model) for hour in range(first, min(first + 100, HOURS)) for model in MODELS]
        if ingest_events(batch, received_at=END).accepted != len(batch):
            raise AssertionError("not every event was accepted: the figures do not count")
    catch_up_windows(now=END)
    card = period.plan_version.rate_card
    for code in CLASSES:
        for model in MODELS:
            Rate.objects.create(
                rate_card=card,
                meter_code=code,
                dimensions={"model": model},
                unit_price=Decimal(5),
                unit_size=1_000_000,
                effective_from=START - timedelta(days=1),
            )
    now = END + timedelta(days=2)
    once = _wall(lambda: accrue_period(period_id=period.pk, now=now))
    posted = period_totals(period.pk)
    reading = [_wall(lambda: usage_of(period)) for _ in range(ROUNDS)]
    rated = PeriodUsage(usage_of(period).windows)
    if len(rated.windows) != HOURS * len(MODELS) * len(CLASSES):
        raise AssertionError(f"{len(rated.windows):,} windows: the figures do not count")
    rating = [_wall(lambda: target(rated, terms_of(period), [], is_over=True)) for _ in range(ROUNDS)]
    again = [_wall(lambda: accrue_period(period_id=period.pk, now=now)) for _ in range(ROUNDS)]
    if period_totals(period.pk) != posted or not posted.rated:
        raise AssertionError("re-rating changed what was posted: the figures do not count")
    read, target_, re_run = (statistics.median(one) * 1e3 for one in (reading, rating, again))
    console.print(
        f"a period of {len(rated.windows):,} windows in the database, wall: accrued first in {once * 1e3:.0f} ms;"
        f" again {re_run:.0f} ms (reading its windows {read:.0f} ms, terms and rating {target_:.0f} ms)"
    )


def _bare_loop(
    windows: Iterable[Window], price: Callable[[Decimal], Decimal], *, is_linear: bool
) -> tuple[Decimal, Decimal, Decimal]:
    """Rated, included and credited. The price of a tier is that of all so far less what was paid; nothing falls."""
    included_left, credit_left = Decimal(40), Decimal(40)
    quantity: dict[tuple[str, str | None], Decimal] = defaultdict(lambda: ZERO)
    paid_so_far, included, credited, unbilled = (quantity.copy() for _ in range(4))
    with localcontext(EXACT):
        for window in windows:
            key = (window.meter_code, window.dimensions["model"])
            quantity[key] += window.quantity
            if is_linear:
                rest = price(window.quantity)
            else:
                due = price(quantity[key])
                rest, paid_so_far[key] = due - paid_so_far[key], due
            if included_left and (paid := min(included_left, rest)):
                included_left -= paid
                included[key] += paid
                rest -= paid
            if credit_left and rest and (paid := min(credit_left, rest)):
                credit_left -= paid
                credited[key] += paid
                rest -= paid
            unbilled[key] += rest
        sums = [sum(one.values(), ZERO) for one in (included, credited, unbilled)]
        return sum(sums, ZERO), sums[0], sums[1]


def _windows() -> list[Window]:
    return [
        Window(
            window_start=START + timedelta(hours=hour),
            customer_key="bench",
            meter_code=code,
            meter_version=1,
            dimensions={"model": model},
            quantity=Decimal(1_000 + (hour * 7 + place * 13) % 500),
            event_count=1,
            fingerprint=1,
        )
        for hour in range(HOURS)
        for place, code in enumerate(CLASSES)
        for model in MODELS
    ]


def _events(windows: Iterable[Window]) -> dict[str, list[MeterEvent]]:
    found: dict[str, list[MeterEvent]] = {code: [] for code in CLASSES}
    for number, window in enumerate(windows):
        found[window.meter_code].append(
            MeterEvent(
                window.window_start, "bench", f"e{number:09}", window.meter_code, window.dimensions, window.quantity
            )
        )
    return found


def _event(hour: int, model: str) -> UsageEventInput:
    return UsageEventInput(
        id=f"bench-rating-{hour}-{model}",
        source="bench",
        type="llm.request",
        subject="bench-rating",
        time=START + timedelta(hours=hour, minutes=7),
        data={"model": model, **dict.fromkeys(CLASSES, 1_000 + hour)},
    )


def _terms(name: str) -> PeriodTerms:
    """20 prices of one charge model: a rate for every meter and model, or a matrix for every meter."""
    charge_model = name.partition(",")[0]
    per_unit = charge_model == "per_unit"
    dimensions = [{}] if charge_model == "matrix" else [{"model": model} for model in MODELS]
    rates = [
        Rate(
            pk=number,
            meter_code=code,
            dimensions=named,
            charge_model=charge_model,
            unit_price=Decimal(5) if per_unit else None,
            unit_size=1_000_000 if per_unit else None,
            terms=TERMS[name],
            effective_from=START - timedelta(days=1),
        )
        for number, (code, named) in enumerate(((code, named) for code in CLASSES for named in dimensions), start=1)
    ]
    allowance = AllowanceTerms(allowance_id=1, measure="money", amount=Decimal(40))
    return PeriodTerms(START, END, RateTable([rates]), (allowance,))


def _grants() -> list[GrantBalance]:
    return [
        GrantBalance(
            grant_id=1,
            kind="promotional",
            priority=1,
            effective_at=START,
            expires_at=None,
            recorded_at=START,
            amount=Decimal(40),
            available=Decimal(40),
        )
    ]


def _charge(name: str) -> Charge:
    if name == "per_unit":
        return charge_of(name, {}, unit_price=Decimal(5), unit_size=1_000_000)
    return charge_of(name, TERMS[name])


def _is_by_event(terms: PeriodTerms) -> bool:
    return any(charge_of_rate(rate).basis is Basis.EVENT for rate in terms.rates.in_force(START))


def _explain_all(charge: Charge, quantities: list[Decimal]) -> None:
    for quantity in quantities:
        charge.explain(quantity, "USD")


def _all(price: Callable[[Decimal], Decimal], quantities: list[Decimal]) -> None:
    for quantity in quantities:
        price(quantity)


def _alternately(one: Callable[[], Any], other: Callable[[], Any]) -> tuple[float, float]:
    """Median CPU seconds of both sides, in rounds that begin with either in turn; the first warms up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 1):
        sides = ((0, one), (1, other)) if number % 2 else ((1, other), (0, one))
        for place, side in sides:
            taken = _cpu(side)
            if number:
                seconds[place].append(taken)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def _cpu(side: Callable[[], Any]) -> float:
    started = time.process_time()
    side()
    return time.process_time() - started


def _wall(side: Callable[[], Any]) -> float:
    started = time.perf_counter()
    side()
    return time.perf_counter() - started
