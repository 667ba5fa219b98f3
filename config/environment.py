"""Reads settings from the environment. A bad variable ends the program with one line that says how to mend it."""

import json
import os
import re
import sys
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import urlsplit

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"", "0", "false", "no", "off"})
EXIT_CODE_BAD_SETTINGS = 2
_CURRENCY = re.compile(r"[A-Z]{3}")
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,3})?")


class BadSetting(SystemExit):
    """Ends the process with code 2 wherever settings are first read: manage.py, Celery, the web server, a test run."""

    def __init__(self, message: str) -> None:
        super().__init__(EXIT_CODE_BAD_SETTINGS)
        self.message = message

    def __str__(self) -> str:
        return self.message


def refuse(name: str, problem: str, remedy: str) -> NoReturn:
    """Print one line naming the variable and the remedy, then raise BadSetting. Never prints the variable's value."""
    message = f"{name} {problem}. {remedy}"
    print(f"settings: {message}", file=sys.stderr)
    raise BadSetting(message)


def text(name: str, default: str | None = None, *, remedy: str = "") -> str:
    """Return the variable, or the default. A variable without default is required and not empty."""
    value = os.environ.get(name, "").strip()
    if value:
        return value
    if default is None:
        refuse(name, "is not set", remedy or f"Set {name} in the environment.")
    return default


def boolean(name: str, *, default: bool) -> bool:
    value = os.environ.get(name)
    if value is None:
        return default
    word = value.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    refuse(name, "is neither true nor false", f"Set {name} to 1 or 0.")


def integer(name: str, *, default: int, at_least: int, at_most: int) -> int:
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    if value.isascii() and value.isdigit() and at_least <= int(value) <= at_most:
        return int(value)
    refuse(name, "is not a whole number in range", f"Set {name} to a number from {at_least} to {at_most}.")


def amounts(name: str, *, default: str) -> dict[str, Decimal]:
    """Return an amount in currency units for each currency, from "USD=250,JPY=30000"; "none" stands for no currency."""
    found: dict[str, Decimal] = {}
    for word in words(name, default=default):
        currency, _, amount = word.partition("=")
        if word == "none":
            continue
        if not _CURRENCY.fullmatch(currency) or not _AMOUNT.fullmatch(amount) or currency in found:
            refuse(name, "is not a list of currencies and amounts", f"Set {name} as in {default}, each currency once.")
        found[currency] = Decimal(amount)
    return found


def json_object(name: str, *, default: dict[str, Any]) -> dict[str, Any]:
    """Return a variable that holds a JSON object, or the default."""
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        refuse(name, "is not a JSON object", f'Set {name} as in {{"location": "/srv/usage-archive"}}.')
    return found


def words(name: str, *, default: str = "") -> list[str]:
    """Return a comma-separated variable as a list without empty items."""
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def address(name: str, *, schemes: tuple[str, ...], remedy: str, default: str | None = None) -> str:
    """Return a URL whose scheme is one of `schemes` and which names a host."""
    value = text(name, default, remedy=remedy)
    if not value:
        return value
    try:
        parts = urlsplit(value)
        well_formed = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        well_formed = False
    if not well_formed:
        refuse(name, f"is not an address of the kind {schemes[0]}://host", remedy)
    return value
