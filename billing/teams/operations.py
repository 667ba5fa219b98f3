"""
All writes about members and groups; those about seats are in `seats`, what is kept of a team as a whole in `policy`.

Each says what it did, and said twice with one key it is done once. A number of statements that does not depend on how
many members there are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from billing.customers.models import Customer
from billing.teams import seats
from billing.teams.changes import Outcome, Wish, Write, carry_out, end_spans, held_at
from billing.teams.errors import InvalidTeam, TeamConflict, TeamNotFound
from billing.teams.models import (
    BillingGroup,
    GroupMembership,
    Member,
    Membership,
    SeatAssignment,
    TeamChange,
)
from billing.teams.roster import (
    NAME_CHARS_MAX,
    UNCHANGED,
    Difference,
    Present,
    RosterEntry,
    difference,
    require_valid,
)

BATCH = 5_000
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
Operation = TeamChange.Operation


def set_roster(
    *,
    customer_key: str,
    members: Sequence[RosterEntry],
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
    effective_at: datetime | None = None,
) -> TeamChange:
    """
    Let exactly these be the members from `effective_at` on (None: now): others join, leave, move or are renamed.

    Whoever leaves gives back their seats and their group. Who joins takes a seat unless `takes_seat` is false. Raises
    InvalidTeam naming the field, SeatsExceeded, PastChange, TeamNotFound, TeamConflict.
    """
    wish = Wish(
        customer_key=customer_key,
        operation=Operation.SET_ROSTER,
        asked=_asked(members),
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
        effective_at=effective_at,
    )
    return carry_out(wish, lambda customer, at: _plan(customer, at, members, is_whole=True))


def add_members(
    *,
    customer_key: str,
    members: Sequence[RosterEntry],
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
    effective_at: datetime | None = None,
) -> TeamChange:
    """Let these be members too; one who is one already is only renamed or moved. Raises as `set_roster`."""
    wish = Wish(
        customer_key=customer_key,
        operation=Operation.ADD_MEMBERS,
        asked=_asked(members),
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
        effective_at=effective_at,
    )
    return carry_out(wish, lambda customer, at: _plan(customer, at, members, is_whole=False))


def remove_members(
    *,
    customer_key: str,
    member_keys: Sequence[str],
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
    effective_at: datetime | None = None,
) -> TeamChange:
    """Let these leave, with their seats and groups. Raises TeamNotFound for one who is not a member, and as above."""
    wish = Wish(
        customer_key=customer_key,
        operation=Operation.REMOVE_MEMBERS,
        asked={"member_keys": sorted(member_keys)},
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
        effective_at=effective_at,
    )

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        present = _present(customer, at)
        _require_members(present, member_keys)
        return _written(customer, at, Difference(leaving=sorted(set(member_keys))))

    return carry_out(wish, plan)


def move_members(
    *,
    customer_key: str,
    member_keys: Sequence[str],
    group_code: str | None,
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
    effective_at: datetime | None = None,
) -> TeamChange:
    """Let these members be in this group, or in none (None), from then on; what was stays. Raises as above."""
    wish = Wish(
        customer_key=customer_key,
        operation=Operation.MOVE_MEMBERS,
        asked={"member_keys": sorted(member_keys), "group": group_code},
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
        effective_at=effective_at,
    )

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        present = _present(customer, at)
        _require_members(present, member_keys)
        if group_code is not None and group_code not in _open_groups(customer):
            raise TeamNotFound("group", f"There is no open group {group_code[:64]!r}. Open it first.")
        moving = {key: group_code for key in sorted(set(member_keys)) if present[key].group != group_code}
        return _written(customer, at, Difference(moving=moving))

    return carry_out(wish, plan)


def open_group(
    *,
    customer_key: str,
    code: str,
    name: str,
    budget_code: str = "",
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> TeamChange:
    """Open a billing group. Raises InvalidTeam, and TeamConflict where its code was used before."""
    wish = Wish(
        customer_key=customer_key,
        operation=Operation.OPEN_GROUP,
        asked={"code": code, "name": name, "budget_code": budget_code},
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
    )

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        _require_named(code=code, name=name, budget_code=budget_code)
        if BillingGroup.objects.filter(customer=customer, code=code).exists():
            raise TeamConflict("code", f"There is, or was, a group {code!r}. A code stays its group's: choose another.")

        def write(change: TeamChange) -> None:
            BillingGroup.objects.create(
                customer=customer, code=code, name=name, budget_code=budget_code, opened_by=change
            )

        return {"group": code}, write

    return carry_out(wish, plan)


def change_group(
    *,
    customer_key: str,
    code: str,
    name: str,
    budget_code: str,
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> TeamChange:
    """Call an open group otherwise, or give it another cost centre. Raises as `open_group`, and TeamNotFound."""
    wish = Wish(
        customer_key=customer_key,
        operation=Operation.CHANGE_GROUP,
        asked={"code": code, "name": name, "budget_code": budget_code},
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
    )

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        _require_named(code=code, name=name, budget_code=budget_code)
        group = _open_group(customer, code)
        was = {"name": group.name, "budget_code": group.budget_code}

        def write(change: TeamChange) -> None:
            BillingGroup.objects.filter(pk=group.pk).update(name=name, budget_code=budget_code)

        return {"group": code, "was": was, "is": {"name": name, "budget_code": budget_code}}, write

    return carry_out(wish, plan)


def close_group(
    *,
    customer_key: str,
    code: str,
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
    effective_at: datetime | None = None,
) -> TeamChange:
    """Close a group: from then on its members are unassigned, and its usage before stays its own. Raises as above."""
    wish = Wish(
        customer_key=customer_key,
        operation=Operation.CLOSE_GROUP,
        asked={"code": code},
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
        effective_at=effective_at,
    )

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        group = _open_group(customer, code)
        inside = held_at(GroupMembership, at).filter(group=group).count()

        def write(change: TeamChange) -> None:
            end_spans(GroupMembership.objects.filter(group=group), change, at)
            BillingGroup.objects.filter(pk=group.pk).update(closed_at=at, closed_by=change)

        return {"group": code, "unassigned": inside}, write

    return carry_out(wish, plan)


def _asked(members: Iterable[RosterEntry]) -> Mapping[str, Any]:
    """Of whom, without an order: the same roster in another order is the same wish."""
    told = []
    for entry in sorted(members, key=lambda one: one.key):
        as_asked = asdict(entry)
        as_asked["group"] = "=" if entry.group is UNCHANGED else [entry.group]
        told.append(as_asked)
    return {"members": told}


def _plan(customer: Customer, at: datetime, members: Sequence[RosterEntry], *, is_whole: bool) -> tuple[Outcome, Write]:
    require_valid(members, groups=_open_groups(customer))
    return _written(customer, at, difference(_present(customer, at), members, is_whole=is_whole))


def _present(customer: Customer, at: datetime) -> dict[str, Present]:
    """Everybody the customer ever knew, as they stand at the instant; three queries."""
    members = held_at(Membership, at).filter(member__customer=customer)
    here = set(members.values_list("member_id", flat=True))
    groups = dict(
        held_at(GroupMembership, at).filter(member__customer=customer).values_list("member_id", "group__code")
    )
    known = Member.objects.filter(customer=customer).values_list("pk", "key", "name", "email")
    return {key: Present(name, email, pk in here, groups.get(pk)) for pk, key, name, email in known}


def _written(customer: Customer, at: datetime, found: Difference) -> tuple[Outcome, Write]:
    """What a difference comes to, seats included, and how it is written."""
    joining_with_seat = [entry.key for entry in found.joining if entry.takes_seat]
    seating = seats.plan_seats(customer, at, joining=joining_with_seat, leaving=found.leaving)

    def write(change: TeamChange) -> None:
        _write_people(customer, found, change)
        ids = dict(Member.objects.filter(customer=customer).values_list("key", "pk"))
        leaving = Member.objects.filter(pk__in=[ids[key] for key in found.leaving])
        if found.leaving:
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
        _write_moves(customer, {ids[key]: code for key, code in found.moving.items()}, change, at)
        seating.write(change, ids, at)

    return {**found.counts(), **seating.counts()}, write


def _write_people(customer: Customer, found: Difference, change: TeamChange) -> None:
    rows = [
        Member(customer=customer, key=entry.key, name=entry.name, email=entry.email, first_change=change)
        for entry in (*found.new, *found.renamed)
    ]
    Member.objects.bulk_create(
        rows,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=("customer", "key"),
        update_fields=("name", "email"),
    )


def _write_moves(customer: Customer, moving: Mapping[int, str | None], change: TeamChange, at: datetime) -> None:
    if not moving:
        return
    end_spans(GroupMembership.objects.filter(member__in=list(moving)), change, at)
    ids = _open_groups(customer)
    GroupMembership.objects.bulk_create(
        [
            GroupMembership(member_id=pk, group_id=ids[code], starts_at=at, begun_by=change)
            for pk, code in moving.items()
            if code is not None
        ],
        batch_size=BATCH,
    )


def _open_groups(customer: Customer) -> dict[str, int]:
    return dict(BillingGroup.objects.filter(customer=customer, closed_at=None).values_list("code", "pk"))


def _open_group(customer: Customer, code: str) -> BillingGroup:
    group = BillingGroup.objects.filter(customer=customer, code=code).first()
    if group is None:
        raise TeamNotFound("code", f"There is no group {code[:64]!r}. Check its code.")
    if group.closed_at is not None:
        raise TeamConflict("code", f"The group {code!r} is closed from {group.closed_at:%F %T} UTC on. Open another.")
    return group


def _require_members(present: Mapping[str, Present], member_keys: Sequence[str]) -> None:
    if not member_keys:
        raise InvalidTeam("member_keys", "Name at least one member.")
    missing = sorted(key for key in set(member_keys) if key not in present or not present[key].is_member)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise TeamNotFound(
            "member_keys", f"Not a member at that instant: {', '.join(missing[:3])}{more}. Leave them out."
        )


def _require_named(*, code: str, name: str, budget_code: str) -> None:
    if not _CODE.fullmatch(code):
        raise InvalidTeam("code", "A group's code has 1 to 64 letters, digits, dots, dashes or underscores.")
    if not name.strip() or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise InvalidTeam("name", f"A group needs a name of at most {NAME_CHARS_MAX} printable characters.")
    if len(budget_code) > 100 or (budget_code and not budget_code.isprintable()):
        raise InvalidTeam("budget_code", "A cost centre has at most 100 printable characters.")
