"""Windows and the advances that filled them."""

from collections.abc import Callable

from django.contrib import admin
from django.http import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from unfold.decorators import display

from metering.admin import conservation, usage, window_proof
from metering.admin.lists import ReadOnlyAdmin, WindowMonthFilter
from metering.models import (
    AggregationAdvance,
    AggregationWindow,
    WindowRepair,
)
from metering.showing import quantity_text


@admin.register(AggregationWindow)
class AggregationWindowAdmin(ReadOnlyAdmin):
    list_display = ("window_start", "customer", "meter", "aggregation", "dimensions", "quantity_text", "events")
    list_filter = (WindowMonthFilter, "meter__code")
    list_select_related = ("meter",)
    search_fields = ("=customer_key",)
    search_help_text = "A customer key"
    ordering = ("-window_start",)
    sortable_by = ()
    fields = readonly_fields = (
        "window_start",
        "customer",
        "meter_link",
        "aggregation",
        "dimensions",
        "quantity_text",
        "events",
        "fingerprint",
        "proof",
        "repairs",
        "updated_at",
    )

    @display(description="Events")
    def events(self, window: AggregationWindow) -> str:
        """Their number, leading to exactly the events that this window counts."""
        url = f"{reverse('admin:metering_usageevent_changelist')}?window={window.pk}"
        return format_html('<a class="bb-link" href="{}">{}</a>', url, window.event_count)

    @display(description="Aggregation")
    def aggregation(self, window: AggregationWindow) -> str:
        return window.meter.get_aggregation_display()

    @display(description="Meter")
    def meter_link(self, window: AggregationWindow) -> str:
        url = reverse("admin:metering_meter_change", args=[window.meter_id])
        return format_html('<a class="bb-link" href="{}">{}</a>', url, window.meter)

    @display(description="Proof")
    def proof(self, window: AggregationWindow) -> str:
        url = reverse("admin:metering_window_proof", args=[window.pk])
        return format_html('<a class="bb-link" href="{}">Prove this hour against its events</a>', url)

    @display(description="Repairs")
    def repairs(self, window: AggregationWindow) -> str:
        """Each as: when, by whom, what it said before, why."""
        found = window_proof.repairs_of(window.customer_key, window.window_start, window.meter_id, window.dimensions)
        if not found:
            return "None: it always agreed with its events when it was proved."
        lines = [
            (
                f"{repair.repaired_at:%Y-%m-%d %H:%M} UTC",
                repair.actor,
                "no window" if repair.quantity_before is None else quantity_text(repair.quantity_before),
                quantity_text(repair.quantity_after),
                repair.reason,
            )
            for repair in found
        ]
        return format_html_join(mark_safe("<br>"), "{}, {}: {} became {}. {}", lines)

    @display(description="Quantity")
    def quantity_text(self, window: AggregationWindow) -> str:
        return f"{quantity_text(window.quantity)} {window.meter.unit}"

    def get_urls(self) -> list[URLPattern]:
        def view(address: str, function: Callable[..., HttpResponseBase], name: str) -> URLPattern:
            found: URLPattern = path(address, self.admin_site.admin_view(function), name=f"metering_{name}")
            return found

        customer = "customers/<path:customer_key>/"
        return [
            view("usage/", usage.usage_view, "usage"),
            view("usage.csv", usage.file_view, "usage_file"),
            view(f"{customer}usage/", usage.usage_view, "customer_usage"),
            view(f"{customer}usage.csv", usage.file_view, "customer_usage_file"),
            view("<int:window_id>/proof/", window_proof.proof_view, "window_proof"),
            view("conservation/", conservation.conservation_view, "conservation"),
            *super().get_urls(),
        ]


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
        "excluded_filtered",
        "windows",
        "marks",
    )
    ordering = ("-id",)
    sortable_by = ()
    fields = readonly_fields = (
        *list_display,
        "mark_pairs",
        "voided",
        "restored",
        "mark_excluded",
        "change_seq",
        "from_xid",
        "to_xid",
        "oldest_received_at",
    )


@admin.register(WindowRepair)
class WindowRepairAdmin(ReadOnlyAdmin):
    list_display = ("repaired_at", "actor", "window_start", "customer", "meter", "dimensions", "became", "reason")
    list_filter = (WindowMonthFilter, "meter__code")
    list_select_related = ("meter",)
    search_fields = ("=customer_key",)
    search_help_text = "A customer key"
    ordering = ("-id",)
    sortable_by = ()
    fields = readonly_fields = (
        *list_display,
        "events_before",
        "events_after",
        "fingerprint_before",
        "fingerprint_after",
        "kept_before",
        "kept_after",
        "change_seq",
    )

    @display(description="Quantity")
    def became(self, repair: WindowRepair) -> str:
        before = "no window" if repair.quantity_before is None else quantity_text(repair.quantity_before)
        return f"{before} → {quantity_text(repair.quantity_after)} {repair.meter.unit}"
