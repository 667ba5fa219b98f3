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


def fund(usages: Iterable[RatedUsage], allowance: Decimal, grants: Iterable[GrantBalance]) -> Funding:
    """
    Allocate the usage of a period, hour by hour and within an hour by rate id.

    `grants[].available` is what each may give to this period in all. Raises InvalidFunding for an amount below zero.
    """
    by_rate: dict[int, RateFunding] = {}
    drawdowns: dict[tuple[int, int], Decimal] = {}
    ordered = burn_order(grants)
    left = {grant.grant_id: grant.available for grant in ordered}
    _require_not_negative([allowance, *left.values()])
    with localcontext(EXACT):
        allowance_left = allowance
        for usage in sorted(usages, key=lambda usage: (usage.at, usage.rate_id)):
            _require_not_negative([usage.amount])
            funding = by_rate.setdefault(usage.rate_id, RateFunding())
            included = min(usage.amount, allowance_left)
            allowance_left -= included
            rest = usage.amount - included
            funding.included += included
            if rest:
                unpaid = _burn(usage, rest, ordered, left, drawdowns)
                funding.credited += rest - unpaid
                funding.unbilled += unpaid
    return Funding(by_rate, drawdowns)


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
