"""What each finalised invoice is proved by (sql/0020_invoice_proofs.sql)."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0020_invoice_proofs.sql"
STEPS = [
    ("started", "Draft taken over"),
    ("accrued", "Usage accrued, lines written"),
    ("items_pushed", "Lines pushed to Stripe"),
    ("verified", "Compared line by line"),
    ("proved", "Proved from its events"),
    ("finalized", "Finalised"),
    ("ended", "Ended without an invoice"),
]


class Migration(migrations.Migration):
    dependencies = [("billing", "0019_invoice_orders")]

    operations = [
        migrations.AlterField(
            model_name="invoiceclose",
            name="step",
            field=models.CharField(choices=STEPS, default="started", max_length=20),
        ),
        migrations.AlterField(
            model_name="invoiceclosestep",
            name="step",
            field=models.CharField(choices=STEPS, max_length=20),
        ),
        migrations.CreateModel(
            name="InvoiceProof",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "format",
                    models.PositiveSmallIntegerField(help_text="Of the document; verifiers name those that they read."),
                ),
                ("sha256", models.CharField(help_text="Of the canonical JSON, hexadecimal.", max_length=64)),
                ("packed", models.BinaryField()),
                ("size_bytes", models.PositiveIntegerField(help_text="Of the canonical JSON.")),
                ("line_count", models.PositiveIntegerField(help_text="Lines of ours.")),
                ("window_count", models.PositiveIntegerField(help_text="Windows that they are made of.")),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=200)),
                (
                    "is_afterwards",
                    models.BooleanField(
                        default=False,
                        help_text="Made when the invoice was finalised already: it held nothing back.",
                    ),
                ),
                (
                    "invoice",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="proof", to="billing.invoice"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "permissions": (
                    ("export_invoiceproof", "Can download the proof of an invoice with the raw events it rests on"),
                    ("verify_invoiceproof", "Can have the proof of an invoice verified"),
                ),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("sha256__regex", "^[0-9a-f]{64}$")), name="billing_invoiceproof_sha256"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="InvoiceVerification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("verified_at", models.DateTimeField()),
                (
                    "verified_by",
                    models.CharField(help_text="user:NAME, task:NAME or service:NAME.", max_length=200),
                ),
                ("is_proved", models.BooleanField()),
                ("event_count", models.PositiveBigIntegerField(help_text="Raw events read.")),
                (
                    "differences",
                    models.JSONField(default=list, help_text="The first differences, each a sentence."),
                ),
                ("difference_count", models.PositiveIntegerField(default=0)),
                (
                    "proof",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="verifications",
                        to="billing.invoiceproof",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("difference_count", 0), ("is_proved", True)),
                            models.Q(("difference_count__gt", 0), ("is_proved", False)),
                            _connector="OR",
                        ),
                        name="billing_invoiceverification_says_what",
                    )
                ],
            },
        ),
        migrations.RunSQL(SQL.read_text()),
    ]
