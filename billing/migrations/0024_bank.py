"""
Lines of the bank's statement, and which payout each is. What of it may change is told in sql/0024_bank.sql.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0024_bank.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0023_metered_usage"),
    ]

    operations = [
        migrations.CreateModel(
            name="BankAccount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True)),
                ("currency", models.CharField(max_length=3)),
                (
                    "told_apart_by",
                    models.CharField(
                        choices=[
                            ("bank_id", "The bank's id of a line"),
                            ("content", "Day, amount and reference, counted"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "reference_columns",
                    models.JSONField(help_text="The columns of the reference, where lines are told apart by it."),
                ),
                ("opened_at", models.DateTimeField(help_text="When its first statement was imported.")),
                ("opened_by", models.CharField(max_length=200)),
            ],
            options={
                "ordering": ("name",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("name", ""), _negated=True),
                            models.Q(("opened_by", ""), _negated=True),
                            ("currency__regex", "^[A-Z]{3}$"),
                        ),
                        name="billing_bankaccount_is_named",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="BankStatement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="statements", to="billing.bankaccount"
                    ),
                ),
                ("file_name", models.CharField(max_length=255)),
                ("file_digest", models.CharField(help_text="SHA-256 of the file.", max_length=64)),
                ("rules", models.JSONField(help_text="How the file was read: columns, dates, decimals.")),
                ("rules_digest", models.CharField(max_length=64)),
                ("line_count", models.PositiveIntegerField()),
                ("new_count", models.PositiveIntegerField(help_text="Lines that no statement before had.")),
                ("first_day", models.DateField()),
                ("last_day", models.DateField()),
                (
                    "opening_minor",
                    models.BigIntegerField(
                        help_text="The balance before its first line, where it was given.", null=True
                    ),
                ),
                (
                    "closing_minor",
                    models.BigIntegerField(help_text="The balance after its last line, where it was given.", null=True),
                ),
                ("imported_at", models.DateTimeField()),
                ("imported_by", models.CharField(max_length=200)),
            ],
            options={
                "ordering": ("-imported_at", "-id"),
                "permissions": (("import_bankstatement", "Can import statements of a bank account"),),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("account", "file_digest", "rules_digest"), name="billing_bankstatement_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("first_day__lte", models.F("last_day")),
                            ("line_count__gt", 0),
                            ("new_count__lte", models.F("line_count")),
                        ),
                        name="billing_bankstatement_in_order",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("imported_by", ""), _negated=True), name="billing_bankstatement_by_somebody"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BankLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="billing.bankaccount"
                    ),
                ),
                (
                    "statement",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="billing.bankstatement"
                    ),
                ),
                ("line_number", models.PositiveIntegerField(help_text="In the file that brought it first.")),
                ("booked_on", models.DateField()),
                ("value_on", models.DateField(null=True)),
                (
                    "amount_minor",
                    models.BigIntegerField(help_text="Minor units of the currency; below zero it left the account."),
                ),
                ("currency", models.CharField(max_length=3)),
                ("reference", models.CharField(blank=True, max_length=1000)),
                ("bank_id", models.CharField(blank=True, max_length=200)),
                ("identity", models.CharField(help_text="SHA-256 of what tells it apart.", max_length=64)),
                (
                    "number",
                    models.PositiveIntegerField(help_text="Of lines that are equal in this, in one file: which."),
                ),
            ],
            options={
                "ordering": ("-booked_on", "-id"),
                "permissions": (("match_bankline", "Can say which payout a bank line is, or that it is none"),),
                "indexes": [models.Index(fields=["currency", "amount_minor"], name="billing_bankline_amount")],
                "constraints": [
                    models.UniqueConstraint(fields=("account", "identity", "number"), name="billing_bankline_once"),
                    models.CheckConstraint(condition=models.Q(("number__gt", 0)), name="billing_bankline_counted"),
                ],
            },
        ),
        migrations.CreateModel(
            name="BankLineDecision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "line",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="decisions", to="billing.bankline"
                    ),
                ),
                ("is_stripes", models.BooleanField()),
                ("why", models.CharField(max_length=500)),
                ("decided_at", models.DateTimeField()),
                ("decided_by", models.CharField(max_length=200)),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(models.Q(("why", ""), _negated=True), ("decided_by__startswith", "user:")),
                        name="billing_banklinedecision_says_why",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="BankMatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(choices=[("exact", "By the rule"), ("by_hand", "By a person")], max_length=20),
                ),
                ("currency", models.CharField(max_length=3)),
                (
                    "difference_minor",
                    models.BigIntegerField(help_text="The lines less the payouts; only a person accepts one."),
                ),
                ("why", models.CharField(max_length=500)),
                ("matched_at", models.DateTimeField()),
                ("matched_by", models.CharField(help_text="A person, or the task of the rule.", max_length=200)),
            ],
            options={
                "verbose_name_plural": "bank matches",
                "ordering": ("-id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("difference_minor", 0), ("kind", "exact"), ("matched_by", "task:match_bank_lines")
                            ),
                            models.Q(("kind", "by_hand"), ("matched_by__startswith", "user:")),
                            _connector="OR",
                        ),
                        name="billing_bankmatch_by_whom",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("why", ""), _negated=True), name="billing_bankmatch_says_why"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BankMatchLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "match",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="billing.bankmatch"
                    ),
                ),
                (
                    "line",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="matches", to="billing.bankline"
                    ),
                ),
                (
                    "number",
                    models.PositiveIntegerField(
                        help_text="Which match of this line it is; every earlier one was undone."
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "constraints": [models.UniqueConstraint(fields=("line", "number"), name="billing_bankmatchline_once")],
            },
        ),
        migrations.CreateModel(
            name="BankMatchPayout",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "match",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="payouts", to="billing.bankmatch"
                    ),
                ),
                (
                    "payout",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="bank_matches", to="billing.payout"
                    ),
                ),
                ("leg", models.CharField(choices=[("arrived", "Arrived"), ("returned", "Went back")], max_length=10)),
                (
                    "number",
                    models.PositiveIntegerField(help_text="Which match of this it is; every earlier one was undone."),
                ),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(fields=("payout", "leg", "number"), name="billing_bankmatchpayout_once"),
                    models.CheckConstraint(
                        condition=models.Q(("leg__in", ["arrived", "returned"])), name="billing_bankmatchpayout_leg"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BankMatchUndoing",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "match",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="undoing", to="billing.bankmatch"
                    ),
                ),
                ("why", models.CharField(max_length=500)),
                ("undone_at", models.DateTimeField()),
                ("undone_by", models.CharField(help_text="A person, or the task of the rule.", max_length=200)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("why", ""), _negated=True), models.Q(("undone_by", ""), _negated=True)
                        ),
                        name="billing_bankmatchundoing_says_why",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="PayoutMovement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "payout",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="movements", to="billing.payout"
                    ),
                ),
                (
                    "balance_transaction",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="paid_out_by",
                        to="billing.balancetransaction",
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.AddField(
            model_name="payout",
            name="statement_descriptor",
            field=models.CharField(
                blank=True, default="", help_text="What the bank's statement shows.", max_length=100
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="payout",
            name="trace_id",
            field=models.CharField(
                blank=True, default="", help_text="By which the bank can find it; known once paid.", max_length=200
            ),
            preserve_default=False,
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
