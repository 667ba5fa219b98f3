"""Where each month of events is, and what its archive holds."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.decorators import display

from config import clock
from metering import queries
from metering.admin.lists import ReadOnlyAdmin
from metering.models import ArchiveVerification, EventArchive, KeyForgetting, PartitionMove

# What each state is called, the colour of what it asks of the reader, and what happens next.
STATES = {
    "here": ("In the database", "good", ""),
    "due": ("Due", "waiting", "the daily job archives it"),
    "archived": ("Archived", "waiting", "the daily job reads the archive back"),
    "verified": ("Archive verified", "waiting", "the daily job drops the month"),
    "dropped": ("In the archive only", "", ""),
    "restored": ("Brought back", "waiting", ""),
}


@admin.register(EventArchive)
class EventArchiveAdmin(ReadOnlyAdmin):
    fields = readonly_fields = (
        "month",
        "file_name",
        "sha256",
        "size_bytes",
        "events",
        "fingerprint",
        "last_xid",
        "archived_at",
        "archived_by",
        "verifications_text",
        "moves_text",
    )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The months: there is one row for each, so the list is never long."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = clock.now()
        months = [(month, *STATES[month.state]) for month in queries.months_of_events(now)]
        horizon = queries.horizon()
        wanted = (settings.METERING_RETENTION_DAYS, settings.METERING_DEDUPE_HORIZON_DAYS)
        context = {
            **self.admin_site.each_context(request),
            "title": "Months of events",
            "opts": self.opts,
            "months": months,
            "ahead": queries.months_ahead(now),
            "horizon": horizon,
            "differs": (horizon.retention_days, horizon.dedupe_horizon_days) != wanted,
            "size_bytes": sum(month.size_bytes for month, *_ in months),
            "waiting": sum(month.state in {"due", "archived", "verified"} for month, *_ in months),
            "forgotten": KeyForgetting.objects.order_by("-before").first(),
        }
        return TemplateResponse(request, "admin/metering/months.html", context)

    @display(description="Read back and verified")
    def verifications_text(self, archive: EventArchive) -> str:
        rows = ArchiveVerification.objects.filter(archive=archive).order_by("id")
        return "; ".join(f"{row.verified_at:%Y-%m-%d %H:%M} UTC by {row.verified_by}" for row in rows) or "not yet"

    @display(description="Left and came back")
    def moves_text(self, archive: EventArchive) -> str:
        rows = PartitionMove.objects.filter(archive=archive).order_by("id")
        told = [f"{row.get_move_display()} {row.moved_at:%Y-%m-%d %H:%M} UTC by {row.moved_by}" for row in rows]
        return "; ".join(told) or "its events are in the database"
