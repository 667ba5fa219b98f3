"""What a backtest found as files: every customer, or every period, with every digit."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from django.db import connection

from billing.rollouts.backtests.report import CUSTOMERS
from billing.rollouts.models.backtests import Backtest
from ledger.downloads.document import Cell, Document

_FIGURES = ("fee", "rated", "included", "credited", "unbilled")
_COLUMNS = [f"{side}_{name}" for side in ("current", "candidate") for name in _FIGURES]
_TITLES = [f"{side}: {name}" for side in ("Before", "After") for name in _FIGURES]
_CUSTOMER_COLUMNS = ("Customer", "Periods", "Pays before", "Would pay", "Change", *_TITLES)
_PERIOD_COLUMNS = (
    "Customer", "Period", "From (UTC)", "Until (UTC)", "Plan before", "Version", "Seats", *_TITLES, "Failure", "Why",
    "As posted",
)  # fmt: skip
_OF_CUSTOMERS = f"""
WITH {CUSTOMERS}
SELECT customer_key, periods, before, after, change, {", ".join(_COLUMNS)}
  FROM customer ORDER BY change DESC, customer_key
"""
_OF_PERIODS = f"""
SELECT l.customer_key, l.period_id, l.starts_at, l.ends_at, p.code, v.version, l.seats,
       {", ".join(f"l.{name}" for name in _COLUMNS)}, l.failure_kind, l.failure,
       CASE WHEN l.is_as_posted THEN 'yes' WHEN NOT l.is_as_posted THEN 'no' ELSE '' END
  FROM billing_backtestline AS l JOIN billing_planversion AS v ON v.id = l.plan_version_id
  JOIN billing_plan AS p ON p.id = v.plan_id
 WHERE l.backtest_id = %(id)s ORDER BY l.customer_key, l.starts_at
"""


def document(backtest: Backtest, *, of_periods: bool, made_at: datetime) -> Document:
    """A row for each customer that could be compared, the dearest change first; or one for each period, failed too."""
    versus = f"{backtest.baseline}" if backtest.baseline else "what each customer had"
    lines = backtest.lines.count() if of_periods else _count_customers(backtest.pk)
    return Document(
        title="Backtest",
        heading=[
            (f"Backtest {backtest.pk}", f"{backtest.candidate} ({backtest.candidate.currency}) against {versus}"),
            ("Fingerprint of the terms", backtest.fingerprint),
            (backtest.get_unit_display(), f"{_day(backtest.starts_at)} to {_day(backtest.ends_at)}"),
            ("Made at (UTC)", made_at),
        ],
        columns=_PERIOD_COLUMNS if of_periods else _CUSTOMER_COLUMNS,
        rows=_rows(_OF_PERIODS if of_periods else _OF_CUSTOMERS, backtest.pk),
        row_count=lines,
    )


def _rows(statement: str, backtest_id: int) -> Iterator[Sequence[Cell]]:
    # Read in pieces, inside the caller's look: a hundred thousand rows are never in memory together.
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement, {"id": backtest_id})
        while rows := cursor.fetchmany(2000):
            yield from rows


def _count_customers(backtest_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {CUSTOMERS} SELECT count(*) FROM customer", {"id": backtest_id})
        (count,) = cursor.fetchone()
    return int(count)


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
