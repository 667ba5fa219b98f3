"""
Who pays for usage: allowances first, in units before in money and each kind in its order, then grants in burn-down
order, and the rest is left to invoice, up to a cap where one was agreed.

Units come first because money has no units: of an hour that money paid in part, nobody can say which units are left.

Pure and cumulative: it is always given *all* usage of a period, so accruing after every event, once at the end, or in
any order of arrival comes to the same amounts ("split runs = one run"). Σ (included + credited + unbilled) is the
rated amount exactly, for every rate and in total. One loop (`Payer.pay`) serves the sums and the trace.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from billing.rating.rating import EXACT, ZERO, RatingError
from promotions.burn_down import GrantBalance, burn_order

ALLOWANCE: Literal["allowance"] = "allowance"
GRANT: Literal["grant"] = "grant"
UNBILLED: Literal["unbilled"] = "unbilled"
_UNITS, _CAP = "units", "cap"
_NEVER = datetime.max.replace(tzinfo=UTC)
# By `at`, `rate_id`, `subject` of RatedUsage.
_BY_TIME = itemgetter(0, 1, 4)


class InvalidFunding(RatingError):
    """Usage, an allowance or a grant below zero cannot be allocated."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """
    What usage is of, for allowances to know what they cover; told apart by identity, so that it is looked up fast.

    A charge that needs no usage is no usage: only an allowance without a limit (a trial) pays for it. `order` settles
    which usage of one hour and rate comes first.
    """

    meter_code: str = ""
    dimensions: Mapping[str, str | None] = field(default_factory=dict)
    is_usage: bool = True
    order: tuple[tuple[str, bool, str], ...] = ()

    def __lt__(self, other: "Subject") -> bool:
        return self.order < other.order

    @classmethod
    def of(cls, meter_code: str, dimensions: Mapping[str, str | None]) -> "Subject":
        order = sorted((name, value is not None, value or "") for name, value in dimensions.items())
        return cls(meter_code, dimensions, order=tuple(order))


ANY_USAGE = Subject()


class Units(ABC):
    """The units that an allowance in units can cover, and what the first of them cost."""

    @abstractmethod
    def price(self, first: Decimal) -> Decimal:
        """Return the price of the first units, exact; of all of them it is the whole amount."""

    def quantity(self, used: Decimal) -> Decimal:
        """Return how many units there are to cover where `used` were used."""
        return used


class RatedUsage(NamedTuple):
    """
    The price of the usage of one rate in the hour that begins `at`; in currency units, exact, at least zero.

    Usage without `units` cannot be covered by an allowance in units.
    """

    at: datetime
    rate_id: int
    amount: Decimal
    quantity: Decimal = ZERO
    subject: Subject = ANY_USAGE
    units: Units | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceTerms:
    """
    An allowance of a period, as billing.PeriodAllowance tells; they are used in the order in which they are given,
    those in units before those in money.

    `amount` is None for one without a limit. `covers` as in billing.Allowance; empty is all usage.
    """

    allowance_id: int
    measure: str
    amount: Decimal | None
    each_dimension: str = ""
    covers: tuple[Mapping[str, Any], ...] = ()


class Source(NamedTuple):
    """
    What paid a part of usage: an allowance or a grant by its id, or nobody yet (to be invoiced, id None).

    `amount` in currency units; `quantity` is the units that an allowance in units covered, else 0.
    """

    kind: Literal["allowance", "grant", "unbilled"]
    id: int | None
    amount: Decimal
    quantity: Decimal = ZERO


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
    """How the usage of one rate is paid for, in currency units; and its quantity in units."""

    quantity: Decimal = ZERO
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
    covered: dict[tuple[int, int], Decimal] = {}
    units: dict[tuple[int, int], Decimal] = {}
    with _exactly():
        payer = Payer(allowances, grants)
        pay, unfunded = payer.pay, payer.unfunded
        for usage in in_order(usages):
            _, rate_id, rated, used, subject, _ = usage
            funding = by_rate.get(rate_id)
            if funding is None:
                funding = by_rate[rate_id] = RateFunding()
            funding.quantity += used
            # What `pay` would say too; nearly all usage of those whose credits are used up.
            if subject in unfunded and not payer.grants and rated >= ZERO:
                funding.unbilled += rated
                continue
            for kind, source_id, amount, quantity in pay(usage):
                if source_id is None:
                    funding.unbilled += amount
                    continue
                key = (rate_id, source_id)
                if kind is GRANT:
                    funding.credited += amount
                    drawdowns[key] = drawdowns.get(key, ZERO) + amount
                else:
                    funding.included += amount
                    covered[key] = covered.get(key, ZERO) + amount
                    if quantity:
                        units[key] = units.get(key, ZERO) + quantity
    uses = {key: AllowanceUse(amount, units.get(key, ZERO)) for key, amount in covered.items()}
    return Funding(by_rate, drawdowns, uses)


def trace(
    usages: Iterable[RatedUsage], allowances: Sequence[AllowanceTerms], grants: Iterable[GrantBalance]
) -> list[tuple[RatedUsage, tuple[Source, ...]]]:
    """Return the same allocation usage by usage, in the order in which it pays. Raises InvalidFunding."""
    with _exactly():
        pay = Payer(allowances, grants).pay
        return [(usage, tuple(pay(usage))) for usage in in_order(usages)]


def payment_order(measure: str, position: int) -> tuple[bool, int]:
    """Return where an allowance stands among those that pay with it: units before money, each kind by its position."""
    return measure != _UNITS, position


def in_order(usages: Iterable[RatedUsage]) -> list[RatedUsage]:
    """Return usage in the order in which it is paid for, which does not depend on the order given."""
    return sorted(usages, key=_BY_TIME)


@contextmanager
def _exactly() -> Iterator[None]:
    with localcontext(EXACT):
        yield


@dataclass(slots=True)
class _Pool:
    """What is left of an allowance, or of its part for one value of a dimension; None is without a limit."""

    allowance_id: int
    is_units: bool
    left: Decimal | None


@dataclass(slots=True)
class _Balance:
    """What is left of a grant, and when it may be used: [starts_at, ends_at)."""

    grant_id: int
    starts_at: datetime
    ends_at: datetime
    left: Decimal


def _is_in_money(pool: _Pool) -> bool:
    return not pool.is_units


class Payer:
    """Pays usage in its order, and remembers what is left. To be used under EXACT."""

    def __init__(self, allowances: Sequence[AllowanceTerms], grants: Iterable[GrantBalance]) -> None:
        """Raises InvalidFunding for an allowance or a grant below zero."""
        self._allowances = allowances
        self._pools: dict[tuple[int, str], _Pool] = {}
        self._of_subject: dict[Subject, tuple[list[_Pool], list[_Pool]]] = {}
        # What no allowance covers and no cap limits; `grants` are those that still hold something.
        self.unfunded: set[Subject] = set()
        self.grants = [
            _Balance(
                grant.grant_id,
                grant.effective_at,
                min(grant.expires_at or _NEVER, grant.ended_at or _NEVER),
                grant.available,
            )
            for grant in burn_order(grants)
        ]
        for amount in (*(one.amount for one in allowances), *(grant.left for grant in self.grants)):
            if amount is not None and amount < 0:
                raise InvalidFunding(f"{amount} is below zero and cannot be allocated")

    def pay(self, usage: RatedUsage) -> list[Source]:
        """Return what pays for the usage; the amounts add up to its own exactly. Raises InvalidFunding."""
        rest = usage.amount
        found = self._of_subject.get(usage.subject)
        pools, caps = found if found is not None else self._resolve(usage.subject)
        if rest < 0:
            raise InvalidFunding(f"{rest} is below zero and cannot be allocated")
        sources: list[Source] = []
        if pools:
            rest = _include(usage, rest, pools, sources)
        if rest and self.grants:
            rest = self._burn(usage.at, rest, sources)
        if rest and caps:
            rest = _cap(rest, caps, sources)
        if rest:
            sources.append(Source(UNBILLED, None, rest))
        return sources

    def _burn(self, at: datetime, rest: Decimal, sources: list[Source]) -> Decimal:
        """Take `rest` from the grants that may be used at that hour; return what no grant covers."""
        is_used_up = False
        for grant in self.grants:
            if grant.starts_at <= at < grant.ends_at and grant.left:
                taken = min(rest, grant.left)
                grant.left -= taken
                rest -= taken
                sources.append(Source(GRANT, grant.grant_id, taken))
                is_used_up = is_used_up or not grant.left
                if not rest:
                    break
        if is_used_up:
            self.grants = [grant for grant in self.grants if grant.left]
        return rest

    def _resolve(self, subject: Subject) -> tuple[list[_Pool], list[_Pool]]:
        """Return the pools that cover the subject, and the caps that limit what is invoiced of it."""
        pools: list[_Pool] = []
        caps: list[_Pool] = []
        for place, one in enumerate(self._allowances):
            value: str | None = ""
            if one.each_dimension:
                value = subject.dimensions.get(one.each_dimension)
            is_cap = one.measure == _CAP
            covers = subject.is_usage or is_cap or one.amount is None
            if value is None or not covers or not _covers(one, subject):
                continue
            pool = self._pools.get((place, value))
            if pool is None:
                pool = self._pools[place, value] = _Pool(one.allowance_id, one.measure == _UNITS, one.amount)
            (caps if is_cap else pools).append(pool)
        pools.sort(key=_is_in_money)
        self._of_subject[subject] = pools, caps
        if not pools and not caps:
            self.unfunded.add(subject)
        return pools, caps


def _covers(allowance: AllowanceTerms, subject: Subject) -> bool:
    """Whether one of the allowance's entries, each with a meter and dimensions' values or either, names the subject."""
    if not allowance.covers:
        return True
    return any(
        entry.get("meter_code") in (None, "", subject.meter_code)
        and all(subject.dimensions.get(name) in values for name, values in (entry.get("dimensions") or {}).items())
        for entry in allowance.covers
    )


def _include(usage: RatedUsage, rest: Decimal, pools: list[_Pool], sources: list[Source]) -> Decimal:
    """
    Let allowances pay; return what is left. One in units takes units that none before it took, at their price.

    Of a falling price, more units can cost less than fewer did: what was paid for those is paid.
    """
    units, covered, covered_price = usage.units, ZERO, ZERO
    for pool in pools:
        left = pool.left
        if pool.is_units:
            if units is None or left == ZERO:
                continue
            to_cover = units.quantity(usage.quantity) - covered
            taken = to_cover if left is None else min(to_cover, left)
            if taken <= ZERO:
                continue
            covered += taken
            price = max(min(units.price(covered), usage.amount) - covered_price, ZERO)
            covered_price += price
            if left is not None:
                pool.left = left - taken
            rest -= price
            sources.append(Source(ALLOWANCE, pool.allowance_id, price, taken))
        elif rest and (left is None or left):
            paid = rest if left is None else min(rest, left)
            if left is not None:
                pool.left = left - paid
            rest -= paid
            sources.append(Source(ALLOWANCE, pool.allowance_id, paid))
    return rest


def _cap(rest: Decimal, caps: list[_Pool], sources: list[Source]) -> Decimal:
    """Let a cap pay whatever is above it; return what may be invoiced."""
    for cap in caps:
        if cap.left is not None and rest > cap.left:
            sources.append(Source(ALLOWANCE, cap.allowance_id, rest - cap.left))
            rest = cap.left
    for cap in caps:
        if cap.left is not None:
            cap.left -= rest
    return rest
