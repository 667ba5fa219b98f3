"""Seals: what makes a change of an old entry visible, whoever made it (docs/decisions/0008)."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q


class Seal(models.Model):
    """
    A fingerprint of every entry that the transactions [from_xid, before_xid) wrote, and of the seal before.

    All of those transactions had ended when the seal was made, so nothing can join it later. A transaction that was
    open then has a number from `before_xid` on: its entries are in the next seal.
    """

    # 1, 2, 3, … without a gap.
    number = models.BigIntegerField(primary_key=True)
    # Passed in, and never before that of the seal before. No entry is recorded before the last seal.
    sealed_at = models.DateTimeField()
    from_xid = models.BigIntegerField()
    before_xid = models.BigIntegerField()
    entry_count = models.BigIntegerField()
    # The lowest and the highest id; null if nothing was recorded.
    first_entry = models.BigIntegerField(null=True)
    last_entry = models.BigIntegerField(null=True)
    # Of each entry its id and the SHA-256 of its canonical form, in order of id. They are what names a changed entry.
    entry_ids = ArrayField(models.BigIntegerField())
    leaf_hashes = ArrayField(models.BinaryField(max_length=32))
    # The root of the Merkle tree (RFC 6962) over the leaves.
    root = models.BinaryField(max_length=32)
    # Hash of the seal before; 32 zero bytes in the first.
    previous_hash = models.BinaryField(max_length=32)
    # SHA-256 of the canonical form of this seal: who keeps the last one elsewhere can prove all before it.
    hash = models.BinaryField(max_length=32)

    class Meta:
        constraints = [
            models.CheckConstraint(name="ledger_seal_span", condition=Q(before_xid__gte=F("from_xid"))),
            models.CheckConstraint(
                name="ledger_seal_count",
                condition=Q(entry_count=0, first_entry__isnull=True, last_entry__isnull=True)
                | Q(entry_count__gt=0, first_entry__isnull=False, last_entry__gte=F("first_entry")),
            ),
        ]

    def __str__(self) -> str:
        return f"seal {self.number}"
