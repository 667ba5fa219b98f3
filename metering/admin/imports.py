"""Imports of usage files."""

from typing import Any

from django.contrib import admin
from unfold.decorators import display

from metering.admin.lists import ReadOnlyAdmin
from metering.models import (
    ImportRun,
)


@admin.register(ImportRun)
class ImportRunAdmin(ReadOnlyAdmin):
    list_display = (
        "file_name",
        "started_at",
        "done",
        "read",
        "accepted",
        "duplicates",
        "conflicts",
        "quarantined",
        "rejected",
    )
    search_fields = ("file_name",)
    ordering = ("-id",)
    fields = readonly_fields = (*list_display, "finished_at", "options", "shift_days", "file_bytes", "file_digest")

    @display(description="Done", label={"All of it": "success"})
    def done(self, run: ImportRun) -> Any:
        return "All of it" if run.finished_at is not None else f"{100 * run.byte_offset // run.file_bytes} %"
