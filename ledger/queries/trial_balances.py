"""The trial balance as a page of it: system accounts one by one, customers' accounts added up by kind."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from ledger.exact import less


@dataclass(frozen=True, slots=True)
class TrialLine:
    """
    What was debited and credited, zero or more each, to one system account or to all customers' accounts of a kind.

    `account_id` and `code` are those of the system account; None and "" where the line is of customers.
    """

    currency: str
    kind: str
    account_id: int | None
    code: str
    account_count: int
    debit: Decimal
    credit: Decimal

    @property
    def balance(self) -> Decimal:
        """Debits above zero."""
        return less(self.debit, self.credit)

    @property
    def debit_balance(self) -> Decimal:
        return max(self.balance, Decimal(0))

    @property
    def credit_balance(self) -> Decimal:
        return max(self.balance.copy_negate(), Decimal(0))


def trial_lines(*, effective_before: datetime | None = None, known_at: datetime | None = None) -> list[TrialLine]:
    """
    What we believed at `known_at` (included) of everything that takes effect before an instant (not included); left
    out, they are no limit. By currency, system accounts by code before customers' by kind. Accounts without a posting
    have no line.

    Reads the whole journal, once.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TRIAL_LINES, {"effective_before": effective_before, "known_at": known_at})
        return [TrialLine(*row) for row in cursor.fetchall()]


_TRIAL_LINES = """
    SELECT account.currency, account.kind, min(account.id) FILTER (WHERE account.customer_key IS NULL),
           CASE WHEN account.customer_key IS NULL THEN account.code ELSE '' END AS named,
           count(*), sum(sums.debit), sum(sums.credit)
    FROM (
        SELECT posting.account_id, coalesce(sum(posting.amount) FILTER (WHERE posting.amount > 0), 0) AS debit,
               coalesce(-sum(posting.amount) FILTER (WHERE posting.amount < 0), 0) AS credit
        FROM ledger_posting AS posting
        WHERE (%(effective_before)s::timestamptz IS NULL AND %(known_at)s::timestamptz IS NULL)
           OR posting.entry_id IN (
                SELECT id FROM ledger_journalentry
                WHERE effective_at < coalesce(%(effective_before)s::timestamptz, 'infinity')
                  AND recorded_at <= coalesce(%(known_at)s::timestamptz, 'infinity'))
        GROUP BY posting.account_id
    ) AS sums
    JOIN ledger_account AS account ON account.id = sums.account_id
    GROUP BY account.currency, account.kind, named, account.customer_key IS NULL
    ORDER BY account.currency, account.customer_key IS NULL DESC, named, account.kind
"""
