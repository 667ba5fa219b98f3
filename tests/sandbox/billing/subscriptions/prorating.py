"""Proration as Stripe calculates it in the flexible billing mode: pure arithmetic, integer minor units, exact seconds.

The facts, as recorded from the real Stripe (notes/stripe-sandbox.md):

* A part of a period costs its amount times the seconds left over the seconds of the whole, and **each line is floored
  towards minus infinity on its own**: 1000 with 1/400 left is a credit of -3 (-2.5), three of it a debit of +7 (7.5).
* What an item was billed is credited, and then what it costs now is debited; never the difference of the two.
* A credit comes from what was *billed*: net of discounts, and from each debit that covers the time on its own.
* Both lines run from the proration date to the end of the period, and say so: "Unused time on Pro after 21 Oct 2026",
  "Remaining time on 3 × Pro after 21 Oct 2026".
"""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Debit:
    """What an item was billed for [start, end) of Unix seconds, and until when that is still to be had.

    `id` is that of the invoice item (a proration, waiting or invoiced) or else of the invoice line. `until` is earlier
    than `end` once a part was credited. `invoice` and `line` are null while it waits for an invoice.
    """

    id: str
    net_amount: int
    start: int
    end: int
    until: int
    invoice: str | None
    line: str | None
    quantity: int
    price: str


def share(amount: int, *, start: int, end: int, whole_start: int, whole_end: int) -> int:
    """What [start, end) costs of `amount` for [whole_start, whole_end): floored towards minus infinity."""
    return amount * (end - start) // (whole_end - whole_start)


def unused(debit: Debit, moment: int) -> int:
    """The credit, zero or less, for what was billed and lies after `moment`."""
    start = max(moment, debit.start)
    return share(-debit.net_amount, start=start, end=debit.until, whole_start=debit.start, whole_end=debit.end)


def unused_description(name: str, quantity: int, moment: int) -> str:
    return f"Unused time on {counted(name, quantity)} after {day(moment)}"


def remaining_description(name: str, quantity: int, moment: int) -> str:
    return f"Remaining time on {counted(name, quantity)} after {day(moment)}"


def counted(name: str, quantity: int) -> str:
    """Stripe leaves a quantity of one out of a proration's description."""
    return name if quantity == 1 else f"{quantity} × {name}"


def day(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%d %b %Y")
