"""Corrections of usage: what was asked, what it would do, who decided, and which events it touched. All of it is
append-only; a correction's state is its last step."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q


class Correction(models.Model):
    """One correction as it was asked for. Raw events never change: it marks events void or in force again, or brings
    events of its own."""

    VOID, RESTORE, AMEND, BACKFILL, REVERT = "void", "restore", "amend", "backfill", "revert"
    KINDS: ClassVar = [
        (VOID, "Void"),
        (RESTORE, "Restore"),
        (AMEND, "Amend"),
        (BACKFILL, "Backfill"),
        (REVERT, "Revert"),
    ]
    REASONS: ClassVar = [
        ("wrong_values", "Sent with wrong values"),
        ("wrong_customer", "Sent for another customer"),
        ("sent_twice", "Sent twice under two ids"),
        ("test_traffic", "Test traffic"),
        ("missing", "Never arrived"),
        ("mistaken_correction", "The correction was a mistake"),
        ("other", "Another reason"),
    ]

    kind = models.CharField(max_length=8, choices=KINDS)
    reason_code = models.CharField("reason", max_length=32, choices=REASONS)
    reason = models.CharField("why", max_length=500)
    selection = models.JSONField(help_text="What was asked for: which events, or which file.")
    reverts = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="reverting")
    drafted_by = models.CharField(max_length=150)
    drafted_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=100, unique=True)

    class Meta:
        permissions: ClassVar = [
            ("request_correction", "Can draft, preview and withdraw corrections of usage"),
            ("approve_correction", "Can approve or reject somebody else's correction of usage"),
            ("apply_correction", "Can apply corrections of usage"),
            ("revert_correction", "Can draft the revert of an applied correction of usage"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(kind__in=["void", "restore", "amend", "backfill", "revert"]),
                name="metering_correction_kind",
            ),
            models.CheckConstraint(
                condition=~Q(reason_code="") & ~Q(reason=""), name="metering_correction_reason_given"
            ),
            models.CheckConstraint(
                condition=Q(kind="revert", reverts__isnull=False) | (~Q(kind="revert") & Q(reverts=None)),
                name="metering_correction_reverts",
            ),
        ]

    def __str__(self) -> str:
        return f"Correction {self.pk}"


class CorrectionPreview(models.Model):
    """What the correction would do, worked out by doing it and rolling back. It is applied only as it was previewed."""

    correction = models.ForeignKey(Correction, on_delete=models.PROTECT, related_name="previews")
    number = models.PositiveIntegerField()
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=150)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the events touched and of each window's change.")
    events = models.BigIntegerField(help_text="Events it voids, puts in force again, or brings.")
    customers = models.BigIntegerField(help_text="Customers whose windows change.")
    counts = models.JSONField(help_text="What becomes of the events that were chosen or sent.")
    money = models.JSONField(help_text="What money would do, as told by who knows it.")
    needs_second_person = models.BooleanField()
    why_second_person = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["correction", "number"], name="metering_correctionpreview_number"),
            models.CheckConstraint(
                condition=Q(needs_second_person=False, why_second_person="")
                | (Q(needs_second_person=True) & ~Q(why_second_person="")),
                name="metering_correctionpreview_why",
            ),
        ]


class CorrectionWindow(models.Model):
    """One window as a preview found it, and as it would become."""

    preview = models.ForeignKey(CorrectionPreview, on_delete=models.PROTECT, related_name="windows")
    window_start = models.DateTimeField()
    customer_key = models.CharField(max_length=128)
    meter_code = models.CharField(max_length=64)
    meter_version = models.PositiveIntegerField()
    dimensions = models.JSONField()
    quantity_before = models.DecimalField(max_digits=38, decimal_places=12)
    quantity_after = models.DecimalField(max_digits=38, decimal_places=12)
    events_before = models.BigIntegerField()
    events_after = models.BigIntegerField()
    fingerprint_after = models.DecimalField(max_digits=38, decimal_places=0)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(events_before__gte=0, events_after__gte=0), name="metering_correctionwindow_counts"
            )
        ]


class CorrectionStep(models.Model):
    """One step of a correction: what happened, when, by whom and why. Which may follow which, the database says."""

    DRAFTED, APPROVED, REJECTED, WITHDRAWN = "drafted", "approved", "rejected", "withdrawn"
    APPLYING, APPLIED, REVERTING, REVERTED = "applying", "applied", "reverting", "reverted"
    STEPS: ClassVar = [
        (DRAFTED, "Drafted"),
        (APPROVED, "Approved"),
        (REJECTED, "Rejected"),
        (WITHDRAWN, "Withdrawn"),
        (APPLYING, "Being applied"),
        (APPLIED, "Applied"),
        (REVERTING, "Being reverted"),
        (REVERTED, "Reverted"),
    ]

    correction = models.ForeignKey(Correction, on_delete=models.PROTECT, related_name="steps")
    position = models.PositiveSmallIntegerField()
    step = models.CharField(max_length=10, choices=STEPS)
    at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    words = models.CharField(max_length=500, blank=True)
    preview = models.ForeignKey(CorrectionPreview, null=True, on_delete=models.PROTECT, related_name="+")
    caused_by = models.ForeignKey(Correction, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["correction", "position"], name="metering_correctionstep_position"),
            models.CheckConstraint(
                condition=(Q(step__in=["approved", "applying"], preview__isnull=False))
                | (~Q(step__in=["approved", "applying"]) & Q(preview=None)),
                name="metering_correctionstep_preview",
            ),
            models.CheckConstraint(
                condition=(Q(step__in=["reverting", "reverted"], caused_by__isnull=False))
                | (~Q(step__in=["reverting", "reverted"]) & Q(caused_by=None)),
                name="metering_correctionstep_caused_by",
            ),
        ]


class CorrectionLine(models.Model):
    """One event that a backfill or an amendment brings, as it will be sent through the door; or why it cannot be."""

    correction = models.ForeignKey(Correction, on_delete=models.PROTECT, related_name="lines")
    line_number = models.PositiveIntegerField(help_text="Of the file; from 1.")
    event = models.TextField(blank=True, help_text="The event as JSON text, its numbers as they were written.")
    event_id = models.CharField(max_length=256, blank=True)
    problem = models.JSONField(null=True, help_text="Why the line cannot be read: field, reason, remedy.")
    replaces = models.UUIDField(null=True, help_text="The event that is voided in its favour.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["correction", "line_number"], name="metering_correctionline_number"),
            models.CheckConstraint(
                condition=(~Q(event="") & Q(problem=None)) | (Q(event="") & Q(problem__isnull=False)),
                name="metering_correctionline_event_or_problem",
            ),
        ]


class CorrectionEvent(models.Model):
    """An event that a correction touches. Its mark, or the event itself, bears witness that it was done."""

    VOIDED, RESTORED, REPLACEMENT, BACKFILLED = "voided", "restored", "replacement", "backfilled"
    ROLES: ClassVar = [
        (VOIDED, "Voided"),
        (RESTORED, "Restored"),
        (REPLACEMENT, "Replacement"),
        (BACKFILLED, "Backfilled"),
    ]

    correction = models.ForeignKey(Correction, on_delete=models.PROTECT, related_name="events")
    key = models.UUIDField()
    event_time = models.DateTimeField()
    role = models.CharField(max_length=12, choices=ROLES)
    line_number = models.PositiveIntegerField(null=True)
    replaces = models.UUIDField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["correction", "key"], name="metering_correctionevent_once"),
            models.UniqueConstraint(
                fields=["key"],
                condition=Q(role__in=["replacement", "backfilled"]),
                name="metering_correctionevent_brought_once",
            ),
            models.CheckConstraint(
                condition=Q(role__in=["voided", "restored"], line_number=None, replaces=None)
                | Q(role="backfilled", line_number__isnull=False, replaces=None)
                | Q(role="replacement", line_number__isnull=False, replaces__isnull=False),
                name="metering_correctionevent_role",
            ),
            models.CheckConstraint(condition=~Q(key=F("replaces")), name="metering_correctionevent_other"),
        ]
        # One event's corrections, for its page.
        indexes: ClassVar = [models.Index(fields=["key"], name="metering_correctionevent_key")]


class CorrectionReject(models.Model):
    """A line that brought no event: a duplicate, a conflict, or refused, with field, reason and remedy."""

    correction = models.ForeignKey(Correction, on_delete=models.PROTECT, related_name="rejects")
    line_number = models.PositiveIntegerField()
    event_id = models.CharField(max_length=256, blank=True)
    status = models.CharField(max_length=12)
    field = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=500)
    remedy = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["correction", "line_number"], name="metering_correctionreject_line")
        ]
