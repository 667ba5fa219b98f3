"""Amounts written down by hand; the increments are those of Stripe's page on currencies."""

from decimal import Decimal

import pytest

from billing.invoicing.rounding import from_minor, to_minor


@pytest.mark.parametrize(
    ("exact", "currency", "minor"),
    [
        ("3.703701", "USD", 370),
        ("0.005", "USD", 1),
        ("-0.005", "USD", -1),
        ("0.004999999999", "USD", 0),
        ("-0.004999999999", "USD", 0),
        ("0.015", "USD", 2),
        ("0.025", "USD", 3),
        ("99.995", "USD", 10000),
        ("1.5", "JPY", 2),
        ("-2.5", "JPY", -3),
        ("0.4", "JPY", 0),
        ("1.234", "KWD", 1230),
        ("1.235", "KWD", 1240),
        ("-1.235", "KWD", -1240),
        ("12.5", "ISK", 1300),
        ("12.49", "UGX", 1200),
        ("0.5", "UGX", 100),
        ("99999999999999999999.995", "USD", 10000000000000000000000),
    ],
)
def test_rounds_once_half_away_from_zero_to_what_can_be_charged(exact: str, currency: str, minor: int) -> None:
    assert to_minor(Decimal(exact), currency) == minor


@pytest.mark.parametrize(
    ("minor", "currency", "amount"),
    [(370, "USD", "3.70"), (-1, "USD", "-0.01"), (5000, "JPY", "5000"), (1230, "KWD", "1.23"), (1300, "ISK", "13")],
)
def test_reads_minor_units_exactly(minor: int, currency: str, amount: str) -> None:
    assert from_minor(minor, currency) == Decimal(amount)
