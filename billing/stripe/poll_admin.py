"""How far Stripe's lists were read, and what only reading them found."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display

from billing.admin_links import NOTHING, list_url
from billing.charts import TOKENS, stacked_days
from billing.read_only_admin import ReadOnlyAdmin
from billing.stripe import poll
from billing.stripe.inbox_models import MirrorRebuild, PollPosition
from config import clock

DAYS_SHOWN = 30
LIST_NAMES = {
    poll.EVENTS: "Events",
    poll.THIN_EVENTS: "Thin events, of API v2",
    poll.MOVEMENTS: "Balance transactions",
}


@admin.register(PollPosition)
class PollPositionAdmin(ReadOnlyAdmin):
    nothing_yet = "No list of Stripe's was read yet. The task that polls reads them every few minutes."
    list_display = ("list_name", "read_until", "complete_at", "under_way", "lost")
    list_before_template = "admin/billing/pollposition/before_list.html"
    fields = (
        "list_name",
        "read_until",
        "complete_at",
        "begun_at",
        "newest",
        "unread_until",
        "lost",
    )

    @display(description="Stripe's list", ordering="name")
    def list_name(self, position: PollPosition) -> str:
        return LIST_NAMES.get(position.name, position.name)

    @display(description="Under way")
    def under_way(self, position: PollPosition) -> str:
        return NOTHING if position.unread_until is None else f"down to {position.unread_until:%d %b %Y %H:%M} UTC"

    @display(description="Lost before it was read")
    def lost(self, position: PollPosition) -> str:
        if position.lost_from is None or position.lost_until is None:
            return NOTHING
        return f"{position.lost_from:%d %b %Y} to {position.lost_until:%d %b %Y}: run `manage.py reconcile` over it"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        today = clock.now().date()
        days = [today - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1)]
        found = poll.found_by_day(since=_midnight(days[0]))
        chart = stacked_days(
            title="Events that only polling found",
            days=days,
            series={"found": {day: Decimal(number) for day, number in found.items()}},
            axis_format=TOKENS,
            day_url=_day_url,
        )
        polled = list_url("billing.inboxevent", source__exact="poll")
        extra_context = {**(extra_context or {}), "polled_chart": chart, "polled_url": polled}
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)


def _day_url(day: date) -> str:
    start, end = _midnight(day), _midnight(day + timedelta(days=1))
    return list_url(
        "billing.inboxevent", source__exact="poll", received_at__gte=start.isoformat(), received_at__lt=end.isoformat()
    )


@admin.register(MirrorRebuild)
class MirrorRebuildAdmin(ReadOnlyAdmin):
    nothing_yet = "Nothing yet. `manage.py stripe_mirror rebuild` makes dj-stripe's tables anew."
    list_display = ("started_at", "started_by", "finished_at", "read")
    fields = ("started_at", "started_by", "finished_at", "read")

    @display(description="Read")
    def read(self, rebuild: MirrorRebuild) -> str:
        parts = (
            f"{kind.replace('_', ' ')}: {at['read']:,}" for kind, at in sorted(rebuild.positions.items()) if at["read"]
        )
        return ", ".join(parts) or NOTHING
