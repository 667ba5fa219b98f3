"""SQL against the tables of teams, as their owner and as the application's role, and the name of the refusing rule."""

from datetime import timedelta

import psycopg
import pytest
from psycopg import errors

from billing.teams import operations as teams
from billing.teams.models import BillingGroup, Member, TeamChange
from billing.teams.policy import set_policy
from tests.billing.teams.world import BY, entry, move, october_of, open_groups, roster, subscription_of
from tests.factories import OCTOBER

DAY = timedelta(days=1)
KEPT = (
    "billing_teamchange",
    "billing_teampolicy",
    "billing_member",
    "billing_membership",
    "billing_groupmembership",
    "billing_seatassignment",
    "billing_billinggroup",
    "billing_seatorder",
    "billing_memberdimension",
)


@pytest.fixture
def team(committed_db: None) -> TeamChange:
    """Ada was in red and is in blue, bob is in none, both seats are held; another customer has a member and a group."""
    october_of(seats=2)
    open_groups("red", "blue")
    roster(entry("ada", "red"), entry("bob"))
    set_policy(
        customer_key="acme",
        seats_follow_members=False,
        member_dimension="",
        idempotency_key="policy",
        now=OCTOBER,
        **BY,
    )
    october_of("other", seats=2)
    open_groups("theirs", key="other")
    roster(entry("eve", "theirs"), key="other")
    return move("ada", to="blue", at=OCTOBER + 5 * DAY)


def refused(connection: psycopg.Connection, rule: str, statement: str) -> None:
    with pytest.raises(errors.IntegrityError) as refusal, connection.transaction():
        connection.execute(statement)
    assert refusal.value.diag.constraint_name == rule


def test_the_database_refuses_what_rewrites_a_team(team: TeamChange, owner_connection: psycopg.Connection) -> None:
    ids = dict(Member.objects.values_list("key", "pk"))
    groups = dict(BillingGroup.objects.values_list("code", "pk"))
    theirs = TeamChange.objects.filter(customer__customer_key="other").first()
    assert theirs is not None
    subscription = subscription_of().pk
    joins = "INSERT INTO billing_groupmembership (member_id, group_id, starts_at, begun_by_id) VALUES"
    seats = "INSERT INTO billing_seatassignment (member_id, subscription_id, starts_at, begun_by_id) VALUES"
    after, past = f"'{OCTOBER + 6 * DAY}'", f"'{OCTOBER + DAY}'"
    ends = "UPDATE billing_groupmembership SET ends_at ="
    closes = "UPDATE billing_billinggroup SET closed_at ="
    of_ada, of_bob = f"WHERE ends_at IS NULL AND member_id = {ids['ada']}", f"WHERE member_id = {ids['bob']}"
    by = f"ended_by_id = {team.pk}"
    change = (
        "INSERT INTO billing_teamchange (customer_id, operation, effective_at, recorded_at, actor, reason,"
        f" idempotency_key, fingerprint, outcome) VALUES ({team.customer_id}, 'move_members', %s, %s,"
        " 'user:x', 'y', 'k', 'f', '{}')"
    )
    names = "INSERT INTO billing_memberdimension (customer_id, dimension, starts_at, begun_by_id) VALUES"
    attacks = (
        # What lies in the past is fixed.
        ("billing_groupmembership_past", f"{joins} ({ids['bob']}, {groups['red']}, {past}, {team.pk})"),
        ("billing_groupmembership_past", f"{ends} {past}, {by} {of_ada}"),
        ("billing_groupmembership_past", f"{ends} NULL, ended_by_id = NULL WHERE member_id = {ids['ada']}"),
        ("billing_groupmembership_terms", f"{ends} {after}, {by}, group_id = {groups['red']} {of_ada}"),
        ("billing_membership_past", f"UPDATE billing_membership SET ends_at = {past}, {by} {of_bob}"),
        # One group at a time.
        ("billing_groupmembership_no_overlap", f"{joins} ({ids['ada']}, {groups['red']}, {after}, {team.pk})"),
        # Members, groups and changes of another customer.
        ("billing_groupmembership_of_customer", f"{joins} ({ids['bob']}, {groups['theirs']}, {after}, {team.pk})"),
        ("billing_groupmembership_of_customer", f"{joins} ({ids['eve']}, {groups['red']}, {after}, {team.pk})"),
        ("billing_groupmembership_of_customer", f"{joins} ({ids['bob']}, {groups['red']}, {after}, {theirs.pk})"),
        ("billing_seatassignment_no_overlap", f"{seats} ({ids['bob']}, {subscription}, {after}, {team.pk})"),
        ("billing_seatassignment_of_customer", f"{seats} ({ids['eve']}, {subscription}, {after}, {theirs.pk})"),
        ("billing_member_terms", "UPDATE billing_member SET key = 'x' WHERE key = 'bob'"),
        ("billing_billinggroup_terms", "UPDATE billing_billinggroup SET code = 'x' WHERE code = 'red'"),
        ("billing_billinggroup_empty", f"{closes} {after}, closed_by_id = {team.pk} WHERE code = 'blue'"),
        ("billing_billinggroup_past", f"{closes} {past}, closed_by_id = {team.pk} WHERE code = 'red'"),
        ("billing_teamchange_append_only", "UPDATE billing_teamchange SET actor = 'user:x'"),
        ("billing_teamchange_order", change % (past, past)),
        ("billing_teamchange_within_reach", change % ("'9999-12-31'", after)),
        ("billing_groupmembership_within_reach", f"{joins} ({ids['bob']}, {groups['red']}, '9999-12-31', {team.pk})"),
        # What named the members stays.
        ("billing_memberdimension_append_only", "UPDATE billing_memberdimension SET dimension = 'x'"),
        ("billing_memberdimension_past", f"{names} ({team.customer_id}, 'x', {past}, {team.pk})"),
        ("billing_memberdimension_of_customer", f"{names} ({team.customer_id}, 'x', {after}, {theirs.pk})"),
        ("billing_teampolicy_terms", f"UPDATE billing_teampolicy SET customer_id = {theirs.customer_id}"),
    )
    for rule, statement in attacks:
        refused(owner_connection, rule, statement)


def test_seats_held_never_pass_the_seats_there_are(team: TeamChange, owner_connection: psycopg.Connection) -> None:
    teams.add_members(
        customer_key="acme",
        members=[entry("cid", takes_seat=False)],
        idempotency_key="cid",
        now=OCTOBER + 6 * DAY,
        **BY,
    )
    change = TeamChange.objects.filter(customer__customer_key="acme").first()
    assert change is not None
    refused(
        owner_connection,
        "billing_seatassignment_seats",
        "INSERT INTO billing_seatassignment (member_id, subscription_id, starts_at, begun_by_id)"
        f" SELECT id, {subscription_of().pk}, '{OCTOBER + 7 * DAY}', {change.pk} FROM billing_member WHERE key = 'cid'",
    )


def test_nothing_is_deleted(
    team: TeamChange, owner_connection: psycopg.Connection, app_connection: psycopg.Connection
) -> None:
    for table in KEPT:
        refused(owner_connection, f"{table}_kept", f"TRUNCATE {table} CASCADE")
        with pytest.raises(errors.InsufficientPrivilege), app_connection.transaction():
            app_connection.execute(f"DELETE FROM {table}")
    refused(owner_connection, "billing_membership_kept", "DELETE FROM billing_membership")
    with pytest.raises(errors.InsufficientPrivilege), app_connection.transaction():
        app_connection.execute("UPDATE billing_teamchange SET reason = 'x'")
