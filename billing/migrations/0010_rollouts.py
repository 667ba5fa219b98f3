"""
Approvals of plan versions, and rollouts in stages.

The rules of the tables are told in sql/0010_rollouts.sql.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0010_rollouts.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0009_backtests"),
    ]

    operations = [
        migrations.CreateModel(
            name="ApprovalRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "plan_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="approval_requests",
                        to="billing.planversion",
                    ),
                ),
                (
                    "backtest",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="approval_requests",
                        to="billing.backtest",
                    ),
                ),
                (
                    "fingerprint",
                    models.CharField(help_text="Of the terms, as they were tested and are now.", max_length=64),
                ),
                (
                    "reason",
                    models.CharField(help_text="Why these terms, in words, for whoever decides.", max_length=500),
                ),
                ("requested_by", models.CharField(help_text='"user:NAME"', max_length=200)),
                ("requested_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("-requested_at", "-id"),
                "permissions": (
                    ("request_approval", "Can ask that a plan version be approved"),
                    ("decide_approval", "Can approve or reject the plan version that somebody else proposes"),
                ),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True), ("requested_by__startswith", "user:")
                        ),
                        name="billing_approvalrequest_says_why",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ApprovalDecision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "request",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="decision",
                        to="billing.approvalrequest",
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        choices=[("approved", "Approved"), ("rejected", "Rejected"), ("withdrawn", "Withdrawn")],
                        max_length=20,
                    ),
                ),
                ("requested_by", models.CharField(max_length=200)),
                ("decided_by", models.CharField(help_text='"user:NAME"', max_length=200)),
                ("decided_at", models.DateTimeField()),
                ("reason", models.CharField(help_text="Why it was decided so.", max_length=500)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_by", models.F("requested_by")), ("outcome", "withdrawn")),
                            models.Q(
                                ("outcome__in", ("approved", "rejected")),
                                models.Q(("decided_by", models.F("requested_by")), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="billing_approvaldecision_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True), ("decided_by__startswith", "user:")
                        ),
                        name="billing_approvaldecision_says_why",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Rollout",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="rollouts", to="billing.plan"
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                (
                    "baseline",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="rollouts_away",
                        to="billing.planversion",
                    ),
                ),
                (
                    "candidate",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="rollouts_to",
                        to="billing.planversion",
                    ),
                ),
                (
                    "salt",
                    models.CharField(
                        help_text="Hashed with the customer's key: each rollout has other customers go first.",
                        max_length=64,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("planned", "Planned"),
                            ("running", "Running"),
                            ("halted", "Halted"),
                            ("completed", "Completed"),
                            ("rolled_back", "Rolled back"),
                        ],
                        default="planned",
                        max_length=20,
                    ),
                ),
                (
                    "stage",
                    models.PositiveSmallIntegerField(default=0, help_text="The stage reached; 0 before the first."),
                ),
                ("stage_began_at", models.DateTimeField(blank=True, null=True)),
                ("changed_at", models.DateTimeField(help_text="Of the event that brought it to its state and stage.")),
            ],
            options={
                "ordering": ("-id",),
                "permissions": (
                    ("plan_rollout", "Can plan and start a rollout"),
                    ("steer_rollout", "Can halt, resume and roll back a rollout"),
                    ("pin_subscription", "Can pin a subscription to its terms"),
                ),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("baseline", models.F("candidate")), _negated=True),
                        name="billing_rollout_two_versions",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ("planned", "running", "halted", "completed", "rolled_back"))),
                        name="billing_rollout_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("stage", 0), ("stage_began_at", None)),
                            models.Q(("stage__gt", 0), ("stage_began_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="billing_rollout_stage_has_time",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ("planned", "running", "halted"))),
                        fields=("plan", "currency"),
                        name="billing_rollout_one_live",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RolloutStage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "rollout",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="stages", to="billing.rollout"
                    ),
                ),
                ("position", models.PositiveSmallIntegerField(help_text="From 1.")),
                (
                    "percent",
                    models.DecimalField(
                        decimal_places=2, help_text="Of the customers, by the hash of the key.", max_digits=5
                    ),
                ),
                (
                    "customer_kind",
                    models.CharField(
                        blank=True,
                        choices=[("individual", "Individual"), ("team", "Team"), ("enterprise", "Enterprise")],
                        help_text="Of this kind alone; empty is of every.",
                        max_length=20,
                    ),
                ),
                (
                    "observe_hours",
                    models.PositiveIntegerField(help_text="The next stage begins no sooner than this after it."),
                ),
            ],
            options={
                "ordering": ("rollout_id", "position"),
                "constraints": [
                    models.UniqueConstraint(fields=("rollout", "position"), name="billing_rolloutstage_once"),
                    models.CheckConstraint(
                        condition=models.Q(("percent__gt", 0), ("percent__lte", 100), ("position__gte", 1)),
                        name="billing_rolloutstage_percent",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RolloutLimits",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "rollout",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="limits", to="billing.rollout"
                    ),
                ),
                (
                    "worse_off_percent",
                    models.DecimalField(
                        decimal_places=2,
                        help_text="Who pays more than so many per cent more counts as worse off.",
                        max_digits=7,
                    ),
                ),
                (
                    "worse_off_share_max",
                    models.DecimalField(
                        decimal_places=2,
                        help_text="Per cent of the compared customers who may be worse off.",
                        max_digits=5,
                    ),
                ),
                (
                    "total_change_min",
                    models.DecimalField(
                        decimal_places=2,
                        help_text="Per cent by which all together may pay less; below zero.",
                        max_digits=7,
                    ),
                ),
                (
                    "total_change_max",
                    models.DecimalField(
                        decimal_places=2, help_text="Per cent by which all together may pay more.", max_digits=7
                    ),
                ),
                (
                    "error_share_max",
                    models.DecimalField(
                        decimal_places=2,
                        help_text="Per cent of the examined customers for whom something may fail.",
                        max_digits=5,
                    ),
                ),
                (
                    "customers_min",
                    models.PositiveIntegerField(help_text="So many customers must be compared for figures to count."),
                ),
                ("set_by", models.CharField(help_text='"user:NAME"', max_length=200)),
                ("set_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("rollout_id", "id"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("customers_min__gte", 1),
                            ("error_share_max__gte", 0),
                            ("error_share_max__lte", 100),
                            ("total_change_max__gte", 0),
                            ("total_change_min__lte", 0),
                            ("worse_off_percent__gte", 0),
                            ("worse_off_share_max__gte", 0),
                            ("worse_off_share_max__lte", 100),
                        ),
                        name="billing_rolloutlimits_within",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("set_by__startswith", "user:")), name="billing_rolloutlimits_by_whom"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RolloutCheck",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "rollout",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="checks", to="billing.rollout"
                    ),
                ),
                (
                    "limits",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.rolloutlimits"
                    ),
                ),
                (
                    "stage",
                    models.PositiveSmallIntegerField(
                        help_text="Whose customers were looked at; before it begins, or while."
                    ),
                ),
                ("is_before_stage", models.BooleanField(help_text="Whether the stage begins on it.")),
                ("checked_at", models.DateTimeField()),
                ("reached", models.PositiveIntegerField(help_text="Customers whom the stage reaches.")),
                (
                    "examined",
                    models.PositiveIntegerField(help_text="Of them, looked at; all unless there are very many."),
                ),
                ("compared", models.PositiveIntegerField(help_text="Of them, with both sides known.")),
                ("worse_off", models.PositiveIntegerField()),
                ("failed", models.PositiveIntegerField(help_text="Examined customers for whom something failed.")),
                (
                    "moved",
                    models.PositiveIntegerField(help_text="Customers whose period has the candidate's terms already."),
                ),
                (
                    "current_total",
                    models.DecimalField(decimal_places=12, help_text="Under the baseline.", max_digits=38),
                ),
                (
                    "candidate_total",
                    models.DecimalField(decimal_places=12, help_text="Under the candidate.", max_digits=38),
                ),
                (
                    "breaches",
                    models.JSONField(blank=True, default=list, help_text="Each broken limit in words; [] is none."),
                ),
                ("failures", models.JSONField(blank=True, default=list, help_text="Some of what failed, in words.")),
            ],
            options={
                "ordering": ("rollout_id", "id"),
                "indexes": [models.Index(fields=["rollout", "-checked_at"], name="billing_rolloutcheck_latest")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("compared__gte", models.F("worse_off")),
                            ("examined__gte", models.F("compared")),
                            ("reached__gte", models.F("examined")),
                            ("stage__gte", 1),
                            ("examined__gte", models.F("failed")),
                        ),
                        name="billing_rolloutcheck_counts",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RolloutEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "rollout",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="events", to="billing.rollout"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("planned", "Planned"),
                            ("started", "Started"),
                            ("stage_begun", "Stage begun"),
                            ("halted", "Halted"),
                            ("resumed", "Resumed"),
                            ("completed", "Completed"),
                            ("rolled_back", "Rolled back"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("planned", "Planned"),
                            ("running", "Running"),
                            ("halted", "Halted"),
                            ("completed", "Completed"),
                            ("rolled_back", "Rolled back"),
                        ],
                        help_text="Of the rollout after it.",
                        max_length=20,
                    ),
                ),
                ("stage", models.PositiveSmallIntegerField()),
                ("at", models.DateTimeField()),
                (
                    "actor",
                    models.CharField(help_text='"user:NAME", or "service:rollout" for the guards', max_length=200),
                ),
                ("reason", models.CharField(max_length=1000)),
                (
                    "check_seen",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="events",
                        to="billing.rolloutcheck",
                    ),
                ),
            ],
            options={
                "ordering": ("rollout_id", "id"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind", "planned"), ("stage", 0), ("state", "planned")),
                            models.Q(("kind__in", ("started", "resumed", "stage_begun")), ("state", "running")),
                            models.Q(("kind", "halted"), ("state", "halted")),
                            models.Q(("kind", "completed"), ("state", "completed")),
                            models.Q(("kind", "rolled_back"), ("state", "rolled_back")),
                            _connector="OR",
                        ),
                        name="billing_rolloutevent_kind_and_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True), models.Q(("actor", ""), _negated=True)
                        ),
                        name="billing_rolloutevent_says_why",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("kind__in", ("halted", "stage_begun", "completed")),
                            ("actor__startswith", "user:"),
                            _connector="OR",
                        ),
                        name="billing_rolloutevent_by_a_person",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RolloutMove",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "rollout",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="moves", to="billing.rollout"
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="rollout_moves",
                        to="billing.subscription",
                    ),
                ),
                (
                    "direction",
                    models.CharField(
                        choices=[("forward", "To the candidate"), ("back", "Back to the baseline")], max_length=8
                    ),
                ),
                (
                    "from_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.planversion"
                    ),
                ),
                (
                    "to_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.planversion"
                    ),
                ),
                ("stage", models.PositiveSmallIntegerField(help_text="Of the rollout when it was intended.")),
                ("because", models.CharField(blank=True, help_text="Of a move back: why.", max_length=200)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("intended", "Intended"),
                            ("telling", "Being told to Stripe"),
                            ("told", "Told to Stripe"),
                            ("done", "Done"),
                            ("undone", "Taken back before it took effect"),
                            ("dropped", "Not moved"),
                            ("refused", "Refused by Stripe"),
                        ],
                        default="intended",
                        max_length=12,
                    ),
                ),
                ("intended_at", models.DateTimeField()),
                ("told_at", models.DateTimeField(blank=True, null=True)),
                (
                    "effective_at",
                    models.DateTimeField(
                        blank=True, help_text="Start of the first period under the new terms.", null=True
                    ),
                ),
                (
                    "detail",
                    models.CharField(
                        blank=True, help_text="Why it was dropped or refused, or what it waits for.", max_length=500
                    ),
                ),
            ],
            options={
                "ordering": ("rollout_id", "id"),
                "indexes": [
                    models.Index(
                        condition=models.Q(("state__in", ("intended", "telling"))),
                        fields=["rollout", "id"],
                        name="billing_rolloutmove_to_tell",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("direction__in", ("forward", "back")),
                            ("state__in", ("intended", "telling", "told", "done", "undone", "dropped", "refused")),
                        ),
                        name="billing_rolloutmove_words",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "done"), _negated=True),
                            ("effective_at__isnull", False),
                            _connector="XOR",
                        ),
                        name="billing_rolloutmove_done_has_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ("dropped", "refused")), _negated=True),
                            models.Q(("detail", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="billing_rolloutmove_ended_says_why",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ("intended", "telling", "told"))),
                        fields=("subscription", "direction"),
                        name="billing_rolloutmove_one_live",
                    ),
                ],
            },
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
