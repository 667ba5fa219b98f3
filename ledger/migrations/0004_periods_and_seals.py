"""Accounting periods and seals. Their rules and functions are told in sql/0004_periods.sql and sql/0004_seals.sql."""

from pathlib import Path

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0003_posting"),
    ]

    operations = [
        migrations.CreateModel(
            name="PeriodClosing",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("closed_before", models.DateTimeField()),
                ("reopens", models.BooleanField(default=False)),
                ("decided_at", models.DateTimeField()),
                ("actor", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=500)),
            ],
            options={
                "permissions": (
                    ("close_period", "Can close accounting periods"),
                    ("reopen_period", "Can reopen accounting periods"),
                ),
            },
        ),
        migrations.CreateModel(
            name="Seal",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("sealed_at", models.DateTimeField()),
                ("from_xid", models.BigIntegerField()),
                ("before_xid", models.BigIntegerField()),
                ("entry_count", models.BigIntegerField()),
                ("first_entry", models.BigIntegerField(null=True)),
                ("last_entry", models.BigIntegerField(null=True)),
                (
                    "entry_ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                (
                    "leaf_hashes",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BinaryField(max_length=32), size=None),
                ),
                ("root", models.BinaryField(max_length=32)),
                ("previous_hash", models.BinaryField(max_length=32)),
                ("hash", models.BinaryField(max_length=32)),
            ],
        ),
        migrations.AddIndex(
            model_name="journalentry",
            index=django.contrib.postgres.indexes.BrinIndex(
                autosummarize=True, fields=["recorded_xid"], name="ledger_entry_recorded", pages_per_range=16
            ),
        ),
        migrations.AddConstraint(
            model_name="periodclosing",
            constraint=models.CheckConstraint(
                condition=models.Q(models.Q(("actor", ""), _negated=True), models.Q(("reason", ""), _negated=True)),
                name="ledger_period_closing_named",
            ),
        ),
        migrations.AddConstraint(
            model_name="periodclosing",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("closed_before__gte", "0001-01-01T00:00:00Z"), ("closed_before__lt", "9999-01-01T00:00:00Z")
                ),
                name="ledger_period_closing_finite",
            ),
        ),
        migrations.AddConstraint(
            model_name="seal",
            constraint=models.CheckConstraint(
                condition=models.Q(("before_xid__gte", models.F("from_xid"))), name="ledger_seal_span"
            ),
        ),
        migrations.AddConstraint(
            model_name="seal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("entry_count", 0), ("first_entry__isnull", True), ("last_entry__isnull", True)),
                    models.Q(
                        ("entry_count__gt", 0),
                        ("first_entry__isnull", False),
                        ("last_entry__gte", models.F("first_entry")),
                    ),
                    _connector="OR",
                ),
                name="ledger_seal_count",
            ),
        ),
        migrations.RunSQL((SQL / "0004_periods.sql").read_text(encoding="utf-8")),
        migrations.RunSQL((SQL / "0004_seals.sql").read_text(encoding="utf-8")),
    ]
