"""
What somebody should look at before a period is closed.

The ledger knows what is in its journal, not what is still to come. Whoever does (usage that is not accrued, an invoice
that waits) registers, in its AppConfig.ready, a function from the instant before which would be closed to what waits.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

# Whether the reader holds a permission, such as may("billing.view_invoice").
May = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    What is still to come ("2 invoices are not closed"), the address of a list of it ("" if there is none), and the
    permission that opens the list ("" if whoever may close a period may open it).
    """

    what: str
    url: str = ""
    permission: str = ""


# By a name of the check's own, so that registering it twice changes nothing.
period_checks: dict[str, Callable[[datetime], list[Waiting]]] = {}


def waiting_before(instant: datetime, *, may: May) -> list[Waiting]:
    """
    Everything that waits, in the order in which the checks were registered. Nothing of it forbids the closing.

    It is named to everybody; what the reader may not open has no address.
    """
    found = [waiting for check in period_checks.values() for waiting in check(instant)]
    return [one if not one.permission or may(one.permission) else replace(one, url="") for one in found]
