"""
What the subscription's own room asks of teams before Stripe is told of fewer seats. It reads two tables and imports
nothing of subscriptions, which `seats` builds on.
"""

from billing.teams.models import SeatAssignment


def seats_in_use(subscription_id: int) -> int:
    """Return how many members hold a seat of the plan with no end, or will: nobody may pay for fewer."""
    held = SeatAssignment.objects.filter(ends_at=None, subscription_id=subscription_id, add_on=None)
    return held.values("member_id").distinct().count()
