"""What system accounts held once every entry up to an id was settled (docs/decisions/0009)."""

from django.db import models
from django.db.models import Q

from ledger.models.journal import AMOUNT_DIGITS, AMOUNT_PLACES, Account


class SnapshotMark(models.Model):
    """
    Every entry up to `entry` was recorded by a transaction with a number below `marked_xid`, or never will be.

    Ids are drawn in order, but committed in any. So an id is marked first, and rested upon only when every transaction
    that was open at the mark has ended.
    """

    # The highest id that was committed when the mark was made. Ids up to it had been drawn, some not yet committed.
    entry = models.BigIntegerField(primary_key=True)
    # The transaction that made the mark: it got its number after those ids were drawn.
    marked_xid = models.BigIntegerField()
    # Passed in; nothing is decided by it.
    marked_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(name="ledger_snapshot_mark_entry", condition=Q(entry__gt=0))]

    def __str__(self) -> str:
        return f"mark {self.entry}"


class BalanceSnapshot(models.Model):
    """The sums of all postings of one system account in the entries up to `through_entry`: they never change again."""

    pk = models.CompositePrimaryKey("account_id", "through_entry")
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="snapshots", db_index=False, db_constraint=False
    )
    # The `entry` of a mark.
    through_entry = models.BigIntegerField()
    # Σ of the amounts above zero, and minus Σ of those below, in the account's currency and major unit.
    debit = models.DecimalField(max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES)
    credit = models.DecimalField(max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES)
    # How many postings those are.
    posting_count = models.BigIntegerField()
    # Passed in; nothing is decided by it.
    taken_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="ledger_snapshot_sides", condition=Q(debit__gte=0, credit__gte=0, posting_count__gt=0)
            ),
        ]

    def __str__(self) -> str:
        return f"account {self.account_id} through {self.through_entry}"
