"""What a backtest's page shows: revenue before and after, who pays how much more, and what could not be compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.urls import reverse

from billing.admin_links import list_url, page_url
from billing.catalog.fingerprint import terms_fingerprint
from billing.charts import Chart, ChartRow, money_axis
from billing.customers.models import Customer
from billing.figures import Figure
from billing.rollouts.backtests import text
from billing.rollouts.comparing.cohorts import read_cohort
from billing.rollouts.models.backtests import Backtest
from config.bar_charts import COMPACT, bars

May = Callable[[str], bool]
REQUEST = "billing.request_backtest"
NAMED_SHOWN = 10


@dataclass(frozen=True, slots=True)
class NamedCustomer:
    """A customer among those whose payment changes most."""

    name: str
    key: str
    url: str
    before: str
    after: str
    change: str
    percent: str


@dataclass(frozen=True, slots=True)
class FailureKind:
    name: str
    count: str
    examples: Sequence[Mapping[str, str]]


def sections(backtest: Backtest, *, may: May) -> dict[str, Any]:
    """Everything the page shows. Links the reader may not follow are left out."""
    is_open = backtest.state in (Backtest.State.WAITING, Backtest.State.RUNNING)
    shown = {
        "backtest": backtest,
        "what": text.of_what(backtest),
        "person": backtest.requested_by.removeprefix("user:"),
        "cohort": str(read_cohort(backtest.cohort)),
        "left_out": text.left_out(backtest),
        "is_open": is_open,
        "may_stop": is_open and may(REQUEST),
        "has_changed": terms_fingerprint(backtest.candidate) != backtest.fingerprint,
        "stop_url": reverse("admin:billing_backtest_stop", args=[backtest.pk]),
    }
    if is_open:
        return {**shown, **_progress(backtest)}
    if not backtest.report:
        return shown
    report = backtest.report
    return {
        **shown,
        "report": report,
        "figures": _figures(report),
        "charts": [_distribution(report), _months(report)],
        "rows": _totals(report),
        "named": _named(report, may),
        "versions": _versions(report),
        "failures": _failures(report),
        "not_as_posted": report["not_as_posted"],
        "files": _files(backtest),
    }


def _progress(backtest: Backtest) -> dict[str, Any]:
    parts = backtest.parts.all()
    total, done = parts.count(), parts.exclude(done_at=None).count()
    return {"parts": total, "parts_done": done, "percent_done": done * 100 // total if total else 100}


def _figures(report: Mapping[str, Any]) -> list[Figure]:
    currency, before, after = (
        report["currency"],
        report["totals"]["current"]["pays"],
        report["totals"]["candidate"]["pays"],
    )
    change = Decimal(after) - Decimal(before)
    above, failed = report["above"], sum(row["lines"] for row in report["failures"])
    tone = "" if not change else "good" if change > 0 else "bad"
    return [
        Figure("Revenue before", text.money(before, currency), note=text.whole_number(report["customers"], "customer")),
        Figure("Revenue after", text.money(after, currency), note=text.whole_number(report["lines"], "period")),
        Figure("Change", text.signed(f"{change:f}", currency), tone=tone, note=text.change_percent(before, after)),
        Figure(
            f"Pay over {above['percent']} % more",
            f"{above['customers']:,}",
            tone="bad" if above["customers"] else "",
            note=f"together {text.signed(above['change'], currency)}",
        ),
        Figure(
            "Not compared",
            f"{failed:,}",
            tone="waiting" if failed else "",
            note="periods, named below" if failed else "every period could be",
        ),
    ]


def _distribution(report: Mapping[str, Any]) -> Chart:
    """How many customers pay how much less or more; three series, so that the sides differ also without colour."""
    rows = report["distribution"]
    series: dict[str, list[Decimal]] = {}
    for name in ("would pay less", "the same", "would pay more"):
        series[name] = [Decimal(row["customers"]) if _side(row) == name else Decimal(0) for row in rows]
    labels = [row["label"] for row in rows]
    drawn = bars(labels, series, axis_format=COMPACT, stacked=True)
    return Chart(
        title="Customers by what they would pay",
        data=drawn.data,
        options=drawn.options,
        headers=("Customers", f"Change in {report['currency']}"),
        rows=tuple(
            ChartRow(date.min, (Decimal(row["customers"]), text.rounded(Decimal(row["change"]))), "", row["label"])
            for row in rows
        ),
        unit="Change",
    )


def _side(row: Mapping[str, Any]) -> str:
    if row["label"] == "the same":
        return "the same"
    return "would pay less" if row["label"].endswith("less") else "would pay more"


def _months(report: Mapping[str, Any]) -> Chart:
    rows = report["months"]
    values = {
        name: [text.rounded(Decimal(row[side])) for row in rows]
        for name, side in (("before", "current"), ("after", "candidate"))
    }
    drawn = bars([row["month"] for row in rows], values, axis_format=money_axis(report["currency"]), stacked=False)
    return Chart(
        title="Revenue by the month in which periods ended",
        data=drawn.data,
        options=drawn.options,
        headers=("Before", "After"),
        rows=tuple(
            ChartRow(date.min, tuple(points[place] for points in values.values()), "", row["month"])
            for place, row in enumerate(rows)
        ),
        unit="Month",
    )


def _totals(report: Mapping[str, Any]) -> list[tuple[str, str, str, str, bool]]:
    """Name, before, after, change in percent, whether it is the sum."""
    before, after, currency = report["totals"]["current"], report["totals"]["candidate"], report["currency"]
    return [
        (
            text.NAMES[name],
            text.money(before[name], currency),
            text.money(after[name], currency),
            text.change_percent(before[name], after[name]),
            name == "pays",
        )
        for name in text.ROWS
    ]


def _named(report: Mapping[str, Any], may: May) -> list[tuple[str, list[NamedCustomer]]]:
    both = [*report["more"], *report["less"]]
    known = Customer.objects.filter(customer_key__in=[row["customer_key"] for row in both])
    customers = {customer.customer_key: customer for customer in known}
    found = []
    for title, rows in (("Would pay most more", report["more"]), ("Would pay most less", report["less"])):
        named = []
        for row in rows[:NAMED_SHOWN]:
            customer = customers.get(row["customer_key"])
            is_linked = customer is not None and may("billing.view_customer")
            named.append(
                NamedCustomer(
                    name=customer.name if customer else row["customer_key"],
                    key=row["customer_key"],
                    url=page_url("billing.customer", customer.pk) if customer and is_linked else "",
                    before=text.money(row["current"], report["currency"]),
                    after=text.money(row["candidate"], report["currency"]),
                    change=text.signed(row["change"], report["currency"]),
                    percent=text.change_percent(row["current"], row["candidate"]),
                )
            )
        found.append((title, named))
    return found


def _versions(report: Mapping[str, Any]) -> list[tuple[str, str, str, str, str, str]]:
    """Name, page, customers, before, after, change in percent."""
    currency = report["currency"]
    return [
        (
            row["name"],
            page_url("billing.planversion", row["id"]),
            f"{row['customers']:,}",
            text.money(row["current"], currency),
            text.money(row["candidate"], currency),
            text.change_percent(row["current"], row["candidate"]),
        )
        for row in report["versions"]
    ]


def _failures(report: Mapping[str, Any]) -> list[FailureKind]:
    return [
        FailureKind(
            row["name"],
            f"{text.whole_number(row['lines'], 'period')} of {text.whole_number(row['customers'], 'customer')}",
            [
                {
                    "customer": example["customer_key"],
                    "from": example["starts_at"][:10],
                    "text": example["text"],
                    "url": page_url("billing.billingperiod", example["period_id"])
                    if example["period_id"]
                    else list_url("billing.customer", q=example["customer_key"]),
                }
                for example in row["examples"]
            ],
        )
        for row in report["failures"]
    ]


def _files(backtest: Backtest) -> list[tuple[str, str]]:
    return [
        (f"{name} ({suffix.upper()})", reverse("admin:billing_backtest_file", args=[backtest.pk, rows, suffix]))
        for rows, name in (("customers", "Customers"), ("periods", "Periods"))
        for suffix in ("csv", "xlsx")
    ]
