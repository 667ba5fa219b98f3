"""
Shadow rating: a candidate version on the usage that customers have right now, beside what they pay.

Nothing is posted, invoiced or told to Stripe. What changed is looked for and written down first (`_take_up`), and then
worked out a few periods at a time, so that a run may be cut off anywhere, be short, or meet another run: what is not
done stays due.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Case, Count, Exists, F, OuterRef, Q, QuerySet, Sum, When

from billing.catalog.fingerprint import terms_fingerprint
from billing.catalog.models import PlanVersion
from billing.rollouts.comparing.cohorts import Cohort, InvalidCohort, Staying, in_share, read_cohort, require_known
from billing.rollouts.comparing.comparison import Comparison, Figures, compare_period
from billing.rollouts.comparing.failures import Failure
from billing.rollouts.comparing.many_periods import compare_many
from billing.rollouts.comparing.sides import Sides
from billing.rollouts.models.shadow import COLUMNS, ShadowPeriod, ShadowPoint, ShadowRating
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import ENDED_STATUSES
from metering import queries as metering_queries

logger = logging.getLogger(__name__)

START, END, VIEW = (f"billing.{verb}_shadowrating" for verb in ("start", "end", "view"))
SIMULATE = "billing.simulate_planversion"
# Short enough to hold up nobody who waits for these rows, or for events that were recorded meanwhile to be counted.
BATCH = 100
PERIODS_A_RUN_MAX = 2_000
# That often every period is taken up again: a grant that is issued or ended changes no window.
COMPLETE_PASS_EVERY = timedelta(hours=1)
TOLERANCE_MAX = 1_000
_TEXT_MAX = 500
_ZERO = Decimal(0)


class ShadowError(Exception):
    """A shadow rating cannot be started or ended as asked; nothing was changed."""


class ShadowRefused(ShadowError):
    """The terms cannot be shadowed, or another shadow of them is under way; `field` names what to mend."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class ShadowEnded(ShadowError):
    """The shadow has ended already."""


class ShadowNotFound(ShadowError):
    """No shadow rating has this id."""


def start_shadow(
    *,
    candidate_id: int,
    cohort: Cohort | None = None,
    tolerance_percent: int = 5,
    reason: str,
    actor: str,
    now: datetime,
) -> ShadowRating:
    """
    Begin to rate a version on live usage: of a cohort, or of everybody who pays in its currency.

    Any version will do that could be sold: a draft, an approved or a published one. Raises ShadowRefused.
    """
    candidate = PlanVersion.objects.select_related("plan").filter(pk=candidate_id).first()
    if candidate is None:
        raise ShadowRefused("candidate", f"There is no plan version {candidate_id}. Choose one of the list.")
    if candidate.status == PlanVersion.Status.RETIRED:
        raise ShadowRefused("candidate", f"{candidate} is retired and sold to nobody. Choose another version.")
    if candidate.plan.is_add_on:
        raise ShadowRefused("candidate", f"{candidate} is an add-on. Choose a version of a plan.")
    cohort = cohort or Cohort()
    try:
        require_known(cohort)
    except InvalidCohort as error:
        raise ShadowRefused("cohort", str(error)) from error
    if not 0 <= tolerance_percent <= TOLERANCE_MAX:
        raise ShadowRefused("tolerance_percent", f"Give whole percent from 0 to {TOLERANCE_MAX}.")
    if not reason.strip():
        raise ShadowRefused("reason", "Say what is to be learned.")
    with transaction.atomic():
        # The version's row stands in for the shadow that does not exist yet: two callers take turns.
        PlanVersion.objects.select_for_update(of=("self",), no_key=True).get(pk=candidate.pk)
        live = ShadowRating.objects.filter(candidate=candidate, ended_at=None).first()
        if live is not None:
            raise ShadowRefused("candidate", f"{live} of {candidate} is under way. End it, or read it.")
        return ShadowRating.objects.create(
            candidate=candidate,
            terms_fingerprint=terms_fingerprint(candidate),
            cohort=cohort.as_json(),
            tolerance_percent=tolerance_percent,
            reason=reason.strip()[:_TEXT_MAX],
            started_at=now,
            started_by=actor,
        )


def end_shadow(*, shadow_id: int, because: str, actor: str, now: datetime) -> ShadowRating:
    """End a shadow; its figures stay. Raises ShadowRefused without a reason, ShadowEnded and ShadowNotFound."""
    if not because.strip():
        raise ShadowRefused("because", "Say why it ends, or what was learned.")
    with transaction.atomic():
        shadow = _held(shadow_id)
        if shadow.ended_at is not None:
            raise ShadowEnded(f"{shadow} was ended by {shadow.ended_by} at {shadow.ended_at:%F %T}.")
        shadow.ended_at, shadow.ended_by, shadow.ended_because = now, actor, because.strip()[:_TEXT_MAX]
        shadow.save(update_fields=["ended_at", "ended_by", "ended_because"])
        return shadow


def rate_shadows(*, now: datetime, periods_max: int = PERIODS_A_RUN_MAX) -> int:
    """Bring every shadow that has not ended up to date, as far as `periods_max` goes; return the periods worked out."""
    done = 0
    live = ShadowRating.objects.filter(ended_at=None, outdated_at=None)
    for shadow_id in list(live.order_by("pk").values_list("pk", flat=True)):
        try:
            done += rate_shadow(shadow_id=shadow_id, now=now, periods_max=periods_max - done)
        except Exception:
            # What it did before stays; the next run tries again, and the shadows after it do not wait.
            logger.exception("shadow rating %s could not be brought up to date", shadow_id)
    return done


def rate_shadow(*, shadow_id: int, now: datetime, periods_max: int = PERIODS_A_RUN_MAX) -> int:
    """
    Look for what changed and work out at most `periods_max` periods; return how many were worked out.

    Does nothing for a shadow that has ended, or whose candidate has other terms by now. Raises ShadowNotFound.
    """
    shadow = _take_up(shadow_id, now=now)
    if shadow is None:
        return 0
    candidate = PlanVersion.objects.select_related("plan", "rate_card").get(pk=shadow.candidate_id)
    done = 0
    while done < periods_max:
        worked_out = _work_out(shadow, candidate, at_most=min(BATCH, periods_max - done), now=now)
        done += worked_out
        if not worked_out:
            break
    if done:
        _record_point(shadow, now=now)
    return done


def in_scope(shadow: ShadowRating) -> QuerySet[BillingPeriod]:
    """The periods a shadow is about, whatever their state and before a share is taken of them."""
    cohort = read_cohort(shadow.cohort)
    asked = {
        "plan_version__plan__code__in": cohort.plans,
        "subscription__customer__kind__in": cohort.kinds,
        "subscription__customer__customer_key__in": cohort.customer_keys,
    }
    found = BillingPeriod.objects.filter(
        subscription__customer__currency=shadow.candidate.currency,
        **{lookup: list(values) for lookup, values in asked.items() if values},
    )
    # Who would keep their terms whatever is sold is no part of what a new price would change.
    staying = {
        Staying.PINNED: Q(subscription__pinned_at__isnull=False),
        Staying.CONTRACTS: Q(subscription__plan_version__only_for__isnull=False),
        Staying.ENDED: Q(subscription__status__in=ENDED_STATUSES),
    }
    for word, condition in staying.items():
        if word.value not in cohort.also:
            found = found.exclude(condition)
    return found


def _held(shadow_id: int) -> ShadowRating:
    held = ShadowRating.objects.select_for_update(of=("self",), no_key=True)
    shadow = held.select_related("candidate__plan").filter(pk=shadow_id).first()
    if shadow is None:
        raise ShadowNotFound(f"There is no shadow rating {shadow_id}.")
    return shadow


def _take_up(shadow_id: int, *, now: datetime) -> ShadowRating | None:
    """
    Write down which periods are due; return the shadow, or None where there is nothing more to work out in it.

    The cursor is read before any window is, so a change meanwhile is found again next time, and none is left out.
    """
    with transaction.atomic():
        shadow = _held(shadow_id)
        if shadow.ended_at is not None or shadow.outdated_at is not None:
            return None
        if terms_fingerprint(shadow.candidate) != shadow.terms_fingerprint:
            shadow.outdated_at = now
            shadow.save(update_fields=["outdated_at"])
            return None
        is_complete = shadow.complete_at is None or now - shadow.complete_at >= COMPLETE_PASS_EVERY
        changed, cursor = metering_queries.customers_with_changes_since(shadow.change_cursor)
        rows = ShadowPeriod.objects.filter(shadow=shadow)
        begun = in_scope(shadow).filter(state=BillingPeriod.State.OPEN, starts_at__lte=now)
        unknown = begun.filter(~Exists(rows.filter(period=OuterRef("pk")))).order_by("pk")
        found = unknown.values_list("pk", "subscription__customer__customer_key")
        share = read_cohort(shadow.cohort).share_percent
        ShadowPeriod.objects.bulk_create(
            (ShadowPeriod(shadow=shadow, period_id=period_id) for period_id, key in found if in_share(key, share)),
            batch_size=1_000,
        )
        stale = rows.filter(is_final=False, is_due=False)
        if not is_complete:
            moved = Q(period__subscription__customer__customer_key__in=changed)
            stale = stale.filter(moved | Q(period__state=BillingPeriod.State.CLOSED))
        # Through the ids: an UPDATE that joins would hold the rows of the other tables up as well.
        ShadowPeriod.objects.filter(pk__in=stale.order_by().values("pk")).update(is_due=True)
        shadow.change_cursor, shadow.looked_at = cursor, now
        shadow.complete_at = now if is_complete else shadow.complete_at
        shadow.save(update_fields=["change_cursor", "looked_at", "complete_at"])
        return shadow


def _work_out(shadow: ShadowRating, candidate: PlanVersion, *, at_most: int, now: datetime) -> int:
    """
    Compare some periods that are due; return how many. Another run takes others meanwhile.

    The shadow's row is held before theirs, as the trigger does and as whoever ends the shadow does.
    """
    with transaction.atomic():
        if not _is_live(shadow.pk):
            return 0
        due = ShadowPeriod.objects.select_for_update(of=("self",), skip_locked=True, no_key=True)
        related = ("period__subscription__customer", "period__plan_version__plan", "period__plan_version__rate_card")
        due = due.filter(shadow=shadow, is_due=True, is_final=False).select_related(*related).order_by("pk")
        rows = list(due.prefetch_related("period__allowances", "period__add_ons__plan_version__plan")[:at_most])
        if not rows:
            return 0
        found = _compared(rows, candidate)
        for row in rows:
            _set(row, found[row.period_id], now=now)
        ShadowPeriod.objects.bulk_update(
            rows, [*COLUMNS, "failure", "failure_kind", "is_due", "is_final", "computed_at"]
        )
        return len(rows)


def _is_live(shadow_id: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT ended_at IS NULL FROM billing_shadowrating WHERE id = %s FOR SHARE", [shadow_id])
        row = cursor.fetchone()
        return bool(row and row[0])


def _compared(rows: Sequence[ShadowPeriod], candidate: PlanVersion) -> dict[int, Comparison]:
    """
    The comparison of each period, by the period's id.

    Those that are compared together are of different customers, so that each is what it is alone, whoever is beside it.
    """
    groups: dict[tuple[bool, int], list[BillingPeriod]] = {}
    seen: Counter[int] = Counter()
    for row in rows:
        customer_id, is_over = row.period.subscription.customer_id, row.period.state == BillingPeriod.State.CLOSED
        groups.setdefault((is_over, seen[customer_id]), []).append(row.period)
        seen[customer_id] += 1
    found: dict[int, Comparison] = {}
    for (is_over, _), periods in groups.items():
        try:
            with transaction.atomic():
                many = compare_many(periods, candidate, is_over=is_over)
                found |= {one.period.pk: one.comparison for one in many}
        except Exception:
            logger.exception("%s periods could not be compared together", len(periods))
            sides = Sides()
            found |= {period.pk: _compared_alone(period, candidate, sides) for period in periods}
    return found


def _compared_alone(period: BillingPeriod, candidate: PlanVersion, sides: Sides) -> Comparison:
    """The comparison; one that nobody foresaw how to refuse is a failure too, and holds no other period up."""
    try:
        with transaction.atomic():
            return compare_period(period, candidate, sides=sides)
    except Exception as bug:
        logger.exception("period %s was not rated under plan version %s", period.pk, candidate.pk)
        customer = period.subscription.customer
        return Comparison(
            customer_key=customer.customer_key,
            period_id=period.pk,
            starts_at=period.starts_at,
            ends_at=period.ends_at,
            currency=customer.currency,
            current=None,
            candidate=None,
            failure=f"an error of ours, told in the log: {type(bug).__name__}",
            failure_kind=Failure.OTHER.value,
        )


def _set(row: ShadowPeriod, comparison: Comparison, *, now: datetime) -> None:
    candidate = None if comparison.failure else comparison.candidate
    for side, figures in (("current", comparison.current), ("candidate", candidate)):
        for one in fields(Figures):
            setattr(row, f"{side}_{one.name}", None if figures is None else getattr(figures, one.name))
    row.failure, row.failure_kind = comparison.failure[:_TEXT_MAX], comparison.failure_kind
    row.is_due, row.is_final = False, row.period.state == BillingPeriod.State.CLOSED
    row.computed_at = now


def _record_point(shadow: ShadowRating, *, now: datetime) -> None:
    with transaction.atomic():
        if _is_live(shadow.pk):
            ShadowPoint.objects.create(shadow=shadow, recorded_at=now, **totals(shadow))


def totals(shadow: ShadowRating) -> dict[str, Any]:
    """What the periods of a shadow come to now, by the names of ShadowPoint; one query."""
    current = F("current_fee") + F("current_unbilled")
    # In whole numbers on both sides: change / current > tolerance / 100, also where nothing is paid now.
    is_beyond = Q(change__gt=0, over__gt=0)
    compared = Q(change__isnull=False)
    found = (
        ShadowPeriod.objects.filter(shadow=shadow)
        .annotate(over=F("change") * 100 - current * shadow.tolerance_percent)
        .aggregate(
            compared=Count("pk", filter=compared),
            failed=Count("pk", filter=~Q(failure="")),
            due=Count("pk", filter=Q(is_due=True)),
            worse=Count("pk", filter=Q(change__gt=0)),
            better=Count("pk", filter=Q(change__lt=0)),
            beyond=Count("pk", filter=is_beyond),
            current_total=Sum(Case(When(compared, then=current))),
            candidate_total=Sum(Case(When(compared, then=F("candidate_fee") + F("candidate_unbilled")))),
        )
    )
    return {name: _ZERO if value is None else value for name, value in found.items()}
