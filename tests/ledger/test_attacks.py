"""The database refuses, whoever asks: by right to the application's role, by rule to the owner of the tables."""

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
from ledger.snapshots import take_snapshots
from tests.cleaning import Cleaner
from tests.ledger.attacks import APPLICATION_ATTACKS, CLOSED, OWNER_ATTACKS, SYSTEM_PAIR, Attack, forged
from tests.ledger.calendar_attacks import APPLICATION_CALENDAR_ATTACKS, CALENDAR_ATTACKS
from tests.ledger.chart import FIRST, GRANT, OTHERS_UNBILLED, SPECS, UNBILLED, accrual, issue
from tests.ledger.snapshot_attacks import APPLICATION_SNAPSHOT_ATTACKS, SNAPSHOT_ATTACKS
from tests.ledger.statement_attacks import APPLICATION_STATEMENT_ATTACKS, STATEMENT_ATTACKS
from tests.settled import wait_until_settled

EVERY_ATTACK = (*OWNER_ATTACKS, *STATEMENT_ATTACKS, *CALENDAR_ATTACKS, *SNAPSHOT_ATTACKS)
EVERY_APPLICATION_ATTACK = (
    *APPLICATION_ATTACKS,
    *APPLICATION_STATEMENT_ATTACKS,
    *APPLICATION_CALENDAR_ATTACKS,
    *APPLICATION_SNAPSHOT_ATTACKS,
)


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
        for _ in range(2):  # marked, then taken
            wait_until_settled()
            take_snapshots(taken_at=FIRST, min_postings=1)
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


@pytest.mark.parametrize("statement", EVERY_APPLICATION_ATTACK, ids=lambda statement: " ".join(statement.split())[:70])
def test_the_application_has_no_right_to(application: psycopg.Connection, statement: str) -> None:
    with application.transaction(), pytest.raises(errors.InsufficientPrivilege):
        application.execute(statement)


@pytest.mark.parametrize("attempt", EVERY_ATTACK, ids=lambda attempt: attempt.name)
def test_the_owner_is_refused(owner: psycopg.Connection, attempt: Attack) -> None:
    with pytest.raises(errors.IntegrityError) as refusal, owner.transaction():  # noqa: PT012
        for statement in attempt.statements:
            owner.execute(statement)

    assert refusal.value.diag.constraint_name == attempt.rule


def test_every_attack_is_another_one() -> None:
    statements = {attempt.statements for attempt in EVERY_ATTACK}

    assert len(statements) == len(EVERY_ATTACK) >= 130
    assert len(set(EVERY_APPLICATION_ATTACK)) == len(EVERY_APPLICATION_ATTACK) >= 45


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
    assert len(without) == 20


def attacks_that_pass(connection: psycopg.Connection, table: str, trigger: str) -> list[str]:
    """The owner's attacks that get through while one trigger is off; nothing of it stays."""
    passed = []
    # Committed: some rules ask whether the attack's own transaction has written anything before.
    connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
    try:
        for attempt in EVERY_ATTACK:
            with suppress(errors.IntegrityError), connection.transaction(force_rollback=True):
                for statement in attempt.statements:
                    connection.execute(statement)
                passed.append(attempt.name)
    finally:
        connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")
    return passed


def test_only_these_functions_are_open_to_the_application(application: psycopg.Connection) -> None:
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
        "ledger_post_entry",
        "ledger_reverse_entry",
        "ledger_take_snapshots",
    ]
