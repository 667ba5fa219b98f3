"""All reads about teams but usage, which is in `usage`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery

from billing.customers.models import Customer
from billing.teams import seats
from billing.teams.models import BillingGroup, GroupMembership, Member, Membership, SeatAssignment


@dataclass(frozen=True, slots=True)
class TeamFigures:
    """A team at an instant. `seats_paid` is None without a live subscription; `waiting` members have no seat yet."""

    members: int
    groups: int
    unassigned: int
    seats_held: int
    seats_paid: int | None
    waiting: int
    follows_members: bool


def holding(at: datetime) -> Q:
    """Of a span: it holds at the instant."""
    return Q(starts_at__lte=at) & (Q(ends_at=None) | Q(ends_at__gt=at))


def team_figures(customer: Customer, *, at: datetime) -> TeamFigures:
    """Return the team's figures at an instant; seven queries."""
    members = Membership.objects.filter(holding(at), member__customer=customer)
    grouped = GroupMembership.objects.filter(holding(at), member=OuterRef("member"))
    subscription = seats.live_subscription(customer)
    counted = members.aggregate(every=Count("pk"), unassigned=Count("pk", filter=~Exists(grouped)))
    waiting = 0
    if subscription is not None:
        had = SeatAssignment.objects.filter(
            Q(ends_at=None) | Q(ends_at__gt=OuterRef("starts_at")), subscription=subscription, member=OuterRef("member")
        )
        waiting = members.filter(~Exists(had), takes_seat=True).count()
    return TeamFigures(
        members=counted["every"],
        unassigned=counted["unassigned"],
        groups=BillingGroup.objects.filter(Q(closed_at=None) | Q(closed_at__gt=at), customer=customer).count(),
        seats_held=0 if subscription is None else seats.seats_held(subscription.pk, at=at),
        seats_paid=None if subscription is None else subscription.seats,
        waiting=waiting,
        follows_members=seats.follows_members(customer),
    )


def members_of(
    customer: Customer, *, at: datetime, state: str = "member", group: str | None = None, text: str = ""
) -> QuerySet[Member]:
    """
    Return the customer's people by key, with `group_code`, `group_name`, `joined_at` and `has_seat` at the instant.

    `state` is member, former or all; `group` narrows to a group's code, "" to those in none; `text` to a part of key,
    name or e-mail.
    """
    here = Membership.objects.filter(holding(at), member=OuterRef("pk"))
    inside = GroupMembership.objects.filter(holding(at), member=OuterRef("pk"))
    held = SeatAssignment.objects.filter(holding(at), member=OuterRef("pk"), add_on=None)
    found = Member.objects.filter(customer=customer).annotate(
        joined_at=Subquery(here.values("starts_at")[:1]),
        group_id=Subquery(inside.values("group_id")[:1]),
        group_code=Subquery(inside.values("group__code")[:1]),
        group_name=Subquery(inside.values("group__name")[:1]),
        has_seat=Exists(held),
    )
    if state != "all":
        found = found.filter(joined_at__isnull=state == "former")
    if group is not None:
        found = found.filter(group_code=group) if group else found.filter(group_code=None)
    if text:
        found = found.filter(Q(key__icontains=text) | Q(name__icontains=text) | Q(email__icontains=text))
    return found.order_by("key")


def groups_of(customer: Customer, *, at: datetime) -> QuerySet[BillingGroup]:
    """Return all groups by code, with how many members each has at the instant."""
    inside = Q(group_memberships__starts_at__lte=at) & (
        Q(group_memberships__ends_at=None) | Q(group_memberships__ends_at__gt=at)
    )
    found = BillingGroup.objects.filter(customer=customer).annotate(members=Count("group_memberships", filter=inside))
    return found.order_by("code")


def who_was_in(group: BillingGroup, *, most: int) -> Sequence[GroupMembership]:
    """Return who was in the group and when, the latest first; what was cancelled before it began is left out."""
    found = GroupMembership.objects.filter(group=group).exclude(ends_at__lte=F("starts_at"))
    return list(found.select_related("member", "begun_by", "ended_by").order_by("-starts_at", "member__key")[:most])
