"""Snapshots of system accounts. Their rules and the function that takes them are told in sql/0005_snapshots.sql."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0004_periods_and_seals"),
    ]

    operations = [
        migrations.CreateModel(
            name="SnapshotMark",
            fields=[
                ("entry", models.BigIntegerField(primary_key=True, serialize=False)),
                ("marked_xid", models.BigIntegerField()),
                ("marked_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="BalanceSnapshot",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "account_id", "through_entry", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="snapshots",
                        to="ledger.account",
                    ),
                ),
                ("through_entry", models.BigIntegerField()),
                ("debit", models.DecimalField(decimal_places=12, max_digits=38)),
                ("credit", models.DecimalField(decimal_places=12, max_digits=38)),
                ("posting_count", models.BigIntegerField()),
                ("taken_at", models.DateTimeField()),
            ],
        ),
        migrations.AddIndex(
            model_name="account",
            index=models.Index(
                condition=models.Q(("keeps_balance", False)), fields=["id"], name="ledger_account_system"
            ),
        ),
        migrations.AddConstraint(
            model_name="snapshotmark",
            constraint=models.CheckConstraint(condition=models.Q(("entry__gt", 0)), name="ledger_snapshot_mark_entry"),
        ),
        migrations.AddConstraint(
            model_name="balancesnapshot",
            constraint=models.CheckConstraint(
                condition=models.Q(("credit__gte", 0), ("debit__gte", 0), ("posting_count__gt", 0)),
                name="ledger_snapshot_sides",
            ),
        ),
        migrations.RunSQL((SQL / "0005_snapshots.sql").read_text(encoding="utf-8")),
    ]
