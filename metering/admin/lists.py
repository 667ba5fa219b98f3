"""What metering's admin lists share: they may show tables of millions of rows, so nothing counts or sorts all of
them."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.decorators import display

from config import clock
from config.admin_lists import AskableList, BoundedPaginator
from metering import page_links

MONTHS_SHOWN = 15


class MonthFilter(admin.SimpleListFilter):
    """Rows of one UTC month of `column`."""

    column = "event_time"
    title = "month"
    parameter_name = "month"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        month = clock.now().replace(day=1)
        months = []
        for _ in range(MONTHS_SHOWN):
            months.append((f"{month:%Y-%m}", f"{month:%B %Y}"))
            month = (month - timedelta(days=1)).replace(day=1)
        return months

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        try:
            start = datetime.strptime(f"{self.value()}+0000", "%Y-%m%z")
        except ValueError:
            return queryset.none()
        end = (start + timedelta(days=32)).replace(day=1)
        return queryset.filter(**{f"{self.column}__gte": start, f"{self.column}__lt": end})


class WindowMonthFilter(MonthFilter):
    column = "window_start"


class ReadOnlyAdmin(AskableList):
    """A list and pages to read. Usage is corrected by adding to it, never here."""

    actions: Sequence[str] | None = None
    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @display(description="Customer")
    def customer(self, row: Any) -> str:
        url = page_links.customer(row.customer_key)
        return format_html('<a class="bb-link" href="{}">{}</a>', url, row.customer_key) if url else row.customer_key

    @display(description="Data")
    def data_text(self, row: Any) -> str:
        return format_html(
            '<pre class="bb-json">{}</pre>', json.dumps(row.data, indent=2, ensure_ascii=False, sort_keys=True)
        )
