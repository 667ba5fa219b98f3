"""A backtest's report as plain text, and its figures as people read them. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from billing.money_text import exact_text
from billing.rollouts.comparing.cohorts import Staying, read_cohort
from billing.rollouts.models.backtests import Backtest

_WIDE = Context(prec=80, rounding=ROUND_HALF_UP)
_HUNDREDTH = Decimal("0.01")
ROWS = ("fee", "rated", "included", "credited", "unbilled", "pays")
NAMES = {
    "fee": "Fees",
    "rated": "Usage at list price",
    "included": "− included in plans",
    "credited": "− paid by credit",
    "unbilled": "= usage to invoice",
    "pays": "Revenue: fees and usage to invoice",
}


def rounded(amount: Decimal) -> Decimal:
    """To the second place, half away from zero: for the eye, beside a file that has every digit."""
    return amount.quantize(_HUNDREDTH, context=_WIDE)


def money(text: str, currency: str) -> str:
    """An amount of a report, rounded for the eye."""
    return exact_text(rounded(Decimal(text)), currency)


def signed(text: str, currency: str) -> str:
    """A change: with its sign, also above zero."""
    amount = Decimal(text)
    return f"{'+' if amount > 0 else ''}{exact_text(rounded(amount), currency)}"


def change_percent(before: str, after: str) -> str:
    """How much more or less, in percent of before, such as +12.5 %; a dash from nothing."""
    old, new = Decimal(before), Decimal(after)
    if not old:
        return "–" if new else "0 %"
    share = _WIDE.multiply(_WIDE.divide(_WIDE.subtract(new, old), old), Decimal(100))
    text = f"{share.quantize(Decimal('0.1'), context=_WIDE):+,f}".replace("-", "−")
    return f"{'0' if text in ('+0.0', '−0.0') else text} %"


def whole_number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def of_what(backtest: Backtest) -> str:
    """What was tried on whose usage of when, in a sentence."""
    versus = f"{backtest.baseline}" if backtest.baseline else "what each customer had"
    span = f"{_day(backtest.starts_at)} to {_day(backtest.ends_at)}"
    unit = "calendar months" if backtest.unit == Backtest.Unit.MONTHS else "billing periods that ended"
    cohort = read_cohort(backtest.cohort)
    return f"{backtest.candidate} against {versus}: {unit} from {span} of {cohort}"


def left_out(backtest: Backtest) -> list[str]:
    """Who is not in it, such as 3 subscriptions pinned to their version."""
    return [
        f"{whole_number(count, 'subscription')} {Staying(why).label}"
        for why, count in sorted(backtest.left_out.items())
    ]


def report_text(backtest: Backtest) -> str:
    """The report for a terminal; before it is done, how it stands."""
    lines = [f"Backtest {backtest.pk}: {of_what(backtest)}", f"terms {backtest.fingerprint}"]
    lines += [f"left out: {text}" for text in left_out(backtest)]
    if not backtest.report:
        because = f": {backtest.stopped_because}" if backtest.stopped_because else ""
        return "\n".join([*lines, f"{backtest.get_state_display()}{because}"])
    report: Mapping[str, Any] = backtest.report
    currency, totals = report["currency"], report["totals"]
    lines += [
        "",
        f"{whole_number(report['customers'], 'customer')}, {whole_number(report['lines'], 'period')} compared",
    ]
    lines += _table(
        [
            (NAMES[name], *(money(totals[side][name], currency) for side in ("current", "candidate")),
             change_percent(totals["current"][name], totals["candidate"][name]))
            for name in ROWS
        ]
    )  # fmt: skip
    above = report["above"]
    more = f"{whole_number(above['customers'], 'customer')} would pay over {above['percent']} % more"
    lines += ["", f"{more}, together {signed(above['change'], currency)}", "", "How much more or less, by customers"]
    lines += _table(
        [(row["label"], f"{row['customers']:,}", signed(row["change"], currency)) for row in report["distribution"]]
    )
    for title, rows in (("Would pay most more", report["more"]), ("Would pay most less", report["less"])):
        if rows:
            lines += ["", title]
            lines += _table([_customer(row, currency) for row in rows])
    for failure in report["failures"]:
        many = f"{whole_number(failure['lines'], 'period')} of {whole_number(failure['customers'], 'customer')}"
        lines += ["", f"Not compared, {failure['name'].lower()}: {many}"]
        lines += [f"  {example['customer_key']}: {example['text']}" for example in failure["examples"]]
    if report["not_as_posted"]["lines"]:
        count = whole_number(report["not_as_posted"]["lines"], "closed period")
        lines += ["", f"{count} came to something else than was posted; reconcile before you rely on this"]
    return "\n".join(lines)


def _customer(row: Mapping[str, Any], currency: str) -> tuple[str, ...]:
    before, after = row["current"], row["candidate"]
    return (
        row["customer_key"],
        money(before, currency),
        money(after, currency),
        signed(row["change"], currency),
        change_percent(before, after),
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns: the first to the left, figures to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _day(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at:%d %b %Y}" if (at.hour, at.minute, at.second) == (0, 0, 0) else f"{at:%d %b %Y %H:%M:%S}"
