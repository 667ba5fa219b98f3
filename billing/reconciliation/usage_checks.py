"""From events to what usage cost: events = windows = rated = included + credited + unbilled."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext

from billing.reconciliation.comparison import Agreed, Findings, Pair, Scope, shown
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
    windows = scalar(
        "SELECT count(*) FROM metering_window WHERE window_start >= %(starts_at)s AND window_start < %(ends_at)s",
        {"starts_at": starts_at, "ends_at": ends_at},
    )
    yield Agreed(max(windows - broken, 0))


def _whole_hours(scope: Scope) -> tuple[datetime, datetime]:
    """Return the range widened to whole hours, because a window cannot be cut."""
    starts_at = scope.range_start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    ends_at = scope.range_end.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return starts_at, ends_at if ends_at == scope.range_end else ends_at + timedelta(hours=1)


def _window_text(figures: metering.WindowFigures | None) -> str | None:
    if figures is None:
        return None
    return f"{shown(figures.quantity)} from {figures.event_count} events, fingerprint {figures.fingerprint}"


# Per period and rate: the quantity of the period's windows beside what its accruals add up to. A window whose model has
# no rate shows with an empty rate. An hour in which a period begins belongs to it as a whole. Both sides start from
# periods that overlap the range.
_WINDOWS_RATED = """
WITH period AS (
    SELECT p.id, date_trunc('hour', p.starts_at, 'UTC') AS first_hour,
           date_trunc('hour', p.ends_at, 'UTC') AS end_hour,
           v.rate_card_id, c.customer_key
      FROM billing_billingperiod p
      JOIN billing_planversion v ON v.id = p.plan_version_id
      JOIN billing_subscription s ON s.id = p.subscription_id
      JOIN billing_customer c ON c.id = s.customer_id
     WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
), used AS (
    SELECT period.id AS period_id, rate.id AS rate_id, m.code || ' ' || coalesce(w.dimensions->>'model', '') AS what,
           sum(w.quantity) AS quantity
      FROM period
      JOIN metering_window w ON w.customer_key = period.customer_key
                            AND w.window_start >= period.first_hour AND w.window_start < period.end_hour
      JOIN metering_meter m ON m.id = w.meter_id
      LEFT JOIN LATERAL (
            SELECT r.id FROM billing_rate r
             WHERE r.rate_card_id = period.rate_card_id AND r.meter_code = m.code
               AND r.model = w.dimensions->>'model' AND r.effective_from <= w.window_start
             ORDER BY r.effective_from DESC LIMIT 1) rate ON true
     GROUP BY 1, 2, 3
), accrued AS (
    SELECT a.period_id, l.rate_id, sum(l.quantity) AS quantity, sum(l.rated) AS rated
      FROM period
      JOIN billing_usageaccrual a ON a.period_id = period.id
      JOIN billing_usageaccrualline l ON l.accrual_id = a.id
     GROUP BY 1, 2
)
SELECT period.customer_key, period.id, coalesce(used.what, rate.meter_code || ' ' || rate.model), rate.id,
       coalesce(used.quantity, 0), coalesce(accrued.quantity, 0), coalesce(accrued.rated, 0),
       rate.unit_price, rate.unit_size
  FROM used
  FULL JOIN accrued ON accrued.period_id = used.period_id AND accrued.rate_id = used.rate_id
  JOIN period ON period.id = coalesce(used.period_id, accrued.period_id)
  LEFT JOIN billing_rate rate ON rate.id = coalesce(used.rate_id, accrued.rate_id)
 ORDER BY 1, 2, 3
"""

_USAGE_OUTSIDE_PERIODS = """
SELECT w.customer_key, count(*), min(w.window_start)
  FROM metering_window w
  JOIN billing_customer c ON c.customer_key = w.customer_key
 WHERE w.window_start >= %(range_start)s AND w.window_start < %(range_end)s AND w.quantity <> 0
   AND NOT EXISTS (
        SELECT FROM billing_subscription s JOIN billing_billingperiod p ON p.subscription_id = s.id
         WHERE s.customer_id = c.id AND date_trunc('hour', p.starts_at, 'UTC') <= w.window_start
           AND date_trunc('hour', p.ends_at, 'UTC') > w.window_start)
 GROUP BY 1 ORDER BY 1
"""


def windows_rated(scope: Scope) -> Findings:
    """Per period and rate: quantity in windows = quantity accrued, and quantity x price = amount accrued."""
    for customer_key, period_id, what, rate_id, used, accrued, rated, price, unit in rows(_WINDOWS_RATED, scope.bounds):
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
    for customer_key, windows, first in rows(_USAGE_OUTSIDE_PERIODS, scope.bounds):
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
SELECT c.customer_key, p.id, p.allowance, sum(a.rated), sum(a.included)
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
