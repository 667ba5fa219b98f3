"""From events to what usage cost: events = windows = rated = included + credited + unbilled."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext

from billing.reconciliation.comparison import Agreed, Findings, Pair, Scope, SetAside, shown
from billing.reconciliation.queries import rows, scalar
from metering import queries as metering

# Wide enough for 38-digit quantities times 38-digit prices.
EXACT_DIGITS = 90


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


# Per period and rate: the quantity of the period's usage beside what its accruals add up to. Usage is that of the whole
# hours within the period, and of the cut hours' events within it (%(cut)s, from raw events). Usage whose model has no
# rate shows with an empty rate. Both sides start from periods that overlap the range.
_WINDOWS_RATED = """
WITH period AS (
    SELECT p.id, p.starts_at, p.ends_at, v.rate_card_id, c.customer_key
      FROM billing_billingperiod p
      JOIN billing_planversion v ON v.id = p.plan_version_id
      JOIN billing_subscription s ON s.id = p.subscription_id
      JOIN billing_customer c ON c.id = s.customer_id
     WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
), usage AS (
    SELECT period.id AS period_id, m.code, w.dimensions->>'model' AS model, w.window_start AS at, w.quantity
      FROM period
      JOIN metering_window w ON w.customer_key = period.customer_key AND w.window_start >= period.starts_at
                            AND w.window_start < date_trunc('hour', period.ends_at, 'UTC')
      JOIN metering_meter m ON m.id = w.meter_id
     UNION ALL
    SELECT cut.period_id, cut.code, cut.model, greatest(cut.at, period.starts_at), cut.quantity
      FROM jsonb_to_recordset(%(cut)s::jsonb)
           AS cut (period_id bigint, code text, model text, at timestamptz, quantity numeric)
      JOIN period ON period.id = cut.period_id
), used AS (
    SELECT period.id AS period_id, rate.id AS rate_id, usage.code || ' ' || coalesce(usage.model, '') AS what,
           sum(usage.quantity) AS quantity
      FROM usage
      JOIN period ON period.id = usage.period_id
      LEFT JOIN LATERAL (
            SELECT r.id FROM billing_rate r
             WHERE r.rate_card_id = period.rate_card_id AND r.meter_code = usage.code
               AND r.dimensions = jsonb_build_object('model', usage.model) AND r.effective_from <= usage.at
             ORDER BY r.effective_from DESC LIMIT 1) rate ON true
     WHERE usage.quantity <> 0
     GROUP BY 1, 2, 3
), accrued AS (
    SELECT a.period_id, l.rate_id, sum(l.quantity) AS quantity, sum(l.rated) AS rated
      FROM period
      JOIN billing_usageaccrual a ON a.period_id = period.id
      JOIN billing_usageaccrualline l ON l.accrual_id = a.id
     GROUP BY 1, 2
)
SELECT period.customer_key, period.id,
       coalesce(used.what, rate.meter_code || ' ' || (rate.dimensions->>'model')), rate.id,
       coalesce(used.quantity, 0), coalesce(accrued.quantity, 0), coalesce(accrued.rated, 0),
       rate.unit_price, rate.unit_size
  FROM used
  FULL JOIN accrued ON accrued.period_id = used.period_id AND accrued.rate_id = used.rate_id
  JOIN period ON period.id = coalesce(used.period_id, accrued.period_id)
  LEFT JOIN billing_rate rate ON rate.id = coalesce(used.rate_id, accrued.rate_id)
 ORDER BY 1, 2, 3
"""

# Where a period begins or ends within an hour: the parts of these hours that are the period's.
_CUT_HOURS = """
SELECT c.customer_key, p.id, part.starts_at, part.ends_at
  FROM billing_billingperiod p
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_customer c ON c.id = s.customer_id
 CROSS JOIN LATERAL (VALUES
       (p.starts_at, least(date_trunc('hour', p.starts_at, 'UTC') + interval '1 hour', p.ends_at)),
       (greatest(date_trunc('hour', p.ends_at, 'UTC'), p.starts_at), p.ends_at)) AS part (starts_at, ends_at)
 WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
   AND part.ends_at > part.starts_at AND part.ends_at - part.starts_at < interval '1 hour'
   AND EXISTS (SELECT FROM metering_window w
                WHERE w.customer_key = c.customer_key
                  AND w.window_start = date_trunc('hour', part.starts_at, 'UTC'))
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3
"""

# Windows of hours that no period covers in full, with the parts that periods do cover.
_HOURS_NOT_COVERED = """
WITH used AS (
    SELECT w.customer_key, w.window_start, count(*) AS windows
      FROM metering_window w
      JOIN billing_customer c ON c.customer_key = w.customer_key
     WHERE w.window_start >= %(range_start)s AND w.window_start < %(range_end)s AND w.quantity <> 0
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
HAVING coalesce(sum(least(p.ends_at, used.window_start + interval '1 hour') - greatest(p.starts_at, used.window_start)),
                interval '0') < interval '1 hour'
 ORDER BY 1, 2
"""
HOUR = timedelta(hours=1)


def _cut_usage(scope: Scope) -> tuple[str, set[int]]:
    """The usage of hours that a period's boundary cuts, of the part within the period, as JSON for the statement; and
    the periods of which it cannot be told, as the events of such an hour are in an archive."""
    found, archived = [], set()
    for customer_key, period_id, starts_at, ends_at in rows(_CUT_HOURS, scope.bounds):
        try:
            windows = metering.windows_between(customer_key, starts_at, ends_at)
        except metering.EventsArchived:
            archived.add(period_id)
            continue
        found += [
            {
                "period_id": period_id,
                "code": window.meter_code,
                "model": window.dimensions.get("model"),
                "at": window.window_start.isoformat(),
                "quantity": str(window.quantity),
            }
            for window in windows
        ]
    return json.dumps(found), archived


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
    """Per period and rate: quantity in windows = quantity accrued, and quantity x price = amount accrued."""
    cut, archived = _cut_usage(scope)
    for customer_key, period_id, what, rate_id, used, accrued, rated, price, unit in rows(
        _WINDOWS_RATED, {**scope.bounds, "cut": cut}
    ):
        if period_id in archived:
            yield SetAside(1)
            continue
        subject = f"period {period_id}, {what}"
        yield Pair(
            subject=f"{subject}: quantity",
            customer_key=customer_key,
            left_name="windows",
            left=used,
            right_name="accrued",
            right=accrued,
            explanation="No rate applies to this usage, so nobody pays for it: add a rate, then accrue the period."
            if rate_id is None
            else "Windows changed since the last accrual, or it counted something else: accrue the period again.",
        )
        if rate_id is not None:
            yield Pair(
                subject=f"{subject}: amount",
                customer_key=customer_key,
                left_name="quantity x price",
                left=_priced(accrued, price, unit),
                right_name="rated",
                right=rated,
                explanation="The accrued quantity was not priced at this rate: compare its lines with the rate.",
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


def _priced(quantity: Decimal, unit_price: Decimal, unit_size: int) -> Decimal:
    with localcontext(prec=EXACT_DIGITS):
        return (quantity * unit_price / unit_size).normalize()


_FUNDING = """
SELECT c.customer_key, a.id, a.revision, p.id, a.rated, a.included, a.credited, a.unbilled,
       coalesce(l.rated, 0), coalesce(l.included, 0), coalesce(l.credited, 0), coalesce(l.unbilled, 0),
       coalesce(d.amount, 0)
  FROM billing_billingperiod p
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_customer c ON c.id = s.customer_id
  JOIN billing_usageaccrual a ON a.period_id = p.id
  LEFT JOIN LATERAL (
        SELECT sum(rated) AS rated, sum(included) AS included, sum(credited) AS credited, sum(unbilled) AS unbilled
          FROM billing_usageaccrualline WHERE accrual_id = a.id) l ON true
  LEFT JOIN LATERAL (SELECT sum(amount) AS amount FROM billing_grantdrawdown WHERE accrual_id = a.id) d ON true
 WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
 ORDER BY 1, 4, 3
"""

_ALLOWANCE = """
SELECT c.customer_key, p.id,
       coalesce((SELECT sum(amount) FROM billing_periodallowance WHERE period_id = p.id), 0),
       sum(a.rated), sum(a.included)
  FROM billing_billingperiod p
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_customer c ON c.id = s.customer_id
  JOIN billing_usageaccrual a ON a.period_id = p.id
 WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
 GROUP BY 1, 2, 3 ORDER BY 1, 2
"""


def rated_funded(scope: Scope) -> Findings:
    """Per accrual: rated = included + credited + unbilled = lines, drawdowns = credited; per period: allowance."""
    for customer_key, _, revision, period_id, *figures in rows(_FUNDING, scope.bounds):
        subject = f"accrual {revision} of period {period_id}"
        total, lines, drawn = tuple(figures[:4]), tuple(figures[4:8]), figures[8]
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
            subject, "credited", credited, "drawn from grants", drawn,
            "What the accrual says grants paid is not what it drew from them.", customer_key,
        )  # fmt: skip
    for customer_key, period_id, allowance, rated, included in rows(_ALLOWANCE, scope.bounds):
        yield Pair(
            f"period {period_id}: allowance used", "the smaller of rated and allowance", min(rated, allowance),
            "included", included,
            "The allowance burns first: it pays for everything until it is used up, and never for more.", customer_key,
        )  # fmt: skip


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
