"""
What the house owes in credit: grants, balances in the customers' favour, prepaid credit, refunds promised. Pure:
`billing.accounting.queries` reads the ledger and the grants' terms.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

ZERO = Decimal(0)
# A grant's account of which promotions holds no terms: cannot be, and is shown rather than left out.
UNKNOWN_KIND = "unknown"


class Ends(StrEnum):
    """How long after the instant of the report the credit ends."""

    OVERDUE = "ended"  # it has ended, and what is left has not been taken back yet
    TO_30 = "30 days"
    TO_90 = "31–90 days"
    TO_365 = "91–365 days"
    LATER = "later"
    NEVER = "no end"


_LAST_DAYS = ((30, Ends.TO_30), (90, Ends.TO_90), (365, Ends.TO_365))


@dataclass(frozen=True, slots=True)
class GrantTerm:
    """What a grant is and until when it may be used."""

    kind: str
    name: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class GrantLeft:
    """What is left of one grant, in currency units."""

    grant_id: int
    customer_key: str
    kind: str
    name: str
    currency: str
    amount: Decimal
    expires_at: datetime | None
    ends: Ends


@dataclass(frozen=True, slots=True)
class CreditSum:
    """What is owed of one kind of credit in one currency, by when it ends."""

    kind: str
    currency: str
    by_end: Mapping[Ends, Decimal]

    @property
    def total(self) -> Decimal:
        return sum(self.by_end.values(), ZERO)


@dataclass(frozen=True, slots=True)
class OutstandingCredit:
    """As believed at `known_at` of what had taken effect up to `effective_at`, both included."""

    effective_at: datetime
    known_at: datetime
    grants: tuple[GrantLeft, ...]
    # The other kinds: no single one ends, so they are sums of accounts.
    others: tuple[CreditSum, ...]

    def by_kind(self) -> list[CreditSum]:
        """Every kind of credit, by currency, grants first."""
        found: dict[tuple[str, str], dict[Ends, Decimal]] = {}
        for grant in self.grants:
            by_end = found.setdefault((grant.currency, grant.kind), dict.fromkeys(Ends, ZERO))
            by_end[grant.ends] += grant.amount
        sums = [CreditSum(kind, currency, by_end) for (currency, kind), by_end in sorted(found.items())]
        return sorted([*sums, *self.others], key=lambda credit: credit.currency)

    def totals(self) -> dict[str, Decimal]:
        """By currency."""
        found: dict[str, Decimal] = {}
        for credit in self.by_kind():
            found[credit.currency] = found.get(credit.currency, ZERO) + credit.total
        return found


@dataclass(frozen=True, slots=True)
class GrantMovement:
    """
    How the grants of one kind moved within a month, in currency units:
    opening + issued − burnt − expired − voided − given back + corrections = closing.

    `given_back` is paid credit that a credit note returned unused. `corrections` is of either sign: reversals, and what
    late usage took out of grants that had ended, or gave back to them.
    `closing` is read from the accounts by itself, so that the sum can be seen to be right.
    """

    kind: str
    currency: str
    opening: Decimal = ZERO
    issued: Decimal = ZERO
    burnt: Decimal = ZERO
    expired: Decimal = ZERO
    voided: Decimal = ZERO
    given_back: Decimal = ZERO
    corrections: Decimal = ZERO
    closing: Decimal = ZERO

    @property
    def unexplained(self) -> Decimal:
        """Zero."""
        moved = self.issued - self.burnt - self.expired - self.voided - self.given_back + self.corrections
        return self.closing - self.opening - moved


@dataclass(frozen=True, slots=True)
class OtherMovement:
    """How the accounts of another kind moved within a month: opening + added − taken = closing."""

    kind: str
    currency: str
    opening: Decimal
    added: Decimal
    taken: Decimal
    closing: Decimal

    @property
    def unexplained(self) -> Decimal:
        """Zero."""
        return self.closing - self.opening - self.added + self.taken


@dataclass(frozen=True, slots=True)
class CreditMovement:
    """The month [starts_at, ends_at), as believed at `known_at`."""

    starts_at: datetime
    ends_at: datetime
    known_at: datetime
    grants: tuple[GrantMovement, ...]
    others: tuple[OtherMovement, ...]


def ends_in(expires_at: datetime | None, *, at: datetime) -> Ends:
    """A grant is usable before its end, so at that instant it has ended."""
    if expires_at is None:
        return Ends.NEVER
    if expires_at <= at:
        return Ends.OVERDUE
    return next((ends for days, ends in _LAST_DAYS if expires_at - at <= timedelta(days=days)), Ends.LATER)


@dataclass(frozen=True, slots=True)
class GrantStep:
    """What one kind of entry did to one grant within a month, as a column of GrantMovement; above zero is added."""

    kind: str
    currency: str
    column: str
    amount: Decimal


_ADDS = {"opening", "issued", "corrections", "closing"}


def grant_movements(steps: Iterable[GrantStep]) -> list[GrantMovement]:
    """The steps added up, by currency and kind; what reduces a grant is shown above zero."""
    found: dict[tuple[str, str], dict[str, Decimal]] = {}
    for step in steps:
        columns = found.setdefault((step.currency, step.kind), {})
        change = step.amount if step.column in _ADDS else -step.amount
        columns[step.column] = columns.get(step.column, ZERO) + change
    return [
        GrantMovement(kind=kind, currency=currency, **columns)
        for (currency, kind), columns in sorted(found.items())
        if any(columns.values())
    ]


_COLUMNS = {
    "grant_issued": "issued",
    "paid_grant_issued": "issued",
    "usage_accrued": "burnt",
    "paid_grant_expired": "expired",
    "credit_note_issued": "given_back",
}


def column_of(
    *, entry_kind: str, is_reversal: bool, is_later_line: bool, happened_at: datetime, expires_at: datetime | None
) -> str:
    """
    Which column of a month a movement of a grant belongs to.

    In an accrual the first line on a grant is what usage burnt; a second one restores a grant that had ended, or
    expires again what came back to it (`billing.accounting.usage`). A grant that ended at its expiry, expired; one
    that ended before, was voided.
    """
    if is_reversal or is_later_line:
        return "corrections"
    if entry_kind == "grant_ended":
        return "expired" if expires_at is not None and happened_at >= expires_at else "voided"
    return _COLUMNS.get(entry_kind, "corrections")
