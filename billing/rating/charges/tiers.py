"""
Prices by tiers. A tier is (the up_to before it, its own up_to], on decimals: 100.5 is beyond a tier that ends at 100.

A tier's flat amount is charged once the tier is reached. Whether no usage at all reaches the first one, the price says
(field.md: zero usage; as left away, it is as Lago and OpenMeter have it).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.rating.charges.charge import Charge, Priced, Step, money, times, used
from billing.rating.charges.reading import Terms, price_of_one
from billing.rating.rating import EXACT, ZERO, plain


@dataclass(frozen=True, slots=True)
class Tier:
    """Units above `above` up to `up_to` (None: all there are): `price` for `size` of them, and `flat` for the tier."""

    above: Decimal
    up_to: Decimal | None
    price: Decimal
    size: Decimal
    flat: Decimal
    is_share: bool = False

    @property
    def range(self) -> str:
        if self.up_to is None:
            return f"Above {plain(self.above)}" if self.above else "All units"
        return f"Above {plain(self.above)} up to {plain(self.up_to)}" if self.above else f"Up to {plain(self.up_to)}"

    def step(self, units: Decimal, amount: Decimal, currency: str, label: str = "") -> Step:
        """The step for `units` of the tier that cost `amount` beside the tier's flat amount."""
        share = f"{plain(self.price)} % of {plain(units)}"
        priced = share if self.is_share else times(units, self.price, self.size, currency)
        both = EXACT.add(amount, self.flat)
        if not self.flat:
            return Step(f"{label or self.range}: {priced} = {money(both, currency)}", both)
        if not amount:
            return Step(f"{label or self.range}: flat {money(both, currency)}", both)
        flat = f"flat {money(self.flat, currency)}"
        return Step(f"{label or self.range}: {flat} + {priced} = {money(both, currency)}", both)


class Tiers:
    """The tiers of one price, with what all before each of them cost."""

    __slots__ = ("bases", "bounds", "flats", "is_flat_always", "prices", "tiers")

    def __init__(self, tiers: Sequence[Tier], *, is_flat_always: bool = True) -> None:
        self.tiers = tuple(tiers)
        self.is_flat_always = is_flat_always
        self.prices = tuple(EXACT.divide(tier.price, tier.size) for tier in tiers)
        self.flats = tuple(tier.flat for tier in tiers)
        bounds = [tier.up_to for tier in tiers if tier.up_to is not None]
        self.bounds = tuple(bounds)
        bases, base = [], ZERO
        for tier, price in zip(self.tiers, self.prices, strict=True):
            base = EXACT.add(base, tier.flat)
            bases.append(base)
            if tier.up_to is not None:
                base = EXACT.fma(EXACT.subtract(tier.up_to, tier.above), price, base)
        self.bases = tuple(bases)

    def index(self, quantity: Decimal) -> int:
        """Return the place of the tier that the last of `quantity` units is in."""
        return bisect_left(self.bounds, quantity)

    @classmethod
    def read(cls, terms: Terms, *, is_share: bool = False) -> "Tiers":
        """Read `tiers` and what is said beside them. Raises InvalidTerms."""
        price_field = "rate_percent" if is_share else "unit_price"
        size = Decimal(100) if is_share else terms.positive("unit_size", Decimal(1))
        tiers: list[Tier] = []
        above: Decimal | None = ZERO
        for row in terms.rows("tiers"):
            if above is None:
                raise row.refuse("up_to", "a tier after the one without an end is never reached; put that one last")
            up_to = row.number_or_none("up_to")
            if up_to is not None and up_to <= above:
                raise row.refuse("up_to", f"{up_to} is not above {above}, where the tier begins; order tiers by up_to")
            tier = Tier(above, up_to, row.number(price_field), size, row.number_or("flat", ZERO), is_share)
            price_of_one(tier.price, size, row.name(price_field))
            row.close()
            tiers.append(tier)
            above = up_to
        if above is not None:
            raise terms.refuse("tiers", f"nothing is priced above {above}; leave the last tier's up_to null")
        return cls(tiers, is_flat_always=terms.flag("flat_without_usage", default=not is_share))


@dataclass(frozen=True, slots=True, eq=False)
class Graduated(Charge):
    """
    Every tier's units at the tier's own price, and the flat amount of every tier that is reached.

    Terms: `tiers`, each {"up_to": "100", "unit_price": "2", "flat": "0"}, in order, the last with up_to null; prices
    are for `unit_size` units (1 where it is left away). `flat_without_usage`: whether the first tier's flat amount is
    charged for no usage at all (true where it is left away).
    """

    tiers: Tiers

    @classmethod
    def read(cls, terms: Terms) -> "Graduated":
        return cls(Tiers.read(terms))

    @property
    def unit_amount(self) -> Decimal | None:
        return _only_price(self.tiers)

    def amount(self, quantity: Decimal) -> Decimal:
        units = used(quantity)
        tiers = self.tiers
        if not units and not tiers.is_flat_always:
            return ZERO
        index = bisect_left(tiers.bounds, units)
        return EXACT.fma(EXACT.subtract(units, tiers.tiers[index].above), tiers.prices[index], tiers.bases[index])

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        units = used(quantity)
        if not units and not self.amount(units):
            return Priced(ZERO, ())
        steps: list[Step] = []
        last = self.tiers.index(units)
        for tier, price in zip(self.tiers.tiers[: last + 1], self.tiers.prices, strict=False):
            end = units if tier.up_to is None else min(units, tier.up_to)
            within = EXACT.subtract(end, tier.above)
            steps.append(tier.step(within, EXACT.multiply(within, price), currency))
        return Priced(self.amount(units), tuple(steps))


@dataclass(frozen=True, slots=True, eq=False)
class GraduatedPercentage(Graduated):
    """
    A percentage of every tier's part of the quantity, and the flat amount of every tier that is reached.

    Terms: `tiers`, each {"up_to": "10000", "rate_percent": "1.5", "flat": "0"}, in order, the last with up_to null;
    `flat_without_usage` as of graduated, but false where it is left away.
    """

    @classmethod
    def read(cls, terms: Terms) -> "GraduatedPercentage":
        return cls(Tiers.read(terms, is_share=True))


@dataclass(frozen=True, slots=True, eq=False)
class Volume(Charge):
    """
    All units at the price of the tier that the whole quantity is in, and that tier's flat amount alone.

    So the price can fall as usage grows. Terms: as of graduated.
    """

    tiers: Tiers

    @classmethod
    def read(cls, terms: Terms) -> "Volume":
        return cls(Tiers.read(terms))

    @property
    def unit_amount(self) -> Decimal | None:
        return _only_price(self.tiers)

    def amount(self, quantity: Decimal) -> Decimal:
        units = used(quantity)
        tiers = self.tiers
        if not units and not tiers.is_flat_always:
            return ZERO
        index = bisect_left(tiers.bounds, units)
        return EXACT.fma(units, tiers.prices[index], tiers.flats[index])

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        units = used(quantity)
        if not units and not self.amount(units):
            return Priced(ZERO, ())
        index = self.tiers.index(units)
        tier = self.tiers.tiers[index]
        all_units = f"All units ({tier.range[0].lower()}{tier.range[1:]})" if len(self.tiers.tiers) > 1 else ""
        step = tier.step(units, EXACT.multiply(units, self.tiers.prices[index]), currency, all_units)
        return Priced(self.amount(units), (step,))


def _only_price(tiers: Tiers) -> Decimal | None:
    """The price of one unit where there is one tier and nothing flat."""
    return tiers.prices[0] if len(tiers.prices) == 1 and not tiers.flats[0] else None
