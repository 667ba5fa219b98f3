"""A share of each event's value, such as of a payment, with what is agreed for an event beside it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from billing.money_text import counted
from billing.rating.charges.charge import Basis, Charge, Priced, Step, money, total, used
from billing.rating.charges.reading import Terms
from billing.rating.rating import EXACT, ZERO, plain


class _Event(NamedTuple):
    """How one event is priced: the part of its value that is charged for, and what comes on or off."""

    charged: Decimal
    share: Decimal
    fixed: Decimal
    raised: Decimal
    lowered: Decimal
    amount: Decimal


_FREE = _Event(ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)


@dataclass(frozen=True, slots=True, eq=False)
class Percentage(Charge):
    """
    A percentage of the quantity, or of the value of each event with what an event costs at least, at most and beside.

    Terms: `rate_percent` ("1.3" is 1.3 %); all else is optional. `fixed_per_event`: beside the share, in currency
    units. `free_events`: the first so many events are free. `free_total`: value up to so much in all is free. With
    both, what is free ends with whichever is reached first; an event that is free in part pays the share of the rest
    and the fixed amount. `min_per_event`, `max_per_event`: bounds of each event that pays, in currency units.
    An event without a value, or with one below zero, is no event here: it pays nothing and uses up nothing.
    """

    rate: Decimal
    fixed: Decimal = ZERO
    free_events: int | None = None
    free_total: Decimal | None = None
    minimum: Decimal = ZERO
    maximum: Decimal | None = None

    @classmethod
    def read(cls, terms: Terms) -> "Percentage":
        charge = cls(
            rate=EXACT.scaleb(terms.number("rate_percent"), -2),
            fixed=terms.number_or("fixed_per_event", ZERO),
            # None free is the same as nothing said about it, as Lago has it.
            free_events=terms.count_or_none("free_events") or None,
            free_total=terms.number_or_none("free_total") or None,
            minimum=terms.number_or("min_per_event", ZERO),
            maximum=terms.number_or_none("max_per_event"),
        )
        if charge.maximum is not None and charge.maximum < charge.minimum:
            raise terms.refuse("max_per_event", f"{charge.maximum} is below min_per_event; raise it")
        return charge

    @property
    def basis(self) -> Basis:  # type: ignore[override]
        by_event = self.fixed or self.free_events is not None or self.minimum or self.maximum is not None
        return Basis.EVENT if by_event else Basis.QUANTITY

    @property
    def unit_amount(self) -> Decimal | None:
        return self.rate if self.basis is Basis.QUANTITY and self.free_total is None else None

    def amount(self, quantity: Decimal) -> Decimal:
        """Return the price; of one event, and the first one, where events are priced."""
        return next(self._events([quantity])).amount

    def each(self, values: Iterable[Decimal]) -> Iterator[Decimal]:
        if self.basis is Basis.QUANTITY:
            return Charge.each(self, values)
        return (event.amount for event in self._events(values))

    def explain(self, quantity: Decimal, currency: str) -> Priced:
        return self.explain_each([used(quantity)], currency)

    def explain_each(self, values: Iterable[Decimal], currency: str) -> Priced:
        given = [used(total(values))] if self.basis is Basis.QUANTITY else [used(value) for value in values]
        pairs = [(value, event) for value, event in zip(given, self._events(given), strict=True) if value]
        steps = []
        if free := total(EXACT.subtract(value, event.charged) for value, event in pairs):
            steps.append(Step(f"{plain(free)} free of charge", ZERO))
        paying = [event for _, event in pairs if event.charged]
        if paying:
            share = total(event.share for event in paying)
            of = f"{plain(EXACT.scaleb(self.rate, 2).normalize(EXACT))} % of {plain(total(e.charged for e in paying))}"
            steps.append(Step(f"{of} = {money(share, currency)}", share))
        if fixed := total(event.fixed for event in paying):
            text = f"{counted(len(paying), 'event')} × {money(self.fixed, currency)} = {money(fixed, currency)}"
            steps.append(Step(text, fixed))
        steps += self._bounds(paying, currency)
        return Priced(total(event.amount for event in paying), tuple(steps))

    def _bounds(self, paying: list[_Event], currency: str) -> Iterator[Step]:
        raised = [event.raised for event in paying if event.raised]
        if raised:
            text = f"{counted(len(raised), 'event')} raised to the minimum of {money(self.minimum, currency)}"
            yield Step(f"{text}: {money(total(raised), currency)}", total(raised))
        lowered = [event.lowered for event in paying if event.lowered]
        if lowered and self.maximum is not None:
            text = f"{counted(len(lowered), 'event')} lowered to the maximum of {money(self.maximum, currency)}"
            yield Step(f"{text}: {money(total(lowered), currency)}", total(lowered))

    def _events(self, values: Iterable[Decimal]) -> Iterator[_Event]:
        events_left, total_left = self.free_events, self.free_total
        is_free = events_left is not None or total_left is not None
        for given in values:
            value = charged = used(given)
            if not value:
                yield _FREE
                continue
            if is_free:
                covered = value if total_left is None else min(value, total_left)
                charged = EXACT.subtract(value, covered)
                total_left = None if total_left is None else EXACT.subtract(total_left, covered)
                events_left = None if events_left is None else events_left - 1
                is_free = events_left != 0
            yield self._charged(charged) if charged else _FREE

    def _charged(self, charged: Decimal) -> _Event:
        share = EXACT.multiply(charged, self.rate)
        amount = EXACT.add(share, self.fixed)
        if amount < self.minimum:
            return _Event(charged, share, self.fixed, EXACT.subtract(self.minimum, amount), ZERO, self.minimum)
        if self.maximum is not None and amount > self.maximum:
            return _Event(charged, share, self.fixed, ZERO, EXACT.subtract(self.maximum, amount), self.maximum)
        return _Event(charged, share, self.fixed, ZERO, ZERO, amount)


def percent_of(amount: Decimal, percent: Decimal) -> Decimal:
    """Return so many percent of the amount, exactly."""
    return EXACT.scaleb(EXACT.multiply(amount, percent), -2)
