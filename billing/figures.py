"""A number on a page: its name, its colour, and where it leads to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its name, its colour, and the list it is made of."""

    name: str
    value: str
    note: str = ""
    url: str = ""
    tone: str = "plain"


def tone_of(number: int) -> str:
    return "bad" if number else "good"
