"""The public cases of proration and periods, handed to the public functions of subscriptions."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from billing.subscriptions.periods import Cadence, floor_hour, start_of_day
from billing.subscriptions.proration import (
    Discount,
    Proration,
    Rounding,
    days_inclusive,
    line_minor,
    part_left,
    part_of_days,
    prorated,
    rounded,
)

Given = dict[str, Any]
# What other systems call several of ours.
_INTERVALS = {
    "daily": ("day", 1),
    "weekly": ("week", 1),
    "monthly": ("month", 1),
    "quarter": ("month", 3),
    "quarterly": ("month", 3),
    "half_year": ("month", 6),
    "half_yearly": ("month", 6),
    "semiannual": ("month", 6),
    "annual": ("year", 1),
    "yearly": ("year", 1),
}


def proration(given: Given) -> Given:
    """A change on a date; the peers write the lines themselves, so each is rounded half away from zero."""
    return _change(given, _part(given))


def proration_discount(given: Given) -> Given:
    return _change(given, Fraction(str(given["fraction"])))


def proration_days(given: Given) -> Given:
    return _change(given, part_of_days(int(given["days_remaining"]), int(given["days_total"])))


def seat_delta(given: Given) -> Given:
    """The whole old seats credited, the whole new ones debited: what is paid, or given back, is the net of both."""
    price = Decimal(str(given["price_per_seat"]))
    seats = (int(given["old_seats"]), int(given["new_seats"]))
    old, new = (price * max(count, int(given.get("min_seats") or 0)) for count in seats)
    discounts = {side: given.get(f"{side}_discount", given.get("discount")) for side in ("old", "new")}
    both = {"old_price": old, "new_price": new, **{f"{side}_discount": value for side, value in discounts.items()}}
    part = Fraction(str(given["fraction"])) if "fraction" in given else _part(given)
    net, places = _prorated(both, part).net_minor, _places(both)
    direction = "debit" if net > 0 else "credit" if net < 0 else "none"
    return {"amount": Decimal(abs(net)).scaleb(-places), "direction": direction}


def cycle_fraction(given: Given) -> Given:
    """Whole cycles and days of another one, as Kill Bill counts them; rounded to the scale it states."""
    exact = int(given["whole_cycles"]) + part_of_days(int(given["days"]), int(given["days_in_cycle"]))
    scale = int(given.get("scale", 9))
    return {"cycles": Decimal(rounded(exact, Rounding.OURS, places=scale)).scaleb(-scale)}


def day_price(given: Given) -> Given:
    """By days that both count; the denominator is the whole period."""
    used, total = (
        days_inclusive(_date(given[f"{what}_first_day"]), _date(given[f"{what}_last_day"]))
        for what in ("used", "period")
    )
    amount = Decimal(str(given["plan_amount"]))
    places = _places({"plan_amount": amount})
    minor = line_minor(amount.scaleb(places), part_of_days(used, total), rounding=Rounding.OURS)
    return {"amount": Decimal(minor).scaleb(-places)}


def next_period(given: Given) -> Given:
    zone = _zone(given)
    cadence, offset = _cadence(given, zone)
    return {"next": _written(cadence.after(_on_the_wall(given["current"], zone)), offset, given["current"])}


def chain_no_gap(given: Given) -> Given:
    zone = _zone(given)
    cadence, offset = _cadence(given, zone)
    starts = [cadence.boundary(number) for number in range(int(given["periods"]))]
    spans = [cadence.containing(start) for start in starts]
    contiguous = all(before[1] == after[0] for before, after in pairwise(spans))
    return {"contiguous": contiguous, "starts": [_written(start, offset, given["anchor"]) for start in starts]}


def first_bcd_after(given: Given) -> Given:
    """The first billing day at or after a date: one of the boundaries of any anchor in a month of 31 days."""
    start = datetime.combine(_date(given["from"]), datetime.min.time(), tzinfo=UTC)
    anchor = datetime(start.year - 1, 12, int(given["billing_cycle_day"]), tzinfo=UTC)
    begins, ends = Cadence(anchor).containing(start)
    return {"date": (begins if begins == start else ends).date().isoformat()}


def floor_hour_local(given: Given) -> Given:
    local = datetime.fromisoformat(given["instant"]).astimezone(ZoneInfo(given["timezone"]))
    return {"utc": f"{floor_hour(local.astimezone(UTC)):%Y-%m-%dT%H:%M:%SZ}"}


def dst_hours(given: Given) -> Given:
    day, zone = _date(given["local_date"]), given["timezone"]
    length = start_of_day(day + timedelta(days=1), zone) - start_of_day(day, zone)
    hours = Fraction(length // timedelta(minutes=1), 60)
    return {"hours": int(hours) if hours.denominator == 1 else str(hours)}


def _change(given: Given, part: Fraction) -> Given:
    found, places = _prorated(given, part), _places(given)
    amounts = {"credit": found.credit_minor, "debit": found.debit_minor, "net": found.net_minor}
    return {name: Decimal(amount).scaleb(-places) for name, amount in amounts.items()}


def _prorated(given: Given, part: Fraction) -> Proration:
    places = _places(given)
    old, new = (int(Decimal(str(given[name])).scaleb(places)) for name in ("old_price", "new_price"))
    return prorated(
        old_minor=old,
        new_minor=new,
        part=part,
        old_discount=_discount(given.get("old_discount"), places),
        new_discount=_discount(given.get("new_discount"), places),
        new_starts_fresh=bool(given.get("new_starts_fresh", False)),
        rounding=Rounding.OURS,
    )


def _discount(given: Any, places: int) -> Discount | None:
    if not given:
        return None
    kind, value = given
    return Discount(kind, Decimal(str(value)).scaleb(places if kind == "fixed" else 0))


def _part(given: Given) -> Fraction:
    start, end, at = (_instant(given[name]) for name in ("period_start", "period_end", "change_at"))
    if given.get("granularity", "second") == "day":
        return part_of_days((end.date() - at.date()).days, (end.date() - start.date()).days)
    return part_left(start, end, at)


def _places(given: Given) -> int:
    """How many places the smallest unit has that the prices are written in."""
    prices = [Decimal(str(value)) for name, value in given.items() if "price" in name or "amount" in name]
    return max(max(0, -int(price.as_tuple().exponent)) for price in prices)


def _zone(given: Given) -> ZoneInfo:
    return ZoneInfo(given.get("timezone") or "UTC")


def _cadence(given: Given, zone: ZoneInfo) -> tuple[Cadence, ZoneInfo]:
    """
    Boundaries by the clocks of a zone: what its wall shows is counted as if it were UTC, and read back from there. An
    anchor of ours counts in UTC alone, so this is where the peers' local dates become ours.
    """
    interval, times = _INTERVALS.get(given["interval"].lower(), (given["interval"].lower(), 1))
    return Cadence(_on_the_wall(given["anchor"], zone), interval, int(given.get("count", 1)) * times), zone


def _on_the_wall(text: str, zone: ZoneInfo) -> datetime:
    """A date, or what the zone's wall shows at an instant, as if that were UTC."""
    at = datetime.fromisoformat(text)
    return at.astimezone(zone).replace(tzinfo=UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _written(wall: datetime, zone: ZoneInfo, like: str) -> str:
    """A boundary written as the input is: a date, or an instant."""
    if len(like) == len("2026-11-01"):
        return wall.date().isoformat()
    return f"{wall.replace(tzinfo=zone).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _date(text: str) -> date:
    return date.fromisoformat(text)


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


ADAPTERS: dict[str, Callable[[Given], Given]] = {
    "proration": proration,
    "proration_discount": proration_discount,
    "proration_days": proration_days,
    "seat_delta": seat_delta,
    "cycle_fraction": cycle_fraction,
    "day_price": day_price,
    "next_period": next_period,
    "chain_no_gap": chain_no_gap,
    "first_bcd_after": first_bcd_after,
    "floor_hour_local": floor_hour_local,
    "dst_hours": dst_hours,
}
