"""What callers hand to the ledger: accounts to open and entries to post. Pure values, checked when they are made."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

import msgspec

from ledger.errors import InvalidAmount

_MINUTEST_EXPONENT = -12
_CURRENCY = re.compile(r"[A-Z]{3}")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Line:
    """One posting to be: above zero a debit, below zero a credit, in the account's currency (major unit)."""

    account: str
    amount: Decimal

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise TypeError(f"An amount is a Decimal, not {type(self.amount).__name__}.")
        exponent = self.amount.as_tuple().exponent
        if not isinstance(exponent, int) or not self.amount:
            raise InvalidAmount(self.account)
        if exponent < _MINUTEST_EXPONENT and not _is_exact(self.amount):
            raise InvalidAmount(self.account)


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """An account to open. `floor` is in the normal direction; an empty customer_key makes it a system account."""

    code: str
    kind: str
    currency: str
    normal_side: str
    customer_key: str = ""
    floor: Decimal | None = None
    keeps_balance: bool = True

    def __post_init__(self) -> None:
        if self.normal_side not in {"D", "C"}:
            raise ValueError(f"The normal side of {self.code} is D or C, not {self.normal_side!r}.")
        if not _CURRENCY.fullmatch(self.currency):
            raise ValueError(f"The currency of {self.code} is three capital letters, not {self.currency!r}.")
        if self.floor is not None and (self.floor > 0 or not self.keeps_balance):
            raise ValueError(f"{self.code} opens empty: its floor is zero or less, and only if it keeps a balance.")


@dataclass(frozen=True, slots=True)
class JournalEntryDraft:
    """
    One business fact to record. The key is made by the caller before the first try and says what the fact is.

    `moves_to_open_period` is for facts that may arrive late: one that happened in a closed period takes effect at the
    start of the open one, and its cause gets `occurred_at`. Without it such a fact is refused (PeriodClosed).
    """

    idempotency_key: str
    kind: str
    lines: tuple[Line, ...]
    effective_at: datetime
    actor: str
    cause: Mapping[str, str] = field(default_factory=dict)
    memo: str = ""
    moves_to_open_period: bool = False

    def __post_init__(self) -> None:
        require_aware(self.effective_at)
        if not self.idempotency_key or not self.kind or not self.actor:
            raise ValueError("An entry needs a key, a kind and an actor.")
        if self.idempotency_key.startswith("reversal:"):
            raise ValueError("Keys that begin with 'reversal:' belong to reverse_journal_entry.")
        require_free_cause(self.cause)

    def body_digest(self) -> str:
        """
        SHA-256 (hexadecimal) of what the entry says: kind, effective_at, cause and lines.

        All of it as asked, whatever period is closed. The order of lines and the way an amount is written do not count;
        actor, memo and recorded_at do not either, because a retry may come from elsewhere.
        """
        return self.digest_of(canonical_instant(self.effective_at), self.plain_lines())

    def plain_lines(self) -> list[tuple[str, str]]:
        return [(line.account, plain_amount(line.amount)) for line in self.lines]

    def digest_of(self, instant: str, lines: Iterable[tuple[str, str]]) -> str:
        """As `body_digest`, for who has just written out the instant and the lines."""
        return digest([self.kind, instant, sorted(self.cause.items()), sorted(lines)])


def debit(code: str, amount: Decimal) -> Line:
    """
    A line that debits the account.

    :raises InvalidAmount: if the amount is not above zero.
    """
    return Line(code, _above_zero(code, amount))


def credit(code: str, amount: Decimal) -> Line:
    """
    A line that credits the account.

    :raises InvalidAmount: if the amount is not above zero.
    """
    return Line(code, _above_zero(code, amount).copy_negate())


def plain_amount(amount: Decimal) -> str:
    """The amount without exponent and trailing zeros, exact however many digits it has."""
    text = str(amount)
    if "E" in text:
        text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@lru_cache(maxsize=256)  # the entries of a batch share their instants
def canonical_instant(instant: datetime) -> str:
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return instant.isoformat(timespec="microseconds")


def digest(body: Iterable[object]) -> str:
    return hashlib.sha256(_encode(body)).hexdigest()


def require_aware(instant: datetime) -> None:
    if instant.tzinfo is None:
        raise ValueError("An instant needs its time zone.")


def require_free_cause(cause: Mapping[str, str]) -> None:
    if "occurred_at" in cause:
        raise ValueError("A cause's occurred_at is written by the ledger, when it moves an entry to the open period.")


def _above_zero(code: str, amount: Decimal) -> Decimal:
    if not isinstance(amount, Decimal):
        raise TypeError(f"An amount is a Decimal, not {type(amount).__name__}.")
    if not amount > 0:
        raise InvalidAmount(code)
    return amount


def _is_exact(amount: Decimal) -> bool:
    """Whether the places beyond the twelfth are all zero."""
    return len(plain_amount(amount).partition(".")[2]) <= -_MINUTEST_EXPONENT
