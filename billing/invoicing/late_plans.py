"""
What of late usage goes onto which document. Pure: from what is on no invoice to credit lines and what is left to ask.

A decrease is given back on the lines that charged it, the newest first, each at most what is left of it; an increase is
asked for on an invoice of its own; what rounds to nothing is on neither (DESIGN §3.6: a line is rounded once).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.invoicing.rounding import from_minor, to_minor
from billing.rating.rating import EXACT, ZERO


@dataclass(frozen=True, slots=True)
class Change:
    """What of one rate is on no invoice: units and currency units, exact, of either sign."""

    rate_id: int
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ChargedLine:
    """A usage line of a finalised invoice, and what of it can still be given back, in minor units."""

    line_id: int
    invoice_id: int
    rate_id: int
    creditable_minor: int


@dataclass(frozen=True, slots=True)
class CreditLine:
    """A part of one line to be given back. All below zero: exact + rounding = charged."""

    line_id: int
    invoice_id: int
    quantity: Decimal
    exact_amount: Decimal
    amount_minor: int
    rounding: Decimal


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How late usage is settled by documents: lines of credit notes, whether an invoice of its own is needed, changes too
    small for either, and decreases that no line is left to be given back on.
    """

    credits: Sequence[CreditLine]
    increases: Sequence[Change]
    too_small: Sequence[Change]
    not_creditable: Sequence[Change]


def plan(changes: Iterable[Change], charged: Sequence[ChargedLine], *, currency: str) -> Plan:
    """`charged` are the usage lines of the period, the newest first."""
    credit_lines: list[CreditLine] = []
    increases, too_small, not_creditable = [], [], []
    for change in changes:
        if not to_minor(change.amount, currency):
            too_small.append(change)
        elif change.amount > 0:
            increases.append(change)
        else:
            of_rate = [line for line in charged if line.rate_id == change.rate_id]
            given_back = _give_back(change, of_rate, currency=currency)
            credit_lines += given_back
            if not given_back:
                not_creditable.append(change)
    return Plan(credit_lines, increases, too_small, not_creditable)


def by_invoice(lines: Iterable[CreditLine]) -> Mapping[int, list[CreditLine]]:
    """The lines of each credit note: one note for each invoice."""
    notes: dict[int, list[CreditLine]] = {}
    for line in lines:
        notes.setdefault(line.invoice_id, []).append(line)
    return notes


def _give_back(change: Change, charged: Sequence[ChargedLine], *, currency: str) -> list[CreditLine]:
    """
    The parts of a decrease, or nothing where the lines together do not hold it.

    All of it is rounded once: every part but the last is whole minor units; the last takes the rest and the rounding.
    """
    wanted_minor = -to_minor(change.amount, currency)
    taken: list[tuple[ChargedLine, int]] = []
    for line in charged:
        part = min(wanted_minor - sum(minor for _, minor in taken), line.creditable_minor)
        if part > 0:
            taken.append((line, part))
    if sum(minor for _, minor in taken) < wanted_minor:
        return []
    parts, left = [], change.amount
    for place, (line, minor) in enumerate(taken, start=1):
        is_last = place == len(taken)
        amount_minor = -minor
        exact = left if is_last else from_minor(amount_minor, currency)
        left = EXACT.subtract(left, exact)
        parts.append(
            CreditLine(
                line_id=line.line_id,
                invoice_id=line.invoice_id,
                quantity=change.quantity if is_last else ZERO,
                exact_amount=exact,
                amount_minor=amount_minor,
                rounding=EXACT.subtract(from_minor(amount_minor, currency), exact),
            )
        )
    return parts
