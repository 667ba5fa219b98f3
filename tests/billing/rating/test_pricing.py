# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""
Every price by the hour: nothing below zero, nothing lost, and in all what the price asks for the whole quantity.

What it asks is worked out by billing.reconciliation.prices, which shares no line with the engine.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.rating.allocation import AllowanceTerms, AllowanceUse
from billing.rating.charges import ChargeModel
from billing.rating.target import (
    Allocated,
    EventsNotRead,
    PeriodTerms,
    PeriodUsage,
    allocate,
    target,
)
from billing.rating.totals import Amounts, PeriodState
from billing.reconciliation.prices import Price, Used
from metering.queries import Window
from promotions.burn_down import GrantBalance
from tests.billing.rating.pricing import (
    BY_EVENT,
    BY_WINDOW,
    END,
    HOUR,
    START,
    TERMS,
    asked,
    event,
    models,
    quantities,
    rate,
    terms,
    window,
    windows,
)

ZERO = Decimal(0)
US = timedelta(microseconds=1)


def money(amount: str | Decimal | None, allowance_id: int = 1, **values: object) -> AllowanceTerms:
    of = None if amount is None else Decimal(amount)
    return AllowanceTerms(**{"allowance_id": allowance_id, "measure": "money", "amount": of} | values)  # type: ignore[arg-type]


def units(amount: str | Decimal, allowance_id: int = 1, **values: object) -> AllowanceTerms:
    return money(amount, allowance_id, measure="units", **values)


def rated(used: Sequence[Window], under: PeriodTerms, *, is_over: bool = False) -> dict[int, Decimal]:
    state = target(PeriodUsage(used), under, [], is_over=is_over)
    return {rate_id: amounts.rated for rate_id, amounts in state.by_rate.items()}


def grant(available: str) -> GrantBalance:
    return GrantBalance(
        grant_id=1, kind="goodwill", priority=1, effective_at=START, expires_at=START + 20 * HOUR, recorded_at=START,
        amount=Decimal(available), available=Decimal(available),
    )  # fmt: skip


def test_every_charge_model_is_tried_here() -> None:
    assert {*TERMS, *ChargeModel.without_meter()} == set(ChargeModel.values)


class TestAnyPrice:
    @given(models, windows, st.booleans())
    def test_asks_in_all_what_it_asks_for_the_whole_quantity(
        self, model: str, used: list[Window], is_over: bool
    ) -> None:
        price = rate(1, model)

        assert Fraction(rated(used, terms(price), is_over=is_over).get(1, ZERO)) == asked(price, used, is_over=is_over)

    @given(models, windows)
    def test_no_hour_pays_below_zero_and_the_trace_adds_up_to_the_target(self, model: str, used: list[Window]) -> None:
        under = terms(rate(1, model), allowances=[money("3"), units("11", 2), money("30", 3, measure="cap")])

        found = allocate(PeriodUsage(used), under, [grant("4")], is_over=True)

        assert all(one.amount >= 0 and all(source.amount >= 0 for source in one.sources) for one in found)
        assert all(sum(source.amount for source in one.sources) == one.amount for one in found)
        assert added_up(found) == normal(target(PeriodUsage(used), under, [grant("4")], is_over=True))

    @given(models, windows, st.randoms(use_true_random=False))
    def test_the_order_in_which_windows_come_changes_nothing(
        self, model: str, used: list[Window], random: object
    ) -> None:
        under = terms(rate(1, model), allowances=[units("9"), money("5", 2)])
        shuffled = list(used)
        random.shuffle(shuffled)  # type: ignore[attr-defined]

        assert target(PeriodUsage(shuffled), under, [], is_over=True) == target(
            PeriodUsage(used), under, [], is_over=True
        )

    @given(models, windows, st.randoms(use_true_random=False))
    def test_accruing_after_every_event_is_accruing_once(self, model: str, used: list[Window], random: object) -> None:
        under = terms(rate(1, model), allowances=[units("9"), money("5", 2), money("20", 3, measure="cap")])
        arriving = list(used)
        random.shuffle(arriving)  # type: ignore[attr-defined]

        posted = PeriodState()
        for count in range(len(arriving) + 1):
            change = target(PeriodUsage(arriving[:count]), under, [grant("4")], is_over=False).minus(posted)
            posted = posted.minus(PeriodState().minus(change))

        assert normal(posted) == normal(target(PeriodUsage(used), under, [grant("4")], is_over=False))

    @given(models, windows, st.integers(0, 30), quantities)
    def test_a_late_event_moves_it_by_its_marginal_effect(
        self, model: str, used: list[Window], hour: int, quantity: Decimal
    ) -> None:
        price = rate(1, model)
        with_it = [*used, window(hour, quantity)]

        before, after = (rated(one, terms(price)).get(1, ZERO) for one in (used, with_it))

        assert Fraction(after) - Fraction(before) == asked(price, with_it) - asked(price, used)

    @given(models, windows, st.integers(1, 20))
    def test_a_correction_takes_back_what_it_had_added(self, model: str, used: list[Window], hour: int) -> None:
        """Windows below zero: as much is taken off later as one hour had too many."""
        under = terms(rate(1, model), allowances=[units("9")])
        corrected = [*used, window(hour, 8), window(hour + 5, -8)]

        found = allocate(PeriodUsage(corrected), under, [], is_over=False)

        assert all(one.amount >= 0 for one in found)
        assert sum(one.amount for one in found) == sum(rated(used, under).values(), ZERO)


def added_up(found: Sequence[Allocated]) -> PeriodState:
    """The state that a trace adds up to, summed here by hand."""
    by_rate: dict[int, dict[str, Decimal]] = {}
    drawdowns: dict[tuple[int, int], Decimal] = {}
    allowances: dict[tuple[int, int], list[Decimal]] = {}
    for one in found:
        sums = by_rate.setdefault(
            one.rate_id, dict.fromkeys(("quantity", "rated", "included", "credited", "unbilled"), ZERO)
        )
        sums["quantity"] += one.quantity
        sums["rated"] += one.amount
        for source in one.sources:
            name = {"allowance": "included", "grant": "credited", "unbilled": "unbilled"}[source.kind]
            sums[name] += source.amount
            if source.kind == "grant":
                drawdowns[one.rate_id, source.id or 0] = (
                    drawdowns.get((one.rate_id, source.id or 0), ZERO) + source.amount
                )
            elif source.kind == "allowance":
                use = allowances.setdefault((one.rate_id, source.id or 0), [ZERO, ZERO])
                use[0] += source.amount
                use[1] += source.quantity
    return normal(
        PeriodState(
            {rate_id: Amounts(**sums) for rate_id, sums in by_rate.items()},
            drawdowns,
            {key: AllowanceUse(*use) for key, use in allowances.items()},
        )
    )


def normal(state: PeriodState) -> PeriodState:
    """Without what is zero."""
    return state.minus(PeriodState())


class TestPeriodCharges:
    def test_a_flat_charge_is_paid_at_the_start_and_no_allowance_for_usage_covers_it(self) -> None:
        under = terms(rate(1, "flat", {"amount": "9"}), allowances=[money("100")])

        (one,) = allocate(PeriodUsage([]), under, [], is_over=False)

        assert (one.at, one.amount, one.meter_code, [source.kind for source in one.sources]) == (
            START, 9, "", ["unbilled"],
        )  # fmt: skip

    def test_a_trial_covers_flat_charges_too(self) -> None:
        under = terms(rate(1, "flat", {"amount": "9"}), rate(2, "per_unit"), allowances=[money(None)])

        total = target(PeriodUsage([window(1, 100)]), under, [], is_over=True).total()

        assert (total.rated, total.included) == (34, 34)

    def test_a_first_tier_s_flat_fee_is_owed_without_usage(self) -> None:
        assert rated([], terms(rate(1, "graduated"))) == {1: 2}

    def test_a_price_that_begins_later_brings_its_flat_fee_with_its_first_usage(self) -> None:
        later = rate(1, "graduated", effective_from=START + 10 * HOUR)

        assert rated([], terms(later)) == {}
        assert rated([window(12, 4)], terms(later)) == {1: 6}

    @given(windows, st.integers(0, 60))
    def test_a_minimum_commitment_is_met_when_the_period_is_over_and_not_before(
        self, used: list[Window], commitment: int
    ) -> None:
        under = terms(rate(1, "per_unit"), rate(2, "minimum_commitment", {"amount": str(commitment)}))
        usage_alone = sum((one.quantity for one in used), ZERO) / 4

        assert sum(rated(used, under).values(), ZERO) == usage_alone
        assert sum(rated(used, under, is_over=True).values(), ZERO) == max(usage_alone, Decimal(commitment))

    def test_what_lacks_is_owed_at_the_last_instant_on_a_line_of_its_own(self) -> None:
        under = terms(rate(1, "per_unit"), rate(2, "minimum_commitment", {"amount": "10"}))

        last = allocate(PeriodUsage([window(1, 4)]), under, [], is_over=True)[-1]

        assert (last.at, last.rate_id, last.amount, last.quantity) == (END - US, 2, 9, 0)

    def test_a_price_s_own_minimum_comes_before_the_commitment_for_all(self) -> None:
        own = rate(1, "cost_plus", {"cost_price": "1", "minimum": "8"})

        assert rated([window(1, 3)], terms(own, rate(2, "minimum_commitment", {"amount": "10"})), is_over=True) == {
            1: 8, 2: 2,
        }  # fmt: skip

    @given(windows, st.decimals(0, 40, places=2))
    def test_a_cap_pays_whatever_is_above_it(self, used: list[Window], limit: Decimal) -> None:
        under = terms(rate(1, "per_unit"), allowances=[money("5"), money(limit, 2, measure="cap")])

        total = target(PeriodUsage(used), under, [], is_over=True).total()

        assert total.unbilled == min(max(total.rated - 5, ZERO), limit)
        assert total.rated == total.included + total.unbilled


class TestAllowances:
    @given(windows, st.decimals(0, 60, places=2))
    def test_units_are_the_first_ones_in_time_at_their_list_price(self, used: list[Window], covered: Decimal) -> None:
        tiers = {"tiers": [{"up_to": "10", "unit_price": "3"}, {"up_to": None, "unit_price": "1"}]}
        under = terms(rate(1, "graduated", tiers), allowances=[units(covered)])

        state = target(PeriodUsage(used), under, [], is_over=False)

        quantity = sum((one.quantity for one in used), ZERO)
        first = Fraction(min(quantity, covered))
        use = state.allowances.get((1, 1))
        assert Fraction(state.total().included) == Price("graduated", tiers).of(Used(first))
        assert (use.quantity if use else ZERO) == min(quantity, covered)

    @given(windows, st.decimals(0, 10, places=2))
    def test_a_pool_for_each_value_is_taken_by_no_other(self, used: list[Window], each: Decimal) -> None:
        under = terms(rate(1, "per_unit"), allowances=[money(each, each_dimension="model")])

        included = target(PeriodUsage(used), under, [], is_over=False).total().included

        of_values = (
            sum((one.quantity for one in used if one.dimensions["model"] == value), ZERO) / 4 for value in "abc"
        )
        assert included == sum((min(amount, each) for amount in of_values), ZERO)

    def test_pools_beside_each_other_pay_for_what_they_cover(self) -> None:
        own = money("5", 1, covers=({"dimensions": {"model": ["a"]}},))
        others = money("2", 2, covers=({"meter_code": "units", "dimensions": {"model": ["b", "c"]}},))
        none = money("9", 3, covers=({"meter_code": "requests"},))
        used = [window(1, 40), window(2, 40, model="b")]

        state = target(PeriodUsage(used), terms(rate(1, "per_unit"), allowances=[own, others, none]), [], is_over=False)

        assert {key: use.amount for key, use in state.allowances.items()} == {(1, 1): 5, (1, 2): 2}
        assert state.total().unbilled == 13

    def test_they_are_used_in_their_order_before_grants(self) -> None:
        under = terms(rate(1, "per_unit"), allowances=[units("8", 7), money("3", 8)])

        (one,) = allocate(PeriodUsage([window(1, 40)]), under, [grant("4")], is_over=False)

        assert [(source.kind, source.id, source.amount, source.quantity) for source in one.sources] == [
            ("allowance", 7, 2, 8), ("allowance", 8, 3, 0), ("grant", 1, 4, 0), ("unbilled", None, 1, 0),
        ]  # fmt: skip

    @given(models, windows, st.decimals(0, 20, places=2), st.integers(0, 40))
    def test_units_pay_before_money_whatever_their_place(
        self, model: str, used: list[Window], amount: Decimal, covered: int
    ) -> None:
        """None of them is spent on usage that money has paid for."""
        behind, ahead = (
            target(PeriodUsage(used), terms(rate(1, model), allowances=pools), [], is_over=False)
            for pools in ([money(amount, 1), units(str(covered), 2)], [units(str(covered), 2), money(amount, 1)])
        )

        assert behind == ahead

    def test_units_and_money_together_pay_for_all_they_hold(self) -> None:
        one_each = rate(1, "per_unit", unit_price=Decimal(1), unit_size=1)
        under = terms(one_each, allowances=[money("9", 1), units("10", 2)])

        state = target(PeriodUsage([window(0, 9), window(1, 10)]), under, [], is_over=False)

        assert (state.total().included, state.total().unbilled) == (19, 0)

    def test_two_pools_in_units_share_a_falling_price_and_none_pays_below_zero(self) -> None:
        falling = rate(1, "volume", {"tiers": [{"up_to": "100", "unit_price": "1"}, {"unit_price": "0.5"}]})
        under = terms(falling, allowances=[units("100", 1), units("1", 2)])

        (one,) = allocate(PeriodUsage([window(1, 120)]), under, [], is_over=False)

        assert [(source.id, source.amount, source.quantity) for source in one.sources] == [(1, 60, 100), (2, 0, 1)]


class TestWindowsAndEvents:
    @given(windows)
    def test_each_window_alone(self, used: list[Window]) -> None:
        price = rate(1, "package", BY_WINDOW)

        assert Fraction(rated(used, terms(price)).get(1, ZERO)) == asked(price, used)

    def test_two_versions_of_a_meter_within_an_hour_are_one_window(self) -> None:
        under = terms(rate(1, "package", BY_WINDOW))
        both = [window(1, 14), replace(window(1, 14), meter_version=2)]

        assert rated(both, under) == {1: 6}

    def test_an_hour_whose_events_take_each_other_away_charges_those_that_came_in(self) -> None:
        by_event = {"rate_percent": "3", "fixed_per_event": "0.30"}
        used = [event(START + HOUR, 50, number=1), event(START + HOUR, -50, number=2)]

        (one,) = allocate(
            PeriodUsage([window(1, 0)], {"units": used}), terms(rate(1, "percentage", by_event)), [], is_over=False
        )

        assert (one.at, one.quantity, one.amount) == (START + HOUR, 0, Decimal("1.80"))

    @given(st.lists(st.tuples(st.integers(0, 5 * 3600), quantities), max_size=12))
    def test_each_event_in_its_turn(self, drawn: list[tuple[int, Decimal]]) -> None:
        events = [event(START + timedelta(seconds=at), value, number=n) for n, (at, value) in enumerate(drawn)]
        hours = {at // 3600 for at, _ in drawn}
        used = [window(hour, sum((value for at, value in drawn if at // 3600 == hour), ZERO)) for hour in hours]
        under = terms(rate(1, "percentage", BY_EVENT), allowances=[units("100")])

        state = target(PeriodUsage(used, {"units": events[::-1]}), under, [], is_over=True)

        ordered = sorted(events, key=lambda one: (one.event_time, one.event_id))
        expected = Price("percentage", BY_EVENT).of(Used(events=[Fraction(one.quantity) for one in ordered]))
        assert Fraction(state.total().rated) == expected
        assert state.total().included == 0

    def test_events_that_are_not_the_window_s_are_refused(self) -> None:
        under = terms(rate(1, "percentage", BY_EVENT))

        with pytest.raises(EventsNotRead, match="differ from their window by 3"):
            target(PeriodUsage([window(1, 8)], {"units": [event(START + HOUR, 5)]}), under, [], is_over=False)

    def test_the_hour_in_which_a_period_begins_has_the_price_of_its_start(self) -> None:
        starts_at = START + timedelta(minutes=20)
        begun = rate(1, "per_unit", effective_from=START + timedelta(minutes=10))
        under = replace(terms(begun), starts_at=starts_at)

        (one,) = allocate(PeriodUsage([window(0, 4)]), under, [], is_over=False)

        assert (one.at, one.amount) == (starts_at, 1)
