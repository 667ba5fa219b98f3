"""Previews of ends, and what is followed of boundaries that were moved at Stripe. The rules: sql/0025_previews.sql."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0025_previews.sql"
EVENT_KINDS = [
    ("created", "Agreed on"),
    ("started", "Started at Stripe"),
    ("terms", "Terms changed"),
    ("status", "Status changed"),
    ("paused", "Paused"),
    ("resumed", "Resumed"),
    ("cancel_planned", "Cancellation planned"),
    ("cancel_undone", "Cancellation taken back"),
    ("ended", "Ended"),
    ("trial_ended", "Trial ended early"),
    ("trial_moved", "End of the trial moved"),
    ("cycle_moved", "Billing date moved"),
    ("collection", "Way of paying changed"),
    ("schedule", "Schedule at Stripe"),
    ("held", "Cannot be followed"),
    ("released", "Can be followed again"),
    ("unchanged", "Asked for what was so already"),
    ("invoiced", "Change invoiced"),
]


def _id() -> models.BigAutoField:  # type: ignore[type-arg]
    return models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


def _exact(says: str) -> models.DecimalField:  # type: ignore[type-arg]
    return models.DecimalField(decimal_places=12, help_text=says, max_digits=38)


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0024_bank"),
    ]

    operations = [
        migrations.CreateModel(
            name="EndPreview",
            fields=[
                ("id", _id()),
                (
                    "how",
                    models.CharField(
                        choices=[("now", "Now"), ("period_end", "With the end of the period"), ("at", "At a date")],
                        max_length=10,
                    ),
                ),
                ("prorate", models.BooleanField(help_text="Whether the fee of the time that is left is given back.")),
                ("ends_at", models.DateTimeField()),
                ("rated", _exact("Usage of what no invoice closed yet.")),
                ("included", _exact("Of it, paid by allowances.")),
                ("credited", _exact("Of it, paid by credit grants.")),
                ("invoiced", _exact("Of it, on invoices or absorbed.")),
                ("unbilled", _exact("The rest, left to the closing invoice.")),
                (
                    "usage_minor",
                    models.BigIntegerField(help_text="Minor units: the rest as the closing invoice would ask for it."),
                ),
                ("consequences", models.JSONField(default=list, help_text="[[what, what becomes of it], …]")),
                ("rests_on", models.JSONField(default=dict, help_text="What it was read from, by name.")),
                (
                    "preview",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="end", to="billing.changepreview"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="EndOutcome",
            fields=[
                ("id", _id()),
                ("ended_at", models.DateTimeField()),
                (
                    "fee_minor",
                    models.BigIntegerField(help_text="Ours, for the second of the end; a credit is below zero."),
                ),
                (
                    "fee_invoiced_minor",
                    models.BigIntegerField(help_text="What Stripe's invoice gave back; below zero."),
                ),
                ("usage_invoiced_minor", models.BigIntegerField(help_text="Usage lines of the closing invoice.")),
                (
                    "stripe_invoice_id",
                    models.CharField(blank=True, help_text="The closing invoice, if one was due.", max_length=255),
                ),
                ("recorded_at", models.DateTimeField()),
                (
                    "differences",
                    models.JSONField(default=list, help_text="Sentences; none where it came as it was said."),
                ),
                (
                    "preview",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="outcome", to="billing.endpreview"
                    ),
                ),
            ],
        ),
        migrations.AlterField(
            model_name="subscriptionevent",
            name="kind",
            field=models.CharField(choices=EVENT_KINDS, max_length=16),
        ),
        migrations.AddConstraint(
            model_name="endpreview",
            constraint=models.CheckConstraint(
                condition=models.Q(("how__in", ("now", "period_end", "at"))), name="billing_endpreview_how"
            ),
        ),
        migrations.AddConstraint(
            model_name="endpreview",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "rated",
                        models.F("included") + models.F("credited") + models.F("invoiced") + models.F("unbilled"),
                    )
                ),
                name="billing_endpreview_usage_adds_up",
            ),
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
