"""Who had which group at every instant of a span. Pure but for `group_holdings` and `member_holdings`, which read."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db.models import F, Q

from billing.customers.models import Customer
from billing.teams.models import GroupMembership, Member
from metering.queries import Holding

UNASSIGNED, UNKNOWN, NOT_TOLD = 0, -1, -2
"""Holders that are no group: a member in none; a value that is nobody's; usage of which no member can be told."""


class Timeline:
    """Looks up who held a value at an instant."""

    def __init__(self, holdings: Iterable[Holding]) -> None:
        self._of: dict[str, tuple[list[datetime], list[Holding]]] = {}
        for one in sorted(holdings, key=lambda one: (one.value, one.start)):
            starts, found = self._of.setdefault(one.value, ([], []))
            starts.append(one.start)
            found.append(one)

    def holder(self, value: str | None, at: datetime) -> int:
        """Return the holder, or UNKNOWN."""
        if value is None or value not in self._of:
            return UNKNOWN
        starts, found = self._of[value]
        place = bisect_right(starts, at)
        return found[place - 1].holder if place and at < found[place - 1].end else UNKNOWN

    def changes(self, value: str | None, start: datetime, end: datetime) -> bool:
        """Whether its holder changes inside of (start, end)."""
        if value is None or value not in self._of:
            return False
        _, found = self._of[value]
        return any(start < at < end for one in found for at in (one.start, one.end))


def member_holdings(customer: Customer, start: datetime, end: datetime) -> list[Holding]:
    """Every member holds their own key, always: usage after somebody left is still theirs."""
    return [Holding(key, pk, start, end) for pk, key in _members(customer)]


def group_holdings(customer: Customer, start: datetime, end: datetime) -> list[Holding]:
    """Every member's groups during [start, end), with UNASSIGNED between; two queries."""
    held = GroupMembership.objects.filter(Q(ends_at=None) | Q(ends_at__gt=start), member__customer=customer)
    held = held.filter(starts_at__lt=end).exclude(ends_at__lte=F("starts_at")).order_by("member_id", "starts_at")
    of_member: dict[int, list[tuple[datetime, datetime, int]]] = {}
    for pk, group_id, starts_at, ends_at in held.values_list("member_id", "group_id", "starts_at", "ends_at"):
        span = (max(starts_at, start), min(ends_at or end, end), group_id)
        of_member.setdefault(pk, []).append(span)
    return list(_without_gaps(dict(_members(customer)), of_member, start, end))


def _members(customer: Customer) -> Iterable[tuple[int, str]]:
    return Member.objects.filter(customer=customer).order_by("pk").values_list("pk", "key")


def _without_gaps(
    keys: Mapping[int, str],
    of_member: Mapping[int, list[tuple[datetime, datetime, int]]],
    start: datetime,
    end: datetime,
) -> Iterable[Holding]:
    for pk, key in keys.items():
        reached = start
        for starts_at, ends_at, group_id in of_member.get(pk, ()):
            if reached < starts_at:
                yield Holding(key, UNASSIGNED, reached, starts_at)
            yield Holding(key, group_id, starts_at, ends_at)
            reached = ends_at
        if reached < end:
            yield Holding(key, UNASSIGNED, reached, end)
