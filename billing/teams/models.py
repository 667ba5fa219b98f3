"""
A customer's members, the seats they hold and the groups they are in, over time.

Every span is half-open, in UTC, and is written by a change: who, when, why. A change begins and ends spans from its own
instant on, never before; only a correction reaches back, and not into what is invoiced. Nothing is deleted.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Coalesce

MEMBER_KEY_CHARS_MAX = 200  # What metering keeps of a dimension's value.
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class TeamChange(models.Model):
    """One change of a team: all that it began and ended names it. Only added, in the order of `recorded_at`."""

    class Operation(models.TextChoices):
        ADD_MEMBERS = "add_members", "Members added"
        REMOVE_MEMBERS = "remove_members", "Members removed"
        SET_ROSTER = "set_roster", "Roster set"
        MOVE_MEMBERS = "move_members", "Members moved"
        OPEN_GROUP = "open_group", "Group opened"
        CHANGE_GROUP = "change_group", "Group changed"
        CLOSE_GROUP = "close_group", "Group closed"
        ASSIGN_SEATS = "assign_seats", "Seats assigned"
        RELEASE_SEATS = "release_seats", "Seats released"
        CORRECT_GROUP = "correct_group", "Group corrected for the past"
        SET_POLICY = "set_policy", "Policy set"

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="+")
    operation = models.CharField(max_length=20, choices=Operation)
    effective_at = models.DateTimeField(help_text="From then on it counts.")
    recorded_at = models.DateTimeField()
    actor = models.CharField(max_length=200, help_text="user:NAME, service:NAME or task:NAME.")
    reason = models.CharField(max_length=500)
    idempotency_key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64, help_text="Of what was asked for: another wish needs another key.")
    outcome = models.JSONField(help_text="What it did, as it was answered; a correction also says what was before.")

    class Meta:
        ordering = ("-id",)
        permissions: ClassVar[Any] = (
            ("edit_team", "Can change a team's members, seats and groups"),
            ("correct_team", "Can correct which group a member was in"),
        )
        constraints = (
            models.UniqueConstraint(name="billing_teamchange_once", fields=("customer", "idempotency_key")),
            models.CheckConstraint(name="billing_teamchange_says_why", condition=~Q(reason="") & ~Q(actor="")),
            models.CheckConstraint(
                name="billing_teamchange_not_before",
                condition=Q(operation="correct_group") | Q(effective_at__gte=F("recorded_at")),
            ),
            models.CheckConstraint(
                name="billing_teamchange_within_reach",
                condition=Q(effective_at__gte=_FIRST, recorded_at__lt=_LAST)
                & Q(effective_at__lte=F("recorded_at") + timedelta(days=3653)),
            ),
        )
        indexes = (models.Index(name="billing_teamchange_order", fields=("customer", "recorded_at")),)

    def __str__(self) -> str:
        return f"{self.get_operation_display()}, {self.recorded_at:%d %b %Y %H:%M}"


class TeamPolicy(models.Model):
    """How a customer's team is kept; without a row nothing follows by itself."""

    customer = models.OneToOneField("billing.Customer", on_delete=models.PROTECT, related_name="+")
    seats_follow_members = models.BooleanField(
        default=False, help_text="Members take a seat when they join; missing seats are bought, spare ones given back."
    )

    def __str__(self) -> str:
        return f"Policy of customer {self.customer_id}"


class MemberDimension(models.Model):
    """
    Which dimension of usage names the customer's members, from `starts_at` until the next row's. Only added.

    A period is shared out by the one in force at its start, and what is before the first row by the first. Of two that
    start at one instant the later one counts.
    """

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="+")
    dimension = models.CharField(max_length=64)
    starts_at = models.DateTimeField()
    begun_by = models.ForeignKey(TeamChange, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ("customer_id", "starts_at", "id")
        constraints = (models.CheckConstraint(name="billing_memberdimension_named", condition=~Q(dimension="")),)
        indexes = (models.Index(name="billing_memberdimension_order", fields=("customer", "starts_at", "id")),)

    def __str__(self) -> str:
        return f"{self.dimension} from {self.starts_at:%d %b %Y %H:%M}"


class Member(models.Model):
    """A person of a customer. `key` is how usage events name them; it never changes. Name and e-mail are the latest."""

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="members")
    key = models.CharField(max_length=MEMBER_KEY_CHARS_MAX)
    name = models.CharField(max_length=200, blank=True)
    email = models.CharField(max_length=254, blank=True)
    first_change = models.ForeignKey(TeamChange, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ("key",)
        constraints = (
            models.UniqueConstraint(name="billing_member_key", fields=("customer", "key")),
            models.CheckConstraint(name="billing_member_has_key", condition=~Q(key="")),
        )

    def __str__(self) -> str:
        return self.name or self.key


class BillingGroup(models.Model):
    """A part of a customer that usage is told apart by, such as a cost centre. A closed group takes nobody."""

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="billing_groups")
    code = models.CharField(max_length=64, help_text="Never changes, and is never used for another group.")
    name = models.CharField(max_length=200)
    budget_code = models.CharField(max_length=100, blank=True, help_text="The customer's own cost centre.")
    opened_by = models.ForeignKey(TeamChange, on_delete=models.PROTECT, related_name="+")
    closed_at = models.DateTimeField(null=True, blank=True, help_text="From then on its members are unassigned.")
    closed_by = models.ForeignKey(TeamChange, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("code",)
        constraints = (
            models.UniqueConstraint(name="billing_billinggroup_code", fields=("customer", "code")),
            models.CheckConstraint(
                name="billing_billinggroup_code_valid", condition=Q(code__regex=r"^[A-Za-z0-9_.-]{1,64}$")
            ),
            models.CheckConstraint(name="billing_billinggroup_named", condition=~Q(name="")),
            models.CheckConstraint(
                name="billing_billinggroup_closed_by",
                condition=Q(closed_at=None, closed_by=None) | Q(closed_at__isnull=False, closed_by__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return self.name


def _span(name: str) -> tuple[models.BaseConstraint, ...]:
    """A span that is cancelled before it begins ends where it begins: it is empty, and overlaps nothing."""
    return (
        models.CheckConstraint(
            name=f"billing_{name}_ends_after_start", condition=Q(ends_at=None) | Q(ends_at__gte=F("starts_at"))
        ),
        models.CheckConstraint(
            name=f"billing_{name}_end_has_change",
            condition=Q(ends_at=None, ended_by=None) | Q(ends_at__isnull=False, ended_by__isnull=False),
        ),
        models.CheckConstraint(
            name=f"billing_{name}_within_reach",
            condition=Q(starts_at__gte=_FIRST, starts_at__lt=_LAST) & (Q(ends_at=None) | Q(ends_at__lt=_LAST)),
        ),
    )


_RANGE = Func("starts_at", "ends_at", function="TSTZRANGE")


class Membership(models.Model):
    """From when until when somebody is a member. They may come back."""

    member = models.ForeignKey(Member, on_delete=models.PROTECT, related_name="memberships")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    takes_seat = models.BooleanField(default=True, help_text="Whether a seat of the plan comes with it.")
    begun_by = models.ForeignKey(TeamChange, on_delete=models.PROTECT, related_name="+")
    ended_by = models.ForeignKey(TeamChange, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("member_id", "starts_at", "id")
        constraints = (
            *_span("membership"),
            ExclusionConstraint(
                name="billing_membership_no_overlap",
                expressions=[("member", RangeOperators.EQUAL), (_RANGE, RangeOperators.OVERLAPS)],
            ),
        )

    def __str__(self) -> str:
        return f"Membership of member {self.member_id} from {self.starts_at:%d %b %Y}"


class GroupMembership(models.Model):
    """From when until when a member is in a group: in one at a time. Usage belongs to the group of its instant."""

    member = models.ForeignKey(Member, on_delete=models.PROTECT, related_name="group_memberships")
    group = models.ForeignKey(BillingGroup, on_delete=models.PROTECT, related_name="group_memberships")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    begun_by = models.ForeignKey(TeamChange, on_delete=models.PROTECT, related_name="+")
    ended_by = models.ForeignKey(TeamChange, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("member_id", "starts_at", "id")
        constraints = (
            *_span("groupmembership"),
            ExclusionConstraint(
                name="billing_groupmembership_no_overlap",
                expressions=[("member", RangeOperators.EQUAL), (_RANGE, RangeOperators.OVERLAPS)],
            ),
        )

    def __str__(self) -> str:
        return f"Member {self.member_id} in group {self.group_id} from {self.starts_at:%d %b %Y}"


class SeatAssignment(models.Model):
    """
    From when until when a member holds a seat of a subscription's plan, or of an add-on of it.

    A seat is of the plan, not of a version: which version's it is at an instant is told by the billing period.
    """

    member = models.ForeignKey(Member, on_delete=models.PROTECT, related_name="seat_assignments")
    subscription = models.ForeignKey("billing.Subscription", on_delete=models.PROTECT, related_name="seat_assignments")
    add_on = models.ForeignKey(
        "billing.Plan",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty: the plan's.",
    )
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    begun_by = models.ForeignKey(TeamChange, on_delete=models.PROTECT, related_name="+")
    ended_by = models.ForeignKey(TeamChange, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("member_id", "starts_at", "id")
        constraints = (
            *_span("seatassignment"),
            ExclusionConstraint(
                name="billing_seatassignment_no_overlap",
                expressions=[
                    ("member", RangeOperators.EQUAL),
                    ("subscription", RangeOperators.EQUAL),
                    (Coalesce("add_on", Value(0), output_field=models.BigIntegerField()), RangeOperators.EQUAL),
                    (_RANGE, RangeOperators.OVERLAPS),
                ],
            ),
        )
        indexes = (models.Index(name="billing_seatassignment_held", fields=("subscription", "add_on", "ends_at")),)

    def __str__(self) -> str:
        return f"Seat of member {self.member_id} from {self.starts_at:%d %b %Y}"


class SeatOrder(models.Model):
    """
    Seats that Stripe is to be told of, because members came or left; kept before Stripe is asked.

    While one is open that lowers, nobody is given a seat above it: between asking and Stripe's answer the number of
    seats held never passes the number that will be paid.
    """

    class State(models.TextChoices):
        OPEN = "open", "Stripe is being told"
        DONE = "done", "Done"
        REFUSED = "refused", "Refused"
        REPLACED = "replaced", "Replaced by a later one"

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey("billing.Subscription", on_delete=models.PROTECT, related_name="seat_orders")
    seats = models.PositiveIntegerField(help_text="Of the plan, in all.")
    from_next_period = models.BooleanField()
    because = models.ForeignKey(TeamChange, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    detail = models.CharField(max_length=500, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(name="billing_seatorder_some", condition=Q(seats__gt=0)),
            models.CheckConstraint(
                name="billing_seatorder_settled", condition=Q(state="open") ^ Q(settled_at__isnull=False)
            ),
            models.UniqueConstraint(
                name="billing_seatorder_one_open", fields=("subscription",), condition=Q(state="open")
            ),
        )

    def __str__(self) -> str:
        return f"{self.seats} seats of subscription {self.subscription_id}"
