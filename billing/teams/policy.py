"""How a customer's team is kept: whether seats follow members, and which dimension of usage names these."""

from datetime import datetime, timedelta

from billing.customers.models import Customer
from billing.subscriptions.periods import floor_hour
from billing.teams.changes import Outcome, Wish, Write, carry_out
from billing.teams.errors import InvalidTeam
from billing.teams.models import MemberDimension, TeamChange, TeamPolicy


def set_policy(
    *,
    customer_key: str,
    seats_follow_members: bool,
    member_dimension: str,
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> TeamChange:
    """
    Say whether seats follow members, and which dimension of usage names them ("": as it is).

    Another dimension counts from the next full hour on, and for the periods that start then or later: what was told
    for a period that has begun stays. Raises InvalidTeam, TeamNotFound, TeamConflict.
    """
    asked = {"seats_follow_members": seats_follow_members, "member_dimension": member_dimension}
    wish = Wish(
        customer_key=customer_key,
        operation=TeamChange.Operation.SET_POLICY,
        asked=asked,
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
    )

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        if len(member_dimension) > 64 or (member_dimension and not member_dimension.isidentifier()):
            raise InvalidTeam("member_dimension", "Name a dimension of a meter, such as member; or leave it empty.")
        policy = TeamPolicy.objects.filter(customer=customer).first() or TeamPolicy(customer=customer)
        kept = latest_dimension(customer)
        was = {"seats_follow_members": policy.seats_follow_members, "member_dimension": kept}
        told: Outcome = {"was": was, "is": {**asked, "member_dimension": member_dimension or kept}}
        starts_at = at if not kept else floor_hour(at) + timedelta(hours=1)
        is_other = bool(member_dimension) and member_dimension != kept
        if is_other and kept:
            told["for_periods_from"] = f"{starts_at:%F %R} UTC"

        def write(change: TeamChange) -> None:
            policy.seats_follow_members = seats_follow_members
            policy.save()
            if is_other:
                MemberDimension.objects.create(
                    customer=customer, dimension=member_dimension, starts_at=starts_at, begun_by=change
                )

        return told, write

    return carry_out(wish, plan)


def latest_dimension(customer: Customer) -> str:
    """The dimension that was said last, in force or to come; "" before the first change of the team."""
    found = MemberDimension.objects.filter(customer=customer).order_by("-starts_at", "-id")
    return found.values_list("dimension", flat=True).first() or ""
