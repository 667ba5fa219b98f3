"""
The balance of an account over a span as data for the Chart.js that the admin brings along. Pure.

Values are written as decimal strings, which Chart.js reads: money never becomes a float on our side.
"""

import json
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate

from ledger.exact import EXACT, less
from ledger.queries import AccountStatement

_COLOUR, _GREY = "#0e7490", "#9ca3af"
# More points than these are no finer on a screen.
POINTS_MAX = 370


@dataclass(frozen=True, slots=True)
class BalanceChart:
    """`data` and `options` are JSON; `title` says the same to who cannot see it."""

    title: str
    data: str
    options: str


def balance_chart(statement: AccountStatement, *, title: str) -> BalanceChart | None:
    """The balance at the end of each day of the span, as steps; None if nothing moved."""
    points = end_of_days(statement)
    if not statement.days:
        return None
    return BalanceChart(
        title=title,
        data=json.dumps(
            {
                "labels": [f"{day.day} {day:%b %Y}" for day, _ in points],
                "datasets": [
                    {
                        "label": f"Balance, {statement.account.currency}",
                        "data": [format(balance, "f") for _, balance in points],
                        "borderColor": _COLOUR,
                        "backgroundColor": f"{_COLOUR}22",
                        "fill": True,
                        "stepped": "before",
                        "borderWidth": 2,
                        "pointRadius": 0,
                        "pointHitRadius": 8,
                    }
                ],
            }
        ),
        options=json.dumps(_OPTIONS),
    )


def end_of_days(statement: AccountStatement) -> list[tuple[date, Decimal]]:
    """Days of the span with what the account held at their end: each, or evenly as many as can be drawn."""
    days = [day.day for day in statement.days]
    moved = list(accumulate((less(day.debit, day.credit) for day in statement.days), EXACT.add, initial=Decimal(0)))
    first = statement.span.effective_from.date()
    last = (statement.span.effective_before - timedelta(microseconds=1)).date()
    count = (last - first).days + 1
    step = max(1, -(-count // POINTS_MAX))
    drawn = [first + timedelta(days=number) for number in range((count - 1) % step, count, step)]
    return [(day, statement.balance_when(moved[bisect_right(days, day)])) for day in drawn]


_TICKS = {"color": _GREY, "maxRotation": 0, "autoSkip": True}
_OPTIONS = {
    "animation": False,
    "responsive": True,
    "maintainAspectRatio": False,
    "locale": "en-US",
    "interaction": {"mode": "index", "intersect": False},
    "plugins": {"legend": {"display": False}},
    "scales": {
        "x": {"grid": {"display": False}, "ticks": {**_TICKS, "maxTicksLimit": 8}, "border": {"display": False}},
        "y": {"beginAtZero": True, "grid": {}, "border": {"display": False}, "ticks": {**_TICKS, "maxTicksLimit": 6}},
    },
}
