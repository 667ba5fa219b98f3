"""
What a backtest's report says of the customers whom its candidate is for, and what it leaves open. Reads alone.

A report over nobody proves nothing; over a part, another plan or a time long past it proves less than it seems to, and
whoever decides is told so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet

from billing.catalog.models import PlanVersion
from billing.rollouts.backtests.text import left_out, whole_number
from billing.rollouts.comparing.cohorts import Cohort, read_cohort
from billing.rollouts.models.backtests import Backtest
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import ENDED_STATUSES

_NOT_YET = (Subscription.Status.PENDING, Subscription.Status.INCOMPLETE)
# Usage of a quarter ago may be that of other customers, and of other models.
OLD_AFTER = timedelta(days=92)


@dataclass(frozen=True, slots=True)
class Tested:
    """What was tested and on whom, as whoever decides reads it; `doubts` are sentences."""

    cohort: str
    left_out: list[str]
    on_plan: str
    failures: list[str]
    doubts: list[str]


def concerned(version: PlanVersion) -> QuerySet[Subscription]:
    """Whom the version is for: live on its plan, in its currency, and not kept on their terms whatever is sold."""
    live = Subscription.objects.exclude(status__in=(*ENDED_STATUSES, *_NOT_YET)).filter(
        plan_version__plan_id=version.plan_id, plan_version__currency=version.currency
    )
    if version.only_for_id is not None:
        return live.filter(customer_id=version.only_for_id)
    return live.filter(pinned_at=None, plan_version__only_for=None)


def why_no_proof(version: PlanVersion, backtest: Backtest) -> str:
    """Why nothing can be approved on the report, or nothing. In a plan that nobody has, one over nobody is right."""
    if backtest.report["lines"]:
        return ""
    many = concerned(version).count()
    if not many:
        return ""
    return (
        f"backtest {backtest.pk} compared nobody, while {whole_number(many, 'subscription')} of {version.plan} can be"
        " moved; run one over their usage"
    )


def tested(version: PlanVersion, backtest: Backtest, *, now: datetime | None) -> Tested | None:
    """
    What the report of a finished backtest rests on; None of one that has none.

    Without `now` it was decided, and there are no doubts: they would be of customers whom nobody could see then.
    """
    if not backtest.report:
        return None
    cohort, live = read_cohort(backtest.cohort), concerned(version).count()
    lines = backtest.lines.filter(failure_kind="", subscription__in=concerned(version))
    compared = lines.values("subscription").distinct().count()
    doubts = list(_doubts_of_whom(version, cohort, compared=compared, live=live))
    if live and not backtest.report["lines"]:
        doubts = ["Nobody was compared: nothing can be approved on this report."]
    failures = [
        f"{whole_number(row['lines'], 'period')} of {whole_number(row['customers'], 'customer')}: {row['name'].lower()}"
        for row in backtest.report["failures"]
    ]
    if failures:
        doubts.append(f"Some could not be compared, and are in no figure: {'; '.join(failures)}.")
    doubts = [*doubts, *_doubts_of_when(backtest, now=now)] if now is not None else []
    on_plan = f"{compared:,} of {whole_number(live, 'subscription')}" if live else "nobody can be moved"
    return Tested(str(cohort), left_out(backtest), on_plan, failures, doubts)


def _doubts_of_whom(version: PlanVersion, cohort: Cohort, *, compared: int, live: int) -> Iterator[str]:
    if cohort.plans and version.plan.code not in cohort.plans:
        yield f"It was run on customers of {' and '.join(cohort.plans)}, and not on those of {version.plan}."
    if compared * 2 < live:
        yield f"Only {compared:,} of the {whole_number(live, 'subscription')} of {version.plan} today were compared."
    if cohort.share_percent < 100:
        yield f"It was run on {cohort.share_percent.normalize():f} % of the customers."


def _doubts_of_when(backtest: Backtest, *, now: datetime) -> Iterator[str]:
    if now - backtest.ends_at > OLD_AFTER:
        yield f"The usage is old: it ends {(now - backtest.ends_at).days:,} days ago."
