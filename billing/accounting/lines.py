"""What the entries of Stripe's facts share: who says them, what its objects are called, and lines of either sign."""

from decimal import Decimal

from ledger.operations import Line

ACTOR = "service:stripe"
# How Stripe's ids begin: what each is called in the cause of an entry.
_NOUNS = {
    "txn": "balance_transaction",
    "ch": "charge",
    "py": "charge",
    "re": "refund",
    "pyr": "refund",
    "du": "dispute",
    "dp": "dispute",
    "po": "payout",
}


def noun_of(stripe_id: str) -> str | None:
    """What the object is called in a cause, known by how its id begins; None for another id, or a word."""
    prefix, mark, _ = stripe_id.partition("_")
    return _NOUNS.get(prefix) if mark else None


def signed_lines(*movements: tuple[str, Decimal]) -> tuple[Line, ...]:
    """One line for each account that moves: above zero a debit, below zero a credit; two of one account are added."""
    sums: dict[str, Decimal] = {}
    for code, amount in movements:
        sums[code] = sums.get(code, Decimal(0)) + amount
    return tuple(Line(code, amount) for code, amount in sums.items() if amount)
