"""
Shadow rating of live usage: a candidate version beside what customers pay. What of it may change is told in
sql/0014_shadow_rating.sql.
"""

from pathlib import Path

import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0014_shadow_rating.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0013_subscription_terms"),
    ]

    operations = [
        migrations.CreateModel(
            name="ShadowRating",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "terms_fingerprint",
                    models.CharField(help_text="Of the terms that the figures are of.", max_length=64),
                ),
                (
                    "cohort",
                    models.JSONField(help_text="Whose periods, as billing.rollouts.comparing.cohorts reads it."),
                ),
                (
                    "tolerance_percent",
                    models.PositiveSmallIntegerField(
                        default=5, help_text="Who would pay more than so many percent more is counted apart."
                    ),
                ),
                ("reason", models.CharField(help_text="What is to be learned.", max_length=500)),
                ("started_at", models.DateTimeField()),
                ("started_by", models.CharField(help_text="user:NAME.", max_length=200)),
                (
                    "change_cursor",
                    models.BigIntegerField(
                        default=0, help_text="Changes of windows up to this position of metering's were looked at."
                    ),
                ),
                ("looked_at", models.DateTimeField(help_text="When changes were last looked for.", null=True)),
                (
                    "complete_at",
                    models.DateTimeField(help_text="When every period in it was last taken up again.", null=True),
                ),
                (
                    "outdated_at",
                    models.DateTimeField(
                        help_text="When the candidate was found to have other terms: since then nothing is worked out.",
                        null=True,
                    ),
                ),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.CharField(blank=True, help_text="user:NAME or service:NAME.", max_length=200)),
                ("ended_because", models.CharField(blank=True, max_length=500)),
                (
                    "candidate",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="shadow_ratings",
                        to="billing.planversion",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "permissions": (
                    ("simulate_planversion", "Can rate a customer's usage under another plan version"),
                    ("start_shadowrating", "Can start a shadow rating"),
                    ("end_shadowrating", "Can end a shadow rating"),
                ),
            },
        ),
        migrations.CreateModel(
            name="ShadowPoint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("recorded_at", models.DateTimeField()),
                ("compared", models.PositiveIntegerField(help_text="Periods with both sides known.")),
                ("failed", models.PositiveIntegerField(help_text="Periods that cannot be compared.")),
                ("due", models.PositiveIntegerField(help_text="Periods that had changed and were not worked out yet.")),
                ("worse", models.PositiveIntegerField(help_text="Periods that would cost more.")),
                ("better", models.PositiveIntegerField(help_text="Periods that would cost less.")),
                (
                    "beyond",
                    models.PositiveIntegerField(help_text="Periods that would cost more by more than the tolerance."),
                ),
                (
                    "current_total",
                    models.DecimalField(
                        decimal_places=12, help_text="Fees and usage to invoice of the compared periods.", max_digits=38
                    ),
                ),
                (
                    "candidate_total",
                    models.DecimalField(decimal_places=12, help_text="The same, under the candidate.", max_digits=38),
                ),
                (
                    "shadow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="points", to="billing.shadowrating"
                    ),
                ),
            ],
            options={
                "ordering": ("shadow_id", "id"),
            },
        ),
        migrations.CreateModel(
            name="ShadowPeriod",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("is_due", models.BooleanField(default=True, help_text="Something changed since it was worked out.")),
                ("is_final", models.BooleanField(default=False, help_text="Worked out after the period was closed.")),
                (
                    "current_fee",
                    models.DecimalField(
                        decimal_places=12, help_text="Recurring fee of the period.", max_digits=38, null=True
                    ),
                ),
                (
                    "current_rated",
                    models.DecimalField(
                        decimal_places=12, help_text="Price of its usage so far.", max_digits=38, null=True
                    ),
                ),
                (
                    "current_included",
                    models.DecimalField(
                        decimal_places=12, help_text="What allowances cover of it.", max_digits=38, null=True
                    ),
                ),
                (
                    "current_credited",
                    models.DecimalField(
                        decimal_places=12, help_text="What grants cover of it.", max_digits=38, null=True
                    ),
                ),
                (
                    "current_unbilled",
                    models.DecimalField(
                        decimal_places=12, help_text="What is left to invoice.", max_digits=38, null=True
                    ),
                ),
                (
                    "candidate_fee",
                    models.DecimalField(
                        decimal_places=12, help_text="The same, under the candidate.", max_digits=38, null=True
                    ),
                ),
                ("candidate_rated", models.DecimalField(decimal_places=12, max_digits=38, null=True)),
                ("candidate_included", models.DecimalField(decimal_places=12, max_digits=38, null=True)),
                ("candidate_credited", models.DecimalField(decimal_places=12, max_digits=38, null=True)),
                ("candidate_unbilled", models.DecimalField(decimal_places=12, max_digits=38, null=True)),
                (
                    "change",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    models.F("candidate_fee"), "+", models.F("candidate_unbilled")
                                ),
                                "-",
                                models.F("current_fee"),
                            ),
                            "-",
                            models.F("current_unbilled"),
                        ),
                        output_field=models.DecimalField(decimal_places=12, max_digits=38),
                    ),
                ),
                ("failure_kind", models.CharField(blank=True, max_length=20)),
                (
                    "failure",
                    models.CharField(blank=True, help_text="Why the period cannot be compared.", max_length=500),
                ),
                ("computed_at", models.DateTimeField(null=True)),
                (
                    "period",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.billingperiod"
                    ),
                ),
                (
                    "shadow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="periods", to="billing.shadowrating"
                    ),
                ),
            ],
            options={
                "ordering": ("shadow_id", "period_id"),
            },
        ),
        migrations.AddConstraint(
            model_name="shadowrating",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_at", None), ("ended_because", ""), ("ended_by", "")),
                    models.Q(
                        ("ended_at__isnull", False),
                        models.Q(("ended_by", ""), _negated=True),
                        models.Q(("ended_because", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="billing_shadowrating_ended_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="shadowrating",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason", ""), _negated=True), models.Q(("started_by", ""), _negated=True)
                ),
                name="billing_shadowrating_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="shadowrating",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None)), fields=("candidate",), name="billing_shadowrating_one_live"
            ),
        ),
        migrations.AddConstraint(
            model_name="shadowpoint",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "compared__gte",
                        django.db.models.expressions.CombinedExpression(models.F("worse"), "+", models.F("better")),
                    ),
                    ("worse__gte", models.F("beyond")),
                ),
                name="billing_shadowpoint_counts",
            ),
        ),
        migrations.AddIndex(
            model_name="shadowperiod",
            index=models.Index(
                condition=models.Q(("is_due", True)), fields=["shadow", "id"], name="billing_shadowperiod_due"
            ),
        ),
        migrations.AddIndex(
            model_name="shadowperiod",
            index=models.Index(fields=["shadow", "change"], name="billing_shadowperiod_change"),
        ),
        migrations.AddConstraint(
            model_name="shadowperiod",
            constraint=models.UniqueConstraint(fields=("shadow", "period"), name="billing_shadowperiod_once"),
        ),
        migrations.AddConstraint(
            model_name="shadowperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("computed_at", None),
                        ("current_fee", None),
                        ("failure", ""),
                        ("failure_kind", ""),
                        ("is_final", False),
                        ("candidate_credited", None),
                        ("candidate_fee", None),
                        ("candidate_included", None),
                        ("candidate_rated", None),
                        ("candidate_unbilled", None),
                    ),
                    models.Q(
                        ("computed_at__isnull", False),
                        ("failure", ""),
                        ("failure_kind", ""),
                        ("candidate_credited__isnull", False),
                        ("candidate_fee__isnull", False),
                        ("candidate_included__isnull", False),
                        ("candidate_rated__isnull", False),
                        ("candidate_unbilled__isnull", False),
                        ("current_credited__isnull", False),
                        ("current_fee__isnull", False),
                        ("current_included__isnull", False),
                        ("current_rated__isnull", False),
                        ("current_unbilled__isnull", False),
                    ),
                    models.Q(
                        ("computed_at__isnull", False),
                        models.Q(("failure", ""), _negated=True),
                        models.Q(("failure_kind", ""), _negated=True),
                        ("candidate_credited", None),
                        ("candidate_fee", None),
                        ("candidate_included", None),
                        ("candidate_rated", None),
                        ("candidate_unbilled", None),
                    ),
                    _connector="OR",
                ),
                name="billing_shadowperiod_known_or_failed",
            ),
        ),
        migrations.AddConstraint(
            model_name="shadowperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("current_rated", None),
                    (
                        "current_rated",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                models.F("current_included"), "+", models.F("current_credited")
                            ),
                            "+",
                            models.F("current_unbilled"),
                        ),
                    ),
                    _connector="OR",
                ),
                name="billing_shadowperiod_current_is_funded",
            ),
        ),
        migrations.AddConstraint(
            model_name="shadowperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("candidate_rated", None),
                    (
                        "candidate_rated",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                models.F("candidate_included"), "+", models.F("candidate_credited")
                            ),
                            "+",
                            models.F("candidate_unbilled"),
                        ),
                    ),
                    _connector="OR",
                ),
                name="billing_shadowperiod_candidate_is_funded",
            ),
        ),
        migrations.AddConstraint(
            model_name="shadowperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_final", False), ("is_due", False), _connector="OR"),
                name="billing_shadowperiod_final_is_done",
            ),
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
