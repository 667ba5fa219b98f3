"""Members, groups and corrections: what was stays, what is asked for twice is done once."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.subscriptions.models import BillingPeriod
from billing.teams import operations as teams
from billing.teams.correcting import correct_group
from billing.teams.errors import (
    InvalidTeam,
    PastChange,
    SeatsExceeded,
    TeamConflict,
    TeamError,
    TeamNotFound,
)
from billing.teams.models import BillingGroup, GroupMembership, Member, Membership, SeatAssignment, TeamChange
from billing.teams.roster import UNCHANGED, Present, RosterEntry, difference
from tests.billing.teams.world import BY, entry, move, october_of, open_groups, roster
from tests.factories import NOVEMBER, OCTOBER

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def groups_of(key: str) -> list[tuple[str, int, int | None]]:
    """(group, first day, last day) of a member, in days of October."""
    rows = GroupMembership.objects.filter(member__key=key).exclude(ends_at__isnull=False, ends_at__lte=OCTOBER)
    found = []
    for row in rows.select_related("group").order_by("starts_at", "pk"):
        if row.ends_at != row.starts_at:
            end = None if row.ends_at is None else (row.ends_at - OCTOBER).days
            found.append((row.group.code, (row.starts_at - OCTOBER).days, end))
    return found


def test_a_roster_brings_and_takes_members_with_their_groups_and_seats() -> None:
    october_of()
    open_groups("red", "blue")
    roster(entry("ada", "red", name="Ada"), entry("bob", "blue"), name="first")

    change = roster(entry("ada", "blue", name="Ada L."), entry("cid", None), at=OCTOBER + DAY)

    assert change.outcome == {
        "joined": 1,
        "left": 1,
        "moved": 1,
        "renamed": 1,
        "leavings_cancelled": 0,
        "joinings_cancelled": 0,
        "seated": 1,
        "waiting_for_seats": 0,
    }
    assert groups_of("ada") == [("red", 0, 1), ("blue", 1, None)]
    assert groups_of("bob") == [("blue", 0, 1)]
    assert set(Membership.objects.filter(ends_at=None).values_list("member__key", flat=True)) == {"ada", "cid"}
    assert set(SeatAssignment.objects.filter(ends_at=None).values_list("member__key", flat=True)) == {"ada", "cid"}
    assert Member.objects.get(key="ada").name == "Ada L."
    # Said again under another key it changes nothing; somebody who left can come back.
    again = roster(entry("cid", None), entry("ada", "blue", name="Ada L."), at=OCTOBER + DAY)
    assert not any(again.outcome.values())
    roster(entry("bob"), at=OCTOBER + 2 * DAY)
    assert Membership.objects.filter(member__key="bob").count() == 2
    assert groups_of("bob") == [("blue", 0, 1), ("blue", 2, None)]


def test_one_key_is_one_change() -> None:
    october_of()
    first = roster(entry("ada"), entry("bob"), name="once")
    rows = Membership.objects.count()

    assert roster(entry("bob"), entry("ada"), name="once", at=OCTOBER + DAY) == first
    assert Membership.objects.count() == rows
    with pytest.raises(TeamConflict, match="stands for another change"):
        roster(entry("ada"), name="once", at=OCTOBER + DAY)


def test_a_roster_of_thousands_takes_a_fixed_number_of_statements(django_assert_max_num_queries: Any) -> None:
    october_of(seats=3000)
    open_groups("red")
    with django_assert_max_num_queries(32) as few:
        roster(*[entry(f"m{n}", "red") for n in range(4)])
    with django_assert_max_num_queries(32) as many:
        roster(*[entry(f"m{n}", "red") for n in range(2000)], at=OCTOBER + DAY)

    # A roster that also lets somebody go ends three kinds of spans more.
    assert len(many.captured_queries) <= len(few.captured_queries) + 3
    assert SeatAssignment.objects.filter(ends_at=None).count() == 2000


def test_a_group_that_closes_leaves_its_members_unassigned_from_then_on() -> None:
    october_of()
    open_groups("red")
    roster(entry("ada", "red"))
    change = teams.close_group(
        customer_key="acme",
        code="red",
        idempotency_key="close",
        now=OCTOBER + DAY,
        effective_at=OCTOBER + 3 * DAY,
        **BY,
    )

    assert change.outcome == {"group": "red", "unassigned": 1}
    assert groups_of("ada") == [("red", 0, 3)]
    assert BillingGroup.objects.get().closed_at == OCTOBER + 3 * DAY
    with pytest.raises(TeamNotFound, match="no open group"):
        move("ada", to="red", at=OCTOBER + 2 * DAY)
    with pytest.raises(TeamConflict, match="A code stays its group's"):
        open_groups("red", at=OCTOBER + 4 * DAY)


def test_a_change_counts_from_now_or_later_and_replaces_what_was_planned() -> None:
    october_of()
    open_groups("red", "blue")
    roster(entry("ada", "red"))
    with pytest.raises(PastChange, match="counts from now"):
        teams.move_members(
            customer_key="acme",
            member_keys=["ada"],
            group_code="blue",
            idempotency_key="past",
            now=OCTOBER + DAY,
            effective_at=OCTOBER,
            **BY,
        )
    teams.move_members(
        customer_key="acme",
        member_keys=["ada"],
        group_code="blue",
        idempotency_key="later",
        now=OCTOBER + DAY,
        effective_at=OCTOBER + 5 * DAY,
        **BY,
    )
    assert groups_of("ada") == [("red", 0, 5), ("blue", 5, None)]
    move("ada", to=None, at=OCTOBER + 2 * DAY)
    assert groups_of("ada") == [("red", 0, 2)]


def correct(key: str, group: str | None, first: int, last: int, *, now: int = 9) -> TeamChange:
    return correct_group(
        customer_key="acme",
        member_key=key,
        group_code=group,
        starts_at=OCTOBER + first * DAY,
        ends_at=OCTOBER + last * DAY,
        idempotency_key=f"correct {first} {last} {group}",
        now=OCTOBER + now * DAY,
        **BY,
    )


def test_a_correction_says_otherwise_for_a_span_that_is_past_and_keeps_what_was() -> None:
    october_of()
    open_groups("red", "blue")
    roster(entry("ada", "red"))
    move("ada", to="blue", at=OCTOBER + 6 * DAY)

    change = correct("ada", "blue", 2, 4)

    assert groups_of("ada") == [("red", 0, 2), ("blue", 2, 4), ("red", 4, 6), ("blue", 6, None)]
    assert change.outcome["was"] == [
        {
            "group": "red",
            "starts_at": (OCTOBER).isoformat(),
            "ends_at": (OCTOBER + 6 * DAY).isoformat(),
        }
    ]
    correct("ada", None, 3, 8)
    assert groups_of("ada") == [("red", 0, 2), ("blue", 2, 3), ("blue", 8, None)]
    with pytest.raises(InvalidTeam, match="span that is over"):
        correct("ada", "red", 8, 10)


def test_a_correction_does_not_reach_into_what_is_invoiced() -> None:
    period = october_of()
    open_groups("red")
    roster(entry("ada"))
    BillingPeriod.objects.filter(pk=period.pk).update(state="closed", closed_at=NOVEMBER)

    with pytest.raises(PastChange, match="invoiced and fixed"):
        correct("ada", "red", 30, 32, now=40)
    correct("ada", "red", 31, 32, now=40)
    assert groups_of("ada") == [("red", 31, 32)]


def test_seats_that_are_not_there_are_refused_with_the_remedy() -> None:
    october_of(seats=2)
    roster(entry("ada"), entry("bob"))
    with pytest.raises(SeatsExceeded, match="1 seats are needed and 0 of 2 are free") as refused:
        roster(entry("ada"), entry("bob"), entry("cid"), at=OCTOBER + DAY)
    assert refused.value.field == "members"
    assert not Member.objects.filter(key="cid").exists()
    # Whoever leaves in the same roster gives their seat to who joins; who takes none may join.
    change = roster(entry("ada"), entry("cid"), entry("admin", takes_seat=False), at=OCTOBER + DAY)
    assert change.outcome["seated"] == 1


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        ((RosterEntry(key=""),), "members[0].key"),
        ((RosterEntry(key="a"), RosterEntry(key="a")), "members[1].key"),
        ((RosterEntry(key="a", group="gone"),), "members[0].group"),
        ((RosterEntry(key="a", name="x" * 201),), "members[0].name"),
        ((RosterEntry(key="a\x00"),), "members[0].key"),
    ],
)
def test_a_wrong_roster_is_refused_by_the_field(entries: tuple[RosterEntry, ...], field: str) -> None:
    october_of()
    with pytest.raises(TeamError) as refused:
        roster(*entries)
    assert refused.value.field == field


KEYS = st.sampled_from("abcd")
GROUPS = st.sampled_from(["red", "blue", None])
MEMBERS = st.builds(
    Present, is_member=st.just(True), group=GROUPS, leaves_at=st.none() | st.just(NOVEMBER), moves_later=st.booleans()
)
OTHERS = st.builds(Present, is_member=st.just(False), joins_later=st.booleans(), comes_back_to=GROUPS)
PRESENT = st.dictionaries(KEYS, MEMBERS | OTHERS)
WANTED = st.dictionaries(KEYS, st.one_of(GROUPS, st.just(UNCHANGED)))


@settings(max_examples=60, deadline=None)
@given(PRESENT, WANTED)
def test_a_difference_that_was_made_comes_to_nothing(present: dict[str, Present], wanted: dict[str, Any]) -> None:
    entries = [RosterEntry(key=key, group=group) for key, group in wanted.items()]
    found = difference(present, entries, is_whole=True)

    after = {key: one for key, one in present.items() if key not in (*found.leaving, *found.cancelled)}
    for one in found.joining:
        after[one.key] = Present(is_member=True)
    for key in found.staying:
        after[key] = replace(after[key], leaves_at=None)
    for key, group in found.moving.items():
        after[key] = replace(after[key], group=group, moves_later=False)
    assert {key for key, one in after.items() if one.is_member or one.joins_later} == set(wanted)
    assert all(one.is_member and one.leaves_at is None for one in after.values() if one.is_member or one.joins_later)
    assert not any(difference(after, entries, is_whole=True).counts().values())
