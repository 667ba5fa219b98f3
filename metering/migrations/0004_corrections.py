"""Corrections of usage and the rules they keep, and the dismissal of quarantined events."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

RULES = (Path(__file__).parent / "sql" / "0004_corrections.sql").read_text()


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0003_meters"),
    ]

    operations = [
        migrations.CreateModel(
            name="Correction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("void", "Void"),
                            ("restore", "Restore"),
                            ("amend", "Amend"),
                            ("backfill", "Backfill"),
                            ("revert", "Revert"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "reason_code",
                    models.CharField(
                        choices=[
                            ("wrong_values", "Sent with wrong values"),
                            ("wrong_customer", "Sent for another customer"),
                            ("sent_twice", "Sent twice under two ids"),
                            ("test_traffic", "Test traffic"),
                            ("missing", "Never arrived"),
                            ("mistaken_correction", "The correction was a mistake"),
                            ("other", "Another reason"),
                        ],
                        max_length=32,
                        verbose_name="reason",
                    ),
                ),
                ("reason", models.CharField(max_length=500, verbose_name="why")),
                ("selection", models.JSONField(help_text="What was asked for: which events, or which file.")),
                ("drafted_by", models.CharField(max_length=150)),
                ("drafted_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(max_length=100, unique=True)),
            ],
            options={
                "permissions": [
                    ("request_correction", "Can draft, preview and withdraw corrections of usage"),
                    ("approve_correction", "Can approve or reject somebody else's correction of usage"),
                    ("apply_correction", "Can apply corrections of usage"),
                    ("revert_correction", "Can draft the revert of an applied correction of usage"),
                ],
            },
        ),
        migrations.CreateModel(
            name="CorrectionEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.UUIDField()),
                ("event_time", models.DateTimeField()),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("voided", "Voided"),
                            ("restored", "Restored"),
                            ("replacement", "Replacement"),
                            ("backfilled", "Backfilled"),
                        ],
                        max_length=12,
                    ),
                ),
                ("line_number", models.PositiveIntegerField(null=True)),
                ("replaces", models.UUIDField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="CorrectionLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("line_number", models.PositiveIntegerField(help_text="Of the file; from 1.")),
                (
                    "event",
                    models.TextField(blank=True, help_text="The event as JSON text, its numbers as they were written."),
                ),
                ("event_id", models.CharField(blank=True, max_length=256)),
                (
                    "problem",
                    models.JSONField(help_text="Why the line cannot be read: field, reason, remedy.", null=True),
                ),
                ("replaces", models.UUIDField(help_text="The event that is voided in its favour.", null=True)),
            ],
        ),
        migrations.CreateModel(
            name="CorrectionPreview",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150)),
                (
                    "digest",
                    models.CharField(
                        help_text="SHA-256 of the events touched and of each window's change.", max_length=64
                    ),
                ),
                ("events", models.BigIntegerField(help_text="Events it voids, puts in force again, or brings.")),
                ("customers", models.BigIntegerField(help_text="Customers whose windows change.")),
                ("counts", models.JSONField(help_text="What becomes of the events that were chosen or sent.")),
                ("money", models.JSONField(help_text="What money would do, as told by who knows it.")),
                ("needs_second_person", models.BooleanField()),
                ("why_second_person", models.CharField(blank=True, max_length=300)),
            ],
        ),
        migrations.CreateModel(
            name="CorrectionReject",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("line_number", models.PositiveIntegerField()),
                ("event_id", models.CharField(blank=True, max_length=256)),
                ("status", models.CharField(max_length=12)),
                ("field", models.CharField(blank=True, max_length=200)),
                ("reason", models.CharField(max_length=500)),
                ("remedy", models.CharField(blank=True, max_length=500)),
            ],
        ),
        migrations.CreateModel(
            name="CorrectionStep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "step",
                    models.CharField(
                        choices=[
                            ("drafted", "Drafted"),
                            ("approved", "Approved"),
                            ("rejected", "Rejected"),
                            ("withdrawn", "Withdrawn"),
                            ("applying", "Being applied"),
                            ("applied", "Applied"),
                            ("reverting", "Being reverted"),
                            ("reverted", "Reverted"),
                        ],
                        max_length=10,
                    ),
                ),
                ("at", models.DateTimeField()),
                ("actor", models.CharField(max_length=150)),
                ("words", models.CharField(blank=True, max_length=500)),
            ],
        ),
        migrations.CreateModel(
            name="CorrectionWindow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("window_start", models.DateTimeField()),
                ("customer_key", models.CharField(max_length=128)),
                ("meter_code", models.CharField(max_length=64)),
                ("meter_version", models.PositiveIntegerField()),
                ("dimensions", models.JSONField()),
                ("quantity_before", models.DecimalField(decimal_places=12, max_digits=38)),
                ("quantity_after", models.DecimalField(decimal_places=12, max_digits=38)),
                ("events_before", models.BigIntegerField()),
                ("events_after", models.BigIntegerField()),
                ("fingerprint_after", models.DecimalField(decimal_places=0, max_digits=38)),
            ],
        ),
        migrations.AlterModelOptions(
            name="quarantinedevent",
            options={
                "permissions": [
                    ("replay_quarantinedevent", "Can replay quarantined events"),
                    ("dismiss_quarantinedevent", "Can dismiss quarantined events that will never be counted"),
                ]
            },
        ),
        migrations.AddField(
            model_name="quarantinedevent",
            name="dismissed_because",
            field=models.CharField(blank=True, help_text="Why it will never be counted.", max_length=500),
        ),
        migrations.AlterField(
            model_name="quarantinedevent",
            name="outcome",
            field=models.CharField(
                blank=True,
                choices=[
                    ("accepted", "Accepted"),
                    ("duplicate", "Duplicate"),
                    ("conflict", "Conflict"),
                    ("dismissed", "Dismissed"),
                ],
                help_text="What the replay ended in.",
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantinedevent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("outcome", "dismissed"), models.Q(("dismissed_because", ""), _negated=True)),
                    models.Q(models.Q(("outcome", "dismissed"), _negated=True), ("dismissed_because", "")),
                    _connector="OR",
                ),
                name="metering_quarantine_dismissed_because",
            ),
        ),
        migrations.AddField(
            model_name="correction",
            name="reverts",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="reverting",
                to="metering.correction",
            ),
        ),
        migrations.AddField(
            model_name="correctionevent",
            name="correction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="events", to="metering.correction"
            ),
        ),
        migrations.AddField(
            model_name="correctionline",
            name="correction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="metering.correction"
            ),
        ),
        migrations.AddField(
            model_name="correctionpreview",
            name="correction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="previews", to="metering.correction"
            ),
        ),
        migrations.AddField(
            model_name="correctionreject",
            name="correction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="rejects", to="metering.correction"
            ),
        ),
        migrations.AddField(
            model_name="correctionstep",
            name="caused_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="metering.correction"
            ),
        ),
        migrations.AddField(
            model_name="correctionstep",
            name="correction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="steps", to="metering.correction"
            ),
        ),
        migrations.AddField(
            model_name="correctionstep",
            name="preview",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="metering.correctionpreview",
            ),
        ),
        migrations.AddField(
            model_name="correctionwindow",
            name="preview",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="windows", to="metering.correctionpreview"
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["void", "restore", "amend", "backfill", "revert"])),
                name="metering_correction_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason_code", ""), _negated=True), models.Q(("reason", ""), _negated=True)
                ),
                name="metering_correction_reason_given",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "revert"), ("reverts__isnull", False)),
                    models.Q(models.Q(("kind", "revert"), _negated=True), ("reverts", None)),
                    _connector="OR",
                ),
                name="metering_correction_reverts",
            ),
        ),
        migrations.AddIndex(
            model_name="correctionevent",
            index=models.Index(fields=["key"], name="metering_correctionevent_key"),
        ),
        migrations.AddConstraint(
            model_name="correctionevent",
            constraint=models.UniqueConstraint(fields=("correction", "key"), name="metering_correctionevent_once"),
        ),
        migrations.AddConstraint(
            model_name="correctionevent",
            constraint=models.UniqueConstraint(
                condition=models.Q(("role__in", ["replacement", "backfilled"])),
                fields=("key",),
                name="metering_correctionevent_brought_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionevent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("line_number", None), ("replaces", None), ("role__in", ["voided", "restored"])),
                    models.Q(("line_number__isnull", False), ("replaces", None), ("role", "backfilled")),
                    models.Q(("line_number__isnull", False), ("replaces__isnull", False), ("role", "replacement")),
                    _connector="OR",
                ),
                name="metering_correctionevent_role",
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionevent",
            constraint=models.CheckConstraint(
                condition=models.Q(("key", models.F("replaces")), _negated=True), name="metering_correctionevent_other"
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionline",
            constraint=models.UniqueConstraint(
                fields=("correction", "line_number"), name="metering_correctionline_number"
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(models.Q(("event", ""), _negated=True), ("problem", None)),
                    models.Q(("event", ""), ("problem__isnull", False)),
                    _connector="OR",
                ),
                name="metering_correctionline_event_or_problem",
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionpreview",
            constraint=models.UniqueConstraint(
                fields=("correction", "number"), name="metering_correctionpreview_number"
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionpreview",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("needs_second_person", False), ("why_second_person", "")),
                    models.Q(("needs_second_person", True), models.Q(("why_second_person", ""), _negated=True)),
                    _connector="OR",
                ),
                name="metering_correctionpreview_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionreject",
            constraint=models.UniqueConstraint(
                fields=("correction", "line_number"), name="metering_correctionreject_line"
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionstep",
            constraint=models.UniqueConstraint(
                fields=("correction", "position"), name="metering_correctionstep_position"
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionstep",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("preview__isnull", False), ("step__in", ["approved", "applying"])),
                    models.Q(models.Q(("step__in", ["approved", "applying"]), _negated=True), ("preview", None)),
                    _connector="OR",
                ),
                name="metering_correctionstep_preview",
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionstep",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("caused_by__isnull", False), ("step__in", ["reverting", "reverted"])),
                    models.Q(models.Q(("step__in", ["reverting", "reverted"]), _negated=True), ("caused_by", None)),
                    _connector="OR",
                ),
                name="metering_correctionstep_caused_by",
            ),
        ),
        migrations.AddConstraint(
            model_name="correctionwindow",
            constraint=models.CheckConstraint(
                condition=models.Q(("events_after__gte", 0), ("events_before__gte", 0)),
                name="metering_correctionwindow_counts",
            ),
        ),
        migrations.RunSQL(RULES, migrations.RunSQL.noop),
    ]
