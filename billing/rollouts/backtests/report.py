"""
The report of a backtest, from its lines: sums, how many pay how much more or less, and what could not be compared.

Worked out by the database in one statement each, so that its size is not that of the cohort. Amounts are exact and
written as text, in the candidate's currency; a customer's periods are added up before customers are compared.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from django.db import connection

from billing.rollouts.comparing.failures import Failure
from billing.rollouts.models.backtests import Backtest

LAYOUT = 1
NAMED, EXAMPLES = 20, 5
# Customers are sorted by how many percent more or less they would pay: above the first of these, the second, …
EDGES = (1, 5, 10, 25, 50, 100)
_SIDES = ("current", "candidate")
_FIGURES = ("fee", "rated", "included", "credited", "unbilled")

# Every customer that could be compared, with what all compared periods come to.
CUSTOMERS = """
customer AS (
    SELECT customer_key, max(subscription_id) AS subscription_id, count(*) AS periods,
           sum(current_fee) AS current_fee, sum(current_rated) AS current_rated,
           sum(current_included) AS current_included, sum(current_credited) AS current_credited,
           sum(current_unbilled) AS current_unbilled,
           sum(candidate_fee) AS candidate_fee, sum(candidate_rated) AS candidate_rated,
           sum(candidate_included) AS candidate_included, sum(candidate_credited) AS candidate_credited,
           sum(candidate_unbilled) AS candidate_unbilled,
           sum(current_fee + current_unbilled) AS before, sum(candidate_fee + candidate_unbilled) AS after,
           sum(candidate_fee + candidate_unbilled - current_fee - current_unbilled) AS change
      FROM billing_backtestline WHERE backtest_id = %(id)s AND failure_kind = '' GROUP BY customer_key
)
"""
# A percentage is compared by multiplying, never by dividing: who pays exactly 10 % more does not pay more than that.
_DISTRIBUTION = f"""
WITH {CUSTOMERS}
SELECT sign(change)::int, before = 0,
       (SELECT count(*) FROM unnest(%(edges)s::numeric[]) AS edge WHERE abs(change) * 100 > edge * before),
       count(*), sum(change)
  FROM customer GROUP BY 1, 2, 3
"""
_ABOVE = f"""
WITH {CUSTOMERS}
SELECT count(*), coalesce(sum(change), 0) FROM customer
 WHERE change > 0 AND change * 100 > %(threshold)s::numeric * before
"""
_NAMED = f"""
WITH {CUSTOMERS}
SELECT customer_key, subscription_id, periods, before, after, change FROM customer
 WHERE sign(change) = %(sign)s ORDER BY abs(change) DESC, customer_key LIMIT %(limit)s
"""
_TOTALS = f"""
SELECT count(*), count(DISTINCT customer_key),
       {", ".join(f"coalesce(sum({side}_{name}), 0)" for side in _SIDES for name in _FIGURES)}
  FROM billing_backtestline WHERE backtest_id = %(id)s AND failure_kind = ''
"""
# A period belongs to the month of its last instant.
_MONTHS = """
SELECT to_char((ends_at - interval '1 microsecond') AT TIME ZONE 'UTC', 'YYYY-MM'), count(*),
       sum(current_fee + current_unbilled), sum(candidate_fee + candidate_unbilled)
  FROM billing_backtestline WHERE backtest_id = %(id)s AND failure_kind = '' GROUP BY 1 ORDER BY 1
"""
_VERSIONS = """
SELECT l.plan_version_id, p.name || ' v' || v.version, count(DISTINCT l.customer_key),
       sum(l.current_fee + l.current_unbilled), sum(l.candidate_fee + l.candidate_unbilled)
  FROM billing_backtestline AS l JOIN billing_planversion AS v ON v.id = l.plan_version_id
  JOIN billing_plan AS p ON p.id = v.plan_id
 WHERE l.backtest_id = %(id)s AND l.failure_kind = '' GROUP BY 1, 2 ORDER BY 4 DESC, 1 LIMIT %(limit)s
"""
_FAILURES = """
SELECT failure_kind, count(*), count(DISTINCT customer_key) FROM billing_backtestline
 WHERE backtest_id = %(id)s AND failure_kind <> '' GROUP BY 1 ORDER BY 2 DESC, 1
"""
_FAILED = """
SELECT failure_kind, customer_key, period_id, starts_at, failure
  FROM (SELECT *, row_number() OVER (PARTITION BY failure_kind ORDER BY customer_key, starts_at) AS place
          FROM billing_backtestline WHERE backtest_id = %(id)s AND failure_kind <> '') AS found
 WHERE place <= %(limit)s ORDER BY failure_kind, place
"""
_NOT_AS_POSTED = """
SELECT customer_key, period_id, starts_at, current_rated, count(*) OVER () FROM billing_backtestline
 WHERE backtest_id = %(id)s AND is_as_posted = false ORDER BY customer_key, starts_at LIMIT %(limit)s
"""


def make_report(backtest: Backtest) -> dict[str, Any]:
    """Return the report as JSON. It says the same again, because the lines stay."""
    named = {"id": backtest.pk, "limit": NAMED}
    lines, customers, *sums = _rows(_TOTALS, id=backtest.pk)[0]
    above, above_amount = _rows(_ABOVE, id=backtest.pk, threshold=backtest.threshold_percent)[0]
    return {
        "layout": LAYOUT,
        "currency": backtest.candidate.currency,
        "lines": lines,
        "customers": customers,
        "totals": _totals(sums),
        "distribution": list(_distribution(backtest.pk)),
        "above": {"percent": _text(backtest.threshold_percent), "customers": above, "change": _text(above_amount)},
        "more": [_customer(row) for row in _rows(_NAMED, sign=1, **named)],
        "less": [_customer(row) for row in _rows(_NAMED, sign=-1, **named)],
        "months": [
            {"month": month, "lines": count, "current": _text(before), "candidate": _text(after)}
            for month, count, before, after in _rows(_MONTHS, id=backtest.pk)
        ],
        "versions": [
            {"id": pk, "name": name, "customers": count, "current": _text(before), "candidate": _text(after)}
            for pk, name, count, before, after in _rows(_VERSIONS, **named)
        ],
        "failures": _failures(backtest.pk),
        "not_as_posted": _not_as_posted(backtest.pk),
    }


def _totals(sums: Sequence[Decimal]) -> dict[str, dict[str, str]]:
    found = {}
    for place, side in enumerate(_SIDES):
        figures = dict(zip(_FIGURES, sums[place * len(_FIGURES) :], strict=False))
        found[side] = {name: _text(amount) for name, amount in figures.items()}
        found[side]["pays"] = _text(figures["fee"] + figures["unbilled"])
    return found


def _distribution(backtest_id: int) -> Iterator[dict[str, Any]]:
    """From those who pay least of what they did to those who pay most; every step is there, also where nobody is."""
    found: dict[tuple[int, bool, int], tuple[int, Decimal]] = {}
    for sign, from_nothing, step, count, change in _rows(_DISTRIBUTION, id=backtest_id, edges=list(EDGES)):
        key = (0, False, 0) if not sign else (sign, from_nothing, 0 if from_nothing else step)
        before = found.get(key, (0, Decimal(0)))
        found[key] = (before[0] + count, before[1] + change)
    steps = range(len(EDGES))
    for key, label in (
        *(((-1, False, step), f"{_span(step)} less") for step in reversed(steps)),
        ((0, False, 0), "the same"),
        *(((1, False, step), f"{_span(step)} more") for step in steps),
        ((1, False, len(EDGES)), f"over {EDGES[-1]} % more"),
        ((1, True, 0), "paid nothing before"),
    ):
        count, change = found.get(key, (0, Decimal(0)))
        yield {"label": label, "customers": count, "change": _text(change)}


def _span(step: int) -> str:
    return f"up to {EDGES[0]} %" if step == 0 else f"{EDGES[step - 1]}–{EDGES[step]} %"


def _customer(row: Sequence[Any]) -> dict[str, Any]:
    key, subscription_id, periods, before, after, change = row
    return {
        "customer_key": key,
        "subscription_id": subscription_id,
        "periods": periods,
        "current": _text(before),
        "candidate": _text(after),
        "change": _text(change),
    }


def _failures(backtest_id: int) -> list[dict[str, Any]]:
    examples: dict[str, list[dict[str, Any]]] = {}
    for kind, key, period_id, starts_at, text in _rows(_FAILED, id=backtest_id, limit=EXAMPLES):
        example = {"customer_key": key, "period_id": period_id, "starts_at": starts_at.isoformat(), "text": text}
        examples.setdefault(kind, []).append(example)
    return [
        {"kind": kind, "name": Failure(kind).label, "lines": lines, "customers": count, "examples": examples[kind]}
        for kind, lines, count in _rows(_FAILURES, id=backtest_id)
    ]


def _not_as_posted(backtest_id: int) -> dict[str, Any]:
    rows = _rows(_NOT_AS_POSTED, id=backtest_id, limit=EXAMPLES)
    return {
        "lines": rows[0][-1] if rows else 0,
        "examples": [
            {"customer_key": key, "period_id": period_id, "starts_at": starts_at.isoformat(), "rated": _text(rated)}
            for key, period_id, starts_at, rated, _ in rows
        ],
    }


def _rows(statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def _text(amount: Decimal) -> str:
    """One text for one amount, however many zeros it came with."""
    text = f"{amount:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
