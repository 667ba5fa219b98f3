"""
Whose a period's usage was: what every (piece of time, holder) weighs in what each price came to (decision 0026).

Two ways to weigh, chosen by the period's terms. *By quantity*: a pool that is everybody's is paid from in proportion.
*As allocated*, where an allowance is each member's own: the accrual's own allocation says whose each hour was, and
nobody's pool pays for somebody else. Either way an hour within which a member changes their group, or that a boundary
cuts, is told apart by its events.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from itertools import groupby

from billing.catalog.queries import RateTable
from billing.rating.explanation.recomputed import Recomputed, amounts_of
from billing.rating.explanation.shared import SharedPeriod
from billing.rating.explanation.shares import parted
from billing.rating.rating import EXACT, ZERO
from billing.rating.totals import Amounts
from billing.subscriptions.periods import floor_hour
from billing.teams.sharing import Cell, share_out_over_time
from billing.teams.timelines import NOT_TOLD, UNKNOWN, Timeline
from metering.queries import HeldUsage, WeighedEvent, Window

_HOUR = timedelta(hours=1)
COLUMNS = ("quantity", "included", "credited", "unbilled")
Weights = dict[int, dict[Cell, list[Decimal]]]
"""By rate and cell, one weight for each of COLUMNS."""
ReadEvents = Callable[[Sequence[datetime], Sequence[datetime]], Sequence[WeighedEvent]]
"""The events of some hours, parted at some instants."""


@dataclass(frozen=True, slots=True)
class Question:
    """`instants` begin and end with the period and part it into pieces; `dimension` names the member."""

    instants: tuple[datetime, ...]
    dimension: str
    timeline: Timeline

    @property
    def pieces(self) -> int:
        return len(self.instants) - 1

    def cell(self, dimensions: Mapping[str, str | None], at: datetime) -> Cell:
        """Where usage of an instant belongs."""
        return self.piece(at), self.holder(dimensions, at)

    def piece(self, at: datetime) -> int:
        return min(max(bisect_right(self.instants, at) - 1, 0), self.pieces - 1)

    def holder(self, dimensions: Mapping[str, str | None], at: datetime) -> int:
        if self.dimension not in dimensions:
            return NOT_TOLD
        return self.timeline.holder(dimensions[self.dimension], at)

    def is_cut(self, dimensions: Mapping[str, str | None], hour: datetime, also: Iterable[datetime] = ()) -> bool:
        """Whether usage of these dimensions within the hour belongs to several cells."""
        start = max(hour, self.instants[0])
        end = min(hour + _HOUR, self.instants[-1])
        if any(start < at < end for at in (*self.instants, *also)):
            return True
        return self.timeline.changes(dimensions.get(self.dimension), start, end)


def weights_by_quantity(
    question: Question, rates: RateTable, held: Iterable[HeldUsage], parts: Sequence[datetime]
) -> Weights:
    """What whole hours weigh; `held` counts its pieces by `parts`, which are finer than the question's."""
    weights = _no_weights()
    for one in held:
        at = parts[one.piece]
        rate = rates.lookup(one.meter_code, one.dimensions, at)
        if rate is not None:
            holder = NOT_TOLD if not one.is_told else UNKNOWN if one.holder is None else one.holder
            _add(weights, rate.pk, (question.piece(at), holder), one.quantity)
    return weights


def add_cut_hours(
    weights: Weights,
    question: Question,
    rates: RateTable,
    windows: Iterable[Window],
    events: Iterable[WeighedEvent],
    price_changes: Sequence[datetime],
) -> None:
    """What the hours weigh that something cuts: each event its part of its window's quantity, at its own instant."""
    of_window = {key: list(found) for key, found in groupby(events, key=_window_of)}
    for window in windows:
        at = max(window.window_start, question.instants[0])
        found = of_window.get((window.window_start, window.meter_code, window.meter_version, str(window.dimensions)))
        if not found or not question.is_cut(window.dimensions, window.window_start, price_changes):
            _add_at(weights, question, rates, window, at, window.quantity)
            continue
        for event, part in zip(found, parted(window.quantity, [one.weight for one in found]), strict=True):
            _add_at(weights, question, rates, window, event.event_time, part)


def weights_as_allocated(
    question: Question, recomputed: Recomputed, caps: frozenset[int], events_of: ReadEvents
) -> Weights:
    """What the accrual's own allocation weighs, hour by hour; of hours that something cuts, event by event."""
    weights = _no_weights()
    cut: set[tuple[datetime, str | None]] = set()
    with localcontext(EXACT):
        for one in recomputed.allocated:
            hour, value = floor_hour(one.at), one.dimensions.get(question.dimension)
            if one.quantity and question.is_cut(one.dimensions, hour):
                cut.add((hour, value))
                continue
            amounts = amounts_of(one)
            _add_amounts(weights, one.rate_id, question.cell(one.dimensions, one.at), amounts)
    if cut:
        _add_shared(weights, question, SharedPeriod(recomputed, caps=caps), recomputed, cut, events_of)
    return weights


def attributed(question: Question, weights: Weights, posted: Mapping[int, Amounts]) -> dict[Cell, dict[int, Amounts]]:
    """
    Share out what each price came to: by cell and rate. All cells add up to `posted`, column by column, exactly.

    A column that nothing weighs for (an amount whose usage came after it was counted) is shared by quantity.
    """
    found: dict[Cell, dict[int, dict[str, Decimal]]] = defaultdict(lambda: defaultdict(dict))
    for rate_id, amounts in posted.items():
        of_rate = weights.get(rate_id, {})
        quantities = {cell: of_cell[0] for cell, of_cell in of_rate.items()}
        for place, column in enumerate(COLUMNS):
            amount = getattr(amounts, column)
            by_cell = {cell: of_cell[place] for cell, of_cell in of_rate.items()}
            if not any(by_cell.values()):
                by_cell = quantities
            if amount:
                shared = share_out_over_time(amount, by_cell, pieces=question.pieces, otherwise=NOT_TOLD)
                for cell, part in shared.items():
                    found[cell][rate_id][column] = part
    return {cell: {rate_id: _whole(columns) for rate_id, columns in of_cell.items()} for cell, of_cell in found.items()}


def added_up(amounts: Iterable[Amounts]) -> Amounts:
    """The sum, exact."""
    quantity = rated = included = credited = unbilled = ZERO
    # Of every member and price: a sum of Amounts at a time would take longer than sharing them out.
    with localcontext(EXACT):
        for one in amounts:
            quantity += one.quantity
            rated += one.rated
            included += one.included
            credited += one.credited
            unbilled += one.unbilled
    return Amounts(quantity=quantity, rated=rated, included=included, credited=credited, unbilled=unbilled)


def _whole(columns: Mapping[str, Decimal]) -> Amounts:
    with localcontext(EXACT):
        rated = sum((columns.get(name, ZERO) for name in COLUMNS[1:]), ZERO)
    return Amounts(rated=rated, **columns)


def _no_weights() -> Weights:
    return defaultdict(lambda: defaultdict(lambda: [ZERO] * len(COLUMNS)))


def _add(weights: Weights, rate_id: int, cell: Cell, quantity: Decimal) -> None:
    """A quantity weighs in every column alike."""
    of_cell = weights[rate_id][cell]
    of_cell[:] = [EXACT.add(of_cell[0], quantity)] * len(COLUMNS)


def _add_at(
    weights: Weights, question: Question, rates: RateTable, window: Window, at: datetime, quantity: Decimal
) -> None:
    rate = rates.lookup(window.meter_code, window.dimensions, at)
    if rate is not None:
        _add(weights, rate.pk, question.cell(window.dimensions, at), quantity)


def _add_amounts(weights: Weights, rate_id: int, cell: Cell, amounts: Amounts) -> None:
    of_cell = weights[rate_id][cell]
    of_cell[0] += amounts.quantity
    of_cell[1] += amounts.included
    of_cell[2] += amounts.credited
    of_cell[3] += amounts.unbilled


def _add_shared(
    weights: Weights,
    question: Question,
    shared: SharedPeriod,
    recomputed: Recomputed,
    cut: set[tuple[datetime, str | None]],
    events_of: ReadEvents,
) -> None:
    hours = sorted({hour for hour, _ in cut})
    codes = {one.meter_code for one in recomputed.allocated if one.quantity}
    by_cuts: dict[tuple[datetime, ...], set[str]] = defaultdict(set)
    for code in codes:
        by_cuts[tuple(at for at in shared.cuts(code) if floor_hour(at) in hours)].add(code)
    for cuts, of_codes in sorted(by_cuts.items(), key=lambda item: item[0]):
        events = [event for event in events_of(hours, cuts) if event.meter_code in of_codes]
        for one in shared.share_out(events):
            named = (floor_hour(one.event.event_time), one.event.dimensions.get(question.dimension))
            if one.rate is None or named not in cut or one.entry is None:
                continue
            paid = dict.fromkeys(("allowance", "grant", "unbilled"), ZERO)
            for part in one.share.paid:
                paid[part.kind] = EXACT.add(paid[part.kind], part.amount)
            amounts = Amounts(
                quantity=one.share.quantity,
                included=paid["allowance"],
                credited=paid["grant"],
                unbilled=paid["unbilled"],
            )
            cell = question.cell(one.event.dimensions, one.event.event_time)
            with localcontext(EXACT):
                _add_amounts(weights, one.rate.pk, cell, amounts)


def _window_of(event: WeighedEvent) -> tuple[datetime, str, int, str]:
    return floor_hour(event.event_time), event.meter_code, event.meter_version, str(event.dimensions)
