"""Meters of every aggregation, marks on events, what windows keep beside their figures, and repairs."""

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F

from metering.migrations._meter_rules import REVERSE, SQL

PAIRS_ADD_UP = models.Q(pairs=F("counted") + F("excluded_absent") + F("excluded_invalid") + F("excluded_filtered"))


class Migration(migrations.Migration):
    dependencies: ClassVar = [("metering", "0002_event_store")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="EventMark",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key", models.UUIDField(help_text="The event's key.")),
                ("event_time", models.DateTimeField(help_text="The event's time, which finds it in its partition.")),
                ("position", models.SmallIntegerField(help_text="1 is the first mark of this event.")),
                ("sign", models.SmallIntegerField(help_text="What is added to its windows: -1 void, +1 restored.")),
                ("correction_id", models.BigIntegerField(help_text="The correction that set it.")),
                ("marked_at", models.DateTimeField()),
                (
                    "recorded_xid",
                    models.BigIntegerField(editable=False, help_text="Set by the database; aggregation goes by it."),
                ),
            ],
            options={
                "db_table": "metering_event_mark",
                "ordering": ["id"],
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="MeterTally",
            fields=[
                (
                    "meter",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="tally",
                        serialize=False,
                        to="metering.meter",
                    ),
                ),
                ("pairs", models.BigIntegerField()),
                ("counted", models.BigIntegerField()),
                ("excluded_absent", models.BigIntegerField()),
                ("excluded_invalid", models.BigIntegerField()),
                ("excluded_filtered", models.BigIntegerField()),
                ("voided", models.BigIntegerField()),
                ("restored", models.BigIntegerField()),
            ],
            options={
                "db_table": "metering_meter_tally",
            },
        ),
        migrations.CreateModel(
            name="WindowRepair",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("window_start", models.DateTimeField()),
                ("customer_key", models.CharField(max_length=128)),
                ("dimensions", models.JSONField()),
                (
                    "quantity_before",
                    models.DecimalField(decimal_places=12, help_text="In the meter's unit.", max_digits=38, null=True),
                ),
                ("events_before", models.BigIntegerField(null=True)),
                ("fingerprint_before", models.DecimalField(decimal_places=0, max_digits=38, null=True)),
                ("kept_before", models.TextField(blank=True, help_text="What the window kept beside its figures.")),
                (
                    "quantity_after",
                    models.DecimalField(decimal_places=12, help_text="In the meter's unit.", max_digits=38),
                ),
                ("events_after", models.BigIntegerField()),
                ("fingerprint_after", models.DecimalField(decimal_places=0, max_digits=38)),
                ("kept_after", models.TextField(blank=True)),
                ("reason", models.CharField(max_length=500)),
                ("actor", models.CharField(max_length=150)),
                ("repaired_at", models.DateTimeField()),
                ("change_seq", models.BigIntegerField(help_text="The change under which rating sees it.")),
            ],
            options={
                "db_table": "metering_window_repair",
            },
        ),
        migrations.AlterModelOptions(
            name="aggregationwindow",
            options={"managed": False, "permissions": [("repair_aggregationwindow", "Can repair aggregation windows")]},
        ),
        migrations.RemoveConstraint(
            model_name="aggregationadvance",
            name="metering_advance_conservation",
        ),
        migrations.RemoveConstraint(
            model_name="meter",
            name="metering_meter_aggregation",
        ),
        migrations.RemoveConstraint(
            model_name="meter",
            name="metering_meter_value_path",
        ),
        migrations.AddField(
            model_name="aggregationadvance",
            name="excluded_filtered",
            field=models.BigIntegerField(default=0, help_text="The event matches none of the meter's filters."),
        ),
        migrations.AddField(
            model_name="aggregationadvance",
            name="mark_excluded",
            field=models.BigIntegerField(default=0, help_text="Pairs that were excluded, so a mark changes nothing."),
        ),
        migrations.AddField(
            model_name="aggregationadvance",
            name="mark_pairs",
            field=models.BigIntegerField(default=0, help_text="Each mark, once for every meter of its event."),
        ),
        migrations.AddField(
            model_name="aggregationadvance",
            name="marks",
            field=models.BigIntegerField(default=0, help_text="Events voided or restored."),
        ),
        migrations.AddField(
            model_name="aggregationadvance",
            name="restored",
            field=models.BigIntegerField(default=0, help_text="Voided pairs brought back into their windows."),
        ),
        migrations.AddField(
            model_name="aggregationadvance",
            name="voided",
            field=models.BigIntegerField(default=0, help_text="Counted pairs taken out of their windows again."),
        ),
        migrations.AddField(
            model_name="meter",
            name="defined_at",
            field=models.DateTimeField(
                db_default=models.Func(function="now"),
                editable=False,
                help_text="From here on the definition of this version stands.",
            ),
        ),
        migrations.AddField(
            model_name="meter",
            name="filters",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text="Alternatives, each paths below data with the texts allowed there. An event that matches any of them counts, once. None: every event of the type.",
            ),
        ),
        migrations.AlterField(
            model_name="aggregationadvance",
            name="oldest_received_at",
            field=models.DateTimeField(help_text="None where only marks were taken.", null=True),
        ),
        migrations.AlterField(
            model_name="meter",
            name="aggregation",
            field=models.CharField(
                choices=[
                    ("sum", "Sum"),
                    ("count", "Count"),
                    ("max", "Maximum"),
                    ("min", "Minimum"),
                    ("last", "Last value"),
                    ("unique_count", "Number of different values"),
                    ("time_weighted_average", "Time-weighted average"),
                    ("window_max", "Sum of the hours' maxima"),
                ],
                max_length=32,
            ),
        ),
        migrations.AddConstraint(
            model_name="aggregationadvance",
            constraint=models.CheckConstraint(condition=PAIRS_ADD_UP, name="metering_advance_conservation"),
        ),
        migrations.AddConstraint(
            model_name="aggregationadvance",
            constraint=models.CheckConstraint(
                condition=models.Q(mark_pairs=F("voided") + F("restored") + F("mark_excluded")),
                name="metering_advance_marks_conserved",
            ),
        ),
        migrations.AddConstraint(
            model_name="meter",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "aggregation__in",
                        ("sum", "count", "max", "min", "last", "unique_count", "time_weighted_average", "window_max"),
                    )
                ),
                name="metering_meter_aggregation",
            ),
        ),
        migrations.AddConstraint(
            model_name="meter",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("aggregation", "count"), ("value_path", "")),
                    models.Q(models.Q(("aggregation", "count"), _negated=True), ("value_path__startswith", "data.")),
                    _connector="OR",
                ),
                name="metering_meter_value_path",
            ),
        ),
        migrations.AddConstraint(
            model_name="metertally",
            constraint=models.CheckConstraint(condition=PAIRS_ADD_UP, name="metering_tally_conservation"),
        ),
        migrations.AddField(
            model_name="windowrepair",
            name="meter",
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="metering.meter"),
        ),
        migrations.AddIndex(
            model_name="windowrepair",
            index=models.Index(fields=["customer_key", "window_start"], name="metering_repair_window"),
        ),
        migrations.AddConstraint(
            model_name="windowrepair",
            constraint=models.CheckConstraint(
                condition=models.Q(models.Q(("reason", ""), _negated=True), models.Q(("actor", ""), _negated=True)),
                name="metering_repair_says_why",
            ),
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]
