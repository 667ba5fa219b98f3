"""
A period's usage shared out among its events: what each of them cost, and who paid for it. Reads nothing; all shares of
a price and what the period owes without usage add up to what was allocated, exactly.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from itertools import groupby

from billing.catalog.models import Rate
from billing.rating.charges import Basis, Charge
from billing.rating.explanation.recomputed import ALLOWANCE, Recomputed
from billing.rating.explanation.shares import Paid, Price, Share, shares
from billing.rating.rating import EXACT, ZERO
from billing.rating.target import Allocated
from billing.subscriptions.periods import last_instant
from metering.queries import WeighedEvent

_Key = tuple[int, datetime, str, tuple[tuple[str, str | None], ...]]
_Named = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SharedEvent:
    """
    An event with its share. `place` is its place in the order of allocation, 1 first, among the `of` events of its
    window (or of the part of it that a change of prices cut); `entry` is where that lies in the period's allocation,
    None where the window came to nothing.
    """

    event: WeighedEvent
    rate: Rate | None
    share: Share
    place: int
    of: int
    entry: int | None
    # What the events before it in the window came to.
    before: tuple[Paid, ...] = ()
    quantity_before: Decimal = ZERO


class SharedPeriod:
    """
    Shares out one period. `caps` are the allowances that pay what is above a maximum: they pay last, so that the events
    that reach it are the later ones.
    """

    def __init__(self, recomputed: Recomputed, *, caps: frozenset[int]) -> None:
        self._terms = recomputed.terms
        self._usage = recomputed.usage
        self._caps = caps
        self._allocated = recomputed.allocated
        self._entries: dict[_Key, list[int]] = {}
        # Before each entry, the units that its price had counted, and what they came to.
        self._before: list[tuple[Decimal, Decimal]] = []
        counted: dict[tuple[int, int], tuple[Decimal, Decimal]] = {}
        with localcontext(EXACT):
            for place, one in enumerate(self._allocated):
                if self._is_usage(one):
                    key = (one.rate_id, one.at, one.meter_code, _values(one.dimensions))
                    self._entries.setdefault(key, []).append(place)
                counts = self._counts(one)
                units, paid = counted.get(counts, (ZERO, ZERO))
                self._before.append((units, paid))
                counted[counts] = units + one.quantity, paid + one.amount
        self._counted = counted
        self._by_event: dict[int, dict[_Named, Decimal]] = {}

    def meters_of(self, rate_id: int) -> list[str]:
        """The meters whose usage the price counted; none for a charge that needs no usage."""
        return sorted({one.meter_code for one in self._allocated if one.rate_id == rate_id and one.quantity})

    def owed(self, rate_id: int) -> tuple[Paid, ...]:
        """What the price asks for without usage, such as what a minimum lacks, and who paid that: no event's part."""
        return tuple(
            Paid(one.kind, one.id, one.amount, one.quantity)
            for entry in self._allocated
            if entry.rate_id == rate_id and not self._is_usage(entry)
            for one in entry.sources
        )

    def cuts(self, meter_code: str) -> list[datetime]:
        """The instants at which the meter's usage is parted, beside the hours."""
        return self._terms.rates.changes(meter_code, self._terms.starts_at, self._terms.ends_at)

    def share_out(self, events: Iterable[WeighedEvent]) -> Iterator[SharedEvent]:
        """
        Yield each event with its share, window by window. Whole windows must be given, in the order in which
        `weighed_events` tells them, parted at `cuts`.
        """
        for (at, meter_code, values), found in groupby(self._in_order(events), key=_window):
            of_window = list(found)
            rate = self._terms.rates.lookup(meter_code, of_window[0].dimensions, at)
            entries = [] if rate is None else self._entries.get((rate.pk, at, meter_code, values), [])
            if rate is None or not entries:
                yield from _costing_nothing(of_window, rate)
            else:
                yield from self._shared(of_window, rate, entries)

    def paid_before(self, entry: int) -> Iterator[tuple[Allocated, Paid]]:
        """What was paid for the usage before an entry of the allocation, in order."""
        for one in self._allocated[:entry]:
            for source in one.sources:
                yield one, Paid(source.kind, source.id, source.amount, source.quantity)

    def quantity_before(self, entry: int) -> Decimal:
        """The units that the price had counted before an entry."""
        return self._before[entry][0]

    def _shared(self, events: Sequence[WeighedEvent], rate: Rate, entries: Sequence[int]) -> Iterator[SharedEvent]:
        of_entries = [self._allocated[place] for place in entries]
        quantity = ZERO
        for one in of_entries:
            quantity = EXACT.add(quantity, one.quantity)
        amount = ZERO
        for one in of_entries:
            amount = EXACT.add(amount, one.amount)
        cell = self.charge_of(rate, of_entries[0].dimensions)
        found = shares(
            [event.weight for event in events],
            quantity=quantity,
            amount=amount,
            sources=self._sources(of_entries),
            price=self._price(cell, entries[0]),
            amounts=self._prices_of_events(rate, cell, events),
        )
        paid: dict[tuple[str, int | None], Paid] = {}
        units = self.quantity_before(entries[0])
        for place, (event, share) in enumerate(zip(events, found, strict=True), start=1):
            yield SharedEvent(event, rate, share, place, len(events), entries[0], tuple(paid.values()), units)
            units = EXACT.add(units, share.quantity)
            for part in share.paid:
                had = paid.get((part.kind, part.id), Paid(part.kind, part.id, ZERO))
                paid[part.kind, part.id] = had.plus(part)

    def _sources(self, entries: Iterable[Allocated]) -> list[Paid]:
        sources = [Paid(one.kind, one.id, one.amount, one.quantity) for entry in entries for one in entry.sources]
        return sorted(sources, key=lambda one: one.kind == ALLOWANCE and one.id in self._caps)

    def _price(self, cell: Charge, entry: int) -> Price | None:
        """What a window's first units add to the price; None where every unit of it costs the same."""
        if cell.basis is Basis.EVENT or (cell.basis is Basis.QUANTITY and cell.unit_amount is not None):
            return None
        if cell.basis is Basis.WINDOW:
            return cell.amount
        counted, paid = self._before[entry]
        # All hours come to less than the price asks where its flat amount is waived.
        units_in_all, paid_in_all = self._counted[self._counts(self._allocated[entry])]
        waived = max(EXACT.subtract(cell.amount(units_in_all), paid_in_all), ZERO)

        def price(units: Decimal) -> Decimal:
            if not units:
                return ZERO
            return EXACT.subtract(cell.amount(EXACT.add(counted, units)), EXACT.add(paid, waived))

        return price

    def _prices_of_events(self, rate: Rate, cell: Charge, events: Sequence[WeighedEvent]) -> list[Decimal] | None:
        if cell.basis is not Basis.EVENT:
            return None
        priced = self._by_event.get(id(cell))
        if priced is None:
            priced = self._by_event[id(cell)] = self._price_events(rate, cell)
        return [priced[event.source, event.event_id] for event in events]

    def _price_events(self, rate: Rate, cell: Charge) -> dict[_Named, Decimal]:
        """The price of every event that the cell prices in its turn."""
        counted = [
            event
            for event in self._usage.events.get(rate.meter_code, ())
            if self._terms.rates.lookup(event.meter_code, event.dimensions, event.event_time) == rate
            and self._terms.rates.charge_of(rate).cell(event.dimensions) is cell
        ]
        counted.sort(key=lambda event: (event.event_time, event.source, event.event_id))
        prices = cell.each(event.quantity for event in counted)
        return {(event.source, event.event_id): price for event, price in zip(counted, prices, strict=True)}

    def charge_of(self, rate: Rate, dimensions: Mapping[str, str | None]) -> Charge:
        """The price of usage with these dimensions: of a matrix, its cell."""
        charge = self._terms.rates.charge_of(rate)
        return charge.cell(dimensions) or charge

    def _is_usage(self, one: Allocated) -> bool:
        """Whether events have a share of it: not of what is owed without usage, which has no units. Nor has an hour
        whose events take each other away, but each of them can have its price."""
        if one.quantity:
            return True
        if not one.meter_code or one.at == last_instant(self._terms.ends_at):
            return False
        rate = self._terms.rates.lookup(one.meter_code, one.dimensions, one.at)
        is_its = rate is not None and rate.pk == one.rate_id
        return rate is not None and is_its and self.charge_of(rate, one.dimensions).basis is Basis.EVENT

    def _counts(self, one: Allocated) -> tuple[int, int]:
        """What counts this usage together with other: its price (0), which has what is owed at its start; or its cell
        of a matrix."""
        rate = self._terms.rates.lookup(one.meter_code, one.dimensions, one.at) if one.quantity else None
        if rate is None or rate.pk != one.rate_id:
            return one.rate_id, 0
        charge = self._terms.rates.charge_of(rate)
        cell = charge.cell(one.dimensions)
        return one.rate_id, 0 if cell is None or cell is charge else id(cell)

    @staticmethod
    def _in_order(events: Iterable[WeighedEvent]) -> list[WeighedEvent]:
        """Versions of a meter count into windows of their own, which one price counts together."""
        return sorted(events, key=lambda one: (*_window_order(one), one.event_time, one.source, one.event_id))


def _costing_nothing(events: Sequence[WeighedEvent], rate: Rate | None) -> Iterator[SharedEvent]:
    for place, event in enumerate(events, start=1):
        yield SharedEvent(event, rate, Share(ZERO, ZERO, ()), place, len(events), None)


def _values(dimensions: Mapping[str, str | None]) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted(dimensions.items()))


def _window(event: WeighedEvent) -> tuple[datetime, str, tuple[tuple[str, str | None], ...]]:
    return event.window_start, event.meter_code, _values(event.dimensions)


def _window_order(event: WeighedEvent) -> tuple[datetime, str, tuple[tuple[str, bool, str], ...]]:
    named = tuple((name, value is not None, value or "") for name, value in _values(event.dimensions))
    return event.window_start, event.meter_code, named
