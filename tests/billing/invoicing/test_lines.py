"""What lines say and charge; no database."""

from datetime import UTC, datetime
from decimal import Decimal

from billing.invoicing.lines import RateUsage, coverage_lines, late_line, usage_line


def usage(*, quantity: str, unbilled: str, covered: str | None = "0") -> RateUsage:
    return RateUsage(
        rate_id=7,
        subject="claude-sonnet-5",
        meter_code="input_tokens",
        unit_price=Decimal(3),
        unit_size=1_000_000,
        quantity=Decimal(quantity),
        unbilled=Decimal(unbilled),
        covered=None if covered is None else Decimal(covered),
    )


def test_a_usage_line_charges_the_net_amount_and_explains_the_rest() -> None:
    line = usage_line(usage(quantity="1234567", unbilled="1.203701", covered="2.5"), currency="USD")

    assert line.description == (
        "claude-sonnet-5 input tokens: 1,234,567 × 3 USD per 1,000,000 = 3.703701 USD, of which 2.5 USD covered"
    )
    assert (line.amount_minor, line.exact_amount, line.rounding) == (120, Decimal("1.203701"), Decimal("-0.003701"))


def test_a_wholly_covered_rate_is_a_line_of_zero_with_its_quantity() -> None:
    line = usage_line(usage(quantity="1000", unbilled="0", covered="0.003"), currency="USD")

    assert (line.amount_minor, line.rounding, line.quantity) == (0, Decimal(0), Decimal(1000))


def test_an_amount_below_half_a_cent_is_charged_as_nothing_and_goes_into_rounding() -> None:
    line = usage_line(usage(quantity="1000", unbilled="0.003"), currency="USD")

    assert (line.amount_minor, line.rounding) == (0, Decimal("-0.003"))


def test_a_late_correction_may_be_below_zero() -> None:
    start, end = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)

    late = usage(quantity="-500", unbilled="-0.0075", covered=None)

    line = late_line(late, starts_at=start, ends_at=end, currency="USD")

    assert line.description == (
        "Late usage of 01 Sep 2026 – 01 Oct 2026: claude-sonnet-5 input tokens: -500 units, -0.0075 USD"
    )
    assert (line.amount_minor, line.rounding) == (-1, Decimal("-0.0025"))


def test_coverage_says_how_far_the_allowance_and_each_grant_were_used() -> None:
    lines = coverage_lines(
        included=Decimal("12.50"),
        allowance=Decimal(20),
        grants=[("Welcome", Decimal("5.000000")), ("Unused", Decimal(0))],
        currency="USD",
    )

    assert [line.description for line in lines] == [
        "Included usage: 12.5 of 20 USD used",
        "Credit “Welcome”: 5 USD used",
    ]
    assert all((line.rate_id, line.amount_minor, line.exact_amount) == (None, 0, Decimal(0)) for line in lines)


def test_nothing_used_means_no_coverage_line() -> None:
    assert coverage_lines(included=Decimal(0), allowance=Decimal(20), grants=[], currency="USD") == []
