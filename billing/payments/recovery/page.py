"""What the pages of recovery show: the story of a case, what comes next, and how much was recovered over time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncWeek

from billing.charts import Axis, Chart, grouped_days, money_axis
from billing.invoicing.rounding import from_minor
from billing.money_text import minor_text
from billing.payments.recovery.messages import TEXTS
from billing.payments.recovery.models import Message, RecoveryCase, RecoveryStep, WriteOffRequest
from billing.payments.recovery.policy import OURS, agenda, steps_of, terms_of
from billing.payments.recovery.queries import StandingState, standing
from billing.payments.recovery.write_offs import DECIDE, waiting_of

May = Callable[[str], bool]
WEEKS_SHOWN = 16
WEEKS = Axis("Week", "%d %b")
_BAD = ("declined", "missed", "not_known")
_WAITING = ("skipped", "under_way", "not_needed")
_TONES = {"opened": "bad", "restricted": "bad", "written_off": "bad", "closed": "good", "write_off_proposed": "waiting"}
_STANDING_LABELS = {
    StandingState.GOOD: ("good", "Good standing"),
    StandingState.GRACE: ("waiting", "In grace"),
    StandingState.RESTRICTED: ("bad", "Restricted"),
}


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing in the story of a case. `tone` is the colour of its dot."""

    at: datetime
    what: str
    detail: str
    tone: str


def sections(case: RecoveryCase, *, may: May, actor: str, now: datetime) -> Mapping[str, Any]:
    """Everything the page of one case shows."""
    terms = terms_of(case.policy.terms)
    done = set(case.steps.values_list("kind", "number"))
    todo = agenda(steps_of(terms, failed_at=case.failed_at), done=done, now=now)
    found = standing(case.customer_id, now=now)
    is_open = case.state == RecoveryCase.State.OPEN
    waiting = waiting_of(case)
    return {
        "case": case,
        "terms": terms,
        "is_ours": terms.retries == OURS,
        "standing_badge": _STANDING_LABELS[found.state],
        "standing": found,
        "story": story(case),
        "ahead": _ahead(case, done=done) if is_open else [],
        "due_now": len(todo.due) if is_open else 0,
        "emails": [_named(message) for message in case.messages.order_by("-pk")],
        "write_offs": list(case.write_off_requests.select_related("decision")),
        "waiting_write_off": waiting,
        "may_write_off": may(DECIDE) and is_open and waiting is None and case.invoice.status == "open",
        "may_decide": waiting is not None and may(DECIDE) and waiting.requested_by != actor,
        "may_withdraw": waiting is not None and waiting.requested_by == actor,
    }


def _named(message: Message) -> Message:
    message.name = TEXTS.get(message.text, message.text)  # type: ignore[attr-defined]
    return message


def _ahead(case: RecoveryCase, *, done: set[tuple[str, int]]) -> list[tuple[datetime, str]]:
    steps = steps_of(terms_of(case.policy.terms), failed_at=case.failed_at)
    left = [step for step in steps if (step.kind, step.number) not in done]
    return [(step.at, _label(step.kind, step.number)) for step in left]


def _label(kind: str, number: int) -> str:
    label = RecoveryStep.Kind(kind).label
    return f"{label} ({number})" if number else label


def story(case: RecoveryCase) -> list[Happening]:
    """Steps and write-offs, oldest first."""
    found = [
        Happening(_at(step), _label(step.kind, step.number), _detail(step), _tone(step)) for step in case.steps.all()
    ]
    for asked in WriteOffRequest.objects.filter(case=case).select_related("decision"):
        amount = minor_text(asked.amount_minor, asked.currency)
        who = asked.requested_by.removeprefix("user:")
        found.append(
            Happening(asked.requested_at, f"Write-off of {amount} asked for by {who}", asked.reason, "waiting")
        )
        decision = getattr(asked, "decision", None)
        if decision is not None:
            label = f"{decision.get_outcome_display()}: {decision.decided_by.removeprefix('user:')}"
            tone = "bad" if decision.outcome in ("rejected", "withdrawn") else "good"
            found.append(Happening(decision.decided_at, label, decision.words, tone))
    return sorted(found, key=lambda one: one.at)


def _at(step: RecoveryStep) -> datetime:
    """The beginning is told when it happened; everything else when it was done."""
    return step.due_at if step.kind == RecoveryStep.Kind.OPENED else step.recorded_at


def _detail(step: RecoveryStep) -> str:
    result = "" if step.result == "done" else step.result.replace("_", " ")
    late = f"due {step.due_at:%d %b %H:%M} UTC" if _at(step) - step.due_at > timedelta(hours=1) else ""
    return " · ".join(part for part in (result, step.detail.replace("_", " "), late) if part)


def _tone(step: RecoveryStep) -> str:
    if step.result in _BAD:
        return "bad"
    if step.result == "paid":
        return "good"
    return _TONES.get(step.kind, "waiting" if step.result in _WAITING else "plain")


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: str
    note: str = ""
    url: str = ""
    tone: str = "plain"


def figures() -> list[Figure]:
    """Open and recovered, by currency; one query."""
    rows = RecoveryCase.objects.order_by("currency").values("currency")
    found = rows.annotate(
        open=Sum("invoice__amount_remaining_minor", filter=Q(state="open"), default=0),
        open_number=Count("pk", filter=Q(state="open")),
        recovered=Sum("amount_minor", filter=_RECOVERED, default=0),
        recovered_number=Count("pk", filter=_RECOVERED),
        lost=Sum("invoice__written_off_minor", filter=Q(state="written_off"), default=0),
        number=Count("pk"),
    )
    shown = []
    for row in found:
        currency = row["currency"]
        share = row["recovered_number"] * 100 // row["number"]
        shown += [
            Figure(
                "Being recovered", minor_text(row["open"], currency), f"{row['open_number']:,} open cases", "", "bad"
            ),
            Figure(
                "Recovered", minor_text(row["recovered"], currency), f"{share} % of {row['number']:,} cases", "", "good"
            ),
            Figure("Written off", minor_text(row["lost"], currency), "not paid so far"),
        ]
    return shown


_RECOVERED = Q(state="closed", outcome__in=("paid", "paid_elsewhere"))


def recovered_chart(*, now: datetime) -> Chart:
    """What could not be collected and what was recovered, week by week, in the currency with most cases."""
    most = RecoveryCase.objects.values("currency").annotate(number=Count("pk")).order_by("-number").first()
    currency = most["currency"] if most else "USD"
    this_week = now.astimezone(UTC).date() - timedelta(days=now.astimezone(UTC).weekday())
    weeks = [this_week - timedelta(weeks=back) for back in range(WEEKS_SHOWN - 1, -1, -1)]
    since = datetime.combine(weeks[0], datetime.min.time(), tzinfo=UTC)
    cases = RecoveryCase.objects.filter(currency=currency)
    series = {
        "not collected": _by_week(cases.filter(failed_at__gte=since), "failed_at", currency),
        "recovered": _by_week(cases.filter(_RECOVERED, closed_at__gte=since), "closed_at", currency),
    }
    return grouped_days(
        title=f"Not collected and recovered by week, {currency}",
        days=weeks,
        series=series,
        axis_format=money_axis(currency),
        axis=WEEKS,
    )


def _by_week(cases: Any, moment: str, currency: str) -> dict[date, Decimal]:
    rows = cases.order_by().annotate(week=TruncWeek(moment, tzinfo=UTC)).values("week")
    return {row["week"].date(): from_minor(row["total"], currency) for row in rows.annotate(total=Sum("amount_minor"))}
