# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""Prices that change within a period, and which of several prices applies."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given

from billing.catalog.queries import RateTable
from billing.rating.target import PeriodTerms, UnratedUsage
from metering.queries import Window
from tests.billing.rating.pricing import END, HOUR, START, rate, terms, window, windows
from tests.billing.rating.test_pricing import ZERO, rated


def test_each_price_counts_its_own_quantity_from_zero() -> None:
    tiers = {"tiers": [{"up_to": "10", "unit_price": "2"}, {"up_to": None, "unit_price": "1"}]}
    later = rate(2, "graduated", tiers, effective_from=START + 5 * HOUR)

    assert rated([window(hour, 8) for hour in (3, 4, 5, 6)], terms(rate(1, "graduated", tiers), later)) == {
        1: 26, 2: 26,
    }  # fmt: skip


@given(windows, windows)
def test_a_minimum_is_met_by_what_took_the_price_s_place_too(before: list[Window], after: list[Window]) -> None:
    own = {"tiers": [{"up_to": None, "unit_price": "1"}], "minimum": "30"}
    later = rate(2, "graduated", own, effective_from=START + 40 * HOUR)
    used = [*before, *(replace(one, window_start=one.window_start + 40 * HOUR) for one in after)]

    found = rated(used, terms(rate(1, "graduated", own), later), is_over=True)

    assert sum(found.values(), ZERO) == max(sum((one.quantity for one in used), ZERO), Decimal(30))


def test_nobody_pays_two_flat_amounts_because_a_price_was_changed() -> None:
    flat = {"tiers": [{"up_to": "10", "unit_price": "1", "flat": "5"}, {"unit_price": "1"}]}
    changes = [rate(number, "graduated", flat, effective_from=START + number * 5 * HOUR) for number in (2, 3)]

    found = rated([window(hour, 4) for hour in (2, 11, 12, 16)], terms(rate(1, "graduated", flat), *changes))

    assert found == {1: 9, 2: 8, 3: 4}


def test_a_price_that_begins_later_brings_its_flat_amount_once_for_all_that_follow() -> None:
    flat = {"tiers": [{"up_to": None, "unit_price": "1", "flat": "5"}]}
    later = [rate(number, "graduated", flat, effective_from=START + number * 5 * HOUR) for number in (2, 3)]

    assert rated([window(hour, 4) for hour in (2, 11, 16)], terms(rate(1, "per_unit"), *later)) == {
        1: 1, 2: 9, 3: 4,
    }  # fmt: skip


def test_the_more_precise_price_applies_and_a_contract_s_card_before_its_base() -> None:
    exact = rate(2, "per_unit", dimensions={"model": "b"}, unit_price=Decimal(1))
    agreed = rate(3, "per_unit", dimensions={"model": "c"}, unit_price=Decimal(4))
    under = PeriodTerms(START, END, RateTable([[agreed], [rate(1, "per_unit"), exact]]), ())

    assert rated([window(1, 10, model=model) for model in "abc"], under) == {1: Decimal("2.5"), 2: 1, 3: 4}


def test_an_add_on_prices_what_the_plan_does_not_and_its_charges_come_beside() -> None:
    add_on = RateTable([[rate(3, "per_unit", meter="seconds"), rate(4, "per_unit"), rate(5, "flat", {"amount": "7"})]])
    own = [rate(1, "per_unit"), rate(2, "flat", {"amount": "9"})]
    under = PeriodTerms(START, END, RateTable([own], [add_on]), ())

    assert rated([window(1, 10), window(1, 20, meter="seconds")], under) == {1: Decimal("2.5"), 2: 9, 3: 5, 5: 7}


def test_usage_without_a_price_is_named() -> None:
    only = rate(1, "matrix", {"cells": [{"dimensions": {"model": "a"}, "unit_price": "1"}]})

    with pytest.raises(UnratedUsage, match=r"4 units of model 'z' by acme at 2026-10-01 03:00 have no rate"):
        rated([window(1, 2), window(3, 4, model="z")], terms(only))
