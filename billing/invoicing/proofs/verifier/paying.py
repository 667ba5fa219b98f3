"""Who pays for usage: allowances in units, those in money, grants in burn-down order, the customer up to a cap."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from billing.invoicing.proofs.verifier.charges import ZERO
from billing.invoicing.proofs.verifier.prices import Priced, Subject
from billing.invoicing.proofs.verifier.usage import hour_of, instant

_NEVER = 2**63


@dataclass(slots=True)
class Amounts:
    """What a rate came to in a period: units, the rest in currency units."""

    quantity: Fraction = ZERO
    rated: Fraction = ZERO
    included: Fraction = ZERO
    credited: Fraction = ZERO
    unbilled: Fraction = ZERO


@dataclass(slots=True)
class Paid:
    """What all usage of a period came to, by rate, and what each allowance and grant paid: an amount, and units."""

    by_rate: dict[int, Amounts] = field(default_factory=dict)
    by_source: dict[tuple[int, str, int], tuple[Fraction, Fraction]] = field(default_factory=dict)

    def add(self, rate_id: int, kind: str, source_id: int, amount: Fraction, units: Fraction = ZERO) -> None:
        before = self.by_source.get((rate_id, kind, source_id), (ZERO, ZERO))
        self.by_source[rate_id, kind, source_id] = before[0] + amount, before[1] + units
        of_rate = self.by_rate[rate_id]
        if kind == "grant":
            of_rate.credited += amount
        else:
            of_rate.included += amount


@dataclass(slots=True)
class _Pool:
    """What is left of an allowance, or of its part for one value of a dimension; None is without a limit."""

    allowance_id: int
    is_units: bool
    left: Fraction | None


@dataclass(slots=True)
class _Grant:
    """What is left of a grant, and the hours it covers: [starts, ends)."""

    grant_id: int
    starts: int
    ends: int
    left: Fraction


def grants_in_order(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """By priority, soonest expiry, given away before paid for, earlier in force, earlier recorded, id (0005)."""
    return sorted(
        rows,
        key=lambda row: (
            row["priority"],
            _NEVER if row["expires_at"] is None else instant(row["expires_at"]),
            row["kind"] == "paid",
            hour_of(instant(row["effective_at"])),
            instant(row["recorded_at"]),
            row["id"],
        ),
    )


class Payer:
    """Pays usage in its order, and remembers what is left."""

    def __init__(self, allowances: Sequence[Mapping[str, Any]], grants: Iterable[Mapping[str, Any]]) -> None:
        self.allowances = sorted(allowances, key=lambda one: int(one["position"]))
        # A grant covers every hour in which it was in force at any moment.
        self.grants = [
            _Grant(
                row["id"],
                hour_of(instant(row["effective_at"])),
                min([instant(row[name]) for name in ("expires_at", "ended_at") if row[name] is not None] or [_NEVER]),
                Fraction(row["available"]),
            )
            for row in grants_in_order(grants)
        ]
        self.pools: dict[tuple[int, str], _Pool] = {}
        self.of_subject: dict[int, tuple[Subject, list[_Pool], list[_Pool]]] = {}

    def pay(self, usage: Iterable[Priced]) -> Paid:
        """Pay all usage, given in its order."""
        paid = Paid()
        for one in usage:
            of_rate = paid.by_rate.setdefault(one.rate_id, Amounts())
            of_rate.quantity += one.quantity
            of_rate.rated += one.amount
            _, pools, caps = self.of_subject.get(id(one.subject)) or self._resolve(one.subject)
            rest = self._include(one, pools, paid)
            rest = self._burn(one, rest, paid)
            of_rate.unbilled += _cap(one, rest, caps, paid)
        return paid

    def _resolve(self, subject: Subject) -> tuple[Subject, list[_Pool], list[_Pool]]:
        """The pools that cover such usage, those in units first, and the caps on what is invoiced of it."""
        pools: list[_Pool] = []
        caps: list[_Pool] = []
        for one in self.allowances:
            value = subject.dimensions.get(one["each_dimension"]) if one["each_dimension"] else ""
            is_cap = one["measure"] == "cap"
            # A charge without usage is covered by nothing but an allowance without a limit.
            is_meant = subject.is_usage or is_cap or one["amount"] is None
            if value is None or not is_meant or not _covers(one["covers"], subject):
                continue
            limit = None if one["amount"] is None else Fraction(one["amount"])
            pool = self.pools.setdefault((one["id"], value), _Pool(one["id"], one["measure"] == "units", limit))
            (caps if is_cap else pools).append(pool)
        pools.sort(key=lambda pool: not pool.is_units)
        # The subject is kept beside them, so that its identity stays its own.
        self.of_subject[id(subject)] = subject, pools, caps
        return self.of_subject[id(subject)]

    def _include(self, usage: Priced, pools: Iterable[_Pool], paid: Paid) -> Fraction:
        rest, covered, covered_price = usage.amount, ZERO, ZERO
        for pool in pools:
            if pool.is_units:
                if usage.units is None:
                    continue
                to_cover = usage.quantity - covered
                taken = to_cover if pool.left is None else min(to_cover, pool.left)
                if taken > 0:
                    covered += taken
                    price = max(min(usage.price_of_first(covered), usage.amount) - covered_price, ZERO)
                    covered_price += price
                    rest -= price
                    pool.left = None if pool.left is None else pool.left - taken
                    paid.add(usage.rate_id, "allowance", pool.allowance_id, price, taken)
            else:
                part = rest if pool.left is None else min(rest, pool.left)
                if part:
                    rest -= part
                    pool.left = None if pool.left is None else pool.left - part
                    paid.add(usage.rate_id, "allowance", pool.allowance_id, part)
        return rest

    def _burn(self, usage: Priced, rest: Fraction, paid: Paid) -> Fraction:
        for grant in self.grants:
            taken = min(rest, grant.left) if grant.starts <= usage.at < grant.ends else ZERO
            if taken:
                grant.left -= taken
                rest -= taken
                paid.add(usage.rate_id, "grant", grant.grant_id, taken)
        return rest


def _cap(usage: Priced, rest: Fraction, caps: Sequence[_Pool], paid: Paid) -> Fraction:
    """What is above a cap is included; the rest may be invoiced."""
    for cap in caps:
        assert cap.left is not None
        if rest > cap.left:
            paid.add(usage.rate_id, "allowance", cap.allowance_id, rest - cap.left)
            rest = cap.left
    for cap in caps:
        assert cap.left is not None
        cap.left -= rest
    return rest


def _covers(entries: Sequence[Mapping[str, Any]], subject: Subject) -> bool:
    """Whether one of the entries names the usage; no entry is all usage."""
    return not entries or any(
        entry.get("meter_code") in (None, "", subject.meter_code)
        and all(subject.dimensions.get(name) in values for name, values in (entry.get("dimensions") or {}).items())
        for entry in entries
    )
