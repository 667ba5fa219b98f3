"""When periods begin: the billing cycle anchor, and the spans that lead up to it. UTC, Unix seconds."""

import calendar
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.sandbox.billing.periods import MONTHS, Interval, boundary_after, boundary_before
from tests.sandbox.billing.subscriptions.period_lines import Span
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject

SPANS_MAX = 250  # Stripe does not backdate over more lines
MONTHS_SEARCHED = 48  # a 29th of February comes back within four years
BOUNDS = {"day_of_month": (1, 31), "month": (1, 12), "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}


def interval_of(price: StripeObject) -> Interval:
    return Interval(price["recurring"]["interval"], price["recurring"]["interval_count"])


def period_around(anchor: int, interval: Interval, moment: int) -> tuple[int, int]:
    """The period of the anchor's grid that `moment` lies in."""
    end = boundary_after(anchor, interval, moment)
    return boundary_before(anchor, interval, end), end


def spans_since(start: int, anchor: int, interval: Interval, now: int) -> list[Span]:
    """From `start` on, period by period of the anchor's grid, up to the end of the one that `now` lies in.

    Raises `StripeError` for more than Stripe puts on one invoice.
    """
    spans: list[Span] = []
    while not spans or spans[-1].end <= now:
        begin = spans[-1].end if spans else start
        whole_start, end = period_around(anchor, interval, begin)
        spans.append(Span(begin, end, whole_start, end))
        if len(spans) > SPANS_MAX:
            raise StripeError(
                f"The resulting invoice would have more than {SPANS_MAX} line items.", param="backdate_start_date"
            )
    return spans


def truncated(span: Span, moment: int | None) -> Span:
    """The span up to `moment`, if that is earlier than its end."""
    return replace(span, end=min(span.end, moment)) if moment is not None else span


def future_anchor(anchor: int, now: int, counted_from: int, intervals: Sequence[Interval]) -> int:
    """`anchor`, if it is neither past nor beyond the first natural renewal. Raises `StripeError` otherwise."""
    if anchor < now:
        raise StripeError("billing_cycle_anchor cannot be in the past.", param="billing_cycle_anchor")
    natural_end = min(boundary_after(counted_from, interval, counted_from) for interval in intervals)
    if anchor > natural_end:
        raise StripeError(
            f"billing_cycle_anchor cannot be later than next natural billing date ({natural_end}).",
            code="invalid_billing_cycle_anchor",
            param="billing_cycle_anchor",
        )
    return anchor


def configured_anchor(config: dict[str, Any], now: int, intervals: Sequence[Interval]) -> int:
    """The next moment of `billing_cycle_anchor_config` on the grid of the shortest interval counted from this month.

    The first month that really has the wanted day is the anchor, so that the 31st comes back after short months. It
    may lie further away than one period; the first full period does not. Raises `StripeError` for values out of
    bounds, and for prices by the day or week.
    """
    for name, value in config.items():
        low, high = BOUNDS[name]
        if not low <= value <= high:
            raise StripeError(
                f"billing_cycle_anchor_config[{name}] must be between {low} and {high}.",
                param=f"billing_cycle_anchor_config[{name}]",
            )
    if any(interval.unit not in MONTHS for interval in intervals):
        raise StripeError(
            "`billing_cycle_anchor_config` is only for prices by the month or year.",
            param="billing_cycle_anchor_config",
        )
    today = datetime.fromtimestamp(now, UTC)
    moment_of_day = {name: config[name] for name in ("hour", "minute", "second") if name in config}
    step = 1 if "month" in config else min(interval.count * MONTHS[interval.unit] for interval in intervals)
    for months in [*range(0, MONTHS_SEARCHED * step, step), *range(MONTHS_SEARCHED)]:
        year, month = divmod(today.year * 12 + today.month - 1 + months, 12)
        if config.get("month", month + 1) != month + 1:
            continue
        if config["day_of_month"] > calendar.monthrange(year, month + 1)[1]:
            continue
        found = today.replace(year=year, month=month + 1, day=config["day_of_month"], **moment_of_day)
        if int(found.timestamp()) >= now:
            return int(found.timestamp())
    raise StripeError("There is no such day.", param="billing_cycle_anchor_config")
