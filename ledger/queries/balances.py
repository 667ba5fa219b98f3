"""What accounts hold: now, at an instant as believed at another, and all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import QuerySet, Sum

from ledger.errors import UnknownAccount
from ledger.models import Account, Posting, Side


@dataclass(frozen=True, slots=True)
class AccountBalance:
    code: str
    kind: str
    currency: str
    customer_key: str
    balance: Decimal


@dataclass(frozen=True, slots=True)
class TrialBalanceRow:
    """What was debited and credited to one account in all; both are zero or more."""

    code: str
    currency: str
    debit: Decimal
    credit: Decimal


def balance_of(code: str) -> Decimal:
    """
    What the account holds now. Exact at once; of a system account, the sum of its postings.

    :raises UnknownAccount: if there is none with this code.
    """
    return balance_of_account(find_account(code))


def balance_of_account(account: Account) -> Decimal:
    """As `balance_of`, for a caller that has just read the account."""
    if account.keeps_balance:
        return account.balance
    return _in_normal_direction(account, Posting.objects.filter(account=account, account_version__isnull=True))


def balances_of_customer(customer_key: str) -> list[AccountBalance]:
    """The accounts of one customer that keep a balance, by code."""
    accounts = Account.objects.filter(customer_key=customer_key, keeps_balance=True).order_by("code")
    return [
        AccountBalance(account.code, account.kind, account.currency, customer_key, account.balance)
        for account in accounts
    ]


def balance_at(code: str, *, effective_at: datetime, known_at: datetime) -> Decimal:
    """
    What we believed at `known_at` that the account held at `effective_at`, both instants included.

    Reads all postings of the account.

    :raises UnknownAccount: if there is none with this code.
    """
    account = find_account(code)
    postings = Posting.objects.filter(
        account=account, entry__effective_at__lte=effective_at, entry__recorded_at__lte=known_at
    )
    return _in_normal_direction(account, postings)


def trial_balance(*, effective_at: datetime | None = None, known_at: datetime | None = None) -> list[TrialBalanceRow]:
    """
    Debits and credits of every account that has postings, by code: what we believed at `known_at` that had been
    posted with effect up to `effective_at`, both instants included; left out, they are no limit.

    Reads the whole journal.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TRIAL_BALANCE, {"effective_at": effective_at, "known_at": known_at})
        return [TrialBalanceRow(*row) for row in cursor.fetchall()]


def postings_sum(
    *,
    codes: Sequence[str] | None = None,
    account_kinds: Sequence[str] | None = None,
    entry_kinds: Sequence[str] | None = None,
    effective_from: datetime | None = None,
    effective_before: datetime | None = None,
) -> dict[str, Decimal]:
    """
    Σ amount (debits above zero, credits below) by currency, of the postings that meet every condition given.

    The span of time is half-open: [effective_from, effective_before).
    """
    postings = Posting.objects.all()
    if codes is not None:
        postings = postings.filter(account__code__in=codes)
    if account_kinds is not None:
        postings = postings.filter(account__kind__in=account_kinds)
    if entry_kinds is not None:
        postings = postings.filter(entry__kind__in=entry_kinds)
    if effective_from is not None:
        postings = postings.filter(entry__effective_at__gte=effective_from)
    if effective_before is not None:
        postings = postings.filter(entry__effective_at__lt=effective_before)
    sums = postings.order_by().values("account__currency").annotate(total=Sum("amount"))
    return {row["account__currency"]: row["total"] for row in sums.order_by("account__currency")}


_TRIAL_BALANCE = """
    SELECT account.code, account.currency, sums.debit, sums.credit
    FROM (
        SELECT posting.account_id, coalesce(sum(posting.amount) FILTER (WHERE posting.amount > 0), 0) AS debit,
               coalesce(-sum(posting.amount) FILTER (WHERE posting.amount < 0), 0) AS credit
        FROM ledger_posting AS posting
        WHERE (%(effective_at)s::timestamptz IS NULL AND %(known_at)s::timestamptz IS NULL)
           OR posting.entry_id IN (
                SELECT id FROM ledger_journalentry
                WHERE effective_at <= coalesce(%(effective_at)s::timestamptz, 'infinity')
                  AND recorded_at <= coalesce(%(known_at)s::timestamptz, 'infinity'))
        GROUP BY posting.account_id
    ) AS sums
    JOIN ledger_account AS account ON account.id = sums.account_id
    ORDER BY account.code
"""


def find_account(code: str) -> Account:
    """
    The account's row, for the other readings of this package.

    :raises UnknownAccount: if there is none with this code.
    """
    account = Account.objects.filter(code=code).first()
    if account is None:
        raise UnknownAccount(code)
    return account


def _in_normal_direction(account: Account, postings: QuerySet[Posting]) -> Decimal:
    net = postings.aggregate(net=Sum("amount"))["net"] or Decimal(0)
    return net if account.normal_side == Side.DEBIT else -net
