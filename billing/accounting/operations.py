"""
Manual entries: adjusting the books by hand, and reversing an entry, with a reason and, above a limit, a second person.

Small ones are posted at once; the others wait until somebody else approves, and are posted in that transaction. Each
operation takes its turn (`billing_lock_manual_entries`), so that limits and balances are looked at one by one, and
then the customer's lock. What was asked is what is posted; a posted adjustment is undone by asking for its reversal.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from django.db import connection, transaction

from billing.accounting import manual_entry_rules as rules
from billing.accounting.adjustments import REQUEST_ADJUSTMENT, REQUEST_CUSTOMER_ADJUSTMENT, causes_in
from billing.accounting.chart import Entry
from billing.accounting.limits import limit_of, moved_alone
from billing.accounting.manual_entries import by_id, by_key, decision_of
from billing.accounting.manual_entry_rules import (
    AlreadyDecided,
    InvalidManualEntry,
    ManualEntryConflict,
    ManualEntryError,
    ManualEntryNotFound,
    NotPermitted,
)
from billing.accounting.models import ManualEntry, ManualEntryDecision
from billing.accounting.people import may
from billing.customers.operations import lock_customer
from ledger.operations import (
    JournalEntryDraft,
    LedgerError,
    credit,
    debit,
    post_journal_entry,
    reverse_journal_entry,
)

__all__ = [
    "APPROVE",
    "REQUEST_ADJUSTMENT",
    "REQUEST_CUSTOMER_ADJUSTMENT",
    "REQUEST_REVERSAL",
    "AlreadyDecided",
    "InvalidManualEntry",
    "ManualEntryConflict",
    "ManualEntryError",
    "ManualEntryNotFound",
    "NewAdjustment",
    "NotPermitted",
    "approve",
    "permission_to_ask",
    "preview_adjustment",
    "reject",
    "request_adjustment",
    "request_reversal",
    "withdraw",
]

REQUEST_REVERSAL = "billing.request_reversal"
APPROVE = "billing.approve_manualentry"
Outcome = ManualEntryDecision.Outcome
_MEMO_LENGTH = 500
# What makes two requests the same: everything a person asked for.
_TERMS = (
    "kind",
    "reason_code",
    "reason",
    "reference",
    "customer_id",
    "currency",
    "amount",
    "reverses_entry_id",
    "effective_at",
    "requested_by",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdjustment:
    """
    An adjustment to ask for. `reason_code` is one of adjustments.py and fixes the accounts and the direction.

    `amount` is above zero, in currency units; `customer_key` is "" where the reason concerns no customer.
    """

    reason_code: str
    customer_key: str
    currency: str
    amount: Decimal
    effective_at: datetime
    reason: str
    reference: str


def request_adjustment(new: NewAdjustment, *, idempotency_key: str, actor: str, now: datetime) -> ManualEntry:
    """
    Ask for an adjustment of the books, and post it at once if the actor may move so much alone.

    Said twice with one key it returns the first. Raises InvalidManualEntry, NotPermitted, and ManualEntryConflict when
    the key belongs to another request.
    """
    with transaction.atomic():
        _take_turn()
        asked = _adjustment(new, actor=actor, now=now)
        asked.idempotency_key = idempotency_key
        return _the_first(asked) or _enter(asked, now=now)


def preview_adjustment(new: NewAdjustment, *, actor: str, now: datetime) -> ManualEntry:
    """What request_adjustment would write down now, not saved, to be seen before it is confirmed. Raises the same."""
    asked = _adjustment(new, actor=actor, now=now)
    _weigh(asked, now=now)
    return asked


def request_reversal(
    *,
    entry_id: int,
    effective_at: datetime,
    reason: str,
    reference: str,
    idempotency_key: str,
    actor: str,
    now: datetime,
) -> ManualEntry:
    """
    Reverse a journal entry by hand; post it at once if the actor may move so much alone.

    Only kinds that no operation of their own undoes (reversals.py), once, and never a reversal. Said twice with one key
    it returns the first. Raises InvalidManualEntry, NotPermitted and ManualEntryConflict.
    """
    with transaction.atomic():
        _take_turn()
        rules.require_may(actor, REQUEST_REVERSAL, what="ask for a reversal")
        rules.require_words(reason=reason, reference=reference)
        known = by_key(idempotency_key)
        if known is not None:  # its entry may be reversed by now: that is what was asked for
            terms = {"reason": reason.strip(), "reference": reference.strip(), "effective_at": effective_at}
            return _require_same(known, reverses_entry_id=entry_id, requested_by=actor, **terms)
        entry = rules.require_reversible(entry_id, effective_at=effective_at)
        asked = ManualEntry(
            kind=ManualEntry.Kind.REVERSAL,
            reason=reason.strip(),
            reference=reference.strip(),
            customer=rules.customer_of(entry),
            currency=entry.lines[0].currency,
            amount=sum((line.debit for line in entry.lines if line.debit is not None), Decimal(0)),
            reverses_entry_id=entry_id,
            effective_at=effective_at,
            requested_by=actor,
            requested_at=now,
            idempotency_key=idempotency_key,
        )
        return _enter(asked, now=now)


def approve(*, manual_entry_id: int, words: str, actor: str, now: datetime) -> ManualEntry:
    """
    Agree, as the second person, and post what was asked. Said twice by the same person it changes nothing.

    Raises NotPermitted if the actor asked for it, may not approve, or if who asked may not any more; AlreadyDecided;
    InvalidManualEntry if the books do not allow it any more; ManualEntryNotFound. The request then goes on waiting.
    """
    with transaction.atomic():
        asked = _waiting(manual_entry_id, Outcome.APPROVED, actor=actor)
        if decision_of(asked) is not None:
            return asked
        _require_second_person(asked, actor=actor)
        _require_words(words)
        if not may(asked.requested_by, permission_to_ask(asked)):
            raise NotPermitted(
                f"{asked.requested_by.removeprefix('user:')}, who asked for this, may not ask for it any more. "
                "Reject it, and let somebody ask anew who may."
            )
        _lock_customer_of(asked)
        _require_books_allow(asked, now=now)
        entry_id = _post(asked, actor=actor, now=now)
        return _decide(asked, Outcome.APPROVED, actor=actor, words=words, now=now, journal_entry_id=entry_id)


def reject(*, manual_entry_id: int, words: str, actor: str, now: datetime) -> ManualEntry:
    """
    Refuse, as the second person: nothing is posted. Said twice by the same person it changes nothing.

    Raises NotPermitted, AlreadyDecided, InvalidManualEntry without words, ManualEntryNotFound.
    """
    with transaction.atomic():
        asked = _waiting(manual_entry_id, Outcome.REJECTED, actor=actor)
        if decision_of(asked) is not None:
            return asked
        _require_second_person(asked, actor=actor)
        _require_words(words)
        return _decide(asked, Outcome.REJECTED, actor=actor, words=words, now=now)


def withdraw(*, manual_entry_id: int, words: str, actor: str, now: datetime) -> ManualEntry:
    """
    Take one's own request back while it waits. Said twice it changes nothing.

    Raises NotPermitted to everybody else, AlreadyDecided, InvalidManualEntry without words, ManualEntryNotFound.
    """
    with transaction.atomic():
        asked = _waiting(manual_entry_id, Outcome.WITHDRAWN, actor=actor)
        if decision_of(asked) is not None:
            return asked
        if actor != asked.requested_by:
            raise NotPermitted("Only who asked can withdraw. Reject it instead, if you may.")
        _require_words(words)
        return _decide(asked, Outcome.WITHDRAWN, actor=actor, words=words, now=now)


def permission_to_ask(asked: ManualEntry) -> str:
    """The permission that asking for this takes."""
    if asked.kind == ManualEntry.Kind.REVERSAL:
        return REQUEST_REVERSAL
    return rules.require_reason_code(asked.reason_code).permission


def _take_turn() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_lock_manual_entries()")


def _adjustment(new: NewAdjustment, *, actor: str, now: datetime) -> ManualEntry:
    """The request, not saved, if what is asked is sound in itself and the actor may ask for it."""
    code = rules.require_reason_code(new.reason_code)
    rules.require_may(actor, code.permission, what=f"ask for {code.name!r}")
    customer = rules.require_customer(code, customer_key=new.customer_key, currency=new.currency)
    rules.require_amount(new.amount, currency=new.currency)
    rules.require_words(reason=new.reason, reference=new.reference)
    rules.require_reference(code, new.reference)
    return ManualEntry(
        kind=ManualEntry.Kind.ADJUSTMENT,
        reason_code=code.code,
        reason=new.reason.strip(),
        reference=new.reference.strip(),
        customer=customer,
        currency=new.currency,
        amount=new.amount,
        debit_account=rules.account_code(code.debit, customer=customer, currency=new.currency),
        credit_account=rules.account_code(code.credit, customer=customer, currency=new.currency),
        effective_at=new.effective_at,
        requested_by=actor,
        requested_at=now,
    )


def _lock_customer_of(asked: ManualEntry) -> None:
    """What the customer's accounts hold is then what stands until the transaction ends."""
    if asked.customer_id is not None:
        lock_customer(customer_id=asked.customer_id)


def _the_first(asked: ManualEntry) -> ManualEntry | None:
    """The request that this key made before, if it did."""
    known = by_key(asked.idempotency_key)
    return known and _require_same(known, **{name: getattr(asked, name) for name in _TERMS})


def _require_same(known: ManualEntry, **terms: object) -> ManualEntry:
    differing = [name for name, value in terms.items() if getattr(known, name) != value]
    if differing:
        raise ManualEntryConflict(
            f"This form was used already, and differs in: {', '.join(differing)}. Open it anew if it is another one."
        )
    return known


def _enter(asked: ManualEntry, *, now: datetime) -> ManualEntry:
    """Write the request down and, if it needs nobody else, post it."""
    _lock_customer_of(asked)
    _weigh(asked, now=now)
    asked.save(force_insert=True)
    if asked.needs_second_person:
        return asked
    entry_id = _post(asked, actor=asked.requested_by, now=now)
    return _decide(asked, Outcome.WITHIN_LIMIT, actor=asked.requested_by, words="", now=now, journal_entry_id=entry_id)


def _weigh(asked: ManualEntry, *, now: datetime) -> None:
    """Whether the books allow it, and whether one person may do it alone. What was moved alone before counts."""
    _require_books_allow(asked, now=now)
    asked.limit_amount = limit_of(asked.currency)
    asked.alone_total = asked.amount + moved_alone(
        actor=asked.requested_by, customer=asked.customer, currency=asked.currency, day=now.astimezone(UTC).date()
    )
    asked.needs_second_person = asked.limit_amount is None or asked.alone_total > asked.limit_amount


def _require_books_allow(asked: ManualEntry, *, now: datetime) -> None:
    rules.require_open_instant(asked.effective_at, now=now)
    rules.require_clears_no_more_than_held(asked)


def _waiting(manual_entry_id: int, outcome: Outcome, *, actor: str) -> ManualEntry:
    """The request, in this operation's turn. One that is decided comes back only to who decided it just so."""
    _take_turn()
    asked = by_id(manual_entry_id)
    if asked is None:
        raise ManualEntryNotFound(f"There is no manual entry {manual_entry_id}.")
    decision = decision_of(asked)
    if decision is not None and (decision.outcome, decision.decided_by) != (outcome, actor):
        raise AlreadyDecided(
            f"Nothing was done: {decision.get_outcome_display().lower()} by "
            f"{decision.decided_by.removeprefix('user:')} on {decision.decided_at:%d %b %Y %H:%M} UTC."
        )
    return asked


def _require_second_person(asked: ManualEntry, *, actor: str) -> None:
    rules.require_may(actor, APPROVE, what="approve or reject manual entries")
    if actor == asked.requested_by:
        raise NotPermitted("You asked for this: a second person has to decide. You can withdraw it.")


def _require_words(words: str) -> None:
    if not words.strip():
        raise InvalidManualEntry("Say why, for whoever asks later.", field="words")


def _decide(
    asked: ManualEntry, outcome: Outcome, *, actor: str, words: str, now: datetime, journal_entry_id: int | None = None
) -> ManualEntry:
    asked.decision = ManualEntryDecision.objects.create(
        manual_entry=asked,
        outcome=outcome,
        requested_by=asked.requested_by,
        needs_second_person=asked.needs_second_person,
        decided_by=actor,
        decided_at=now,
        words=words.strip(),
        journal_entry_id=journal_entry_id,
    )
    return asked


def _post(asked: ManualEntry, *, actor: str, now: datetime) -> int:
    """Enter it as it was asked. The customer is locked and the books allow it. Raises InvalidManualEntry."""
    cause = {"manual_entry": str(asked.pk), **causes_in(asked.reference)}
    try:
        if asked.kind == ManualEntry.Kind.REVERSAL:
            return reverse_journal_entry(
                entry_id=asked.reverses_entry_id or 0,
                effective_at=asked.effective_at,
                recorded_at=now,
                actor=actor,
                memo=f"Reversed: {asked.reason}"[:_MEMO_LENGTH],
                cause=cause,
            ).id
        code = rules.require_reason_code(asked.reason_code)
        draft = JournalEntryDraft(
            idempotency_key=f"manual_adjustment:{asked.pk}",
            kind=Entry.MANUAL_ADJUSTMENT,
            lines=(debit(asked.debit_account, asked.amount), credit(asked.credit_account, asked.amount)),
            effective_at=asked.effective_at,
            actor=actor,
            cause=cause,
            memo=f"{code.name}: {asked.reason}"[:_MEMO_LENGTH],
        )
        return post_journal_entry(draft, recorded_at=now).id
    except LedgerError as refusal:
        raise InvalidManualEntry(f"The ledger refused it. {refusal}") from refusal
