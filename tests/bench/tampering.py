"""One byte changed behind every rule, as only a superuser can, and changed back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg


@dataclass(frozen=True)
class Victim:
    """An ordinary entry: its first line on an account that keeps a balance, its second on a system account."""

    entry: int
    account: int
    version: int
    system_account: int


@dataclass(frozen=True)
class Change:
    """Statements with %(sign)s, 1 to change and -1 to change back, and the rule that the audit names."""

    name: str
    rule: str
    statements: tuple[str, ...]


CHANGES = (
    Change(
        "a byte of the memo",
        "ledger_seal_leaf",
        (
            """
            UPDATE ledger_journalentry SET memo = overlay(
                memo PLACING CASE %(sign)s WHEN 1 THEN 'U' ELSE 'u' END FROM 1 FOR 1) WHERE id = %(entry)s
            """,
        ),
    ),
    # Whatever is computed from the amounts still agrees: entry, chain, account, conservation, snapshots.
    Change(
        "an amount, with all balances made to fit,",
        "ledger_seal_leaf",
        (
            """
            UPDATE ledger_posting SET amount = amount + %(sign)s * 0.01 * CASE line_no WHEN 1 THEN 1 ELSE -1 END
            WHERE entry_id = %(entry)s
            """,
            """
            UPDATE ledger_posting SET balance_after = balance_after + %(sign)s * 0.01
            WHERE account_id = %(account)s AND account_version >= %(version)s
            """,
            "UPDATE ledger_account SET balance = balance + %(sign)s * 0.01 WHERE id = %(account)s",
            """
            UPDATE ledger_balancesnapshot SET credit = credit + %(sign)s * 0.01
            WHERE account_id = %(system_account)s AND through_entry >= %(entry)s
            """,
        ),
    ),
    Change(
        "a byte of the leaf in its seal",
        "ledger_seal_leaf",
        (
            """
            UPDATE ledger_seal AS seal SET leaf_hashes[leaf.place] = set_byte(
                seal.leaf_hashes[leaf.place], 7, get_byte(seal.leaf_hashes[leaf.place], 7) # 1)
            FROM (SELECT number, array_position(entry_ids, %(entry)s::bigint) AS place FROM ledger_seal) AS leaf
            WHERE leaf.number = seal.number AND leaf.place IS NOT NULL AND %(sign)s <> 0
            """,
        ),
    ),
)


@contextmanager
def superuser(address: str) -> Iterator[psycopg.Connection]:
    """A connection for which triggers rest."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def victim_of(connection: psycopg.Connection, idempotency_key: str) -> Victim:
    row = connection.execute(
        """
        SELECT kept.entry_id, kept.account_id, kept.account_version, system.account_id
        FROM ledger_journalentry AS entry
        JOIN ledger_posting AS kept ON kept.entry_id = entry.id AND kept.line_no = 1
        JOIN ledger_posting AS system ON system.entry_id = entry.id AND system.line_no = 2
        WHERE entry.idempotency_key = %s
        """,
        [idempotency_key],
    ).fetchone()
    assert row is not None
    return Victim(*row)


@contextmanager
def changed(connection: psycopg.Connection, change: Change, victim: Victim) -> Iterator[None]:
    _execute(connection, change, victim, sign=1)
    try:
        yield
    finally:
        _execute(connection, change, victim, sign=-1)


def _execute(connection: psycopg.Connection, change: Change, victim: Victim, *, sign: int) -> None:
    parameters = {
        "entry": victim.entry,
        "account": victim.account,
        "version": victim.version,
        "system_account": victim.system_account,
        "sign": sign,
    }
    with connection.transaction():
        for statement in change.statements:
            if connection.execute(statement, parameters).rowcount < 1:
                raise AssertionError(f"{change.name}: nothing was changed by {statement}")
