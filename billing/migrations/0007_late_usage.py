"""
Late usage: what a contract says of usage that is known after its period was closed, why a closed period was accrued
again, and the documents that settle it. The rules of the new tables are told in sql/0007_late_usage.sql.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0007_late_usage.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0006_reports"),
    ]

    operations = [
        migrations.CreateModel(
            name="LateCorrection",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("credit_note", "Credit note"), ("debit_note", "Invoice of its own")], max_length=12
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("intended", "Under way"), ("done", "Done"), ("refused", "Refused by Stripe")],
                        default="intended",
                        max_length=12,
                    ),
                ),
                (
                    "request",
                    models.JSONField(help_text="What Stripe is asked for; fixed before it is asked.", null=True),
                ),
                ("error", models.TextField(blank=True)),
                ("intended_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="LateCreditLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("quantity", models.DecimalField(decimal_places=12, max_digits=38)),
                (
                    "exact_amount",
                    models.DecimalField(decimal_places=12, help_text="In currency units, unrounded.", max_digits=38),
                ),
                ("amount_minor", models.BigIntegerField()),
                ("rounding", models.DecimalField(decimal_places=12, max_digits=38)),
            ],
            options={
                "ordering": ("correction_id", "id"),
            },
        ),
        migrations.CreateModel(
            name="LateProgress",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "next_xid",
                    models.BigIntegerField(help_text="Arrivals of every transaction below this one were looked at."),
                ),
                (
                    "retried",
                    models.JSONField(
                        default=list, help_text="Ids of periods that could not be accrued and are tried again."
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="LateUsage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "policy",
                    models.CharField(
                        choices=[
                            ("next_invoice", "On the next invoice"),
                            ("credit_or_debit_note", "By a document of its own"),
                            ("absorb", "Absorbed up to an amount"),
                        ],
                        help_text="Of the period's terms.",
                        max_length=30,
                    ),
                ),
                (
                    "rated_before",
                    models.DecimalField(
                        decimal_places=12, help_text="Price of the period's usage until then.", max_digits=38
                    ),
                ),
                (
                    "unbilled_before",
                    models.DecimalField(decimal_places=12, help_text="What of it was to be invoiced.", max_digits=38),
                ),
                ("events", models.PositiveIntegerField(help_text="Events that arrived since the accrual before.")),
                ("voided", models.PositiveIntegerField(help_text="Events taken out since by a correction.")),
                ("restored", models.PositiveIntegerField(help_text="Events put back since by a correction.")),
                ("first_received_at", models.DateTimeField(help_text="Of these events and corrections.", null=True)),
                ("last_received_at", models.DateTimeField(null=True)),
                (
                    "first_window",
                    models.DateTimeField(help_text="The first and last hour that they change.", null=True),
                ),
                ("last_window", models.DateTimeField(null=True)),
                ("windows", models.PositiveIntegerField(help_text="How many hours they change.")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("found", "Found"),
                            ("waiting", "Waits for the next invoice"),
                            ("decision", "Waits for a decision"),
                            ("correcting", "Document under way"),
                            ("settled", "Settled"),
                        ],
                        default="found",
                        max_length=12,
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        blank=True, help_text="What was done, or why a person has to decide.", max_length=500
                    ),
                ),
                (
                    "settled_by",
                    models.CharField(blank=True, help_text="user:NAME or service:NAME.", max_length=200),
                ),
                ("settled_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "late usage",
                "verbose_name_plural": "late usage",
                "ordering": ("-id",),
                "permissions": (("decide_lateusage", "Can decide about late usage"),),
            },
        ),
        migrations.AddField(
            model_name="planversion",
            name="late_absorb_up_to",
            field=models.DecimalField(
                decimal_places=12,
                default=0,
                help_text="So much late usage of a period is given up without asking, in currency units.",
                max_digits=38,
            ),
        ),
        migrations.AddField(
            model_name="planversion",
            name="late_policy",
            field=models.CharField(
                choices=[
                    ("next_invoice", "On the next invoice"),
                    ("credit_or_debit_note", "By a document of its own"),
                    ("absorb", "Absorbed up to an amount"),
                ],
                default="next_invoice",
                help_text="What becomes of usage that is known only after its period was closed.",
                max_length=30,
            ),
        ),
        migrations.AddField(
            model_name="usageaccrual",
            name="counted_before_xid",
            field=models.BigIntegerField(
                help_text="Events recorded by a database transaction below this one are counted, and no others.",
                null=True,
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("late_policy__in", ["next_invoice", "credit_or_debit_note", "absorb"])),
                name="billing_planversion_late_policy",
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("late_absorb_up_to__gt", 0), ("late_policy", "absorb")),
                    models.Q(models.Q(("late_policy", "absorb"), _negated=True), ("late_absorb_up_to", 0)),
                    _connector="OR",
                ),
                name="billing_planversion_late_absorb",
            ),
        ),
        migrations.AddField(
            model_name="latecorrection",
            name="accrual",
            field=models.ForeignKey(
                help_text="The latest that is in it.",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="billing.usageaccrual",
            ),
        ),
        migrations.AddField(
            model_name="latecorrection",
            name="credit_note",
            field=models.OneToOneField(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="late_correction",
                to="billing.creditnote",
            ),
        ),
        migrations.AddField(
            model_name="latecorrection",
            name="invoice",
            field=models.ForeignKey(
                help_text="Credited, or made.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="late_corrections",
                to="billing.invoice",
            ),
        ),
        migrations.AddField(
            model_name="latecorrection",
            name="period",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="late_corrections", to="billing.billingperiod"
            ),
        ),
        migrations.AddField(
            model_name="latecreditline",
            name="correction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="billing.latecorrection"
            ),
        ),
        migrations.AddField(
            model_name="latecreditline",
            name="invoice_line",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="late_credits", to="billing.invoiceline"
            ),
        ),
        migrations.AddConstraint(
            model_name="lateprogress",
            constraint=models.CheckConstraint(condition=models.Q(("pk", 1)), name="billing_lateprogress_one_row"),
        ),
        migrations.AddField(
            model_name="lateusage",
            name="accrual",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT, related_name="late", to="billing.usageaccrual"
            ),
        ),
        migrations.AddField(
            model_name="lateusage",
            name="invoice",
            field=models.ForeignKey(
                help_text="It is on this one.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="late_usage",
                to="billing.invoice",
            ),
        ),
        migrations.AddIndex(
            model_name="latecorrection",
            index=models.Index(
                condition=models.Q(("state", "intended")), fields=["id"], name="billing_latecorrection_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="latecorrection",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "credit_note"), _negated=True), ("invoice__isnull", False), _connector="OR"
                ),
                name="billing_latecorrection_credits_an_invoice",
            ),
        ),
        migrations.AddConstraint(
            model_name="latecorrection",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "intended"), ("finished_at__isnull", False), _connector="XOR"),
                name="billing_latecorrection_finished",
            ),
        ),
        migrations.AddConstraint(
            model_name="latecreditline",
            constraint=models.UniqueConstraint(
                fields=("correction", "invoice_line"), name="billing_latecreditline_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="latecreditline",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_minor__lt", 0)), name="billing_latecreditline_gives_back"
            ),
        ),
        migrations.AddIndex(
            model_name="lateusage",
            index=models.Index(
                condition=models.Q(("state", "settled"), _negated=True),
                fields=["id"],
                name="billing_lateusage_unsettled",
            ),
        ),
        migrations.AddConstraint(
            model_name="lateusage",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "settled"), _negated=True),
                    models.Q(
                        ("settled_at__isnull", False),
                        models.Q(("outcome", ""), _negated=True),
                        models.Q(("settled_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="billing_lateusage_settled_says_how",
            ),
        ),
        migrations.AddConstraint(
            model_name="lateusage",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "decision"), _negated=True),
                    models.Q(("outcome", ""), _negated=True),
                    _connector="OR",
                ),
                name="billing_lateusage_decision_says_why",
            ),
        ),
        migrations.RunSQL(SQL.read_text(encoding="utf-8")),
    ]
