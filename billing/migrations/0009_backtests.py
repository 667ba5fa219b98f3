"""Backtests of a plan version and what they found."""

from pathlib import Path

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

SQL = Path(__file__).with_name("sql") / "0009_backtests.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0008_catalogue"),
    ]

    operations = [
        migrations.CreateModel(
            name="Backtest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("fingerprint", models.CharField(help_text="Of the candidate's terms.", max_length=64)),
                ("baseline_fingerprint", models.CharField(blank=True, max_length=64)),
                (
                    "unit",
                    models.CharField(
                        choices=[("periods", "Billing periods"), ("months", "Calendar months")], max_length=8
                    ),
                ),
                ("starts_at", models.DateTimeField(help_text="Billing periods that ended after it.")),
                ("ends_at", models.DateTimeField(help_text="Billing periods that ended by then.")),
                (
                    "cohort",
                    models.JSONField(help_text="Who was asked for, as billing.rollouts.comparing.cohorts reads it."),
                ),
                (
                    "threshold_percent",
                    models.DecimalField(
                        decimal_places=2,
                        default=10,
                        help_text="Who pays more by more than this is named.",
                        max_digits=7,
                    ),
                ),
                ("customers", models.PositiveIntegerField(help_text="Subscriptions in the cohort.")),
                (
                    "left_out",
                    models.JSONField(blank=True, default=dict, help_text="Subscriptions left out, by the reason."),
                ),
                ("requested_by", models.CharField(max_length=200)),
                ("requested_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(max_length=200, unique=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waits to begin"),
                            ("running", "Under way"),
                            ("done", "Done"),
                            ("stopped", "Stopped"),
                        ],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("stopped_because", models.CharField(blank=True, max_length=500)),
                (
                    "report",
                    models.JSONField(
                        blank=True, default=dict, help_text="What was found; amounts as text, in currency units."
                    ),
                ),
                (
                    "baseline",
                    models.ForeignKey(
                        blank=True,
                        help_text="Compared with this version; without one, with what each customer had.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.planversion",
                    ),
                ),
                (
                    "candidate",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="backtests", to="billing.planversion"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "permissions": (("request_backtest", "Can try plan versions on past usage"),),
            },
        ),
        migrations.CreateModel(
            name="BacktestLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("customer_key", models.CharField(max_length=128)),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("seats", models.PositiveIntegerField()),
                ("current_fee", models.DecimalField(blank=True, decimal_places=12, max_digits=38, null=True)),
                ("current_rated", models.DecimalField(blank=True, decimal_places=12, max_digits=38, null=True)),
                ("current_included", models.DecimalField(blank=True, decimal_places=12, max_digits=38, null=True)),
                ("current_credited", models.DecimalField(blank=True, decimal_places=12, max_digits=38, null=True)),
                ("current_unbilled", models.DecimalField(blank=True, decimal_places=12, max_digits=38, null=True)),
                ("candidate_fee", models.DecimalField(blank=True, decimal_places=12, max_digits=38, null=True)),
                ("candidate_rated", models.DecimalField(blank=True, decimal_places=12, max_digits=38, null=True)),
                ("candidate_included", models.DecimalField(blank=True, decimal_places=12, max_digits=38, null=True)),
                ("candidate_credited", models.DecimalField(blank=True, decimal_places=12, max_digits=38, null=True)),
                ("candidate_unbilled", models.DecimalField(blank=True, decimal_places=12, max_digits=38, null=True)),
                (
                    "failure_kind",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("currency", "Another currency"),
                            ("not_offered", "A contract of somebody else"),
                            ("seats", "More seats than are sold"),
                            ("interval", "Periods of another length"),
                            ("unrated", "Usage without a price"),
                            ("archived", "Events in an archive"),
                            ("inexact", "A price that is not exact"),
                            ("other", "Cannot be rated"),
                        ],
                        max_length=20,
                    ),
                ),
                ("failure", models.CharField(blank=True, max_length=500)),
                (
                    "is_as_posted",
                    models.BooleanField(
                        help_text="Whether the current side is what was accrued; empty where nothing was, or not finally.",
                        null=True,
                    ),
                ),
                (
                    "backtest",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="billing.backtest"
                    ),
                ),
                (
                    "period",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.billingperiod",
                    ),
                ),
                (
                    "plan_version",
                    models.ForeignKey(
                        help_text="Of the current side.",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.planversion",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.subscription"
                    ),
                ),
            ],
            options={
                "ordering": ("backtest_id", "subscription_id", "starts_at"),
            },
        ),
        migrations.CreateModel(
            name="BacktestPart",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                (
                    "subscription_ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                ("claimed_until", models.DateTimeField(blank=True, null=True)),
                ("done_at", models.DateTimeField(blank=True, null=True)),
                (
                    "backtest",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="parts", to="billing.backtest"
                    ),
                ),
            ],
            options={
                "ordering": ("backtest_id", "number"),
            },
        ),
        migrations.AddConstraint(
            model_name="backtest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state__in", ("waiting", "running", "done", "stopped")), ("unit__in", ("periods", "months"))
                ),
                name="billing_backtest_words",
            ),
        ),
        migrations.AddConstraint(
            model_name="backtest",
            constraint=models.CheckConstraint(
                condition=models.Q(("starts_at__lt", models.F("ends_at"))), name="billing_backtest_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="backtest",
            constraint=models.CheckConstraint(
                condition=models.Q(("threshold_percent__gte", 0)), name="billing_backtest_threshold"
            ),
        ),
        migrations.AddConstraint(
            model_name="backtest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("fingerprint__regex", "^[0-9a-f]{64}$"),
                    models.Q(
                        models.Q(("baseline", None), ("baseline_fingerprint", "")),
                        models.Q(("baseline__isnull", False), ("baseline_fingerprint__regex", "^[0-9a-f]{64}$")),
                        _connector="OR",
                    ),
                ),
                name="billing_backtest_fingerprint",
            ),
        ),
        migrations.AddConstraint(
            model_name="backtest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_at", None), ("state__in", ("waiting", "running"))),
                    models.Q(("ended_at__isnull", False), ("state__in", ("done", "stopped"))),
                    _connector="OR",
                ),
                name="billing_backtest_ended_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="backtest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "done"), models.Q(("report", {}), _negated=True)),
                    models.Q(models.Q(("state", "done"), _negated=True), ("report", {})),
                    _connector="OR",
                ),
                name="billing_backtest_done_has_report",
            ),
        ),
        migrations.AddConstraint(
            model_name="backtest",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "stopped"), ("stopped_because", ""), _connector="XOR"),
                name="billing_backtest_stopped_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="backtestline",
            constraint=models.UniqueConstraint(
                fields=("backtest", "subscription", "starts_at"), name="billing_backtestline_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="backtestline",
            constraint=models.CheckConstraint(
                condition=models.Q(("starts_at__lt", models.F("ends_at"))), name="billing_backtestline_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="backtestline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("candidate_fee__isnull", False),
                        ("current_fee__isnull", False),
                        ("failure", ""),
                        ("failure_kind", ""),
                    ),
                    models.Q(
                        ("candidate_fee", None),
                        models.Q(("failure_kind", ""), _negated=True),
                        models.Q(("failure", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="billing_backtestline_figures_or_failure",
            ),
        ),
        migrations.AddConstraint(
            model_name="backtestline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("current_credited__isnull", False),
                        ("current_fee__isnull", False),
                        ("current_included__isnull", False),
                        ("current_rated__isnull", False),
                        ("current_unbilled__isnull", False),
                        ("current_fee__gte", 0),
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
                    ),
                    models.Q(
                        ("current_credited", None),
                        ("current_fee", None),
                        ("current_included", None),
                        ("current_rated", None),
                        ("current_unbilled", None),
                    ),
                    _connector="OR",
                ),
                name="billing_backtestline_current_is_funded",
            ),
        ),
        migrations.AddConstraint(
            model_name="backtestline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("candidate_credited__isnull", False),
                        ("candidate_fee__isnull", False),
                        ("candidate_included__isnull", False),
                        ("candidate_rated__isnull", False),
                        ("candidate_unbilled__isnull", False),
                        ("candidate_fee__gte", 0),
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
                    ),
                    models.Q(
                        ("candidate_credited", None),
                        ("candidate_fee", None),
                        ("candidate_included", None),
                        ("candidate_rated", None),
                        ("candidate_unbilled", None),
                    ),
                    _connector="OR",
                ),
                name="billing_backtestline_candidate_is_funded",
            ),
        ),
        migrations.AddIndex(
            model_name="backtestpart",
            index=models.Index(
                condition=models.Q(("done_at", None)), fields=["backtest", "number"], name="billing_backtestpart_left"
            ),
        ),
        migrations.AddConstraint(
            model_name="backtestpart",
            constraint=models.UniqueConstraint(fields=("backtest", "number"), name="billing_backtestpart_number"),
        ),
        migrations.AddConstraint(
            model_name="backtestpart",
            constraint=models.CheckConstraint(
                condition=models.Q(("subscription_ids__len__gt", 0)), name="billing_backtestpart_not_empty"
            ),
        ),
        migrations.RunSQL(SQL.read_text(encoding="utf-8")),
    ]
