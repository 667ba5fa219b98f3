"""What lines say and charge; no database."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.invoicing.lines import Included, RateUsage, coverage_lines, late_line, usage_line


def usage(*, quantity: str, unbilled: str, covered: str | None = "0") -> RateUsage:
    return RateUsage(
        rate_id=7,
        subject="claude-sonnet-5",
        meter_code="input_tokens",
        how=f"{int(quantity):,} × 3 USD per 1,000,000 = {Decimal(quantity) * 3 / 1_000_000:f} USD",
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


def test_a_long_explanation_is_shortened_and_what_was_covered_stays() -> None:
    long = replace(usage(quantity="1000", unbilled="0.003", covered="2.5"), how="; ".join(["1 × 1 USD = 1 USD"] * 50))

    line = usage_line(long, currency="USD")

    assert len(line.description) == 500
    assert line.description.endswith("…, of which 2.5 USD covered")


def test_a_charge_without_a_meter_is_named_by_what_it_is() -> None:
    flat = replace(usage(quantity="0", unbilled="5"), subject="Flat", meter_code="", how="Flat: 5 USD")

    assert usage_line(flat, currency="USD").description == "Flat: 5 USD"


def included(name: str, amount: str | None, paid: str, **other: Any) -> Included:
    of = None if amount is None else Decimal(amount)
    return Included(
        **{"name": name, "measure": "money", "amount": of, "paid": Decimal(paid), "units": Decimal(0)} | other
    )


def test_coverage_says_how_far_each_allowance_and_each_grant_were_used() -> None:
    lines = coverage_lines(
        allowances=[
            included("Included usage", "20", "12.50"),
            included("Tokens", "5000", "0.3", measure="units", units=Decimal(1200)),
            included("Seats", "7", "9", each_dimension="member"),
            included("Trial", None, "3"),
            included("Maximum commitment", "100", "4.5", measure="cap"),
            included("Unused", "20", "0"),
        ],
        grants=[("Welcome", Decimal("5.000000")), ("Unused", Decimal(0))],
        currency="USD",
    )

    assert [line.description for line in lines] == [
        "Included usage: 12.5 of 20 USD used",
        "Tokens: 1,200 of 5,000 units used, worth 0.3 USD",
        "Seats: 9 of 7 USD for each member used",
        "Trial: 3 USD used, without limit",
        "Maximum commitment: 4.5 USD above 100 USD are not charged",
        "Credit “Welcome”: 5 USD used",
    ]
    assert all((line.rate_id, line.amount_minor, line.exact_amount) == (None, 0, Decimal(0)) for line in lines)


def test_nothing_used_means_no_coverage_line() -> None:
    assert coverage_lines(allowances=[included("Included usage", "20", "0")], grants=[], currency="USD") == []
