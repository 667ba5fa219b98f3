"""Windows and the advances that filled them."""

from urllib.parse import urlencode

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from metering.admin.lists import ReadOnlyAdmin, WindowMonthFilter
from metering.models import (
    AggregationAdvance,
    AggregationWindow,
)
from metering.windows import WINDOW


@admin.register(AggregationWindow)
class AggregationWindowAdmin(ReadOnlyAdmin):
    list_display = ("window_start", "customer", "meter", "dimensions", "quantity_text", "events")
    list_filter = (WindowMonthFilter, "meter__code")
    list_select_related = ("meter",)
    search_fields = ("=customer_key",)
    search_help_text = "A customer key"
    ordering = ("-window_start",)
    sortable_by = ()
    fields = readonly_fields = (
        "window_start",
        "customer",
        "meter",
        "dimensions",
        "quantity_text",
        "events",
        "fingerprint",
        "updated_at",
    )

    @display(description="Events")
    def events(self, window: AggregationWindow) -> str:
        """Their number, leading to the customer's events of that hour and type; the list does not tell dimensions."""
        filters = {
            "customer_key__exact": window.customer_key,
            "event_type__exact": window.meter.event_type,
            "event_time__gte": window.window_start.isoformat(),
            "event_time__lt": (window.window_start + WINDOW).isoformat(),
        }
        url = f"{reverse('admin:metering_usageevent_changelist')}?{urlencode(filters)}"
        return format_html('<a class="bb-link" href="{}">{}</a>', url, window.event_count)

    @display(description="Quantity")
    def quantity_text(self, window: AggregationWindow) -> str:
        whole, _, places = f"{window.quantity:,f}".partition(".")
        places = places.rstrip("0")
        return f"{whole}.{places} {window.meter.unit}" if places else f"{whole} {window.meter.unit}"


@admin.register(AggregationAdvance)
class AggregationAdvanceAdmin(ReadOnlyAdmin):
    list_display = (
        "advanced_at",
        "events",
        "events_without_meter",
        "pairs",
        "counted",
        "excluded_absent",
        "excluded_invalid",
        "windows",
    )
    ordering = ("-id",)
    sortable_by = ()
    fields = readonly_fields = (*list_display, "change_seq", "from_xid", "to_xid", "oldest_received_at")
