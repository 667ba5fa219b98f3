"""What the page of a shadow rating shows: totals over time, who would pay more and less, and what failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from django.db.models import Count, F, Max, Q, QuerySet
from django.utils.html import format_html

from billing.admin_links import list_url
from billing.charts import money_axis
from billing.figures import Figure
from billing.line_charts import FigureChart, bar_chart, line_chart
from billing.money_text import exact_text
from billing.rollouts.comparing.cohorts import read_cohort
from billing.rollouts.comparing.failures import Failure
from billing.rollouts.models.shadow import ShadowPeriod, ShadowPoint, ShadowRating
from billing.rollouts.shadow.operations import totals
from billing.rollouts.simulator.page import percent_text, signed_text, simulator_url, tone_of
from billing.templatetags.billing_pages import exact_figure
from config.bar_charts import COMPACT

SHOWN, POINTS_DRAWN = 10, 120
# Edges of the groups by percent of what is paid now; the change itself decides between less, the same and more.
_EDGES = (-50, -20, -5, 0, 5, 20, 50)
RUNNING, OUTDATED, ENDED = "Running", "Outdated", "Ended"


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One period in a list of who would pay more or less."""

    name: str
    url: str
    period: str
    now: str
    instead: str
    change: str
    percent: str
    tone: str


@dataclass(frozen=True, slots=True)
class FailureRow:
    """What cannot be compared, by kind, with an example."""

    label: str
    count: int
    example: str
    url: str


def state_of(shadow: ShadowRating) -> str:
    if shadow.ended_at is not None:
        return ENDED
    return RUNNING if shadow.outdated_at is None else OUTDATED


def cohort_text(shadow: ShadowRating) -> str:
    """Whose periods it is about, in words."""
    return str(read_cohort(shadow.cohort))


def sections(shadow: ShadowRating) -> dict[str, Any]:
    """Everything that the template shows; a fixed number of queries however many periods there are."""
    currency = shadow.candidate.currency
    rows = ShadowPeriod.objects.filter(shadow=shadow).select_related("period__subscription__customer")
    found = totals(shadow)
    return {
        "shadow": shadow,
        "state": state_of(shadow),
        "cohort": cohort_text(shadow),
        "figures": _figures(shadow, found, currency),
        "charts": [*_over_time(shadow, currency), _distribution(shadow)],
        "lists": [
            ("Who would pay most more", [_row(shadow, row, currency) for row in _most(rows, more=True)]),
            ("Who would pay most less", [_row(shadow, row, currency) for row in _most(rows, more=False)]),
        ],
        "failures": _failures(shadow),
        "all_url": list_url("billing.shadowperiod", shadow__id__exact=shadow.pk),
    }


def _figures(shadow: ShadowRating, found: dict[str, Any], currency: str) -> list[Figure]:
    current, candidate = found["current_total"], found["candidate_total"]
    change = candidate - current
    waiting = f", {found['due']:,} wait to be worked out" if found["due"] else ""
    of_shadow = {"shadow__id__exact": shadow.pk}
    return [
        Figure("Paid now", exact_figure(current, currency), f"fees and usage of {found['compared']:,} periods so far"),
        Figure("Under the candidate", exact_figure(candidate, currency), "of the same periods"),
        Figure("Change", _signed_figure(change, currency) if change else "none", percent_text(change, current)),
        Figure(
            "Would pay more",
            f"{found['worse']:,}",
            f"{found['beyond']:,} by more than {shadow.tolerance_percent} %; {found['better']:,} would pay less",
            url=list_url("billing.shadowperiod", **of_shadow, outcome="more"),
            tone="bad" if found["beyond"] else "",
        ),
        Figure(
            "Cannot be compared",
            f"{found['failed']:,}",
            f"of {found['compared'] + found['failed']:,} periods{waiting}",
            url=list_url("billing.shadowperiod", **of_shadow, outcome="failed"),
            tone="waiting" if found["failed"] else "",
        ),
    ]


def _signed_figure(change: Decimal, currency: str) -> str:
    sign = "+" if change > 0 else ""
    return format_html("{}{}", sign, exact_figure(change, currency))


def _most(rows: QuerySet[ShadowPeriod], *, more: bool) -> QuerySet[ShadowPeriod]:
    if more:
        return rows.filter(change__gt=0).order_by("-change", "pk")[:SHOWN]
    return rows.filter(change__lt=0).order_by("change", "pk")[:SHOWN]


def _row(shadow: ShadowRating, row: ShadowPeriod, currency: str) -> ChangeRow:
    customer = row.period.subscription.customer
    now, instead = pays_of(row, "current"), pays_of(row, "candidate")
    change = instead - now
    return ChangeRow(
        name=customer.name,
        url=period_url(shadow, row),
        period=str(row.period),
        now=exact_text(now, currency),
        instead=exact_text(instead, currency),
        change=signed_text(change, currency),
        percent=percent_text(change, now) or "nothing is paid now",
        tone=tone_of(change),
    )


def pays_of(row: ShadowPeriod, side: str) -> Decimal:
    """What one side of a compared period asks for, in currency units."""
    fee, unbilled = getattr(row, f"{side}_fee"), getattr(row, f"{side}_unbilled")
    total: Decimal = fee + unbilled
    return total


def period_url(shadow: ShadowRating, row: ShadowPeriod) -> str:
    """The simulator, with this period under the candidate."""
    key = row.period.subscription.customer.customer_key
    return simulator_url(key, period=row.period_id, right=shadow.candidate_id)


def _failures(shadow: ShadowRating) -> list[FailureRow]:
    rows = ShadowPeriod.objects.filter(shadow=shadow).exclude(failure="")
    kinds = rows.values("failure_kind").order_by("failure_kind").annotate(count=Count("pk"), example=Max("failure"))
    labels = dict(Failure.choices)
    return [
        FailureRow(
            label=labels.get(kind["failure_kind"], kind["failure_kind"]),
            count=kind["count"],
            example=kind["example"],
            url=list_url("billing.shadowperiod", shadow__id__exact=shadow.pk, failure_kind=kind["failure_kind"]),
        )
        for kind in sorted(kinds, key=lambda kind: -kind["count"])
    ]


def _over_time(shadow: ShadowRating, currency: str) -> list[FigureChart]:
    """The totals, how they differ, and for how many; one query."""
    points = drawn_points(list(shadow.points.order_by("pk")))
    labels = [f"{point.recorded_at:%d %b %H:%M}" for point in points]
    drawn: list[tuple[str, Mapping[str, Any], Mapping[str, list[Decimal | None]]]] = [
        (
            "Change in all, of the periods compared by then",
            money_axis(currency),
            {"candidate less now": [point.candidate_total - point.current_total for point in points]},
        ),
        (
            "Asked for in all",
            money_axis(currency),
            {
                "now": [point.current_total for point in points],
                "under the candidate": [point.candidate_total for point in points],
            },
        ),
        (
            "Periods",
            COMPACT,
            {
                "would pay less": [Decimal(point.better) for point in points],
                "would pay more": [Decimal(point.worse) for point in points],
                f"more than {shadow.tolerance_percent} % more": [Decimal(point.beyond) for point in points],
                "cannot be compared": [Decimal(point.failed) for point in points],
            },
        ),
    ]
    return [
        line_chart(title=title, labels=labels, series=series, axis_format=axis, unit="Time")
        for title, axis, series in drawn
    ]


def drawn_points(points: Sequence[ShadowPoint]) -> list[ShadowPoint]:
    """At most POINTS_DRAWN of them, evenly taken, the first and the last among them."""
    last = len(points) - 1
    if last < POINTS_DRAWN:
        return list(points)
    return [points[last * place // (POINTS_DRAWN - 1)] for place in range(POINTS_DRAWN)]


def _distribution(shadow: ShadowRating) -> FigureChart:
    """How many periods would pay how much more or less, in percent of what is paid now; one query."""
    current = F("current_fee") + F("current_unbilled")
    # p<n> is above zero where the change is more than n % of what is paid now: compared in whole numbers.
    above = [Q(**{f"p{place}__gt": 0}) for place in range(len(_EDGES))]
    groups: list[tuple[str, Q]] = [(f"below −{-_EDGES[0]} %", Q(change__lt=0) & ~above[0])]
    for place, (low, high) in enumerate(pairwise(_EDGES)):
        sign, near, far = ("−", -high, -low) if low < 0 else ("+", low, high)
        name = f"{sign if near else ''}{near} to {sign}{far} %"
        side = Q(change__lt=0) if high <= 0 else Q(change__gt=0)
        groups.append((name, side & above[place] & ~above[place + 1]))
    groups.append((f"above +{_EDGES[-1]} %", Q(change__gt=0) & above[-1]))
    groups.insert(len(groups) // 2, ("the same", Q(change=0)))
    rows = ShadowPeriod.objects.filter(shadow=shadow).annotate(
        **{f"p{place}": F("change") * 100 - current * edge for place, edge in enumerate(_EDGES)}
    )
    counts = rows.aggregate(**{f"n{place}": Count("pk", filter=group) for place, (_, group) in enumerate(groups)})
    return bar_chart(
        title="Periods by how much more or less they would pay",
        labels=[name for name, _ in groups],
        series={"periods": [Decimal(counts[f"n{place}"]) for place in range(len(groups))]},
        axis_format=COMPACT,
        unit="Change",
    )
