"""
From the windows of a period to what each hour costs: prices that change within it, and what is owed without usage.

Decision 0018 says why it is so; docs/invoice-proofs.md tells the rules.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from typing import Any

from billing.invoicing.proofs.verifier.charges import ZERO, Charge
from billing.invoicing.proofs.verifier.usage import HOUR, Counted, Dimensions, Unreadable, in_order, instant, shown


@dataclass(frozen=True, slots=True)
class Cell:
    """A price and what usage must be of: the whole of a rate, or one cell of a matrix (the twelfth model)."""

    dimensions: Mapping[str, str | None]
    charge: Charge


@dataclass(frozen=True, slots=True, eq=False)
class Rate:
    """A price of the catalogue as the proof holds it."""

    rate_id: int
    meter_code: str
    dimensions: Mapping[str, str | None]
    model: str
    effective_from: int
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Rate":
        model, terms = row["charge_model"], row["terms"]
        if model == "per_unit":
            terms = {"unit_price": row["unit_price"], "unit_size": row["unit_size"]}
        cells = [Cell({}, Charge(model, terms))]
        if model == "matrix":
            read = [{**(terms.get("each") or {}), **cell} for cell in terms["cells"]]
            cells = [Cell(one["dimensions"], Charge(one.get("charge_model", "per_unit"), one)) for one in read]
        begins = instant(row["effective_from"])
        return cls(row["id"], row["meter_code"], row["dimensions"], model, begins, tuple(cells))

    def cell(self, dimensions: Mapping[str, str | None]) -> Cell | None:
        """The cell that names most of the usage's values."""
        fitting = [
            (-len(one.dimensions), sorted(one.dimensions), place)
            for place, one in enumerate(self.cells)
            if all(dimensions.get(name) == value for name, value in one.dimensions.items())
        ]
        return self.cells[min(fitting)[2]] if fitting else None


_ByValues = dict[tuple[str | None, ...], list[Rate]]


class Rates:
    """The rates of a period: chains of cards, the plan's and each add-on's; each card before those it stands on."""

    def __init__(self, chains: Sequence[Sequence[Sequence[Rate]]], starts: int, ends: int) -> None:
        self.chains, self.starts, self.ends = chains, starts, ends
        # By meter, in the order in which they are asked: dated rates of the same dimensions.
        self.tried: dict[str, list[list[Rate]]] = {}
        # The same, found by values: of each card and number of dimensions, by their names and then by their values.
        self._levels: dict[str, dict[tuple[int, int], dict[tuple[str, ...], _ByValues]]] = {}
        self._cuts: dict[tuple[str, Dimensions], list[int]] = {}
        for number, card in enumerate(card for chain in chains for card in chain):
            dated: dict[tuple[str, Dimensions], list[Rate]] = {}
            for rate in sorted(card, key=lambda rate: rate.effective_from):
                if rate.meter_code:
                    dated.setdefault((rate.meter_code, tuple(sorted(rate.dimensions.items()))), []).append(rate)
            for (meter_code, named), rates in sorted(dated.items(), key=lambda one: (-len(one[0][1]), one[0][1])):
                self.tried.setdefault(meter_code, []).append(rates)
                level = self._levels.setdefault(meter_code, {}).setdefault((number, -len(named)), {})
                level.setdefault(tuple(name for name, _ in named), {})[tuple(value for _, value in named)] = rates

    def at(self, meter_code: str, dimensions: Dimensions, at: int) -> Rate | None:
        usage = dict(dimensions)
        for _, by_names in sorted(self._levels.get(meter_code, {}).items()):
            fitting = [
                table[values]
                for names, table in by_names.items()
                if all(name in usage for name in names) and (values := tuple(usage[name] for name in names)) in table
            ]
            # Of those that name as many, the first by names and values.
            for rates in sorted(fitting, key=lambda rates: sorted(rates[0].dimensions.items())):
                rate = _in_force(rates, at)
                if rate is not None:
                    return rate
        return None

    def in_turn(self, meter_code: str, dimensions: Dimensions) -> list[tuple[int, Rate | None]]:
        """The rates of such usage, each with the instant from which it applies."""
        begun = {rate.effective_from for rates in self.tried.get(meter_code, ()) for rate in rates}
        found = [(self.starts, self.at(meter_code, dimensions, self.starts))]
        for at in sorted(at for at in begun if self.starts < at < self.ends):
            rate = self.at(meter_code, dimensions, at)
            if rate is not found[-1][1]:
                found.append((at, rate))
        return found

    def cuts(self, meter_code: str, dimensions: Dimensions) -> list[int]:
        """The instants within an hour at which the price of such usage changes."""
        key = (meter_code, dimensions)
        if key not in self._cuts:
            self._cuts[key] = [at for at, _ in self.in_turn(meter_code, dimensions)[1:] if at % HOUR]
        return self._cuts[key]

    def at_start(self) -> list[Rate]:
        """What may be owed for the period itself: prices that its first usage can have, and charges without a meter."""
        found: list[Rate] = []
        for tried in self.tried.values():
            before: list[set[Any]] = []
            for rates in tried:
                rate = _in_force(rates, self.starts)
                wanted = set(rates[0].dimensions.items())
                if rate is not None and not any(earlier <= wanted for earlier in before):
                    found.append(rate)
                    before.append(wanted)
        for chain in self.chains:
            known: set[str] = set()
            for card in chain:
                models = {rate.model for rate in card if not rate.meter_code} - known
                for model in sorted(models):
                    dated = [rate for rate in card if not rate.meter_code and rate.model == model]
                    rate = _in_force(sorted(dated, key=lambda one: one.effective_from), self.starts)
                    if rate is not None:
                        found.append(rate)
                        known.add(model)
        return found


def _in_force(dated: Sequence[Rate], at: int) -> Rate | None:
    place = bisect_right([rate.effective_from for rate in dated], at)
    return dated[place - 1] if place else None


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What usage is of, for allowances to know what they cover. What is owed without usage comes first of its hour."""

    meter_code: str
    dimensions: Mapping[str, str | None]
    is_usage: bool
    order: tuple[tuple[str, bool, str], ...] = ()


@dataclass(slots=True, eq=False)
class Count:
    """What one cell of a rate counts together over the period."""

    rate: Rate
    cell: Cell
    is_from_start: bool
    used: dict[tuple[int, Subject], Fraction] = field(default_factory=dict)
    events: list[tuple[Counted, int, Subject]] = field(default_factory=list)
    waived: Fraction = ZERO
    amount: Fraction = ZERO

    def amount_of(self, quantity: Fraction) -> Fraction:
        return max(self.cell.charge.amount(quantity) - self.waived, ZERO)


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """What an hour's usage of one price comes to. `units` are (count, before, number, paid, due), or None."""

    at: int
    rate_id: int
    subject: Subject
    quantity: Fraction
    amount: Fraction
    units: tuple[Count, Fraction, Fraction, Fraction, Fraction] | None = None

    def price_of_first(self, units: Fraction) -> Fraction:
        """What the first of its units cost."""
        assert self.units is not None
        count, before, number, paid, due = self.units
        if not units:
            return ZERO
        so_far = due if units >= number else count.amount_of(before + units)
        return max(min(so_far, due), paid) - paid


class Pricing:
    """One period's windows priced. `windows` are (instant, meter, dimensions, quantity, number of events)."""

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self.found: list[Priced] = []
        self.counts: dict[tuple[int, int], Count] = {}
        self.turns: dict[tuple[str, Any], list[tuple[int, Count | None]]] = {}
        self.subjects: dict[tuple[str, Any], Subject] = {}
        at_start = rates.at_start()
        self.from_start = {rate.rate_id for rate in at_start}
        for rate in at_start:
            for cell in rate.cells:
                self._count(rate, cell)

    def run(
        self,
        windows: Iterable[tuple[int, str, Dimensions, Fraction]],
        events: Mapping[str, Sequence[Counted]],
        *,
        is_over: bool,
    ) -> list[Priced]:
        """The price of every window and of what is owed without usage, in the order in which it is paid for."""
        for at, meter_code, dimensions, quantity in windows:
            self._use(at, meter_code, dimensions, quantity)
        for meter_code, counted in events.items():
            self._take_events(meter_code, counted)
        self._waive()
        for count in self.counts.values():
            self._price(count)
        if is_over:
            self._lacking()
        return sorted(self.found, key=lambda one: (one.at, one.rate_id, one.subject.order))

    def _count(self, rate: Rate, cell: Cell) -> Count:
        key = (rate.rate_id, id(cell))
        if key not in self.counts:
            self.counts[key] = Count(rate, cell, rate.rate_id in self.from_start)
        return self.counts[key]

    def _turns(self, meter_code: str, dimensions: Dimensions) -> tuple[Subject, list[tuple[int, Count | None]]]:
        key = (meter_code, in_order(dimensions))
        if key not in self.turns:
            named = dict(dimensions)
            self.subjects[key] = Subject(meter_code, named, is_usage=True, order=key[1])
            self.turns[key] = []
            for at, rate in self.rates.in_turn(meter_code, dimensions):
                cell = None if rate is None else rate.cell(named)
                self.turns[key].append((at, None if rate is None or cell is None else self._count(rate, cell)))
        return self.subjects[key], self.turns[key]

    def _use(self, at: int, meter_code: str, dimensions: Dimensions, quantity: Fraction) -> None:
        at = max(at, self.rates.starts)
        subject, turns = self._turns(meter_code, dimensions)
        count = turns[bisect_right([start for start, _ in turns], at) - 1][1]
        if count is None:
            if quantity:
                raise Unreadable(f"{meter_code} of {shown(at)} has a quantity and no price")
        elif quantity or count.cell.charge.is_by_event:
            count.used[at, subject] = count.used.get((at, subject), ZERO) + quantity

    def _take_events(self, meter_code: str, counted: Sequence[Counted]) -> None:
        starts: dict[tuple[Count, Subject], list[int]] = {}
        for used in self.counts.values():
            for at, subject in sorted(used.used, key=lambda one: one[0]):
                starts.setdefault((used, subject), []).append(at)
        for one in sorted(counted, key=lambda one: (one.at, one.source.encode(), one.event_id.encode())):
            subject, turns = self._turns(meter_code, one.dimensions)
            count = turns[bisect_right([start for start, _ in turns], one.at) - 1][1]
            if count is not None and count.cell.charge.is_by_event:
                begun = starts.get((count, subject), [])
                place = bisect_right(begun, one.at)
                if not place:
                    raise Unreadable(f"event {one.event_id} of {one.source} is in no window of {meter_code}")
                count.events.append((one, begun[place - 1], subject))

    def _waive(self) -> None:
        """A price that took another's place within the period brings no second flat amount."""
        for turns in self.turns.values():
            before: list[Count] = []
            for _, count in turns if len(turns) > 1 else ():
                if count is not None:
                    if any(one.cell.charge.flat and (one.is_from_start or one.used) for one in before):
                        count.waived = count.cell.charge.flat
                    before.append(count)

    def _price(self, count: Count) -> None:
        used = sorted(count.used.items(), key=lambda one: (one[0][0], one[0][1].order))
        if count.cell.charge.is_by_event:
            prices = count.cell.charge.each(one.quantity for one, _, _ in count.events)
            amounts = dict.fromkeys(count.used, ZERO)
            for (_, at, subject), price in zip(count.events, prices, strict=True):
                amounts[at, subject] += price
            self.found += [
                Priced(at, count.rate.rate_id, subject, quantity, amounts[at, subject])
                for (at, subject), quantity in used
            ]
            count.amount = sum(prices, ZERO)
        elif count.cell.charge.is_by_window:
            for (at, subject), quantity in used:
                due = count.cell.charge.amount(quantity)
                units = (count, ZERO, quantity, ZERO, due)
                self.found.append(Priced(at, count.rate.rate_id, subject, quantity, due, units))
                count.amount += due
        else:
            self._price_together(count, used)

    def _price_together(self, count: Count, used: Sequence[tuple[tuple[int, Subject], Fraction]]) -> None:
        """An hour pays what is the least that any later state still asks for, less what was paid before."""
        totals = list(accumulate(quantity for _, quantity in used))
        dues = list(accumulate((count.amount_of(total) for total in reversed(totals)), min))[::-1]
        paid = count.amount_of(ZERO) if count.is_from_start else ZERO
        paid = min([paid, *dues[:1]])
        if paid:
            self.found.append(Priced(self.rates.starts, count.rate.rate_id, self._owed(count), ZERO, paid))
        for ((at, subject), quantity), total, due in zip(used, totals, dues, strict=True):
            units = (count, total - quantity, quantity, paid, due)
            self.found.append(Priced(at, count.rate.rate_id, subject, quantity, due - paid, units))
            paid = due
        count.amount = paid

    def _owed(self, count: Count) -> Subject:
        return Subject(count.rate.meter_code, count.cell.dimensions, is_usage=bool(count.rate.meter_code))

    def _lacking(self) -> None:
        """What minimums still lack at the last instant: each price's own first, then commitments of the period."""
        counts = [count for count in self.counts.values() if count.is_from_start]
        total = sum((one.amount for one in self.found), ZERO)
        for count in sorted(counts, key=lambda one: (one.rate.model == "minimum_commitment", one.rate.rate_id)):
            is_commitment = count.rate.model == "minimum_commitment"
            came_to = total if is_commitment else count.amount
            lacking = max(count.cell.charge.minimum - came_to, ZERO)
            if lacking and not is_commitment:
                lacking = max(lacking - self._came_after(count), ZERO)
            if lacking:
                total += lacking
                last = self.rates.ends - 1
                self.found.append(Priced(last, count.rate.rate_id, self._owed(count), ZERO, lacking))

    def _came_after(self, count: Count) -> Fraction:
        """What the prices came to that took this one's place, for some of its usage or all."""
        turns = {key: [one for _, one in found if one is not None] for key, found in self.turns.items()}
        after = {id(one) for counts in turns.values() if counts and counts[0] is count for one in counts[1:]}
        places = {
            (one.rate.rate_id, id(self.subjects[key]))
            for key, counts in turns.items()
            for one in counts
            if id(one) in after
        }
        return sum((one.amount for one in self.found if (one.rate_id, id(one.subject)) in places), ZERO)
