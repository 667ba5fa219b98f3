"""The decisions about accounting periods, what a closing would close, and how far the journal is sealed."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from ledger.models import PeriodClosing, Seal


@dataclass(frozen=True, slots=True)
class Closing:
    """One decision: from `decided_at` on nothing took effect before `closed_before`, until the next decision."""

    closed_before: datetime
    reopens: bool
    decided_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Enclosed:
    """What a closing would close: the entries that take effect in the span, and their debits by currency."""

    entry_count: int
    first_effective_at: datetime | None
    last_effective_at: datetime | None
    last_recorded_at: datetime | None
    debits: tuple[tuple[str, Decimal], ...]


@dataclass(frozen=True, slots=True)
class LastSeal:
    """The newest seal. `last_entry` is None if it found nothing to seal."""

    number: int
    sealed_at: datetime
    last_entry: int | None
    hash_hex: str


def closings(*, limit: int = 100) -> list[Closing]:
    """The decisions, the newest first."""
    rows = PeriodClosing.objects.order_by("-pk").values("closed_before", "reopens", "decided_at", "actor", "reason")
    return [Closing(**row) for row in rows[:limit]]


def last_closing() -> Closing | None:
    """The decision that stands; None if nothing was ever closed."""
    return next(iter(closings(limit=1)), None)


def enclosed(*, effective_from: datetime | None, effective_before: datetime) -> Enclosed:
    """What takes effect in the span. Reads its entries and their postings."""
    parameters = {"effective_from": effective_from, "effective_before": effective_before}
    with connection.cursor() as cursor:
        cursor.execute(_ENTRIES, parameters)
        count, first, last, last_recorded = cursor.fetchone()
        cursor.execute(_DEBITS, parameters)
        return Enclosed(count, first, last, last_recorded, debits=tuple(cursor.fetchall()))


def last_seal() -> LastSeal | None:
    """None if nothing was sealed yet."""
    row = Seal.objects.order_by("-number").values_list("number", "sealed_at", "last_entry", "hash").first()
    return None if row is None else LastSeal(row[0], row[1], row[2], bytes(row[3]).hex())


_WITHIN = """
    entry.effective_at >= coalesce(%(effective_from)s::timestamptz, '-infinity')
    AND entry.effective_at < %(effective_before)s
"""
_ENTRIES = f"""
    SELECT count(*), min(effective_at), max(effective_at), max(recorded_at)
    FROM ledger_journalentry AS entry WHERE {_WITHIN}
"""
_DEBITS = f"""
    SELECT account.currency, sum(posting.amount)
    FROM ledger_journalentry AS entry
    JOIN ledger_posting AS posting ON posting.entry_id = entry.id AND posting.amount > 0
    JOIN ledger_account AS account ON account.id = posting.account_id
    WHERE {_WITHIN}
    GROUP BY account.currency ORDER BY account.currency
"""
