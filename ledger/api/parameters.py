"""What a request may ask for, read from its query and checked. Each function raises BadParameter."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from django.http import QueryDict

from ledger.api.refusals import BadParameter

LIMIT_DEFAULT, LIMIT_MAX = 100, 500
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_LIMIT = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PointInTime:
    """Up to which effective and which recorded time the journal is read, both included; None is no limit."""

    effective_at: datetime | None
    known_at: datetime | None

    @property
    def is_now(self) -> bool:
        return self.effective_at is None and self.known_at is None


def require_known(query: QueryDict, known: Collection[str]) -> None:
    """Refuse what would be silently ignored: a misspelt filter would answer another question than the one asked."""
    for name in query:
        if name not in known:
            there_are = f"There are: {', '.join(sorted(known))}." if known else "It takes none."
            raise BadParameter(name, f"This address takes no parameter {name!r}. {there_are}")
        if len(query.getlist(name)) > 1:
            raise BadParameter(name, f"Name {name} once.")


def point_in_time(query: QueryDict) -> PointInTime:
    return PointInTime(effective_at=_instant(query, "effective_at"), known_at=_instant(query, "known_at"))


def currency(query: QueryDict) -> str | None:
    text = query.get("currency")
    if text is not None and not _CURRENCY.fullmatch(text):
        raise BadParameter("currency", "Give the currency as three capital letters of ISO 4217, such as USD.")
    return text


def kind(query: QueryDict) -> str | None:
    text = query.get("kind")
    if text is not None:
        _require_text("kind", text, such_as="receivable")
    return text


def idempotency_key(query: QueryDict) -> str:
    text = query.get("idempotency_key")
    if text is None:
        raise BadParameter("idempotency_key", "Name the entry by the idempotency_key under which it was recorded.")
    _require_text("idempotency_key", text, such_as="invoice_finalized:in_1")
    return text


def limit(query: QueryDict) -> int:
    text = query.get("limit")
    if text is None:
        return LIMIT_DEFAULT
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= LIMIT_MAX:
        raise BadParameter("limit", f"Give a whole number from 1 to {LIMIT_MAX}, or leave it out for {LIMIT_DEFAULT}.")
    return int(text)


def _instant(query: QueryDict, name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    remedy = "Give an instant of RFC 3339 with its offset, such as 2026-10-03T12:00:00Z; a + is written as %2B."
    if not _INSTANT.fullmatch(text):
        raise BadParameter(name, remedy)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadParameter(name, f"There is no such instant. {remedy}") from None


def _require_text(name: str, text: str, *, such_as: str) -> None:
    """PostgreSQL takes no NUL, and no name of ours holds such signs."""
    if not text or not text.isprintable():
        raise BadParameter(name, f"Give a name, such as {such_as}, or leave the parameter out.")
