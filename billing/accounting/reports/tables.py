"""Tables of figures, each with a link to what it is made of. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from billing.money_text import exact_text

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Cell:
    """Without an address it is text. `note` stands below it, smaller."""

    text: str
    url: str = ""
    is_number: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class TableRow:
    cells: Sequence[Cell]
    is_sum: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """`headers` are names, with whether the column holds numbers. `note` says what is left out, if anything is."""

    title: str
    headers: Sequence[tuple[str, bool]]
    rows: Sequence[TableRow]
    foot: Sequence[TableRow] = field(default=())
    note: str = ""
    empty: str = "Nothing."


def amount(value: Decimal, currency: str, url: str = "") -> Cell:
    """Zero is a dash: a column of zeros hides the one figure that matters."""
    return Cell(exact_text(value, currency), url, is_number=True) if value else Cell(NOTHING, is_number=True)


def names(*headers: str) -> list[tuple[str, bool]]:
    return [(header, False) for header in headers]


def numbers(*headers: str) -> list[tuple[str, bool]]:
    return [(header, True) for header in headers]
