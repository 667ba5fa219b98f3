"""
Raw SQL that tries to make snapshots lie, as the owner of their tables, and the rule that must refuse each.

In the world of tests/ledger/test_attacks.py both entries are marked, and the marks are settled.
"""

from tests.ledger.attacks import FX_EUR, PROMOTIONS, REVENUE, SYSTEM_PAIR, THIS_TRANSACTION, UNBILLED, attack, forged

MARKED = "(SELECT max(entry) FROM ledger_snapshotmark)"
# Whatever number the entries got, the one before the last committed id is below it and not marked.
UNMARKED = "(SELECT max(id) - 1 FROM ledger_journalentry)"


def mark(entry: str = UNMARKED, *, xid: str = THIS_TRANSACTION) -> str:
    return f"INSERT INTO ledger_snapshotmark (entry, marked_xid, marked_at) VALUES ({entry}, {xid}, now())"


def snapshot(code: str, *, through: str = MARKED, debit: str = "0", credit: str = "0", posting_count: str = "1") -> str:
    return f"""
        INSERT INTO ledger_balancesnapshot (account_id, through_entry, debit, credit, posting_count, taken_at)
        SELECT id, {through}, {debit}, {credit}, {posting_count}, now() FROM ledger_account WHERE code = '{code}'
    """


def with_id(entry_id: str, statement: str) -> str:
    """The same entry under an id that was not drawn for it."""
    return statement.replace("(idempotency_key,", "(id, idempotency_key,", 1).replace(
        "VALUES (", f"VALUES ({entry_id}, ", 1
    )


SNAPSHOT_ATTACKS = (
    attack("reword a snapshot", "ledger_append_only", "UPDATE ledger_balancesnapshot SET credit = credit + 1"),
    attack("delete a snapshot", "ledger_append_only", "DELETE FROM ledger_balancesnapshot"),
    attack("truncate snapshots", "ledger_append_only", "TRUNCATE ledger_balancesnapshot"),
    attack("move a mark", "ledger_append_only", "UPDATE ledger_snapshotmark SET entry = entry + 1"),
    attack("make a mark older", "ledger_append_only", "UPDATE ledger_snapshotmark SET marked_xid = 1"),
    attack("delete a mark", "ledger_append_only", "DELETE FROM ledger_snapshotmark"),
    attack("truncate marks", "ledger_append_only", "TRUNCATE ledger_snapshotmark"),
    attack("a mark ahead of the journal", "ledger_snapshot_mark", mark("9999999")),
    attack("a mark in an older transaction's name", "ledger_snapshot_mark", mark(xid="1")),
    attack(
        "a mark by a transaction that had its number before",
        "ledger_snapshot_mark",
        "SELECT pg_current_xact_id()",
        mark(),
    ),
    attack("a mark of no entry", "ledger_snapshot_mark_entry", mark("0")),
    attack("a snapshot of what never was", "ledger_snapshot_sum", snapshot(FX_EUR, debit="7")),
    attack("a snapshot of what nobody posted", "ledger_snapshot_sum", snapshot(FX_EUR, posting_count="3")),
    attack("a snapshot that ends at no mark", "ledger_snapshot_horizon", snapshot(REVENUE, through=UNMARKED)),
    attack("a snapshot of the future", "ledger_snapshot_horizon", snapshot(REVENUE, through="9999999", credit="5")),
    attack(
        "a snapshot at a mark of this transaction",
        "ledger_snapshot_horizon",
        mark(),
        snapshot(REVENUE, through=UNMARKED, credit="5"),
    ),
    attack("a snapshot of a customer's account", "ledger_snapshot_account", snapshot(UNBILLED, debit="5")),
    attack("a snapshot below zero", "ledger_snapshot_sides", snapshot(FX_EUR, debit="-1")),
    attack("a snapshot twice", "ledger_balancesnapshot_pkey", snapshot(PROMOTIONS, debit="10")),
    attack(
        "an entry under an id that a snapshot passed over",
        "ledger_entry_before_snapshot",
        with_id("0", forged(*SYSTEM_PAIR)),
    ),
)

# The application's role is refused each of these for want of a right, before any rule is asked.
APPLICATION_SNAPSHOT_ATTACKS = (
    mark(),
    snapshot(REVENUE),
    "UPDATE ledger_balancesnapshot SET credit = 0",
    "DELETE FROM ledger_balancesnapshot",
    "TRUNCATE ledger_balancesnapshot",
    "DELETE FROM ledger_snapshotmark",
    "SELECT ledger_settled_entry()",
)
