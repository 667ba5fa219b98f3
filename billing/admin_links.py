"""Links from one admin page to another. Every figure leads to what it is made of."""

from datetime import datetime
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

NOTHING = "–"


def page_url(model: str, key: object) -> str:
    """Address of the page of one row, such as page_url("billing.customer", 7)."""
    return reverse(f"admin:{model.replace('.', '_')}_change", args=[key])


def list_url(model: str, **filters: object) -> str:
    """Address of a list, narrowed by the lookups given, such as status__exact="open"."""
    address = reverse(f"admin:{model.replace('.', '_')}_changelist")
    return f"{address}?{urlencode(filters)}" if filters else address


def link(url: str, text: object) -> SafeString:
    return format_html('<a class="bb-link" href="{}">{}</a>', url, text)


def page_link(model: str, key: object, text: object) -> SafeString | str:
    """A link to one row; a dash where there is none."""
    return link(page_url(model, key), text) if key is not None else NOTHING


def windows_url(
    *, customer_key: str, start: datetime, end: datetime, meter_code: str = "", dimension_model: str = ""
) -> str:
    """The usage windows of one customer that [start, end) touches, of one meter and model if they are named."""
    filters: dict[str, object] = {
        "customer_key__exact": customer_key,
        "window_start__gte": start.replace(minute=0, second=0, microsecond=0).isoformat(),
        "window_start__lt": end.isoformat(),
    }
    if meter_code:
        filters["meter__code__exact"] = meter_code
    if dimension_model:
        filters["dimensions__model"] = dimension_model
    return list_url("metering.aggregationwindow", **filters)
