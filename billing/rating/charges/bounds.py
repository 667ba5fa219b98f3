"""What any price by quantity can have beside it: units free of charge, a minimum, a maximum, and each window alone."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from billing.money_text import counted
from billing.rating.charges.charge import Basis, Charge, Priced, Step, money, total, used
from billing.rating.charges.reading import Terms
from billing.rating.rating import EXACT, ZERO, plain

PERIOD, WINDOW = "period", "window"
# So many different windows are told one by one.
_TOLD = 12


@dataclass(frozen=True, slots=True, eq=False)
class Bounded(Charge):
    """
    A price within bounds. Terms, all optional, beside those of graduated, volume, package, percentage,
    graduated_percentage, blocks and cost_plus:

    `free_units`: so many units are free before the price sees any (of percentages, see their own words for that).
    `maximum`: what the price comes to at most, in currency units.
    `minimum`: what it comes to at least; what lacks is owed when the period is over, by `shortfall`.
    `per`: "period" (as if it were left away) or "window": every hour's quantity is priced as if it were alone, so that
    the period's price is the sum of its hours, such as of their maxima; `free_units` and `maximum` are an hour's then.
    """

    price: Charge
    free_units: Decimal = ZERO
    minimum: Decimal = ZERO
    maximum: Decimal | None = None
    is_by_window: bool = False

    @property
    def basis(self) -> Basis:  # type: ignore[override]
        return Basis.WINDOW if self.is_by_window else self.price.basis

    @property
    def unit_amount(self) -> Decimal | None:
        return self.price.unit_amount if self.maximum is None and not self.free_units else None

    def amount(self, quantity: Decimal) -> Decimal:
        if self.free_units:
            quantity = EXACT.subtract(used(quantity), self.free_units)
        amount = self.price.amount(quantity)
        return amount if self.maximum is None or amount <= self.maximum else self.maximum

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        units = used(quantity)
        free = min(units, self.free_units)
        priced = self.price.explain(EXACT.subtract(units, free), currency)
        steps = [Step(f"{plain(free)} free of charge", ZERO)] if free else []
        return self._limited(Priced(priced.amount, (*steps, *priced.steps)), currency)

    def each(self, values: Iterable[Decimal]) -> Iterator[Decimal]:
        if self.price.basis is not Basis.EVENT:
            yield from Charge.each(self, values)
            return
        paid = ZERO
        for price in self.price.each(values):
            amount = price if self.maximum is None else min(price, EXACT.subtract(self.maximum, paid))
            paid = EXACT.add(paid, amount)
            yield amount

    def explain_each(self, values: Iterable[Decimal], currency: str) -> Priced:
        if self.is_by_window:
            return self._explain_windows(values, currency)
        if self.price.basis is Basis.EVENT:
            return self._limited(self.price.explain_each(values, currency), currency)
        return self.explain(total(values), currency)

    def shortfall(self, amount: Decimal) -> Decimal:
        return max(EXACT.subtract(self.minimum, amount), ZERO)

    def _explain_windows(self, values: Iterable[Decimal], currency: str) -> Priced:
        """Windows alike are told once; beyond `_TOLD` kinds of them, the rest in one step."""
        counts = Counter(used(value) for value in values)
        steps, rest, rest_count = [], ZERO, 0
        for place, (quantity, count) in enumerate(sorted(counts.items(), reverse=True)):
            priced = self.explain(quantity, currency)
            amount = EXACT.multiply(priced.amount, Decimal(count))
            if place < _TOLD:
                times = f"{count:,} × " if count > 1 else ""
                steps.append(Step(f"{times}an hour of {plain(quantity)}: {priced.text or 'nothing'}", amount))
            else:
                rest, rest_count = EXACT.add(rest, amount), rest_count + count
        if rest_count:
            steps.append(Step(f"{counted(rest_count, 'further hour')}: {money(rest, currency)}", rest))
        return Priced(total(step.amount for step in steps), tuple(steps))

    def _limited(self, priced: Priced, currency: str) -> Priced:
        if self.maximum is None or priced.amount <= self.maximum:
            return priced
        less = EXACT.subtract(self.maximum, priced.amount)
        text = f"At most {money(self.maximum, currency)}: {money(less, currency)}"
        return Priced(self.maximum, (*priced.steps, Step(text, less)))


def bounded(price: Charge, terms: Terms, *, has_free_units: bool) -> Charge:
    """Return the price within the bounds that its terms name; itself if they name none. Raises InvalidTerms."""
    charge = Bounded(
        price,
        free_units=terms.number_or("free_units", ZERO) if has_free_units else ZERO,
        minimum=terms.number_or("minimum", ZERO),
        maximum=terms.number_or_none("maximum"),
        is_by_window=terms.choice("per", (PERIOD, WINDOW), PERIOD) == WINDOW,
    )
    if charge.maximum is not None and charge.maximum < charge.minimum:
        raise terms.refuse("maximum", f"{charge.maximum} is below the minimum of {charge.minimum}; raise it")
    if charge.is_by_window and price.basis is Basis.EVENT:
        raise terms.refuse("per", "a price of each event has no price of a window; leave it away")
    is_bound = charge.free_units or charge.minimum or charge.maximum is not None or charge.is_by_window
    return charge if is_bound else price
