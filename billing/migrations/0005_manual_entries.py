"""What people asked to have entered by hand, and what was decided. The rules are told in sql/0005_manual_entries.sql."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0005_manual_entries.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0004_invoices"),
    ]

    operations = [
        migrations.CreateModel(
            name="ManualEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(choices=[("adjustment", "Adjustment"), ("reversal", "Reversal")], max_length=20),
                ),
                (
                    "reason_code",
                    models.CharField(blank=True, help_text="Of an adjustment (adjustments.py).", max_length=40),
                ),
                ("reason", models.CharField(help_text="Why, in words, for whoever asks later.", max_length=500)),
                ("reference", models.CharField(blank=True, help_text="A ticket, a bank line, an id.", max_length=200)),
                ("currency", models.CharField(max_length=3)),
                (
                    "amount",
                    models.DecimalField(
                        decimal_places=12,
                        help_text="What moves, above zero, in currency units: the sum of the debits.",
                        max_digits=38,
                    ),
                ),
                (
                    "debit_account",
                    models.CharField(blank=True, help_text="Code of the account an adjustment debits.", max_length=200),
                ),
                (
                    "credit_account",
                    models.CharField(blank=True, help_text="Code of the one it credits.", max_length=200),
                ),
                (
                    "reverses_entry_id",
                    models.BigIntegerField(help_text="The journal entry that a reversal mirrors.", null=True),
                ),
                ("effective_at", models.DateTimeField(help_text="When it happened, in the books.")),
                (
                    "limit_amount",
                    models.DecimalField(
                        decimal_places=12,
                        help_text="What one person could move alone; null: nothing.",
                        max_digits=38,
                        null=True,
                    ),
                ),
                (
                    "alone_total",
                    models.DecimalField(
                        decimal_places=12,
                        help_text="What the requester moved alone for this customer on this day (UTC), with this.",
                        max_digits=38,
                    ),
                ),
                ("needs_second_person", models.BooleanField()),
                ("requested_by", models.CharField(help_text='"user:NAME"', max_length=200)),
                ("requested_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(max_length=200, unique=True)),
                (
                    "customer",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="manual_entries",
                        to="billing.customer",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "manual entries",
                "ordering": ("-requested_at", "-id"),
                "permissions": (
                    ("request_adjustment", "Can ask for any adjustment of the books"),
                    ("request_customer_adjustment", "Can ask for adjustments of what customers were promised"),
                    ("request_reversal", "Can ask for the reversal of a journal entry"),
                    ("approve_manualentry", "Can approve or reject what somebody else asked for"),
                ),
            },
        ),
        migrations.CreateModel(
            name="ManualEntryDecision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("within_limit", "Posted, within the limit"),
                            ("approved", "Approved and posted"),
                            ("rejected", "Rejected"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        max_length=20,
                    ),
                ),
                ("requested_by", models.CharField(max_length=200)),
                ("needs_second_person", models.BooleanField()),
                ("decided_by", models.CharField(help_text='"user:NAME"', max_length=200)),
                ("decided_at", models.DateTimeField()),
                ("words", models.CharField(blank=True, help_text="Why it was decided so.", max_length=500)),
                (
                    "journal_entry_id",
                    models.BigIntegerField(help_text="What was posted; null if nothing was.", null=True, unique=True),
                ),
                (
                    "manual_entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="decision", to="billing.manualentry"
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="manualentry",
            index=models.Index(fields=["requested_by", "requested_at"], name="billing_manualentry_requester"),
        ),
        migrations.AddIndex(
            model_name="manualentry",
            index=models.Index(
                condition=models.Q(("reverses_entry_id__isnull", False)),
                fields=["reverses_entry_id"],
                name="billing_manualentry_reverses",
            ),
        ),
        migrations.AddConstraint(
            model_name="manualentry",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0), ("amount__lt", 100000000000000000000000000)),
                name="billing_manualentry_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="manualentry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("kind", "adjustment"),
                        ("reverses_entry_id__isnull", True),
                        models.Q(("reason_code", ""), _negated=True),
                        models.Q(("debit_account", ""), _negated=True),
                        models.Q(("credit_account", ""), _negated=True),
                        models.Q(("debit_account", models.F("credit_account")), _negated=True),
                    ),
                    models.Q(
                        ("credit_account", ""),
                        ("debit_account", ""),
                        ("kind", "reversal"),
                        ("reason_code", ""),
                        ("reverses_entry_id__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="billing_manualentry_says_what",
            ),
        ),
        migrations.AddConstraint(
            model_name="manualentry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason", ""), _negated=True), models.Q(("requested_by", ""), _negated=True)
                ),
                name="billing_manualentry_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="manualentry",
            constraint=models.CheckConstraint(
                condition=models.Q(("effective_at__lte", models.F("requested_at"))),
                name="billing_manualentry_not_ahead",
            ),
        ),
        migrations.AddConstraint(
            model_name="manualentry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("alone_total__gte", models.F("amount")),
                    models.Q(
                        models.Q(("limit_amount__isnull", True), ("needs_second_person", True)),
                        models.Q(("alone_total__gt", models.F("limit_amount")), ("needs_second_person", True)),
                        models.Q(
                            ("alone_total__lte", models.F("limit_amount")),
                            ("limit_amount__isnull", False),
                            ("needs_second_person", False),
                        ),
                        _connector="OR",
                    ),
                ),
                name="billing_manualentry_limit",
            ),
        ),
        migrations.AddConstraint(
            model_name="manualentrydecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("decided_by", models.F("requested_by")),
                        ("needs_second_person", False),
                        ("outcome", "within_limit"),
                    ),
                    models.Q(
                        ("decided_by", models.F("requested_by")),
                        ("needs_second_person", True),
                        ("outcome", "withdrawn"),
                    ),
                    models.Q(
                        ("needs_second_person", True),
                        ("outcome__in", ["approved", "rejected"]),
                        models.Q(("decided_by", models.F("requested_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="billing_manualentry_second_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="manualentrydecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_by", ""), _negated=True),
                    models.Q(("outcome", "within_limit"), models.Q(("words", ""), _negated=True), _connector="OR"),
                ),
                name="billing_manualentry_decided_in_words",
            ),
        ),
        migrations.AddConstraint(
            model_name="manualentrydecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("journal_entry_id__isnull", False), ("outcome__in", ["within_limit", "approved"])),
                    models.Q(("journal_entry_id__isnull", True), ("outcome__in", ["rejected", "withdrawn"])),
                    _connector="OR",
                ),
                name="billing_manualentry_posted",
            ),
        ),
        migrations.RunSQL(SQL.read_text(encoding="utf-8")),
    ]
