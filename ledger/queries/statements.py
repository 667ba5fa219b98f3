"""
Statements over a span of time, of one account or one customer, in the order in which things took effect.

In the order in which they were recorded, `newest.py` has them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from django.db.models import F, Max

from ledger.exact import less, total
from ledger.models import Account, Posting
from ledger.queries import spans
from ledger.queries.balances import current_balances, find_account
from ledger.queries.one_look import one_look
from ledger.queries.reach import Reach
from ledger.queries.spans import DaySum, Position, Span, SpanLine, StatedAccount


@dataclass(frozen=True, slots=True)
class AccountStatement:
    """
    The figures of one account over a span: opening + debits − credits = closing on a debit account, and the other way
    round on a credit account. Balances are in the account's normal direction; debit and credit are zero or more.
    """

    account: StatedAccount
    span: Span
    opening: Decimal
    debit: Decimal
    credit: Decimal
    line_count: int
    days: tuple[DaySum, ...]
    # What of the journal its lines are read from.
    within: Reach = field(repr=False)

    @property
    def closing(self) -> Decimal:
        return self.balance_when(less(self.debit, self.credit))

    def balance_when(self, moved: Decimal) -> Decimal:
        """The balance once lines that sum to `moved` (debits above zero) have taken effect in the span."""
        return total((self.opening, self.account.normal(moved)))


@dataclass(frozen=True, slots=True)
class CustomerStatement:
    """
    The figures of a customer's accounts of one currency over a span, and of all of them together.

    `opening` and `closing` count debits: above zero the customer owes us, below zero we owe the customer.
    """

    customer_key: str
    currency: str
    span: Span
    accounts: tuple[AccountStatement, ...]
    within: Reach | None = field(repr=False)

    @property
    def opening(self) -> Decimal:
        return total(of.account.normal(of.opening) for of in self.accounts)

    @property
    def debit(self) -> Decimal:
        return total(of.debit for of in self.accounts)

    @property
    def credit(self) -> Decimal:
        return total(of.credit for of in self.accounts)

    @property
    def closing(self) -> Decimal:
        return self.balance_when(less(self.debit, self.credit))

    def balance_when(self, moved: Decimal) -> Decimal:
        """What all accounts together came to once lines that sum to `moved` have taken effect in the span."""
        return total((self.opening, moved))

    @property
    def line_count(self) -> int:
        return sum(of.line_count for of in self.accounts)

    def code_of(self, line: SpanLine) -> str:
        """The account that a line of this statement is on."""
        return next(of.account.code for of in self.accounts if of.account.id == line.account_id)


@dataclass(frozen=True, slots=True)
class EntryGroup:
    """What one entry moved on a customer's accounts. `moved` counts from the start of the span, this entry included."""

    lines: tuple[SpanLine, ...]

    @property
    def entry(self) -> SpanLine:
        """Its first line, which tells what the entry was."""
        return self.lines[0]

    @property
    def amount(self) -> Decimal:
        return total(line.amount for line in self.lines)

    @property
    def moved(self) -> Decimal:
        return self.lines[-1].moved


def account_statement(code: str, span: Span) -> AccountStatement:
    """
    What one account held when the span began, and what was debited and credited in it.

    :raises UnknownAccount: if there is none with this code.
    """
    with one_look():
        return account_statement_of(find_account(code), span)


def account_statement_of(account: Account, span: Span) -> AccountStatement:
    """As `account_statement`, for a caller that has just read the account, inside `one_look`."""
    (statement,) = _statements([account], span)
    return statement


def customer_statement(customer_key: str, currency: str, span: Span) -> CustomerStatement:
    """The same of all accounts of one customer in one currency, by code. A customer without any has an empty one."""
    with one_look():
        accounts = Account.objects.filter(customer_key=customer_key, currency=currency).order_by("code")
        found = tuple(_statements(list(accounts), span))
        return CustomerStatement(customer_key, currency, span, found, within=found[0].within if found else None)


def currencies_of_customer(customer_key: str) -> list[str]:
    """The currencies in which a customer has accounts."""
    found = Account.objects.filter(customer_key=customer_key).order_by("currency")
    return list(found.values_list("currency", flat=True).distinct())


def newest_effect_on_customer(customer_key: str, *, currency: str) -> datetime | None:
    """When the last entry recorded on one of the customer's accounts took effect; one look into each account."""
    last = Posting.objects.filter(
        account__customer_key=customer_key, account__currency=currency, account_version=F("account__version")
    )
    newest: datetime | None = last.aggregate(at=Max("entry__effective_at"))["at"]
    return newest


def statement_page(
    statement: AccountStatement, *, limit: int = 100, after: Position | None = None, before: Position | None = None
) -> list[SpanLine]:
    """
    The lines of an account's statement in their order (effective_at, entry, line), at most `limit`: the first after a
    position, or the last before one. `statement.balance_when(line.moved)` is the running balance.
    """
    return spans.page(
        [statement.account],
        statement.span,
        within=statement.within,
        limit=limit,
        after=after,
        before=before,
        whole_entries=False,
    )


def entry_page(
    statement: CustomerStatement, *, limit: int = 100, after: Position | None = None, before: Position | None = None
) -> list[EntryGroup]:
    """The entries of a customer's statement in their order: as many as begin within `limit` lines, each one whole."""
    if statement.within is None:
        return []
    return list(
        _grouped(
            spans.page(
                [of.account for of in statement.accounts],
                statement.span,
                within=statement.within,
                limit=limit,
                after=after,
                before=before,
                whole_entries=True,
            )
        )
    )


def stream_lines(statement: AccountStatement) -> Iterator[SpanLine]:
    """All lines of an account's statement. Memory does not grow with them. To be read inside `one_look`."""
    return spans.stream([statement.account], statement.span, within=statement.within)


def stream_entries(statement: CustomerStatement) -> Iterator[EntryGroup]:
    """All entries of a customer's statement. Memory does not grow with them. To be read inside `one_look`."""
    if statement.within is None:
        return iter(())
    return _grouped(spans.stream([of.account for of in statement.accounts], statement.span, within=statement.within))


def _statements(rows: Sequence[Account], span: Span) -> list[AccountStatement]:
    if not rows:
        return []
    accounts = [StatedAccount.of(row) for row in rows]
    within = spans.reach(accounts, span)
    now = current_balances(rows) if spans.counts_back(span, within) else {}
    held_now = {account.id: account.normal(now[account.id]) for account in accounts if account.id in now}
    found = spans.sums(accounts, span, within=within, held_now=held_now)
    days: dict[int, list[DaySum]] = {}
    for day in found.days:
        days.setdefault(day.account_id, []).append(day)
    return [
        AccountStatement(
            account=account,
            span=span,
            opening=account.normal(found.opening[account.id]),
            debit=total(day.debit for day in days.get(account.id, ())),
            credit=total(day.credit for day in days.get(account.id, ())),
            line_count=sum(day.line_count for day in days.get(account.id, ())),
            days=tuple(days.get(account.id, ())),
            within=within,
        )
        for account in accounts
    ]


def _grouped(lines: Iterable[SpanLine]) -> Iterator[EntryGroup]:
    for _, of_entry in groupby(lines, key=lambda line: line.entry_id):
        yield EntryGroup(tuple(of_entry))
