"""
What each hour of a period's usage costs, whatever charge model prices it. Pure and exact: reads nothing.

A price that counts the quantity of the period (tiers) says what the usage so far costs, and an hour pays what that has
grown by. Where it can fall as usage grows, at a volume's next tier or by a correction, an hour pays no more than every
later state still asks for: so no hour pays below zero, and all of them together pay the price of the whole quantity.

What is owed for the period itself (a flat charge, a first tier's flat fee, a minimum) is that of the prices in force at
its start; a price that begins within the period brings its own with its first usage, unless it takes the place of one
that brought a flat amount, and its minimum with the next period. A minimum looks at what came after its price too.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, Inexact, InvalidOperation, Overflow, localcontext

from billing.catalog.models import Rate
from billing.catalog.queries import RateTable
from billing.rating.allocation import AllowanceTerms, RatedUsage, Subject
from billing.rating.charges import Basis, Charge, ChargeModel, Matrix
from billing.rating.counts import Count, EqualUnits, described, is_linear, priced_together
from billing.rating.rating import EXACT, ZERO, InexactAmount, RatingError, plain
from metering.queries import MeterEvent, Window

_COMMITMENT = ChargeModel.MINIMUM_COMMITMENT.value
_UNITS = "units"
_MICROSECOND = timedelta(microseconds=1)


class UnratedUsage(RatingError):
    """A window has a quantity and no rate applies to it; nothing of the period was posted."""


@dataclass(frozen=True, slots=True)
class PeriodTerms:
    """What a period's usage is priced by: its interval (UTC), its rates, and its allowances in their order."""

    starts_at: datetime
    ends_at: datetime
    rates: RateTable
    allowances: tuple[AllowanceTerms, ...]


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """
    The usage of a period and no other: its windows, those in part whose hour a boundary cuts.

    Where a price changes within an hour, the hour's usage is in two windows, of which the later starts at the change.
    `events` are those of the meters that are priced by the event, by meter. `is_in_parts` says that either was needed.
    """

    windows: Sequence[Window]
    events: Mapping[str, Sequence[MeterEvent]] = field(default_factory=dict)
    is_in_parts: bool = False


def priced(usage: PeriodUsage, terms: PeriodTerms, *, is_over: bool) -> list[RatedUsage]:
    """
    Return the price of every window, of the period's own charges at its start and, once it is over, of what a minimum
    still lacks at its last instant. In no order.

    Raises UnratedUsage naming the first window that has no rate, EventsNotRead, and other RatingErrors.
    """
    try:
        with localcontext(EXACT):
            return _Pricing(terms).run(usage, is_over=is_over)
    except (Inexact, InvalidOperation, Overflow) as error:
        # Terms within their limits can still ask for more digits than EXACT holds: refused, and for this period alone.
        raise InexactAmount("a price of this usage has more digits than can be computed exactly") from error


@dataclass(slots=True, eq=False)
class _Line:
    """Usage of one meter and dimensions under one rate. `unit_amount` is None where its units do not all cost alike."""

    rate_id: int
    subject: Subject
    count: Count
    unit_amount: Decimal | None
    units: EqualUnits | None


# The instants from which the lines beside them apply; None is usage that has no price.
_Dated = tuple[list[datetime], list[_Line | None]]
_Key = tuple[str, tuple[tuple[str, str | None], ...]]


class _Pricing:
    """One run over the usage of one period."""

    def __init__(self, terms: PeriodTerms) -> None:
        self.terms = terms
        self.found: list[RatedUsage] = []
        self.lines: dict[_Key, _Dated] = {}
        self.subjects: dict[tuple[str, tuple[tuple[str, bool, str], ...]], Subject] = {}
        self.counts: dict[tuple[int, int], Count] = {}
        self.at_start = terms.rates.in_force(terms.starts_at)
        self.from_start = frozenset(rate.pk for rate in self.at_start)

    def run(self, usage: PeriodUsage, *, is_over: bool) -> list[RatedUsage]:
        for rate in self.at_start:
            charge = self.terms.rates.charge_of(rate)
            if isinstance(charge, Matrix):
                for cell in charge.cells:
                    self._count_of(rate, cell.charge, cell.dimensions)
            elif not is_linear(charge):
                self._count_of(rate, charge)
        self._read(usage.windows)
        self._read_empty(usage)
        events = self._gather_events(usage.events)
        self._waive_flats()
        is_by_unit = any(one.measure == _UNITS for one in self.terms.allowances)
        for count in self.counts.values():
            of_count = events.get(id(count), ())
            self.found += priced_together(count, of_count, self.terms.starts_at, is_by_unit=is_by_unit)
        if is_over:
            self._charge_lacking()
        return self.found

    def _read(self, windows: Iterable[Window]) -> None:
        """Price what costs the same unit by unit at once, and gather the rest by what counts it."""
        found, known, starts_at = self.found, self.lines, self.terms.starts_at
        new = tuple.__new__  # A third of what calling the class costs.
        for window in windows:
            quantity = window.quantity
            if not quantity:
                continue
            key = (window.meter_code, tuple(window.dimensions.items()))
            starts, lines = known.get(key) or self._dated(key)
            at = window.window_start
            if at < starts_at:
                at = starts_at
            line = lines[0] if len(lines) == 1 else lines[bisect_right(starts, at) - 1]
            if line is None:
                raise UnratedUsage(
                    f"{plain(quantity)} {window.meter_code} of {described(window.dimensions)}"
                    f" by {window.customer_key} at {window.window_start:%F %H:00} have no rate"
                )
            if line.unit_amount is not None and quantity > ZERO:
                amount = quantity * line.unit_amount
                found.append(new(RatedUsage, (at, line.rate_id, amount, quantity, line.subject, line.units)))
            else:
                line.count.used.append((at, quantity, line.subject))
        self._recount_falling()

    def _read_empty(self, usage: PeriodUsage) -> None:
        """Windows whose events take each other away: a price by the event charges those that came in."""
        for window in usage.windows if usage.events else ():
            if not window.quantity and window.meter_code in usage.events:
                key = (window.meter_code, tuple(window.dimensions.items()))
                starts, lines = self.lines.get(key) or self._dated(key)
                at = max(window.window_start, self.terms.starts_at)
                line = lines[bisect_right(starts, at) - 1]
                if line is not None and line.count.charge.basis is Basis.EVENT:
                    line.count.used.append((at, ZERO, line.subject))

    def _waive_flats(self) -> None:
        """Nobody owes two flat amounts because a price took another's place within the period."""
        for _, lines in self.lines.values():
            before: list[Count] = []
            for line in lines if len(lines) > 1 else ():
                if line is None:
                    continue
                if any(count.flat and (count.is_from_start or count.used) for count in before):
                    line.count.waived = line.count.flat
                before.append(line.count)

    def _came_after(self, count: Count) -> Decimal:
        """Return what the prices came to that took this one's place, for some of its usage or all."""
        in_turn = [[line.count for line in lines if line is not None] for _, lines in self.lines.values()]
        after = {id(one) for counts in in_turn if counts and counts[0] is count for one in counts[1:]}
        lines = [line for _, lines in self.lines.values() for line in lines if line is not None]
        places = {(line.rate_id, line.subject) for line in lines if id(line.count) in after}
        return sum((usage.amount for usage in self.found if (usage.rate_id, usage.subject) in places), ZERO)

    def _recount_falling(self) -> None:
        """Where a correction takes units away, hours are no longer priced one by one: those before pay for it."""
        if not any(count.used and is_linear(count.charge) for count in self.counts.values()):
            return
        lines = [line for _, lines in self.lines.values() for line in lines if line is not None]
        falling = {(line.rate_id, line.subject): line.count for line in lines if line.count.used}
        kept = []
        for usage in self.found:
            count = falling.get((usage.rate_id, usage.subject))
            if count is None:
                kept.append(usage)
            else:
                count.used.append((usage.at, usage.quantity, usage.subject))
        self.found = kept

    def _dated(self, key: _Key) -> _Dated:
        """Return the lines that usage of a meter and dimensions has in turn, each from its instant on."""
        meter_code, pairs = key
        dimensions, terms = dict(pairs), self.terms
        found = Subject.of(meter_code, dimensions)
        # The same one for the same dimensions, in whatever order they are named.
        subject = self.subjects.setdefault((meter_code, found.order), found)
        starts: list[datetime] = []
        lines: list[_Line | None] = []
        last: Rate | None = None
        for at in (terms.starts_at, *terms.rates.changes(meter_code, terms.starts_at, terms.ends_at)):
            rate = terms.rates.lookup(meter_code, dimensions, at)
            if not starts or rate is not last:
                starts.append(at)
                lines.append(self._line(rate, subject) if rate is not None else None)
                last = rate
        self.lines[key] = starts, lines
        return starts, lines

    def _line(self, rate: Rate, subject: Subject) -> _Line | None:
        cell = self.terms.rates.charge_of(rate).cell(subject.dimensions)
        if cell is None:
            return None
        count = self._count_of(rate, cell)
        unit_amount = cell.unit_amount if is_linear(cell) else None
        units = EqualUnits(unit_amount) if unit_amount is not None else None
        return _Line(rate.pk, subject, count, unit_amount, units)

    def _count_of(self, rate: Rate, charge: Charge, dimensions: Mapping[str, str | None] | None = None) -> Count:
        """Return what counts for a price, a rate's own or that of a cell of its matrix, for usage of `dimensions`."""
        key = (rate.pk, id(charge))
        count = self.counts.get(key)
        if count is None:
            owed = Subject(rate.meter_code, dimensions or {}, is_usage=bool(rate.meter_code))
            count = self.counts[key] = Count(rate, charge, owed, rate.pk in self.from_start)
        return count

    def _gather_events(self, events: Mapping[str, Sequence[MeterEvent]]) -> dict[int, list[tuple[MeterEvent, Subject]]]:
        """Return the events that are priced one by one, by the identity of what counts them, in their order."""
        gathered: dict[int, list[tuple[MeterEvent, Subject]]] = defaultdict(list)
        for meter_code, found in events.items():
            for event in sorted(found, key=lambda event: (event.event_time, event.source, event.event_id)):
                key = (meter_code, tuple(event.dimensions.items()))
                starts, lines = self.lines.get(key) or self._dated(key)
                line = lines[bisect_right(starts, event.event_time) - 1]
                if line is not None and line.count.charge.basis is Basis.EVENT:
                    gathered[id(line.count)].append((event, line.subject))
        return gathered

    def _charge_lacking(self) -> None:
        """
        Charge what minimums still lack: each price's own first, then what was committed for the whole period.

        Of several commitments (a plan's and an add-on's) the highest is met, as what one adds counts for the next.
        """
        at = self.terms.ends_at - _MICROSECOND
        counts = [count for count in self.counts.values() if count.is_from_start]
        total = sum((usage.amount for usage in self.found), ZERO)
        for count in sorted(counts, key=lambda count: (count.rate.charge_model == _COMMITMENT, count.rate.pk)):
            is_commitment = count.rate.charge_model == _COMMITMENT
            lacking = count.charge.shortfall(total if is_commitment else count.amount)
            if lacking and not is_commitment:
                lacking = count.charge.shortfall(count.amount + self._came_after(count))
            if lacking:
                total += lacking
                self.found.append(RatedUsage(at, count.rate.pk, lacking, ZERO, count.owed))
