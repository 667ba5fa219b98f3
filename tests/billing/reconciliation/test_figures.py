"""The room's own arithmetic: rounding a second time, and how figures are shown and compared."""

from decimal import Decimal

import pytest

from billing.reconciliation.comparison import Figure, Pair, shown
from billing.reconciliation.minor_units import in_units, rounded_minor


@pytest.mark.parametrize(
    ("exact", "currency", "minor"),
    [
        ("2.703701", "USD", 270),
        ("0.005", "USD", 1),
        ("-0.005", "USD", -1),
        ("0.004999999999", "USD", 0),
        ("99.5", "JPY", 100),
        # The last digit of three-decimal currencies is always zero.
        ("1.2349", "KWD", 1230),
        ("1.235", "KWD", 1240),
        # Sent times a hundred, whole units only.
        ("99.5", "UGX", 10_000),
        ("99.49", "ISK", 9_900),
    ],
)
def test_rounds_half_away_from_zero_to_what_can_be_charged(exact: str, currency: str, minor: int) -> None:
    assert rounded_minor(Decimal(exact), currency) == minor


@pytest.mark.parametrize(("currency", "units"), [("USD", "12.34"), ("JPY", "1234"), ("KWD", "1.234"), ("ISK", "12.34")])
def test_minor_units_become_currency_units(currency: str, units: str) -> None:
    assert in_units(1234, currency) == Decimal(units)


@pytest.mark.parametrize(
    ("figure", "text"),
    [(None, "none"), (0, "0"), (Decimal("1.50"), "1.5"), (Decimal("1E+2"), "100"), ("open", "open"), (Decimal(0), "0")],
)
def test_figures_are_shown_for_people(figure: Figure, text: str) -> None:
    assert shown(figure) == text


@pytest.mark.parametrize(
    ("left", "right", "agrees"),
    [
        (Decimal("1.10"), Decimal("1.1"), True),
        (Decimal("0.1"), Decimal("0.100000000001"), False),
        (None, None, True),
        (None, 0, False),
    ],
)
def test_a_pair_agrees_when_its_figures_are_equal(left: Figure, right: Figure, agrees: bool) -> None:
    assert Pair("subject", "left", left, "right", right, "explanation").agrees is agrees
