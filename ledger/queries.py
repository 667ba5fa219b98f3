"""
Every question other code may ask of the ledger.

Balances are in the account's normal direction and major unit. Answers are values, never rows that could be saved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import QuerySet, Sum

from ledger.errors import UnknownAccount, UnknownEntry
from ledger.models import Account, JournalEntry, Posting, Side


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


@dataclass(frozen=True, slots=True)
class EntryLine:
    line_no: int
    account_id: int
    account: str
    currency: str
    amount: Decimal

    @property
    def debit(self) -> Decimal | None:
        return self.amount if self.amount > 0 else None

    @property
    def credit(self) -> Decimal | None:
        return -self.amount if self.amount < 0 else None


@dataclass(frozen=True, slots=True)
class Entry:
    id: int
    idempotency_key: str
    kind: str
    memo: str
    effective_at: datetime
    recorded_at: datetime
    actor: str
    cause: Mapping[str, str]
    reverses: int | None
    reversed_by: int | None
    lines: tuple[EntryLine, ...]


def balance_of(code: str) -> Decimal:
    """
    What the account holds now. Exact at once; of a system account, the sum of its postings.

    :raises UnknownAccount: if there is none with this code.
    """
    return balance_of_account(_account(code))


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
    account = _account(code)
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


def statement(code: str, *, limit: int = 100, before: tuple[int, int] | None = None) -> list[StatementLine]:
    """
    The account's postings, newest first, at most `limit`; `before` is the cursor of the last line already seen.

    :raises UnknownAccount: if there is none with this code.
    """
    return statement_of(_account(code), limit=limit, before=before)


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


def entry(entry_id: int) -> Entry:
    """
    One entry with its lines, in their order.

    :raises UnknownEntry: if there is none with this id.
    """
    found = find_entry(entry_id)
    if found is None:
        raise UnknownEntry(str(entry_id))
    return found


def find_entry(entry_id: int) -> Entry | None:
    """As `entry`, but None if there is none with this id."""
    found = JournalEntry.objects.filter(pk=entry_id).first()
    if found is None:
        return None
    return Entry(
        id=found.pk,
        idempotency_key=found.idempotency_key,
        kind=found.kind,
        memo=found.memo,
        effective_at=found.effective_at,
        recorded_at=found.recorded_at,
        actor=found.actor,
        cause=found.cause,
        reverses=found.reverses_id,
        reversed_by=reversal_of(entry_id),
        lines=lines_of(entry_id),
    )


def lines_of(entry_id: int) -> tuple[EntryLine, ...]:
    """The lines of an entry, in their order; none if there is no such entry."""
    return tuple(
        EntryLine(
            line_no=posting.line_no,
            account_id=posting.account_id,
            account=posting.account.code,
            currency=posting.account.currency,
            amount=posting.amount,
        )
        for posting in Posting.objects.filter(entry_id=entry_id).select_related("account").order_by("line_no")
    )


def reversal_of(entry_id: int) -> int | None:
    """The entry that reversed this one, if one did."""
    return JournalEntry.objects.filter(idempotency_key=f"reversal:{entry_id}").values_list("pk", flat=True).first()


def entry_by_key(idempotency_key: str) -> Entry | None:
    """The entry that a key recorded, if it did."""
    entry_id = JournalEntry.objects.filter(idempotency_key=idempotency_key).values_list("pk", flat=True).first()
    return None if entry_id is None else find_entry(entry_id)


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


def count_entries() -> int:
    return JournalEntry.objects.count()


def out_of_balance() -> list[int]:
    """
    Entries that break the journal's arithmetic: fewer than two postings, a currency that does not sum to zero, a break
    in an account's chain of balances, or a last posting that is not where its account stands. Empty in a sound ledger.

    It trusts no trigger and reads the whole journal.
    """
    with connection.cursor() as cursor:
        cursor.execute(_OUT_OF_BALANCE)
        return [row[0] for row in cursor.fetchall()]


def accounts_out_of_step() -> list[str]:
    """Accounts whose balance or version is not the sum or the number of their postings. Empty in a sound ledger."""
    with connection.cursor() as cursor:
        cursor.execute(_ACCOUNTS_OUT_OF_STEP)
        return [row[0] for row in cursor.fetchall()]


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

_OUT_OF_BALANCE = """
    WITH chain AS (
        SELECT posting.entry_id, account.currency, posting.amount, account.keeps_balance, account.balance,
               account.version, posting.account_version, posting.balance_after,
               CASE account.normal_side WHEN 'D' THEN posting.amount ELSE -posting.amount END AS change,
               lag(posting.account_version, 1, 0::bigint) OVER by_version AS version_before,
               lag(posting.balance_after, 1, 0::numeric) OVER by_version AS balance_before,
               lead(posting.entry_id) OVER by_version IS NULL AS is_last
        FROM ledger_posting AS posting LEFT JOIN ledger_account AS account ON account.id = posting.account_id
        WINDOW by_version AS (PARTITION BY posting.account_id ORDER BY posting.account_version)
    )
    SELECT entry_id FROM chain WHERE currency IS NULL OR CASE WHEN keeps_balance
        THEN account_version IS DISTINCT FROM version_before + 1
          OR balance_after IS DISTINCT FROM balance_before + change
          OR (is_last AND (account_version, balance_after) IS DISTINCT FROM (version, balance))
        ELSE account_version IS NOT NULL END
    UNION
    SELECT entry_id FROM chain GROUP BY entry_id, currency HAVING sum(amount) <> 0
    UNION
    SELECT entry.id FROM ledger_journalentry AS entry
    LEFT JOIN ledger_posting AS posting ON posting.entry_id = entry.id
    GROUP BY entry.id HAVING count(posting.line_no) < 2
    ORDER BY 1
"""

_ACCOUNTS_OUT_OF_STEP = """
    SELECT account.code
    FROM ledger_account AS account
    LEFT JOIN (
        SELECT account_id, count(*) AS version, sum(amount) AS net FROM ledger_posting
        WHERE account_version IS NOT NULL GROUP BY account_id
    ) AS posted ON posted.account_id = account.id
    WHERE account.version <> coalesce(posted.version, 0)
       OR account.balance <> coalesce(CASE account.normal_side WHEN 'D' THEN posted.net ELSE -posted.net END, 0)
    ORDER BY account.code
"""


def _account(code: str) -> Account:
    account = Account.objects.filter(code=code).first()
    if account is None:
        raise UnknownAccount(code)
    return account


def _in_normal_direction(account: Account, postings: QuerySet[Posting]) -> Decimal:
    net = postings.aggregate(net=Sum("amount"))["net"] or Decimal(0)
    return net if account.normal_side == Side.DEBIT else -net


def _before(account: Account, postings: QuerySet[Posting], cursor: tuple[int, int]) -> QuerySet[Posting]:
    if account.keeps_balance:
        seen = Posting.objects.filter(pk=cursor, account=account).values("account_version")
        return postings.filter(account_version__lt=seen)
    return postings.filter(pk__lt=cursor)
