"""
Who pays for usage: the allowance first, then grants in burn-down order, and the rest is left to invoice.

Pure and cumulative: it is always given *all* usage of a period, so accruing after every event, once at the end, or in
any order of arrival comes to the same amounts ("split runs = one run"). Σ (included + credited + unbilled) is the
rated amount exactly, for every rate and in total.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any

from billing.rating.rating import EXACT, ZERO, RatingError
from promotions.burn_down import GrantBalance, burn_order, usable


class InvalidFunding(RatingError):
    """Usage, an allowance or a grant below zero cannot be allocated."""


@dataclass(frozen=True, slots=True)
class RatedUsage:
    """The price of the usage of one rate in the hour that begins `at`; in currency units, exact, at least zero."""

    at: datetime
    rate_id: int
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceTerms:
    """
    An allowance of a period, as billing.PeriodAllowance tells; they are used in the order in which they are given.

    `amount` is None for one without a limit. `covers` as in billing.Allowance; empty is all usage.
    """

    allowance_id: int
    measure: str
    amount: Decimal | None
    each_dimension: str = ""
    covers: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class AllowanceUse:
    """What an allowance paid: currency units, and the units it covered where it counts units."""

    amount: Decimal = ZERO
    quantity: Decimal = ZERO

    def minus(self, other: "AllowanceUse") -> "AllowanceUse":
        return AllowanceUse(EXACT.subtract(self.amount, other.amount), EXACT.subtract(self.quantity, other.quantity))

    def is_zero(self) -> bool:
        return not (self.amount or self.quantity)


@dataclass(slots=True)
class RateFunding:
    """How the usage of one rate is paid for, in currency units."""

    included: Decimal = ZERO
    credited: Decimal = ZERO
    unbilled: Decimal = ZERO

    @property
    def rated(self) -> Decimal:
        return EXACT.add(EXACT.add(self.included, self.credited), self.unbilled)


@dataclass(frozen=True, slots=True)
class Funding:
    """The whole allocation: per rate by source, and per (rate id, grant id) what the grant gave; never zero."""

    by_rate: Mapping[int, RateFunding]
    drawdowns: Mapping[tuple[int, int], Decimal]
    allowances: Mapping[tuple[int, int], AllowanceUse]


def fund(usages: Iterable[RatedUsage], allowances: Sequence[AllowanceTerms], grants: Iterable[GrantBalance]) -> Funding:
    """
    Allocate the usage of a period, hour by hour and within an hour by rate id.

    `grants[].available` is what each may give to this period in all. Raises InvalidFunding for an amount below zero.
    """
    by_rate: dict[int, RateFunding] = {}
    drawdowns: dict[tuple[int, int], Decimal] = {}
    ordered = burn_order(grants)
    left = {grant.grant_id: grant.available for grant in ordered}
    pools: list[list[Any]] = [[one.allowance_id, one.amount or ZERO] for one in allowances]
    used: dict[tuple[int, int], Decimal] = {}
    _require_not_negative([*(one.amount or ZERO for one in allowances), *left.values()])
    with localcontext(EXACT):
        for usage in sorted(usages, key=lambda usage: (usage.at, usage.rate_id)):
            _require_not_negative([usage.amount])
            funding = by_rate.setdefault(usage.rate_id, RateFunding())
            rest = usage.amount
            for pool in pools:
                included = min(rest, pool[1])
                if included:
                    pool[1] -= included
                    rest -= included
                    funding.included += included
                    key = (usage.rate_id, pool[0])
                    used[key] = used.get(key, ZERO) + included
            if rest:
                unpaid = _burn(usage, rest, ordered, left, drawdowns)
                funding.credited += rest - unpaid
                funding.unbilled += unpaid
    return Funding(by_rate, drawdowns, {key: AllowanceUse(amount) for key, amount in used.items()})


def _burn(
    usage: RatedUsage,
    rest: Decimal,
    ordered: Sequence[GrantBalance],
    left: dict[int, Decimal],
    drawdowns: dict[tuple[int, int], Decimal],
) -> Decimal:
    """Take `rest` from the grants that may be used at that hour; return what no grant covers."""
    for grant in ordered:
        taken = min(rest, left[grant.grant_id])
        if taken and usable(grant, usage.at):
            left[grant.grant_id] -= taken
            rest -= taken
            key = (usage.rate_id, grant.grant_id)
            drawdowns[key] = drawdowns.get(key, ZERO) + taken
        if not rest:
            break
    return rest


def _require_not_negative(amounts: Iterable[Decimal]) -> None:
    for amount in amounts:
        if amount < 0:
            raise InvalidFunding(f"{amount} is below zero and cannot be allocated")
