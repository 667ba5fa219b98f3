"""Runs the checks and keeps what they found."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from billing.reconciliation.checks import CHECKS
from billing.reconciliation.comparison import Agreed, Pair, Scope, SetAside, shown
from billing.reconciliation.models import Discrepancy, ReconciliationRun

# A run that finds more than this in one check keeps the first ones and counts the rest.
KEPT_PER_CHECK = 200
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

    def figures(self) -> dict[str, int]:
        """What is kept of it; what was set aside is named only where there is some."""
        figures = {"checked": self.pairs, "discrepancies": self.discrepancies}
        return {**figures, "archived": self.set_aside} if self.set_aside else figures


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
    if range_start.tzinfo is None or range_end.tzinfo is None or range_start >= range_end:
        message = "Reconciliation needs a start before its end, both with a time zone."
        raise ImpossibleRange(message)
    run = ReconciliationRun.objects.create(
        range_start=range_start, range_end=range_end, started_at=now, actor=actor, checks={}
    )
    scope = Scope(range_start, range_end)
    results: dict[str, _CheckResult] = {}
    for done, code in enumerate(CHECKS):
        if progress is not None:
            progress(code, done, len(CHECKS))
        results[code] = _run_check(run, code, scope)
    return _finish(run, results, finished_at=now if clock is None else clock())


def _run_check(run: ReconciliationRun, code: str, scope: Scope) -> _CheckResult:
    result = _CheckResult()
    found: list[Discrepancy] = []
    for finding in CHECKS[code](scope):
        if isinstance(finding, Agreed):
            result.pairs += finding.pairs
            continue
        if isinstance(finding, SetAside):
            result.set_aside += finding.pairs
            continue
        result.pairs += 1
        if not finding.agrees:
            result.discrepancies += 1
            if len(found) < KEPT_PER_CHECK:
                found.append(_discrepancy(run, code, finding, scope))
    Discrepancy.objects.bulk_create(found)
    return result


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


@transaction.atomic
def _finish(run: ReconciliationRun, results: dict[str, _CheckResult], *, finished_at: datetime) -> ReconciliationRun:
    run.checked = sum(result.pairs for result in results.values())
    run.discrepancy_count = sum(result.discrepancies for result in results.values())
    run.checks = {code: result.figures() for code, result in results.items()}
    run.finished_at = finished_at
    run.save(update_fields=["checked", "discrepancy_count", "checks", "finished_at"])
    return run
