"""What accounts hold: now, at an instant as believed at another, and all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import Sum

from ledger.errors import UnknownAccount
from ledger.exact import opposite, total
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
    What the account holds now, exact at once: of a system account, its last snapshot and the postings since.

    :raises UnknownAccount: if there is none with this code.
    """
    return balance_of_account(find_account(code))


def balance_of_account(account: Account) -> Decimal:
    """As `balance_of`, for a caller that has just read the account."""
    return current_balances([account])[account.pk]


def current_balances(accounts: Sequence[Account]) -> dict[int, Decimal]:
    """
    What each account holds now, by its id, for a caller that has just read the accounts, such as a page of them.

    No query if all of them keep a balance, two if not. Of a system account only the postings since its last snapshot
    are read.
    """
    balances = {account.pk: account.balance for account in accounts if account.keeps_balance}
    system = [account for account in accounts if not account.keeps_balance]
    if system:
        net = _net_of_system_accounts([account.pk for account in system])
        balances |= {account.pk: _in_normal_direction(account, net[account.pk]) for account in system}
    return balances


def balances_of_customer(customer_key: str) -> list[AccountBalance]:
    """The accounts of one customer that keep a balance, by code."""
    accounts = Account.objects.filter(customer_key=customer_key, keeps_balance=True).order_by("code")
    return [
        AccountBalance(account.code, account.kind, account.currency, customer_key, account.balance)
        for account in accounts
    ]


def balances_of_customers(customer_keys: Sequence[str], *, kind: str) -> dict[str, Decimal]:
    """What the accounts of one kind hold that keep a balance, of many customers, by code; one query."""
    accounts = Account.objects.filter(customer_key__in=list(customer_keys), keeps_balance=True, kind=kind)
    return dict(accounts.values_list("code", "balance"))


def balance_at(code: str, *, effective_at: datetime, known_at: datetime) -> Decimal:
    """
    What we believed at `known_at` that the account held at `effective_at`, both instants included.

    Reads all postings of the account, and no other: neither instant is in the order in which they were posted.

    :raises UnknownAccount: if there is none with this code.
    """
    account = find_account(code)
    return balances_at([account], effective_at=effective_at, known_at=known_at)[account.pk]


def balances_at(
    accounts: Sequence[Account], *, effective_at: datetime | None = None, known_at: datetime | None = None
) -> dict[int, Decimal]:
    """
    As `balance_at`, of each of the accounts, just read, by its id; one query. An instant left out is no limit, and
    without both it is `current_balances`.
    """
    if effective_at is None and known_at is None:
        return current_balances(accounts)
    sides = {account.pk: account for account in accounts}
    with connection.cursor() as cursor:
        cursor.execute(_BALANCES_AT, {"accounts": list(sides), "effective_at": effective_at, "known_at": known_at})
        return {account_id: _in_normal_direction(sides[account_id], net) for account_id, net in cursor.fetchall()}


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


# Every posting is in one of two indexes by account; naming both halves lets PostgreSQL use them.
_BALANCES_AT = """
    SELECT asked.id, coalesce(held.net, 0)
    FROM unnest(%(accounts)s::bigint[]) AS asked (id)
    LEFT JOIN (
        SELECT posting.account_id, sum(posting.amount) AS net
        FROM ledger_posting AS posting
        JOIN ledger_journalentry AS entry ON entry.id = posting.entry_id
        WHERE posting.account_id = ANY(%(accounts)s)
          AND (posting.account_version IS NULL OR posting.account_version IS NOT NULL)
          AND (%(effective_at)s::timestamptz IS NULL OR entry.effective_at <= %(effective_at)s::timestamptz)
          AND (%(known_at)s::timestamptz IS NULL OR entry.recorded_at <= %(known_at)s::timestamptz)
        GROUP BY posting.account_id
    ) AS held ON held.account_id = asked.id
"""

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


def _net_of_system_accounts(account_ids: Sequence[int]) -> dict[int, Decimal]:
    """
    Debits less credits of each.

    A snapshot never changes and whoever sees it sees every entry it counted, so the two statements need no transaction:
    the answer is that of the second one's instant. Accounts whose snapshots end at the same entry are summed together,
    with that entry written into the statement, from where the planner sees how little there is to read.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LAST_SNAPSHOTS, {"account_ids": list(account_ids)})
        last = {account_id: (through_entry, net) for account_id, through_entry, net in cursor.fetchall()}
        ids_by_end: dict[int, list[int]] = {}
        for account_id, (through_entry, _) in last.items():
            ids_by_end.setdefault(through_entry, []).append(account_id)
        cursor.execute(
            " UNION ALL ".join([_NET_SINCE] * len(ids_by_end)),
            [parameter for through_entry, ids in ids_by_end.items() for parameter in (ids, through_entry)],
        )
        since = dict(cursor.fetchall())
    return {account_id: total((net, since.get(account_id, Decimal(0)))) for account_id, (_, net) in last.items()}


_LAST_SNAPSHOTS = """
    SELECT account.id, coalesce(last.through_entry, 0), coalesce(last.debit - last.credit, 0)
    FROM unnest(%(account_ids)s::bigint[]) AS account (id)
    LEFT JOIN LATERAL (
        SELECT through_entry, debit, credit FROM ledger_balancesnapshot
        WHERE account_id = account.id ORDER BY through_entry DESC LIMIT 1
    ) AS last ON true
"""

_NET_SINCE = """
    SELECT account_id, sum(amount) FROM ledger_posting
    WHERE account_id = ANY (%s::bigint[]) AND account_version IS NULL AND entry_id > %s GROUP BY account_id
"""


def _in_normal_direction(account: Account, net: Decimal) -> Decimal:
    return net if account.normal_side == Side.DEBIT else opposite(net)
