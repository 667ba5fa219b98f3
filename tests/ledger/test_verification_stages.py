"""The audit goes in steps and looks closely only at what could be broken: neither may hide a fault, nor make one up."""

from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest

from ledger import verification
from ledger.models import JournalEntry
from ledger.operations import (
    AccountSpec,
    credit,
    debit,
    open_accounts,
    post_journal_entries,
    reverse_journal_entry,
)
from ledger.snapshots import take_snapshots
from tests.ledger.chart import (
    FX_EUR,
    FX_USD,
    GRANT,
    PROMOTIONS,
    REVENUE,
    THIRD,
    UNBILLED,
    accrual,
    burn,
    draft,
    issue,
    post,
)
from tests.ledger.test_verification import superuser  # noqa: F401
from tests.settled import wait_until_settled

EUROS, DOLLARS = "cash:EUR", "cash:USD"


@pytest.fixture
def entries(committed_chart: None) -> dict[str, int]:
    """Ids by key of an entry of every shape: plain, three lines, exchange, reversal, and one that dips and recovers."""
    open_accounts([AccountSpec(EUROS, "cash", "EUR", "D", "acme"), AccountSpec(DOLLARS, "cash", "USD", "D", "acme")])
    post(accrual("plain", "5"))
    post(issue("issue", "10"))
    lines = (debit(GRANT, Decimal(3)), debit(UNBILLED, Decimal(1)), credit(REVENUE, Decimal(4)))
    post(draft("three lines", *lines))
    exchange = (
        debit(EUROS, Decimal(7)),
        credit(FX_EUR, Decimal(7)),
        debit(FX_USD, Decimal(8)),
        credit(DOLLARS, Decimal(8)),
    )
    post(draft("exchange", *exchange, kind="fx_conversion"))
    dip = (
        debit(GRANT, Decimal(9)),
        credit(PROMOTIONS, Decimal(9)),
        credit(GRANT, Decimal(9)),
        debit(PROMOTIONS, Decimal(9)),
    )
    post(draft("dips below its floor and recovers", *dip))
    reverse_journal_entry(
        entry_id=JournalEntry.objects.get(idempotency_key="plain").pk,
        effective_at=THIRD,
        recorded_at=THIRD,
        actor="user:7",
        memo="",
        cause={},
    )
    post_journal_entries([burn(f"burn:{number}", "1") for number in range(5)], recorded_at=THIRD)
    for _ in range(2):
        wait_until_settled()
        take_snapshots(taken_at=THIRD, min_postings=1)
    assert faults() == []
    return dict(JournalEntry.objects.values_list("idempotency_key", "pk"))


def faults() -> list[tuple[str, int | None]]:
    steps = [*verification.verify_entries(), *verification.verify_accounts()]
    return [(fault.rule, fault.entry) for step in steps for fault in step.faults]


CHANGES = [
    ("UPDATE ledger_posting SET amount = 'NaN' WHERE entry_id = %s", "plain", "ledger_posting_amount"),
    ("UPDATE ledger_posting SET amount = 0 WHERE entry_id = %s AND line_no = 1", "burn:2", "ledger_posting_amount"),
    ("UPDATE ledger_posting SET line_no = line_no + 10 WHERE entry_id = %s", "exchange", "ledger_entry_sealed"),
    ("UPDATE ledger_posting SET line_no = 3 WHERE entry_id = %s AND line_no = 2", "plain", "ledger_entry_sealed"),
    ("UPDATE ledger_posting SET account_id = -1 WHERE entry_id = %s", "burn:0", "ledger_account_unknown"),
    ("DELETE FROM ledger_posting WHERE entry_id = %s AND line_no = 2", "burn:3", "ledger_entry_empty"),
    ("DELETE FROM ledger_posting WHERE entry_id = %s", "burn:1", "ledger_entry_empty"),
    ("DELETE FROM ledger_journalentry WHERE id = %s", "three lines", "ledger_entry_missing"),
    ("UPDATE ledger_journalentry SET kind = 'x' WHERE id = %s", "exchange", "ledger_entry_currency"),
    (
        "UPDATE ledger_posting SET amount = amount + sign(amount) WHERE entry_id = %s AND line_no IN (1, 4)",
        "exchange",
        "ledger_entry_balanced",
    ),
    (
        "UPDATE ledger_posting SET amount = amount + 1 WHERE entry_id = %s AND line_no = 2",
        "three lines",
        "ledger_entry_balanced",
    ),
    (
        "UPDATE ledger_posting SET account_version = NULL WHERE entry_id = %s AND line_no = 1",
        "burn:4",
        "ledger_balance_chain",
    ),
    (
        "UPDATE ledger_posting SET balance_after = 1, account_version = 1 WHERE entry_id = %s AND line_no = 2",
        "burn:4",
        "ledger_balance_chain",
    ),
    (
        "UPDATE ledger_posting SET account_version = 100 WHERE entry_id = %s AND line_no = 1",
        "burn:4",
        "ledger_balance_chain",
    ),
    (
        "UPDATE ledger_posting SET balance_after = balance_after - 100 WHERE entry_id = %s AND line_no = 1",
        "burn:4",
        "ledger_balance_chain",
    ),
    (
        "UPDATE ledger_journalentry SET body_digest = '\\x00' WHERE id = %s",
        "plain",
        "ledger_entry_digest",
    ),
    (
        "UPDATE ledger_journalentry SET idempotency_key = 'reversal:9' WHERE id = %s",
        "burn:0",
        "ledger_entry_reversal_key",
    ),
    (
        "UPDATE ledger_posting SET amount = -amount WHERE entry_id = %s",
        "reversal",
        "ledger_reversal_mirrors",
    ),
]


# Checks that would refuse a change even to a superuser, unless he drops them first.
CHECKS = (
    ("ledger_posting", "ledger_posting_amount"),
    ("ledger_posting", "ledger_posting_chained"),
    ("ledger_journalentry", "ledger_entry_digest"),
    ("ledger_journalentry", "ledger_entry_reversal_key"),
)


@pytest.fixture
def unchecked(superuser: psycopg.Connection) -> Iterator[psycopg.Connection]:  # noqa: F811
    definitions = {}
    for table, check in CHECKS:
        row = superuser.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", [check]
        ).fetchone()
        assert row is not None
        definitions[table, check] = row[0]
        superuser.execute(f"ALTER TABLE {table} DROP CONSTRAINT {check}")
    yield superuser
    superuser.execute("DELETE FROM ledger_posting")
    superuser.execute("DELETE FROM ledger_journalentry")
    for (table, check), definition in definitions.items():
        superuser.execute(f"ALTER TABLE {table} ADD CONSTRAINT {check} {definition}")


@pytest.mark.parametrize(("change", "key", "rule"), CHANGES)
def test_each_fault_is_named_however_large_the_steps(
    entries: dict[str, int],
    unchecked: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    key: str,
    rule: str,
) -> None:
    changed = entries[f"reversal:{entries['plain']}" if key == "reversal" else key]

    def found_in_steps_of_every_size() -> list[list[tuple[str, int | None]]]:
        found = []
        for chunk_entries in (1, 3, 100_000):
            monkeypatch.setattr(verification, "CHUNK_ENTRIES", chunk_entries)
            found.append(faults())
        return found

    assert found_in_steps_of_every_size() == [[], [], []]

    unchecked.execute(change, [changed])

    assert [(rule, changed) in found for found in found_in_steps_of_every_size()] == [True, True, True]


def test_a_balance_below_its_floor_is_named_where_an_entry_ends(
    entries: dict[str, int], unchecked: psycopg.Connection
) -> None:
    unchecked.execute("ALTER TABLE ledger_account DROP CONSTRAINT ledger_account_floor")
    unchecked.execute("UPDATE ledger_account SET floor = 2.5 WHERE code = %s", [GRANT])
    try:
        found = [entry for rule, entry in faults() if rule == "ledger_account_floor"]
    finally:
        unchecked.execute("DELETE FROM ledger_account")
        unchecked.execute(
            "ALTER TABLE ledger_account ADD CONSTRAINT ledger_account_floor CHECK (floor IS NULL OR balance >= floor)"
        )

    # From ten, three and five times one were burnt; the last stands for the account, too.
    assert found == [entries["burn:4"], entries["burn:4"]]
