"""Usage over time as a chart and as figures: of one customer, or of all; and both as a file."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from config import clock
from config.bar_charts import COMPACT, Bars, bars, largest
from config.csv_text import safe_text
from metering import page_links, queries, showing
from metering.admin.asking import SpanForm, asked_of, choice_field, keep_zone
from metering.events import TEXT_LIMITS
from metering.instants import month_of, written
from metering.spans import WindowSize, boundaries

VIEW_PERMISSION = "metering.view_aggregationwindow"
BARS_MAX = 800
"""More bars than these are no finer on a screen; the file has them all."""
_LABELS: dict[str, str] = {"hour": "%d %b %H:%M", "day": "%a %d %b", "month": "%b %Y"}
_ALL = "everything"


class UsageForm(SpanForm):
    """Which meter, how it is cut and told apart, and over which span."""

    field_order = ("meter", "by", "group", "from", "before", "zone")

    def __init__(self, data: Any, meters: dict[str, queries.MeterInUse]) -> None:
        super().__init__(data)
        names = dict.fromkeys(name for meter in meters.values() for name in meter.dimensions)
        self.fields["meter"] = choice_field("Meter", [(code, code) for code in meters])
        self.fields["by"] = choice_field("By", [("hour", "Hour"), ("day", "Day"), ("month", "Month")])
        self.fields["group"] = choice_field("Stacked by", [("", "Nothing"), *((name, name) for name in names)])
        self.order_fields(self.field_order)


@dataclass(frozen=True, slots=True)
class UsageAsked:
    """What a valid form asks for. Instants are UTC."""

    customer_key: str | None
    meter: queries.MeterInUse
    size: WindowSize
    group: str
    start: datetime
    end: datetime
    zone: ZoneInfo

    def rows(self) -> list[queries.UsageRow]:
        """Raises queries.InvalidRange."""
        group_by = [self.group] if self.group in self.meter.dimensions else []
        if self.customer_key is None:
            return queries.usage_of_all(
                self.meter.code, self.start, self.end, window_size=self.size, time_zone=self.zone.key, group_by=group_by
            )
        return queries.usage(
            self.customer_key,
            self.meter.code,
            self.start,
            self.end,
            window_size=self.size,
            time_zone=self.zone.key,
            group_by=group_by,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One bar: its figures by series, and the list of windows it is made of."""

    label: str
    start: datetime
    values: tuple[Decimal, ...]
    events: int
    url: str


@dataclass(frozen=True, slots=True)
class UsageShown:
    """The chart and the same figures; `sums` are None for what does not add up over time."""

    series: tuple[str, ...]
    lines: tuple[Line, ...]
    chart: Bars | None
    sums: tuple[Decimal, ...] | None
    events: int


def shown(asked: UsageAsked, rows: Sequence[queries.UsageRow]) -> UsageShown:
    """Every piece of the span, also those without usage; the largest series, and the others as one."""
    series: dict[str, dict[datetime, Decimal]] = {}
    events: dict[datetime, int] = {}
    for row in rows:
        name = _series_name(asked, row)
        by_start = series.setdefault(name, {})
        by_start[row.start] = by_start.get(row.start, Decimal(0)) + row.quantity
        events[row.start] = events.get(row.start, 0) + row.event_count
    # What does not add up over series cannot be put together as "others".
    drawn = largest(series) if asked.meter.aggregation in queries.ADDITIVE else dict(series)
    cut = list(pairwise(boundaries(asked.start, asked.end, asked.size, asked.zone)))
    lines = tuple(
        Line(
            label=_label(asked, start),
            start=start,
            values=tuple(by_start.get(start, Decimal(0)) for by_start in drawn.values()),
            events=events.get(start, 0),
            url=_windows_url(asked, start, end),
        )
        for start, end in cut
    )
    values = {name: [by_start.get(start, Decimal(0)) for start, _ in cut] for name, by_start in drawn.items()}
    chart = None
    if len(cut) <= BARS_MAX and rows:
        chart = bars([line.label for line in lines], values, axis_format=COMPACT, stacked=True)
    adds_up = asked.meter.aggregation in queries.ADDITIVE
    return UsageShown(
        series=tuple(drawn),
        lines=lines,
        chart=chart,
        sums=tuple(sum(of, Decimal(0)) for of in values.values()) if adds_up else None,
        events=sum(events.values()),
    )


def _series_name(asked: UsageAsked, row: queries.UsageRow) -> str:
    if not asked.group or asked.group not in row.dimensions:
        return asked.meter.code
    value = row.dimensions[asked.group]
    return showing.NO_VALUE if value is None else value


def _label(asked: UsageAsked, start: datetime) -> str:
    local = start.astimezone(asked.zone)
    text = f"{local:{_LABELS[asked.size]}}"
    # An hour that the clock shows twice is told apart by its offset.
    twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return f"{text} {local:%z}" if twice and asked.size == "hour" else text


def _windows_url(asked: UsageAsked, start: datetime, end: datetime) -> str:
    """The windows a piece is made of: whole hours, so that the first may begin before it."""
    hour = start.replace(minute=0, second=0, microsecond=0)
    filters = {
        "meter__code__exact": asked.meter.code,
        "window_start__gte": hour.isoformat(),
        "window_start__lt": end.isoformat(),
    }
    if asked.customer_key is not None:
        filters["customer_key__exact"] = asked.customer_key
    return f"{reverse('admin:metering_aggregationwindow_changelist')}?{urlencode(filters)}"


def usage_view(request: HttpRequest, customer_key: str | None = None) -> HttpResponse:
    """The page of one customer, or of all. A customer without usage has an empty one."""
    _require(request, customer_key)
    form, meters = _form(request, customer_key)
    if "zone" in request.GET:
        keep_zone(request, form)
    context = {
        **admin.site.each_context(request),
        "title": f"Usage of {customer_key}" if customer_key else "Usage of all customers",
        "customer_key": customer_key,
        "customer_url": page_links.customer(customer_key) if customer_key else "",
        "form": form,
        "meters": meters,
        "zone": form.zone,
    }
    problem, asked, found = "", _asked(form, customer_key, meters), None
    if asked is not None:
        problem, found = _look(asked)
        address = "metering_usage_file" if customer_key is None else "metering_customer_usage_file"
        context |= {
            "asked": asked,
            "download": f"{reverse(f'admin:{address}', args=[customer_key] if customer_key else [])}?{_query(form)}",
            **_beside(asked, form),
        }
    context |= {"problem": problem, "shown": found}
    status = 422 if problem or not form.is_valid() else 200
    return TemplateResponse(request, "admin/metering/usage.html", context, status=status)


def file_view(request: HttpRequest, customer_key: str | None = None) -> HttpResponseBase:
    """The same figures as CSV: one row for each piece and series, quantities exact."""
    _require(request, customer_key)
    form, meters = _form(request, customer_key)
    asked = _asked(form, customer_key, meters)
    if asked is None:
        return _refused("This span or meter cannot be read. Choose it on the page.")
    try:
        rows = asked.rows()
    except queries.InvalidRange as error:
        return _refused(str(error))
    name = "_".join(("usage", asked.meter.code, f"{asked.start:%Y-%m-%d}", f"{asked.end:%Y-%m-%d}"))
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingHttpResponse(_csv(asked, rows), content_type="text/csv; charset=utf-8", headers=headers)


def _refused(text: str) -> HttpResponse:
    return HttpResponse(text, status=400, content_type="text/plain; charset=utf-8")


def _csv(asked: UsageAsked, rows: Sequence[queries.UsageRow]) -> Iterator[bytes]:
    dimension = [asked.group] if asked.group else []
    header = [f"from ({asked.zone.key})", "from (UTC)", "to (UTC)", "customer", "meter", *dimension]
    yield _csv_line([*header, "quantity", "unit", "events"])
    for row in rows:
        values = [row.dimensions.get(name) for name in dimension]
        yield _csv_line(
            [
                row.start.astimezone(asked.zone).isoformat(sep=" "),
                f"{row.start:%Y-%m-%d %H:%M:%S.%f}",
                f"{row.end:%Y-%m-%d %H:%M:%S.%f}",
                asked.customer_key or _ALL,
                asked.meter.code,
                *("" if value is None else value for value in values),
                format(row.quantity, "f"),
                asked.meter.unit,
                str(row.event_count),
            ]
        )


def _csv_line(cells: Sequence[str]) -> bytes:
    line = StringIO()
    csv.writer(line).writerow([safe_text(cell) for cell in cells])
    return line.getvalue().encode()


def _require(request: HttpRequest, customer_key: str | None) -> None:
    if not request.user.has_perm(VIEW_PERMISSION):
        raise PermissionDenied
    if customer_key is not None and (not customer_key.isprintable() or len(customer_key) > TEXT_LIMITS["subject"]):
        raise Http404("No customer has such a key.")


def _form(request: HttpRequest, customer_key: str | None) -> tuple[UsageForm, dict[str, queries.MeterInUse]]:
    """The form with what the address leaves out: the meter and the month of the latest usage, by day."""
    meters, asked = queries.meters_in_use(), asked_of(request)
    if customer_key is None and "zone" not in request.GET:
        asked["zone"] = "UTC"  # the zone remembered may be one that whole hours of UTC cannot be put together for
    latest = queries.latest_usage(customer_key)
    if not asked.get("meter"):
        asked["meter"] = latest.meter_code if latest is not None else next(iter(meters), "")
    meter = meters.get(asked.get("meter", ""))
    if "group" not in asked and meter is not None and meter.dimensions:
        asked["group"] = meter.dimensions[0]
    asked.setdefault("by", "day")
    if not asked.get("from") and not asked.get("before"):
        probe = SpanForm(asked)
        probe.is_valid()
        first, last = month_of(latest.window_start if latest is not None else clock.now(), probe.zone)
        asked["from"], asked["before"] = written(first, probe.zone)[:10], written(last, probe.zone)[:10]
    return UsageForm(asked, meters), meters


def _asked(form: UsageForm, customer_key: str | None, meters: dict[str, queries.MeterInUse]) -> UsageAsked | None:
    if not form.is_valid() or not form.cleaned_data["meter"]:
        return None
    of = form.cleaned_data
    if of["start"] is None or of["end"] is None:
        form.add_error("from" if of["start"] is None else "before", "Give both ends of the span.")
        return None
    size: WindowSize = of["by"] or "day"
    return UsageAsked(customer_key, meters[of["meter"]], size, of["group"], of["start"], of["end"], form.zone)


def _look(asked: UsageAsked) -> tuple[str, UsageShown | None]:
    try:
        return "", shown(asked, asked.rows())
    except queries.InvalidRange as error:
        return str(error), None


def _query(form: UsageForm, **changes: str) -> str:
    """The address of what the form asks for, with some of it changed."""
    asked = {name: form.data.get(name, "") for name in form.fields}
    return urlencode({**asked, **changes})


def _beside(asked: UsageAsked, form: UsageForm) -> dict[str, str]:
    """The spans before and after, as long as this one: the month beside a month."""
    first, last = month_of(asked.start, asked.zone)
    if (first, last) == (asked.start, asked.end):
        earlier = month_of(first - timedelta(days=1), asked.zone)
        later = month_of(last, asked.zone)
    else:
        length = asked.end - asked.start
        earlier, later = (asked.start - length, asked.start), (asked.end, asked.end + length)
    return {
        name: _query(form, **{"from": written(span[0], asked.zone), "before": written(span[1], asked.zone)})
        for name, span in (("earlier", earlier), ("later", later))
    }
