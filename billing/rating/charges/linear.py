"""Prices without tiers: so much a unit, so much a period, and what is agreed for a period as a whole."""

from dataclasses import dataclass
from decimal import Decimal, Inexact
from typing import Any

from billing.rating.charges.charge import Basis, Charge, InvalidTerms, Priced, Step, money, times, used
from billing.rating.charges.reading import Terms, price_of_one, read_number
from billing.rating.rating import EXACT, ZERO, InexactAmount, plain


@dataclass(frozen=True, slots=True, eq=False)
class PerUnit(Charge):
    """
    So much for every unit. Its terms are two fields of their own and not JSON: `unit_price` (currency units, at least
    zero) for `unit_size` units (a whole number above zero), such as 2.50 for 1,000,000.
    """

    unit_price: Decimal
    unit_size: int

    @classmethod
    def of(cls, unit_price: Any, unit_size: Any) -> "PerUnit":
        """Raises InvalidTerms."""
        if unit_price is None:
            raise InvalidTerms("unit_price", "is missing; write the price of unit_size units as text, such as '2.50'")
        if isinstance(unit_size, bool) or not isinstance(unit_size, int) or unit_size < 1:
            raise InvalidTerms("unit_size", f"{unit_size!r} is not a whole number above zero; write 1 for each unit")
        return cls(read_number(unit_price, "unit_price"), unit_size)

    @property
    def unit_amount(self) -> Decimal | None:
        try:
            return EXACT.divide(self.unit_price, Decimal(self.unit_size))
        except Inexact:
            # A third has no last digit, three thirds are one: such a price is exact for some quantities only.
            return None

    def amount(self, quantity: Decimal) -> Decimal:
        units = used(quantity)
        try:
            return EXACT.divide(EXACT.multiply(units, self.unit_price), Decimal(self.unit_size))
        except Inexact as error:
            raise InexactAmount(
                f"{units} units at {self.unit_price} for {self.unit_size} have no exact price; "
                "price so many units as divide evenly, such as 1000"
            ) from error

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        amount = self.amount(quantity)
        text = times(used(quantity), self.unit_price, self.unit_size, currency)
        return Priced(amount, (Step(f"{text} = {money(amount, currency)}", amount),))


@dataclass(frozen=True, slots=True, eq=False)
class CostPlus(Charge):
    """
    What a unit costs us, a margin on it, and a fee beside it, such as a model's list price and a platform fee.

    Terms: `cost_price` for `unit_size` units (1 where it is left away), `margin_percent` of the cost (0), and
    `platform_fee` for `unit_size` units (0), which bears no margin. Where the quantity is itself a cost in currency
    units, `cost_price` is "1".
    """

    cost_price: Decimal
    unit_size: Decimal
    margin_percent: Decimal
    platform_fee: Decimal

    @classmethod
    def read(cls, terms: Terms) -> "CostPlus":
        charge = cls(
            cost_price=terms.number("cost_price"),
            unit_size=terms.positive("unit_size", Decimal(1)),
            margin_percent=terms.number_or("margin_percent", ZERO),
            platform_fee=terms.number_or("platform_fee", ZERO),
        )
        for price in (charge.cost_price, charge.platform_fee):
            price_of_one(price, charge.unit_size, terms.name("unit_size"))
        return charge

    @property
    def unit_amount(self) -> Decimal:
        return EXACT.divide(
            EXACT.add(EXACT.add(self.cost_price, self._margin(self.cost_price)), self.platform_fee), self.unit_size
        )

    def amount(self, quantity: Decimal) -> Decimal:
        return EXACT.multiply(used(quantity), self.unit_amount)

    def cost(self, quantity: Decimal) -> Decimal:
        """Return the part of `amount` that is our cost."""
        return EXACT.divide(EXACT.multiply(used(quantity), self.cost_price), self.unit_size)

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        units = used(quantity)
        cost = self.cost(units)
        steps = [
            Step(f"Cost: {times(units, self.cost_price, self.unit_size, currency)} = {money(cost, currency)}", cost)
        ]
        if self.margin_percent:
            margin = self._margin(cost)
            steps.append(
                Step(
                    f"Margin: {plain(self.margin_percent)} % of {money(cost, currency)} = {money(margin, currency)}",
                    margin,
                )
            )
        if self.platform_fee:
            fee = EXACT.divide(EXACT.multiply(units, self.platform_fee), self.unit_size)
            text = times(units, self.platform_fee, self.unit_size, currency)
            steps.append(Step(f"Platform fee: {text} = {money(fee, currency)}", fee))
        return Priced(self.amount(units), tuple(steps))

    def _margin(self, cost: Decimal) -> Decimal:
        return EXACT.scaleb(EXACT.multiply(cost, self.margin_percent), -2)


@dataclass(frozen=True, slots=True, eq=False)
class Flat(Charge):
    """
    So much for a period, whatever is used. Terms: `amount` in currency units.
    """

    price: Decimal

    basis = Basis.PERIOD

    @classmethod
    def read(cls, terms: Terms) -> "Flat":
        return cls(terms.number("amount"))

    def amount(self, quantity: Decimal) -> Decimal:
        return self.price

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        return Priced(self.price, (Step(f"Flat: {money(self.price, currency)}", self.price),))


@dataclass(frozen=True, slots=True, eq=False)
class MinimumCommitment(Charge):
    """
    What all usage of a period comes to at least: the rest is owed when the period is over, by `shortfall`.

    Terms: `amount` in currency units.
    """

    commitment: Decimal

    basis = Basis.PERIOD

    @classmethod
    def read(cls, terms: Terms) -> "MinimumCommitment":
        return cls(terms.number("amount"))

    def amount(self, quantity: Decimal) -> Decimal:
        return ZERO

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        return Priced(ZERO, ())

    def shortfall(self, amount: Decimal) -> Decimal:
        return max(EXACT.subtract(self.commitment, amount), ZERO)


@dataclass(frozen=True, slots=True, eq=False)
class MaximumCommitment(Charge):
    """
    What a period's usage is billed at most. It prices nothing: who opens a period makes it an allowance that pays for
    whatever is above `limit`.

    Terms: `amount` in currency units.
    """

    limit: Decimal

    basis = Basis.PERIOD

    @classmethod
    def read(cls, terms: Terms) -> "MaximumCommitment":
        return cls(terms.number("amount"))

    def amount(self, quantity: Decimal) -> Decimal:
        return ZERO

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        return Priced(ZERO, ())
