"""Whether allowances paid what they should: never more than they hold, and all of it where totals can tell."""

from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

from billing.reconciliation.comparison import Findings, Pair, Scope
from billing.reconciliation.queries import rows

_USE = """
SELECT c.customer_key, p.id, l.id, l.code, l.measure, l.amount, l.each_dimension, l.covers = '[]',
       coalesce(d.amount, 0), coalesce(d.quantity, 0), r.of_usage, r.of_all, r.unbilled,
       CASE WHEN l.each_dimension <> '' THEN (
            SELECT count(DISTINCT w.dimensions->>l.each_dimension) FROM metering_window w
             WHERE w.customer_key = c.customer_key AND w.window_start >= date_trunc('hour', p.starts_at, 'UTC')
               AND w.window_start < p.ends_at) END
  FROM billing_billingperiod p
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_customer c ON c.id = s.customer_id
  JOIN billing_periodallowance l ON l.period_id = p.id
  LEFT JOIN LATERAL (
        SELECT sum(amount) AS amount, sum(quantity) AS quantity FROM billing_allowancedrawdown
         WHERE allowance_id = l.id) d ON true
  JOIN LATERAL (
        SELECT coalesce(sum(al.rated) FILTER (WHERE rate.meter_code <> ''), 0) AS of_usage,
               coalesce(sum(al.rated), 0) AS of_all, coalesce(sum(al.unbilled), 0) AS unbilled
          FROM billing_usageaccrual a
          JOIN billing_usageaccrualline al ON al.accrual_id = a.id
          JOIN billing_rate rate ON rate.id = al.rate_id
         WHERE a.period_id = p.id) r ON true
 WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
   AND c.id >= %(customers_from)s AND c.id < %(customers_until)s
   AND EXISTS (SELECT FROM billing_usageaccrual WHERE period_id = p.id)
 ORDER BY 1, 2, l.position
"""


class _Use(NamedTuple):
    """An allowance of a period, what it paid, and what the period's usage came to; in currency units or units."""

    customer_key: str
    period_id: int
    allowance_id: int
    code: str
    measure: str
    amount: Decimal | None
    each_dimension: str
    covers_all: bool
    paid: Decimal
    units: Decimal
    rated_usage: Decimal
    rated: Decimal
    unbilled: Decimal
    values: int | None

    @property
    def used(self) -> Decimal:
        return self.units if self.measure == "units" else self.paid

    @property
    def subject(self) -> str:
        return f"period {self.period_id}: allowance used, {self.code}"


def allowances_used(scope: Scope) -> Findings:
    """No allowance pays for more than it holds; those in money that cover everything pay for all they can, in order."""
    found = [_Use(*row) for row in rows(_USE, scope.bounds)]
    for _, of_period in groupby(found, key=lambda use: use.period_id):
        uses = list(of_period)
        caps = [use for use in uses if use.measure == "cap"]
        pools = [use for use in uses if use.measure != "cap"]
        by_units = [use for use in pools if use.measure == "units"]
        by_money = [use for use in pools if use.measure == "money"]
        yield from _within(by_units)
        if all(use.covers_all and not use.each_dimension for use in by_money):
            yield from _in_order(by_money, before=sum((use.paid for use in by_units), Decimal(0)))
        else:
            yield from _within(by_money)
        yield from _capped(caps)


def _in_order(pools: list[_Use], *, before: Decimal) -> Findings:
    """`before` is what allowances in units paid: theirs are the first units, whatever their place."""
    for use in pools:
        # A charge that needs no usage is covered by an allowance without a limit alone.
        rest = (use.rated if use.amount is None else use.rated_usage) - before
        expected = max(rest if use.amount is None else min(rest, use.amount), Decimal(0))
        before += expected
        yield Pair(
            use.subject, "the smaller of rated and allowance", expected, "included", use.paid,
            "Allowances burn first: each pays for everything until it is used up, and never for more.",
            use.customer_key,
        )  # fmt: skip


def _within(pools: list[_Use]) -> Findings:
    for use in pools:
        if use.amount is not None:
            held = use.amount * (1 if use.values is None else use.values)
            yield Pair(
                use.subject, "the smaller of used and allowance", min(use.used, held), "used", use.used,
                "More was taken from this allowance than it holds.", use.customer_key,
            )  # fmt: skip


def _capped(caps: list[_Use]) -> Findings:
    for use in caps:
        if use.amount is not None and use.covers_all and not use.each_dimension:
            yield Pair(
                use.subject, "the smaller of unbilled and cap", min(use.unbilled, use.amount), "unbilled", use.unbilled,
                "More is to be invoiced than the maximum commitment.", use.customer_key,
            )  # fmt: skip
            if use.paid:
                yield Pair(
                    use.subject, "cap", use.amount, "unbilled", use.unbilled,
                    "The cap paid although less than the maximum commitment was to be invoiced.", use.customer_key,
                )  # fmt: skip
