"""How much the refunds of one charge promise its customer: arithmetic only."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RefundPart:
    """
    A refund that was not called off, or what a person entered as given back otherwise.

    `returned_at`: it failed then, and the customer is owed it again.
    """

    amount_minor: int
    occurred_at: datetime
    returned_at: datetime | None = None


def promised_minor(refunds: Iterable[RefundPart]) -> int:
    """
    The most that was ever on its way or arrived at one time.

    A refund after one that failed pays what is owed because of that: it promises nothing more, unless it is larger.
    """
    steps: list[tuple[datetime, int, int]] = []
    for refund in refunds:
        steps.append((refund.occurred_at, 1, refund.amount_minor))
        if refund.returned_at is not None:
            # At one instant what failed comes before what was asked for anew, and never before its own beginning.
            own_instant = refund.returned_at <= refund.occurred_at
            steps.append((max(refund.returned_at, refund.occurred_at), 2 if own_instant else 0, -refund.amount_minor))
    under_way = most = 0
    for _, _, change in sorted(steps):
        under_way += change
        most = max(most, under_way)
    return most
