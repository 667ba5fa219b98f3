"""How the addresses of teams are described. The serializers never run."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from billing.api.schema import AMOUNT, TAG


class TeamMember(serializers.Serializer[Any]):
    key = serializers.CharField(help_text="As usage events name them.")
    name = serializers.CharField()
    email = serializers.CharField()
    joined_at = serializers.DateTimeField(allow_null=True, help_text="Null: no member at that instant.")
    group = serializers.CharField(allow_null=True, help_text="The group's code; null: in none.")
    has_seat = serializers.BooleanField(help_text="Of the plan.")


class TeamMembersBody(serializers.Serializer[Any]):
    customer_key = serializers.CharField()
    at = serializers.DateTimeField()
    members = TeamMember(many=True)
    next = serializers.CharField(allow_null=True, help_text="What to send as `after` for the next page.")


class RosterMember(serializers.Serializer[Any]):
    key = serializers.CharField()
    name = serializers.CharField(required=False, help_text="Left out: as it is.")
    email = serializers.CharField(required=False, help_text="Left out: as it is.")
    group = serializers.CharField(
        required=False,
        allow_null=True,
        help_text="Left out: as it is, and of who comes back the one they had, if it is open. Null: in none.",
    )
    takes_seat = serializers.BooleanField(required=False, help_text="True unless it is left out.")


class RosterAsked(serializers.Serializer[Any]):
    members = RosterMember(many=True, help_text="All of them: who is not named leaves.")
    reason = serializers.CharField()
    effective_at = serializers.DateTimeField(required=False, help_text="Now or later; left out: now.")
    leaving_at_most = serializers.IntegerField(
        required=False,
        allow_null=True,
        help_text="How many may leave. Left out, an empty roster is refused, and one that lets go more than half of"
        " more than 4 members.",
    )


class MovesAsked(serializers.Serializer[Any]):
    members = serializers.ListField(child=serializers.CharField())
    group = serializers.CharField(allow_null=True)
    reason = serializers.CharField()
    effective_at = serializers.DateTimeField(required=False)


class TeamGroup(serializers.Serializer[Any]):
    code = serializers.CharField()
    name = serializers.CharField()
    budget_code = serializers.CharField()
    members = serializers.IntegerField(help_text="At this moment.")
    closed_at = serializers.DateTimeField(allow_null=True)


class TeamGroupsBody(serializers.Serializer[Any]):
    customer_key = serializers.CharField()
    groups = TeamGroup(many=True)


class GroupAsked(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="Never changes, and is never used for another group.")
    name = serializers.CharField()
    budget_code = serializers.CharField(required=False)
    reason = serializers.CharField()


class GroupChangeAsked(serializers.Serializer[Any]):
    name = serializers.CharField()
    budget_code = serializers.CharField(required=False)
    reason = serializers.CharField()


class GroupCloseAsked(serializers.Serializer[Any]):
    reason = serializers.CharField()
    effective_at = serializers.DateTimeField(required=False)


class TeamChangeBody(serializers.Serializer[Any]):
    change = serializers.IntegerField()
    operation = serializers.CharField()
    effective_at = serializers.DateTimeField()
    recorded_at = serializers.DateTimeField()
    outcome = serializers.DictField(help_text="How many joined, left, moved, got a seat, and so on.")


class HolderAmounts(serializers.Serializer[Any]):
    rated = serializers.CharField(help_text=f"included + credited + unbilled. {AMOUNT}")
    included = serializers.CharField()
    credited = serializers.CharField()
    unbilled = serializers.CharField()


class HolderLine(HolderAmounts):
    kind = serializers.ChoiceField(choices=("group", "member", "unassigned", "unknown", "not_told"))
    code = serializers.CharField(allow_null=True, help_text="The group's code or the member's key.")
    name = serializers.CharField()
    quantities = serializers.DictField(child=serializers.CharField(), help_text="Units by meter.")


class UsageByHolderBody(serializers.Serializer[Any]):
    period = serializers.IntegerField()
    customer_key = serializers.CharField()
    currency = serializers.CharField()
    as_of = serializers.DateTimeField(help_text="When this page was computed; late usage still comes to open periods.")
    total = HolderAmounts(help_text="Of all lines, on this page or not: what the period came to.")
    lines = HolderLine(many=True)
    next = serializers.CharField(allow_null=True, help_text="What to send as `after` for the next page.")


_KEY = OpenApiParameter("customer_key", OpenApiTypes.STR, OpenApiParameter.PATH)
_CODE = OpenApiParameter("code", OpenApiTypes.STR, OpenApiParameter.PATH, description="The group's code.")
_NUMBER = OpenApiParameter("number", OpenApiTypes.INT, OpenApiParameter.PATH, description="The billing period's id.")
_WISH = OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER, required=True)
_AFTER = OpenApiParameter("after", OpenApiTypes.STR, OpenApiParameter.QUERY, description="`next` of the page before.")
_LIMIT = OpenApiParameter("limit", OpenApiTypes.INT, OpenApiParameter.QUERY, description="1 to 1000; 200 if left out.")
_PROBLEM = OpenApiResponse(description="problem+json that names the field and the remedy")


def _written(operation_id: str, summary: str, asked: Any, *path: OpenApiParameter) -> Any:
    return extend_schema(
        operation_id=operation_id,
        tags=[TAG],
        summary=summary,
        parameters=[*path, _WISH],
        request=asked,
        responses={200: TeamChangeBody, 400: _PROBLEM, 404: _PROBLEM, 409: _PROBLEM, 422: _PROBLEM},
    )


def _read(operation_id: str, summary: str, body: Any, *parameters: OpenApiParameter) -> Any:
    return extend_schema(
        operation_id=operation_id,
        tags=[TAG],
        summary=summary,
        parameters=list(parameters),
        responses={200: body, 400: _PROBLEM, 404: _PROBLEM, 409: _PROBLEM},
    )


members = _read(
    "billing_team_members",
    "A customer's members at an instant",
    TeamMembersBody,
    _KEY,
    OpenApiParameter("at", OpenApiTypes.DATETIME, OpenApiParameter.QUERY, description="Left out: now."),
    OpenApiParameter("state", OpenApiTypes.STR, OpenApiParameter.QUERY, enum=("member", "former", "all")),
    OpenApiParameter("group", OpenApiTypes.STR, OpenApiParameter.QUERY, description="A group's code; empty: in none."),
    OpenApiParameter("q", OpenApiTypes.STR, OpenApiParameter.QUERY, description="A part of key, name or e-mail."),
    _AFTER,
    _LIMIT,
)
set_roster = _written("billing_team_roster", "Let exactly these be the members", RosterAsked, _KEY)
move_members = _written("billing_team_moves", "Let members go to a group, or to none", MovesAsked, _KEY)
groups = _read("billing_team_groups", "A customer's billing groups", TeamGroupsBody, _KEY)
open_group = _written("billing_team_open_group", "Open a billing group", GroupAsked, _KEY)
change_group = _written("billing_team_change_group", "Call a group otherwise", GroupChangeAsked, _KEY, _CODE)
close_group = _written(
    "billing_team_close_group", "Close a group: its members are unassigned from then on", GroupCloseAsked, _KEY, _CODE
)
usage_by_group = _read(
    "billing_usage_by_group",
    "A period's usage by billing group, at the instant of each event",
    UsageByHolderBody,
    _NUMBER,
    _AFTER,
    _LIMIT,
)
usage_by_member = _read(
    "billing_usage_by_member", "A period's usage by member", UsageByHolderBody, _NUMBER, _AFTER, _LIMIT
)
