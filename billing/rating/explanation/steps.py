"""How the amount of one price comes about, in steps a customer can follow. Pure; the steps add up to the amount."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from billing.rating.charges import Basis, Charge, Matrix, Priced, Step
from billing.rating.charges.charge import total
from billing.rating.rating import EXACT, ZERO, RatingError, plain
from billing.rating.target import described

SHOWN_MAX = 12


class PricedPart(NamedTuple):
    """A part of a price's usage that is priced apart: a window, or the usage of one cell of a matrix."""

    at: datetime
    dimensions: Mapping[str, Any]
    quantity: Decimal
    amount: Decimal


def steps_of(
    charge: Charge, *, quantity: Decimal, rated: Decimal, currency: str, parts: Sequence[PricedPart] | None
) -> tuple[tuple[Step, ...], bool]:
    """
    Return the steps by which `quantity` units came to `rated`, and whether they add up to it.

    `parts` is the usage as it was allocated, None where it is not known any more; only some charges need it.
    """
    try:
        steps = _steps(charge, quantity, currency, parts)
    except (RatingError, ArithmeticError):
        steps = None
    if steps is None:
        return (Step(f"{plain(quantity)} units, priced as they were known then", rated),), False
    lacking = EXACT.subtract(rated, _sum(steps))
    # Less than the shortfall where another price took this one's place: what that came to counts for the minimum.
    if ZERO < lacking <= charge.shortfall(_sum(steps)):
        steps = [*steps, Step("What lacks to the agreed minimum, owed when the period is over", lacking)]
    elif ZERO < -lacking <= _flat(charge):
        steps = [*steps, Step("Its flat amount is not owed again: the price before it brought one", lacking)]
    elif lacking and charge.basis is Basis.PERIOD and not steps:
        steps = [Step("What lacks to the agreed minimum, owed when the period is over", lacking)]
    return tuple(steps), _sum(steps) == rated


def _steps(charge: Charge, quantity: Decimal, currency: str, parts: Sequence[PricedPart] | None) -> list[Step] | None:
    if charge.basis is Basis.PERIOD:
        return list(charge.explain(ZERO, currency).steps)
    if charge.basis is Basis.QUANTITY and _is_whole(charge, parts):
        return list(charge.explain(quantity, currency).steps)
    if parts is None:
        return None
    if not _is_whole(charge, parts):
        return _by_cell(charge, currency, parts)
    if charge.basis is Basis.WINDOW:
        return _by_window(charge, currency, parts)
    hours = f"{len(parts):,} hour{'' if len(parts) == 1 else 's'}"
    return [Step(f"{plain(quantity)} in {hours}, each event priced in its turn", _paid(parts))]


def _flat(charge: Charge) -> Decimal:
    """What the price asks without any usage; of a matrix, its cells."""
    cells = [cell.charge for cell in charge.cells] if isinstance(charge, Matrix) else [charge]
    return total(cell.amount(ZERO) for cell in cells if cell.basis is Basis.QUANTITY)


def _is_whole(charge: Charge, parts: Sequence[PricedPart] | None) -> bool:
    """Whether all usage is priced together: of a matrix, each cell is priced alone."""
    if parts is None:
        return charge.cell({}) is charge
    return all(charge.cell(part.dimensions) is charge for part in parts)


def _by_cell(charge: Charge, currency: str, parts: Iterable[PricedPart]) -> list[Step] | None:
    """Each cell of a matrix counts its own usage, whatever it is of beside what the cell names."""
    cells: dict[int, tuple[Charge, list[PricedPart]]] = {}
    for part in parts:
        cell = charge.cell(part.dimensions)
        if cell is None:
            return None
        cells.setdefault(id(cell), (cell, []))[1].append(part)
    steps: list[Step] = []
    for cell, of_cell in cells.values():
        name = "; ".join(sorted({described(part.dimensions) for part in of_cell}))
        found = _steps(cell, _sum_quantity(of_cell), currency, of_cell)
        if found is None:
            return None
        steps += [Step(f"{name}: {step.text}", step.amount) for step in found]
    return steps


def _by_window(charge: Charge, currency: str, parts: Sequence[PricedPart]) -> list[Step] | None:
    """The dearest windows one by one, the others together."""
    dearest = sorted(parts, key=lambda part: (-part.amount, part.at))[:SHOWN_MAX]
    shown = {id(part) for part in dearest}
    others = [part for part in parts if id(part) not in shown]
    steps = []
    for part in sorted(dearest, key=lambda part: part.at):
        cell = charge.cell(part.dimensions) or charge
        priced: Priced = cell.explain(part.quantity, currency)
        if priced.amount != part.amount:
            return None
        steps.append(Step(f"{part.at:%d %b %Y %H:%M} UTC: {priced.text or plain(part.quantity)}", priced.amount))
    if others:
        units = _sum_quantity(others)
        steps.append(Step(f"{len(others)} more hours, {plain(units)} units, each priced alone", _paid(others)))
    return steps


def _sum(steps: Iterable[Step]) -> Decimal:
    total = ZERO
    for step in steps:
        total = EXACT.add(total, step.amount)
    return total


def _paid(parts: Iterable[PricedPart]) -> Decimal:
    total = ZERO
    for part in parts:
        total = EXACT.add(total, part.amount)
    return total


def _sum_quantity(parts: Iterable[PricedPart]) -> Decimal:
    total = ZERO
    for part in parts:
        total = EXACT.add(total, part.quantity)
    return total
