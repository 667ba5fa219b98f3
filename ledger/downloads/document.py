"""What a file says, before it is known how it is written: a heading of facts, columns, and rows that may be many."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

# None is an empty cell.
Cell = str | int | Decimal | datetime | None


@dataclass(frozen=True, slots=True)
class Document:
    """
    `title` names the sheet. The `row_count` rows are read once, in order; from a cursor, inside `one_look`.

    Instants are written in UTC, amounts in the currency's major unit.
    """

    title: str
    heading: Sequence[tuple[str, Cell]]
    columns: Sequence[str]
    rows: Iterable[Sequence[Cell]]
    row_count: int


def file_name(*parts: str) -> str:
    """A name that says what is in the file, of letters that every system takes. Without an ending."""
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part).strip("-") for part in parts if part)


def instant_text(instant: datetime) -> str:
    """An instant in UTC, to the microsecond where it has any: 2026-10-01 00:00:00."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")


def instant_in_name(instant: datetime) -> str:
    """For the name of a file, to the second: 2026-10-01, or 2026-10-01T093000Z where it is not midnight."""
    instant = instant.astimezone(UTC)
    at_midnight = (instant.hour, instant.minute, instant.second) == (0, 0, 0)
    return f"{instant:%Y-%m-%d}" if at_midnight else f"{instant:%Y-%m-%dT%H%M%SZ}"
