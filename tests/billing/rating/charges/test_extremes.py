"""The largest terms and quantities that can be written down: priced exactly, or refused for their period alone."""

from typing import Any

import pytest

from billing.rating.charges import InvalidTerms, charge_of
from billing.rating.rating import InexactAmount
from billing.rating.target import PeriodUsage, target
from tests.billing.rating.pricing import rate, terms, window

MOST = "9" * 26 + "." + "9" * 12
LEAST = "0." + "0" * 11 + "1"
TIER = {"up_to": None, "unit_price": MOST}
EXTREMES: list[tuple[str, dict[str, Any]]] = [
    ("graduated", {"tiers": [{**TIER, "up_to": LEAST, "flat": MOST}, TIER], "unit_size": str(2**40)}),
    ("volume", {"tiers": [{**TIER, "flat": LEAST}], "unit_size": str(2**40)}),
    ("package", {"package_size": LEAST, "package_price": MOST, "free_units": LEAST}),
    ("blocks", {"mode": "top_tier", "tiers": [{"block_size": LEAST, "max_blocks": None, "price_per_block": MOST}]}),
    ("percentage", {"rate_percent": MOST, "free_total": LEAST, "minimum": MOST}),
    ("graduated_percentage", {"tiers": [{"up_to": None, "rate_percent": MOST, "flat": MOST}], "maximum": MOST}),
    ("cost_plus", {"cost_price": MOST, "margin_percent": MOST, "platform_fee": LEAST, "unit_size": str(10**25)}),
    ("cost_plus", {"cost_price": LEAST, "margin_percent": LEAST, "unit_size": str(2**40)}),
]


@pytest.mark.parametrize(("charge_model", "extreme"), EXTREMES)
@pytest.mark.parametrize("quantity", [MOST, LEAST])
def test_no_extreme_ends_but_in_an_exact_amount_or_a_refusal(
    charge_model: str, extreme: dict[str, Any], quantity: str
) -> None:
    usage = PeriodUsage([window(1, quantity)])

    try:
        state = target(usage, terms(rate(1, charge_model, extreme)), [], is_over=True)
        state.require_storable()
    except (InexactAmount, InvalidTerms) as refusal:
        assert str(refusal)  # noqa: PT017 - which of them fit is not the point
    else:
        assert state.total().rated == state.total().unbilled


def test_terms_that_no_computer_adds_up_are_refused_as_terms() -> None:
    tiers = [{**TIER, "up_to": MOST, "unit_price": "9" * 26}, {**TIER, "unit_price": LEAST}]

    with pytest.raises(InvalidTerms, match="shorten them"):
        charge_of("graduated", {"tiers": tiers, "unit_size": str(2**60)})
