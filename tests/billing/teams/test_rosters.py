"""A roster that is read in part lets nobody go, and what it says holds against what was planned."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from billing.teams import operations as teams
from billing.teams.errors import InvalidTeam, SeatsExceeded
from billing.teams.models import GroupMembership, Member, Membership, SeatAssignment, TeamChange
from billing.teams.queries import members_of
from tests.billing.teams.world import BY, entry, move, october_of, open_groups, roster, subscription_of
from tests.factories import OCTOBER

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def team_at(at: datetime) -> dict[str, str | None]:
    """The members at an instant, each with the code of their group."""
    return {one.key: one.group_code for one in members_of(subscription_of().customer, at=at)}  # type: ignore[attr-defined]


def seated_at(at: datetime) -> set[str]:
    found = members_of(subscription_of().customer, at=at)
    return {one.key for one in found if one.has_seat}  # type: ignore[attr-defined]


def put(*keys: str, day: int = 1, **more: Any) -> TeamChange:
    return teams.set_roster(
        customer_key="acme",
        members=[entry(key) for key in keys],
        idempotency_key=f"put {keys} {day} {more}",
        now=OCTOBER + day * DAY,
        **BY,
        **more,
    )


def test_a_roster_read_in_part_lets_nobody_go() -> None:
    october_of()
    open_groups("red")
    everybody = [f"m{n}" for n in range(6)]
    roster(*[entry(key, "red") for key in everybody])

    with pytest.raises(InvalidTeam, match=r"empty: 6 of 6 members would leave.*leaving_at_most: 6"):
        put()
    with pytest.raises(InvalidTeam, match="4 of 6 members would leave, more than half"):
        put("m0", "m1")
    with pytest.raises(InvalidTeam, match="4 of 6 members would leave, more than 3") as refused:
        put("m0", "m1", leaving_at_most=3)
    assert refused.value.field == "leaving_at_most"
    with pytest.raises(InvalidTeam, match="1 of 6 members would leave, more than 0"):
        put(*everybody[1:], leaving_at_most=0)
    assert set(team_at(OCTOBER + 2 * DAY)) == set(everybody)

    assert put(*everybody[:3]).outcome["left"] == 3
    assert put("new", day=2).outcome["left"] == 3  # four or fewer may change as a whole
    assert put(day=3, leaving_at_most=1).outcome["left"] == 1
    # Whoever comes back has the group they had, if it is open.
    put("m4", day=4)
    assert team_at(OCTOBER + 5 * DAY) == {"m4": "red"}
    teams.close_group(customer_key="acme", code="red", idempotency_key="close", now=OCTOBER + 5 * DAY, **BY)
    put("m4", "m5", day=6)
    assert team_at(OCTOBER + 7 * DAY) == {"m4": None, "m5": None}


def test_what_a_roster_leaves_out_stays_as_it_is_stored() -> None:
    october_of()
    roster(entry("ada", name="Ada", email="ada@example.com"))

    assert not any(put("ada").outcome.values())
    roster(entry("ada", email=""), at=OCTOBER + 2 * DAY)

    assert Member.objects.values_list("name", "email").get() == ("Ada", "")


def later(operation: str, *keys: str, day: int, **more: Any) -> TeamChange:
    """What is planned on the first for a later day."""
    change: TeamChange = getattr(teams, operation)(
        customer_key="acme",
        idempotency_key=f"later {operation} {keys}",
        now=OCTOBER,
        effective_at=OCTOBER + day * DAY,
        **({"members": [entry(key) for key in keys]} if operation == "add_members" else {"member_keys": keys}),
        **more,
        **BY,
    )
    return change


def test_a_roster_cancels_the_leavings_and_joinings_that_it_contradicts() -> None:
    october_of(seats=3)
    open_groups("red", "blue")
    roster(entry("ada", "red"), entry("bob", "blue"))
    later("remove_members", "ada", day=10)
    later("add_members", "cid", day=10)
    assert set(team_at(OCTOBER + 11 * DAY)) == {"bob", "cid"}

    change = put("ada", "bob", day=2)

    assert (change.outcome["leavings_cancelled"], change.outcome["joinings_cancelled"]) == (1, 1)
    for day in (2, 10, 20):
        assert team_at(OCTOBER + day * DAY) == {"ada": "red", "bob": "blue"}, day
        assert seated_at(OCTOBER + day * DAY) == {"ada", "bob"}, day
    assert not any(put("ada", "bob", day=3).outcome.values())
    # What was written down of the plan is still there.
    assert Membership.objects.filter(member__key="ada", ends_at=OCTOBER + 10 * DAY).exists()
    # One who was to join later and joins now does so with the seat that was promised.
    later_again = teams.add_members(
        customer_key="acme",
        members=[entry("dan", "red")],
        idempotency_key="dan",
        now=OCTOBER + 3 * DAY,
        effective_at=OCTOBER + 15 * DAY,
        **BY,
    )
    assert later_again.outcome["seated"] == 1
    assert put("ada", "bob", "dan", day=4).outcome["seated"] == 1
    assert team_at(OCTOBER + 4 * DAY)["dan"] == "red"
    assert Membership.objects.filter(member__key="dan", ends_at=None).count() == 1


def test_a_seat_promised_to_another_is_not_given_back() -> None:
    october_of(seats=1)
    roster(entry("ada"))
    later("remove_members", "ada", day=10)
    later("add_members", "bob", day=10)

    with pytest.raises(SeatsExceeded, match="1 seats are needed and 0 of 1 are free"):
        put("ada", "bob", day=2)
    put("ada", day=2)
    assert seated_at(OCTOBER + 20 * DAY) == {"ada"}
    assert SeatAssignment.objects.filter(ends_at=None).count() == 1


def test_who_was_to_come_later_can_be_told_not_to() -> None:
    october_of()
    later("add_members", "ada", day=10)
    teams.remove_members(customer_key="acme", member_keys=["ada"], idempotency_key="not", now=OCTOBER + 2 * DAY, **BY)
    assert team_at(OCTOBER + 20 * DAY) == {}


def test_a_move_to_the_group_one_is_in_cancels_a_planned_move() -> None:
    october_of()
    open_groups("red", "blue")
    roster(entry("ada", "red"), entry("bob", "red"))
    later("move_members", "ada", "bob", day=10, group_code="blue")

    assert move("ada", to="red", at=OCTOBER + 2 * DAY).outcome["moved"] == 1
    roster(entry("ada"), entry("bob", "red"), at=OCTOBER + 3 * DAY)

    assert team_at(OCTOBER + 20 * DAY) == {"ada": "red", "bob": "red"}
    assert move("ada", to="red", at=OCTOBER + 4 * DAY).outcome["moved"] == 0


def test_who_leaves_later_also_leaves_the_group_they_are_moved_to() -> None:
    october_of()
    open_groups("red", "blue")
    roster(entry("ada", "red"))
    later("remove_members", "ada", day=10)

    move("ada", to="blue", at=OCTOBER + 2 * DAY)

    assert GroupMembership.objects.get(group__code="blue").ends_at == OCTOBER + 10 * DAY
    assert team_at(OCTOBER + 11 * DAY) == {}


def test_an_instant_out_of_reach_is_refused_and_the_team_goes_on() -> None:
    october_of()
    for at in (datetime(9999, 12, 31, 23, tzinfo=OCTOBER.tzinfo), OCTOBER + timedelta(days=4000)):
        with pytest.raises(InvalidTeam, match="at most ten years") as refused:
            put("ada", effective_at=at)
        assert refused.value.field == "effective_at"
    assert put("ada").outcome["joined"] == 1
