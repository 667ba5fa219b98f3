"""
The outbox: every try and every decision is kept, a write can be given a new key, and the database knows which Stripe
account it belongs to. What may change, and what may not, is told in sql/0015_outbox.sql.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0015_outbox.sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0014_shadow_rating")]

    operations = [
        migrations.CreateModel(
            name="StripeAccount",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("account_id", models.CharField(max_length=255)),
                ("livemode", models.BooleanField()),
                ("recorded_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="billing_stripeaccount_only_one"),
                    models.CheckConstraint(
                        condition=models.Q(("account_id", ""), _negated=True), name="billing_stripeaccount_named"
                    ),
                ],
            },
        ),
        migrations.AlterModelOptions(
            name="outboxintent",
            options={
                "ordering": ("-created_at",),
                "permissions": (("redrive_outboxintent", "Can send a write to Stripe again, or abandon it"),),
            },
        ),
        migrations.AddField(
            model_name="outboxintent",
            name="generation",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="How often it got a new key: Stripe repeats a stored refusal for a day.",
            ),
        ),
        migrations.AddField(
            model_name="outboxintent",
            name="sending_since",
            field=models.DateTimeField(
                help_text="Set while a process waits for the answer, and left when it dies.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="outboxintent",
            name="state",
            field=models.CharField(
                choices=[
                    ("intended", "Intended"),
                    ("succeeded", "Succeeded"),
                    ("refused", "Refused by Stripe"),
                    ("superseded", "Superseded by a later write"),
                    ("abandoned", "Abandoned by a person"),
                ],
                default="intended",
                max_length=12,
            ),
        ),
        migrations.AddIndex(
            model_name="outboxintent",
            index=models.Index(
                condition=models.Q(("target", ""), _negated=True),
                fields=["target", "created_at"],
                name="billing_outbox_target",
            ),
        ),
        migrations.CreateModel(
            name="OutboxAttempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "at",
                    models.DateTimeField(help_text="The operation's time; the answer came `milliseconds` later."),
                ),
                ("actor", models.CharField(help_text="user:NAME or task:NAME.", max_length=200)),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("succeeded", "Carried out"),
                            ("refused", "Refused by Stripe"),
                            ("unavailable", "No answer to go by"),
                            ("forbidden", "The key lacks a permission"),
                            ("found", "Found carried out at Stripe"),
                            ("compared", "Stripe has it as it was sent"),
                            ("differs", "Stripe has it otherwise by now"),
                            ("reopened", "Given a new key"),
                            ("superseded", "Superseded by a later write"),
                            ("abandoned", "Abandoned"),
                        ],
                        max_length=12,
                    ),
                ),
                ("generation", models.PositiveSmallIntegerField(help_text="Of the key that was used.")),
                (
                    "http_status",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="0 where there was no answer, or no question."
                    ),
                ),
                ("request_id", models.CharField(blank=True, help_text="Stripe's Request-Id.", max_length=255)),
                (
                    "milliseconds",
                    models.PositiveIntegerField(
                        default=0, help_text="From the question to the answer, with the wait for a turn."
                    ),
                ),
                ("error", models.TextField(blank=True)),
                ("reason", models.CharField(blank=True, help_text="Why a person asked for it.", max_length=500)),
                (
                    "intent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="tries", to="billing.outboxintent"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("actor__startswith", "user:"), _negated=True),
                            models.Q(("reason", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="billing_outboxattempt_person_says_why",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("actor", ""), _negated=True), name="billing_outboxattempt_says_who"
                    ),
                ],
            },
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
