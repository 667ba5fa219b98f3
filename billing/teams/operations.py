"""
All writes about members and groups; those about seats are in `seats`, what is kept of a team as a whole in `policy`.

Each says what it did, and said twice with one key it is done once. A number of statements that does not depend on how
many members there are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from billing.customers.models import Customer
from billing.teams.applying import applied, open_groups_of, present_at
from billing.teams.changes import Outcome, Wish, Write, carry_out, end_spans, held_at
from billing.teams.errors import InvalidTeam, TeamConflict, TeamNotFound
from billing.teams.models import BillingGroup, GroupMembership, TeamChange
from billing.teams.roster import (
    NAME_CHARS_MAX,
    UNCHANGED,
    Difference,
    Present,
    RosterEntry,
    difference,
    require_few_leaving,
    require_valid,
)

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
    leaving_at_most: int | None = None,
) -> TeamChange:
    """
    Let exactly these be the members from `effective_at` on (None: now): others join, leave, move or are renamed, and
    what was planned for later and says otherwise is cancelled.

    Whoever leaves gives back their seats and their group. Who joins takes a seat unless `takes_seat` is false. Unless
    `leaving_at_most` allows it, an empty roster and one that lets most of a team go are refused. Raises InvalidTeam
    naming the field, SeatsExceeded, PastChange, TeamNotFound, TeamConflict.
    """
    wish = Wish(
        customer_key=customer_key,
        operation=Operation.SET_ROSTER,
        asked=_asked(members, leaving_at_most=leaving_at_most),
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
        effective_at=effective_at,
    )

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        require_valid(members, groups=open_groups_of(customer))
        present = present_at(customer, at)
        found = difference(present, members, is_whole=True)
        require_few_leaving(present, found, leaving_at_most, named=len(members))
        return applied(customer, at, present, found)

    return carry_out(wish, plan)


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

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        require_valid(members, groups=open_groups_of(customer))
        present = present_at(customer, at)
        return applied(customer, at, present, difference(present, members, is_whole=False))

    return carry_out(wish, plan)


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
    """
    Let these leave, with their seats and groups, or not come where they were to join later. Raises TeamNotFound for one
    who neither is a member nor is to be one, and as above.
    """
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
        present = present_at(customer, at)
        _require_members(present, member_keys, or_later=True)
        named = sorted(set(member_keys))
        leaving = [key for key in named if present[key].is_member]
        cancelled = [key for key in named if not present[key].is_member]
        return applied(customer, at, present, Difference(leaving=leaving, cancelled=cancelled))

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
    """
    Let these members be in this group, or in none (None), from then on; what was stays, and what was planned for later
    is cancelled. Raises as above.
    """
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
        present = present_at(customer, at)
        _require_members(present, member_keys)
        if group_code is not None and group_code not in open_groups_of(customer):
            raise TeamNotFound("group", f"There is no open group {group_code[:64]!r}. Open it first.")
        named = sorted(set(member_keys))
        moving = {key: group_code for key in named if present[key].group != group_code or present[key].moves_later}
        return applied(customer, at, present, Difference(moving=moving))

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


def _asked(members: Iterable[RosterEntry], *, leaving_at_most: int | None = None) -> Mapping[str, Any]:
    """Of whom, without an order: the same roster in another order is the same wish."""
    told = []
    for entry in sorted(members, key=lambda one: one.key):
        given = {"name": entry.name, "email": entry.email, "group": entry.group}
        kept = {name: value for name, value in given.items() if value is not UNCHANGED}
        told.append({"key": entry.key, "takes_seat": entry.takes_seat, **kept})
    return {"members": told, "leaving_at_most": leaving_at_most}


def _open_group(customer: Customer, code: str) -> BillingGroup:
    group = BillingGroup.objects.filter(customer=customer, code=code).first()
    if group is None:
        raise TeamNotFound("code", f"There is no group {code[:64]!r}. Check its code.")
    if group.closed_at is not None:
        raise TeamConflict("code", f"The group {code!r} is closed from {group.closed_at:%F %T} UTC on. Open another.")
    return group


def _require_members(present: Mapping[str, Present], member_keys: Sequence[str], *, or_later: bool = False) -> None:
    if not member_keys:
        raise InvalidTeam("member_keys", "Name at least one member.")
    there = {key for key, one in present.items() if one.is_member or (or_later and one.joins_later)}
    missing = sorted(set(member_keys) - there)
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
