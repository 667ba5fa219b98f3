"""An existing Stripe account that was taken over: what it held, and what became of it here."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0022_takeover.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0021_recovery"),
    ]

    operations = [
        migrations.CreateModel(
            name="OpeningEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("account_kind", models.CharField(help_text="Such as stripe:clearing or balance.", max_length=40)),
                (
                    "stripe_id",
                    models.CharField(
                        blank=True, help_text="What it is about, where that is one object.", max_length=255
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                (
                    "debit_minor",
                    models.BigIntegerField(help_text="Debited to the account, in minor units; below zero: credited."),
                ),
                ("journal_entry_id", models.BigIntegerField(unique=True)),
                ("recorded_at", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "opening entries",
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="TakenOver",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("customer", "Customer"),
                            ("subscription", "Subscription"),
                            ("invoice", "Invoice"),
                            ("payment", "Payment"),
                            ("dispute", "Dispute"),
                            ("payout", "Payout"),
                        ],
                        max_length=12,
                    ),
                ),
                ("stripe_id", models.CharField(max_length=255)),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("brought_in", "Brought in"),
                            ("history", "Kept as history"),
                            ("left_out", "Left out"),
                        ],
                        max_length=10,
                    ),
                ),
                ("currency", models.CharField(blank=True, max_length=3)),
                (
                    "amount_minor",
                    models.BigIntegerField(help_text="In minor units: the invoice's total, what was paid …", null=True),
                ),
                ("reason", models.CharField(blank=True, help_text="Why it was left out.", max_length=500)),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=200)),
            ],
            options={
                "verbose_name": "object taken over",
                "verbose_name_plural": "objects taken over",
                "ordering": ("kind", "id"),
            },
        ),
        migrations.CreateModel(
            name="Takeover",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("as_of", models.DateTimeField(help_text="The last second that belongs to the opening.")),
                ("started_at", models.DateTimeField()),
                ("started_by", models.CharField(max_length=200)),
            ],
        ),
        migrations.CreateModel(
            name="TakeoverCheck",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("compared", models.PositiveIntegerField()),
                (
                    "differences",
                    models.JSONField(default=list, help_text="Each: what, at Stripe, here, and what it means."),
                ),
                ("difference_count", models.PositiveIntegerField()),
                ("checked_at", models.DateTimeField()),
                ("actor", models.CharField(max_length=200)),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="TakeoverRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "map",
                    models.JSONField(
                        default=dict, help_text="The decisions that people wrote down, as they were read."
                    ),
                ),
                ("found", models.JSONField(default=dict, help_text="How many of each kind Stripe had.")),
                ("brought_in", models.JSONField(default=dict, help_text="How many of each kind were new in this run.")),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField()),
                ("actor", models.CharField(max_length=200)),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.AddField(
            model_name="invoice",
            name="taken_over",
            field=models.CharField(
                blank=True,
                choices=[
                    ("open", "Open when the account was taken over"),
                    ("settled", "Settled before the account was taken over"),
                ],
                db_default="",
                default="",
                help_text="Not empty: made before the cut of the takeover. One that was settled by then is history, without an entry.",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="payment",
            name="is_taken_over",
            field=models.BooleanField(
                db_default=False, default=False, help_text="It paid for something of before the takeover's cut."
            ),
        ),
        migrations.AlterField(
            model_name="creditnote",
            name="journal_entry_id",
            field=models.BigIntegerField(
                help_text="Empty for one of before the takeover that took nothing off an open invoice.",
                null=True,
                unique=True,
            ),
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
                    ("brought_in", "Billed before the takeover"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="openingentry",
            name="customer",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.customer"
            ),
        ),
        migrations.AddField(
            model_name="takenover",
            name="customer",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.customer"
            ),
        ),
        migrations.AddConstraint(
            model_name="takeover",
            constraint=models.CheckConstraint(condition=models.Q(("id", 1)), name="billing_takeover_one"),
        ),
        migrations.AddConstraint(
            model_name="takeover",
            constraint=models.CheckConstraint(
                condition=models.Q(("started_by", ""), _negated=True), name="billing_takeover_says_who"
            ),
        ),
        migrations.AddField(
            model_name="takenover",
            name="takeover",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="objects_taken", to="billing.takeover"
            ),
        ),
        migrations.AddField(
            model_name="openingentry",
            name="takeover",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="entries", to="billing.takeover"
            ),
        ),
        migrations.AddField(
            model_name="takeovercheck",
            name="takeover",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="checks", to="billing.takeover"
            ),
        ),
        migrations.AddField(
            model_name="takeoverrun",
            name="takeover",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="runs", to="billing.takeover"
            ),
        ),
        migrations.AddConstraint(
            model_name="takenover",
            constraint=models.UniqueConstraint(fields=("kind", "stripe_id", "outcome"), name="billing_takenover_once"),
        ),
        migrations.AddConstraint(
            model_name="takenover",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("outcome", "left_out"), _negated=True),
                    models.Q(("reason", ""), _negated=True),
                    _connector="OR",
                ),
                name="billing_takenover_left_out_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="openingentry",
            constraint=models.UniqueConstraint(
                fields=("account_kind", "stripe_id", "currency"), name="billing_openingentry_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="openingentry",
            constraint=models.CheckConstraint(
                condition=models.Q(("debit_minor", 0), _negated=True), name="billing_openingentry_moves"
            ),
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
