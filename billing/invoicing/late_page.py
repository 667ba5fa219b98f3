"""Late usage as pages tell it: what arrived, what it changed, and what was done about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import QuerySet

from billing.admin_links import page_url, windows_url
from billing.invoicing.models import Invoice
from billing.money_text import exact_text
from billing.rating.models import LateUsage
from billing.rating.rating import EXACT
from billing.subscriptions.models import BillingPeriod

SHOWN = 50
COLOURS = {
    LateUsage.State.FOUND: "info",
    LateUsage.State.WAITING: "info",
    LateUsage.State.DECISION: "danger",
    LateUsage.State.CORRECTING: "warning",
    LateUsage.State.SETTLED: "success",
}


@dataclass(frozen=True, slots=True)
class LateRow:
    """One change of a closed period, in words; amounts are exact, in the period's currency."""

    late: LateUsage
    period: BillingPeriod
    what: str
    received: str
    hours: str
    rated: str
    unbilled: str
    change: str
    hours_url: str

    @property
    def colour(self) -> str:
        return COLOURS[LateUsage.State(self.late.state)]


def of_period(period: BillingPeriod) -> list[LateRow]:
    """All late usage of a period, the newest first."""
    return rows(LateUsage.objects.filter(accrual__period=period))


def of_invoice(invoice: Invoice) -> list[LateRow]:
    """Late usage that an invoice asks for, and that of its own period that was settled elsewhere."""
    # Each by itself: an OR across their tables would read all late usage there ever was.
    on_it = LateUsage.objects.filter(invoice=invoice)
    corrected_by_it = LateUsage.objects.filter(accrual__period__late_corrections__invoice=invoice)
    closed_by_it = LateUsage.objects.filter(accrual__period__close__invoice=invoice)
    ids = on_it.values("pk").union(corrected_by_it.values("pk"), closed_by_it.values("pk"))
    return rows(LateUsage.objects.filter(pk__in=ids))


def rows(found: QuerySet[LateUsage]) -> list[LateRow]:
    """At most SHOWN, newest first; two queries."""
    found = found.select_related("accrual__period__plan_version", "accrual__period__subscription__customer", "invoice")
    return [_row(late) for late in found.order_by("-pk")[:SHOWN]]


def what_arrived(late: LateUsage) -> str:
    """Such as "2 events arrived, 1 was taken out"."""
    parts = [
        _counted(late.events, "event", "arrived"),
        _counted(late.voided, "event", "taken out"),
        _counted(late.restored, "event", "put back"),
    ]
    return ", ".join(part for part in parts if part) or "No event: a credit was issued or ended for the past"


def _row(late: LateUsage) -> LateRow:
    accrual = late.accrual
    period, currency = accrual.period, accrual.period.plan_version.currency
    return LateRow(
        late=late,
        period=period,
        what=what_arrived(late),
        received=_between(late.first_received_at, late.last_received_at),
        hours=_hours(late),
        rated=_before_after(late.rated_before, EXACT.add(late.rated_before, accrual.rated), currency),
        unbilled=_before_after(late.unbilled_before, EXACT.add(late.unbilled_before, accrual.unbilled), currency),
        change=exact_text(accrual.unbilled, currency),
        hours_url=_hours_url(late, period),
    )


def _counted(number: int, noun: str, verb: str) -> str:
    return f"{number} {noun if number == 1 else noun + 's'} {verb}" if number else ""


def _between(first: datetime | None, last: datetime | None) -> str:
    if first is None or last is None:
        return ""
    return _at(first) if _at(first) == _at(last) else f"{_at(first)} – {_at(last)}"


def _hours(late: LateUsage) -> str:
    if late.first_window is None:
        return ""
    counted = "1 hour" if late.windows == 1 else f"{late.windows} hours"
    return f"{counted}: {_between(late.first_window, late.last_window)}"


def _at(moment: datetime) -> str:
    return f"{moment:%d %b %Y %H:%M}"


def _before_after(before: Decimal, after: Decimal, currency: str) -> str:
    return f"{exact_text(before, currency)} → {exact_text(after, currency)}"


def _hours_url(late: LateUsage, period: BillingPeriod) -> str:
    if late.first_window is None:
        return ""
    key = period.subscription.customer.customer_key
    return windows_url(customer_key=key, start=late.first_window, end=period.ends_at)


def links_of(late: LateUsage) -> Iterable[tuple[str, str]]:
    """The accrual that found it and the documents that settle it, each with its address."""
    yield f"Accrual {late.accrual.revision}", page_url("billing.usageaccrual", late.accrual_id)
    if late.invoice_id is not None:
        yield f"Invoice {late.invoice}", page_url("billing.invoice", late.invoice_id)
    for one in late.accrual.period.late_corrections.filter(accrual_id__gte=late.accrual_id).order_by("pk"):
        if one.credit_note_id is not None:
            yield f"Credit note {one.credit_note}", page_url("billing.creditnote", one.credit_note_id)
        elif one.invoice_id is not None:
            yield f"{one.get_kind_display()} {one.invoice}", page_url("billing.invoice", one.invoice_id)
