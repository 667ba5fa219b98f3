"""From a rate's charge model and terms to the price they say."""

from collections.abc import Callable, Mapping
from decimal import Decimal, Inexact, InvalidOperation, Overflow
from typing import Any, Protocol

from billing.rating.charges.blocks import Blocks
from billing.rating.charges.bounds import bounded
from billing.rating.charges.charge import Charge, InvalidTerms
from billing.rating.charges.kinds import ChargeModel
from billing.rating.charges.linear import CostPlus, Flat, MaximumCommitment, MinimumCommitment, PerUnit
from billing.rating.charges.matrix import Matrix
from billing.rating.charges.package import Package
from billing.rating.charges.percentage import Percentage
from billing.rating.charges.reading import Terms
from billing.rating.charges.tiers import Graduated, GraduatedPercentage, Volume

# Those that can have bounds beside them, and whether free_units is one of them (others have a word of their own).
_BY_USAGE: dict[str, tuple[Callable[[Terms], Charge], bool]] = {
    ChargeModel.GRADUATED: (Graduated.read, True),
    ChargeModel.VOLUME: (Volume.read, True),
    ChargeModel.PACKAGE: (Package.read, False),
    ChargeModel.PERCENTAGE: (Percentage.read, False),
    ChargeModel.GRADUATED_PERCENTAGE: (GraduatedPercentage.read, True),
    ChargeModel.BLOCKS: (Blocks.read, True),
    ChargeModel.COST_PLUS: (CostPlus.read, True),
}
_BY_PERIOD: dict[str, Callable[[Terms], Charge]] = {
    ChargeModel.FLAT: Flat.read,
    ChargeModel.MINIMUM_COMMITMENT: MinimumCommitment.read,
    ChargeModel.MAXIMUM_COMMITMENT: MaximumCommitment.read,
}


class PricedByTerms(Protocol):
    """What a price is read from: a row of the catalogue, or whatever has its fields."""

    @property
    def charge_model(self) -> str: ...
    @property
    def terms(self) -> Mapping[str, Any]: ...
    @property
    def unit_price(self) -> Decimal | None: ...
    @property
    def unit_size(self) -> int | None: ...


def charge_of(
    charge_model: str,
    terms: Mapping[str, Any],
    *,
    unit_price: Decimal | None = None,
    unit_size: int | None = None,
) -> Charge:
    """
    Return the price that a charge model's terms say; `unit_price` and `unit_size` are per_unit's.

    Raises InvalidTerms naming the field and the remedy.
    """
    if charge_model == ChargeModel.PER_UNIT:
        Terms(terms).close()
        return PerUnit.of(unit_price, unit_size)
    for field, value in (("unit_price", unit_price), ("unit_size", unit_size)):
        if value is not None:
            raise InvalidTerms(field, f"is of per_unit alone; say it in the terms of {charge_model}")
    try:
        return _read(charge_model, Terms(terms))
    except (Inexact, InvalidOperation, Overflow) as error:
        raise InvalidTerms("terms", "have together more digits than can be computed exactly; shorten them") from error


def charge_of_rate(rate: PricedByTerms) -> Charge:
    """Return the price of a rate. Raises InvalidTerms."""
    return charge_of(rate.charge_model, rate.terms, unit_price=rate.unit_price, unit_size=rate.unit_size)


def _read(charge_model: str, read: Terms) -> Charge:
    if charge_model in _BY_USAGE:
        reader, has_free_units = _BY_USAGE[charge_model]
        charge = bounded(reader(read), read, has_free_units=has_free_units)
    elif charge_model == ChargeModel.MATRIX:
        charge = Matrix.read(read, _cell)
    elif charge_model in _BY_PERIOD:
        charge = _BY_PERIOD[charge_model](read)
    else:
        raise InvalidTerms(
            "charge_model", f"{charge_model!r} is not known; write one of {', '.join(ChargeModel.values)}"
        )
    read.close()
    return charge


def _cell(values: Mapping[str, Any], path: str) -> Charge:
    """The price of a cell of a matrix, whose terms and charge model stand in one place."""
    terms = Terms(values, path)
    charge_model = terms.choice("charge_model", (ChargeModel.PER_UNIT, *_BY_USAGE), ChargeModel.PER_UNIT)
    rest = terms.rest("charge_model")
    if charge_model != ChargeModel.PER_UNIT:
        return _read(charge_model, Terms(rest, path))
    unit = Terms(rest, path)
    price, size = unit.number("unit_price"), unit.count_or_none("unit_size")
    unit.close()
    if size == 0:
        raise unit.refuse("unit_size", "is 0; it must be above zero")
    return PerUnit(price, 1 if size is None else size)
