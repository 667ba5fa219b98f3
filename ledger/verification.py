"""
Proving the ledger from its raw rows, by SQL and Python of its own: no function or query of the ledger is asked.

In three parts: every seal against the entries it covers; every entry, in order of id; every account, and the whole.
Each part goes in steps that remember nothing, so that a run can stop after any step and go on there later, and its
memory does not grow with the journal. A step is one look at the database: postings may go on meanwhile.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from django.db import connection, transaction

from ledger.verification_sql import (
    ACCOUNT_FAULTS,
    ENTRY_FAULTS,
    KEY_FAULTS,
    LEAF_FAULTS,
    SEAL,
    SNAPSHOT_FAULTS,
    SPAN,
    UNSEALED,
)

CHUNK_ENTRIES = 100_000
NO_HASH = bytes(32)
# Each is one step, over all there is.
WHOLE_LEDGER = (ACCOUNT_FAULTS, KEY_FAULTS, SNAPSHOT_FAULTS)
# Groups that are read in their order, by an index or as they lie, are neither hashed nor kept in memory.
READ_IN_ORDER = frozenset({ENTRY_FAULTS, KEY_FAULTS})


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, by the name of the rule that would have refused it, and with which entry, if it is one."""

    rule: str
    entry: int | None
    about: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found. The part goes on at `next_start`: a seal's number, or an entry's id."""

    part: Literal["seals", "entries", "accounts"]
    next_start: int
    faults: list[Fault]


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is to verify."""

    last_seal: int
    first_entry: int
    last_entry: int


def extent() -> Extent:
    return Extent(*_rows(SPAN)[0])


def count_unsealed() -> int:
    """Entries that no seal covers yet. Of those a change is only found where it breaks the arithmetic."""
    return int(_rows(UNSEALED)[0][0])


def verify_seals(*, from_seal: int) -> Iterator[Step]:
    """One step a seal."""
    before = _seal(from_seal - 1)
    last = extent().last_seal
    for number in range(from_seal, last + 1):
        seal = _seal(number)
        if seal is None:
            yield Step("seals", number + 1, [Fault("ledger_seal_chain", None, f"seal {number} is missing")])
        else:
            leaves = [Fault(*row) for row in _rows(LEAF_FAULTS, {"number": number})]
            yield Step("seals", number + 1, [*leaves, *_seal_faults(seal, before)])
        before = seal


def verify_entries(*, from_entry: int | None = None) -> Iterator[Step]:
    """One step for each CHUNK_ENTRIES ids: balance, currencies, accounts, chains, floors, reversals."""
    span = extent()
    first = span.first_entry if from_entry is None else from_entry
    for start in range(first, span.last_entry + 1, CHUNK_ENTRIES):
        end = start + CHUNK_ENTRIES
        yield Step("entries", end, [Fault(*row) for row in _rows(ENTRY_FAULTS, {"start": start, "end": end})])


def verify_accounts() -> Iterator[Step]:
    """Balances and versions against all postings, every currency's sum, keys used twice, snapshots."""
    for query in WHOLE_LEDGER:
        yield Step("accounts", extent().last_entry + 1, [Fault(*row) for row in _rows(query)])


def has_seal(hash_hex: str) -> bool:
    """Whether a seal of this hash stands: one that somebody kept where nobody here could change it."""
    return bool(_rows("SELECT number FROM ledger_seal WHERE hash = decode(%(hash)s, 'hex')", {"hash": hash_hex}))


def last_hash() -> str | None:
    """What to keep elsewhere."""
    rows = _rows("SELECT encode(hash, 'hex') FROM ledger_seal ORDER BY number DESC LIMIT 1")
    return str(rows[0][0]) if rows else None


def merkle_root(hashes: Sequence[bytes]) -> bytes:
    """The root of RFC 6962's tree over hashed leaves."""
    level = list(hashes)
    if not level:
        return hashlib.sha256(b"").digest()
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        odd_one = level[-1:] if len(level) % 2 else []
        level = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd_one
    return level[0]


@dataclass(frozen=True, slots=True)
class _Seal:
    number: int
    from_xid: int
    before_xid: int
    counts_are_right: bool
    leaf_hashes: list[bytes]
    root: bytes
    previous_hash: bytes
    hash: bytes
    body: str


def _seal(number: int) -> _Seal | None:
    rows = _rows(SEAL, {"number": number})
    return _Seal(*rows[0]) if rows else None


def _seal_faults(seal: _Seal, before: _Seal | None) -> list[Fault]:
    expected_hash = before.hash if before else NO_HASH
    expected_from = before.before_xid if before else 0
    checks = (
        ("ledger_seal_chain", "does not continue the seal before", seal.previous_hash == expected_hash),
        ("ledger_seal_chain", "does not begin where the seal before ends", seal.from_xid == expected_from),
        ("ledger_seal_root", "has another root than its leaves", seal.root == merkle_root(seal.leaf_hashes)),
        (
            "ledger_seal_hash",
            "has another hash than its fields",
            seal.hash == hashlib.sha256(seal.body.encode()).digest(),
        ),
        ("ledger_seal_complete", "miscounts its entries", seal.counts_are_right),
    )
    return [Fault(rule, None, f"seal {seal.number} {what}") for rule, what, holds in checks if not holds]


def _rows(query: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with transaction.atomic(), connection.cursor() as cursor:
        # Sorts of one step stay in memory; compiling a plan would take longer than running it; one core is enough.
        cursor.execute(
            "SET LOCAL work_mem = '64MB'; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0"
        )
        if query in READ_IN_ORDER:
            cursor.execute("SET LOCAL enable_hashagg = off")
        cursor.execute(query, parameters or {})
        return list(cursor.fetchall())
