"""How terms are read from JSON or YAML: amounts are text, nothing unknown is passed over, refusals name a remedy."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, Inexact
from reprlib import repr as shown
from typing import Any

from billing.rating.charges.charge import InvalidTerms
from billing.rating.rating import DECIMAL_PLACES, EXACT

# What numeric(38, 12) holds, written as people write it: no sign, exponent, separator or blank.
_NUMBER = re.compile(r"[0-9]{1,26}(\.[0-9]{1,12})?")
_TOO_LARGE = 10**26
_REMEDY = f"write it as text, such as '2.50', with at most {DECIMAL_PLACES} places"


class Terms:
    """The terms of one price, read field by field; `close` refuses whatever was not asked for."""

    def __init__(self, values: Any, path: str = "") -> None:
        if not isinstance(values, Mapping):
            raise InvalidTerms(
                path or "terms", f"{shown(values)} is no set of terms; write a field and its value on each line"
            )
        self._values = values
        self.path = path
        self._known: list[str] = []

    def name(self, field: str) -> str:
        """Return the whole name of a field, such as tiers[0].up_to."""
        return f"{self.path}.{field}" if self.path else field

    def refuse(self, field: str, problem: str) -> InvalidTerms:
        return InvalidTerms(self.name(field), problem)

    def get(self, field: str) -> Any:
        self._known.append(field)
        return self._values.get(field)

    def has(self, field: str) -> bool:
        return self._values.get(field) is not None

    def number(self, field: str) -> Decimal:
        """Return a required number of at least zero."""
        value = self.get(field)
        if value is None:
            raise self.refuse(field, f"is missing; {_REMEDY}")
        return read_number(value, self.name(field))

    def number_or(self, field: str, default: Decimal) -> Decimal:
        return self.number(field) if self._asked(field) else default

    def number_or_none(self, field: str) -> Decimal | None:
        return self.number(field) if self._asked(field) else None

    def positive(self, field: str, default: Decimal | None = None) -> Decimal:
        """Return a number above zero."""
        if default is not None and not self._asked(field):
            return default
        if not (number := self.number(field)):
            raise self.refuse(field, "is 0; it must be above zero")
        return number

    def count_or_none(self, field: str) -> int | None:
        """Return a whole number of at least zero, or None."""
        if (number := self.number_or_none(field)) is None:
            return None
        if number != number.to_integral_value():
            raise self.refuse(field, f"{number} is not a whole number; leave the fraction away")
        return int(number)

    def choice(self, field: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self.get(field)
        if value is None and default is not None:
            return default
        for choice in choices:
            if value == choice:
                return choice
        raise self.refuse(field, f"{shown(value)} is not known; write one of {', '.join(choices)}")

    def flag(self, field: str, *, default: bool) -> bool:
        value = self.get(field)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(field, f"{shown(value)} is neither true nor false; write one of them")
        return default if value is None else value

    def rows(self, field: str) -> list["Terms"]:
        """Return a list of terms that is not empty."""
        value = self.get(field)
        if not isinstance(value, list | tuple) or not value:
            raise self.refuse(field, "must be a list with at least one entry")
        return [Terms(row, f"{self.name(field)}[{number}]") for number, row in enumerate(value)]

    def mapping_or_empty(self, field: str) -> Mapping[str, Any]:
        value = self.get(field)
        if value is not None and not isinstance(value, Mapping):
            raise self.refuse(field, f"{shown(value)} is no set of terms; write a field and its value on each line")
        return value or {}

    def words(self, field: str) -> dict[str, str | None]:
        """Return a mapping of text to text or null; {} where it is left away."""
        words = dict(self.mapping_or_empty(field))
        for name, value in words.items():
            if not isinstance(name, str) or not isinstance(value, str | None):
                raise self.refuse(field, f"{name!r}: {shown(value)} is not text; put both between quotes")
        return words

    def rest(self, *fields: str) -> dict[str, Any]:
        """Return all but these fields, for others to read."""
        return {field: value for field, value in self._values.items() if field not in fields}

    def close(self) -> None:
        """Refuse every field that no model of this name reads: a misspelt term must not be a free one."""
        for field in self._values:
            if field not in self._known:
                raise InvalidTerms(
                    self.name(str(field)), f"is no term of this price; it has {', '.join(dict.fromkeys(self._known))}"
                )

    def _asked(self, field: str) -> bool:
        self._known.append(field)
        return self.has(field)


def read_number(value: Any, name: str) -> Decimal:
    """Return a number of at least zero from text or a whole number. Raises InvalidTerms, for a float too."""
    if isinstance(value, bool | float) or not isinstance(value, str | int | Decimal):
        raise InvalidTerms(name, f"{shown(value)} is not exact; {_REMEDY}")  # refuses floats
    if isinstance(value, int) and abs(value) >= _TOO_LARGE:
        raise InvalidTerms(name, f"is too large for the ledger; {_REMEDY}")
    text = str(value)
    if isinstance(value, Decimal) and value.is_finite() and abs(value) < _TOO_LARGE:
        # As a column of the database gives it, with all its places.
        text = f"{value:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    if not _NUMBER.fullmatch(text):
        raise InvalidTerms(name, f"{text[:60]!r} is not a number of at least zero; {_REMEDY}")
    return Decimal(text)


def price_of_one(price: Decimal, size: Decimal, name: str) -> Decimal:
    """Return `price` / `size`, exactly. Raises InvalidTerms naming the size if that has no end."""
    try:
        return EXACT.divide(price, size)
    except Inexact as error:
        raise InvalidTerms(
            name, f"{price} for {size} units has no exact price of one unit; use a size such as 1000"
        ) from error
