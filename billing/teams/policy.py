"""How a customer's team is kept: whether seats follow members, and which dimension of usage names these."""

from datetime import datetime

from billing.customers.models import Customer
from billing.teams.changes import Outcome, Wish, Write, carry_out
from billing.teams.errors import InvalidTeam
from billing.teams.models import TeamChange, TeamPolicy


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
    """Say whether seats follow members, and which dimension of usage names them ("": the setting's)."""
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
        was = {
            "seats_follow_members": policy.seats_follow_members,
            "member_dimension": policy.member_dimension,
        }

        def write(change: TeamChange) -> None:
            policy.seats_follow_members, policy.member_dimension = seats_follow_members, member_dimension
            policy.save()

        return {"was": was, "is": asked}, write

    return carry_out(wish, plan)
