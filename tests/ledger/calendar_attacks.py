"""
Raw SQL that posts into closed periods, closes and reopens them crookedly, or makes false seals: as the owner of the
tables, with the rule that must refuse each, and as the application, for want of a right.
"""

from tests.ledger.attacks import SYSTEM_PAIR, attack, forged


def closing(closed_before: str = "'2100-01-01'", *, reopens: str = "false", actor: str = "'owner'") -> str:
    return f"""
        INSERT INTO ledger_periodclosing (closed_before, reopens, decided_at, actor, reason)
        VALUES ({closed_before}, {reopens}, now(), {actor}, 'x')
    """


def seal(
    *,
    number: str = "1",
    from_xid: str = "0",
    before_xid: str = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
    entry_count: str = "cardinality(ids)",
    ids: str = "ids",
    hashes: str = "hashes",
    previous_hash: str = "decode(repeat('00', 32), 'hex')",
    hash_of: str = "seal",
) -> str:
    """A seal by hand, of all that a seal could cover."""
    return f"""
        INSERT INTO ledger_seal
        SELECT (seal).number, (seal).sealed_at, (seal).from_xid, (seal).before_xid, (seal).entry_count,
               (seal).first_entry, (seal).last_entry, (seal).entry_ids, (seal).leaf_hashes, (seal).root,
               (seal).previous_hash,
               ledger_seal_hash({hash_of})
        FROM (
            SELECT ROW({number}, now(), {from_xid}, {before_xid}, {entry_count}, ({ids})[1],
                       ({ids})[cardinality({ids})],
                       {ids}, {hashes}, ledger_merkle_root(hashes), {previous_hash}, '')::ledger_seal AS seal
            FROM (
                SELECT array_agg(entry_id ORDER BY entry_id) AS ids, array_agg(leaf_hash ORDER BY entry_id) AS hashes
                FROM ledger_leaves(0, pg_snapshot_xmin(pg_current_snapshot())::text::bigint)
            ) AS leaf
        ) AS made
    """


NOTHING = {"entry_count": "0", "ids": "'{}'::bigint[]", "hashes": "'{}'::bytea[]"}


CALENDAR_ATTACKS = (
    attack("an entry in a closed period", "ledger_period_closed", closing(), forged(*SYSTEM_PAIR)),
    attack("a closing that goes back", "ledger_period_order", closing(), closing("'2099-01-01'")),
    attack("a reopening that goes forward", "ledger_period_order", closing(), closing("'2101-01-01'", reopens="true")),
    attack("a reopening of nothing", "ledger_period_order", closing(reopens="true")),
    attack("a closing of all time to come", "ledger_period_closing_finite", closing("'infinity'")),
    attack("a closing by nobody", "ledger_period_closing_named", closing(actor="''")),
    attack(
        "another date of a closing",
        "ledger_append_only",
        closing(),
        "UPDATE ledger_periodclosing SET closed_before = '2000-01-01'",
    ),
    attack("delete a closing", "ledger_append_only", closing(), "DELETE FROM ledger_periodclosing"),
    attack("truncate closings", "ledger_append_only", "TRUNCATE ledger_periodclosing"),
    attack(
        "an entry recorded before the last seal",
        "ledger_entry_before_seal",
        "SELECT ledger_make_seal(now() + interval '1 hour', 100)",
        forged(*SYSTEM_PAIR),
    ),
    attack(
        "a seal of an earlier time",
        "ledger_seal_chain",
        "SELECT ledger_make_seal(now() + interval '1 hour', 100)",
        "SELECT ledger_make_seal(now(), 100)",
    ),
    attack("a seal that stops all posting", "ledger_seal_ahead", "SELECT ledger_make_seal('infinity', 100)"),
    attack("a seal out of turn", "ledger_seal_chain", seal(number="2")),
    attack("a seal that leaves transactions out", "ledger_seal_chain", seal(from_xid="1")),
    attack("a seal of another past", "ledger_seal_chain", seal(previous_hash="sha256('x')")),
    attack("a seal that continues nothing", "ledger_seal_chain", seal(), seal()),
    attack(
        "a seal with the hash of another",
        "ledger_seal_chain",
        seal(hash_of="ROW(9, now(), 0, 0, 0, NULL, NULL, '{}', '{}', '', '', '')::ledger_seal"),
    ),
    attack(
        "a seal over an open transaction",
        "ledger_seal_horizon",
        seal(before_xid="pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1"),
    ),
    attack("a seal that leaves an entry out", "ledger_seal_complete", seal(ids="ids[2:]")),
    attack("a seal that counts another number", "ledger_seal_complete", seal(entry_count="7")),
    attack("a seal without a leaf", "ledger_seal_complete", seal(hashes="hashes[2:]")),
    attack("a seal that ends before it begins", "ledger_seal_span", seal(before_xid="-1", **NOTHING)),
    attack("reword a seal", "ledger_append_only", seal(), "UPDATE ledger_seal SET sealed_at = now()"),
    attack("break a seal", "ledger_append_only", seal(), "DELETE FROM ledger_seal"),
    attack("truncate seals", "ledger_append_only", "TRUNCATE ledger_seal"),
)

APPLICATION_CALENDAR_ATTACKS = (
    closing(),
    "UPDATE ledger_periodclosing SET closed_before = '2000-01-01'",
    "DELETE FROM ledger_periodclosing",
    "SELECT ledger_closed_before()",
    "LOCK TABLE ledger_periodclosing IN EXCLUSIVE MODE",
    "UPDATE ledger_seal SET sealed_at = now()",
    "DELETE FROM ledger_seal",
    "TRUNCATE ledger_seal",
    "SELECT * FROM ledger_leaves(0, 1)",
    "CREATE OR REPLACE FUNCTION ledger_merkle_root(bytea[]) RETURNS bytea LANGUAGE sql RETURN sha256('')",
)
