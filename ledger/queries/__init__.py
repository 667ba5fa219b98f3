"""
Every question other code may ask of the ledger.

Balances are in the account's normal direction and major unit. Answers are values, never rows that could be saved.
"""

from ledger.queries.balances import (
    AccountBalance,
    TrialBalanceRow,
    balance_at,
    balance_of,
    balance_of_account,
    balances_of_customer,
    postings_sum,
    trial_balance,
)
from ledger.queries.entries import (
    Entry,
    EntryLine,
    count_entries,
    entry,
    entry_by_key,
    find_entry,
    lines_of,
    reversal_of,
)
from ledger.queries.proofs import (
    accounts_out_of_step,
    out_of_balance,
)
from ledger.queries.statements import (
    StatementLine,
    statement,
    statement_of,
)

__all__ = [
    "AccountBalance",
    "Entry",
    "EntryLine",
    "StatementLine",
    "TrialBalanceRow",
    "accounts_out_of_step",
    "balance_at",
    "balance_of",
    "balance_of_account",
    "balances_of_customer",
    "count_entries",
    "entry",
    "entry_by_key",
    "find_entry",
    "lines_of",
    "out_of_balance",
    "postings_sum",
    "reversal_of",
    "statement",
    "statement_of",
    "trial_balance",
]
