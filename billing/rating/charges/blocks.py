"""Prices of blocks by tiers, as Kill Bill has them: each tier's blocks at its own price, or all at the last one's."""

from bisect import bisect_left
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate

from billing.rating.charges.charge import Charge, Priced, Step, money, used
from billing.rating.charges.package import whole_blocks
from billing.rating.charges.reading import Terms
from billing.rating.rating import EXACT, ZERO, plain

ALL_TIERS, TOP_TIER = "all_tiers", "top_tier"


@dataclass(frozen=True, slots=True)
class BlockTier:
    """Units above `above`, in blocks of `size` at `price` a block, a block begun being paid whole."""

    above: Decimal
    size: Decimal
    price: Decimal

    def priced(self, units: Decimal, currency: str, label: str) -> Step:
        amount = self.amount(units)
        blocks = plain(whole_blocks(units, self.size))
        text = f"{plain(units)} in blocks of {plain(self.size)}: {blocks} × {money(self.price, currency)}"
        return Step(f"{label}: {text} = {money(amount, currency)}", amount)

    def amount(self, units: Decimal) -> Decimal:
        return EXACT.multiply(whole_blocks(units, self.size), self.price)


@dataclass(frozen=True, slots=True, eq=False)
class Blocks(Charge):
    """
    So much for every block of units, by tiers. Terms: `mode` and `tiers`, each {"block_size": "100",
    "max_blocks": "10", "price_per_block": "1"}. A tier holds max_blocks blocks; the last one holds all that is left,
    whatever its max_blocks, which may be null.

    mode "all_tiers": every tier's own units at its price. "top_tier": all units in blocks of the tier that the last
    unit is in, at that tier's price; so the price can fall as usage grows.
    """

    tiers: tuple[BlockTier, ...]
    is_top_tier: bool
    # Where each tier but the first begins, and what all before each come to.
    starts: tuple[Decimal, ...]
    bases: tuple[Decimal, ...]

    @classmethod
    def read(cls, terms: Terms) -> "Blocks":
        mode = terms.choice("mode", (ALL_TIERS, TOP_TIER))
        tiers: list[BlockTier] = []
        above: Decimal | None = ZERO
        for row in terms.rows("tiers"):
            if above is None:
                raise row.refuse(
                    "max_blocks", "a tier after the one without an end is never reached; put that one last"
                )
            tier = BlockTier(above, row.positive("block_size"), row.number("price_per_block"))
            blocks = row.count_or_none("max_blocks")
            if blocks == 0:
                raise row.refuse("max_blocks", "is 0; it must be above zero, or null where the tier has no end")
            row.close()
            tiers.append(tier)
            above = None if blocks is None else EXACT.fma(tier.size, Decimal(blocks), above)
        starts = tuple(tier.above for tier in tiers[1:])
        full = (tier.amount(EXACT.subtract(end, tier.above)) for tier, end in zip(tiers, starts, strict=False))
        return cls(tuple(tiers), mode == TOP_TIER, starts, tuple(accumulate(full, EXACT.add, initial=ZERO)))

    def amount(self, quantity: Decimal) -> Decimal:
        units = used(quantity)
        index = bisect_left(self.starts, units)
        tier = self.tiers[index]
        if self.is_top_tier:
            return tier.amount(units)
        return EXACT.add(self.bases[index], tier.amount(EXACT.subtract(units, tier.above)))

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        units = used(quantity)
        index = bisect_left(self.starts, units)
        if self.is_top_tier:
            label = f"All units at the price above {plain(self.tiers[index].above)}" if index else "All units"
            steps = [self.tiers[index].priced(units, currency, label)] if units else []
        else:
            steps = [
                tier.priced(within, currency, f"Above {plain(tier.above)}" if tier.above else "From the first on")
                for tier, within in self._within(units)
            ]
        return Priced(self.amount(units), tuple(steps))

    def _within(self, units: Decimal) -> list[tuple[BlockTier, Decimal]]:
        """Each tier that is reached, with the units in it."""
        if not units:
            return []
        reached = self.tiers[: bisect_left(self.starts, units) + 1]
        ends = [*(tier.above for tier in reached[1:]), units]
        return [(tier, EXACT.subtract(end, tier.above)) for tier, end in zip(reached, ends, strict=True)]
