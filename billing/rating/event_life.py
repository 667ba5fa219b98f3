"""
What became of an event after its window: its period, the accruals since, who paid, the invoice line, the entry.

Money is known by window and price, not by event: what one event cost is its quantity at its rate, and its share of
allowance, credit and invoice is that of all usage of its rate in the period.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from django.db.models import Q

from billing.admin_links import page_url
from billing.catalog.models import Rate
from billing.catalog.queries import rates_for
from billing.invoicing.models import AbsorbedUsage, Invoice, InvoiceLine, LateCreditLine
from billing.money_text import exact_text, minor_text
from billing.rating.models import UsageAccrualLine
from billing.rating.queries import RateTotals, rate_totals
from billing.rating.rating import ZERO, RatingError, explain, plain
from billing.rating.target import described, rate_instant
from billing.subscriptions.models import BillingPeriod
from metering.event_life import LifeOfWindow, LifeStage

SEES_PERIOD = "billing.view_billingperiod"
SEES_ACCRUAL = "billing.view_usageaccrual"
SEES_INVOICE = "billing.view_invoice"
SEES_ENTRY = "ledger.view_journalentry"


def stages(window: LifeOfWindow) -> Sequence[LifeStage]:
    """The stages of one event in one window, in the order in which money moves; each says so where there is none."""
    period = _period_of(window)
    if period is None:
        text = "Its instant lies in no billing period of this customer, so nobody pays for it"
        return [LifeStage(None, "In no billing period", text, "", SEES_PERIOD)]
    state = f"{period}, {period.get_state_display().lower()}"
    found = [LifeStage(None, "Billing period", state, page_url("billing.billingperiod", period.pk), SEES_PERIOD)]
    rate = _rate_of(window, period)
    if rate is None:
        text = f"No rate for {window.meter_code} of {described(window.dimensions)} applies"
        return [*found, LifeStage(None, "Not rated", text, "", SEES_ACCRUAL)]
    found += [*_price(window, rate, period), *_accruals(window, rate, period), *_funding(rate, period)]
    return [*found, *_invoiced(rate, period)]


def _period_of(window: LifeOfWindow) -> BillingPeriod | None:
    at = window.event_time
    found = BillingPeriod.objects.filter(
        subscription__customer__customer_key=window.customer_key, starts_at__lte=at, ends_at__gt=at
    )
    return found.select_related("plan_version", "subscription").first()


def _rate_of(window: LifeOfWindow, period: BillingPeriod) -> Rate | None:
    at = rate_instant(window.window_start, period.starts_at)
    return rates_for(period.plan_version.rate_card_id).lookup(window.meter_code, window.dimensions, at)


def _price(window: LifeOfWindow, rate: Rate, period: BillingPeriod) -> Iterator[LifeStage]:
    currency = period.plan_version.currency
    quantity = ZERO if window.is_void else window.quantity
    try:
        text = explain(quantity, rate.unit_price or ZERO, rate.unit_size or 1, currency)
    except RatingError as error:
        text = str(error)
    if window.is_void:
        text = f"Taken out by a correction, so it costs nothing: {text}"
    yield LifeStage(None, "Price", text, page_url("billing.rate", rate.pk), SEES_ACCRUAL)


def _accruals(window: LifeOfWindow, rate: Rate, period: BillingPeriod) -> Iterator[LifeStage]:
    """Every accrual of the rate since the event was received; what else arrived is in the same figures."""
    currency = period.plan_version.currency
    lines = UsageAccrualLine.objects.filter(accrual__period=period, rate=rate)
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


def _funding(rate: Rate, period: BillingPeriod) -> Iterator[LifeStage]:
    """Who pays for all usage of this rate in the period."""
    totals = next((one for one in rate_totals(period.pk) if one.rate.pk == rate.pk), None)
    if totals is None or not totals.rated:
        return
    currency = period.plan_version.currency
    parts = [("by the allowance", totals.included), ("by credits", totals.credited), ("to invoice", totals.unbilled)]
    shares = ", ".join(
        f"{exact_text(amount, currency)} {who} ({_percent(amount, totals)} %)" for who, amount in parts if amount
    )
    text = f"Of {exact_text(totals.rated, currency)} for this rate in the period: {shares}"
    yield LifeStage(None, "Who pays", text, page_url("billing.billingperiod", period.pk), SEES_ACCRUAL)


def _invoiced(rate: Rate, period: BillingPeriod) -> Iterator[LifeStage]:
    lines = InvoiceLine.objects.filter(period=period, rate=rate, kind=InvoiceLine.Kind.USAGE)
    lines = lines.select_related("invoice").order_by("invoice__created_at", "pk")
    for line in lines:
        invoice = line.invoice
        charged = minor_text(line.amount_minor, invoice.currency)
        title = "Invoice line" if invoice.status != Invoice.Status.VOID else "Invoice line, void"
        text = f"{charged} on {invoice}: {line.description}"
        yield LifeStage(invoice.finalized_at, title, text, page_url("billing.invoice", invoice.pk), SEES_INVOICE)
    yield from _settled_otherwise(rate, period)
    if not lines and period.state == BillingPeriod.State.OPEN:
        text = f"The invoice of {period.ends_at:%d %b %Y} will have it"
        yield LifeStage(None, "Not invoiced yet", text, "", SEES_INVOICE)


def _settled_otherwise(rate: Rate, period: BillingPeriod) -> Iterator[LifeStage]:
    """Credit notes for late usage, and usage that was absorbed."""
    currency = period.plan_version.currency
    credited = LateCreditLine.objects.filter(Q(invoice_line__period=period, invoice_line__rate=rate))
    for line in credited.select_related("correction__credit_note").order_by("pk"):
        note = line.correction.credit_note
        if note is not None:
            text = f"{minor_text(-line.amount_minor, currency)} given back by {note}"
            yield LifeStage(note.issued_at, "Credit note", text, page_url("billing.creditnote", note.pk), SEES_INVOICE)
    for row in AbsorbedUsage.objects.filter(period=period, rate=rate).order_by("pk"):
        text = f"{exact_text(row.amount, currency)}: {row.reason}"
        url = page_url("billing.absorbedusage", row.pk)
        yield LifeStage(row.recorded_at, "Absorbed", text, url, "billing.view_absorbedusage")


def _entry(at: datetime, entry_id: int) -> LifeStage:
    return LifeStage(at, "Journal entry", f"#{entry_id}", page_url("ledger.journalentry", entry_id), SEES_ENTRY)


def _percent(amount: Decimal, totals: RateTotals) -> str:
    """The share of a rate's usage, in percent with one place; a figure to look at, nothing is computed from it."""
    return f"{amount * 100 / totals.rated:.1f}"


def _signed(number: Decimal) -> str:
    return f"{'+' if number >= 0 else '−'}{plain(abs(number))}"
