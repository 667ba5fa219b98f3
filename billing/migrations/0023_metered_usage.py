"""Usage that is sent to Stripe as meter events instead of invoice lines (sql/0023_metered_usage.sql)."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0023_metered_usage.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0022_takeover"),
    ]

    operations = [
        migrations.AddField(
            model_name="planversion",
            name="usage_delivery",
            field=models.CharField(
                choices=[
                    ("invoice_lines", "Lines of ours on the draft"),
                    ("meter_events", "Stripe's meters, through the period"),
                ],
                db_default="invoice_lines",
                default="invoice_lines",
                help_text="How usage gets onto Stripe's invoice; what is charged is the same.",
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("usage_delivery__in", ["invoice_lines", "meter_events"])),
                name="billing_planversion_usage_delivery",
            ),
        ),
        migrations.CreateModel(
            name="MeteredPrice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "plan_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="metered_prices",
                        to="billing.planversion",
                    ),
                ),
                (
                    "rate",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.rate"),
                ),
                (
                    "unit_minor",
                    models.PositiveIntegerField(help_text="One chargeable increment, in minor units (JPY 1, KWD 10)."),
                ),
                ("event_name", models.CharField(max_length=100, unique=True)),
                ("stripe_meter_id", models.CharField(max_length=255, unique=True)),
                ("stripe_price_id", models.CharField(max_length=255, unique=True)),
                ("made_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("plan_version_id", "id"),
                "constraints": [
                    models.UniqueConstraint(fields=("plan_version", "rate"), name="billing_meteredprice_once"),
                    models.CheckConstraint(
                        condition=models.Q(("unit_minor__gte", 1)), name="billing_meteredprice_unit"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="MeteredEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "period",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="metered_events",
                        to="billing.billingperiod",
                    ),
                ),
                (
                    "price",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="events", to="billing.meteredprice"
                    ),
                ),
                ("number", models.PositiveIntegerField(help_text="1, 2, 3 … within the period and price.")),
                ("identifier", models.CharField(max_length=100, unique=True)),
                ("units", models.BigIntegerField(help_text="Chargeable increments, of either sign.")),
                (
                    "total_units",
                    models.BigIntegerField(help_text="What the period comes to with it, of all that count."),
                ),
                ("minute_at", models.DateTimeField(help_text="Its time at Stripe: a whole minute within the period.")),
                (
                    "again_of",
                    models.OneToOneField(
                        help_text="One that did not count.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="sent_again",
                        to="billing.meteredevent",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("intended", "Under way"),
                            ("accepted", "Taken by Stripe"),
                            ("not_counted", "Does not count"),
                        ],
                        default="intended",
                        max_length=12,
                    ),
                ),
                (
                    "error",
                    models.CharField(blank=True, help_text="Why it does not count, as Stripe says.", max_length=500),
                ),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(help_text="A task of ours, a service or a person.", max_length=200)),
                (
                    "reason",
                    models.CharField(blank=True, help_text="Why a person had it sent.", max_length=500),
                ),
                ("answered_at", models.DateTimeField(help_text="When Stripe took or refused it.", null=True)),
            ],
            options={
                "ordering": ("-id",),
                "verbose_name": "meter event",
                "permissions": (("resend_meteredevent", "Can have usage sent to Stripe's meters again"),),
                "constraints": [
                    models.UniqueConstraint(fields=("period", "price", "number"), name="billing_meteredevent_number"),
                    models.UniqueConstraint(
                        fields=("period", "price", "minute_at"), name="billing_meteredevent_minute"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "intended")),
                        fields=("period", "price"),
                        name="billing_meteredevent_one_under_way",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("units", 0), _negated=True), name="billing_meteredevent_not_zero"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("total_units__gte", 0)), name="billing_meteredevent_total"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "not_counted"), _negated=True),
                            models.Q(("error", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="billing_meteredevent_says_why",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state", "intended"), ("answered_at__isnull", False), _connector="XOR"),
                        name="billing_meteredevent_answered",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="MeteredWithdrawal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "period",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="withdrawal",
                        to="billing.billingperiod",
                    ),
                ),
                ("reason", models.CharField(max_length=500)),
                ("recorded_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("-id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("reason", ""), _negated=True), name="billing_meteredwithdrawal_reason"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="MeteredSummary",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "period",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="metered_summaries",
                        to="billing.billingperiod",
                    ),
                ),
                (
                    "price",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="summaries", to="billing.meteredprice"
                    ),
                ),
                (
                    "stripe_units",
                    models.BigIntegerField(help_text="Chargeable increments, by Stripe's summary of the period."),
                ),
                ("our_units", models.BigIntegerField(help_text="The same by the events that count.")),
                ("read_at", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "metered summaries",
                "ordering": ("-id",),
            },
        ),
        migrations.AddField(
            model_name="invoiceline",
            name="metered_price",
            field=models.ForeignKey(
                help_text="Stripe's meter brought it onto the invoice, and no line of ours was pushed.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="lines",
                to="billing.meteredprice",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("metered_price", None), models.Q(("amount_minor__gte", 0), ("kind", "usage")), _connector="OR"
                ),
                name="billing_line_metered_usage",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceline",
            constraint=models.UniqueConstraint(fields=("invoice", "metered_price"), name="billing_line_metered_once"),
        ),
        migrations.RunSQL(SQL.read_text()),
    ]
