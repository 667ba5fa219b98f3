"""What a range of time came to. Pure."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Figures:
    """A range of time in figures: what was used, what it cost, who paid, and where each invoice's money is."""

    events: int
    conflicts: int
    quarantined: int
    windows: int
    # Exact, in currency units: rated = included + credited + billed + absorbed once every period is closed.
    rated: Decimal
    included: Decimal
    credited: Decimal
    billed: Decimal
    # In currency units: invoiced = collected + open + moved_to_balance + credit_notes + written_off.
    invoiced: Decimal
    collected: Decimal
    open: Decimal
    moved_to_balance: Decimal
    credit_notes: Decimal
    written_off: Decimal
    # Exact, in currency units: usage nobody is asked for, given up for a reason. Beside what is billed.
    absorbed: Decimal = Decimal(0)
