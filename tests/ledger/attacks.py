"""
Raw SQL that tries to make the journal lie, as the owner of its tables, and the rule that must refuse each.

`forged` writes a whole entry in one statement, as the posting function does; an attack differs from
an honest statement by one thing.
"""

from dataclasses import dataclass

ENTRY = """
    INSERT INTO ledger_journalentry (idempotency_key, kind, memo, effective_at, recorded_at, actor, cause, body_digest,
                                     reverses_id, recorded_xid)
    VALUES ({key}, {kind}, '', now(), now(), 'owner', '{{}}',
            decode(repeat('00', {digest_length}), 'hex'), {reverses}, {xid})
    RETURNING id
"""
OLD_ENTRY = "(SELECT id FROM ledger_journalentry WHERE idempotency_key = 'usage')"
THIS_TRANSACTION = "pg_current_xact_id()::text::bigint"


def forged(
    *postings: tuple[str, int, str, str, str],
    move: str = "",
    key: str = "'forged'",
    kind: str = "'x'",
    reverses: str = "NULL",
    xid: str = THIS_TRANSACTION,
    digest_length: int = 32,
) -> str:
    """One statement that writes an entry, its postings and, where `move` says so, its accounts."""
    entry = ENTRY.format(key=key, kind=kind, reverses=reverses, xid=xid, digest_length=digest_length)
    if not postings:
        return entry
    return f"""
        WITH entry AS ({entry}), move AS ({move or "SELECT"})
        INSERT INTO ledger_posting (entry_id, line_no, account_id, amount, balance_after, account_version)
        SELECT entry.id, line.line_no, {_account("line.code")}, line.amount, line.balance_after, line.version
        FROM entry, {_lines(postings)}
    """


def into(entry: str, *postings: tuple[str, int, str, str, str]) -> str:
    return f"""
        INSERT INTO ledger_posting (entry_id, line_no, account_id, amount, balance_after, account_version)
        SELECT {entry}, line.line_no, {_account("line.code")}, line.amount, line.balance_after, line.version
        FROM {_lines(postings)}
    """


def moved(code: str, balance: str, version: int) -> str:
    return f"UPDATE ledger_account SET balance = {balance}, version = {version} WHERE code = '{code}'"


def line(
    code: str, line_no: int, amount: str, balance_after: str = "NULL", version: str = "NULL"
) -> tuple[str, int, str, str, str]:
    return (code, line_no, amount, balance_after, version)


def _account(code: str) -> str:
    return f"coalesce((SELECT id FROM ledger_account WHERE code = {code}), 9999999)"


def _lines(postings: tuple[tuple[str, int, str, str, str], ...]) -> str:
    rows = ", ".join(
        f"('{code}', {line_no}, {amount}::numeric, {after}::numeric, {version}::bigint)"
        for code, line_no, amount, after, version in postings
    )
    return f"(VALUES {rows}) AS line (code, line_no, amount, balance_after, version)"


@dataclass(frozen=True)
class Attack:
    name: str
    statements: tuple[str, ...]
    rule: str


def attack(name: str, rule: str, *statements: str) -> Attack:
    return Attack(name, statements, rule)


REVENUE, PROMOTIONS, FX_EUR = "revenue:usage:USD", "contra:promotions:USD", "fx:EUR"
# Where the world of the attacks stands: unbilled 5 (version 1), grant 10 (version 1), one closed account.
UNBILLED, GRANT, CLOSED = "unbilled:acme:USD", "grant:1", "unbilled:zeta:USD"
SYSTEM_PAIR = (line(PROMOTIONS, 1, "1"), line(REVENUE, 2, "-1"))

OWNER_ATTACKS = (
    attack("change a posting", "ledger_append_only", "UPDATE ledger_posting SET amount = amount * 2"),
    attack("change no posting at all", "ledger_append_only", "UPDATE ledger_posting SET amount = 1 WHERE false"),
    attack("delete a posting", "ledger_append_only", "DELETE FROM ledger_posting"),
    attack("truncate postings", "ledger_append_only", "TRUNCATE ledger_posting"),
    attack("truncate everything", "ledger_append_only", "TRUNCATE ledger_account, ledger_journalentry, ledger_posting"),
    attack(
        "replace a posting",
        "ledger_append_only",
        f"INSERT INTO ledger_posting SELECT * FROM ledger_posting WHERE entry_id = {OLD_ENTRY}"
        " ON CONFLICT (entry_id, line_no) DO UPDATE SET amount = 7",
    ),
    attack("reword an entry", "ledger_append_only", "UPDATE ledger_journalentry SET memo = 'never happened'"),
    attack("redate an entry", "ledger_append_only", "UPDATE ledger_journalentry SET effective_at = now()"),
    attack("delete an entry", "ledger_append_only", f"DELETE FROM ledger_journalentry WHERE id = {OLD_ENTRY}"),
    attack("truncate entries", "ledger_append_only", "TRUNCATE ledger_journalentry"),
    attack("delete an account", "ledger_append_only", f"DELETE FROM ledger_account WHERE code = '{CLOSED}'"),
    attack("truncate accounts", "ledger_append_only", "TRUNCATE ledger_account"),
    attack("an entry without postings", "ledger_entry_empty", forged()),
    attack("an entry whose postings come later", "ledger_entry_empty", forged(), into(OLD_ENTRY, *SYSTEM_PAIR)),
    attack("an entry with one posting", "ledger_entry_empty", forged(line(REVENUE, 1, "1"))),
    attack("an unbalanced entry", "ledger_entry_balanced", forged(line(PROMOTIONS, 1, "1"), line(REVENUE, 2, "-2"))),
    attack(
        "an entry unbalanced in the twelfth place",
        "ledger_entry_balanced",
        forged(line(PROMOTIONS, 1, "1"), line(REVENUE, 2, "-1.000000000001")),
    ),
    attack(
        "two currencies that cancel out",
        "ledger_entry_currency",
        forged(line(FX_EUR, 1, "1"), line(REVENUE, 2, "-1")),
    ),
    attack(
        "two balanced currencies in one entry",
        "ledger_entry_currency",
        forged(*SYSTEM_PAIR, line(FX_EUR, 3, "1"), line(FX_EUR, 4, "-1")),
    ),
    attack(
        "an exchange that gains",
        "ledger_entry_balanced",
        forged(line(FX_EUR, 1, "1"), line(REVENUE, 2, "-1"), kind="'fx'"),
    ),
    attack(
        "an account that does not exist",
        "ledger_account_unknown",
        forged(line("nowhere", 1, "1"), line(REVENUE, 2, "-1")),
    ),
    attack(
        "a posting to a closed account",
        "ledger_account_closed",
        forged(line(CLOSED, 1, "1", "1", "1"), line(CLOSED, 2, "-1", "0", "2"), move=moved(CLOSED, "0", 2)),
    ),
    attack(
        "postings into an old entry",
        "ledger_entry_sealed",
        into(OLD_ENTRY, line(PROMOTIONS, 3, "1"), line(REVENUE, 4, "-1")),
    ),
    attack(
        "postings into an entry of this transaction",
        "ledger_entry_sealed",
        forged(*SYSTEM_PAIR),
        into(
            "(SELECT id FROM ledger_journalentry WHERE idempotency_key = 'forged')",
            line(PROMOTIONS, 3, "1"),
            line(REVENUE, 4, "-1"),
        ),
    ),
    attack("postings into no entry", "ledger_entry_sealed", into("9999999", *SYSTEM_PAIR)),
    attack(
        "line numbers with a gap",
        "ledger_entry_sealed",
        forged(line(PROMOTIONS, 1, "1"), line(REVENUE, 2, "-2"), line(PROMOTIONS, 4, "1")),
    ),
    attack("another transaction's name", "ledger_entry_recorded_xid", forged(*SYSTEM_PAIR, xid="1")),
    attack("a key a second time", "ledger_entry_key", forged(*SYSTEM_PAIR, key="'usage'")),
    attack("no key", "ledger_entry_named", forged(*SYSTEM_PAIR, key="''")),
    attack("a digest cut short", "ledger_entry_digest", forged(*SYSTEM_PAIR, digest_length=16)),
    attack("an amount of zero", "ledger_posting_amount", forged(line(PROMOTIONS, 1, "0"), line(REVENUE, 2, "0"))),
    attack(
        "an amount that is not a number",
        "ledger_posting_amount",
        forged(line(PROMOTIONS, 1, "'NaN'"), line(REVENUE, 2, "'NaN'")),
    ),
    attack(
        "a reversal that mirrors nothing",
        "ledger_reversal_mirrors",
        forged(*SYSTEM_PAIR, key=f"'reversal:' || {OLD_ENTRY}", reverses=OLD_ENTRY),
    ),
    attack(
        "a reversal of no entry",
        "ledger_reversal_mirrors",
        forged(*SYSTEM_PAIR, key="'reversal:9999999'", reverses="9999999"),
    ),
    attack("a reversal under another key", "ledger_entry_reversal_key", forged(*SYSTEM_PAIR, reverses=OLD_ENTRY)),
    attack("the key of a reversal", "ledger_entry_reversal_key", forged(*SYSTEM_PAIR, key="'reversal:1'")),
    attack("a balance moved alone", "ledger_balance_chain", moved(UNBILLED, "6", 1)),
    attack("a balance and version moved alone", "ledger_balance_chain", moved(UNBILLED, "6", 2)),
    attack("an account taken back to its opening", "ledger_balance_chain", moved(UNBILLED, "0", 0)),
    attack("a grant driven below zero", "ledger_account_floor", moved(GRANT, "-1", 2)),
    attack(
        "a grant driven below zero with all its papers",
        "ledger_account_floor",
        forged(line(GRANT, 1, "11", "-1", "2"), line(REVENUE, 2, "-11"), move=moved(GRANT, "-1", 2)),
    ),
    attack(
        "a posting that leaves the account as it was",
        "ledger_balance_chain",
        forged(line(UNBILLED, 1, "1", "6", "2"), line(REVENUE, 2, "-1")),
    ),
    attack(
        "a posting without a balance", "ledger_balance_chain", forged(line(UNBILLED, 1, "1"), line(REVENUE, 2, "-1"))
    ),
    attack(
        "a posting that moves the balance too far",
        "ledger_balance_chain",
        forged(line(UNBILLED, 1, "1", "8", "2"), line(REVENUE, 2, "-1"), move=moved(UNBILLED, "8", 2)),
    ),
    attack(
        "a posting that leaves a gap in the chain",
        "ledger_balance_chain",
        forged(line(UNBILLED, 1, "1", "6", "3"), line(REVENUE, 2, "-1"), move=moved(UNBILLED, "6", 3)),
    ),
    attack(
        "an account moved past its last posting",
        "ledger_balance_chain",
        forged(line(UNBILLED, 1, "1", "6", "2"), line(REVENUE, 2, "-1"), move=moved(UNBILLED, "6", 3)),
    ),
    attack(
        "an account left behind its last posting",
        "ledger_balance_chain",
        forged(
            line(UNBILLED, 1, "1", "6", "2"),
            line(UNBILLED, 2, "1", "7", "3"),
            line(REVENUE, 3, "-2"),
            move=moved(UNBILLED, "6", 2),
        ),
    ),
    attack(
        "a false step on the way to the right balance",
        "ledger_balance_chain",
        forged(
            line(UNBILLED, 1, "1", "9", "2"),
            line(UNBILLED, 2, "1", "7", "3"),
            line(REVENUE, 3, "-2"),
            move=moved(UNBILLED, "7", 3),
        ),
    ),
    attack(
        "a version used before",
        "ledger_posting_version",
        forged(line(UNBILLED, 1, "1", "6", "1"), line(REVENUE, 2, "-1")),
    ),
    attack(
        "a chain for a system account",
        "ledger_balance_chain",
        forged(line(PROMOTIONS, 1, "1", "1", "1"), line(REVENUE, 2, "-1")),
    ),
    attack("a balance for a system account", "ledger_account_keeps_no_balance", moved(REVENUE, "1", 1)),
    attack("no floor", "ledger_account_fixed", f"UPDATE ledger_account SET floor = NULL WHERE code = '{GRANT}'"),
    attack("another name", "ledger_account_fixed", f"UPDATE ledger_account SET code = 'mine' WHERE code = '{GRANT}'"),
    attack("another owner", "ledger_account_fixed", "UPDATE ledger_account SET customer_key = 'zeta'"),
    attack("another currency", "ledger_account_fixed", "UPDATE ledger_account SET currency = 'EUR'"),
    attack(
        "the other side",
        "ledger_account_fixed",
        f"UPDATE ledger_account SET normal_side = 'C' WHERE code = '{UNBILLED}'",
    ),
    attack("another id", "ledger_account_fixed", f"UPDATE ledger_account SET id = -id WHERE code = '{GRANT}'"),
    attack("a closed account opened again", "ledger_account_fixed", "UPDATE ledger_account SET closed_at = NULL"),
    attack(
        "an account closed with value in it",
        "ledger_account_closed_empty",
        f"UPDATE ledger_account SET closed_at = now() WHERE code = '{GRANT}'",
    ),
    attack(
        "an account opened with value in it",
        "ledger_account_fixed",
        "INSERT INTO ledger_account (code, kind, currency, normal_side, keeps_balance, balance, version)"
        " VALUES ('mine', 'grant', 'USD', 'C', true, 1000, 1)",
    ),
    attack(
        "an account opened twice",
        "ledger_account_code",
        "INSERT INTO ledger_account (code, kind, currency, normal_side, keeps_balance, balance, version)"
        f" VALUES ('{GRANT}', 'grant', 'USD', 'C', true, 0, 0)",
    ),
)

# The application's role is refused each of these for want of a right, before any rule is asked.
APPLICATION_ATTACKS = (
    "UPDATE ledger_posting SET amount = amount * 2",
    "DELETE FROM ledger_posting",
    "TRUNCATE ledger_posting",
    into(OLD_ENTRY, line(PROMOTIONS, 3, "1"), line(REVENUE, 4, "-1")),
    "COPY ledger_posting FROM STDIN",
    "UPDATE ledger_journalentry SET effective_at = now()",
    "DELETE FROM ledger_journalentry",
    "TRUNCATE ledger_journalentry",
    forged(),
    forged(*SYSTEM_PAIR),
    forged(line(PROMOTIONS, 1, "1"), line(REVENUE, 2, "-2")),
    moved(GRANT, "-1", 2),
    "UPDATE ledger_account SET floor = NULL",
    "DELETE FROM ledger_account",
    "TRUNCATE ledger_account",
    "INSERT INTO ledger_account SELECT * FROM ledger_account",
    "SELECT * FROM ledger_account FOR UPDATE",
    "LOCK TABLE ledger_account IN ACCESS EXCLUSIVE MODE",
    "SELECT setval('ledger_journalentry_id_seq', 1)",
    "ALTER TABLE ledger_posting DISABLE TRIGGER ALL",
    "DROP TRIGGER ledger_append_only ON ledger_posting",
    "ALTER TABLE ledger_account DROP CONSTRAINT ledger_account_floor",
    "DROP TABLE ledger_posting",
    "CREATE OR REPLACE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "CREATE RULE mine AS ON INSERT TO ledger_posting DO INSTEAD NOTHING",
    "CREATE TABLE public.mine ()",
    "SET session_replication_role = replica",
    "SET ROLE billing_owner",
    "ALTER TABLE ledger_posting OWNER TO billing_app",
    "SELECT ledger_lock_accounts('{}')",
    "SELECT ledger_judge_each('{}', '{}', '{}', now())",
    "SELECT ledger_write_all('[]', now(), now())",
)
