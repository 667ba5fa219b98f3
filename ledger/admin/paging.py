"""Turning the pages of a statement: a position in the address, before or after which the page lies."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import QueryDict

from ledger.queries import Position, SpanLine

LINES_A_PAGE = 100


@dataclass(frozen=True, slots=True)
class Turn:
    """Where the page asked for lies; neither: the first."""

    after: Position | None
    before: Position | None


@dataclass(frozen=True, slots=True)
class Pages:
    """Which lines are shown, of how many, and the addresses of the pages beside ("" where there is none)."""

    first: int
    last: int
    count: int
    previous: str
    next: str


def turn_asked(asked: QueryDict) -> Turn:
    """A position that cannot be read is none: it was not written by these pages."""
    return Turn(after=_position(asked.get("after_line", "")), before=_position(asked.get("before_line", "")))


def pages(shown: Sequence[SpanLine], *, count: int, query: str) -> Pages:
    """`query` is the address of the statement's first page."""
    if not shown:
        return Pages(0, 0, count, previous="", next="")
    first, last = shown[0], shown[-1]
    return Pages(
        first=first.number,
        last=last.number,
        count=count,
        previous=f"{query}&before_line={first.position}" if first.number > 1 else "",
        next=f"{query}&after_line={last.position}" if last.number < count else "",
    )


def _position(text: str) -> Position | None:
    try:
        return Position.parse(text)
    except (ValueError, OverflowError):
        return None
