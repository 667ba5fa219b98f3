"""
What became of an event after its window: its period, what it cost and who paid, the accruals since, the invoice line,
the entry.

What one event cost, and whether that was included, credited or on demand, follows from the order in which usage pays
(billing.rating.explanation.event_cost). Accruals, invoice lines and entries are of all usage of its price.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from django.db.models import Q

from billing.admin_links import page_url
from billing.invoicing.late_models import AbsorbedUsage, LateCreditLine
from billing.invoicing.models import Invoice, InvoiceLine
from billing.money_text import exact_text, minor_text
from billing.rating.explanation.event_cost import CountedEvent, EventCosts
from billing.rating.explanation.links import event_url, line_url
from billing.rating.explanation.model import EventCost
from billing.rating.models import UsageAccrualLine
from billing.rating.rating import plain
from billing.subscriptions.models import BillingPeriod
from config import clock
from metering.event_life import LifeOfWindow, LifeStage

SEES_PERIOD = "billing.view_billingperiod"
SEES_ACCRUAL = "billing.view_usageaccrual"
SEES_INVOICE = "billing.view_invoice"
SEES_ENTRY = "ledger.view_journalentry"

_TITLES = {"counted": "Price", "void": "Price", "waiting": "Not priced yet", "unpriced": "Not rated"}
_WAYS = {"allowance": "Included", "grant": "Paid by credit", "unbilled": "On demand"}


def stages(window: LifeOfWindow) -> Sequence[LifeStage]:
    """The stages of one event in one window, in the order in which money moves; each says so where there is none."""
    cost = EventCosts(now=clock.now()).of(_counted(window))
    if cost.period is None:
        return [LifeStage(None, "In no billing period", cost.text, "", SEES_PERIOD)]
    period = BillingPeriod.objects.select_related("plan_version").get(pk=cost.period.id)
    state = f"{period}, {period.get_state_display().lower()}"
    found = [LifeStage(None, "Billing period", state, page_url("billing.billingperiod", period.pk), SEES_PERIOD)]
    found += _cost(cost)
    if cost.price is None:
        return found
    rate_id = cost.price.rate_id
    return [*found, *_accruals(window, rate_id, period), *_invoiced(rate_id, period)]


def _counted(window: LifeOfWindow) -> CountedEvent:
    return CountedEvent(
        key=window.event_key.replace("-", ""),
        event_time=window.event_time,
        received_at=window.received_at,
        customer_key=window.customer_key,
        meter_code=window.meter_code,
        meter_version=window.meter_version,
        dimensions=window.dimensions,
        is_void=window.is_void,
    )


def _cost(cost: EventCost) -> Iterator[LifeStage]:
    """What the event cost, and each who paid for it with the reason; or why it cost nothing."""
    url = event_url(cost.event_key)
    yield LifeStage(None, _TITLES.get(cost.standing, "Cost not known"), cost.text, url, SEES_ACCRUAL)
    if cost.period is None:
        return
    for part in cost.parts:
        text = f"{exact_text(part.payer.amount, cost.period.currency)}: {part.why}"
        yield LifeStage(None, _WAYS[part.payer.kind], text, url, SEES_ACCRUAL)


def _accruals(window: LifeOfWindow, rate_id: int, period: BillingPeriod) -> Iterator[LifeStage]:
    """Every accrual of the rate since the event was received; what else arrived is in the same figures."""
    currency = period.plan_version.currency
    lines = UsageAccrualLine.objects.filter(accrual__period=period, rate_id=rate_id)
    since = lines.filter(accrual__aggregated_through__gte=window.received_at).select_related("accrual")
    is_rated = False
    for line in since.order_by("accrual__revision"):
        is_rated, accrual = True, line.accrual
        text = (
            f"Revision {accrual.revision}: {_signed(line.quantity)} units, {_signed(line.rated)} {currency} rated, "
            f"{_signed(line.unbilled)} {currency} of it to invoice"
        )
        yield LifeStage(
            accrual.recorded_at, "Accrued", text, page_url("billing.usageaccrual", accrual.pk), SEES_ACCRUAL
        )
        if accrual.journal_entry_id is not None:
            yield _entry(accrual.recorded_at, accrual.journal_entry_id)
    if not is_rated:
        yield LifeStage(None, "Not accrued yet", "The next accrual of its period counts it", "", SEES_ACCRUAL)


def _invoiced(rate_id: int, period: BillingPeriod) -> Iterator[LifeStage]:
    lines = InvoiceLine.objects.filter(period=period, rate_id=rate_id, kind=InvoiceLine.Kind.USAGE)
    lines = lines.select_related("invoice").order_by("invoice__created_at", "pk")
    for line in lines:
        invoice = line.invoice
        charged = minor_text(line.amount_minor, invoice.currency)
        title = "Invoice line" if invoice.status != Invoice.Status.VOID else "Invoice line, void"
        text = f"{charged} on {invoice}: {line.description}"
        yield LifeStage(invoice.finalized_at, title, text, line_url(line.pk), SEES_INVOICE)
    yield from _settled_otherwise(rate_id, period)
    if not lines and period.state == BillingPeriod.State.OPEN:
        text = f"The invoice of {period.ends_at:%d %b %Y} will have it"
        yield LifeStage(None, "Not invoiced yet", text, "", SEES_INVOICE)


def _settled_otherwise(rate_id: int, period: BillingPeriod) -> Iterator[LifeStage]:
    """Credit notes for late usage, and usage that was absorbed."""
    currency = period.plan_version.currency
    credited = LateCreditLine.objects.filter(Q(invoice_line__period=period, invoice_line__rate_id=rate_id))
    for line in credited.select_related("correction__credit_note").order_by("pk"):
        note = line.correction.credit_note
        if note is not None:
            text = f"{minor_text(-line.amount_minor, currency)} given back by {note}"
            yield LifeStage(note.issued_at, "Credit note", text, page_url("billing.creditnote", note.pk), SEES_INVOICE)
    for row in AbsorbedUsage.objects.filter(period=period, rate_id=rate_id).order_by("pk"):
        text = f"{exact_text(row.amount, currency)}: {row.reason}"
        url = page_url("billing.absorbedusage", row.pk)
        yield LifeStage(row.recorded_at, "Absorbed", text, url, "billing.view_absorbedusage")


def _entry(at: datetime, entry_id: int) -> LifeStage:
    return LifeStage(at, "Journal entry", f"#{entry_id}", page_url("ledger.journalentry", entry_id), SEES_ENTRY)


def _signed(number: Decimal) -> str:
    return f"{'+' if number >= 0 else '−'}{plain(abs(number))}"
