"""
The catalogue as it is sold now: products, add-ons, contracts, allowances in several pools, charge models beside the unit
price, approval before publication. What was included so far becomes an allowance of its version and of its periods.

The data move by sql/0008_move.sql, the rules of the tables are told in sql/0008_rules.sql.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0007_late_usage"),
    ]

    operations = [
        migrations.CreateModel(
            name="Allowance",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveSmallIntegerField()),
                ("code", models.CharField(max_length=64)),
                ("name", models.CharField(max_length=200)),
                (
                    "measure",
                    models.CharField(choices=[("money", "Money"), ("units", "Units")], default="money", max_length=8),
                ),
                (
                    "amount",
                    models.DecimalField(
                        decimal_places=12,
                        help_text="A period (and seat): currency units, or units of usage.",
                        max_digits=38,
                    ),
                ),
                ("is_per_seat", models.BooleanField(default=True, help_text="Times the seats, which share it.")),
                (
                    "each_dimension",
                    models.CharField(
                        blank=True,
                        help_text="Instead of shared: for each value of this dimension, such as member.",
                        max_length=64,
                    ),
                ),
                ("covers", models.JSONField(blank=True, default=list)),
                (
                    "at_plan_change",
                    models.CharField(
                        choices=[
                            ("prorate", "Each plan's part of the period"),
                            ("restart", "The new plan's whole allowance"),
                            ("keep", "The old one until the period ends"),
                        ],
                        default="prorate",
                        max_length=8,
                    ),
                ),
            ],
            options={
                "ordering": ("plan_version_id", "position"),
            },
        ),
        migrations.CreateModel(
            name="AllowanceDrawdown",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "amount",
                    models.DecimalField(decimal_places=12, help_text="In currency units, exact.", max_digits=38),
                ),
                (
                    "quantity",
                    models.DecimalField(
                        decimal_places=12,
                        default=0,
                        help_text="Of an allowance in units: the units it covered.",
                        max_digits=38,
                    ),
                ),
            ],
            options={
                "ordering": ("accrual_id", "rate_id", "allowance_id"),
            },
        ),
        migrations.CreateModel(
            name="PeriodAddOn",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("seats", models.PositiveIntegerField()),
                ("is_bundled", models.BooleanField(default=False)),
            ],
            options={
                "ordering": ("period_id", "id"),
            },
        ),
        migrations.CreateModel(
            name="PeriodAllowance",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveSmallIntegerField()),
                ("code", models.CharField(max_length=64)),
                ("name", models.CharField(max_length=200)),
                (
                    "measure",
                    models.CharField(
                        choices=[("money", "Money"), ("units", "Units"), ("cap", "Above the maximum commitment")],
                        default="money",
                        max_length=8,
                    ),
                ),
                ("amount", models.DecimalField(decimal_places=12, max_digits=38, null=True)),
                ("each_dimension", models.CharField(blank=True, max_length=64)),
                ("covers", models.JSONField(blank=True, default=list)),
            ],
            options={
                "ordering": ("period_id", "position"),
            },
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(max_length=64, unique=True)),
                ("name", models.CharField(max_length=200)),
            ],
            options={
                "ordering": ("code",),
            },
        ),
        migrations.CreateModel(
            name="SubscriptionAddOn",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("seats", models.PositiveIntegerField(default=1)),
                ("added_at", models.DateTimeField()),
                ("removed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ("subscription_id", "id"),
            },
        ),
        migrations.AlterModelOptions(
            name="planversion",
            options={"ordering": ("plan__code", "version", "currency")},
        ),
        migrations.AlterModelOptions(
            name="rate",
            options={"ordering": ("rate_card_id", "dimensions", "meter_code", "effective_from")},
        ),
        migrations.RemoveConstraint(
            model_name="billingperiod",
            name="billing_period_allowance_not_negative",
        ),
        migrations.RemoveConstraint(
            model_name="planversion",
            name="billing_planversion_number",
        ),
        migrations.RemoveConstraint(
            model_name="planversion",
            name="billing_planversion_included_not_negative",
        ),
        migrations.RemoveConstraint(
            model_name="planversion",
            name="billing_planversion_published_has_time",
        ),
        migrations.RemoveConstraint(
            model_name="rate",
            name="billing_rate_one_per_instant",
        ),
        migrations.RemoveConstraint(
            model_name="rate",
            name="billing_rate_price_not_negative",
        ),
        migrations.RemoveConstraint(
            model_name="rate",
            name="billing_rate_unit_size_positive",
        ),
        migrations.AddField(
            model_name="billingperiod",
            name="kind",
            field=models.CharField(
                choices=[("regular", "Regular"), ("trial", "Trial")], default="regular", max_length=8
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="is_add_on",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="planversion",
            name="alignment",
            field=models.CharField(
                choices=[("anchor", "The day it began"), ("calendar", "The calendar")], default="anchor", max_length=10
            ),
        ),
        migrations.AddField(
            model_name="planversion",
            name="approved_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="planversion",
            name="bundled",
            field=models.ManyToManyField(
                blank=True,
                help_text="Versions of add-ons that the fee covers.",
                related_name="bundled_in",
                to="billing.planversion",
            ),
        ),
        migrations.AddField(
            model_name="planversion",
            name="fee_tiers",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text='By seats: [{"up_to": 10, "unit_minor": 2000, "flat_minor": 0}, …], graduated, the last up_to null.',
            ),
        ),
        migrations.AddField(
            model_name="planversion",
            name="interval",
            field=models.CharField(
                choices=[("week", "Week"), ("month", "Month"), ("year", "Year")], default="month", max_length=8
            ),
        ),
        migrations.AddField(
            model_name="planversion",
            name="interval_count",
            field=models.PositiveSmallIntegerField(default=1),
        ),
        migrations.AddField(
            model_name="planversion",
            name="max_seats",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="planversion",
            name="min_seats",
            field=models.PositiveIntegerField(default=1),
        ),
        migrations.AddField(
            model_name="planversion",
            name="only_for",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="contracts",
                to="billing.customer",
            ),
        ),
        migrations.AddField(
            model_name="planversion",
            name="retired_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="planversion",
            name="time_zone",
            field=models.CharField(default="UTC", help_text="Of the calendar; an anchor counts in UTC.", max_length=64),
        ),
        migrations.AddField(
            model_name="planversion",
            name="trial_days",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="rate",
            name="charge_model",
            field=models.CharField(
                choices=[
                    ("per_unit", "Per unit"),
                    ("graduated", "Graduated tiers"),
                    ("volume", "Volume tiers"),
                    ("package", "Packages"),
                    ("percentage", "Percentage"),
                    ("graduated_percentage", "Graduated percentage"),
                    ("blocks", "Blocks"),
                    ("matrix", "Matrix by dimensions"),
                    ("cost_plus", "Cost plus margin"),
                    ("flat", "Flat"),
                    ("minimum_commitment", "Minimum commitment"),
                    ("maximum_commitment", "Maximum commitment"),
                ],
                default="per_unit",
                max_length=24,
            ),
        ),
        migrations.AddField(
            model_name="rate",
            name="dimensions",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text='The values that usage must have, such as {"model": "auto"}; {} is any.',
            ),
        ),
        migrations.AddField(
            model_name="rate",
            name="terms",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="Of every other charge model: what billing.rating.charges reads, amounts as text.",
            ),
        ),
        migrations.AddField(
            model_name="ratecard",
            name="base",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="overridden_by",
                to="billing.ratecard",
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="pinned_at",
            field=models.DateTimeField(
                blank=True, help_text="Since then no rollout moves it to other terms.", null=True
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="pinned_because",
            field=models.CharField(blank=True, max_length=500),
        ),
        migrations.AddField(
            model_name="subscription",
            name="trial_ends_at",
            field=models.DateTimeField(blank=True, help_text="Until then the whole usage is included.", null=True),
        ),
        migrations.AlterField(
            model_name="planversion",
            name="fee_minor",
            field=models.BigIntegerField(
                help_text="Recurring fee a period and seat, in minor units, billed in advance; 0 where fee_tiers says it."
            ),
        ),
        migrations.AlterField(
            model_name="planversion",
            name="status",
            field=models.CharField(
                choices=[
                    ("draft", "Draft"),
                    ("approved", "Approved"),
                    ("published", "Published"),
                    ("retired", "Retired"),
                ],
                default="draft",
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="rate",
            name="meter_code",
            field=models.CharField(blank=True, help_text="Empty for a charge that needs no usage.", max_length=64),
        ),
        migrations.AlterField(
            model_name="rate",
            name="unit_price",
            field=models.DecimalField(
                blank=True,
                decimal_places=12,
                help_text="Exact price, in the card's currency, of `unit_size` units; of per_unit alone.",
                max_digits=38,
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="rate",
            name="unit_size",
            field=models.PositiveIntegerField(blank=True, help_text="Units that unit_price buys.", null=True),
        ),
        migrations.AddField(
            model_name="allowance",
            name="plan_version",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="allowances", to="billing.planversion"
            ),
        ),
        migrations.AddField(
            model_name="allowancedrawdown",
            name="accrual",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="allowance_drawdowns",
                to="billing.usageaccrual",
            ),
        ),
        migrations.AddField(
            model_name="allowancedrawdown",
            name="rate",
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.rate"),
        ),
        migrations.AddField(
            model_name="periodaddon",
            name="period",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="add_ons", to="billing.billingperiod"
            ),
        ),
        migrations.AddField(
            model_name="periodaddon",
            name="plan_version",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.planversion"
            ),
        ),
        migrations.AddField(
            model_name="periodallowance",
            name="period",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="allowances", to="billing.billingperiod"
            ),
        ),
        migrations.AddField(
            model_name="allowancedrawdown",
            name="allowance",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="drawdowns", to="billing.periodallowance"
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="product",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="plans",
                to="billing.product",
            ),
        ),
        migrations.AddField(
            model_name="subscriptionaddon",
            name="plan_version",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.planversion"
            ),
        ),
        migrations.AddField(
            model_name="subscriptionaddon",
            name="subscription",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="add_ons", to="billing.subscription"
            ),
        ),
        migrations.RunSQL((SQL / "0008_move.sql").read_text(), migrations.RunSQL.noop),
        migrations.RemoveField(
            model_name="billingperiod",
            name="allowance",
        ),
        migrations.RemoveField(
            model_name="planversion",
            name="included_amount",
        ),
        migrations.RemoveField(
            model_name="rate",
            name="model",
        ),
        migrations.AddConstraint(
            model_name="billingperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ("regular", "trial"))), name="billing_period_kind"
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.UniqueConstraint(
                fields=("plan", "version", "currency"), name="billing_planversion_number"
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("fee_minor", 0), ("fee_tiers", []), _connector="OR"),
                name="billing_planversion_fee_said_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("alignment__in", ["anchor", "calendar"]),
                    ("interval__in", ["week", "month", "year"]),
                    ("interval_count__gte", 1),
                ),
                name="billing_planversion_interval",
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("min_seats__gte", 1),
                    models.Q(("max_seats", None), ("max_seats__gte", models.F("min_seats")), _connector="OR"),
                ),
                name="billing_planversion_seats",
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ("draft", "approved")), ("published_at__isnull", False), _connector="OR"
                ),
                name="billing_planversion_published_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="rate",
            constraint=models.UniqueConstraint(
                fields=("rate_card", "meter_code", "dimensions", "charge_model", "effective_from"),
                name="billing_rate_one_per_instant",
            ),
        ),
        migrations.AddConstraint(
            model_name="rate",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "charge_model__in",
                        [
                            "per_unit",
                            "graduated",
                            "volume",
                            "package",
                            "percentage",
                            "graduated_percentage",
                            "blocks",
                            "matrix",
                            "cost_plus",
                            "flat",
                            "minimum_commitment",
                            "maximum_commitment",
                        ],
                    )
                ),
                name="billing_rate_charge_model",
            ),
        ),
        migrations.AddConstraint(
            model_name="rate",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("charge_model", "per_unit"), ("terms", {}), ("unit_price__gte", 0), ("unit_size__gt", 0)),
                    models.Q(
                        models.Q(("charge_model", "per_unit"), _negated=True), ("unit_price", None), ("unit_size", None)
                    ),
                    _connector="OR",
                ),
                name="billing_rate_unit_price",
            ),
        ),
        migrations.AddConstraint(
            model_name="rate",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("charge_model__in", ["flat", "minimum_commitment", "maximum_commitment"]),
                        ("dimensions", {}),
                        ("meter_code", ""),
                    ),
                    models.Q(
                        models.Q(("meter_code", ""), _negated=True),
                        models.Q(
                            ("charge_model__in", ["flat", "minimum_commitment", "maximum_commitment"]), _negated=True
                        ),
                    ),
                    _connector="OR",
                ),
                name="billing_rate_meter",
            ),
        ),
        migrations.AddConstraint(
            model_name="ratecard",
            constraint=models.CheckConstraint(
                condition=models.Q(("base", models.F("id")), _negated=True), name="billing_ratecard_not_its_own_base"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("pinned_at", None), models.Q(("pinned_because", ""), _negated=True), _connector="XOR"
                ),
                name="billing_subscription_pinned_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="allowance",
            constraint=models.UniqueConstraint(fields=("plan_version", "code"), name="billing_allowance_code"),
        ),
        migrations.AddConstraint(
            model_name="allowance",
            constraint=models.UniqueConstraint(fields=("plan_version", "position"), name="billing_allowance_position"),
        ),
        migrations.AddConstraint(
            model_name="allowance",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gte", 0)), name="billing_allowance_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="allowance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("at_plan_change__in", ["prorate", "restart", "keep"]), ("measure__in", ["money", "units"])
                ),
                name="billing_allowance_words",
            ),
        ),
        migrations.AddConstraint(
            model_name="allowance",
            constraint=models.CheckConstraint(
                condition=models.Q(("each_dimension", ""), ("is_per_seat", False), _connector="OR"),
                name="billing_allowance_shared_one_way",
            ),
        ),
        migrations.AddConstraint(
            model_name="periodaddon",
            constraint=models.UniqueConstraint(fields=("period", "plan_version"), name="billing_periodaddon_once"),
        ),
        migrations.AddConstraint(
            model_name="periodallowance",
            constraint=models.UniqueConstraint(fields=("period", "code"), name="billing_periodallowance_code"),
        ),
        migrations.AddConstraint(
            model_name="periodallowance",
            constraint=models.UniqueConstraint(fields=("period", "position"), name="billing_periodallowance_position"),
        ),
        migrations.AddConstraint(
            model_name="periodallowance",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount", None), ("amount__gte", 0), _connector="OR"),
                name="billing_periodallowance_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="periodallowance",
            constraint=models.CheckConstraint(
                condition=models.Q(("measure__in", ("money", "units", "cap"))), name="billing_periodallowance_measure"
            ),
        ),
        migrations.AddConstraint(
            model_name="periodallowance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("measure", "cap"), _negated=True), ("amount__isnull", False), _connector="OR"
                ),
                name="billing_periodallowance_cap_has_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="allowancedrawdown",
            constraint=models.UniqueConstraint(
                fields=("accrual", "rate", "allowance"), name="billing_allowancedrawdown_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="allowancedrawdown",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount", 0), ("quantity", 0), _negated=True),
                name="billing_allowancedrawdown_not_zero",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionaddon",
            constraint=models.CheckConstraint(
                condition=models.Q(("seats__gt", 0)), name="billing_subscriptionaddon_seats_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionaddon",
            constraint=models.CheckConstraint(
                condition=models.Q(("removed_at", None), ("removed_at__gte", models.F("added_at")), _connector="OR"),
                name="billing_subscriptionaddon_not_empty",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionaddon",
            constraint=models.UniqueConstraint(
                condition=models.Q(("removed_at", None)),
                fields=("subscription", "plan_version"),
                name="billing_subscriptionaddon_once",
            ),
        ),
        migrations.RunSQL((SQL / "0008_rules.sql").read_text(), migrations.RunSQL.noop),
    ]
