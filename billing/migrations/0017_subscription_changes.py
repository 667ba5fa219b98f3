"""
Changes of subscriptions: what was asked for, what it was said to cost, what happened, and what is to happen yet. What of
it may change is told in sql/0017_subscription_changes.sql.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0017_subscription_changes.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0016_inbox"),
    ]

    operations = [
        migrations.CreateModel(
            name="ApiWrite",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("actor", models.CharField(help_text="service:NAME or user:NAME.", max_length=200)),
                ("key", models.CharField(help_text="The header Idempotency-Key.", max_length=100)),
                ("path", models.CharField(max_length=1000)),
                ("body_sha256", models.CharField(max_length=64)),
                ("recorded_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="ChangeOutcome",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "stripe_invoice_id",
                    models.CharField(help_text="The invoice that carries its prorations.", max_length=255),
                ),
                ("recorded_at", models.DateTimeField()),
                (
                    "differences",
                    models.JSONField(default=list, help_text="Sentences; none where all three say the same."),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ChangePreview",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("terms", "Plan, seats and add-ons"), ("cancellation", "Cancellation")],
                        default="terms",
                        max_length=12,
                    ),
                ),
                ("seats", models.PositiveIntegerField()),
                (
                    "add_ons",
                    models.JSONField(default=list, help_text="[[version id, seats], …]: all add-ons after the change."),
                ),
                ("from_next_period", models.BooleanField(default=False)),
                ("effective_at", models.DateTimeField()),
                ("currency", models.CharField(max_length=3)),
                ("made_at", models.DateTimeField()),
                (
                    "made_by",
                    models.CharField(
                        help_text="user:NAME, service:NAME, task:NAME or stripe:dashboard.",
                        max_length=200,
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="ChangePreviewLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "source",
                    models.CharField(
                        choices=[("ours", "Ours"), ("stripe", "Stripe's preview"), ("invoiced", "Invoiced")],
                        max_length=8,
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                ("stripe_price_id", models.CharField(max_length=255)),
                ("description", models.CharField(max_length=500)),
                ("amount_minor", models.BigIntegerField(help_text="Minor units; a credit is below zero.")),
                (
                    "is_proration",
                    models.BooleanField(help_text="Of the rest of the period; else the fee of the next one."),
                ),
                (
                    "stripe_line_id",
                    models.CharField(blank=True, help_text="Of the line that was invoiced.", max_length=255),
                ),
            ],
            options={
                "ordering": ("preview_id", "source", "position"),
            },
        ),
        migrations.CreateModel(
            name="ScheduledChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("terms", "Other terms"), ("resume", "End of the pause")],
                        default="terms",
                        max_length=8,
                    ),
                ),
                ("seats", models.PositiveIntegerField(null=True)),
                (
                    "add_ons",
                    models.JSONField(default=list, help_text="[[version id, seats], …]: all add-ons after the change."),
                ),
                ("effective_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waits for its time"),
                            ("done", "Carried out"),
                            ("cancelled", "Cancelled"),
                            ("refused", "Could not be carried out"),
                        ],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(max_length=500)),
                (
                    "requested_by",
                    models.CharField(
                        help_text="user:NAME, service:NAME, task:NAME or stripe:dashboard.",
                        max_length=200,
                    ),
                ),
                ("requested_at", models.DateTimeField()),
                (
                    "idempotency_key",
                    models.CharField(help_text="Of the wish; of a chain, with the phase's number.", max_length=120),
                ),
                ("next_attempt_at", models.DateTimeField(help_text="Due from then on.")),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "settled_by",
                    models.CharField(
                        blank=True,
                        help_text="user:NAME, service:NAME, task:NAME or stripe:dashboard.",
                        max_length=200,
                    ),
                ),
                (
                    "detail",
                    models.CharField(blank=True, help_text="Why it waits, was refused or cancelled.", max_length=500),
                ),
            ],
            options={
                "ordering": ("effective_at", "id"),
            },
        ),
        migrations.CreateModel(
            name="SubscriptionEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
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
                            ("collection", "Way of paying changed"),
                            ("schedule", "Schedule at Stripe"),
                            ("held", "Cannot be followed"),
                            ("released", "Can be followed again"),
                            ("unchanged", "Asked for what was so already"),
                            ("invoiced", "Change invoiced"),
                        ],
                        max_length=16,
                    ),
                ),
                ("before", models.CharField(blank=True, max_length=300)),
                ("after", models.CharField(blank=True, max_length=300)),
                ("effective_at", models.DateTimeField()),
                ("recorded_at", models.DateTimeField()),
                (
                    "actor",
                    models.CharField(
                        help_text="user:NAME, service:NAME, task:NAME or stripe:dashboard.",
                        max_length=200,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
            ],
            options={
                "ordering": ("subscription_id", "id"),
            },
        ),
        migrations.CreateModel(
            name="SubscriptionRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("start", "Start"),
                            ("terms", "Change of terms"),
                            ("pause", "Pause"),
                            ("resume", "Resumption"),
                            ("cancel", "Cancellation"),
                            ("cancel_later", "Planned cancellation"),
                            ("undo_cancel", "Cancellation taken back"),
                            ("end_trial", "End of the trial"),
                        ],
                        max_length=12,
                    ),
                ),
                ("purpose", models.CharField(max_length=200, unique=True)),
                (
                    "asked",
                    models.JSONField(default=dict, help_text="What was asked for; another wish needs another key."),
                ),
                ("effective_at", models.DateTimeField(help_text="From then on it is to count.")),
                ("requested_at", models.DateTimeField()),
                (
                    "actor",
                    models.CharField(
                        help_text="user:NAME, service:NAME, task:NAME or stripe:dashboard.",
                        max_length=200,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.AlterModelOptions(
            name="subscription",
            options={
                "ordering": ("id",),
                "permissions": (
                    ("create_subscription", "Can start and reactivate subscriptions"),
                    ("edit_subscription_terms", "Can change plan, seats and add-ons of subscriptions, now or later"),
                    ("pause_subscription", "Can pause and resume subscriptions"),
                    ("cancel_subscription", "Can cancel subscriptions, and take a planned end back"),
                ),
            },
        ),
        migrations.AddField(
            model_name="subscription",
            name="cancel_at",
            field=models.DateTimeField(blank=True, help_text="When it will end, if nobody takes that back.", null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="canceled_at",
            field=models.DateTimeField(blank=True, help_text="When its end was asked for.", null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="collection_method",
            field=models.CharField(
                choices=[("charge_automatically", "Charged automatically"), ("send_invoice", "Sent to be paid")],
                default="charge_automatically",
                help_text="How its invoices are paid; Stripe is told at the start and followed afterwards.",
                max_length=24,
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="days_until_due",
            field=models.PositiveSmallIntegerField(
                blank=True, help_text="Days a sent invoice may be paid in; none where a card is charged.", null=True
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="ended_at",
            field=models.DateTimeField(blank=True, help_text="When it ended; its last period ends there.", null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="held_reason",
            field=models.CharField(
                blank=True, help_text="What somebody did at Stripe that cannot be followed.", max_length=500
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="last_reading",
            field=models.BigIntegerField(
                default=0, help_text="The newest look at Stripe that this row is from: an older one changes nothing."
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="paused_from",
            field=models.DateTimeField(
                blank=True, help_text="Since then nothing is collected, and nothing is billed.", null=True
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="stripe_schedule_id",
            field=models.CharField(
                blank=True,
                help_text="Stripe's own schedule that changes it, if somebody made one there.",
                max_length=255,
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("collection_method", "charge_automatically"), ("days_until_due", None)),
                    models.Q(
                        ("collection_method", "send_invoice"),
                        ("days_until_due__isnull", False),
                        ("days_until_due__lte", 365),
                    ),
                    _connector="OR",
                ),
                name="billing_subscription_due_when_sent",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("ended_at", None), ("status__in", ("canceled", "incomplete_expired")), _connector="OR"
                ),
                name="billing_subscription_ended_says_so",
            ),
        ),
        migrations.AddConstraint(
            model_name="apiwrite",
            constraint=models.UniqueConstraint(fields=("actor", "key"), name="billing_apiwrite_once"),
        ),
        migrations.AddField(
            model_name="changepreview",
            name="plan_version",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.planversion"
            ),
        ),
        migrations.AddField(
            model_name="changepreview",
            name="subscription",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="previews", to="billing.subscription"
            ),
        ),
        migrations.AddField(
            model_name="changeoutcome",
            name="preview",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT, related_name="outcome", to="billing.changepreview"
            ),
        ),
        migrations.AddField(
            model_name="changepreviewline",
            name="preview",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="billing.changepreview"
            ),
        ),
        migrations.AddField(
            model_name="scheduledchange",
            name="plan_version",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.planversion"
            ),
        ),
        migrations.AddField(
            model_name="scheduledchange",
            name="subscription",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="scheduled_changes", to="billing.subscription"
            ),
        ),
        migrations.AddField(
            model_name="subscriptionevent",
            name="subscription",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="events", to="billing.subscription"
            ),
        ),
        migrations.AddField(
            model_name="subscriptionrequest",
            name="preview",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="requests",
                to="billing.changepreview",
            ),
        ),
        migrations.AddField(
            model_name="subscriptionrequest",
            name="subscription",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="requests", to="billing.subscription"
            ),
        ),
        migrations.AddField(
            model_name="subscriptionevent",
            name="request",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="events",
                to="billing.subscriptionrequest",
            ),
        ),
        migrations.AddConstraint(
            model_name="changepreview",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ("terms", "cancellation"))), name="billing_changepreview_kind"
            ),
        ),
        migrations.AddConstraint(
            model_name="changepreview",
            constraint=models.CheckConstraint(
                condition=models.Q(("seats__gt", 0)), name="billing_changepreview_seats_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="changepreviewline",
            constraint=models.UniqueConstraint(
                fields=("preview", "source", "position"), name="billing_changepreviewline_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="changepreviewline",
            constraint=models.CheckConstraint(
                condition=models.Q(("source__in", ("ours", "stripe", "invoiced"))),
                name="billing_changepreviewline_source",
            ),
        ),
        migrations.AddConstraint(
            model_name="changepreviewline",
            constraint=models.CheckConstraint(
                condition=models.Q(("source", "invoiced"), ("stripe_line_id", ""), _connector="XOR"),
                name="billing_changepreviewline_invoiced_names_line",
            ),
        ),
        migrations.AddIndex(
            model_name="scheduledchange",
            index=models.Index(
                condition=models.Q(("state", "waiting")), fields=["next_attempt_at"], name="billing_scheduledchange_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="scheduledchange",
            constraint=models.UniqueConstraint(
                fields=("subscription", "idempotency_key"), name="billing_scheduledchange_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="scheduledchange",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "waiting")),
                fields=("subscription", "effective_at"),
                name="billing_scheduledchange_one_an_instant",
            ),
        ),
        migrations.AddConstraint(
            model_name="scheduledchange",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("kind", "terms"), ("plan_version__isnull", False), ("seats__gt", 0), ("seats__isnull", False)
                    ),
                    models.Q(("kind", "resume"), ("plan_version", None), ("seats", None)),
                    _connector="OR",
                ),
                name="billing_scheduledchange_has_terms",
            ),
        ),
        migrations.AddConstraint(
            model_name="scheduledchange",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("settled_at", None), ("settled_by", ""), ("state", "waiting")),
                    models.Q(
                        ("settled_at__isnull", False),
                        ("state__in", ("done", "cancelled", "refused")),
                        models.Q(("settled_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="billing_scheduledchange_settled",
            ),
        ),
        migrations.AddConstraint(
            model_name="scheduledchange",
            constraint=models.CheckConstraint(
                condition=models.Q(("effective_at__gt", models.F("requested_at"))),
                name="billing_scheduledchange_is_ahead",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        ("start", "terms", "pause", "resume", "cancel", "cancel_later", "undo_cancel", "end_trial"),
                    )
                ),
                name="billing_subscriptionrequest_kind",
            ),
        ),
        migrations.AddIndex(
            model_name="subscriptionevent",
            index=models.Index(fields=["subscription", "-effective_at"], name="billing_subscription_timeline"),
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
