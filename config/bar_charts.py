"""
Bars as data for the Chart.js that the admin brings along. Pure, and a leaf: every app's pages may draw with it.

Values are written as decimal strings, which Chart.js reads: no amount becomes a float on our side.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

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
Place = TypeVar("Place")

# Both bounds are named: Chart.js fills in the one that is not, and the browser refuses a lower one above the upper.
COMPACT: Mapping[str, Any] = {"notation": "compact", "minimumFractionDigits": 0, "maximumFractionDigits": 1}


@dataclass(frozen=True, slots=True)
class Bars:
    """What Chart.js is given: `data` and `options` are JSON."""

    data: str
    options: str


def bars(
    labels: Sequence[str], series: Mapping[str, Sequence[Decimal]], *, axis_format: Mapping[str, Any], stacked: bool
) -> Bars:
    """One bar for each label: made of one part for each series, or the series side by side.

    Each series has as many values as there are labels. A value of nothing leaves its place to the others.
    """
    datasets = [
        {
            "label": name,
            "data": [format(value, "f") if value else None for value in values],
            "backgroundColor": _COLOURS[index % len(_COLOURS)],
            "borderRadius": 2,
            "maxBarThickness": 28,
            "minBarLength": 3,
            "skipNull": True,
        }
        for index, (name, values) in enumerate(series.items())
    ]
    data = json.dumps({"labels": list(labels), "datasets": datasets})
    return Bars(data, json.dumps(_options(axis_format=axis_format, stacked=stacked)))


def largest(series: Mapping[str, Mapping[Place, Decimal]]) -> dict[str, Mapping[Place, Decimal]]:
    """The SERIES_MAX largest, in order of size; what is beyond, added up, as one more called OTHERS."""
    ranked = sorted(series, key=lambda name: (-sum(series[name].values()), name))
    kept: dict[str, Mapping[Place, Decimal]] = {name: series[name] for name in ranked[:SERIES_MAX]}
    others: dict[Place, Decimal] = {}
    for name in ranked[SERIES_MAX:]:
        for place, value in series[name].items():
            others[place] = others.get(place, Decimal(0)) + value
    if others:
        kept[OTHERS] = others
    return kept


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
