"""
What usage that one price counts together comes to, hour by hour (decision 0018). Pure and exact; under EXACT.

Where a price can fall as usage grows, an hour pays no more than every later state still asks for: so no hour pays below
zero, and all of them together pay the price of the whole quantity.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import accumulate
from operator import itemgetter

from billing.catalog.models import Rate
from billing.rating.allocation import RatedUsage, Subject, Units
from billing.rating.charges import Basis, Charge
from billing.rating.rating import EXACT, ZERO, RatingError, plain
from metering.queries import MeterEvent


class EventsNotRead(RatingError):
    """A price asks for every event, and those at hand are not what the window counts; nothing was posted."""


@dataclass(frozen=True, slots=True)
class EqualUnits(Units):
    """Units of which each costs the same."""

    unit_amount: Decimal

    def price(self, first: Decimal) -> Decimal:
        return EXACT.multiply(first, self.unit_amount)


@dataclass(frozen=True, slots=True)
class CountedUnits(Units):
    """`number` units after `start` others, which bring what the price asks for from `paid` to `due`."""

    amount_of: Callable[[Decimal], Decimal]
    start: Decimal
    number: Decimal
    paid: Decimal
    due: Decimal

    def price(self, first: Decimal) -> Decimal:
        if not first:
            return ZERO
        so_far = self.due if first >= self.number else self.amount_of(EXACT.add(self.start, first))
        return EXACT.subtract(max(min(so_far, self.due), self.paid), self.paid)

    def quantity(self, used: Decimal) -> Decimal:
        return self.number


# When, how much, of what.
_Use = tuple[datetime, Decimal, Subject]
_QUANTITY, _AT_AND_SUBJECT = itemgetter(1), itemgetter(0, 2)


@dataclass(slots=True, eq=False)
class Count:
    """What one price counts together: a rate's usage, or that of one cell of its matrix."""

    rate: Rate
    charge: Charge
    # What is owed for it without usage, such as a first tier's flat fee.
    owed: Subject
    is_from_start: bool
    amount: Decimal = ZERO
    used: list[_Use] = field(default_factory=list)
    # The flat amount that a price before it has brought, in whose place it is.
    waived: Decimal = ZERO

    @property
    def flat(self) -> Decimal:
        """What is owed without any usage."""
        return self.charge.amount(ZERO) if self.charge.basis is Basis.QUANTITY else ZERO

    def amount_of(self, quantity: Decimal) -> Decimal:
        """Return the cumulative price of that much, without what is waived."""
        return max(self.charge.amount(quantity) - self.waived, ZERO)


def described(dimensions: Mapping[str, str | None]) -> str:
    """The dimensions of usage in words, such as model 'auto'."""
    return ", ".join(f"{name} {value!r}" for name, value in sorted(dimensions.items())) or "no dimensions"


def is_linear(charge: Charge) -> bool:
    """Whether every unit costs the same and nothing is owed beside them, so that hours can be priced one by one."""
    return charge.basis is Basis.QUANTITY and charge.unit_amount is not None and not charge.shortfall(ZERO)


def priced_together(
    count: Count, events: Sequence[tuple[MeterEvent, Subject]], starts_at: datetime, *, is_by_unit: bool
) -> list[RatedUsage]:
    match count.charge.basis:
        case Basis.EVENT:
            found = _by_event(count, events)
        case Basis.WINDOW:
            found = _each_alone(count)
        case _:
            return _counted(count, starts_at, is_by_unit=is_by_unit)
    count.amount = sum((usage.amount for usage in found), ZERO)
    return found


def _each_alone(count: Count) -> list[RatedUsage]:
    found = []
    for at, quantity, subject in _together(count.used):
        amount = count.charge.amount(quantity)
        units = CountedUnits(count.charge.amount, ZERO, max(quantity, ZERO), ZERO, amount)
        found.append(RatedUsage(at, count.rate.pk, amount, quantity, subject, units))
    return found


def _together(used: Sequence[_Use]) -> list[_Use]:
    """
    Return usage in order, as one where it is of the same hour and subject: two versions of a meter that follow each
    other within an hour have a window each, and it must not matter which comes first.
    """
    if len(set(map(_AT_AND_SUBJECT, used))) < len(used):
        sums: dict[tuple[datetime, Subject], Decimal] = {}
        for at, quantity, subject in used:
            sums[at, subject] = sums.get((at, subject), ZERO) + quantity
        used = [(at, quantity, subject) for (at, subject), quantity in sums.items()]
    return sorted(used, key=_AT_AND_SUBJECT)


def _counted(count: Count, starts_at: datetime, *, is_by_unit: bool) -> list[RatedUsage]:
    """
    Return what each hour adds to the price of the quantity so far, by the rule at the top of this file.

    Of the units, too, an hour has no more than every later state still counts; they are told `is_by_unit`.
    """
    amount_of = count.amount_of if count.waived else count.charge.amount
    rate_id = count.rate.pk
    used = _together(count.used)
    totals = list(accumulate(map(_QUANTITY, used)))
    states = list(map(amount_of, totals))
    _flatten(totals)
    _flatten(states)
    paid = amount_of(ZERO) if count.is_from_start else ZERO
    if states and states[0] < paid:
        paid = states[0]
    found = [RatedUsage(starts_at, rate_id, paid, ZERO, count.owed)] if paid else []
    new, append = tuple.__new__, found.append
    units, counted = None, ZERO
    for (at, quantity, subject), so_far, due in zip(used, totals, states, strict=True):
        if is_by_unit:
            reached = max(so_far, ZERO)
            units = CountedUnits(amount_of, counted, reached - counted, paid, due)
            counted = reached
        append(new(RatedUsage, (at, rate_id, due - paid, quantity, subject, units)))
        paid = due
    count.amount = paid
    return found


def _flatten(figures: list[Decimal]) -> None:
    """Let no figure be above a later one."""
    lowest = figures[-1] if figures else ZERO
    for place in range(len(figures) - 1, -1, -1):
        if figures[place] > lowest:
            figures[place] = lowest
        else:
            lowest = figures[place]


def _by_event(count: Count, events: Sequence[tuple[MeterEvent, Subject]]) -> list[RatedUsage]:
    """Return what the events of each window cost. Raises EventsNotRead where they do not add up to their windows."""
    used = {(subject, at): quantity for at, quantity, subject in _together(count.used)}
    starts: dict[Subject, list[datetime]] = defaultdict(list)
    for subject, at in used:
        starts[subject].append(at)
    left, amounts = dict(used), dict.fromkeys(used, ZERO)
    for (event, subject), price in zip(events, count.charge.each(event.quantity for event, _ in events), strict=True):
        place = bisect_right(starts[subject], event.event_time)
        if place:
            key = (subject, starts[subject][place - 1])
            left[key] -= event.quantity
            amounts[key] += price
        else:
            left[subject, event.event_time] = event.quantity
    for (subject, at), rest in left.items():
        if rest:
            raise EventsNotRead(
                f"{subject.meter_code} of {described(subject.dimensions)} is priced by the event, and its events from"
                f" {at:%F %T} differ from their window by {plain(rest)}: its meter must add up (sum, count), and its"
                " events must be in the database"
            )
    return [RatedUsage(at, count.rate.pk, amounts[subject, at], used[subject, at], subject) for subject, at in used]
