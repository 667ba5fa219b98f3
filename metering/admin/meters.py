"""Meters, to read."""

from django.contrib import admin

from metering.admin.lists import ReadOnlyAdmin
from metering.models import (
    Meter,
)


@admin.register(Meter)
class MeterAdmin(ReadOnlyAdmin):
    list_display = ("code", "version", "event_type", "value_path", "aggregation", "dimensions", "unit", "active")
    list_filter = ("active", "event_type")
    search_fields = ("code", "event_type")
    ordering = ("code", "-version")
    fields = readonly_fields = list_display
