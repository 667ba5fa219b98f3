"""Prices of whole packages: a package begun is paid, or only one that is full."""

from dataclasses import dataclass
from decimal import Decimal

from billing.rating.charges.charge import Charge, Priced, Step, money, used
from billing.rating.charges.reading import Terms
from billing.rating.rating import EXACT, ZERO, plain

UP, DOWN = "up", "down"


@dataclass(frozen=True, slots=True, eq=False)
class Package(Charge):
    """
    So much for every package of units. Terms: `package_size` (above zero), `package_price` in currency units,
    `round` "up" (as if it were left away: a package begun is paid) or "down" (only full ones are), and `free_units`
    that come before the first package.
    """

    size: Decimal
    price: Decimal
    free_units: Decimal = ZERO
    is_rounded_up: bool = True

    @classmethod
    def read(cls, terms: Terms) -> "Package":
        return cls(
            size=terms.positive("package_size"),
            price=terms.number("package_price"),
            free_units=terms.number_or("free_units", ZERO),
            is_rounded_up=terms.choice("round", (UP, DOWN), UP) == UP,
        )

    def amount(self, quantity: Decimal) -> Decimal:
        return EXACT.multiply(self.packages(quantity), self.price)

    def packages(self, quantity: Decimal) -> Decimal:
        """Return how many packages are paid for."""
        units = used(quantity)
        if self.free_units:
            units = used(EXACT.subtract(units, self.free_units))
        return whole_blocks(units, self.size) if self.is_rounded_up else EXACT.divide_int(units, self.size)

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        units = used(quantity)
        free = min(units, self.free_units)
        steps = [Step(f"{plain(free)} free of charge", ZERO)] if free else []
        if rest := EXACT.subtract(units, free):
            packages, amount = self.packages(units), self.amount(units)
            steps.append(
                Step(
                    f"{plain(rest)} in packages of {plain(self.size)}, rounded {UP if self.is_rounded_up else DOWN}: "
                    f"{plain(packages)} × {money(self.price, currency)} = {money(amount, currency)}",
                    amount,
                )
            )
        return Priced(self.amount(units), tuple(steps))


def whole_blocks(units: Decimal, size: Decimal) -> Decimal:
    """Return how many blocks of that size hold the units, a block begun counted whole."""
    full = EXACT.divide_int(units, size)
    return EXACT.add(full, Decimal(1)) if EXACT.remainder(units, size) else full
