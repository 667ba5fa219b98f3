"""What people decided to enter by hand against what the ledger holds: the ledger knows no people."""

from decimal import Decimal

from billing.reconciliation.comparison import Agreed, Findings, Pair, Scope
from billing.reconciliation.queries import rows, scalar

# Per request that was posted: its amount and accounts beside those of the journal entry its decision names.
_DECIDED = """
SELECT asked.id, coalesce(c.customer_key, ''), d.journal_entry_id, asked.amount,
       CASE asked.kind WHEN 'reversal' THEN 'reverses ' || asked.reverses_entry_id
                       ELSE asked.debit_account || ' / ' || asked.credit_account END,
       entry.amount,
       CASE WHEN entry.reverses_id IS NOT NULL THEN 'reverses ' || entry.reverses_id ELSE entry.accounts END
  FROM billing_manualentrydecision d
  JOIN billing_manualentry asked ON asked.id = d.manual_entry_id
  LEFT JOIN billing_customer c ON c.id = asked.customer_id
  LEFT JOIN LATERAL (
        SELECT je.reverses_id, sum(po.amount) FILTER (WHERE po.amount > 0) AS amount,
               string_agg(ac.code, ' / ' ORDER BY po.amount DESC) AS accounts
          FROM ledger_journalentry je
          JOIN ledger_posting po ON po.entry_id = je.id
          JOIN ledger_account ac ON ac.id = po.account_id
         WHERE je.id = d.journal_entry_id
         GROUP BY je.id) entry ON true
 WHERE d.journal_entry_id IS NOT NULL
 ORDER BY asked.id
"""

_DECIDED_BY_NOBODY = """
SELECT je.id, je.idempotency_key, je.actor
  FROM ledger_journalentry je
 WHERE (je.kind = 'manual_adjustment' OR je.cause ? 'manual_entry')
   AND NOT EXISTS (SELECT FROM billing_manualentrydecision d WHERE d.journal_entry_id = je.id)
 ORDER BY 1
"""

# What one person moved alone for one customer, or for the house, on one day, beside the highest limit it was held to.
_ALONE = """
SELECT asked.requested_by, coalesce(c.customer_key, ''), asked.currency,
       date_trunc('day', asked.requested_at, 'UTC')::date::text, sum(asked.amount), max(asked.limit_amount)
  FROM billing_manualentrydecision d
  JOIN billing_manualentry asked ON asked.id = d.manual_entry_id
  LEFT JOIN billing_customer c ON c.id = asked.customer_id
 WHERE d.outcome = 'within_limit'
 GROUP BY asked.requested_by, c.customer_key, asked.currency, date_trunc('day', asked.requested_at, 'UTC')
 ORDER BY 1, 2, 3, 4
"""


def manual_entries(scope: Scope) -> Findings:
    """
    Every manual entry in the journal was decided by somebody, and moves what was asked; nobody moved more alone in a
    day than the limit.
    """
    for request_id, customer_key, entry_id, amount, accounts, posted, posted_accounts in rows(_DECIDED):
        for what, asked_figure, ledger_figure in (
            ("amount", amount, posted),
            ("accounts", accounts, posted_accounts),
        ):
            yield Pair(
                f"manual entry {request_id}: {what}", "asked for", asked_figure,
                f"journal entry {entry_id}", ledger_figure,
                "The journal holds something else than what was asked for and decided.", customer_key,
            )  # fmt: skip
    for entry_id, key, actor in rows(_DECIDED_BY_NOBODY):
        yield Pair(
            f"journal entry {entry_id} ({key})", "decision", None, "journal entry", f"{entry_id} by {actor}",
            "Somebody entered this by hand past the form: nobody asked for it, and no second person saw it.",
        )  # fmt: skip
    for person, customer_key, currency, day, moved, limit in rows(_ALONE):
        beyond = max(moved - limit, Decimal(0))
        yield Pair(
            f"{person} alone on {day}, {currency}", "beyond the limit", beyond, "allowed", Decimal(0),
            f"One person moved {moved:f} where the limit was {limit:f}.", customer_key,
        )  # fmt: skip
    yield Agreed(1 + scalar("SELECT count(*) FROM billing_manualentry WHERE needs_second_person"))
