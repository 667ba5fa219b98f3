"""
What somebody should look at before a period is closed.

The ledger knows what is in its journal, not what is still to come. Whoever does (usage that is not accrued, an invoice
that waits) registers, in its AppConfig.ready, a function from the instant before which would be closed to what waits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is still to come ("2 invoices are not closed"), and the address of a list of it ("" if there is none)."""

    what: str
    url: str = ""


# By a name of the check's own, so that registering it twice changes nothing.
period_checks: dict[str, Callable[[datetime], list[Waiting]]] = {}


def waiting_before(instant: datetime) -> list[Waiting]:
    """Everything that waits, in the order in which the checks were registered. Nothing of it forbids the closing."""
    return [waiting for check in period_checks.values() for waiting in check(instant)]
