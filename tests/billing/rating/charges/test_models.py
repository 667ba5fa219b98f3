"""What each charge model means, by examples with numbers that can be followed by hand."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing.rating.charges import (
    Basis,
    Charge,
    CostPlus,
    Graduated,
    MaximumCommitment,
    Volume,
    billable,
    charge_of,
    graduated_prorated,
    part,
    percent_of,
    volume_prorated,
)
from billing.rating.rating import InexactAmount, RatingError

TIERS = [
    {"up_to": "10", "unit_price": "2", "flat": "5"},
    {"up_to": "20", "unit_price": "1"},
    {"up_to": None, "unit_price": "0.5", "flat": "1"},
]


class TestWhereTiersMeet:
    """A tier holds its own end; the least beyond it is the next tier's."""

    @pytest.mark.parametrize(
        ("charge_model", "at_10", "beyond_10"),
        [("graduated", "25", "28.001"), ("volume", "25", "13.001"), ("graduated_percentage", "5.2", "8.20001")],
    )
    def test_an_end_is_of_the_tier_before_it(self, charge_model: str, at_10: str, beyond_10: str) -> None:
        field, second = ("rate_percent", "1") if charge_model == "graduated_percentage" else ("unit_price", "1")
        tiers = [{"up_to": "10", field: "2", "flat": "5"}, {"up_to": None, field: second, "flat": "3"}]
        charge = charge_of(charge_model, {"tiers": tiers})

        assert charge.amount(Decimal(10)) == Decimal(at_10)
        assert charge.amount(Decimal("10.001")) == Decimal(beyond_10)

    @pytest.mark.parametrize(("mode", "at_30", "beyond_30"), [("all_tiers", "6", "7"), ("top_tier", "6", "4")])
    def test_so_is_a_block(self, mode: str, at_30: str, beyond_30: str) -> None:
        tiers = [
            {"block_size": "10", "max_blocks": "3", "price_per_block": "2"},
            {"block_size": "10", "max_blocks": None, "price_per_block": "1"},
        ]
        charge = charge_of("blocks", {"mode": mode, "tiers": tiers})

        assert charge.amount(Decimal(30)) == Decimal(at_30)
        assert charge.amount(Decimal("30.001")) == Decimal(beyond_30)


class TestMaximum:
    def test_of_a_price_by_the_event_ends_what_events_pay(self) -> None:
        charge = charge_of("percentage", {"rate_percent": "0", "fixed_per_event": "2", "maximum": "5"})
        events = [Decimal(1)] * 4

        assert list(charge.each(events)) == [2, 2, 1, 0]
        assert charge.explain_each(events, "USD").steps[-1].text == "At most 5 USD: -3 USD"

    def test_of_nothing_makes_a_price_nothing(self) -> None:
        assert charge_of("graduated", {"tiers": TIERS, "maximum": "0"}).amount(Decimal(5)) == 0


class TestZeroUsage:
    @pytest.mark.parametrize(
        ("charge_model", "tier"),
        [("graduated", "unit_price"), ("volume", "unit_price"), ("graduated_percentage", "rate_percent")],
    )
    def test_pays_the_first_flat_amount_as_the_price_says(self, charge_model: str, tier: str) -> None:
        tiers = [{"up_to": "10", tier: "1", "flat": "5"}, {"up_to": None, tier: "1"}]
        by_default = charge_of(charge_model, {"tiers": tiers})
        always = charge_of(charge_model, {"tiers": tiers, "flat_without_usage": True})
        never = charge_of(charge_model, {"tiers": tiers, "flat_without_usage": False})

        assert always.amount(Decimal(0)) == 5
        assert never.amount(Decimal(0)) == 0
        assert by_default.amount(Decimal(0)) == (0 if charge_model == "graduated_percentage" else 5)
        assert always.amount(Decimal(4)) == never.amount(Decimal(4)) == by_default.amount(Decimal(4))


class TestThirds:
    """A price for three units is exact for multiples of three, and refused for the rest: never rounded."""

    charge = charge_of("per_unit", {}, unit_price=Decimal(1), unit_size=3)

    def test_divide_where_they_divide(self) -> None:
        assert self.charge.amount(Decimal(6)) == 2
        assert self.charge.unit_amount is None

    def test_are_refused_where_they_do_not(self) -> None:
        with pytest.raises(InexactAmount, match="no exact price"):
            self.charge.amount(Decimal(1))


class TestMatrix:
    terms = {
        "each": {"charge_model": "cost_plus", "unit_size": "1000000", "platform_fee": "0.25"},
        "cells": [
            {"dimensions": {"model": "opus", "class": "input"}, "cost_price": "5"},
            {"dimensions": {"model": "opus", "class": "output"}, "cost_price": "25"},
            {"dimensions": {"model": "auto", "class": "input"}, "cost_price": "1.25", "platform_fee": "0"},
            {"dimensions": {"model": "opus"}, "charge_model": "graduated", "unit_size": "1", "tiers": [
                {"up_to": None, "unit_price": "9"}], "platform_fee": None},
        ],
    }  # fmt: skip

    def matrix(self) -> Charge:
        terms = {**self.terms, "cells": self.terms["cells"][:3]}  # type: ignore[index]
        return charge_of("matrix", terms)

    def test_prices_each_cell_by_itself(self) -> None:
        matrix = self.matrix()
        million = Decimal(1_000_000)

        def price(**dimensions: str) -> Decimal | None:
            cell = matrix.cell(dimensions)
            return cell.amount(million) if cell else None

        assert price(**{"model": "opus", "class": "input", "member": "ann"}) == Decimal("5.25")
        assert price(**{"model": "opus", "class": "output"}) == Decimal("25.25")
        assert price(**{"model": "auto", "class": "input"}) == Decimal("1.25")
        assert price(**{"model": "auto", "class": "output"}) is None
        assert price(model="opus") is None

    def test_takes_the_cell_that_names_most_and_no_other(self) -> None:
        """field.md 23, L#5916: a filter that is a part of another one is not counted beside it."""
        cells = [
            {"dimensions": {}, "unit_price": "1"},
            {"dimensions": {"model": "opus", "class": "input"}, "unit_price": "3"},
            {"dimensions": {"model": "opus"}, "unit_price": "2"},
        ]
        matrix = charge_of("matrix", {"cells": cells})
        usages = [{"model": "opus", "class": "input"}, {"model": "opus", "class": "x"}, {"model": "x"}, {}]

        assert [matrix.cell(usage).amount(Decimal(1)) for usage in usages] == [3, 2, 1, 1]  # type: ignore[union-attr]

    def test_may_price_usage_without_a_value(self) -> None:
        cells = [{"dimensions": {"model": None}, "unit_price": "1"}, {"dimensions": {"model": "a"}, "unit_price": "2"}]
        matrix = charge_of("matrix", {"cells": cells})
        found = [matrix.cell(usage) for usage in ({"model": None}, {}, {"model": "a"}, {"model": "b"})]

        assert [cell and cell.unit_amount for cell in found] == [1, 1, 2, None]

    def test_gives_the_same_cell_for_the_same_usage_and_keeps_alike_cells_apart(self) -> None:
        cells = [{"dimensions": {"model": model}, "unit_price": "1"} for model in ("a", "b")]
        matrix = charge_of("matrix", {"cells": cells})

        assert matrix.cell({"model": "a"}) is matrix.cell({"model": "a", "member": "ann"})
        assert matrix.cell({"model": "a"}) != matrix.cell({"model": "b"})

    def test_reads_events_if_one_of_its_cells_does(self) -> None:
        by_event = {
            "dimensions": {"model": "b"},
            "charge_model": "percentage",
            "rate_percent": "1",
            "fixed_per_event": "1",
        }

        assert charge_of(
            "matrix", {"cells": [{"dimensions": {"model": "a"}, "unit_price": "1"}, by_event]}
        ).reads_events
        assert not self.matrix().reads_events

    def test_has_no_price_of_its_own(self) -> None:
        with pytest.raises(RatingError, match="ask its cell"):
            self.matrix().amount(Decimal(1))
        with pytest.raises(RatingError, match="ask its cell"):
            self.matrix().explain(Decimal(1), "USD")

    def test_another_charge_model_does_not_take_shared_terms_it_does_not_know(self) -> None:
        with pytest.raises(RatingError, match=r"cells\[3\].platform_fee"):
            charge_of("matrix", self.terms)


class TestCommitments:
    def test_a_minimum_is_owed_when_the_period_is_over(self) -> None:
        minimum = charge_of("minimum_commitment", {"amount": "100"})

        assert minimum.amount(Decimal(5)) == 0
        assert minimum.explain(Decimal(5), "USD").steps == ()
        assert [minimum.shortfall(Decimal(amount)) for amount in ("0", "99.999", "100", "101")] == [
            100,
            Decimal("0.001"),
            0,
            0,
        ]

    def test_a_single_price_may_have_a_minimum_of_its_own(self) -> None:
        charge = charge_of("graduated", {"tiers": TIERS, "minimum": "30"})

        assert charge.amount(Decimal(5)) == 15
        assert charge.shortfall(Decimal(15)) == 15
        assert charge_of("graduated", {"tiers": TIERS}).shortfall(Decimal(0)) == 0

    def test_a_maximum_tells_its_limit(self) -> None:
        maximum = charge_of("maximum_commitment", {"amount": "500"})

        assert isinstance(maximum, MaximumCommitment)
        assert maximum.limit == 500
        assert maximum.amount(Decimal(5)) == maximum.shortfall(Decimal(0)) == 0
        assert maximum.explain(Decimal(5), "USD").steps == ()


class TestBasis:
    @pytest.mark.parametrize(
        ("terms", "basis"),
        [
            ({}, Basis.QUANTITY),
            ({"free_total": "5"}, Basis.QUANTITY),
            ({"free_events": 0}, Basis.QUANTITY),
            ({"per": "window"}, Basis.WINDOW),
            ({"fixed_per_event": "1"}, Basis.EVENT),
            ({"free_events": 1}, Basis.EVENT),
            ({"min_per_event": "1"}, Basis.EVENT),
            ({"max_per_event": "1"}, Basis.EVENT),
            ({"max_per_event": "1", "maximum": "5"}, Basis.EVENT),
        ],
    )
    def test_of_a_percentage_is_the_event_only_where_events_matter(self, terms: dict[str, Any], basis: Basis) -> None:
        assert charge_of("percentage", {"rate_percent": "1", **terms}).basis is basis

    @pytest.mark.parametrize(
        ("charge_model", "terms", "unit_amount"),
        [
            ("percentage", {"rate_percent": "1.5"}, "0.015"),
            ("cost_plus", {"cost_price": "2", "unit_size": "1000", "margin_percent": "50"}, "0.003"),
            ("graduated", {"tiers": [{"up_to": None, "unit_price": "2"}], "minimum": "5"}, "2"),
            ("volume", {"tiers": [{"up_to": None, "unit_price": "2"}], "per": "window"}, "2"),
            ("graduated", {"tiers": [{"up_to": None, "unit_price": "2"}], "maximum": "5"}, None),
            ("graduated", {"tiers": [{"up_to": None, "unit_price": "2"}], "free_units": "5"}, None),
            ("graduated", {"tiers": [{"up_to": None, "unit_price": "2", "flat": "1"}]}, None),
            ("percentage", {"rate_percent": "1", "free_total": "1"}, None),
            ("package", {"package_size": "1", "package_price": "1"}, None),
        ],
    )
    def test_a_price_that_is_the_same_for_every_unit_says_so(
        self, charge_model: str, terms: dict[str, Any], unit_amount: str | None
    ) -> None:
        expected = None if unit_amount is None else Decimal(unit_amount)

        assert charge_of(charge_model, terms).unit_amount == expected


class TestParts:
    def test_a_minimum_takes_in_what_was_billed_before(self) -> None:
        charge = charge_of("graduated", {"tiers": TIERS, "minimum": "100"})

        first = part(charge, Decimal(5), before=Decimal(0))
        assert first == 15
        assert part(charge, Decimal(0), before=Decimal(5), paid=first, is_over=True) == 85

    @pytest.mark.parametrize(
        ("quantity", "before", "expected"), [("15", "5", "10"), ("15", "20", "15"), ("3", "0", "0"), ("3", "8", "1")]
    )
    def test_free_units_are_the_first_of_the_period(self, quantity: str, before: str, expected: str) -> None:
        assert billable(Decimal(quantity), before=Decimal(before), free=Decimal(10)) == Decimal(expected)

    def test_a_prorated_volume_is_in_the_tier_of_all_its_units(self) -> None:
        charge = charge_of("volume", {"tiers": TIERS})
        assert isinstance(charge, Volume)

        assert volume_prorated(charge, Decimal(30), Decimal(15)) == Decimal("8.5")

    def test_prorated_tiers_without_a_change_pay_the_first_flat_amount(self) -> None:
        charge = charge_of("graduated", {"tiers": TIERS})
        assert isinstance(charge, Graduated)

        assert graduated_prorated(charge, []) == 5
        assert graduated_prorated(charge, [(Decimal(3), Decimal(1)), (Decimal(-1), Decimal(0))]) == 7
        # A third of 10 units of the second tier has no end; it is exact as a fraction.
        thirds = graduated_prorated(charge, [(Decimal(10), Decimal(10)), (Decimal(3), Decimal("0.1"))])
        assert thirds == 25 + Fraction(1, 10)

    def test_percent_of_is_exact(self) -> None:
        assert percent_of(Decimal("10.01"), Decimal("15.5")) == Decimal("1.55155")

    def test_cost_is_the_part_that_is_ours_to_pay(self) -> None:
        charge = charge_of("cost_plus", {"cost_price": "5", "unit_size": "1000000", "platform_fee": "0.25"})
        assert isinstance(charge, CostPlus)

        assert charge.cost(Decimal(200_000)) == 1
        assert charge.amount(Decimal(200_000)) == Decimal("1.05")


def test_a_matrix_of_many_cells_is_read_in_no_time() -> None:
    """As many as a price list of a thousand models by ten classes has; each is looked for among all the others."""
    cells = [
        {"dimensions": {"model": f"m{model}", "class": f"c{kind}"}, "unit_price": str(model)}
        for model in range(1000)
        for kind in range(10)
    ]
    matrix = charge_of("matrix", {"cells": cells})

    found = [matrix.cell({"model": f"m{model}", "class": "c9"}) for model in range(1000)]
    assert [cell and cell.unit_amount for cell in found] == list(range(1000))
