"""
Teams over time: members, seats and billing groups. What of them may change is told in sql/0018_teams.sql.
"""

import datetime
from pathlib import Path

import django.contrib.postgres.constraints
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.comparison
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0018_teams.sql"
FIRST = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
LAST = datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC)


class Migration(migrations.Migration):
    dependencies = [("billing", "0017_subscription_changes")]

    operations = [
        migrations.CreateModel(
            name="BillingGroup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "code",
                    models.CharField(help_text="Never changes, and is never used for another group.", max_length=64),
                ),
                ("name", models.CharField(max_length=200)),
                (
                    "budget_code",
                    models.CharField(blank=True, help_text="The customer's own cost centre.", max_length=100),
                ),
                (
                    "closed_at",
                    models.DateTimeField(blank=True, help_text="From then on its members are unassigned.", null=True),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="billing_groups",
                        to="billing.customer",
                    ),
                ),
            ],
            options={
                "ordering": ("code",),
            },
        ),
        migrations.CreateModel(
            name="Member",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=200)),
                ("name", models.CharField(blank=True, max_length=200)),
                ("email", models.CharField(blank=True, max_length=254)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="members", to="billing.customer"
                    ),
                ),
            ],
            options={
                "ordering": ("key",),
            },
        ),
        migrations.CreateModel(
            name="TeamChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "operation",
                    models.CharField(
                        choices=[
                            ("add_members", "Members added"),
                            ("remove_members", "Members removed"),
                            ("set_roster", "Roster set"),
                            ("move_members", "Members moved"),
                            ("open_group", "Group opened"),
                            ("change_group", "Group changed"),
                            ("close_group", "Group closed"),
                            ("assign_seats", "Seats assigned"),
                            ("release_seats", "Seats released"),
                            ("correct_group", "Group corrected for the past"),
                            ("set_policy", "Policy set"),
                        ],
                        max_length=20,
                    ),
                ),
                ("effective_at", models.DateTimeField(help_text="From then on it counts.")),
                ("recorded_at", models.DateTimeField()),
                ("actor", models.CharField(help_text="user:NAME, service:NAME or task:NAME.", max_length=200)),
                ("reason", models.CharField(max_length=500)),
                ("idempotency_key", models.CharField(max_length=200)),
                (
                    "fingerprint",
                    models.CharField(help_text="Of what was asked for: another wish needs another key.", max_length=64),
                ),
                (
                    "outcome",
                    models.JSONField(
                        help_text="What it did, as it was answered; a correction also says what was before."
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.customer"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "permissions": (
                    ("edit_team", "Can change a team's members, seats and groups"),
                    ("correct_team", "Can correct which group a member was in"),
                ),
            },
        ),
        migrations.CreateModel(
            name="SeatOrder",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("seats", models.PositiveIntegerField(help_text="Of the plan, in all.")),
                ("from_next_period", models.BooleanField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Stripe is being told"),
                            ("done", "Done"),
                            ("refused", "Refused"),
                            ("replaced", "Replaced by a later one"),
                        ],
                        default="open",
                        max_length=10,
                    ),
                ),
                ("detail", models.CharField(blank=True, max_length=500)),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.customer"
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="seat_orders",
                        to="billing.subscription",
                    ),
                ),
                (
                    "because",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.teamchange"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="SeatAssignment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField(blank=True, null=True)),
                (
                    "add_on",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty: the plan's.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.plan",
                    ),
                ),
                (
                    "member",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="seat_assignments",
                        to="billing.member",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="seat_assignments",
                        to="billing.subscription",
                    ),
                ),
                (
                    "begun_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.teamchange"
                    ),
                ),
                (
                    "ended_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.teamchange",
                    ),
                ),
            ],
            options={
                "ordering": ("member_id", "starts_at", "id"),
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField(blank=True, null=True)),
                (
                    "takes_seat",
                    models.BooleanField(default=True, help_text="Whether a seat of the plan comes with it."),
                ),
                (
                    "member",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="memberships", to="billing.member"
                    ),
                ),
                (
                    "begun_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.teamchange"
                    ),
                ),
                (
                    "ended_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.teamchange",
                    ),
                ),
            ],
            options={
                "ordering": ("member_id", "starts_at", "id"),
            },
        ),
        migrations.AddField(
            model_name="member",
            name="first_change",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.teamchange"
            ),
        ),
        migrations.CreateModel(
            name="GroupMembership",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField(blank=True, null=True)),
                (
                    "group",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="group_memberships",
                        to="billing.billinggroup",
                    ),
                ),
                (
                    "member",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="group_memberships",
                        to="billing.member",
                    ),
                ),
                (
                    "begun_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.teamchange"
                    ),
                ),
                (
                    "ended_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.teamchange",
                    ),
                ),
            ],
            options={
                "ordering": ("member_id", "starts_at", "id"),
            },
        ),
        migrations.AddField(
            model_name="billinggroup",
            name="closed_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="billing.teamchange",
            ),
        ),
        migrations.AddField(
            model_name="billinggroup",
            name="opened_by",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.teamchange"
            ),
        ),
        migrations.CreateModel(
            name="TeamPolicy",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "seats_follow_members",
                    models.BooleanField(
                        default=False,
                        help_text="Members take a seat when they join; missing seats are bought, spare ones given back.",
                    ),
                ),
                (
                    "customer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.customer"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="MemberDimension",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("dimension", models.CharField(max_length=64)),
                ("starts_at", models.DateTimeField()),
                (
                    "begun_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.teamchange"
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.customer"
                    ),
                ),
            ],
            options={
                "ordering": ("customer_id", "starts_at", "id"),
            },
        ),
        migrations.AddIndex(
            model_name="memberdimension",
            index=models.Index(fields=["customer", "starts_at", "id"], name="billing_memberdimension_order"),
        ),
        migrations.AddConstraint(
            model_name="memberdimension",
            constraint=models.CheckConstraint(
                condition=models.Q(("dimension", ""), _negated=True), name="billing_memberdimension_named"
            ),
        ),
        migrations.AddConstraint(
            model_name="teamchange",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("effective_at__gte", FIRST),
                    ("recorded_at__lt", LAST),
                    (
                        "effective_at__lte",
                        django.db.models.expressions.CombinedExpression(
                            models.F("recorded_at"), "+", models.Value(datetime.timedelta(days=3653))
                        ),
                    ),
                ),
                name="billing_teamchange_within_reach",
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("starts_at__gte", FIRST),
                    ("starts_at__lt", LAST),
                    models.Q(("ends_at", None), ("ends_at__lt", LAST), _connector="OR"),
                ),
                name="billing_membership_within_reach",
            ),
        ),
        migrations.AddConstraint(
            model_name="groupmembership",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("starts_at__gte", FIRST),
                    ("starts_at__lt", LAST),
                    models.Q(("ends_at", None), ("ends_at__lt", LAST), _connector="OR"),
                ),
                name="billing_groupmembership_within_reach",
            ),
        ),
        migrations.AddConstraint(
            model_name="seatassignment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("starts_at__gte", FIRST),
                    ("starts_at__lt", LAST),
                    models.Q(("ends_at", None), ("ends_at__lt", LAST), _connector="OR"),
                ),
                name="billing_seatassignment_within_reach",
            ),
        ),
        migrations.AddIndex(
            model_name="teamchange",
            index=models.Index(fields=["customer", "recorded_at"], name="billing_teamchange_order"),
        ),
        migrations.AddConstraint(
            model_name="teamchange",
            constraint=models.UniqueConstraint(fields=("customer", "idempotency_key"), name="billing_teamchange_once"),
        ),
        migrations.AddConstraint(
            model_name="teamchange",
            constraint=models.CheckConstraint(
                condition=models.Q(models.Q(("reason", ""), _negated=True), models.Q(("actor", ""), _negated=True)),
                name="billing_teamchange_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="teamchange",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("operation", "correct_group"), ("effective_at__gte", models.F("recorded_at")), _connector="OR"
                ),
                name="billing_teamchange_not_before",
            ),
        ),
        migrations.AddConstraint(
            model_name="seatorder",
            constraint=models.CheckConstraint(condition=models.Q(("seats__gt", 0)), name="billing_seatorder_some"),
        ),
        migrations.AddConstraint(
            model_name="seatorder",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "open"), ("settled_at__isnull", False), _connector="XOR"),
                name="billing_seatorder_settled",
            ),
        ),
        migrations.AddConstraint(
            model_name="seatorder",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "open")), fields=("subscription",), name="billing_seatorder_one_open"
            ),
        ),
        migrations.AddIndex(
            model_name="seatassignment",
            index=models.Index(fields=["subscription", "add_on", "ends_at"], name="billing_seatassignment_held"),
        ),
        migrations.AddConstraint(
            model_name="seatassignment",
            constraint=models.CheckConstraint(
                condition=models.Q(("ends_at", None), ("ends_at__gte", models.F("starts_at")), _connector="OR"),
                name="billing_seatassignment_ends_after_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="seatassignment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_by", None), ("ends_at", None)),
                    models.Q(("ended_by__isnull", False), ("ends_at__isnull", False)),
                    _connector="OR",
                ),
                name="billing_seatassignment_end_has_change",
            ),
        ),
        migrations.AddConstraint(
            model_name="seatassignment",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                expressions=[
                    ("member", "="),
                    ("subscription", "="),
                    (
                        django.db.models.functions.comparison.Coalesce(
                            "add_on", models.Value(0), output_field=models.BigIntegerField()
                        ),
                        "=",
                    ),
                    (models.Func("starts_at", "ends_at", function="TSTZRANGE"), "&&"),
                ],
                name="billing_seatassignment_no_overlap",
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(("ends_at", None), ("ends_at__gte", models.F("starts_at")), _connector="OR"),
                name="billing_membership_ends_after_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_by", None), ("ends_at", None)),
                    models.Q(("ended_by__isnull", False), ("ends_at__isnull", False)),
                    _connector="OR",
                ),
                name="billing_membership_end_has_change",
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                expressions=[("member", "="), (models.Func("starts_at", "ends_at", function="TSTZRANGE"), "&&")],
                name="billing_membership_no_overlap",
            ),
        ),
        migrations.AddConstraint(
            model_name="member",
            constraint=models.UniqueConstraint(fields=("customer", "key"), name="billing_member_key"),
        ),
        migrations.AddConstraint(
            model_name="member",
            constraint=models.CheckConstraint(
                condition=models.Q(("key", ""), _negated=True), name="billing_member_has_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="groupmembership",
            constraint=models.CheckConstraint(
                condition=models.Q(("ends_at", None), ("ends_at__gte", models.F("starts_at")), _connector="OR"),
                name="billing_groupmembership_ends_after_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="groupmembership",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_by", None), ("ends_at", None)),
                    models.Q(("ended_by__isnull", False), ("ends_at__isnull", False)),
                    _connector="OR",
                ),
                name="billing_groupmembership_end_has_change",
            ),
        ),
        migrations.AddConstraint(
            model_name="groupmembership",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                expressions=[("member", "="), (models.Func("starts_at", "ends_at", function="TSTZRANGE"), "&&")],
                name="billing_groupmembership_no_overlap",
            ),
        ),
        migrations.AddConstraint(
            model_name="billinggroup",
            constraint=models.UniqueConstraint(fields=("customer", "code"), name="billing_billinggroup_code"),
        ),
        migrations.AddConstraint(
            model_name="billinggroup",
            constraint=models.CheckConstraint(
                condition=models.Q(("code__regex", "^[A-Za-z0-9_.-]{1,64}$")), name="billing_billinggroup_code_valid"
            ),
        ),
        migrations.AddConstraint(
            model_name="billinggroup",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", ""), _negated=True), name="billing_billinggroup_named"
            ),
        ),
        migrations.AddConstraint(
            model_name="billinggroup",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at", None), ("closed_by", None)),
                    models.Q(("closed_at__isnull", False), ("closed_by__isnull", False)),
                    _connector="OR",
                ),
                name="billing_billinggroup_closed_by",
            ),
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
