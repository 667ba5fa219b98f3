"""
Lines over time, and bars for things that are no days, as data for the Chart.js that the admin brings along. Pure.

Values are written as decimal strings, which Chart.js reads: no amount becomes a float on our side.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from config.bar_charts import bars

# As the bars have them.
_COLOURS = ("#0e7490", "#f59e0b", "#6366f1", "#84cc16", "#ec4899", "#64748b")
_GREY = "#9ca3af"
LABEL_CHARS = 26


@dataclass(frozen=True, slots=True)
class FigureRow:
    """The figures of one place of a chart, and the address of what they are made of ("" where there is none)."""

    label: str
    values: tuple[Decimal | None, ...]
    url: str = ""


@dataclass(frozen=True, slots=True)
class FigureChart:
    """As billing.charts.Chart, for admin/billing/chart.html; `kind` is Chart.js's."""

    title: str
    kind: str
    data: str
    options: str
    headers: tuple[str, ...]
    rows: tuple[FigureRow, ...]
    unit: str

    @property
    def is_empty(self) -> bool:
        return not any(any(row.values) for row in self.rows)


def line_chart(
    *,
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[Decimal | None]],
    axis_format: Mapping[str, Any],
    unit: str,
) -> FigureChart:
    """One line for each series; each has as many values as there are labels, None where the line has a gap."""
    datasets = [
        {
            "label": name,
            "data": [None if value is None else format(value, "f") for value in values],
            "borderColor": _COLOURS[index % len(_COLOURS)],
            "backgroundColor": _COLOURS[index % len(_COLOURS)],
            "borderWidth": 2,
            # A single point would be no line at all.
            "pointRadius": 3 if len(values) == 1 else 0,
            "pointHitRadius": 8,
        }
        for index, (name, values) in enumerate(series.items())
    ]
    data = json.dumps({"labels": list(labels), "datasets": datasets})
    options = json.dumps(_options(axis_format, ticks={"maxRotation": 0, "autoSkip": True}))
    return FigureChart(title, "line", data, options, tuple(series), _rows(labels, series), unit)


def bar_chart(
    *,
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[Decimal]],
    axis_format: Mapping[str, Any],
    unit: str,
) -> FigureChart:
    """The series side by side at each label; every label is written, cut where it is long."""
    short = [label if len(label) <= LABEL_CHARS else f"{label[: LABEL_CHARS - 1]}…" for label in labels]
    drawn = bars(short, series, axis_format=axis_format, stacked=False)
    options = json.dumps(_options(axis_format, ticks={"minRotation": 0, "maxRotation": 50, "autoSkip": False}))
    return FigureChart(title, "bar", drawn.data, options, tuple(series), _rows(labels, series), unit)


def _rows(labels: Sequence[str], series: Mapping[str, Sequence[Decimal | None]]) -> tuple[FigureRow, ...]:
    return tuple(
        FigureRow(label, tuple(values[index] for values in series.values())) for index, label in enumerate(labels)
    )


def _options(axis_format: Mapping[str, Any], *, ticks: Mapping[str, Any]) -> dict[str, Any]:
    """`ticks` are those of the labels below the chart."""
    grey = {"color": _GREY}
    return {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "locale": "en-US",
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {"legend": {"position": "bottom", "labels": {"color": _GREY, "boxWidth": 10, "boxHeight": 10}}},
        "scales": {
            "x": {"grid": {"display": False}, "ticks": {**grey, **ticks}, "border": {"display": False}},
            "y": {
                "beginAtZero": True,
                "grid": {},
                "border": {"display": False},
                "ticks": {**grey, "maxTicksLimit": 6, "format": dict(axis_format)},
            },
        },
    }
