"""
What a period has come to, per rate and funding source, and the difference between two such states. Pure and exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from billing.rating.allocation import AllowanceUse
from billing.rating.rating import EXACT, ZERO, require_storable


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Quantity in units, the rest in currency units; rated = included + credited + unbilled."""

    quantity: Decimal = ZERO
    rated: Decimal = ZERO
    included: Decimal = ZERO
    credited: Decimal = ZERO
    unbilled: Decimal = ZERO

    def minus(self, other: "Amounts") -> "Amounts":
        return Amounts(
            quantity=EXACT.subtract(self.quantity, other.quantity),
            rated=EXACT.subtract(self.rated, other.rated),
            included=EXACT.subtract(self.included, other.included),
            credited=EXACT.subtract(self.credited, other.credited),
            unbilled=EXACT.subtract(self.unbilled, other.unbilled),
        )

    def plus(self, other: "Amounts") -> "Amounts":
        return self.minus(NOTHING.minus(other))

    def is_zero(self) -> bool:
        return not (self.quantity or self.rated or self.included or self.credited or self.unbilled)


NOTHING = Amounts()
UNUSED = AllowanceUse()


@dataclass(frozen=True, slots=True)
class PeriodState:
    """A period per rate id, what each grant gave it per (rate id, grant id), and each allowance likewise."""

    by_rate: Mapping[int, Amounts] = field(default_factory=dict)
    drawdowns: Mapping[tuple[int, int], Decimal] = field(default_factory=dict)
    allowances: Mapping[tuple[int, int], AllowanceUse] = field(default_factory=dict)

    def minus(self, posted: "PeriodState") -> "PeriodState":
        """Return the change from `posted` to this state, without what did not change."""
        by_rate = {
            rate_id: self.by_rate.get(rate_id, NOTHING).minus(posted.by_rate.get(rate_id, NOTHING))
            for rate_id in sorted({*self.by_rate, *posted.by_rate})
        }
        drawdowns = {
            key: EXACT.subtract(self.drawdowns.get(key, ZERO), posted.drawdowns.get(key, ZERO))
            for key in sorted({*self.drawdowns, *posted.drawdowns})
        }
        allowances = {
            key: self.allowances.get(key, UNUSED).minus(posted.allowances.get(key, UNUSED))
            for key in sorted({*self.allowances, *posted.allowances})
        }
        return PeriodState(
            {rate_id: change for rate_id, change in by_rate.items() if not change.is_zero()},
            {key: change for key, change in drawdowns.items() if change},
            {key: change for key, change in allowances.items() if not change.is_zero()},
        )

    def require_storable(self) -> None:
        """Raise InexactAmount, naming the rate, for a figure that the tables would round or cannot hold."""
        for rate_id, amounts in self.by_rate.items():
            for name in ("quantity", "rated", "included", "credited", "unbilled"):
                require_storable(getattr(amounts, name), f"{name} of rate {rate_id}")
        for (rate_id, _), use in self.allowances.items():
            require_storable(use.amount, f"included of rate {rate_id}")
            require_storable(use.quantity, f"covered quantity of rate {rate_id}")
        for (rate_id, _), amount in self.drawdowns.items():
            require_storable(amount, f"credited of rate {rate_id}")

    def is_empty(self) -> bool:
        return not self.by_rate and not self.drawdowns and not self.allowances

    def total(self) -> Amounts:
        total = NOTHING
        for amounts in self.by_rate.values():
            total = total.plus(amounts)
        return total

    def by_grant(self) -> dict[int, Decimal]:
        """Return what each grant gave, over all rates; never zero."""
        given: dict[int, Decimal] = {}
        for (_, grant_id), amount in self.drawdowns.items():
            given[grant_id] = EXACT.add(given.get(grant_id, ZERO), amount)
        return {grant_id: amount for grant_id, amount in given.items() if amount}
