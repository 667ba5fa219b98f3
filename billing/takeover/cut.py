"""
The cut of the takeover, for the projections: one question to a table of at most one row.

Each fact decides by its own instant on which side of the cut it is. So it does not matter who brings it here first (a
run, an event, the poll), nor when a run was broken off: the books come to the same.
"""

from collections.abc import Iterable
from datetime import datetime

from billing.stripe.seconds import second_of
from billing.takeover.models import TakenOver, Takeover


def cut() -> datetime | None:
    """The last second that belongs to the opening; None where no account was taken over."""
    return Takeover.objects.values_list("as_of", flat=True).first()


def is_before(at: datetime | None, cut_at: datetime | None) -> bool:
    """Whether what happened then belongs to the opening. What has not happened does not."""
    return at is not None and cut_at is not None and at <= cut_at


def is_second_before(second: int | None, cut_at: datetime | None) -> bool:
    """The same of a time as Stripe says it."""
    return second is not None and cut_at is not None and second <= second_of(cut_at)


def left_out(stripe_customer_ids: Iterable[str]) -> set[str]:
    """Which of these customers people left out of the books, by name."""
    named = TakenOver.objects.filter(kind=TakenOver.Kind.CUSTOMER, stripe_id__in=list(stripe_customer_ids))
    outcomes: dict[str, set[str]] = {}
    for stripe_id, outcome in named.values_list("stripe_id", "outcome"):
        outcomes.setdefault(stripe_id, set()).add(outcome)
    return {stripe_id for stripe_id, said in outcomes.items() if said == {TakenOver.Outcome.LEFT_OUT}}


def is_payment_left_out(stripe_id: str) -> bool:
    """Whether a payment of before the cut is in no row here: it names nobody, or somebody who was left out."""
    named = TakenOver.objects.filter(kind=TakenOver.Kind.PAYMENT, stripe_id=stripe_id)
    return set(named.values_list("outcome", flat=True)) == {TakenOver.Outcome.LEFT_OUT}
