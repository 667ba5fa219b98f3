"""
Money at Stripe: refunds, disputes and payouts, movements that were converted, and what an invoice was paid elsewhere.

The rules of the new tables are told in sql/0003_money.sql.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0003_money.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0002_rules"),
    ]

    operations = [
        migrations.CreateModel(
            name="Payout",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stripe_payout_id", models.CharField(max_length=255, unique=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("in_transit", "In transit"),
                            ("paid", "Paid"),
                            ("failed", "Failed"),
                            ("canceled", "Canceled"),
                        ],
                        max_length=20,
                    ),
                ),
                ("amount_minor", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("is_automatic", models.BooleanField()),
                ("failure_code", models.CharField(blank=True, max_length=100)),
                ("failure_message", models.CharField(blank=True, max_length=500)),
                ("occurred_at", models.DateTimeField(help_text="When Stripe made it.")),
                ("expected_at", models.DateTimeField(help_text="When Stripe expects it at the bank.")),
                ("arrived_at", models.DateTimeField(help_text="The day it counted as arrived, as entered.", null=True)),
                (
                    "returned_at",
                    models.DateTimeField(help_text="When it came back to our balance at Stripe.", null=True),
                ),
                ("projected_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("-occurred_at", "-id"),
            },
        ),
        migrations.AddField(
            model_name="balancetransaction",
            name="exchange_rate",
            field=models.CharField(blank=True, help_text="As Stripe states it.", max_length=40),
        ),
        migrations.AddField(
            model_name="balancetransaction",
            name="reporting_category",
            field=models.CharField(blank=True, max_length=100),
        ),
        migrations.AddField(
            model_name="balancetransaction",
            name="source_amount_minor",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="balancetransaction",
            name="source_currency",
            field=models.CharField(blank=True, max_length=3),
        ),
        migrations.AddField(
            model_name="invoice",
            name="paid_off_stripe_minor",
            field=models.BigIntegerField(default=0, help_text="What of it was paid elsewhere, as the ledger holds it."),
        ),
        migrations.AddField(
            model_name="payment",
            name="promise_count",
            field=models.PositiveIntegerField(default=0, help_text="How many entries made it so."),
        ),
        migrations.AddField(
            model_name="payment",
            name="promised_minor",
            field=models.BigIntegerField(
                default=0, help_text="Owed back for refunds that nothing else promises, as entered so far."
            ),
        ),
        migrations.AlterField(
            model_name="balancetransaction",
            name="stripe_source_id",
            field=models.CharField(blank=True, db_index=True, max_length=255),
        ),
        migrations.CreateModel(
            name="CreditNoteRefund",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stripe_credit_note_id", models.CharField(max_length=255)),
                ("stripe_refund_id", models.CharField(db_index=True, max_length=255)),
                ("amount_minor", models.BigIntegerField()),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("stripe_credit_note_id", "stripe_refund_id"), name="billing_creditnoterefund_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Dispute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stripe_dispute_id", models.CharField(max_length=255, unique=True)),
                ("stripe_charge_id", models.CharField(max_length=255)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("warning_needs_response", "Inquiry: needs response"),
                            ("warning_under_review", "Inquiry: under review"),
                            ("warning_closed", "Inquiry: closed"),
                            ("needs_response", "Needs response"),
                            ("under_review", "Under review"),
                            ("won", "Won"),
                            ("lost", "Lost"),
                            ("prevented", "Prevented"),
                        ],
                        max_length=30,
                    ),
                ),
                ("amount_minor", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("reason", models.CharField(blank=True, max_length=100)),
                ("respond_by", models.DateTimeField(help_text="Evidence is taken until then.", null=True)),
                ("occurred_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(help_text="When Stripe told that it was decided.", null=True)),
                ("lost_minor", models.BigIntegerField(default=0, help_text="Entered as bad debt so far.")),
                ("loss_count", models.PositiveIntegerField(default=0, help_text="How many entries made it so.")),
                ("projected_at", models.DateTimeField()),
                (
                    "payment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="disputes", to="billing.payment"
                    ),
                ),
            ],
            options={
                "ordering": ("-occurred_at", "-id"),
            },
        ),
        migrations.CreateModel(
            name="Refund",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stripe_refund_id", models.CharField(max_length=255, unique=True)),
                ("stripe_charge_id", models.CharField(max_length=255)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("requires_action", "Requires action"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("canceled", "Canceled"),
                        ],
                        max_length=20,
                    ),
                ),
                ("amount_minor", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("reason", models.CharField(blank=True, max_length=100)),
                ("failure_reason", models.CharField(blank=True, max_length=100)),
                ("occurred_at", models.DateTimeField(help_text="When it was asked for.")),
                ("sent_at", models.DateTimeField(null=True)),
                ("returned_at", models.DateTimeField(null=True)),
                ("projected_at", models.DateTimeField()),
                (
                    "payment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="refunds", to="billing.payment"
                    ),
                ),
            ],
            options={
                "ordering": ("-occurred_at", "-id"),
            },
        ),
        migrations.RunSQL(SQL.read_text(encoding="utf-8")),
    ]
