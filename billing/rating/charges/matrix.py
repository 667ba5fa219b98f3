"""A price for every combination of dimensions, such as model × token class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing.rating.charges.charge import Charge, Priced
from billing.rating.charges.reading import Terms
from billing.rating.rating import RatingError


@dataclass(frozen=True, slots=True)
class Cell:
    """
    A price and the values that usage must have for it: None is usage without one. A dimension that is not named may be
    anything.
    """

    dimensions: Mapping[str, str | None]
    charge: Charge


@dataclass(frozen=True, slots=True, eq=False)
class Matrix(Charge):
    """
    A price of its own for every cell; the cell that names most of a usage's values applies, and it alone.

    Terms: `cells`, each {"dimensions": {"model": "auto"}, "charge_model": "graduated", …} with the terms of its charge
    model in the same place (per_unit as if it were left away, with unit_price and unit_size); and `each`, terms that
    every cell has unless it says otherwise, such as {"charge_model": "cost_plus", "margin_percent": "20"}.
    A cell may not be a matrix nor a charge of the period.
    """

    cells: tuple[Cell, ...]
    # Prices by the values of the dimensions they name; the ones that name most are asked first.
    _tables: tuple[tuple[tuple[str, ...], dict[tuple[Any, ...], Charge]], ...]

    @classmethod
    def read(cls, terms: Terms, charge_of_cell: Callable[[Mapping[str, Any], str], Charge]) -> "Matrix":
        """`charge_of_cell` reads the price from a cell's terms without its dimensions, and the cell's name."""
        shared = terms.mapping_or_empty("each")
        if "dimensions" in shared:
            raise terms.refuse("each.dimensions", "a cell says itself what it is for; write dimensions in cells")
        cells: list[Cell] = []
        tables: dict[tuple[str, ...], dict[tuple[Any, ...], Charge]] = {}
        for row in terms.rows("cells"):
            dimensions = row.words("dimensions")
            names = tuple(sorted(dimensions))
            table = tables.setdefault(names, {})
            values = tuple(dimensions[name] for name in names)
            if values in table:
                raise row.refuse("dimensions", f"{dimensions} is priced twice; remove one of the cells")
            _require_one_price(dimensions, tables, row)
            charge = table[values] = charge_of_cell({**shared, **row.rest("dimensions")}, row.path)
            cells.append(Cell(dimensions, charge))
        return cls(tuple(cells), tuple(sorted(tables.items(), key=lambda one: (-len(one[0]), one[0]))))

    @property
    def reads_events(self) -> bool:
        return any(cell.charge.reads_events for cell in self.cells)

    def cell(self, dimensions: Mapping[str, Any]) -> Charge | None:
        for names, table in self._tables:
            charge = table.get(tuple(dimensions.get(name) for name in names))
            if charge is not None:
                return charge
        return None

    def amount(self, quantity: Decimal) -> Decimal:
        raise RatingError("a matrix has no price of its own; ask its cell for the usage's dimensions")

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        raise RatingError("a matrix has no price of its own; ask its cell for the usage's dimensions")


def _require_one_price(
    new: dict[str, str | None], tables: Mapping[tuple[str, ...], Mapping[tuple[Any, ...], Charge]], row: Terms
) -> None:
    """Refuse a cell that names as many dimensions as another, but others: some usage would fit both."""
    for names, table in tables.items():
        if len(names) != len(new) or set(names) == new.keys():
            continue
        for values in table:
            other = dict(zip(names, values, strict=True))
            if all(new[name] == other[name] for name in other.keys() & new.keys()):
                raise row.refuse(
                    "dimensions",
                    f"usage of {other | new} fits this cell and that of {other}; name the same dimensions in both",
                )
