"""Archives, retention, freshness and alarms: their tables, and the rules of how events leave the database."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("metering", "0004_corrections")]

    operations = [
        migrations.CreateModel(
            name="EventArchive",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField(help_text="First day of the UTC month.")),
                ("file_name", models.CharField(help_text="Name in the storage usage_archive.", max_length=200)),
                (
                    "sha256",
                    models.CharField(
                        help_text="Of the file as it lies in the storage.", max_length=64, verbose_name="SHA-256"
                    ),
                ),
                ("size_bytes", models.BigIntegerField()),
                ("events", models.BigIntegerField(help_text="Rows, one for each event.")),
                (
                    "fingerprint",
                    models.DecimalField(
                        decimal_places=0,
                        help_text="Sum over its rows of 60 bits of SHA-256 of all their columns: their order does not matter.",
                        max_digits=38,
                    ),
                ),
                (
                    "last_xid",
                    models.BigIntegerField(
                        help_text="The last transaction that recorded one of them; empty for no event.", null=True
                    ),
                ),
                ("archived_at", models.DateTimeField()),
                ("archived_by", models.CharField(max_length=150)),
            ],
            options={
                "verbose_name_plural": "months of events",
                "constraints": [
                    models.UniqueConstraint(fields=("month", "sha256"), name="metering_archive_once"),
                    models.CheckConstraint(condition=models.Q(("month__day", 1)), name="metering_archive_whole_month"),
                    models.CheckConstraint(
                        condition=models.Q(("sha256__regex", "^[0-9a-f]{64}$")), name="metering_archive_sha256"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("events__gte", 0), ("fingerprint__gte", 0), ("size_bytes__gt", 0)),
                        name="metering_archive_counts",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ArchiveVerification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "archive",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="verifications",
                        to="metering.eventarchive",
                    ),
                ),
                ("verified_at", models.DateTimeField()),
                ("verified_by", models.CharField(max_length=150)),
            ],
        ),
        migrations.CreateModel(
            name="PartitionMove",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField()),
                (
                    "archive",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="moves", to="metering.eventarchive"
                    ),
                ),
                ("move", models.CharField(choices=[("dropped", "Dropped"), ("restored", "Restored")], max_length=8)),
                ("moved_at", models.DateTimeField()),
                ("moved_by", models.CharField(max_length=150)),
                (
                    "hold_until",
                    models.DateTimeField(
                        help_text="A restored month is not dropped again before this instant.", null=True
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["month", "id"], name="metering_move_latest")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("hold_until", None), ("move", "dropped")),
                            models.Q(("hold_until__gte", models.F("moved_at")), ("move", "restored")),
                            _connector="OR",
                        ),
                        name="metering_move_hold",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Retention",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("retention_days", models.IntegerField()),
                ("dedupe_horizon_days", models.IntegerField()),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="metering_retention_one_row"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("dedupe_horizon_days__gte", 1), ("retention_days__gte", models.F("dedupe_horizon_days"))
                        ),
                        name="metering_retention_spans_the_horizon",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="KeyForgetting",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("before", models.DateTimeField(help_text="Identities of events before this instant were forgotten.")),
                ("keys", models.BigIntegerField()),
                ("finished_at", models.DateTimeField()),
                ("forgotten_by", models.CharField(max_length=150)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("before",), name="metering_forgetting_once")],
            },
        ),
        migrations.CreateModel(
            name="FreshnessCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stage", models.CharField(max_length=16)),
                (
                    "minute",
                    models.DateTimeField(help_text="When the stage had done; to the hour once it is some days old."),
                ),
                ("step", models.SmallIntegerField(help_text="Place of the age on the logarithmic scale.")),
                ("events", models.BigIntegerField()),
                (
                    "span_seconds",
                    models.SmallIntegerField(default=60, help_text="60 for a minute, 3600 once it was added up."),
                ),
                ("longest_us", models.BigIntegerField(help_text="The longest of these ages, in microseconds, exact.")),
            ],
            options={
                "db_table": "metering_freshness",
                "verbose_name_plural": "lag",
                "indexes": [models.Index(fields=["stage", "minute"], name="metering_freshness_minute")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("events__gt", 0), ("longest_us__gte", 0), ("step__gte", 0)),
                        name="metering_freshness_counts",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="OutcomeCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField()),
                ("outcome", models.CharField(max_length=16)),
                ("events", models.BigIntegerField()),
            ],
            options={
                "db_table": "metering_outcomecount",
                "indexes": [models.Index(fields=["hour"], name="metering_outcome_hour")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("events__gt", 0), ("outcome__in", ["duplicate", "conflict", "quarantined", "refused"])
                        ),
                        name="metering_outcome_counts",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Alarm",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=32)),
                (
                    "subject",
                    models.CharField(
                        help_text="What it is about: a source, a meter, a value of a dimension.", max_length=400
                    ),
                ),
                ("opened_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField(help_text="When a check last found it so.")),
                ("closed_at", models.DateTimeField(help_text="When a check first found it over.", null=True)),
                ("expected", models.CharField(max_length=400)),
                ("seen", models.CharField(max_length=400)),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("acknowledged_by", models.CharField(blank=True, max_length=150)),
                ("note", models.CharField(blank=True, max_length=500)),
            ],
            options={
                "permissions": [("acknowledge_alarm", "Can acknowledge alarms")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("closed_at", None)),
                        fields=("kind", "subject"),
                        name="metering_alarm_one_open",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("acknowledged_at", None), ("acknowledged_by", ""), ("note", "")),
                            models.Q(
                                ("acknowledged_at__isnull", False),
                                models.Q(("acknowledged_by", ""), _negated=True),
                                models.Q(("note", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="metering_alarm_acknowledged_by_with_note",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("closed_at", None), ("closed_at__gte", models.F("opened_at")), _connector="OR"
                        ),
                        name="metering_alarm_closes_later",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SourceHour",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField()),
                ("source", models.CharField(max_length=256)),
                ("event_type", models.CharField(max_length=128)),
                ("events", models.BigIntegerField()),
                (
                    "minutes",
                    models.BigIntegerField(help_text="One bit for each minute of the hour in which something came."),
                ),
                ("last_received_at", models.DateTimeField()),
            ],
            options={
                "db_table": "metering_sourcehour",
                "constraints": [
                    models.UniqueConstraint(fields=("hour", "source", "event_type"), name="metering_sourcehour_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="MeterHour",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField()),
                ("meter_code", models.CharField(max_length=64)),
                ("events", models.BigIntegerField()),
                (
                    "quantity",
                    models.DecimalField(
                        decimal_places=12, help_text="In the meter's unit; to compare hours.", max_digits=50
                    ),
                ),
            ],
            options={
                "db_table": "metering_meterhour",
                "constraints": [models.UniqueConstraint(fields=("hour", "meter_code"), name="metering_meterhour_once")],
            },
        ),
        migrations.CreateModel(
            name="SeenValue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                ("value", models.CharField(max_length=256)),
                ("first_seen_at", models.DateTimeField()),
            ],
            options={
                "db_table": "metering_seenvalue",
                "constraints": [models.UniqueConstraint(fields=("name", "value"), name="metering_seenvalue_once")],
            },
        ),
        migrations.CreateModel(
            name="ObservationCursor",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "last_advance",
                    models.BigIntegerField(
                        help_text="Events of every advance up to this one are in the hourly figures."
                    ),
                ),
            ],
            options={
                "db_table": "metering_observationcursor",
            },
        ),
        migrations.RunSQL((SQL / "0005_lifecycle.sql").read_text(), (SQL / "0005_lifecycle_reverse.sql").read_text()),
    ]
