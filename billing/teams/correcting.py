"""
Saying otherwise in which group somebody was: the one change that reaches into the past, and never into what is
invoiced or about to be. What was before stays in its outcome.
"""

from datetime import datetime
from typing import Any

from django.db.models import F, Max, Q

from billing.customers.models import Customer
from billing.subscriptions.models import BillingPeriod
from billing.teams.changes import Outcome, Wish, Write, carry_out
from billing.teams.errors import InvalidTeam, PastChange, TeamNotFound
from billing.teams.models import BillingGroup, GroupMembership, Member, TeamChange


def correct_group(
    *,
    customer_key: str,
    member_key: str,
    group_code: str | None,
    starts_at: datetime,
    ends_at: datetime,
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> TeamChange:
    """
    Let a member have been in this group, or in none (None), during [starts_at, ends_at), which is past.

    Raises PastChange for what lies in a period that is closed, InvalidTeam for a span that is empty or not past, and
    TeamNotFound, TeamConflict as every change.
    """
    wish = Wish(
        customer_key=customer_key,
        operation=TeamChange.Operation.CORRECT_GROUP,
        asked={"member": member_key, "group": group_code, "starts_at": starts_at, "ends_at": ends_at},
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
        effective_at=starts_at,
    )

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        if not starts_at < ends_at <= now:
            raise InvalidTeam("ends_at", "Give a span that is over: its start before its end, and that not after now.")
        earliest = correctable_from(customer)
        if earliest is not None and starts_at < earliest:
            raise PastChange(
                "starts_at", f"Until {earliest:%F %T} UTC usage is invoiced and fixed. Correct from that instant on."
            )
        member, group = _named(customer, member_key, group_code)
        rows = list(
            GroupMembership.objects.filter(Q(ends_at=None) | Q(ends_at__gt=starts_at), member=member)
            .filter(starts_at__lt=ends_at)
            .exclude(ends_at__lte=F("starts_at"))
            .select_related("group")
        )
        _require_open(group, rows, ends_at)

        def write(change: TeamChange) -> None:
            for row in rows:
                cut = max(row.starts_at, starts_at)
                GroupMembership.objects.filter(pk=row.pk).update(ends_at=cut, ended_by=change)
            again = [row for row in rows if row.ends_at is None or row.ends_at > ends_at]
            new = [_row(member, row.group, ends_at, row.ends_at, change) for row in again]
            if group is not None:
                new.append(_row(member, group, starts_at, ends_at, change))
            GroupMembership.objects.bulk_create(new)

        return {"member": member_key, "group": group_code, "was": [_told(row) for row in rows]}, write

    return carry_out(wish, plan)


def correctable_from(customer: Customer) -> datetime | None:
    """Return the end of what is invoiced or about to be; None where nothing is yet."""
    closed = BillingPeriod.objects.filter(subscription__customer=customer).exclude(state=BillingPeriod.State.OPEN)
    end: datetime | None = closed.aggregate(end=Max("ends_at"))["end"]
    return end


def _named(customer: Customer, member_key: str, group_code: str | None) -> tuple[Member, BillingGroup | None]:
    member = Member.objects.filter(customer=customer, key=member_key).first()
    if member is None:
        raise TeamNotFound("member_key", f"There is no member {member_key[:64]!r}. Check the key.")
    if group_code is None:
        return member, None
    group = BillingGroup.objects.filter(customer=customer, code=group_code).first()
    if group is None:
        raise TeamNotFound("group", f"There is no group {group_code[:64]!r}. Check its code.")
    return member, group


def _require_open(group: BillingGroup | None, rows: list[GroupMembership], ends_at: datetime) -> None:
    if group is not None and group.closed_at is not None and group.closed_at < ends_at:
        raise InvalidTeam("group", f"It is closed from {group.closed_at:%F %T} UTC on. Let the span end there.")


def _row(
    member: Member, group: BillingGroup, starts_at: datetime, ends_at: datetime | None, change: TeamChange
) -> GroupMembership:
    ended_by = None if ends_at is None else change
    return GroupMembership(
        member=member, group=group, starts_at=starts_at, ends_at=ends_at, begun_by=change, ended_by=ended_by
    )


def _told(row: GroupMembership) -> dict[str, Any]:
    ends = None if row.ends_at is None else row.ends_at.isoformat()
    return {"group": row.group.code, "starts_at": row.starts_at.isoformat(), "ends_at": ends}
