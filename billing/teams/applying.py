"""
How a difference between who is a member and who should be is read and written, with groups and seats.

A number of statements that does not depend on how many members there are.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import F, QuerySet

from billing.customers.models import Customer
from billing.teams import seats
from billing.teams.changes import Outcome, Spans, Write, end_spans, not_over
from billing.teams.models import BillingGroup, GroupMembership, Member, Membership, SeatAssignment, TeamChange
from billing.teams.roster import Difference, Present, named_otherwise

BATCH = 5_000


def present_at(customer: Customer, at: datetime) -> dict[str, Present]:
    """Everybody the customer ever knew, as they stand at the instant, and what is planned of them; five queries."""
    leaves: dict[int, datetime | None] = {}
    joins: set[int] = set()
    # A span that begins where one ends, with the same in it, goes on with it: an end that was cancelled stays written.
    spans = _not_over(Membership, customer, at).order_by("starts_at")
    for pk, starts_at, ends_at in spans.values_list("member_id", "starts_at", "ends_at"):
        if starts_at <= at or (pk in leaves and leaves[pk] == starts_at):
            leaves[pk] = ends_at
        else:
            joins.add(pk)
    groups: dict[int, tuple[str, datetime | None]] = {}
    planned: dict[int, str] = {}
    moves: set[int] = set()
    rows = _not_over(GroupMembership, customer, at).order_by("starts_at")
    for pk, starts_at, ends_at, code in rows.values_list("member_id", "starts_at", "ends_at", "group__code"):
        if starts_at <= at or groups.get(pk) == (code, starts_at):
            groups[pk] = code, ends_at
        else:
            planned.setdefault(pk, code)
            moves.add(pk)
    moves |= {pk for pk, (_, ends_at) in groups.items() if ends_at is not None and ends_at != leaves.get(pk)}
    back = {**_had_at_the_end(customer, at), **planned}
    takes = open_groups_of(customer)
    return {
        key: Present(
            name=name,
            email=email,
            is_member=pk in leaves,
            group=groups[pk][0] if pk in groups else None,
            leaves_at=leaves.get(pk),
            joins_later=pk in joins,
            moves_later=pk in moves,
            comes_back_to=back.get(pk) if back.get(pk) in takes else None,
        )
        for pk, key, name, email in Member.objects.filter(customer=customer).values_list("pk", "key", "name", "email")
    }


def applied(
    customer: Customer, at: datetime, present: Mapping[str, Present], found: Difference
) -> tuple[Outcome, Write]:
    """What a difference comes to, seats included, and how it is written. Raises SeatsExceeded."""
    gone = [*found.leaving, *found.cancelled]
    joining_with_seat = [entry.key for entry in found.joining if entry.takes_seat]
    staying = {key: end for key in found.staying if (end := present[key].leaves_at) is not None}
    seating = seats.plan_seats(customer, at, joining=joining_with_seat, leaving=gone, staying=staying)

    def write(change: TeamChange) -> None:
        _write_people(customer, present, found, change)
        ids = dict(Member.objects.filter(customer=customer).values_list("key", "pk"))
        if gone:
            leaving = [ids[key] for key in gone]
            for spans in (SeatAssignment, GroupMembership, Membership):
                end_spans(spans.objects.filter(member__in=leaving), change, at)
        if found.joining:
            joining = {ids[entry.key]: entry for entry in found.joining}
            end_spans(Membership.objects.filter(member__in=list(joining)), change, at)
            Membership.objects.bulk_create(
                [
                    Membership(member_id=pk, starts_at=at, takes_seat=entry.takes_seat, begun_by=change)
                    for pk, entry in joining.items()
                ],
                batch_size=BATCH,
            )
        if staying:
            _write_staying({ids[key]: end for key, end in staying.items()}, change, at)
        # Who is to leave later leaves the group then too.
        stays = set(found.staying)
        ends = {ids[key]: one.leaves_at for key, one in present.items() if one.leaves_at and key not in stays}
        _write_moves(customer, {ids[key]: code for key, code in found.moving.items()}, ends, change, at)
        seating.write(change, ids, at)

    return {**found.counts(), **seating.counts()}, write


def open_groups_of(customer: Customer) -> dict[str, int]:
    """The ids by code of the groups that take members."""
    return dict(BillingGroup.objects.filter(customer=customer, closed_at=None).values_list("code", "pk"))


def _not_over(spans: Spans, customer: Customer, at: datetime) -> QuerySet[Any]:
    return not_over(spans.objects.filter(member__customer=customer), at)


def _had_at_the_end(customer: Customer, at: datetime) -> dict[int, str]:
    """By member the group they were in when they last left."""

    def latest(spans: Spans) -> QuerySet[Any]:
        over = spans.objects.filter(member__customer=customer, ends_at__lte=at, ends_at__gt=F("starts_at"))
        return over.order_by("member_id", "-ends_at").distinct("member_id")

    left = dict(latest(Membership).values_list("member_id", "ends_at"))
    rows = latest(GroupMembership).values_list("member_id", "ends_at", "group__code")
    return {pk: code for pk, ends_at, code in rows if left.get(pk) == ends_at}


def _write_people(customer: Customer, present: Mapping[str, Present], found: Difference, change: TeamChange) -> None:
    rows = []
    for entry in (*found.new, *found.renamed):
        name, email = named_otherwise(entry, present.get(entry.key) or Present(is_member=False))
        rows.append(Member(customer=customer, key=entry.key, name=name, email=email, first_change=change))
    Member.objects.bulk_create(
        rows,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=("customer", "key"),
        update_fields=("name", "email"),
    )


def _write_staying(ends: Mapping[int, datetime], change: TeamChange, at: datetime) -> None:
    """An end that was written down stays written: what was to end goes on from there, and no return is needed."""
    for spans in (Membership, GroupMembership):
        rows: list[Any] = list(not_over(spans.objects.filter(member__in=list(ends)), at))
        later = [row.pk for row in rows if row.starts_at >= ends[row.member_id]]
        end_spans(spans.objects.filter(pk__in=later), change, at)
        going_on = [row for row in rows if row.ends_at == ends[row.member_id] and row.pk not in later]
        again: list[Any]
        if spans is Membership:
            again = [Membership(member_id=row.member_id, takes_seat=row.takes_seat) for row in going_on]
        else:
            takes = set(open_groups_of(change.customer).values())
            again = [
                GroupMembership(member_id=row.member_id, group_id=row.group_id)
                for row in going_on
                if row.group_id in takes
            ]
        for row in again:
            row.starts_at, row.begun_by = ends[row.member_id], change
        spans.objects.bulk_create(again, batch_size=BATCH)


def _write_moves(
    customer: Customer,
    moving: Mapping[int, str | None],
    ends: Mapping[int, datetime],
    change: TeamChange,
    at: datetime,
) -> None:
    if not moving:
        return
    end_spans(GroupMembership.objects.filter(member__in=list(moving)), change, at)
    ids = open_groups_of(customer)
    GroupMembership.objects.bulk_create(
        [
            GroupMembership(
                member_id=pk,
                group_id=ids[code],
                starts_at=at,
                begun_by=change,
                ends_at=ends.get(pk),
                ended_by=change if pk in ends else None,
            )
            for pk, code in moving.items()
            if code is not None
        ],
        batch_size=BATCH,
    )
