"""A customer's team: the roster as a whole, members, groups, and usage by either."""

from typing import Annotated, Any, ClassVar

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request

from billing.api import parameters
from billing.api import teams_schema as described
from billing.api.refusals import BadParameter, NotComputable, NotThere
from billing.api.views import BillingView
from billing.api.writing import Asked, Body, Instant, Reason, Text, WritingView
from billing.customers.models import Customer
from billing.customers.queries import customer_by_key
from billing.rating.explanation.as_json import instant_text, number_text
from billing.rating.rating import RatingError
from billing.rating.totals import Amounts
from billing.subscriptions.models import BillingPeriod
from billing.teams import operations as teams
from billing.teams import queries, usage
from billing.teams.errors import InvalidTeam, PastChange, SeatsExceeded, TeamConflict, TeamNotFound
from billing.teams.models import TeamChange
from billing.teams.roster import RosterEntry
from config import clock
from metering.queries import EventsArchived

SEES, CHANGES = "billing.view_member", "billing.edit_team"
PAGE_MAX, PAGE = 1000, 200
KINDS = {"group": 0, "member": 0, "unassigned": 1, "unknown": 2, "not_told": 3}
# What MEMBERS_MAX members come to, with names and addresses as long as people's are.
ROSTER_BYTES_MAX = 16 * 1024 * 1024


class MemberBody(Body, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of a roster. What is left out stays as it is; a group that is null is none."""

    key: Text
    name: str | msgspec.UnsetType = msgspec.UNSET
    email: str | msgspec.UnsetType = msgspec.UNSET
    group: str | msgspec.UnsetType | None = msgspec.UNSET
    takes_seat: bool = True


class RosterBody(Body, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Exactly these are the members, from `effective_at` on."""

    members: list[MemberBody]
    reason: Reason
    effective_at: Instant | None = None
    leaving_at_most: Annotated[int, msgspec.Meta(ge=0, le=10**9)] | None = None


class MoveBody(Body, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """These go to a group, or to none."""

    members: list[Text]
    group: Text | None
    reason: Reason
    effective_at: Instant | None = None


class GroupBody(Body, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A group to open."""

    code: Text
    name: Text
    reason: Reason
    budget_code: str = ""


class GroupChangeBody(Body, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an open group is called."""

    name: Text
    reason: Reason
    budget_code: str = ""


class CloseBody(Body, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When and why a group closes."""

    reason: Reason
    effective_at: Instant | None = None


class TeamView(WritingView):
    """What all addresses of a team have in common."""

    permissions = (SEES,)
    write_permissions = (CHANGES,)
    # An identity provider's key needs this one only, and may move no money by it.
    required_scopes = {"GET": ("billing:read",), "POST": ("teams:write",), "PUT": ("teams:write",)}
    refused: ClassVar[dict[type[Exception], int]] = {
        InvalidTeam: 422,
        PastChange: 422,
        SeatsExceeded: 422,
        TeamConflict: 409,
        TeamNotFound: 404,
    }

    def told(self, change: TeamChange) -> HttpResponse:
        return self.answer(
            {
                "change": change.pk,
                "operation": change.operation,
                "effective_at": instant_text(change.effective_at),
                "recorded_at": instant_text(change.recorded_at),
                "outcome": change.outcome,
            }
        )


class Members(TeamView):
    """Who is a member; and, as a whole, who should be."""

    takes = frozenset({"at", "state", "group", "q", "after", "limit"})
    body_bytes_max = ROSTER_BYTES_MAX
    body_too_long = "Leave out names, e-mails and groups that have not changed: what is left out stays as it is."

    @described.members
    def get(self, request: Request, customer_key: str) -> HttpResponse:
        customer, query = _customer(customer_key), request.query_params
        at = parameters.instant(query, "at") or clock.now()
        state = query.get("state", "member")
        if state not in ("member", "former", "all"):
            raise BadParameter("state", "Give one of member, former, all.")
        limit = _limit(request)
        group, text, after = query.get("group"), query.get("q", ""), query.get("after", "")
        for name, given in (("group", group or ""), ("q", text), ("after", after)):
            if given and not parameters.is_text(given):
                raise BadParameter(name, "Give printable text.")
        found = queries.members_of(customer, at=at, state=state, group=group, text=text)
        rows: list[Any] = list(found.filter(key__gt=after)[: limit + 1])
        shown = rows[:limit]
        return self.answer(
            {
                "customer_key": customer.customer_key,
                "at": instant_text(at),
                "members": [
                    {
                        "key": one.key,
                        "name": one.name,
                        "email": one.email,
                        "joined_at": None if one.joined_at is None else instant_text(one.joined_at),
                        "group": one.group_code,
                        "has_seat": one.has_seat,
                    }
                    for one in shown
                ],
                "next": shown[-1].key if len(rows) > limit else None,
            }
        )

    @described.set_roster
    def put(self, request: Request, customer_key: str) -> HttpResponse:
        asked = self.asked(request, RosterBody)
        change = teams.set_roster(
            customer_key=customer_key,
            members=[_entry(one) for one in asked.body.members],
            reason=asked.body.reason,
            effective_at=asked.body.effective_at,
            leaving_at_most=asked.body.leaving_at_most,
            **_by(asked),
        )
        return self.told(change)


class Moves(TeamView):
    @described.move_members
    def post(self, request: Request, customer_key: str) -> HttpResponse:
        asked = self.asked(request, MoveBody)
        change = teams.move_members(
            customer_key=customer_key,
            member_keys=asked.body.members,
            group_code=asked.body.group,
            reason=asked.body.reason,
            effective_at=asked.body.effective_at,
            **_by(asked),
        )
        return self.told(change)


class Groups(TeamView):
    @described.groups
    def get(self, request: Request, customer_key: str) -> HttpResponse:
        customer, at = _customer(customer_key), clock.now()
        found = queries.groups_of(customer, at=at)
        rows = [
            {
                "code": one.code,
                "name": one.name,
                "budget_code": one.budget_code,
                "members": members,
                "closed_at": None if one.closed_at is None else instant_text(one.closed_at),
            }
            for one, members in ((one, getattr(one, "members", 0)) for one in found)
        ]
        return self.answer({"customer_key": customer.customer_key, "groups": rows})

    @described.open_group
    def post(self, request: Request, customer_key: str) -> HttpResponse:
        asked = self.asked(request, GroupBody)
        change = teams.open_group(
            customer_key=customer_key,
            code=asked.body.code,
            name=asked.body.name,
            budget_code=asked.body.budget_code,
            reason=asked.body.reason,
            **_by(asked),
        )
        return self.told(change)


class GroupChange(TeamView):
    @described.change_group
    def put(self, request: Request, customer_key: str, code: str) -> HttpResponse:
        asked = self.asked(request, GroupChangeBody)
        change = teams.change_group(
            customer_key=customer_key,
            code=code,
            name=asked.body.name,
            budget_code=asked.body.budget_code,
            reason=asked.body.reason,
            **_by(asked),
        )
        return self.told(change)


class GroupClose(TeamView):
    @described.close_group
    def post(self, request: Request, customer_key: str, code: str) -> HttpResponse:
        asked = self.asked(request, CloseBody)
        change = teams.close_group(
            customer_key=customer_key,
            code=code,
            reason=asked.body.reason,
            effective_at=asked.body.effective_at,
            **_by(asked),
        )
        return self.told(change)


class UsageBy(BillingView):
    """
    A period's usage by holder: the lines after a holder, and the total of all, as of now. A page goes on after the last
    holder of the one before, whoever came to the list meanwhile.
    """

    takes = frozenset({"after", "limit"})
    required_scopes = {"GET": ("billing:read", "usage:read")}
    permissions = ("billing.view_usageaccrual", SEES)

    def page(self, request: Request, number: int, *, by_member: bool) -> HttpResponse:
        period = BillingPeriod.objects.select_related("subscription__customer", "plan_version").filter(pk=number)
        found = period.first()
        if found is None:
            raise NotThere("number", f"There is no billing period {number}.")
        limit, after, now = _limit(request), _after(request), clock.now()
        read = usage.usage_by_member if by_member else usage.usage_by_group
        try:
            answer = read(found, now=now)
        except (RatingError, EventsArchived) as error:
            raise NotComputable("number", str(error)) from None
        lines = [one for one in answer.lines if after is None or _place(one.holder.kind, one.holder.code) > after]
        shown, last = lines[:limit], lines[limit - 1] if len(lines) > limit else None
        body = {
            "period": found.pk,
            "customer_key": found.subscription.customer.customer_key,
            "currency": found.plan_version.currency,
            "as_of": instant_text(now),
            "total": _amounts(answer.total),
            "lines": [_line(one) for one in shown],
            "next": None if last is None else f"{last.holder.kind}:{last.holder.code}",
        }
        return HttpResponse(msgspec.json.encode(body), content_type="application/json")


class UsageByGroup(UsageBy):
    @described.usage_by_group
    def get(self, request: Request, number: int) -> HttpResponse:
        return self.page(request, number, by_member=False)


class UsageByMember(UsageBy):
    @described.usage_by_member
    def get(self, request: Request, number: int) -> HttpResponse:
        return self.page(request, number, by_member=True)


def _line(line: usage.HolderUsage) -> dict[str, Any]:
    return {
        "kind": line.holder.kind,
        "code": line.holder.code or None,
        "name": line.holder.name,
        "quantities": {code: number_text(quantity) for code, quantity in sorted(line.quantities.items())},
        **_amounts(line.amounts),
    }


def _amounts(amounts: Amounts) -> dict[str, Any]:
    return {name: number_text(getattr(amounts, name)) for name in ("rated", "included", "credited", "unbilled")}


def _entry(told: MemberBody) -> RosterEntry:
    given = {"name": told.name, "email": told.email, "group": told.group}
    kept: dict[str, Any] = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    return RosterEntry(key=told.key, takes_seat=told.takes_seat, **kept)


def _by(asked: Asked[Any]) -> dict[str, Any]:
    """Two callers may use the same key: each has their own."""
    return {"actor": asked.actor, "idempotency_key": f"{asked.actor}:{asked.key}", "now": asked.now}


def _customer(customer_key: str) -> Customer:
    customer = customer_by_key(customer_key) if parameters.is_text(customer_key) else None
    if customer is None:
        raise NotThere("customer_key", f"There is no customer {customer_key[:64]!r}. Check the key.")
    return customer


def _limit(request: Request) -> int:
    given = request.query_params.get("limit", str(PAGE))
    if not (given.isascii() and given.isdecimal() and len(given) <= 4 and 1 <= int(given) <= PAGE_MAX):
        raise BadParameter("limit", f"Give a number from 1 to {PAGE_MAX}.")
    return int(given)


def _after(request: Request) -> tuple[int, str] | None:
    given = request.query_params.get("after")
    if given is None:
        return None
    kind, colon, code = given.partition(":")
    if not (colon and kind in KINDS and (not code or parameters.is_text(code))):
        raise BadParameter("after", "Give `next` of the answer before.")
    return _place(kind, code)


def _place(kind: str, code: str) -> tuple[int, str]:
    """Where a holder stands in the list: groups or members by code, then the three others."""
    return KINDS[kind], code
