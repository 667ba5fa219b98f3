"""Whether the ledger is sound, from the raw rows, trusting no trigger."""

from django.db import connection


def out_of_balance() -> list[int]:
    """
    Entries that break the journal's arithmetic: fewer than two postings, a currency that does not sum to zero, a break
    in an account's chain of balances, or a last posting that is not where its account stands. Empty in a sound ledger.

    It trusts no trigger and reads the whole journal.
    """
    with connection.cursor() as cursor:
        cursor.execute(_OUT_OF_BALANCE)
        return [row[0] for row in cursor.fetchall()]


def accounts_out_of_step() -> list[str]:
    """Accounts whose balance or version is not the sum or the number of their postings. Empty in a sound ledger."""
    with connection.cursor() as cursor:
        cursor.execute(_ACCOUNTS_OUT_OF_STEP)
        return [row[0] for row in cursor.fetchall()]


_OUT_OF_BALANCE = """
    WITH chain AS (
        SELECT posting.entry_id, account.currency, posting.amount, account.keeps_balance, account.balance,
               account.version, posting.account_version, posting.balance_after,
               CASE account.normal_side WHEN 'D' THEN posting.amount ELSE -posting.amount END AS change,
               lag(posting.account_version, 1, 0::bigint) OVER by_version AS version_before,
               lag(posting.balance_after, 1, 0::numeric) OVER by_version AS balance_before,
               lead(posting.entry_id) OVER by_version IS NULL AS is_last
        FROM ledger_posting AS posting LEFT JOIN ledger_account AS account ON account.id = posting.account_id
        WINDOW by_version AS (PARTITION BY posting.account_id ORDER BY posting.account_version)
    )
    SELECT entry_id FROM chain WHERE currency IS NULL OR CASE WHEN keeps_balance
        THEN account_version IS DISTINCT FROM version_before + 1
          OR balance_after IS DISTINCT FROM balance_before + change
          OR (is_last AND (account_version, balance_after) IS DISTINCT FROM (version, balance))
        ELSE account_version IS NOT NULL END
    UNION
    SELECT entry_id FROM chain GROUP BY entry_id, currency HAVING sum(amount) <> 0
    UNION
    SELECT entry.id FROM ledger_journalentry AS entry
    LEFT JOIN ledger_posting AS posting ON posting.entry_id = entry.id
    GROUP BY entry.id HAVING count(posting.line_no) < 2
    ORDER BY 1
"""

_ACCOUNTS_OUT_OF_STEP = """
    SELECT account.code
    FROM ledger_account AS account
    LEFT JOIN (
        SELECT account_id, count(*) AS version, sum(amount) AS net FROM ledger_posting
        WHERE account_version IS NOT NULL GROUP BY account_id
    ) AS posted ON posted.account_id = account.id
    WHERE account.version <> coalesce(posted.version, 0)
       OR account.balance <> coalesce(CASE account.normal_side WHEN 'D' THEN posted.net ELSE -posted.net END, 0)
    ORDER BY account.code
"""
