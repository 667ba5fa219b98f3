"""What the ledger keeps: the journal, the decisions that closed its periods, and its seals."""

from ledger.models.journal import AMOUNT_DIGITS, AMOUNT_PLACES, Account, JournalEntry, Posting, Side
from ledger.models.periods import PeriodClosing
from ledger.models.seals import Seal

__all__ = ["AMOUNT_DIGITS", "AMOUNT_PLACES", "Account", "JournalEntry", "PeriodClosing", "Posting", "Seal", "Side"]
