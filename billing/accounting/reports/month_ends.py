"""Balances at the ends of months as a chart. Pure."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from billing.charts import MONTHS, Chart, money_axis, stacked_days


def month_end_chart(
    title: str, series: Mapping[str, Mapping[date, Decimal]], *, months: Sequence[date], currency: str
) -> Chart:
    """One bar a month, made of a part for each series; `series` has the months in which something moved."""
    if not currency:
        return stacked_days(title=title, days=months, series={}, axis_format=money_axis("USD"), axis=MONTHS)
    carried = {name: carried_forward(held, months=months) for name, held in series.items()}
    return stacked_days(title=title, days=months, series=carried, axis_format=money_axis(currency), axis=MONTHS)


def carried_forward(held: Mapping[date, Decimal], *, months: Sequence[date]) -> dict[date, Decimal]:
    """What was held at the end of each month: where nothing moved, what the month before it ended with."""
    moved = sorted(held)
    found: dict[date, Decimal] = {}
    position, last = 0, Decimal(0)
    for month in months:
        while position < len(moved) and moved[position] <= month:
            last = held[moved[position]]
            position += 1
        found[month] = last
    return found
