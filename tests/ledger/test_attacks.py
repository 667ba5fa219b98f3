"""The database refuses, whoever asks: by right to the application's role, by rule to the owner of the tables."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal

import psycopg
import pytest
from django.db import connections
from psycopg import errors
from pytest_django.plugin import DjangoDbBlocker

from ledger.operations import close_account, open_accounts, post_journal_entries
from ledger.queries import accounts_out_of_step, balance_of, count_entries, out_of_balance
from tests.cleaning import Cleaner
from tests.ledger.attacks import APPLICATION_ATTACKS, CLOSED, OWNER_ATTACKS, SYSTEM_PAIR, Attack, forged
from tests.ledger.chart import FIRST, GRANT, OTHERS_UNBILLED, REVENUE, SPECS, UNBILLED, accrual, issue
from tests.ledger.settled import wait_until_settled

SYSTEM_ENTRY = {
    "idempotency_key": "raw",
    "kind": "x",
    "memo": "",
    "effective_at": "2026-10-01T00:00:00Z",
    "actor": "app",
    "cause": {},
    "body_digest": "\\x" + "00" * 32,
    "lines": [["contra:promotions:USD", "1"], [REVENUE, "-1"]],
}


@pytest.fixture(scope="module")
def committed_world(
    cleaner: Cleaner, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[DjangoDbBlocker]:
    """Unbilled 5, grant 10, one closed account, committed once: every attack ends in a rollback."""
    assert CLOSED == OTHERS_UNBILLED
    with django_db_blocker.unblock():
        open_accounts(SPECS)
        post_journal_entries([accrual("usage", "5"), issue("issue", "10")], recorded_at=FIRST)
        close_account(code=CLOSED, closed_at=FIRST)
        wait_until_settled()
    yield django_db_blocker
    with django_db_blocker.unblock():
        connections.close_all()
        cleaner.clean()


@pytest.fixture(autouse=True)
def world(committed_world: DjangoDbBlocker) -> Iterator[None]:
    """The world is there, and unharmed after each test."""
    yield
    with committed_world.unblock():
        assert (balance_of(UNBILLED), balance_of(GRANT), count_entries()) == (Decimal(5), Decimal(10), 2)
        assert out_of_balance() == []
        assert accounts_out_of_step() == []


@pytest.fixture(scope="module")
def owner(committed_world: DjangoDbBlocker) -> Iterator[psycopg.Connection]:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def application(committed_world: DjangoDbBlocker) -> Iterator[psycopg.Connection]:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        yield connection


def call(connection: psycopg.Connection, **changes: object) -> tuple[object, ...]:
    with connection.transaction(force_rollback=True):
        row = connection.execute(
            "SELECT entry_id, created, rule FROM ledger_post_entries(%s::jsonb, now())",
            [json.dumps([{**SYSTEM_ENTRY, **changes}])],
        ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("statement", APPLICATION_ATTACKS, ids=lambda statement: " ".join(statement.split())[:70])
def test_the_application_has_no_right_to(application: psycopg.Connection, statement: str) -> None:
    with application.transaction(), pytest.raises(errors.InsufficientPrivilege):
        application.execute(statement)


@pytest.mark.parametrize("attempt", OWNER_ATTACKS, ids=lambda attempt: attempt.name)
def test_the_owner_is_refused(owner: psycopg.Connection, attempt: Attack) -> None:
    with pytest.raises(errors.IntegrityError) as refusal, owner.transaction():  # noqa: PT012
        for statement in attempt.statements:
            owner.execute(statement)

    assert refusal.value.diag.constraint_name == attempt.rule


def test_every_attack_is_another_one() -> None:
    statements = {attempt.statements for attempt in OWNER_ATTACKS}

    assert len(statements) == len(OWNER_ATTACKS) >= 40
    assert len(set(APPLICATION_ATTACKS)) == len(APPLICATION_ATTACKS) >= 30


def test_an_honest_entry_of_the_owner_passes(owner: psycopg.Connection) -> None:
    # The attacks above differ from this statement by one thing each.
    with owner.transaction(force_rollback=True):
        written = owner.execute(forged(*SYSTEM_PAIR)).rowcount

    assert written == 2


def test_every_trigger_is_needed(owner: psycopg.Connection) -> None:
    triggers = owner.execute(
        "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE starts_with(tgname, 'ledger_') ORDER BY 1, 2"
    ).fetchall()

    without = {(table, trigger): attacks_that_pass(owner, table, trigger) for table, trigger in triggers}

    assert [of for of, passed in without.items() if not passed] == []
    assert len(without) == 14


def attacks_that_pass(connection: psycopg.Connection, table: str, trigger: str) -> list[str]:
    """The owner's attacks that get through while one trigger is off; nothing of it stays."""
    passed = []
    for attempt in OWNER_ATTACKS:
        with suppress(errors.IntegrityError), connection.transaction(force_rollback=True):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
            for statement in attempt.statements:
                connection.execute(statement)
            passed.append(attempt.name)
    return passed


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"lines": []}, "ledger_entry_empty"),
        ({"lines": [[REVENUE, "1"]]}, "ledger_entry_empty"),
        ({"lines": [["contra:promotions:USD", "1"], [REVENUE, "-2"]]}, "ledger_entry_balanced"),
        ({"lines": [["contra:promotions:USD", "0"], [REVENUE, "0"]]}, "ledger_posting_amount"),
        ({"lines": [["contra:promotions:USD", "NaN"], [REVENUE, "NaN"]]}, "ledger_posting_amount"),
        ({"lines": [["contra:promotions:USD", "Infinity"], [REVENUE, "-Infinity"]]}, "ledger_posting_amount"),
        ({"lines": [["contra:promotions:USD", "1e-13"], [REVENUE, "-1e-13"]]}, "ledger_posting_amount"),
        ({"lines": [["nowhere", "1"], [REVENUE, "-1"]]}, "ledger_account_unknown"),
        ({"lines": [[None, "1"], [REVENUE, "-1"]]}, "ledger_account_unknown"),
        ({"lines": [["contra:promotions:USD", None], [REVENUE, None]]}, "ledger_posting_amount"),
        ({"lines": [[CLOSED, "1"], [REVENUE, "-1"]]}, "ledger_account_closed"),
        ({"lines": [["fx:EUR", "1"], [REVENUE, "-1"]]}, "ledger_entry_currency"),
        ({"lines": [[GRANT, "10.000000000001"], [REVENUE, "-10.000000000001"]]}, "ledger_account_floor"),
        ({"idempotency_key": "usage"}, "ledger_key_reused"),
    ],
)
def test_the_function_refuses(application: psycopg.Connection, changes: dict[str, object], rule: str) -> None:
    assert call(application, **changes) == (None, False, rule)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"idempotency_key": "reversal:1"}, "ledger_entry_reversal_key"),
        ({"idempotency_key": "reversal:9999999", "reverses_id": 9999999}, "ledger_reversal_mirrors"),
        ({"reverses_id": 9999999}, "ledger_entry_reversal_key"),
        ({"body_digest": "\\x00"}, "ledger_entry_digest"),
        ({"actor": ""}, "ledger_entry_named"),
    ],
)
def test_what_the_function_takes_the_rules_refuse(
    application: psycopg.Connection, changes: dict[str, object], rule: str
) -> None:
    with pytest.raises(errors.CheckViolation) as refusal:
        call(application, **changes)

    assert refusal.value.diag.constraint_name == rule


@pytest.mark.parametrize("column", ["idempotency_key", "kind", "memo", "effective_at", "actor", "cause", "body_digest"])
def test_the_function_takes_no_entry_without(application: psycopg.Connection, column: str) -> None:
    with pytest.raises(errors.NotNullViolation) as refusal:
        call(application, **{column: None})

    assert refusal.value.diag.column_name == column


def test_a_table_of_the_same_name_does_not_mislead_the_function(application: psycopg.Connection) -> None:
    with application.transaction(force_rollback=True):
        application.execute("CREATE TEMPORARY TABLE ledger_account (LIKE public.ledger_account INCLUDING ALL)")
        application.execute("INSERT INTO pg_temp.ledger_account SELECT * FROM public.ledger_account")
        application.execute(
            "UPDATE pg_temp.ledger_account SET floor = NULL, balance = 1000, version = 9 WHERE floor = 0"
        )

        assert call(application, lines=[[GRANT, "11"], [REVENUE, "-11"]])[2] == "ledger_account_floor"


def test_only_six_functions_are_open_to_the_application(application: psycopg.Connection) -> None:
    rows = application.execute(
        """
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND starts_with(proname, 'ledger_')
          AND has_function_privilege(current_user, oid, 'EXECUTE') ORDER BY 1
        """
    ).fetchall()

    assert [name for (name,) in rows] == [
        "ledger_close_account",
        "ledger_decide_period",
        "ledger_make_seal",
        "ledger_open_accounts",
        "ledger_post_entries",
        "ledger_reverse_entry",
    ]
