"""Entries with their lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Subquery

from ledger.errors import UnknownEntry
from ledger.models import JournalEntry, Posting, Seal


@dataclass(frozen=True, slots=True)
class EntryLine:
    line_no: int
    account_id: int
    account: str
    currency: str
    amount: Decimal

    @property
    def debit(self) -> Decimal | None:
        return self.amount if self.amount > 0 else None

    @property
    def credit(self) -> Decimal | None:
        return self.amount.copy_negate() if self.amount < 0 else None


@dataclass(frozen=True, slots=True)
class SealedBy:
    """The seal that holds an entry: from then on a change of it is found."""

    number: int
    sealed_at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    id: int
    idempotency_key: str
    kind: str
    memo: str
    effective_at: datetime
    recorded_at: datetime
    actor: str
    cause: Mapping[str, str]
    reverses: int | None
    reversed_by: int | None
    lines: tuple[EntryLine, ...]


@dataclass(frozen=True, slots=True)
class EntryText:
    """An entry by its key, and its lines as (account, amount): above zero a debit."""

    id: int
    idempotency_key: str
    lines: tuple[tuple[str, Decimal], ...]


@dataclass(frozen=True, slots=True)
class EntryHead:
    """An entry without its lines."""

    id: int
    kind: str
    memo: str
    effective_at: datetime
    recorded_at: datetime
    cause: Mapping[str, str]


def entry(entry_id: int) -> Entry:
    """
    One entry with its lines, in their order.

    :raises UnknownEntry: if there is none with this id.
    """
    found = find_entry(entry_id)
    if found is None:
        raise UnknownEntry(str(entry_id))
    return found


def find_entry(entry_id: int) -> Entry | None:
    """As `entry`, but None if there is none with this id."""
    found = JournalEntry.objects.filter(pk=entry_id).first()
    if found is None:
        return None
    return Entry(
        id=found.pk,
        idempotency_key=found.idempotency_key,
        kind=found.kind,
        memo=found.memo,
        effective_at=found.effective_at,
        recorded_at=found.recorded_at,
        actor=found.actor,
        cause=found.cause,
        reverses=found.reverses_id,
        reversed_by=reversal_of(entry_id),
        lines=lines_of(entry_id),
    )


def lines_of(entry_id: int) -> tuple[EntryLine, ...]:
    """The lines of an entry, in their order; none if there is no such entry."""
    return tuple(
        EntryLine(
            line_no=posting.line_no,
            account_id=posting.account_id,
            account=posting.account.code,
            currency=posting.account.currency,
            amount=posting.amount,
        )
        for posting in Posting.objects.filter(entry_id=entry_id).select_related("account").order_by("line_no")
    )


def reversal_of(entry_id: int) -> int | None:
    """The entry that reversed this one, if one did."""
    return JournalEntry.objects.filter(idempotency_key=f"reversal:{entry_id}").values_list("pk", flat=True).first()


def seal_of(entry_id: int) -> SealedBy | None:
    """The seal that holds the entry; None if it waits for the next one, or there is no such entry."""
    xid = JournalEntry.objects.filter(pk=entry_id).values("recorded_xid")
    # By the last seal that begins before it: of a handful, not of all.
    last = Seal.objects.filter(from_xid__lte=Subquery(xid)).order_by("-number").values("number")[:1]
    found = Seal.objects.filter(number=Subquery(last), before_xid__gt=Subquery(xid)).values("number", "sealed_at")
    return next((SealedBy(**row) for row in found), None)


def entries_learned(
    *, after: datetime, until: datetime | None, effective_before: datetime | None, limit: int
) -> list[EntryHead]:
    """
    What was written down in (after, until] of what takes effect before an instant: why two answers about the same time
    differ. The newest `limit` of them. Left out, an instant is no limit.

    Reads the whole journal's entries where there are few such.
    """
    found = JournalEntry.objects.filter(recorded_at__gt=after)
    if until is not None:
        found = found.filter(recorded_at__lte=until)
    if effective_before is not None:
        found = found.filter(effective_at__lt=effective_before)
    rows = found.order_by("-id").values("id", "kind", "memo", "effective_at", "recorded_at", "cause")
    return [EntryHead(**row) for row in rows[:limit]]


def entry_by_key(idempotency_key: str) -> Entry | None:
    """The entry that a key recorded, if it did."""
    entry_id = JournalEntry.objects.filter(idempotency_key=idempotency_key).values_list("pk", flat=True).first()
    return None if entry_id is None else find_entry(entry_id)


def count_entries() -> int:
    return JournalEntry.objects.count()


def texts_of_entries(entry_ids: Sequence[int]) -> dict[int, EntryText]:
    """These entries by their ids, each with its lines in their order; two queries for all."""
    lines: dict[int, list[tuple[str, Decimal]]] = {}
    rows = Posting.objects.filter(entry_id__in=list(entry_ids)).order_by("entry_id", "line_no")
    for entry_id, account, amount in rows.values_list("entry_id", "account__code", "amount"):
        lines.setdefault(entry_id, []).append((account, amount))
    keyed = JournalEntry.objects.filter(pk__in=list(entry_ids)).values_list("pk", "idempotency_key")
    return {entry_id: EntryText(entry_id, key, tuple(lines.get(entry_id, ()))) for entry_id, key in keyed}
