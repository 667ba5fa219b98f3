"""From events to what usage cost: events = windows = rated = included + credited + unbilled."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from billing.reconciliation.allowance_checks import allowances_used
from billing.reconciliation.comparison import Agreed, Findings, Pair, Scope, SetAside, shown
from billing.reconciliation.queries import rows, scalar
from billing.reconciliation.rated_usage import Unknown, as_decimal, recomputed
from metering import queries as metering


def events_windows(scope: Scope) -> Findings:
    """Every window in the range against a recount of its raw events."""
    broken = 0
    starts_at, ends_at = _whole_hours(scope)
    for mismatch in metering.verify_windows(starts_at, ends_at):
        broken += 1
        what = " ".join((mismatch.meter_code, *(value or "-" for value in mismatch.dimensions.values())))
        yield Pair(
            subject=f"window {mismatch.window_start:%Y-%m-%dT%H:00Z} {what}",
            customer_key=mismatch.customer_key,
            left_name="recomputed from events",
            left=_window_text(mismatch.recomputed),
            right_name="stored window",
            right=_window_text(mismatch.stored),
            explanation="A raw event or a window was changed after the window was computed; compare the hour's events"
            " with their sender's.",
        )
    archived = sum(
        metering.count_windows(max(starts_at, month.start), min(ends_at, month.end))
        for month in metering.archived_months_between(starts_at, ends_at)
    )
    yield SetAside(archived)
    yield Agreed(max(metering.count_windows(starts_at, ends_at) - archived - broken, 0))


def _whole_hours(scope: Scope) -> tuple[datetime, datetime]:
    """Return the range widened to whole hours, because a window cannot be cut."""
    starts_at = scope.range_start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    ends_at = scope.range_end.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return starts_at, ends_at if ends_at == scope.range_end else ends_at + timedelta(hours=1)


def _window_text(figures: metering.WindowFigures | None) -> str | None:
    if figures is None:
        return None
    return f"{shown(figures.quantity)} from {figures.event_count} events, fingerprint {figures.fingerprint}"


# Windows of hours that no period covers in full, with the parts that periods do cover. Where there is none, least and
# greatest would leave it out and say that the hour is covered. Usage until the cut of a takeover was billed elsewhere.
_HOURS_NOT_COVERED = """
WITH used AS (
    SELECT w.customer_key, w.window_start, count(*) AS windows
      FROM metering_window w
      JOIN billing_customer c ON c.customer_key = w.customer_key
     WHERE w.window_start >= %(range_start)s AND w.window_start < %(range_end)s AND w.quantity <> 0
       AND c.id >= %(customers_from)s AND c.id < %(customers_until)s
       AND w.window_start > coalesce((SELECT as_of FROM billing_takeover), '-infinity')
     GROUP BY 1, 2
)
SELECT used.customer_key, used.window_start, used.windows,
       coalesce(array_agg(p.starts_at ORDER BY p.starts_at) FILTER (WHERE p.id IS NOT NULL), '{}'),
       coalesce(array_agg(p.ends_at ORDER BY p.starts_at) FILTER (WHERE p.id IS NOT NULL), '{}')
  FROM used
  JOIN billing_customer c ON c.customer_key = used.customer_key
  LEFT JOIN (billing_subscription s JOIN billing_billingperiod p ON p.subscription_id = s.id)
    ON s.customer_id = c.id AND p.starts_at < used.window_start + interval '1 hour' AND p.ends_at > used.window_start
 GROUP BY 1, 2, 3
HAVING coalesce(sum(least(p.ends_at, used.window_start + interval '1 hour') - greatest(p.starts_at, used.window_start))
                    FILTER (WHERE p.id IS NOT NULL), interval '0') < interval '1 hour'
 ORDER BY 1, 2
"""
HOUR = timedelta(hours=1)


def _outside_periods(scope: Scope) -> list[tuple[str, int, datetime]]:
    """By customer, how many windows hold usage of instants in no billing period, and the first of them."""
    outside: dict[str, list[datetime]] = {}
    for customer_key, hour, windows, starts, ends in rows(_HOURS_NOT_COVERED, scope.bounds):
        found = windows if not starts else _used_in_gaps(customer_key, hour, starts, ends)
        if found:
            outside.setdefault(customer_key, []).extend([hour] * found)
    return [(customer_key, len(hours), min(hours)) for customer_key, hours in outside.items()]


def _used_in_gaps(customer_key: str, hour: datetime, starts: list[datetime], ends: list[datetime]) -> int:
    """How many windows of the hour hold usage in the gaps between periods; none that can be told, where its events are
    in an archive."""
    if metering.archived_months_between(hour, hour + HOUR):
        return 0
    edges = [hour, *(edge for pair in zip(starts, ends, strict=True) for edge in pair), hour + HOUR]
    gaps = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]
    return sum(
        bool(window.quantity) for start, end in gaps for window in metering.windows_between(customer_key, start, end)
    )


def windows_rated(scope: Scope) -> Findings:
    """
    Per period and price: quantity in windows = quantity accrued, and what this room makes of it = amount accrued.

    While the quantities part, the amounts are not compared: one fault is named once.
    """
    for found in recomputed(scope):
        if isinstance(found, Unknown):
            yield SetAside(1)
            continue
        subject = f"period {found.period_id}, {found.what}"
        yield Pair(
            subject=f"{subject}: quantity",
            customer_key=found.customer_key,
            left_name="windows",
            left=found.used,
            right_name="accrued",
            right=found.accrued,
            explanation="No rate applies to this usage, so nobody pays for it: add a rate, then accrue the period."
            if found.rate_id is None
            else "Windows changed since the last accrual, or it counted something else: accrue the period again.",
        )
        if found.rate_id is not None and found.used == found.accrued:
            yield Pair(
                subject=f"{subject}: amount",
                customer_key=found.customer_key,
                left_name="worked out from the price",
                left=as_decimal(found.expected),
                right_name="rated",
                right=found.rated,
                explanation="The accrued quantity was not priced by this price: compare its lines with the rate.",
            )
    for customer_key, windows, first in _outside_periods(scope):
        yield Pair(
            subject=f"usage outside every billing period, first {first:%Y-%m-%dT%H:00Z}",
            customer_key=customer_key,
            left_name="windows",
            left=windows,
            right_name="in a period",
            right=0,
            explanation="This usage belongs to no billing period of its customer, so nobody pays for it.",
        )


_FUNDING = """
SELECT c.customer_key, a.id, a.revision, p.id, a.rated, a.included, a.credited, a.unbilled,
       coalesce(l.rated, 0), coalesce(l.included, 0), coalesce(l.credited, 0), coalesce(l.unbilled, 0),
       coalesce(d.amount, 0), coalesce(i.amount, 0)
  FROM billing_billingperiod p
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_customer c ON c.id = s.customer_id
  JOIN billing_usageaccrual a ON a.period_id = p.id
  LEFT JOIN LATERAL (
        SELECT sum(rated) AS rated, sum(included) AS included, sum(credited) AS credited, sum(unbilled) AS unbilled
          FROM billing_usageaccrualline WHERE accrual_id = a.id) l ON true
  LEFT JOIN LATERAL (SELECT sum(amount) AS amount FROM billing_grantdrawdown WHERE accrual_id = a.id) d ON true
  LEFT JOIN LATERAL (SELECT sum(amount) AS amount FROM billing_allowancedrawdown WHERE accrual_id = a.id) i ON true
 WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
   AND c.id >= %(customers_from)s AND c.id < %(customers_until)s
 ORDER BY 1, 4, 3
"""


def rated_funded(scope: Scope) -> Findings:
    """Per accrual: rated = included + credited + unbilled = lines, drawdowns; per period: what allowances paid."""
    for customer_key, _, revision, period_id, *figures in rows(_FUNDING, scope.bounds):
        subject = f"accrual {revision} of period {period_id}"
        total, lines, credit_drawn, included_drawn = tuple(figures[:4]), tuple(figures[4:8]), figures[8], figures[9]
        rated, included, credited, unbilled = total
        yield Pair(
            subject, "rated", rated, "included + credited + unbilled", included + credited + unbilled,
            "An amount was rated and paid for by nobody, or twice.", customer_key,
        )  # fmt: skip
        yield Pair(
            subject, "accrual", _listed(total), "its lines", _listed(lines),
            "The lines per rate do not add up to their accrual (rated, included, credited, unbilled).", customer_key,
        )  # fmt: skip
        yield Pair(
            subject, "credited", credited, "drawn from grants", credit_drawn,
            "What the accrual says grants paid is not what it drew from them.", customer_key,
        )  # fmt: skip
        yield Pair(
            subject, "included", included, "drawn from allowances", included_drawn,
            "What the accrual says allowances paid is not what it drew from them.", customer_key,
        )  # fmt: skip
    yield from allowances_used(scope)


def _listed(amounts: tuple[Decimal, ...]) -> str:
    return ", ".join(f"{amount:f}" for amount in amounts)


# Who is named below without being a customer: usage, accounts and grants arrive by key alone.
_ORPHANS = """
SELECT found.place, found.customer_key, found.count
  FROM (SELECT 'metering subjects' AS place, customer_key, count(*) FROM metering_subject GROUP BY 2
        UNION ALL
        SELECT 'windows', customer_key, count(*) FROM metering_window
         WHERE window_start >= %(range_start)s AND window_start < %(range_end)s GROUP BY 2
        UNION ALL
        SELECT 'ledger accounts', customer_key, count(*) FROM ledger_account WHERE customer_key IS NOT NULL GROUP BY 2
        UNION ALL
        SELECT 'grants', customer_key, count(*) FROM promotions_creditgrant GROUP BY 2
       ) AS found (place, customer_key, count)
 WHERE NOT EXISTS (SELECT FROM billing_customer c WHERE c.customer_key = found.customer_key)
 ORDER BY 1, 2
"""


def orphans(scope: Scope) -> Findings:
    """Every customer key the lower apps hold is a customer of billing."""
    for place, customer_key, count in rows(_ORPHANS, scope.bounds):
        yield Pair(
            f"{place} of {customer_key}", place, count, "of a known customer", 0,
            "The lower app holds this key, but no such customer exists: create the customer, or find out who sent it.",
            customer_key,
        )  # fmt: skip
    yield Agreed(scalar("SELECT count(*) FROM billing_customer"))
