"""
Invoices in full: discount and tax, credit notes, prepaid credit, and usage that is absorbed.

The rules of the new tables, and what a line learns when it is finalised, are told in sql/0004_invoices.sql.
"""

from pathlib import Path

import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0004_invoices.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("promotions", "0004_withdrawal_rules"),
        ("billing", "0003_money"),
    ]

    operations = [
        migrations.AddField(
            model_name="invoice",
            name="credited_after_payment_minor",
            field=models.BigIntegerField(
                default=0, help_text="By credit notes: given back as balance, as refunds, or outside Stripe."
            ),
        ),
        migrations.AddField(
            model_name="invoice",
            name="credited_before_payment_minor",
            field=models.BigIntegerField(default=0, help_text="By credit notes: so much less is asked for."),
        ),
        migrations.AddField(
            model_name="invoice",
            name="discount_minor",
            field=models.BigIntegerField(default=0, help_text="Taken off by all discounts; already out of the total."),
        ),
        migrations.AddField(
            model_name="invoice",
            name="tax_minor",
            field=models.BigIntegerField(default=0, help_text="All tax in the total, on top of prices or within them."),
        ),
        migrations.AddField(
            model_name="invoice",
            name="voided_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="invoice",
            name="written_off_minor",
            field=models.BigIntegerField(
                default=0, help_text="What of it the ledger holds as bad debt now; not Stripe's figure."
            ),
        ),
        migrations.AddField(
            model_name="invoiceline",
            name="discount_minor",
            field=models.BigIntegerField(default=0, help_text="Taken off the amount."),
        ),
        migrations.AddField(
            model_name="invoiceline",
            name="exclusive_tax_minor",
            field=models.BigIntegerField(default=0, help_text="Tax on top of amount less discount."),
        ),
        migrations.AddField(
            model_name="invoiceline",
            name="inclusive_tax_minor",
            field=models.BigIntegerField(default=0, help_text="Tax that is part of the amount."),
        ),
        migrations.AlterField(
            model_name="invoiceline",
            name="amount_minor",
            field=models.BigIntegerField(help_text="As charged, in minor units, before discount and tax on top."),
        ),
        migrations.AlterField(
            model_name="invoiceline",
            name="kind",
            field=models.CharField(
                choices=[
                    ("usage", "Usage"),
                    ("coverage", "Covered by allowance or credit"),
                    ("fee", "Subscription fee"),
                    ("one_off", "One-off"),
                    ("prepaid", "Prepaid credit"),
                ],
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="CreditNote",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stripe_credit_note_id", models.CharField(max_length=255, unique=True)),
                ("number", models.CharField(max_length=100)),
                ("status", models.CharField(choices=[("issued", "Issued"), ("void", "Void")], max_length=20)),
                ("reason", models.CharField(blank=True, max_length=60)),
                ("memo", models.TextField(blank=True)),
                ("currency", models.CharField(max_length=3)),
                ("total_minor", models.BigIntegerField(help_text="With tax, after discount.")),
                ("pre_payment_minor", models.BigIntegerField(help_text="So much less is asked for on the invoice.")),
                ("to_balance_minor", models.BigIntegerField(help_text="Given back onto the customer's balance.")),
                ("refunded_minor", models.BigIntegerField(help_text="Given back by refunds.")),
                ("out_of_band_minor", models.BigIntegerField(help_text="Given back outside Stripe, from the bank.")),
                ("issued_at", models.DateTimeField()),
                ("voided_at", models.DateTimeField(null=True)),
                ("unwound_at", models.DateTimeField(null=True)),
                ("journal_entry_id", models.BigIntegerField(unique=True)),
                ("projected_at", models.DateTimeField()),
                (
                    "invoice",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="credit_notes", to="billing.invoice"
                    ),
                ),
            ],
            options={
                "ordering": ("-issued_at", "-id"),
            },
        ),
        migrations.CreateModel(
            name="CreditNoteLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveIntegerField()),
                ("description", models.CharField(max_length=500)),
                ("amount_minor", models.BigIntegerField(help_text="Before discount and tax on top.")),
                ("discount_minor", models.BigIntegerField()),
                ("exclusive_tax_minor", models.BigIntegerField()),
                ("inclusive_tax_minor", models.BigIntegerField()),
                (
                    "from_grant",
                    models.DecimalField(
                        decimal_places=12,
                        default=0,
                        help_text="Taken from the line's paid credit, in currency units.",
                        max_digits=38,
                    ),
                ),
                ("stripe_line_id", models.CharField(max_length=255, unique=True)),
                (
                    "credit_note",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="billing.creditnote"
                    ),
                ),
                (
                    "invoice_line",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="credit_note_lines",
                        to="billing.invoiceline",
                    ),
                ),
            ],
            options={
                "ordering": ("credit_note_id", "position"),
            },
        ),
        migrations.CreateModel(
            name="PrepaidPurchase",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(
                        help_text="Of the credit, as the customer reads it on later invoices.", max_length=200
                    ),
                ),
                (
                    "bonus_amount",
                    models.DecimalField(
                        decimal_places=12, default=0, help_text="Given on top, in currency units.", max_digits=38
                    ),
                ),
                (
                    "valid_days",
                    models.PositiveIntegerField(
                        help_text="Expires so long after the payment; empty: never.", null=True
                    ),
                ),
                (
                    "bonus_grant",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="promotions.creditgrant",
                    ),
                ),
                (
                    "grant",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="promotions.creditgrant",
                    ),
                ),
                (
                    "line",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="prepaid", to="billing.invoiceline"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="AbsorbedUsage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("idempotency_key", models.CharField(max_length=200)),
                ("quantity", models.DecimalField(decimal_places=12, max_digits=38)),
                (
                    "amount",
                    models.DecimalField(decimal_places=12, help_text="In currency units, exact.", max_digits=38),
                ),
                ("reason", models.CharField(max_length=500)),
                ("absorbed_by", models.CharField(help_text="Who: user:NAME or service:NAME.", max_length=200)),
                ("recorded_at", models.DateTimeField()),
                (
                    "journal_entry_id",
                    models.BigIntegerField(help_text="Empty where the amounts sum to nothing.", null=True),
                ),
                (
                    "accrual",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.usageaccrual"
                    ),
                ),
                (
                    "period",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="absorbed", to="billing.billingperiod"
                    ),
                ),
                (
                    "rate",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.rate"),
                ),
            ],
            options={
                "verbose_name_plural": "Absorbed usage",
                "ordering": ("-id",),
                "constraints": [
                    models.UniqueConstraint(fields=("idempotency_key", "rate"), name="billing_absorbed_once"),
                    models.CheckConstraint(
                        condition=models.Q(("reason", ""), _negated=True), name="billing_absorbed_reason"
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="creditnote",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "total_minor",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    models.F("pre_payment_minor"), "+", models.F("to_balance_minor")
                                ),
                                "+",
                                models.F("refunded_minor"),
                            ),
                            "+",
                            models.F("out_of_band_minor"),
                        ),
                    )
                ),
                name="billing_creditnote_total_is_given_back",
            ),
        ),
        migrations.AddConstraint(
            model_name="creditnoteline",
            constraint=models.UniqueConstraint(fields=("credit_note", "position"), name="billing_cnline_position"),
        ),
        migrations.AddConstraint(
            model_name="prepaidpurchase",
            constraint=models.CheckConstraint(
                condition=models.Q(("bonus_amount__gte", 0)), name="billing_prepaid_bonus_not_negative"
            ),
        ),
        migrations.RunSQL(SQL.read_text(encoding="utf-8")),
    ]
