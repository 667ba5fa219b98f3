"""
Usage that Stripe left off an invoice, discounts line by line, and bank accounts that were closed. The rules are told in
sql/0026_left_off_and_closed_accounts.sql.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0026_left_off_and_closed_accounts.sql"


def _id() -> models.BigAutoField:  # type: ignore[type-arg]
    return models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


class Migration(migrations.Migration):
    dependencies = [("billing", "0025_previews")]

    operations = [
        migrations.CreateModel(
            name="MeteredShortfall",
            fields=[
                ("id", _id()),
                (
                    "amount_minor",
                    models.BigIntegerField(
                        help_text="What Stripe's meter lacks by it, in minor units, of either sign."
                    ),
                ),
                ("found_at", models.DateTimeField()),
                (
                    "close",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="metered_shortfalls",
                        to="billing.invoiceclose",
                    ),
                ),
                (
                    "event",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="shortfall",
                        to="billing.meteredevent",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "verbose_name": "shortfall",
                "verbose_name_plural": "usage left off invoices",
                "permissions": (("decide_meteredshortfall", "Can decide about usage that Stripe left off an invoice"),),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount_minor", 0), _negated=True), name="billing_meteredshortfall_amount"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="MeteredShortfallDecision",
            fields=[
                ("id", _id()),
                (
                    "way",
                    models.CharField(
                        choices=[
                            ("sent_again", "Sent again, and on its invoice"),
                            ("next_invoice", "On the next invoice"),
                            ("document", "A credit note, or an invoice of its own"),
                            ("absorb", "Absorbed"),
                        ],
                        max_length=12,
                    ),
                ),
                ("reason", models.CharField(max_length=500)),
                (
                    "decided_by",
                    models.CharField(help_text="A task of ours, a service or a person.", max_length=200),
                ),
                ("decided_at", models.DateTimeField()),
                (
                    "shortfall",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="decision",
                        to="billing.meteredshortfall",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True), models.Q(("decided_by", ""), _negated=True)
                        ),
                        name="billing_meteredshortfalldecision_says_why",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="BankAccountClosing",
            fields=[
                ("id", _id()),
                ("closed_on", models.DateField(help_text="Its last day; empty: it is open.", null=True)),
                ("reason", models.CharField(max_length=500)),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=200)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="closings", to="billing.bankaccount"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "permissions": (("close_bankaccount", "Can say that a bank account was closed"),),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True), models.Q(("recorded_by", ""), _negated=True)
                        ),
                        name="billing_bankaccountclosing_says_why",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="InvoiceLineDiscount",
            fields=[
                ("id", _id()),
                ("stripe_discount_id", models.CharField(max_length=255)),
                (
                    "coupon",
                    models.CharField(
                        blank=True, help_text="Stripe's id of its coupon, where it was told.", max_length=255
                    ),
                ),
                ("amount_minor", models.BigIntegerField()),
                (
                    "line",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="discounts", to="billing.invoiceline"
                    ),
                ),
            ],
            options={
                "ordering": ("line_id", "id"),
                "constraints": [
                    models.UniqueConstraint(fields=("line", "stripe_discount_id"), name="billing_linediscount_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("amount_minor", 0), _negated=True),
                            models.Q(("stripe_discount_id", ""), _negated=True),
                        ),
                        name="billing_linediscount_takes",
                    ),
                ],
            },
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
