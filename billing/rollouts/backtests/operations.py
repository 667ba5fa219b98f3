"""
Backtests: asking for one, working through it, and ending it.

A backtest is cut into parts of some subscriptions when it is asked for. Whoever works on it claims a part for a while,
compares outside of any transaction (one that lasts would hold metering back), and writes the part's lines and that it
is done at once. So it may be interrupted anywhere, be gone on with by anybody, and have many workers; a part that two
worked on is written once.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q

from billing.catalog.fingerprint import terms_fingerprint
from billing.catalog.models import PlanVersion
from billing.rollouts.backtests.report import make_report
from billing.rollouts.comparing import cohorts
from billing.rollouts.comparing.cohorts import Cohort
from billing.rollouts.comparing.comparison import Figures
from billing.rollouts.comparing.many_periods import Compared, compare_many
from billing.rollouts.comparing.sides import is_stored
from billing.rollouts.comparing.spans import months_between, months_of, periods_of
from billing.rollouts.models.backtests import Backtest, BacktestLine, BacktestPart
from billing.subscriptions.models import BillingPeriod

logger = logging.getLogger(__name__)

SUBSCRIPTIONS_A_PART = 100
# How long a claim holds: longer than a part takes. Who died is taken over from then on.
CLAIM_LASTS = timedelta(minutes=10)
FAILURE_LENGTH = 500
_THRESHOLD_MAX = 10_000
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_FIGURES = ("fee", "rated", "included", "credited", "unbilled")
Clock = Callable[[], datetime]


class BacktestRefused(ValueError):
    """A backtest cannot be made as asked; `field` names what to mend, the text says how."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class BacktestConflict(Exception):
    """The key stands for a backtest of something else."""


class BacktestEnded(Exception):
    """The backtest is done or was stopped."""


class BacktestNotFound(Exception):
    """There is no backtest with this id."""


def request_backtest(
    *,
    candidate_id: int,
    baseline_id: int | None = None,
    unit: str = Backtest.Unit.PERIODS,
    starts_at: datetime,
    ends_at: datetime,
    cohort: Cohort | None = None,
    threshold_percent: Decimal = Decimal(10),
    idempotency_key: str,
    actor: str,
    now: datetime,
) -> Backtest:
    """
    Ask for a backtest over the periods that ended in (starts_at, ends_at], or the calendar months in [starts_at,
    ends_at). It waits until somebody works on it.

    Said twice with the same key it returns the first. Raises BacktestRefused, and BacktestConflict for another request
    with the key.
    """
    asked = cohort or Cohort()
    candidate = _version(candidate_id, "candidate")
    baseline = None if baseline_id is None else _version(baseline_id, "baseline")
    _require_range(unit, starts_at, ends_at, now)
    _require_threshold(threshold_percent)
    terms: dict[str, Any] = {
        "candidate": candidate,
        "baseline": baseline,
        "unit": unit,
        "starts_at": starts_at,
        "ends_at": ends_at,
        "cohort": asked.as_json(),
        "threshold_percent": threshold_percent,
    }
    with transaction.atomic():
        # Two with the same key take turns, so that the second finds what the first made.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"backtest:{idempotency_key}"])
        known = Backtest.objects.filter(idempotency_key=idempotency_key).first()
        if known is not None:
            if any(getattr(known, name) != value for name, value in terms.items()):
                raise BacktestConflict(
                    f"{idempotency_key!r} stands for backtest {known.pk}, which asks for other things"
                )
            return known
        found = _members(asked, unit, starts_at, ends_at)
        backtest = Backtest.objects.create(
            **terms,
            fingerprint=terms_fingerprint(candidate),
            baseline_fingerprint=terms_fingerprint(baseline) if baseline else "",
            customers=len(found.subscription_ids),
            left_out=found.left_out,
            requested_by=actor,
            requested_at=now,
            idempotency_key=idempotency_key,
        )
        ids = found.subscription_ids
        BacktestPart.objects.bulk_create(
            BacktestPart(backtest=backtest, number=number, subscription_ids=ids[first : first + SUBSCRIPTIONS_A_PART])
            for number, first in enumerate(range(0, len(ids), SUBSCRIPTIONS_A_PART), start=1)
        )
    logger.info("%s asked for backtest %s of %s", actor, backtest.pk, candidate)
    return backtest


def run_backtest(
    *,
    backtest_id: int,
    clock: Clock,
    go_on: Callable[[], bool] = lambda: True,
    on_part: Callable[[], None] = lambda: None,
) -> Backtest:
    """
    Work on a backtest part by part, and finish it with the last one. Returns it as it is then: not done, if `go_on`
    said no between two parts or others are still at theirs. Raises BacktestNotFound.
    """
    backtest = _found(backtest_id)
    _begin(backtest_id, now=clock())
    while go_on():
        part = _claim(backtest_id, now=clock())
        if part is None:
            break
        try:
            _work_on(part, clock=clock)
        except BaseException:
            # Also of a second Ctrl-C: whoever goes on does not wait for the claim to run out.
            BacktestPart.objects.filter(pk=part.pk, done_at=None).update(claimed_until=None)
            raise
        on_part()
    finish_backtest(backtest_id=backtest_id, now=clock())
    backtest.refresh_from_db()
    return backtest


def finish_backtest(*, backtest_id: int, now: datetime) -> bool:
    """Write the report if all parts are done; return whether they were. Said twice it changes nothing."""
    if BacktestPart.objects.filter(backtest_id=backtest_id, done_at=None).exists():
        return False
    report = make_report(_found(backtest_id))
    with transaction.atomic():
        backtest = Backtest.objects.select_for_update().get(pk=backtest_id)
        if backtest.state == Backtest.State.RUNNING:
            backtest.state, backtest.ended_at, backtest.report = Backtest.State.DONE, now, report
            backtest.save(update_fields=["state", "ended_at", "report"])
    return True


def stop_backtest(*, backtest_id: int, because: str, actor: str, now: datetime) -> Backtest:
    """End a backtest for good, without a report. Raises BacktestNotFound, BacktestEnded, and BacktestRefused."""
    if not because.strip():
        raise BacktestRefused("because", "Say why it is stopped.")
    with transaction.atomic():
        backtest = Backtest.objects.select_for_update().filter(pk=backtest_id).first()
        if backtest is None:
            raise BacktestNotFound(f"there is no backtest {backtest_id}")
        if backtest.state in (Backtest.State.DONE, Backtest.State.STOPPED):
            raise BacktestEnded(f"backtest {backtest_id} is {backtest.state}")
        backtest.state, backtest.ended_at = Backtest.State.STOPPED, now
        backtest.stopped_because = f"{because.strip()} ({actor.removeprefix('user:')})"[:FAILURE_LENGTH]
        backtest.save(update_fields=["state", "ended_at", "stopped_because"])
    return backtest


def _version(version_id: int, field: str) -> PlanVersion:
    version = PlanVersion.objects.select_related("plan").filter(pk=version_id).first()
    if version is None:
        raise BacktestRefused(field, f"There is no plan version {version_id}.")
    if version.plan.is_add_on:
        raise BacktestRefused(field, f"{version} is an add-on; choose a version of a plan.")
    return version


def _require_range(unit: str, starts_at: datetime, ends_at: datetime, now: datetime) -> None:
    if unit not in Backtest.Unit.values:
        raise BacktestRefused("unit", f"{unit!r} is none of {', '.join(Backtest.Unit.values)}.")
    if starts_at.tzinfo is None or ends_at.tzinfo is None:
        raise BacktestRefused("starts_at", "Both ends need an offset from UTC, such as Z.")
    # Compared before anything is computed with it: a year's edge in another zone is no instant of UTC.
    if starts_at < _EARLIEST:
        raise BacktestRefused("starts_at", f"Give a start from {_EARLIEST:%Y} on; no usage is older.")
    if starts_at >= ends_at:
        raise BacktestRefused("ends_at", "The range ends before it begins; give a later end.")
    if ends_at > now:
        raise BacktestRefused(
            "ends_at", f"Usage is known until now; give an end of at most {now.astimezone(UTC):%F %T}."
        )
    if unit == Backtest.Unit.MONTHS and not (_begins_month(starts_at) and _begins_month(ends_at)):
        raise BacktestRefused("starts_at", "Calendar months begin on the first of a month, at midnight UTC.")


def _begins_month(at: datetime) -> bool:
    at = at.astimezone(UTC)
    return at == at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _require_threshold(threshold: Decimal) -> None:
    fits = threshold.is_finite() and 0 <= threshold <= _THRESHOLD_MAX
    if not fits or threshold != threshold.quantize(Decimal("0.01")):
        raise BacktestRefused(
            "threshold_percent", f"Give a percentage from 0 to {_THRESHOLD_MAX:,} with at most two places, such as 10."
        )


def _members(cohort: Cohort, unit: str, starts_at: datetime, ends_at: datetime) -> cohorts.Members:
    try:
        cohorts.require_known(cohort)
    except cohorts.InvalidCohort as error:
        raise BacktestRefused("cohort", str(error)) from error
    if unit == Backtest.Unit.MONTHS:
        return cohorts.members(cohort, among=Q(started_at__lt=ends_at))
    ended = BillingPeriod.objects.filter(subscription=OuterRef("pk"), ends_at__gt=starts_at, ends_at__lte=ends_at)
    return cohorts.members(cohort, among=Q(Exists(ended)))


def _found(backtest_id: int) -> Backtest:
    backtest = Backtest.objects.select_related("candidate__plan", "baseline__plan").filter(pk=backtest_id).first()
    if backtest is None:
        raise BacktestNotFound(f"there is no backtest {backtest_id}")
    return backtest


def _begin(backtest_id: int, *, now: datetime) -> None:
    waiting = Backtest.objects.filter(pk=backtest_id, state=Backtest.State.WAITING)
    waiting.update(state=Backtest.State.RUNNING, started_at=now)


def _claim(backtest_id: int, *, now: datetime) -> BacktestPart | None:
    """Take the next part that nobody is at, or None; none of a backtest that has ended."""
    with transaction.atomic():
        left = BacktestPart.objects.filter(
            backtest_id=backtest_id, backtest__state=Backtest.State.RUNNING, done_at=None
        )
        free = left.filter(Q(claimed_until=None) | Q(claimed_until__lte=now))
        part = free.select_for_update(skip_locked=True, of=("self",)).order_by("number").first()
        if part is not None:
            part.claimed_until = now + CLAIM_LASTS
            part.save(update_fields=["claimed_until"])
    return part


def _work_on(part: BacktestPart, *, clock: Clock) -> None:
    """Compare the part's subscriptions and write what came out, unless the terms changed since they were asked for."""
    backtest = _found(part.backtest_id)
    if _stopped_by_changed_terms(backtest, now=clock()):
        return
    lines = [_line(backtest, found) for found in _compared(backtest, part.subscription_ids)]
    if _stopped_by_changed_terms(backtest, now=clock()):
        return
    with transaction.atomic():
        running = Backtest.objects.select_for_update(of=("self",)).get(pk=backtest.pk)
        undone = BacktestPart.objects.select_for_update().filter(pk=part.pk, done_at=None).first()
        if undone is None or running.state != Backtest.State.RUNNING:
            return
        BacktestLine.objects.bulk_create(lines, batch_size=1000)
        undone.done_at = clock()
        undone.save(update_fields=["done_at"])


def _stopped_by_changed_terms(backtest: Backtest, *, now: datetime) -> bool:
    """Whether the terms are others than were asked for; the backtest is then stopped, with that as the reason."""
    for version, known in (
        (backtest.candidate, backtest.fingerprint),
        (backtest.baseline, backtest.baseline_fingerprint),
    ):
        if version is None or terms_fingerprint(PlanVersion.objects.select_related("plan").get(pk=version.pk)) == known:
            continue
        because = f"The terms of {version} were changed meanwhile; try the new ones"
        try:
            stop_backtest(backtest_id=backtest.pk, because=because, actor="service:backtest", now=now)
        except BacktestEnded:
            logger.info("backtest %s had ended when its terms were found to be changed", backtest.pk)
        return True
    return False


def _compared(backtest: Backtest, subscription_ids: list[int]) -> Iterator[Compared]:
    # A part may hold years of some subscriptions: month by month, so that memory is that of one.
    if backtest.unit == Backtest.Unit.PERIODS:
        periods: Iterable[list[BillingPeriod]] = [periods_of(subscription_ids, backtest.starts_at, backtest.ends_at)]
    else:
        spans = months_between(backtest.starts_at, backtest.ends_at)
        periods = (months_of(subscription_ids, start, end) for start, end in spans)
    for some in periods:
        yield from compare_many(some, backtest.candidate, baseline=backtest.baseline)


def _line(backtest: Backtest, found: Compared) -> BacktestLine:
    period, comparison = found.period, found.comparison
    return BacktestLine(
        backtest=backtest,
        subscription_id=period.subscription_id,
        customer_key=comparison.customer_key,
        period=period if is_stored(period) else None,
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        plan_version=backtest.baseline or period.plan_version,
        seats=period.seats,
        failure_kind=comparison.failure_kind,
        failure=comparison.failure[:FAILURE_LENGTH],
        is_as_posted=found.is_as_posted,
        **_columns("current", comparison.current),
        **_columns("candidate", comparison.candidate),
    )


def _columns(side: str, figures: Figures | None) -> dict[str, Decimal | None]:
    return {f"{side}_{name}": getattr(figures, name) if figures else None for name in _FIGURES}
