"""What the pages show of usage that went through Stripe's meters."""

from collections.abc import Sequence
from dataclasses import dataclass

from billing.admin_links import list_url
from billing.invoicing.metered.models import MeteredEvent, MeteredPrice, MeteredSummary
from billing.invoicing.models import Invoice, InvoiceLine
from billing.money_text import minor_text

COLOURS = {
    MeteredEvent.State.INTENDED.label: "info",
    MeteredEvent.State.ACCEPTED.label: "success",
    MeteredEvent.State.NOT_COUNTED.label: "danger",
}
EVENTS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class MeteredRow:
    """One price of one period: its events, what counts of them, and Stripe's summary as it was read last."""

    meter: str
    period: str
    events: Sequence[MeteredEvent]
    left_out: int
    counted: str
    summary: MeteredSummary | None
    summary_text: str
    charged: str
    events_url: str


def meter_text(price: MeteredPrice) -> str:
    """What a meter counts, such as "claude-sonnet-5 input tokens"."""
    return f"{price.rate.subject} {price.rate.meter_code.replace('_', ' ')}".strip()


def events_url(line: InvoiceLine) -> str:
    """The events that brought a line; nothing for one that we pushed."""
    if line.metered_price_id is None:
        return ""
    return _events_url(line.period_id, line.metered_price_id)


def of_invoice(invoice: Invoice) -> list[MeteredRow]:
    """
    Every price that anything was sent of, of the periods on the invoice: also of one whose usage went as a line, and
    whose meter was brought back to nothing. Three queries.
    """
    lines = InvoiceLine.objects.filter(invoice=invoice, period__isnull=False)
    brought = {(line.period_id, line.metered_price_id): line for line in lines if line.metered_price_id is not None}
    periods = {line.period_id for line in lines}
    close = getattr(invoice, "close", None)
    if close is not None and close.period_id is not None:
        periods.add(close.period_id)
    events: dict[tuple[int, int], list[MeteredEvent]] = {}
    found = MeteredEvent.objects.filter(period_id__in=periods).select_related("price__rate", "period")
    for event in found.order_by("period_id", "price_id", "number"):
        events.setdefault((event.period_id, event.price_id), []).append(event)
    said: dict[tuple[int, int], MeteredSummary] = {}
    for summary in MeteredSummary.objects.filter(period_id__in=periods).order_by("pk"):
        said[summary.period_id, summary.price_id] = summary
    rows = []
    for key, of_key in events.items():
        price, currency = of_key[0].price, invoice.currency
        counted = sum(event.units for event in of_key if event.state != MeteredEvent.State.NOT_COUNTED)
        summary_of = said.get(key)
        line = brought.get(key)
        rows.append(
            MeteredRow(
                meter=meter_text(price),
                period=str(of_key[0].period),
                events=of_key[-EVENTS_SHOWN:],
                left_out=max(0, len(of_key) - EVENTS_SHOWN),
                counted=minor_text(counted * price.unit_minor, currency),
                summary=summary_of,
                summary_text=""
                if summary_of is None
                else minor_text(summary_of.stripe_units * price.unit_minor, currency),
                charged="as a line" if line is None else minor_text(line.amount_minor, currency),
                events_url=_events_url(*key),
            )
        )
    return rows


def _events_url(period_id: int | None, price_id: int) -> str:
    return list_url("billing.meteredevent", period__id__exact=period_id, price__id__exact=price_id)
