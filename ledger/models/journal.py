"""
The journal: accounts, entries and their postings.

An Account holds one currency. A JournalEntry is one business fact, made of two or more Postings whose debits
equal their credits in every currency. Nothing here is ever changed or removed; a mistake is corrected by another entry.

The database keeps these rules (migrations/sql). The application's role cannot write these tables at all: write
through `ledger.operations`, read through `ledger.queries`.
"""

from decimal import Decimal

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q

# Amounts are numeric(38,12), in the currency's major unit (dollars, not cents): a token can cost a millionth of a cent.
AMOUNT_DIGITS = 38
AMOUNT_PLACES = 12


class Side(models.TextChoices):
    DEBIT = "D", "Debit"
    CREDIT = "C", "Credit"


class Account(models.Model):
    """A place that holds value of one currency. Only balance, version and closed_at ever change."""

    # What the application calls it, such as "unbilled:cus_42:USD". The chart belongs to whoever opens accounts.
    code = models.CharField(max_length=200)
    # The noun of the chart, such as "receivable" or "grant". The ledger attaches no meaning to it.
    kind = models.CharField(max_length=40)
    # ISO 4217, upper case. Every posting of this account is in it.
    currency = models.CharField(max_length=3)
    # The side that makes the balance grow: debit for assets and expenses, credit for liabilities and revenue.
    normal_side = models.CharField(max_length=1, choices=Side)
    # Whose account it is; null for a system account.
    customer_key = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001
    # The balance may not fall below this, in the normal direction; null: it may fall without limit.
    floor = models.DecimalField(max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES, null=True, blank=True)
    # False for system accounts that many entries touch at once: no balance row for all postings to queue up at.
    keeps_balance = models.BooleanField(default=True)
    # Σ of this account's postings in the normal direction; moved only by the posting function. 0 if it keeps none.
    balance = models.DecimalField(
        max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES, default=Decimal(0), editable=False
    )
    # How many postings made that balance. A posting's account_version is its number in this count.
    version = models.BigIntegerField(default=0, editable=False)
    # Nothing can be posted to a closed account, and it is not opened again.
    closed_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        # For who answers customers: the statement of the one who asks, and not the whole ledger.
        permissions = (("view_customer_statement", "Can read the statement of a customer"),)
        constraints = [
            models.UniqueConstraint(name="ledger_account_code", fields=["code"]),
            models.CheckConstraint(
                name="ledger_account_floor", condition=Q(floor__isnull=True) | Q(balance__gte=F("floor"))
            ),
            models.CheckConstraint(
                name="ledger_account_keeps_no_balance",
                condition=Q(keeps_balance=True) | Q(balance=0, version=0, floor__isnull=True),
            ),
            models.CheckConstraint(name="ledger_account_version", condition=Q(version__gt=0) | Q(version=0, balance=0)),
            models.CheckConstraint(
                name="ledger_account_closed_empty",
                condition=Q(closed_at__isnull=True) | Q(keeps_balance=True, balance=0),
            ),
            models.CheckConstraint(name="ledger_account_side", condition=Q(normal_side__in=["D", "C"])),
            models.CheckConstraint(name="ledger_account_currency", condition=Q(currency__regex=r"^[A-Z]{3}$")),
            models.CheckConstraint(
                name="ledger_account_named", condition=~Q(code="") & ~Q(kind="") & ~Q(customer_key="")
            ),
        ]
        indexes = [
            # queries.balances_of_customer, and the customer's page.
            models.Index(
                name="ledger_account_customer",
                fields=["customer_key", "code"],
                condition=Q(customer_key__isnull=False),
            ),
            # The admin's filter by kind; balances summed over one kind.
            models.Index(name="ledger_account_kind", fields=["kind", "code"]),
            # The few system accounts, for whom snapshots are taken. None of its columns changes with a posting.
            models.Index(name="ledger_account_system", fields=["id"], condition=Q(keeps_balance=False)),
        ]

    def __str__(self) -> str:
        return self.code


class JournalEntry(models.Model):
    """One business fact, recorded once."""

    # Made by the caller before the first try. Posting it again returns the first entry.
    idempotency_key = models.CharField(max_length=200)
    # The caller's name of the fact, such as "usage_accrued". "fx" and "fx_…" may carry more than one currency.
    kind = models.CharField(max_length=60)
    memo = models.CharField(max_length=500, blank=True)
    # When it happened, and when we wrote it down. Both are passed in; neither is a clock of the database.
    effective_at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    # Who did it: "user:NAME", "service:NAME", "task:NAME".
    actor = models.CharField(max_length=200)
    # What caused it: names and identifiers, such as {"invoice": "in_1", "event": "evt_1"}.
    cause = models.JSONField(default=dict)
    # SHA-256 of kind, effective_at, cause and lines, canonical: tells a repeat from another fact under the same key.
    body_digest = models.BinaryField(max_length=32)
    # The entry this one mirrors. Its key is then "reversal:<id>", so that no entry is reversed twice.
    reverses = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="reversals",
        db_index=False,
        db_constraint=False,
    )
    # The database transaction that wrote it. Postings can join it only there; seals cut by it.
    recorded_xid = models.BigIntegerField(editable=False)

    class Meta:
        verbose_name_plural = "journal entries"
        constraints = [
            models.UniqueConstraint(name="ledger_entry_key", fields=["idempotency_key"]),
            models.CheckConstraint(
                name="ledger_entry_named", condition=~Q(idempotency_key="") & ~Q(kind="") & ~Q(actor="")
            ),
        ]
        indexes = [
            # Entries of a span of time (queries.postings_sum, the admin's dates). Entries arrive nearly in order of
            # time, so block ranges do; a B-tree would cost every posting.
            BrinIndex(name="ledger_entry_effective", fields=["effective_at"], pages_per_range=16, autosummarize=True),
            # The entries of a seal. Transactions are numbered as they come, so block ranges do here, too.
            BrinIndex(name="ledger_entry_recorded", fields=["recorded_xid"], pages_per_range=16, autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.kind}"


class Posting(models.Model):
    """One line of an entry. Keyed by its entry and number: one index less on the largest table."""

    pk = models.CompositePrimaryKey("entry_id", "line_no")
    # No foreign key rows are locked while posting (a third of its cost): the trigger ledger_posting_rules checks
    # both ends for the whole statement, and neither end can be deleted.
    entry = models.ForeignKey(
        JournalEntry, on_delete=models.PROTECT, related_name="postings", db_index=False, db_constraint=False
    )
    line_no = models.SmallIntegerField()
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="postings", db_index=False, db_constraint=False
    )
    # Of the account's currency; above zero is a debit, below zero a credit.
    amount = models.DecimalField(max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES)
    # The account's balance once this line was posted, in its normal direction; null if it keeps none.
    balance_after = models.DecimalField(max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES, null=True)
    account_version = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            # NaN is a numeric, is not zero, and would hide in every sum.
            models.CheckConstraint(
                name="ledger_posting_amount",
                condition=~Q(amount=0) & Q(amount__lt=10 ** (AMOUNT_DIGITS - AMOUNT_PLACES)),
            ),
            models.CheckConstraint(
                name="ledger_posting_chained",
                condition=Q(balance_after__isnull=True, account_version__isnull=True)
                | Q(balance_after__isnull=False, account_version__gt=0),
            ),
            # queries.newest_lines of an account that keeps its balance, and the proof that its chain has no gap.
            models.UniqueConstraint(
                name="ledger_posting_version",
                fields=["account", "account_version"],
                condition=Q(account_version__isnull=False),
                include=["balance_after"],
            ),
        ]
        indexes = [
            # The same, and queries.balance_of, of an account that keeps none. Each posting is in one of the two.
            models.Index(
                name="ledger_posting_system",
                fields=["account", "entry", "line_no"],
                include=["amount"],
                condition=Q(account_version__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.entry_id}/{self.line_no}"
