"""What the ledger keeps: the journal, the decisions that closed its periods, its seals and snapshots."""

from ledger.models.journal import AMOUNT_DIGITS, AMOUNT_PLACES, Account, JournalEntry, Posting, Side
from ledger.models.periods import PeriodClosing
from ledger.models.seals import Seal
from ledger.models.snapshots import BalanceSnapshot, SnapshotMark

__all__ = [
    "AMOUNT_DIGITS",
    "AMOUNT_PLACES",
    "Account",
    "BalanceSnapshot",
    "JournalEntry",
    "PeriodClosing",
    "Posting",
    "Seal",
    "Side",
    "SnapshotMark",
]
