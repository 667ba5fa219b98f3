"""What the application's database role can and cannot do."""

import psycopg
import pytest
from django.db import connection

from config.privileges import APPEND_ONLY_TABLES, APPLICATION_FUNCTIONS, DELETABLE_TABLES, Table, rights_on
from tests.cleaning import Cleaner


def rows(query: str, *parameters: str | list[str]) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()


@pytest.mark.django_db
class TestTheApplicationsRole:
    def test_is_who_the_tests_run_as(self) -> None:
        assert rows("SELECT current_user, session_user") == [("billing_app", "billing_app")]

    def test_is_no_superuser_and_makes_no_roles_or_databases(self) -> None:
        attributes = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        assert rows(f"SELECT {attributes} FROM pg_roles WHERE rolname = current_user") == [(False,) * 5]

    def test_owns_nothing(self) -> None:
        for catalogue, owner in [("pg_class", "relowner"), ("pg_proc", "proowner"), ("pg_namespace", "nspowner")]:
            assert rows(f"SELECT oid FROM {catalogue} WHERE {owner} = current_user::regrole") == []

    def test_is_a_member_of_no_other_role(self) -> None:
        assert rows("SELECT roleid FROM pg_auth_members WHERE member = current_user::regrole") == []

    def test_can_only_read_the_ledger(self) -> None:
        tables = rows(
            "SELECT oid::regclass::text FROM pg_class WHERE relname LIKE 'ledger\\_%%' AND relkind IN ('r', 'p')"
        )
        assert len(tables) >= 3
        for (table,) in tables:
            assert rows("SELECT has_table_privilege(%s, 'SELECT')", table) == [(True,)]
            forbidden = "INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER"
            assert rows("SELECT has_table_privilege(%s, %s)", table, forbidden) == [(False,)], table

    def test_deletes_from_no_table_of_ours_but_what_is_worked_out_again(self) -> None:
        pattern = "^(config|billing|promotions|metering|ledger)_"
        tables = rows("SELECT oid::regclass::text FROM pg_class WHERE relname ~ %s AND relkind IN ('r', 'p')", pattern)
        assert len(tables) >= 25
        for (table,) in tables:
            assert rows("SELECT has_table_privilege(%s, 'TRUNCATE')", table) == [(False,)], table
            may_delete = table in DELETABLE_TABLES
            assert rows("SELECT has_table_privilege(%s, 'DELETE')", table) == [(may_delete,)], table

    def test_adds_to_facts_and_does_not_change_them(self) -> None:
        for table in APPEND_ONLY_TABLES:
            rights = "SELECT has_table_privilege(%s, 'INSERT'), has_any_column_privilege(%s, 'UPDATE')"
            assert rows(rights, table, table) == [(True, False)], table

    def test_executes_the_functions_it_needs(self) -> None:
        found = rows(
            "SELECT proname, bool_and(has_function_privilege(oid, 'EXECUTE')) FROM pg_proc"
            " WHERE proname = ANY(%s) GROUP BY proname",
            list(APPLICATION_FUNCTIONS),
        )
        assert dict(found) == dict.fromkeys(APPLICATION_FUNCTIONS, True)

    def test_executes_no_other_function_that_runs_as_its_owner(self) -> None:
        found = rows(
            "SELECT proname FROM pg_proc WHERE prosecdef AND has_function_privilege(oid, 'EXECUTE')"
            " AND pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype"
        )
        assert {name for (name,) in found} <= APPLICATION_FUNCTIONS


@pytest.mark.parametrize(
    "attack",
    [
        "CREATE TABLE public.mine (x int)",
        "ALTER TABLE ledger_posting DISABLE TRIGGER ALL",
        "DROP TABLE ledger_posting",
        "SET session_replication_role = replica",
        "SET ROLE billing_owner",
        "SET SESSION AUTHORIZATION billing_owner",
        "GRANT INSERT ON ledger_posting TO billing_app",
        "TRUNCATE ledger_posting",
        "DELETE FROM django_migrations",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
def test_the_application_cannot_raise_itself(app_connection: psycopg.Connection, attack: str) -> None:
    granted_before = app_connection.execute("SELECT relacl FROM pg_class WHERE relname = 'ledger_posting'").fetchone()
    try:
        app_connection.execute(attack)
    except psycopg.errors.InsufficientPrivilege:
        return
    # GRANT without the grant option only warns; then nothing may have changed.
    granted_after = app_connection.execute("SELECT relacl FROM pg_class WHERE relname = 'ledger_posting'").fetchone()
    assert attack.startswith("GRANT")
    assert granted_after == granted_before


def test_a_table_that_no_rule_names_is_not_open_to_deletion() -> None:
    assert rights_on(Table("billing_something_new", is_partition=False)) == ("SELECT", "INSERT", "UPDATE")
    assert rights_on(Table("metering_event_2026_10", is_partition=True)) == ("SELECT",)
    assert "DELETE" in rights_on(Table("django_session", is_partition=False))


def test_cleaning_takes_back_what_a_test_added_changed_and_removed(
    app_connection: psycopg.Connection, owner_connection: psycopg.Connection, cleaner: Cleaner
) -> None:
    questions = (
        "SELECT count(*) FROM auth_group WHERE name = 'left behind'",
        "SELECT count(*) FROM django_content_type WHERE model = 'altered'",
        "SELECT count(*) FROM auth_permission WHERE codename = 'add_logentry'",
    )

    def answers() -> list[int]:
        return [int(row[0]) for question in questions for row in owner_connection.execute(question)]

    app_connection.execute("INSERT INTO auth_group (name) VALUES ('left behind')")
    app_connection.execute("UPDATE django_content_type SET model = 'altered' WHERE model = 'logentry'")
    app_connection.execute("DELETE FROM auth_permission WHERE codename = 'add_logentry'")
    assert answers() == [1, 1, 0]
    cleaner.clean()
    assert answers() == [0, 0, 1]
