"""Charts of days and months, with the same figures as a table below them. Pure; config/bar_charts.py draws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from config.bar_charts import COMPACT, bars, largest

DayUrl = Callable[[date], str]


def _no_url(day: date) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart of bars: `data` and `options` are JSON; `rows` are the same figures for the table below it."""

    title: str
    data: str
    options: str
    headers: tuple[str, ...]
    rows: tuple["ChartRow", ...]
    # What one bar stands for, as the head of the table has it.
    unit: str = "Day"

    @property
    def is_empty(self) -> bool:
        return not any(any(row.values) for row in self.rows)


@dataclass(frozen=True, slots=True)
class ChartRow:
    """The figures of one day, and the address of what they are made of ("" where the reader may not open it)."""

    day: date
    values: tuple[Decimal, ...]
    url: str
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """What the bars stand for; their dates are written in `label_format`."""

    unit: str
    label_format: str


DAYS = Axis("Day", "%d %b")
MONTHS = Axis("Month", "%b %Y")
TOKENS = COMPACT


def stacked_days(
    *,
    title: str,
    days: Sequence[date],
    series: Mapping[str, Mapping[date, Decimal]],
    axis_format: Mapping[str, Any],
    day_url: DayUrl = _no_url,
    axis: Axis = DAYS,
) -> Chart:
    """One bar a day, made of one part for each series; beyond a handful the smallest are drawn as one."""
    return _chart(title, days, largest(series), axis_format, day_url, axis, stacked=True)


def stacked_kinds(
    *,
    title: str,
    days: Sequence[date],
    series: Mapping[str, Mapping[date, Decimal]],
    axis_format: Mapping[str, Any],
    axis: Axis = DAYS,
) -> Chart:
    """As stacked_days, with every series, in the order given: each has the colour of its place, whatever its size."""
    return _chart(title, days, series, axis_format, _no_url, axis, stacked=True)


def grouped_days(
    *,
    title: str,
    days: Sequence[date],
    series: Mapping[str, Mapping[date, Decimal]],
    axis_format: Mapping[str, Any],
    day_url: DayUrl = _no_url,
    axis: Axis = DAYS,
) -> Chart:
    """The series side by side, day by day; a day on which one of them is nothing leaves its place to the others."""
    return _chart(title, days, series, axis_format, day_url, axis, stacked=False)


def money_axis(currency: str) -> Mapping[str, Any]:
    return {"style": "currency", "currency": currency, "minimumFractionDigits": 0, "maximumFractionDigits": 2}


def _chart(
    title: str,
    days: Sequence[date],
    series: Mapping[str, Mapping[date, Decimal]],
    axis_format: Mapping[str, Any],
    day_url: DayUrl,
    axis: Axis,
    *,
    stacked: bool,
) -> Chart:
    values = {name: [by_day.get(day, Decimal(0)) for day in days] for name, by_day in series.items()}
    labels = [f"{day:{axis.label_format}}" for day in days]
    drawn = bars(labels, values, axis_format=axis_format, stacked=stacked)
    return Chart(
        title=title,
        data=drawn.data,
        options=drawn.options,
        headers=tuple(values),
        rows=tuple(
            ChartRow(day, tuple(points[index] for points in values.values()), day_url(day), labels[index])
            for index, day in enumerate(days)
        ),
        unit=axis.unit,
    )
