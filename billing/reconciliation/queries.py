"""
Reads of this room: rows for the checks, and what earlier runs found.

A check must not ask the code it checks, so its SQL reads the tables of every app by name; that is this room's declared
exception to the rule that apps meet only in `operations` and `queries`. It only ever reads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from billing.reconciliation.figures import Figures
from billing.reconciliation.minor_units import in_units
from billing.reconciliation.models import Discrepancy, ReconciliationRun

TASK_ACTOR = "task:reconcile"


def rows(sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one statement, so that both sides of a comparison are seen at the same instant."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        yield from cursor.fetchall()


def scalar(sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """Return the only value of a statement."""
    ((value,),) = rows(sql, parameters)
    return value


def discrepancies_of(run_id: int) -> QuerySet[Discrepancy]:
    """Return what one run found, in the order in which money flows."""
    return Discrepancy.objects.filter(run_id=run_id).order_by("id")


def first_open_period_start() -> datetime | None:
    """Return when the oldest billing period that is still open began; None when every period is closed."""
    start: datetime | None = scalar("SELECT min(starts_at) FROM billing_billingperiod WHERE state = 'open'")
    return start


def next_customers_id(first: int, number: int) -> int | None:
    """Return the id of the customer after the next `number` of them from the id `first` on; None: there is none."""
    found = rows(
        "SELECT id FROM billing_customer WHERE id >= %(first)s ORDER BY id OFFSET %(number)s LIMIT 1",
        {"first": first, "number": number},
    )
    return next((customer_id for (customer_id,) in found), None)


def latest_round() -> ReconciliationRun | None:
    """Return the run that the task began last, finished or not."""
    return ReconciliationRun.objects.filter(actor=TASK_ACTOR).order_by("-started_at", "-id").first()


_USED = """
SELECT (SELECT count(*) FROM metering_event
         WHERE event_time >= %(range_start)s AND event_time < %(range_end)s),
       (SELECT count(*) FROM metering_eventconflict
         WHERE event_time >= %(range_start)s AND event_time < %(range_end)s),
       (SELECT count(*) FROM metering_quarantinedevent
         WHERE event_time >= %(range_start)s AND event_time < %(range_end)s AND resolved_at IS NULL),
       (SELECT count(*) FROM metering_window
         WHERE window_start >= %(range_start)s AND window_start < %(range_end)s)
"""

# Usage of the billing periods that began in the range; usage lines of those periods on any invoice that stands.
_COST = """
WITH period AS (
    SELECT p.id FROM billing_billingperiod p
      JOIN billing_planversion v ON v.id = p.plan_version_id AND v.currency = %(currency)s
     WHERE p.starts_at >= %(range_start)s AND p.starts_at < %(range_end)s
), accrued AS (
    SELECT coalesce(sum(rated), 0) AS rated, coalesce(sum(included), 0) AS included,
           coalesce(sum(credited), 0) AS credited
      FROM billing_usageaccrual WHERE period_id IN (SELECT id FROM period)
)
SELECT accrued.rated, accrued.included, accrued.credited,
       (SELECT coalesce(sum(l.exact_amount), 0)
          FROM billing_invoiceline l JOIN billing_invoice i ON i.id = l.invoice_id
         WHERE l.kind = 'usage' AND i.status <> 'void' AND l.period_id IN (SELECT id FROM period)),
       (SELECT coalesce(sum(amount), 0) FROM billing_absorbedusage WHERE period_id IN (SELECT id FROM period))
  FROM accrued
"""

# Left of the identity: documents. Right: the ledger's receivables, by what moved them.
_MONEY = """
SELECT (SELECT coalesce(sum(total_minor), 0) FROM billing_invoice
         WHERE status NOT IN ('draft', 'void') AND taken_over <> 'settled' AND currency = %(currency)s),
       coalesce(-sum(po.amount) FILTER (
           WHERE je.kind IN ('payment_succeeded', 'payment_applied', 'paid_out_of_band')), 0),
       coalesce(sum(po.amount), 0),
       coalesce(-sum(po.amount) FILTER (WHERE je.kind = 'customer_balance'), 0),
       coalesce(-sum(po.amount) FILTER (WHERE je.kind LIKE 'credit_note%%'), 0),
       coalesce(-sum(po.amount) FILTER (WHERE je.kind IN ('written_off', 'recovered')), 0)
  FROM ledger_account ac
  JOIN ledger_posting po ON po.account_id = ac.id
  JOIN ledger_journalentry je ON je.id = po.entry_id
 WHERE ac.kind = 'receivable' AND ac.currency = %(currency)s
"""


def figures(*, range_start: datetime, range_end: datetime, currency: str) -> Figures:
    """Return the figures of [range_start, range_end) in one currency; invoices and receivables: all that there are."""
    parameters = {"range_start": range_start, "range_end": range_end, "currency": currency}
    ((events, conflicts, quarantined, windows),) = rows(_USED, parameters)
    ((rated, included, credited, billed, absorbed),) = rows(_COST, parameters)
    ((invoiced_minor, collected, still_open, moved, credit_notes, written_off),) = rows(_MONEY, parameters)
    return Figures(
        events=events,
        conflicts=conflicts,
        quarantined=quarantined,
        windows=windows,
        rated=rated,
        included=included,
        credited=credited,
        billed=billed,
        invoiced=in_units(int(invoiced_minor), currency),
        collected=collected,
        open=still_open,
        moved_to_balance=moved,
        credit_notes=credit_notes,
        written_off=written_off,
        absorbed=absorbed,
    )


@dataclass(frozen=True, slots=True)
class PendingWork:
    """How far the closes of the periods that ended by an instant are, and what else is still on its way."""

    periods: int
    closed: int
    # Of those periods: invoices that Stripe has finalised and we know it.
    invoiced: int
    # Drafts that nothing moves any more until a person looks.
    held: int
    # Events of Stripe that are not projected yet, and those set aside after too many attempts.
    events_waiting: int
    events_dead: int
    # Requests to Stripe that were intended and have no outcome yet.
    intents: int

    @property
    def is_done(self) -> bool:
        return self.invoiced == self.periods and not self.events_waiting and not self.intents


_PENDING = """
SELECT count(*), count(*) FILTER (WHERE p.state = 'closed'),
       count(*) FILTER (WHERE i.status NOT IN ('draft', 'void')), count(*) FILTER (WHERE cl.held_reason <> ''),
       (SELECT count(*) FROM billing_inboxevent WHERE state NOT IN ('done', 'dead')),
       (SELECT count(*) FROM billing_inboxevent WHERE state = 'dead'),
       (SELECT count(*) FROM billing_outboxintent WHERE state = 'intended')
  FROM billing_billingperiod p
  LEFT JOIN billing_invoiceclose cl ON cl.period_id = p.id
  LEFT JOIN billing_invoice i ON i.id = cl.invoice_id
 WHERE p.ends_at <= %(ended_by)s
"""


def pending_work(*, ended_by: datetime) -> PendingWork:
    """Return what is still to be done for the billing periods that ended at or before an instant."""
    ((periods, closed, invoiced, held, waiting, dead, intents),) = rows(_PENDING, {"ended_by": ended_by})
    return PendingWork(periods, closed, invoiced, held, waiting, dead, intents)
