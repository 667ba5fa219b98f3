"""What the page of a rollout shows: how far it is, what the guards saw and allow, who moved, and what happened."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Count, Exists, OuterRef

from billing.accounting.manual_entry_page import Step, person
from billing.admin_links import list_url
from billing.charts import Chart, ChartRow
from billing.money_text import exact_text
from billing.rollouts import operations as rollouts
from billing.rollouts.guards import percent_text, plain
from billing.rollouts.models.rollouts import (
    Rollout,
    RolloutCheck,
    RolloutEvent,
    RolloutLimits,
    RolloutMove,
    RolloutStage,
)
from config.bar_charts import bars

CHECKS_DRAWN_MAX = 40
MOVES_SHOWN_MAX = 20
EVENTS_SHOWN_MAX = 100
May = Callable[[str], bool]
_HUNDREDTH = Decimal("0.01")
_TONES = {"halted": "bad", "rolled_back": "bad", "completed": "good", "stage_begun": "good", "resumed": "waiting"}
_PERCENT_AXIS = {"minimumFractionDigits": 0, "maximumFractionDigits": 2}
# What may be done in which state: the verb, its button, the permission, and whether it is the one to think of first.
ACTIONS: Mapping[str, tuple[tuple[str, str, str, str], ...]] = {
    "planned": (("start", "Start", rollouts.PLAN, "bb-primary"), ("roll_back", "Call off", rollouts.STEER, "")),
    "running": (("halt", "Halt", rollouts.STEER, ""), ("roll_back", "Roll back", rollouts.STEER, "bb-danger")),
    "halted": (
        ("resume", "Resume", rollouts.STEER, "bb-primary"),
        ("roll_back", "Roll back", rollouts.STEER, "bb-danger"),
    ),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the head of the page."""

    name: str
    value: str
    note: str = ""
    tone: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage: what is planned, since when it is on, and how far its customers are, in words."""

    stage: RolloutStage
    began: RolloutEvent | None
    is_current: bool
    moves: str


@dataclass(frozen=True, slots=True)
class GuardRow:
    """One guard: what the last check found, and what is allowed."""

    name: str
    found: str
    allowed: str
    is_broken: bool


def sections(rollout: Rollout, *, may: May) -> dict[str, Any]:
    """Everything the page shows; what the reader may not do is left out."""
    events = list(rollout.events.select_related("check_seen").order_by("-id")[:EVENTS_SHOWN_MAX])
    checks = list(rollout.checks.select_related("limits").order_by("-id")[:CHECKS_DRAWN_MAX])
    latest = checks[0] if checks else None
    limits = rollout.limits.latest("id")
    counts = _move_counts(rollout)
    last_halt = next((event for event in events if event.kind == RolloutEvent.Kind.HALTED), None)
    return {
        "rollout": rollout,
        "figures": list(_figures(rollout, latest, counts)),
        "stages": _stages(rollout, counts),
        "guards": _guards(latest, limits, rollout.currency),
        "latest": latest,
        "limits": limits,
        "chart": _chart(checks[::-1]),
        "failures": latest.failures if latest is not None else [],
        "renewing_all_the_same": _renewing_all_the_same(rollout),
        "halted_because": last_halt if rollout.state == Rollout.State.HALTED else None,
        "steps": [_step(event) for event in events],
        "moves": list(
            rollout.moves.select_related("subscription__customer", "to_version__plan").order_by("-id")[:MOVES_SHOWN_MAX]
        ),
        "moves_total": sum(counts.values()),
        "moves_url": list_url("billing.rolloutmove", rollout__id__exact=rollout.pk),
        "actions": [
            (verb, label, tone) for verb, label, permission, tone in ACTIONS.get(rollout.state, ()) if may(permission)
        ],
    }


def _renewing_all_the_same(rollout: Rollout) -> int:
    """Of a halted rollout: customers whose new price is at Stripe, or may be, and will be renewed with it."""
    if rollout.state != Rollout.State.HALTED:
        return 0
    going_back = RolloutMove.objects.filter(
        subscription=OuterRef("subscription"), direction=RolloutMove.Direction.BACK, state__in=RolloutMove.LIVE
    )
    told = rollout.moves.filter(
        direction=RolloutMove.Direction.FORWARD, state__in=(RolloutMove.State.TELLING, RolloutMove.State.TOLD)
    )
    return told.exclude(Exists(going_back)).count()


def _move_counts(rollout: Rollout) -> dict[tuple[int, str, str], int]:
    """By stage, direction and state."""
    rows = rollout.moves.values_list("stage", "direction", "state").annotate(number=Count("id")).order_by()
    return {(stage, direction, state): number for stage, direction, state, number in rows}


def _figures(
    rollout: Rollout, latest: RolloutCheck | None, counts: Mapping[tuple[int, str, str], int]
) -> Iterator[Figure]:
    stages = rollout.stages.count()
    yield Figure("Stage", f"{rollout.stage} of {stages}" if rollout.stage else f"none of {stages}")
    forward = dict.fromkeys(RolloutMove.State.values, 0)
    back = 0
    for (_, direction, state), number in counts.items():
        if direction == RolloutMove.Direction.FORWARD:
            forward[state] += number
        else:
            back += number
    on_the_way = sum(forward[state] for state in RolloutMove.LIVE)
    url = list_url("billing.rolloutmove", rollout__id__exact=rollout.pk)
    yield Figure("Moved", str(forward["done"]), f"{on_the_way} on the way", url=url)
    if back:
        yield Figure("Going back", str(back), "with their next period", "waiting", url)
    if latest is None:
        return
    compared = Decimal(latest.compared)
    change = latest.candidate_total - latest.current_total
    yield Figure("Compared", str(latest.compared), f"of {latest.reached} whom the stage reaches")
    yield Figure("Worse off", percent_text(Decimal(latest.worse_off), compared), f"{latest.worse_off} customers")
    yield Figure(
        "Total change",
        percent_text(change, latest.current_total, signed=True),
        " → ".join(exact_text(total, rollout.currency) for total in (latest.current_total, latest.candidate_total)),
    )
    tone = "bad" if latest.failed else ""
    yield Figure("Errors", str(latest.failed), f"of {latest.examined} customers", tone)


def _stages(rollout: Rollout, counts: Mapping[tuple[int, str, str], int]) -> list[StageRow]:
    begun = {event.stage: event for event in rollout.events.filter(kind=RolloutEvent.Kind.STAGE_BEGUN)}
    rows = []
    for stage in rollout.stages.all():
        of_stage = {
            state: number
            for (number_of, direction, state), number in counts.items()
            if (number_of, direction) == (stage.position, RolloutMove.Direction.FORWARD)
        }
        words = [f"{of_stage[state]} {state}" for state in RolloutMove.State.values if state in of_stage]
        is_current = stage.position == rollout.stage and rollout.state in rollouts.LIVE
        rows.append(StageRow(stage, begun.get(stage.position), is_current, ", ".join(words)))
    return rows


def _guards(check: RolloutCheck | None, limits: RolloutLimits, currency: str) -> list[GuardRow]:
    """Each guard; without a check yet, what it will allow."""
    broken = {text.partition(":")[0] for text in check.breaches} if check is not None else set()
    found: dict[str, str] = {}
    if check is not None:
        limits = check.limits
        change = check.candidate_total - check.current_total
        found = {
            "worse off": percent_text(Decimal(check.worse_off), Decimal(check.compared)),
            "total": percent_text(change, check.current_total, signed=True),
            "errors": percent_text(Decimal(check.failed), Decimal(check.examined)),
            "not enough data": f"{check.compared} customers",
        }
    rows = (
        (
            "worse off",
            f"Pays more by over {plain(limits.worse_off_percent)} %",
            f"≤ {plain(limits.worse_off_share_max)} %",
        ),
        ("total", "All together", f"{plain(limits.total_change_min)} % to +{plain(limits.total_change_max)} %"),
        ("errors", "Errors", f"≤ {plain(limits.error_share_max)} %"),
        ("not enough data", "Compared", f"≥ {limits.customers_min} customers"),
    )
    return [GuardRow(name, found.get(key, "–"), allowed, key in broken) for key, name, allowed in rows]


def _chart(checks: Sequence[RolloutCheck]) -> Chart:
    """What the guards saw, check by check: per cent of the customers, and of the total."""
    names = ("Worse off, % of customers", "Total change, %", "Errors, % of customers")
    points = [
        (
            _percent(Decimal(check.worse_off), Decimal(check.compared)),
            _percent(check.candidate_total - check.current_total, check.current_total),
            _percent(Decimal(check.failed), Decimal(check.examined)),
        )
        for check in checks
    ]
    labels = [f"{check.checked_at:%d %b %H:%M}" for check in checks]
    series = {name: [point[place] for point in points] for place, name in enumerate(names)}
    drawn = bars(labels, series, axis_format=_PERCENT_AXIS, stacked=False)
    return Chart(
        title="What the guards saw over time",
        data=drawn.data,
        options=drawn.options,
        headers=names,
        rows=tuple(
            ChartRow(check.checked_at.date(), point, "", label)
            for check, point, label in zip(checks, points, labels, strict=True)
        ),
        unit="Check",
    )


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    return (part * 100 / whole).quantize(_HUNDREDTH) if whole else Decimal(0)


def _step(event: RolloutEvent) -> Step:
    is_stage = event.kind == RolloutEvent.Kind.STAGE_BEGUN
    what = f"Stage {event.stage} begun" if is_stage else event.get_kind_display()
    who = "the guards" if event.actor == rollouts.GUARDS else person(event.actor)
    return Step(event.at, what, who, event.reason, _TONES.get(event.kind, "plain"))
