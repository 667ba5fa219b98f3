"""Runs the checks and keeps what they found, slice by slice."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from billing.reconciliation import slices
from billing.reconciliation.comparison import Agreed, Pair, Scope, SetAside, shown
from billing.reconciliation.models import Discrepancy, ReconciliationRun
from billing.reconciliation.slices import CODES, Place
from billing.stripe.errors import StripeUnavailable

# A run that finds more than this in one check keeps the first ones and counts the rest.
KEPT_PER_CHECK = 200
# A slice that was stopped so often would stop every run after it: it is named as not compared, and passed over.
TRIES_MAX = 3
SUBJECT_LENGTH, NAME_LENGTH, VALUE_LENGTH, EXPLANATION_LENGTH = 300, 100, 200, 500

# Called with the check about to run, how many are done and how many there are.
Progress = Callable[[str, int, int], None]
Clock = Callable[[], datetime]


class ImpossibleRange(ValueError):
    """The range is empty, or its ends carry no time zone."""


@dataclass(slots=True)
class _CheckResult:
    pairs: int = 0
    discrepancies: int = 0
    set_aside: int = 0

    def added_to(self, earlier: Mapping[str, int]) -> dict[str, int]:
        """What is kept of a check with this slice; what was set aside is named only where there is some."""
        figures = {
            "checked": earlier.get("checked", 0) + self.pairs,
            "discrepancies": earlier.get("discrepancies", 0) + self.discrepancies,
        }
        archived = earlier.get("archived", 0) + self.set_aside
        return {**figures, "archived": archived} if archived else figures


def reconcile(
    *,
    range_start: datetime,
    range_end: datetime,
    now: datetime,
    actor: str,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> ReconciliationRun:
    """
    Compare events = windows = rated = ledger = Stripe over [range_start, range_end) and keep every difference.

    Windows, events and Stripe's objects are those of the range; billing periods those that overlap it; accounts are
    compared as they stand. `clock`, if given, says when the run ended; else `now` stands for that too. Must not run
    inside a transaction, because it asks Stripe. Raises ImpossibleRange, and StripeUnavailable when Stripe cannot be
    asked: the run then stays without a finish.
    """
    run = begin(range_start=range_start, range_end=range_end, now=now, actor=actor)
    while run.finished_at is None:
        place = slices.place_of(run)
        if progress is not None:
            progress(place.code, place.checks_done, len(CODES))
        go_on(run, clock=clock or (lambda: now))
    return run


def begin(*, range_start: datetime, range_end: datetime, now: datetime, actor: str) -> ReconciliationRun:
    """A run of which nothing is done yet. Raises ImpossibleRange."""
    if range_start.tzinfo is None or range_end.tzinfo is None or range_start >= range_end:
        message = "Reconciliation needs a start before its end, both with a time zone."
        raise ImpossibleRange(message)
    return ReconciliationRun.objects.create(
        range_start=range_start, range_end=range_end, started_at=now, actor=actor, checks={}
    )


def go_on(run: ReconciliationRun, *, clock: Clock, by_day: bool = False) -> None:
    """
    Do the next slice of a run, `by_day` where it is one of time; with the last one the run is finished.

    Not inside a transaction. Raises StripeUnavailable; the slice is then done by the next call.
    """
    place = slices.place_of(run).begun()
    _keep(run, place)
    scope, rest = slices.slice_at(run, place, by_day=by_day)
    if place.tries > TRIES_MAX:
        result, found = _not_compared(run, place, scope)
    else:
        try:
            result, found = _run_slice(run, place, scope)
        except StripeUnavailable:
            _keep(run, replace(place, tries=place.tries - 1))
            raise
    following = place.after(rest, scope.unheard)
    figures = result.added_to(run.checks.get(place.code, {}))
    with transaction.atomic():
        Discrepancy.objects.bulk_create(found)
        run.checked += result.pairs
        run.discrepancy_count += result.discrepancies
        run.finished_at = clock() if following is None else None
        others = {code: of_check for code, of_check in run.checks.items() if code != slices.UNDER_WAY}
        run.checks = {**others, place.code: figures, **slices.kept(following)}
        run.save(update_fields=["checked", "discrepancy_count", "checks", "finished_at"])


def _keep(run: ReconciliationRun, place: Place) -> None:
    run.checks = {**run.checks, **slices.kept(place)}
    run.save(update_fields=["checks"])


def _run_slice(run: ReconciliationRun, place: Place, scope: Scope) -> tuple[_CheckResult, list[Discrepancy]]:
    result = _CheckResult()
    found: list[Discrepancy] = []
    room = KEPT_PER_CHECK - run.checks.get(place.code, {}).get("discrepancies", 0)
    for finding in place.what.check(scope):
        if isinstance(finding, Agreed):
            result.pairs += finding.pairs
            continue
        if isinstance(finding, SetAside):
            result.set_aside += finding.pairs
            continue
        result.pairs += 1
        if not finding.agrees:
            result.discrepancies += 1
            if len(found) < room:
                found.append(_discrepancy(run, place.code, finding, scope))
    return result, found


def _not_compared(run: ReconciliationRun, place: Place, scope: Scope) -> tuple[_CheckResult, list[Discrepancy]]:
    pair = Pair(
        f"{place.code.replace('_', ' ')}, a part from {place.start or 'its start'} on",
        "compared", "no", "expected", "yes",
        f"{TRIES_MAX} runs were stopped at it: look why, then run manage.py reconcile, which has no time limit.",
    )  # fmt: skip
    return _CheckResult(pairs=1, discrepancies=1), [_discrepancy(run, place.code, pair, scope)]


def _discrepancy(run: ReconciliationRun, code: str, pair: Pair, scope: Scope) -> Discrepancy:
    explanation = pair.explanation
    if pair.stripe_id in scope.unheard:
        explanation = f"Follows from event {scope.unheard[pair.stripe_id]}, which was never projected. {explanation}"
    return Discrepancy(
        run=run,
        check_code=code,
        subject=pair.subject[:SUBJECT_LENGTH],
        customer_key=pair.customer_key[:64],
        left_name=pair.left_name[:NAME_LENGTH],
        left_value=shown(pair.left)[:VALUE_LENGTH],
        right_name=pair.right_name[:NAME_LENGTH],
        right_value=shown(pair.right)[:VALUE_LENGTH],
        explanation=explanation[:EXPLANATION_LENGTH],
    )
