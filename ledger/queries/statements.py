"""The postings of one account in their order, as its statement shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import QuerySet

from ledger.models import Account, Posting
from ledger.queries.balances import find_account


@dataclass(frozen=True, slots=True)
class StatementLine:
    """
    One posting as an account's statement shows it. Exactly one of debit and credit is not None.

    `balance_after` is None on system accounts, which keep no running balance. `cursor` continues the statement.
    """

    entry_id: int
    line_no: int
    kind: str
    memo: str
    effective_at: datetime
    recorded_at: datetime
    cause: Mapping[str, str]
    debit: Decimal | None
    credit: Decimal | None
    balance_after: Decimal | None

    @property
    def cursor(self) -> tuple[int, int]:
        return (self.entry_id, self.line_no)


def statement(code: str, *, limit: int = 100, before: tuple[int, int] | None = None) -> list[StatementLine]:
    """
    The account's postings, newest first, at most `limit`; `before` is the cursor of the last line already seen.

    :raises UnknownAccount: if there is none with this code.
    """
    return statement_of(find_account(code), limit=limit, before=before)


def statement_of(account: Account, *, limit: int = 100, before: tuple[int, int] | None = None) -> list[StatementLine]:
    """As `statement`, for a caller that has read the account already."""
    # Within an account ids rise as versions do; naming the half of the index keeps the read the same at any length.
    postings = Posting.objects.filter(account=account, account_version__isnull=not account.keeps_balance)
    if before is not None:
        postings = _before(account, postings, before)
    order = ["-account_version"] if account.keeps_balance else ["-entry_id", "-line_no"]
    return [
        StatementLine(
            entry_id=posting.entry_id,
            line_no=posting.line_no,
            kind=posting.entry.kind,
            memo=posting.entry.memo,
            effective_at=posting.entry.effective_at,
            recorded_at=posting.entry.recorded_at,
            cause=posting.entry.cause,
            debit=posting.amount if posting.amount > 0 else None,
            credit=-posting.amount if posting.amount < 0 else None,
            balance_after=posting.balance_after,
        )
        for posting in postings.select_related("entry").order_by(*order)[:limit]
    ]


def _before(account: Account, postings: QuerySet[Posting], cursor: tuple[int, int]) -> QuerySet[Posting]:
    if account.keeps_balance:
        seen = Posting.objects.filter(pk=cursor, account=account).values("account_version")
        return postings.filter(account_version__lt=seen)
    return postings.filter(pk__lt=cursor)
