"""Whoever changes the journal behind its rules is found, and the entry is named."""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from ledger.operations import post_journal_entries, reverse_journal_entry
from ledger.sealing import make_seals
from ledger.verification import merkle_root
from ledger.verification_sql import ENTRY_FAULTS, LEAF_FAULTS
from tests.ledger.chart import FIRST, SPECS, THIRD, accrual, burn, issue, post
from tests.plugin import admin_url
from tests.settled import wait_until_settled

LATER = THIRD + timedelta(days=1)


@pytest.fixture
def entries(committed_chart: None) -> list[int]:
    """Ids of five entries in two seals: an accrual, a grant, a burn, a reversal of the accrual, another accrual."""
    first, grant, burnt = (post(entry).id for entry in (accrual("usage", "5"), issue("issue", "10"), burn("burn", "2")))
    wait_until_settled()
    list(make_seals(sealed_at=FIRST))
    mirror = reverse_journal_entry(
        entry_id=first, effective_at=THIRD, recorded_at=THIRD, actor="user:7", memo="", cause={}
    ).id
    (last,) = post_journal_entries([accrual("more", "7")], recorded_at=THIRD)
    wait_until_settled()
    list(make_seals(sealed_at=LATER))
    assert verified() == []
    return [first, grant, burnt, mirror, last.id]  # type: ignore[union-attr]


@pytest.fixture
def superuser(committed_db: None) -> Iterator[psycopg.Connection]:
    """Nothing stops this one: triggers rest, checks and unique indexes are dropped by who wants to."""
    name = os.environ["DATABASE_URL"].rsplit("/", 1)[1]
    with psycopg.connect(admin_url(name), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def verified(*options: str) -> list[tuple[str, int | None]]:
    """(rule, entry) of each fault that the command names, and its exit code checked."""
    lines, code = run(*options)
    assert code == (1 if lines[:-1] else 0)
    return [(line["rule"], line["entry"]) for line in lines[:-1]]


def run(*options: str) -> tuple[list[dict[str, Any]], int]:
    out, code = StringIO(), 0
    try:
        call_command("verify_ledger", *options, stdout=out)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    return [json.loads(line) for line in out.getvalue().splitlines()], code


FIELDS = {
    "ledger_journalentry": {
        "idempotency_key": "overlay(idempotency_key placing 'X' from 1)",
        "kind": "kind || 'X'",
        "memo": "memo || 'X'",
        "effective_at": "effective_at + interval '1 microsecond'",
        "recorded_at": "recorded_at - interval '1 microsecond'",
        "actor": "actor || ' '",
        "cause": """cause || '{"invoice": "in_9"}'""",
        "body_digest": "set_byte(body_digest, 0, (get_byte(body_digest, 0) + 1) %% 256)",
        "reverses_id": "2, idempotency_key = 'reversal:2'",
        "recorded_xid": "recorded_xid - 1",
    },
    "ledger_posting": {
        "amount": "amount + 0.000000000001",
        "account_id": "(SELECT id FROM ledger_account WHERE code = 'receivable:acme:USD')",
        "balance_after": "balance_after + 0.000000000001",
        "account_version": "account_version + 7",
        "line_no": "line_no + 2",
    },
}


@pytest.mark.parametrize(("table", "field"), [(table, field) for table, fields in FIELDS.items() for field in fields])
def test_one_changed_field_is_found(entries: list[int], superuser: psycopg.Connection, table: str, field: str) -> None:
    key = "id" if table == "ledger_journalentry" else "line_no = 1 AND entry_id"
    superuser.execute(f"UPDATE {table} SET {field} = {FIELDS[table][field]} WHERE {key} = %s", [entries[0]])

    faults = verified()

    assert ("ledger_seal_leaf", entries[0]) in faults
    assert run()[0][-1]["first_broken_entry"] == entries[0]


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ("balance = balance + 0.000000000001", {"ledger_balance_chain"}),
        ("version = version + 1", {"ledger_balance_chain"}),
        ("code = 'mine'", {"ledger_seal_leaf"}),
        ("customer_key = 'zeta'", {"ledger_seal_leaf"}),
        ("currency = 'EUR'", {"ledger_seal_leaf", "ledger_entry_currency", "ledger_conservation"}),
        ("normal_side = 'D'", {"ledger_seal_leaf", "ledger_balance_chain"}),
        ("floor = 9", {"ledger_seal_leaf", "ledger_account_floor"}),
        ("kind = 'cash'", {"ledger_seal_leaf"}),
    ],
)
def test_a_changed_account_is_found(
    entries: list[int], superuser: psycopg.Connection, change: str, rules: set[str]
) -> None:
    superuser.execute("ALTER TABLE ledger_account DROP CONSTRAINT ledger_account_floor")
    try:
        superuser.execute(f"UPDATE ledger_account SET {change} WHERE code = 'grant:1'")

        faults = verified()
    finally:
        superuser.execute(f"DELETE FROM ledger_account WHERE code IN ('{SPECS[2].code}', 'mine')")
        superuser.execute(
            "ALTER TABLE ledger_account ADD CONSTRAINT ledger_account_floor CHECK (floor IS NULL OR balance >= floor)"
        )

    assert {rule for rule, _ in faults} >= rules


def test_a_missing_entry_is_named(entries: list[int], superuser: psycopg.Connection) -> None:
    superuser.execute("DELETE FROM ledger_posting WHERE entry_id = %s", [entries[2]])
    superuser.execute("DELETE FROM ledger_journalentry WHERE id = %s", [entries[2]])

    assert ("ledger_seal_leaf", entries[2]) in verified()


def test_postings_without_their_entry_are_found(entries: list[int], superuser: psycopg.Connection) -> None:
    superuser.execute("DELETE FROM ledger_journalentry WHERE id = %s", [entries[4]])

    assert {("ledger_seal_leaf", entries[4]), ("ledger_entry_missing", entries[4])} <= set(verified())


def test_an_added_entry_is_named(entries: list[int], superuser: psycopg.Connection) -> None:
    superuser.execute(
        "INSERT INTO ledger_journalentry SELECT (jsonb_populate_record(entry,"
        " jsonb_build_object('id', 9999999, 'idempotency_key', 'mine'))).*"
        " FROM ledger_journalentry AS entry WHERE id = %s",
        [entries[1]],
    )
    superuser.execute(
        "INSERT INTO ledger_posting (entry_id, line_no, account_id, amount)"
        " SELECT 9999999, line_no, (SELECT id FROM ledger_account WHERE code = 'revenue:usage:USD'), amount"
        " FROM ledger_posting WHERE entry_id = %s",
        [entries[1]],
    )

    assert verified() == [("ledger_seal_leaf", 9999999)]


def test_swapped_entries_are_both_named(entries: list[int], superuser: psycopg.Connection) -> None:
    first, last = entries[0], entries[4]
    for table, column in (("ledger_journalentry", "id"), ("ledger_posting", "entry_id")):
        for now, then in ((first, -1), (last, first), (-1, last)):
            superuser.execute(f"UPDATE {table} SET {column} = %s WHERE {column} = %s", [then, now])

    assert {("ledger_seal_leaf", first), ("ledger_seal_leaf", last)} <= set(verified())


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("sealed_at = sealed_at + interval '1 second'", "ledger_seal_hash"),
        ("root = sha256('x')", "ledger_seal_root"),
        ("hash = sha256('x')", "ledger_seal_hash"),
        ("previous_hash = sha256('x')", "ledger_seal_chain"),
        ("from_xid = 1", "ledger_seal_chain"),
        ("before_xid = before_xid + 1", "ledger_seal_hash"),
        ("entry_count = entry_count + 1", "ledger_seal_complete"),
        ("leaf_hashes[1] = sha256('x')", "ledger_seal_root"),
        ("entry_ids[1] = 9999999", "ledger_seal_complete"),
    ],
)
def test_a_changed_seal_is_found(entries: list[int], superuser: psycopg.Connection, change: str, rule: str) -> None:
    superuser.execute(f"UPDATE ledger_seal SET {change} WHERE number = 1")

    assert rule in {found for found, _ in verified()}


def test_a_missing_seal_is_found(entries: list[int], superuser: psycopg.Connection) -> None:
    superuser.execute("DELETE FROM ledger_seal WHERE number = 1")

    assert ("ledger_seal_chain", None) in verified()


def test_a_forger_of_the_whole_chain_is_found_by_a_kept_hash(entries: list[int], superuser: psycopg.Connection) -> None:
    kept = run()[0][-1]["last_hash"]
    assert verified("--kept-hash", kept) == []
    superuser.execute("UPDATE ledger_journalentry SET memo = 'mine' WHERE id = %s", [entries[0]])
    superuser.execute("DELETE FROM ledger_seal")
    superuser.execute("SET session_replication_role = origin")
    superuser.execute("SELECT ledger_make_seal(now(), 100)")

    assert verified() == []
    assert verified("--kept-hash", kept) == [("ledger_seal_kept", None)]


def test_a_key_used_twice_is_found(entries: list[int], superuser: psycopg.Connection) -> None:
    superuser.execute("ALTER TABLE ledger_journalentry DROP CONSTRAINT ledger_entry_key")
    try:
        superuser.execute("UPDATE ledger_journalentry SET idempotency_key = 'usage' WHERE id = %s", [entries[4]])

        faults = verified()
    finally:
        superuser.execute("DELETE FROM ledger_journalentry WHERE idempotency_key = 'usage'")
        superuser.execute("ALTER TABLE ledger_journalentry ADD CONSTRAINT ledger_entry_key UNIQUE (idempotency_key)")

    assert ("ledger_entry_key", entries[4]) in faults


def test_it_goes_on_where_it_is_told(entries: list[int], superuser: psycopg.Connection) -> None:
    superuser.execute("UPDATE ledger_journalentry SET memo = 'mine' WHERE id = %s", [entries[0]])

    assert verified("--from-seal", "2") == []
    assert verified("--from-entry", str(entries[0])) == []
    assert verified() == [("ledger_seal_leaf", entries[0])]


def test_an_interrupted_run_says_how_to_go_on(entries: list[int]) -> None:
    told, options = [], [""]
    while options:
        out = StringIO()
        with connection.execute_wrapper(interrupt_once_in(LEAF_FAULTS, ENTRY_FAULTS)), suppress(SystemExit):
            call_command("verify_ledger", *filter(None, options), stdout=out)
        _, interrupted, go_on = out.getvalue().partition("interrupted; go on with: manage.py verify_ledger ")
        told.append(go_on.strip())
        options = go_on.split() if interrupted else []

    assert told[:2] == ["--from-seal 2", "--from-seal 3"]
    assert told[2].startswith("--from-entry ")
    assert told[3:] == [""]


def interrupt_once_in(*queries: str) -> Callable[..., Any]:
    """Presses Ctrl-C while the first of the queries runs; a second one would end the command at once."""
    pressed: list[str] = []

    def execute_and_press(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql in queries and not pressed:
            pressed.append(sql)
            signal.raise_signal(signal.SIGINT)
        return execute(sql, params, many, context)

    return execute_and_press


@pytest.mark.parametrize(
    "options", [("--from-seal", "0"), ("--from-seal", "2", "--from-entry", "1"), ("--kept-hash", "ab")]
)
def test_a_mistake_in_the_options_is_told(db: None, options: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as refusal:
        call_command("verify_ledger", *options)

    assert refusal.value.returncode == 2


@pytest.mark.parametrize("count", range(9))
def test_the_merkle_root_is_that_of_rfc_6962(count: int) -> None:
    leaves = [hashlib.sha256(bytes([number])).digest() for number in range(count)]

    assert merkle_root(leaves) == tree_hash(leaves)


def tree_hash(leaves: list[bytes]) -> bytes:
    """As the RFC says it: split at the largest power of two below the number of leaves."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()
