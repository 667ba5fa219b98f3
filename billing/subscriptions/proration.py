"""
What a part of a period costs and includes. Pure: integers of minor units, exact fractions, no clock.

Time is counted in exact microseconds and a fraction stays a fraction until a line is rounded, once. Two ways of
rounding a line are known. Where Stripe bills, each line is floored towards minus infinity on its own, the credit as a
negative amount (notes/stripe-sandbox.md; tests/stripe_sandbox/test_prorations.py): 2.5 of credit is 3, 4.5 of debit is
4. Where we write the line it is half away from zero, as every line of ours is (field.md, "rounding").

A discount is taken off the whole price, and the fraction off what is left (polar, test_proration_with_discount_change):
a fixed discount on a change of seats is one on each side and none on the difference (polar#11556). The denominator is
the whole period, never what a clamped start left of it (lago#6194).
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Literal

from billing.catalog.models import AtPlanChange
from billing.rating.rating import EXACT, ZERO
from billing.subscriptions.periods import MICROSECOND

# Parts of an amount of money have cents at least: of a currency without them too, as what is included is no payment.
MONEY_PLACES = 2


class Rounding(StrEnum):
    """How the exact amount of a line becomes minor units; the values are `decimal`'s names."""

    STRIPE = ROUND_FLOOR
    OURS = ROUND_HALF_UP  # half away from zero


@dataclass(frozen=True, slots=True)
class Discount:
    """What is taken off a price: `percentage` from 0 to 100, or a `fixed` amount of minor units, at least zero."""

    kind: Literal["percentage", "fixed"]
    value: Decimal

    def __post_init__(self) -> None:
        if self.kind not in ("percentage", "fixed"):
            raise ValueError(f"the kind of a discount is {self.kind!r}; it must be percentage or fixed")
        if self.value < 0 or (self.kind == "percentage" and self.value > 100):
            raise ValueError(f"a discount of {self.value} is none; it must be at least 0, and no percentage above 100")

    def off(self, amount: Fraction) -> Fraction:
        """Return what is left of an amount, at least zero."""
        if self.kind == "percentage":
            return amount * (100 - Fraction(self.value)) / 100
        return max(amount - Fraction(self.value), Fraction(0))


@dataclass(frozen=True, slots=True)
class Proration:
    """What a change within a period gives back and asks for, each a line; minor units, at least zero."""

    credit_minor: int
    debit_minor: int

    @property
    def net_minor(self) -> int:
        """What is to be paid; below zero what is given back. The sum of two rounded lines, not a rounded difference."""
        return self.debit_minor - self.credit_minor


def part_left(starts_at: datetime, ends_at: datetime, at: datetime) -> Fraction:
    """Return the part of [starts_at, ends_at) from `at` on. Raises ValueError for an instant outside of it."""
    if not starts_at < ends_at:
        raise ValueError("a period has a length")
    if not starts_at <= at <= ends_at:
        raise ValueError(f"{at:%F %T} lies outside the period from {starts_at:%F %T} to {ends_at:%F %T}")
    return Fraction((ends_at - at) // MICROSECOND, (ends_at - starts_at) // MICROSECOND)


def part_of_days(days: int, days_total: int) -> Fraction:
    """Return `days` of `days_total` as a part: how those count who bill by the day. Raises ValueError."""
    if days < 0 or days_total < 1:
        raise ValueError("days are at least zero, of a total of at least one")
    return Fraction(days, days_total)


def days_inclusive(first_day: date, last_day: date) -> int:
    """Return how many days there are from the first to the last, both counted. Raises ValueError."""
    if last_day < first_day:
        raise ValueError("the last day comes before the first")
    return (last_day - first_day).days + 1


def line_minor(price_minor: int | Decimal, part: Fraction, *, rounding: Rounding) -> int:
    """Return what a part of a price comes to on one line; a credit is a price below zero."""
    return rounded(Fraction(price_minor) * part, rounding)


def prorated(
    *,
    old_minor: int,
    new_minor: int,
    part: Fraction,
    old_discount: Discount | None = None,
    new_discount: Discount | None = None,
    new_starts_fresh: bool = False,
    rounding: Rounding = Rounding.STRIPE,
) -> Proration:
    """
    Return the two lines of a change with `part` of the period left: the whole old configuration credited, the whole
    new one debited, never a difference.

    `new_starts_fresh` is for a change that begins a period of its own (another interval): it is debited whole.
    """
    old, new = Fraction(old_minor), Fraction(new_minor)
    old = old_discount.off(old) if old_discount else old
    new = new_discount.off(new) if new_discount else new
    return Proration(
        credit_minor=-rounded(-old * part, rounding),
        debit_minor=rounded(new if new_starts_fresh else new * part, rounding),
    )


def rounded(amount: Fraction, rounding: Rounding, *, places: int = 0) -> int:
    """Return an exact amount as a whole number of its smallest unit, 10^-places. Exact: integers alone decide."""
    scaled = amount * 10**places
    floor = int(scaled.numerator // scaled.denominator)
    if rounding is Rounding.STRIPE:
        return floor
    rest = scaled - floor
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and scaled > 0):
        return floor + 1
    return floor


def part_of_amount(amount: Decimal, part: Fraction, *, places: int = MONEY_PLACES) -> Decimal:
    """
    Return a part of what is included, rounded up: with the places of the amount itself, `places` at least. So a part of
    20 USD is whole cents, and a part of a million tokens (`places` 0) whole tokens, in the customer's favour.
    """
    if not 0 <= part <= 1:
        raise ValueError("a part is from 0 to 1")
    exponent = amount.normalize(EXACT).as_tuple().exponent
    digits = max(places, -exponent if isinstance(exponent, int) else 0)
    return Decimal(-rounded(-Fraction(amount) * part, Rounding.STRIPE, places=digits)).scaleb(-digits, EXACT)


def allowance_after(
    *,
    old: Decimal | None,
    new: Decimal | None,
    at_plan_change: str,
    part: Fraction,
    used: Decimal = ZERO,
    places: int = MONEY_PLACES,
) -> Decimal | None:
    """
    Return what an allowance comes to for the rest of a period whose terms change with `part` of it left.

    `old` and `new` are its whole amounts for the period under either terms, zero where one has no such allowance; None
    is without a limit. `used` is what the old one has paid for until now. It paid, and nothing of it is charged after
    all because of the change: what is used is taken off what the whole period includes.

    `prorate`: the whole period includes each plan's part of it, exactly the old amount where nothing changed.
    `restart`: the new one is whole again. `keep`: the whole period includes what the old one did; the new one begins
    with the next period. Raises ValueError for another word.
    """
    if at_plan_change not in AtPlanChange.values:
        raise ValueError(f"at_plan_change is {at_plan_change!r}; it must be one of {', '.join(AtPlanChange.values)}")
    if at_plan_change == AtPlanChange.RESTART:
        return new
    if at_plan_change == AtPlanChange.KEEP:
        return None if old is None else max(EXACT.subtract(old, used), ZERO)
    if new is None:
        return None
    if old is None:
        return part_of_amount(new, part, places=places)
    # What the part after leaves of the whole, so that both make it again where nothing changes.
    before = EXACT.subtract(old, part_of_amount(old, part, places=places))
    return max(EXACT.subtract(EXACT.add(before, part_of_amount(new, part, places=places)), used), ZERO)
