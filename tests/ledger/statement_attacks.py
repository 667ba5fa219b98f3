"""
Raw SQL, as the owner of the tables, that hides one false thing in a statement full of honest ones, or puts an honest
statement in another way than the posting functions do.

In the world of tests/ledger/test_attacks.py unbilled stands at 5 and the grant at 10, each with one posting.
"""

from tests.ledger.attacks import (
    CLOSED,
    GRANT,
    OLD_ENTRY,
    PROMOTIONS,
    REVENUE,
    SYSTEM_PAIR,
    THIS_TRANSACTION,
    UNBILLED,
    attack,
    forged,
    into,
    line,
    moved,
)
from tests.ledger.calendar_attacks import closing

RECEIVABLE = "receivable:acme:USD"
Postings = tuple[tuple[str, int, str, str, str], ...]
ROW = "({key}, '{kind}', '', {effective_at}, {recorded_at}, 'owner', '{{}}', sha256(''), {reverses}, {xid})"
HONEST = ROW.format(
    key="'honest'", kind="x", effective_at="now()", recorded_at="now()", reverses="NULL::bigint", xid=THIS_TRANSACTION
)


def second(
    *,
    key: str = "'second'",
    kind: str = "x",
    effective_at: str = "now()",
    recorded_at: str = "now()",
    reverses: str = "NULL",
    xid: str = THIS_TRANSACTION,
) -> str:
    """The row of an entry that stands beside an honest one in the same statement."""
    return ROW.format(
        key=key, kind=kind, effective_at=effective_at, recorded_at=recorded_at, reverses=reverses, xid=xid
    )


def beside_an_honest_one(
    *postings: tuple[str, int, str, str, str], entry: str, honest: Postings = SYSTEM_PAIR, move: str = "SELECT"
) -> str:
    """One statement that writes two entries: the honest one with its postings, and `entry` with `postings`."""
    lines = [("honest", *posting) for posting in honest] + [("second", *posting) for posting in postings]
    rows = ", ".join(
        f"('{of}', '{code}', {line_no}, {amount}::numeric, {after}::numeric, {version}::bigint)"
        for of, code, line_no, amount, after, version in lines
    )
    return f"""
        WITH entry AS (
            INSERT INTO ledger_journalentry (idempotency_key, kind, memo, effective_at, recorded_at, actor, cause,
                                             body_digest, reverses_id, recorded_xid)
            VALUES {HONEST}, {entry}
            RETURNING id, CASE idempotency_key WHEN 'honest' THEN 'honest' ELSE 'second' END AS name
        ), move AS ({move})
        INSERT INTO ledger_posting (entry_id, line_no, account_id, amount, balance_after, account_version)
        SELECT entry.id, line.line_no, account.id, line.amount, line.balance_after, line.version
        FROM (VALUES {rows}) AS line (name, code, line_no, amount, balance_after, version)
        JOIN entry USING (name) JOIN ledger_account AS account USING (code)
    """


def moved_all(*stands: tuple[str, str, int]) -> str:
    """One statement that moves several accounts."""
    rows = ", ".join(f"('{code}', {balance}::numeric, {version})" for code, balance, version in stands)
    return f"""
        UPDATE ledger_account AS account SET balance = stand.balance, version = stand.version
        FROM (VALUES {rows}) AS stand (code, balance, version) WHERE account.code = stand.code
    """


ONE_STEP = (line(UNBILLED, 1, "1", "6", "2"), line(REVENUE, 2, "-1"))
OPENING = "(code, kind, currency, normal_side, keeps_balance, balance, version)"

STATEMENT_ATTACKS = (
    attack("an empty entry beside a full one", "ledger_entry_empty", beside_an_honest_one(entry=second())),
    attack(
        "an entry whose postings another one got",
        "ledger_entry_empty",
        beside_an_honest_one(entry=second(), honest=(*SYSTEM_PAIR, line(PROMOTIONS, 3, "2"), line(REVENUE, 4, "-2"))),
    ),
    attack(
        "two entries that balance only together",
        "ledger_entry_balanced",
        beside_an_honest_one(
            line(PROMOTIONS, 1, "1"),
            line(REVENUE, 2, "-2"),
            entry=second(),
            honest=(line(PROMOTIONS, 1, "2"), line(REVENUE, 2, "-1")),
        ),
    ),
    attack(
        "another transaction's name beside the right one",
        "ledger_entry_recorded_xid",
        beside_an_honest_one(*SYSTEM_PAIR, entry=second(xid="1")),
    ),
    attack(
        "a false mirror beside an honest entry",
        "ledger_reversal_mirrors",
        beside_an_honest_one(
            *SYSTEM_PAIR,
            entry=second(key=f"'reversal:' || {OLD_ENTRY}", reverses=OLD_ENTRY),
        ),
    ),
    attack(
        "an entry of a closed period beside one of the open",
        "ledger_period_closed",
        closing("now() - interval '1 day'"),
        beside_an_honest_one(*SYSTEM_PAIR, entry=second(effective_at="now() - interval '2 days'")),
    ),
    attack(
        "an entry recorded before the last seal beside one after",
        "ledger_entry_before_seal",
        "SELECT ledger_make_seal(now(), 100)",
        beside_an_honest_one(*SYSTEM_PAIR, entry=second(recorded_at="now() - interval '1 second'")),
    ),
    attack(
        "a posting to a closed account beside an honest entry",
        "ledger_account_closed",
        beside_an_honest_one(
            line(CLOSED, 1, "1", "1", "1"),
            line(CLOSED, 2, "-1", "0", "2"),
            entry=second(),
            move=moved(CLOSED, "0", 2),
        ),
    ),
    attack(
        "an account moved alone beside an honest step",
        "ledger_balance_chain",
        forged(*ONE_STEP, move=moved_all((UNBILLED, "6", 2), (GRANT, "11", 2))),
    ),
    attack(
        "a balance changed at its version beside an honest step",
        "ledger_balance_chain",
        forged(*ONE_STEP, move=moved_all((UNBILLED, "6", 2), (GRANT, "11", 1))),
    ),
    attack(
        "a version taken back beside an honest step",
        "ledger_balance_chain",
        forged(*ONE_STEP, move=moved_all((UNBILLED, "6", 2), (GRANT, "0", 0))),
    ),
    attack(
        "a false double step beside an honest step",
        "ledger_balance_chain",
        forged(
            *ONE_STEP,
            line(RECEIVABLE, 3, "1", "3", "1"),
            line(RECEIVABLE, 4, "1", "2", "2"),
            line(REVENUE, 5, "-2"),
            move=moved_all((UNBILLED, "6", 2), (RECEIVABLE, "2", 2)),
        ),
    ),
    attack(
        "a false step beside an honest double step",
        "ledger_balance_chain",
        forged(
            line(UNBILLED, 1, "1", "7", "2"),
            line(RECEIVABLE, 2, "1", "1", "1"),
            line(RECEIVABLE, 3, "1", "2", "2"),
            line(REVENUE, 4, "-3"),
            move=moved_all((UNBILLED, "7", 2), (RECEIVABLE, "2", 2)),
        ),
    ),
    attack("a double step without postings", "ledger_balance_chain", moved(UNBILLED, "7", 3)),
    attack(
        "half of a double step",
        "ledger_balance_chain",
        forged(line(RECEIVABLE, 1, "1", "2", "2"), line(REVENUE, 2, "-1"), move=moved_all((RECEIVABLE, "2", 2))),
    ),
    attack("a version below zero", "ledger_account_version", moved(UNBILLED, "5", -1)),
    attack(
        "a floor taken away by a merge",
        "ledger_account_fixed",
        f"MERGE INTO ledger_account AS account USING (VALUES ('{GRANT}')) AS mine (code) ON account.code = mine.code"
        " WHEN MATCHED THEN UPDATE SET floor = NULL",
    ),
    attack(
        "a floor taken away by opening the account again",
        "ledger_account_fixed",
        f"INSERT INTO ledger_account {OPENING} VALUES ('{GRANT}', 'grant', 'USD', 'C', true, 0, 0)"
        " ON CONFLICT (code) DO UPDATE SET floor = NULL",
    ),
    attack(
        "a floor taken away on the way of an honest posting",
        "ledger_account_fixed",
        forged(
            *ONE_STEP, move=f"UPDATE ledger_account SET balance = 6, version = 2, floor = -9 WHERE code = '{UNBILLED}'"
        ),
    ),
    attack(
        "a system account that begins to keep a balance",
        "ledger_account_fixed",
        f"UPDATE ledger_account SET keeps_balance = true WHERE code = '{REVENUE}'",
    ),
    attack("another kind", "ledger_account_fixed", f"UPDATE ledger_account SET kind = 'x' WHERE code = '{REVENUE}'"),
    attack(
        "a closed account closed at another time",
        "ledger_account_fixed",
        f"UPDATE ledger_account SET closed_at = now() WHERE code = '{CLOSED}'",
    ),
    attack(
        "postings merged into an old entry",
        "ledger_entry_sealed",
        f"MERGE INTO ledger_posting AS posting USING ledger_account AS account ON posting.line_no = 9 AND false"
        f" WHEN NOT MATCHED AND account.code = '{REVENUE}' THEN"
        f" INSERT (entry_id, line_no, account_id, amount) VALUES ({OLD_ENTRY}, 3, account.id, 1)",
    ),
    attack(
        "a posting merged away",
        "ledger_append_only",
        "MERGE INTO ledger_posting AS posting USING"
        " ledger_journalentry AS entry ON entry.id = posting.entry_id WHEN MATCHED THEN DELETE",
    ),
    attack(
        "line numbers from zero",
        "ledger_entry_sealed",
        forged(line(PROMOTIONS, 0, "1"), line(REVENUE, 1, "-2"), line(PROMOTIONS, 2, "1")),
    ),
    attack(
        "line numbers below zero",
        "ledger_entry_sealed",
        forged(line(PROMOTIONS, -1, "1"), line(REVENUE, 1, "-2"), line(PROMOTIONS, 2, "1")),
    ),
    attack(
        "postings before their entry",
        "ledger_entry_sealed",
        into("currval('ledger_journalentry_id_seq') + 1", *SYSTEM_PAIR),
    ),
)

APPLICATION_STATEMENT_ATTACKS = (
    "MERGE INTO ledger_account USING (SELECT) AS mine ON true WHEN MATCHED THEN UPDATE SET floor = NULL",
    "INSERT INTO ledger_account (code) VALUES ('x') ON CONFLICT (code) DO UPDATE SET floor = NULL",
    "DROP TRIGGER ledger_account_fixed ON ledger_account",
    "CREATE OR REPLACE FUNCTION ledger_post_entry(jsonb, timestamptz) RETURNS void LANGUAGE sql AS ''",
    "ALTER FUNCTION ledger_post_entry SECURITY INVOKER",
    "SELECT * FROM ledger_journalentry FOR KEY SHARE",
    "LOCK TABLE ledger_seal IN SHARE MODE",
)
