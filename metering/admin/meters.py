"""Meters, to read: what each version counts, since when it is frozen, and what became of its pairs."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from unfold.decorators import display

from metering.admin.lists import ReadOnlyAdmin
from metering.models import (
    Meter,
    MeterTally,
)


@admin.register(Meter)
class MeterAdmin(ReadOnlyAdmin):
    list_display = ("code", "version", "definition", "unit", "state", "defined_at", "counted", "excluded")
    list_filter = ("active", "aggregation", "event_type")
    search_fields = ("code", "event_type")
    search_help_text = "A code or an event type"
    ordering = ("code", "-version")
    fields = readonly_fields = (
        "code",
        "version",
        "definition",
        "event_type",
        "value_path",
        "aggregation",
        "dimensions_text",
        "filters_text",
        "unit",
        "state",
        "frozen",
        "pairs",
        "counted",
        "excluded",
        "marked",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Meter]:
        meters: QuerySet[Meter] = super().get_queryset(request)
        return meters.select_related("tally")

    @display(description="Counts")
    def definition(self, meter: Meter) -> str:
        """Such as: Sum of data.input_tokens of llm.request by model."""
        value = (
            "Number" if meter.aggregation == Meter.COUNT else f"{meter.get_aggregation_display()} of {meter.value_path}"
        )
        by = f" by {', '.join(meter.dimensions)}" if meter.dimensions else ""
        only = ", filtered" if meter.filters else ""
        return f"{value} of {meter.event_type}{by}{only}"

    @display(description="State", label={"In force": "success", "Ended": "info"})
    def state(self, meter: Meter) -> str:
        return "In force" if meter.active else "Ended"

    @display(description="Dimensions")
    def dimensions_text(self, meter: Meter) -> str:
        return ", ".join(meter.dimensions) or "None"

    @display(description="Filters")
    def filters_text(self, meter: Meter) -> str:
        if not meter.filters:
            return "None: every event of the type counts."
        lines = [
            (" and ".join(f"{path} is {' or '.join(allowed)}" for path, allowed in sorted(alternative.items())),)
            for alternative in meter.filters
        ]
        return format_html_join(mark_safe("<br>or "), "{}", lines)

    @display(description="Frozen since")
    def frozen(self, meter: Meter) -> str:
        return f"{meter.defined_at:%Y-%m-%d %H:%M} UTC. A changed definition is a new version."

    @display(description="Pairs")
    def pairs(self, meter: Meter) -> str:
        return f"{_tally(meter).pairs:,}"

    @display(description="Counted")
    def counted(self, meter: Meter) -> str:
        return f"{_tally(meter).counted:,}"

    @display(description="Excluded")
    def excluded(self, meter: Meter) -> str:
        tally = _tally(meter)
        reasons = {
            "without a value": tally.excluded_absent,
            "no quantity": tally.excluded_invalid,
            "filtered out": tally.excluded_filtered,
        }
        return ", ".join(f"{number:,} {reason}" for reason, number in reasons.items() if number) or "0"

    @display(description="Voided, restored")
    def marked(self, meter: Meter) -> str:
        return f"{_tally(meter).voided:,}, {_tally(meter).restored:,}"


def _tally(meter: Meter) -> MeterTally:
    """Nothing at all while no event met the meter."""
    try:
        return meter.tally
    except MeterTally.DoesNotExist:
        names = ("pairs", "counted", "excluded_absent", "excluded_invalid", "excluded_filtered", "voided", "restored")
        return MeterTally(meter=meter, **dict.fromkeys(names, 0))
