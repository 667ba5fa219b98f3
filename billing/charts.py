"""
Charts as data for the Chart.js that the admin brings along. Pure.

Values are written as decimal strings, which Chart.js reads: money never becomes a float on our side.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

# Told apart also by people who do not see red and green as two colours; readable on white and on near-black.
_COLOURS = (
    "#0e7490",
    "#f59e0b",
    "#6366f1",
    "#84cc16",
    "#ec4899",
    "#64748b",
    "#14b8a6",
    "#a855f7",
    "#ef4444",
    "#78716c",
)
_GREY = "#9ca3af"
SERIES_MAX = 8
OTHERS = "others"
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


def stacked_days(
    *,
    title: str,
    days: Sequence[date],
    series: Mapping[str, Mapping[date, Decimal]],
    axis_format: Mapping[str, Any],
    day_url: DayUrl = _no_url,
    axis: Axis = DAYS,
) -> Chart:
    """One bar a day, made of one part for each series; beyond SERIES_MAX the smallest are drawn as one."""
    return _chart(title, days, _largest(series), _options(axis_format=axis_format, stacked=True), day_url, axis)


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
    return _chart(title, days, series, _options(axis_format=axis_format, stacked=False), day_url, axis)


# Both bounds are named: Chart.js fills in the one that is not, and the browser refuses a lower one above the upper.
TOKENS: Mapping[str, Any] = {"notation": "compact", "minimumFractionDigits": 0, "maximumFractionDigits": 1}


def money_axis(currency: str) -> Mapping[str, Any]:
    return {"style": "currency", "currency": currency, "minimumFractionDigits": 0, "maximumFractionDigits": 2}


def _largest(series: Mapping[str, Mapping[date, Decimal]]) -> dict[str, Mapping[date, Decimal]]:
    ranked = sorted(series, key=lambda name: (-sum(series[name].values()), name))
    kept: dict[str, Mapping[date, Decimal]] = {name: series[name] for name in ranked[:SERIES_MAX]}
    others: dict[date, Decimal] = {}
    for name in ranked[SERIES_MAX:]:
        for day, value in series[name].items():
            others[day] = others.get(day, Decimal(0)) + value
    if others:
        kept[OTHERS] = others
    return kept


def _chart(
    title: str,
    days: Sequence[date],
    series: Mapping[str, Mapping[date, Decimal]],
    options: Mapping[str, Any],
    day_url: DayUrl,
    axis: Axis,
) -> Chart:
    values = {name: [by_day.get(day, Decimal(0)) for day in days] for name, by_day in series.items()}
    datasets = [
        {
            "label": name,
            "data": [format(value, "f") if value else None for value in points],
            "backgroundColor": _COLOURS[index % len(_COLOURS)],
            "borderRadius": 2,
            "maxBarThickness": 28,
            "minBarLength": 3,
            "skipNull": True,
        }
        for index, (name, points) in enumerate(values.items())
    ]
    return Chart(
        title=title,
        data=json.dumps({"labels": [f"{day:{axis.label_format}}" for day in days], "datasets": datasets}),
        options=json.dumps(options),
        headers=tuple(values),
        rows=tuple(
            ChartRow(
                day, tuple(points[index] for points in values.values()), day_url(day), f"{day:{axis.label_format}}"
            )
            for index, day in enumerate(days)
        ),
        unit=axis.unit,
    )


def _options(*, axis_format: Mapping[str, Any], stacked: bool) -> dict[str, Any]:
    ticks = {"color": _GREY, "maxRotation": 0, "autoSkip": True}
    return {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "locale": "en-US",
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {"legend": {"position": "bottom", "labels": {"color": _GREY, "boxWidth": 10, "boxHeight": 10}}},
        "scales": {
            "x": {"stacked": stacked, "grid": {"display": False}, "ticks": ticks, "border": {"display": False}},
            "y": {
                "stacked": stacked,
                "beginAtZero": True,
                "grid": {},
                "border": {"display": False},
                "ticks": {**ticks, "maxTicksLimit": 6, "format": dict(axis_format)},
            },
        },
    }
