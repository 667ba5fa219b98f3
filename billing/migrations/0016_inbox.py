"""
The inbox: events set aside, replayed and forgotten; how far Stripe's lists were read; what the mirror was rebuilt from.

The rules of the tables are told in sql/0016_inbox.sql.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0016_inbox.sql"
# What was done about events so far was not written down; nearly all of them were projected.
OUTCOMES = "UPDATE billing_inboxevent SET outcome = 'projected' WHERE state = 'done'"


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_outbox")]

    operations = [
        migrations.CreateModel(
            name="InboxFailure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("attempt", models.PositiveIntegerField(help_text="Counted from one, replays included.")),
                ("failed_at", models.DateTimeField()),
                ("is_final", models.BooleanField(help_text="The event was set aside.")),
                ("error", models.TextField()),
            ],
            options={
                "ordering": ("event_id", "attempt"),
            },
        ),
        migrations.CreateModel(
            name="InboxReplay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("requested_at", models.DateTimeField()),
                ("requested_by", models.CharField(help_text="user:NAME.", max_length=200)),
                ("reason", models.CharField(max_length=500)),
                ("scope", models.CharField(help_text="What was asked for, in words.", max_length=1000)),
                ("chosen", models.PositiveIntegerField(help_text="Events that were put back into the queue.")),
                (
                    "left_alone",
                    models.PositiveIntegerField(
                        help_text="Events that are waiting or in work, or have no payload any more."
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="InboxReplayedEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "state_before",
                    models.CharField(
                        choices=[
                            ("received", "Waiting"),
                            ("processing", "In work"),
                            ("done", "Done"),
                            ("failed", "Failed, will be tried again"),
                            ("dead", "Set aside"),
                        ],
                        max_length=12,
                    ),
                ),
                ("attempts_before", models.PositiveIntegerField()),
                ("error_before", models.TextField(blank=True)),
            ],
            options={
                "ordering": ("replay_id", "event_id"),
            },
        ),
        migrations.CreateModel(
            name="MirrorRebuild",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("started_at", models.DateTimeField()),
                ("started_by", models.CharField(max_length=200)),
                (
                    "positions",
                    models.JSONField(
                        default=dict,
                        help_text="By kind: the last id that is in the mirror, how many were read, and whether that is all.",
                    ),
                ),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="PollPosition",
            fields=[
                ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("read_until", models.DateTimeField(help_text="Everything up to here was read.", null=True)),
                ("newest", models.DateTimeField(help_text="The newest when the reading under way began.", null=True)),
                (
                    "unread_until",
                    models.DateTimeField(help_text="The reading under way goes on here, downwards.", null=True),
                ),
                ("begun_at", models.DateTimeField(help_text="Our time when the reading under way began.", null=True)),
                (
                    "complete_at",
                    models.DateTimeField(help_text="Our time at which the last complete reading began.", null=True),
                ),
                (
                    "lost_from",
                    models.DateTimeField(
                        help_text="From here on Stripe's list was gone before it was read.", null=True
                    ),
                ),
                ("lost_until", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ("name",),
            },
        ),
        migrations.AlterModelOptions(
            name="inboxevent",
            options={
                "ordering": ("-received_at", "event_id"),
                "permissions": (
                    ("process_inboxevent", "Can process an inbox event again"),
                    ("view_mirror", "Can read dj-stripe's mirror of Stripe"),
                ),
            },
        ),
        migrations.AddField(
            model_name="inboxevent",
            name="strikes",
            field=models.PositiveSmallIntegerField(
                default=0,
                help_text="Since the last replay, attempts that failed for another reason than Stripe's silence.",
            ),
        ),
        migrations.AddField(
            model_name="inboxevent",
            name="attempts_before",
            field=models.PositiveIntegerField(default=0, help_text="Attempts made before the last replay."),
        ),
        migrations.AddField(
            model_name="inboxevent",
            name="detail",
            field=models.JSONField(
                help_text="What had to be fetched because a thin event does not carry it.", null=True
            ),
        ),
        migrations.AddField(
            model_name="inboxevent",
            name="last_delivered_at",
            field=models.DateTimeField(help_text="When it came for the latest time.", null=True),
        ),
        migrations.AddField(
            model_name="inboxevent",
            name="outcome",
            field=models.CharField(
                blank=True,
                choices=[
                    ("projected", "Projected"),
                    ("known", "The books said so already"),
                    ("ignored", "Not followed: nothing is done about its type"),
                ],
                help_text="What was done about it.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="inboxevent",
            name="payload_dropped_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="inboxevent",
            name="replayed_at",
            field=models.DateTimeField(help_text="When a person last asked for it to be tried again.", null=True),
        ),
        migrations.AlterField(
            model_name="inboxevent",
            name="payload",
            field=models.JSONField(help_text="As received; dropped some time after it was done.", null=True),
        ),
        migrations.AddIndex(
            model_name="inboxevent",
            index=models.Index(
                condition=models.Q(("payload_dropped_at", None)),
                fields=["processed_at"],
                name="billing_inbox_droppable",
            ),
        ),
        migrations.AddIndex(
            model_name="inboxevent",
            index=models.Index(
                condition=models.Q(("source", "poll")), fields=["received_at"], name="billing_inbox_polled"
            ),
        ),
        migrations.RunSQL(OUTCOMES, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="inboxevent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("payload__isnull", False), ("payload_dropped_at", None)),
                    models.Q(("payload__isnull", True), ("payload_dropped_at__isnull", False), ("state", "done")),
                    _connector="OR",
                ),
                name="billing_inboxevent_payload_kept",
            ),
        ),
        migrations.AddConstraint(
            model_name="inboxevent",
            constraint=models.CheckConstraint(
                condition=models.Q(("outcome", ""), ("state", "done"), _negated=True),
                name="billing_inboxevent_done_says_what",
            ),
        ),
        migrations.AddField(
            model_name="inboxfailure",
            name="event",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="failures", to="billing.inboxevent"
            ),
        ),
        migrations.AddConstraint(
            model_name="inboxreplay",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason", ""), _negated=True),
                    models.Q(("requested_by", ""), _negated=True),
                    models.Q(("scope", ""), _negated=True),
                ),
                name="billing_inboxreplay_says_why",
            ),
        ),
        migrations.AddField(
            model_name="inboxreplayedevent",
            name="event",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="replays", to="billing.inboxevent"
            ),
        ),
        migrations.AddField(
            model_name="inboxreplayedevent",
            name="replay",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="events", to="billing.inboxreplay"
            ),
        ),
        migrations.AddConstraint(
            model_name="mirrorrebuild",
            constraint=models.UniqueConstraint(
                models.ExpressionWrapper(models.Q(("finished_at", None)), output_field=models.BooleanField()),
                condition=models.Q(("finished_at", None)),
                name="billing_mirrorrebuild_one_at_a_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="pollposition",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("begun_at", None), ("newest", None), ("unread_until", None)),
                    models.Q(("begun_at__isnull", False), ("newest__isnull", False), ("unread_until__isnull", False)),
                    _connector="OR",
                ),
                name="billing_pollposition_under_way",
            ),
        ),
        migrations.AddConstraint(
            model_name="pollposition",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("lost_from", None), ("lost_until", None)),
                    ("lost_from__lt", models.F("lost_until")),
                    _connector="OR",
                ),
                name="billing_pollposition_lost",
            ),
        ),
        migrations.AddConstraint(
            model_name="inboxfailure",
            constraint=models.UniqueConstraint(fields=("event", "attempt"), name="billing_inboxfailure_once"),
        ),
        migrations.AddConstraint(
            model_name="inboxreplayedevent",
            constraint=models.UniqueConstraint(fields=("replay", "event"), name="billing_inboxreplayedevent_once"),
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
