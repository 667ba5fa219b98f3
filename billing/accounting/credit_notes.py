"""The entries of a credit note: issued, and taken back when it or its invoice is void."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, prepaid_pending, receivable, refund_due, system, total, unbilled
from billing.accounting.lines import ACTOR, signed_lines
from ledger.operations import JournalEntryDraft, Line, PostedEntry, post_journal_entry, reverse_journal_entry
from promotions.queries import grant_account

ZERO = Decimal(0)


class UnexplainedCredit(Exception):
    """The lines of a credit note do not add up to what it gives back: nothing is posted."""


@dataclass(frozen=True, slots=True)
class Prepaid:
    """Where the value of a line of prepaid credit is: in its grant, of which `taken` goes back, or pending."""

    grant_id: int | None
    taken: Decimal = ZERO


PENDING = Prepaid(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditedLine:
    """
    What a credit note takes off one line, in currency units; `amount` is before discount and tax on top.

    `prepaid` is None unless the line sold prepaid credit. `usage` is the exact amount where the usage itself was found
    to be less: it is out of revenue already, and what was rounded with it comes back.
    """

    amount: Decimal
    discount: Decimal = ZERO
    exclusive_tax: Decimal = ZERO
    inclusive_tax: Decimal = ZERO
    prepaid: Prepaid | None = None
    usage: Decimal | None = None

    @property
    def net(self) -> Decimal:
        """What the line adds to the total of the credit note."""
        return self.amount - self.discount + self.exclusive_tax


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBack:
    """The ways in which a credit note gives back its total, in currency units."""

    pre_payment: Decimal = ZERO
    to_balance: Decimal = ZERO
    refunded: Decimal = ZERO
    out_of_band: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        return self.pre_payment + self.to_balance + self.refunded + self.out_of_band


def post_credit_note_issued(
    *,
    credit_note: str,
    invoice: str,
    customer_key: str,
    currency: str,
    lines: Sequence[CreditedLine],
    given_back: GivenBack,
    issued_at: datetime,
    recorded_at: datetime,
    memo: str,
) -> PostedEntry:
    """
    Debit what the credited lines had credited: contra:refunds with what was charged, unbilled and rounding where usage
    was accrued again and came to less, prepaid credit where it stands, tax:payable with the tax; credit
    contra:promotions with discount that no longer is one.

    Credit receivable with the part before payment; refund_due with what goes back as refund or onto the balance, which
    Stripe's own movements then pay out, each once by its id; bank with what was given back outside Stripe.
    What was charged is given back in whole increments; `rounding` keeps what the line's own rounding added.
    Once for each credit note. Raises UnexplainedCredit and LedgerError.
    """
    of_lines = total(line.net for line in lines)
    if of_lines != given_back.total:
        raise UnexplainedCredit(f"{credit_note}: by its lines {of_lines} is given back, it says {given_back.total}")
    draft = JournalEntryDraft(
        idempotency_key=f"credit_note_issued:{credit_note}",
        kind=Entry.CREDIT_NOTE_ISSUED,
        lines=credit_note_lines(lines, given_back, customer_key=customer_key, currency=currency),
        effective_at=issued_at,
        actor=ACTOR,
        cause={"invoice": invoice, "credit_note": credit_note},
        memo=memo,
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_credit_note_of_before(
    *,
    credit_note: str,
    invoice: str,
    customer_key: str,
    currency: str,
    pre_payment: Decimal,
    as_of: datetime,
    recorded_at: datetime,
    memo: str,
) -> PostedEntry:
    """What one of before a takeover took off an invoice still open then, against the opening. Raises LedgerError."""
    draft = JournalEntryDraft(
        idempotency_key=f"credit_note_issued:{credit_note}",
        kind=Entry.CREDIT_NOTE_ISSUED,
        lines=signed_lines(
            (system("opening", currency), pre_payment), (receivable(customer_key, currency), -pre_payment)
        ),
        effective_at=as_of,
        actor=ACTOR,
        cause={"invoice": invoice, "credit_note": credit_note},
        memo=memo,
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def credit_note_lines(
    lines: Sequence[CreditedLine], given_back: GivenBack, *, customer_key: str, currency: str
) -> tuple[Line, ...]:
    """The lines of the entry of a credit note, for its preview too. Amounts in currency units."""
    promised = given_back.to_balance + given_back.refunded
    return signed_lines(
        *(movement for line in lines for movement in _movements(line, customer_key, currency)),
        (receivable(customer_key, currency), -given_back.pre_payment),
        (refund_due(customer_key, currency), -promised),
        (system("bank", currency), -given_back.out_of_band),
    )


def post_credit_note_voided(
    *, issued_entry_id: int, credit_note: str, invoice: str, voided_at: datetime, recorded_at: datetime, memo: str
) -> PostedEntry:
    """Reverse the credit note's entry, once: it is void, or its invoice is. Raises LedgerError."""
    return reverse_journal_entry(
        entry_id=issued_entry_id,
        effective_at=voided_at,
        recorded_at=recorded_at,
        actor=ACTOR,
        memo=memo,
        cause={"invoice": invoice, "credit_note": credit_note},
        moves_to_open_period=True,
    )


def _movements(line: CreditedLine, customer_key: str, currency: str) -> Iterable[tuple[str, Decimal]]:
    given_up = line.amount - line.inclusive_tax
    prepaid = line.prepaid
    if line.usage is not None:
        yield unbilled(customer_key, currency), line.usage
        yield system("rounding", currency), line.amount - line.usage
        yield system("revenue:usage", currency), -line.inclusive_tax
    elif prepaid is None:
        yield system("contra:refunds", currency), given_up
    elif prepaid.grant_id is None:
        yield prepaid_pending(customer_key, currency), given_up
    else:
        yield grant_account(prepaid.grant_id), prepaid.taken
        # Of a grant no more can be taken than is left: what was used of it is given back like any other sale.
        yield system("contra:refunds", currency), given_up - prepaid.taken
    yield system("contra:promotions", currency), -line.discount
    yield system("tax:payable", currency), line.exclusive_tax + line.inclusive_tax
