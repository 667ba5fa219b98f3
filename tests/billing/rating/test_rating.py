"""What can be written down exactly is, and the rest is refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.rating.rating import EXACT, InexactAmount, plain, require_storable


class TestRequireStorable:
    @given(st.decimals(-(10**26) + 1, 10**26 - 1, places=12), st.integers(0, 5))
    def test_takes_what_twelve_places_hold_however_it_is_written(self, amount: Decimal, zeros: int) -> None:
        require_storable(EXACT.quantize(amount, Decimal(1).scaleb(-12 - zeros)), "an amount")

    @pytest.mark.parametrize(
        ("amount", "words"),
        [
            ("0.0000000000001", "more than 12 decimal places"),
            ("-5E-13", "-0.0000000000005"),
            ("1E26", "more than the ledger can hold"),
            ("-100000000000000000000000000", "more than the ledger can hold"),
            ("1E70", "more than"),
        ],
    )
    def test_refuses_the_rest_and_says_of_what(self, amount: str, words: str) -> None:
        with pytest.raises(InexactAmount, match=words) as refused:
            require_storable(Decimal(amount), "credited of rate 7")

        assert str(refused.value).startswith("credited of rate 7 is ")


@pytest.mark.parametrize(
    ("number", "text"), [("1234567.500", "1,234,567.5"), ("0E-12", "0"), ("-0.10", "-0.1"), ("1E3", "1,000")]
)
def test_numbers_are_shown_without_needless_digits(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text
