"""The proof of an invoice as a page: what it rests on, verifying it now, and the bundle to download."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from billing.admin_links import list_url, page_url, windows_url
from billing.invoicing.models import Invoice
from billing.invoicing.proofs import queries
from billing.invoicing.proofs.bundles import write_bundle
from billing.invoicing.proofs.models import InvoiceProof
from billing.invoicing.proofs.operations import document_of, verify_invoice
from billing.invoicing.proofs.tasks import task_verify_invoice
from billing.invoicing.proofs.verifier.proof import Document
from billing.invoicing.proofs.verifier.usage import Unreadable
from billing.money_text import exact_text, minor_text, quantity_text
from config import clock
from metering.queries import UnreadableArchive

SEES, VERIFIES, EXPORTS = "billing.view_invoiceproof", "billing.verify_invoiceproof", "billing.export_invoiceproof"
# Above so many events a worker verifies, and the page shows what came of it.
EVENTS_AT_ONCE_MAX = 20_000
SHOWN_MAX = 20
RATES_SHOWN_MAX = 50


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure at the top, as admin/billing/figures.html shows it."""

    name: str
    value: str
    note: str = ""
    tone: str = "plain"
    url: str = ""


@dataclass(frozen=True, slots=True)
class Payment:
    """What an allowance or a grant paid of a period."""

    name: str
    amount: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class RateRow:
    """What a rate came to in a period; the amounts as text."""

    name: str
    url: str
    quantity: str
    rated: str
    included: str
    credited: str
    unbilled: str


@dataclass(frozen=True, slots=True)
class PeriodCard:
    """A period of the proof."""

    title: str
    url: str
    terms: str
    windows: str
    windows_url: str
    events: str
    accruals: str
    accruals_url: str
    earlier: list[Payment]
    rates: list[RateRow]
    hidden_rates: int
    payments: list[Payment]


def proof_url(invoice_id: int) -> str:
    return reverse("proofs:proof", args=[invoice_id])


@require_safe
def proof_view(request: HttpRequest, number: int) -> HttpResponse:
    """What the proof of an invoice rests on; for one without a proof, what to do."""
    _require(request, SEES)
    invoice = _invoice(number)
    context = {**admin.site.each_context(request), "title": f"Proof of invoice {invoice}", "invoice": invoice}
    proof = queries.proof_of(invoice.pk)
    if proof is None:
        return TemplateResponse(request, "admin/billing/proof/none.html", context)
    may = request.user.has_perm
    try:
        document, wrong = document_of(proof)
        shown = {
            "figures": _figures(proof, document),
            "periods": [_period(one, document) for one in document["periods"]],
        }
    except (Unreadable, KeyError, TypeError, ValueError) as error:
        shown, wrong = {"figures": [], "periods": []}, [f"The proof cannot be read: {error}"]
    return TemplateResponse(
        request,
        "admin/billing/proof/page.html",
        context
        | shown
        | {
            "proof": proof,
            "wrong": wrong,
            "verifications": list(proof.verifications.order_by("-pk")[:SHOWN_MAX]),
            "may_verify": may(VERIFIES),
            "may_export": may(EXPORTS),
            "is_large": _events_of(proof) > EVENTS_AT_ONCE_MAX,
            "json_url": reverse("billing-api:invoice-proof", args=[invoice.stripe_invoice_id]),
        },
    )


@require_POST
def verify_view(request: HttpRequest, number: int) -> HttpResponse:
    """Verify now, or have a worker do it where there is much to read."""
    _require(request, VERIFIES)
    invoice = _invoice(number)
    proof = queries.proof_of(invoice.pk)
    if proof is None:
        raise Http404("The invoice has no proof.")
    actor = f"user:{request.user.get_username()}"
    if _events_of(proof) > EVENTS_AT_ONCE_MAX:
        task_verify_invoice.delay(invoice_id=invoice.pk, actor=actor)
        messages.info(request, "It is being verified; what came of it will be in the list below.")
    else:
        found = verify_invoice(invoice=invoice, actor=actor, now=clock.now())
        if found.is_proved:
            messages.success(request, f"Proved from {_counted(found.event_count, 'raw event')}.")
        else:
            messages.error(request, f"Not proved: {_counted(found.difference_count, 'difference')}, named below.")
    return HttpResponseRedirect(proof_url(number))


@require_POST
def bundle_view(request: HttpRequest, number: int) -> HttpResponseBase:
    """The bundle as a download; who took it is kept."""
    _require(request, SEES, EXPORTS)
    invoice = _invoice(number)
    proof = queries.proof_of(invoice.pk)
    if proof is None:
        raise Http404("The invoice has no proof.")
    if _events_of(proof) > EVENTS_AT_ONCE_MAX:
        words = f"There is much to write: use manage.py verify_invoice {invoice.stripe_invoice_id} --bundle FILE."
        messages.error(request, words)
        return HttpResponseRedirect(proof_url(number))
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the answer closes it
    try:
        name = write_bundle(file, proof)
    except (Unreadable, UnreadableArchive, FileNotFoundError) as error:
        file.close()
        messages.error(request, f"The bundle cannot be written: {error}")
        return HttpResponseRedirect(proof_url(number))
    file.seek(0)
    words = "Downloaded the bundle with the raw events."
    LogEntry.objects.log_actions(request.user.pk or 0, [proof], CHANGE, words, single_object=True)
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/zip")


def _require(request: HttpRequest, *permissions: str) -> None:
    if not all(request.user.has_perm(permission) for permission in permissions):
        raise PermissionDenied


def _invoice(number: int) -> Invoice:
    found = Invoice.objects.select_related("customer").filter(pk=number).first()
    if found is None:
        raise Http404("There is no such invoice.")
    return found


def _events_of(proof: InvoiceProof) -> int:
    """How many events the windows of the proof hold, by what it says itself."""
    try:
        document, _ = document_of(proof)
        return sum(row[5] for period in document["periods"] for row in period["windows"])
    except (Unreadable, KeyError, TypeError, IndexError):
        return 0


def _figures(proof: InvoiceProof, document: Document) -> Iterator[Figure]:
    currency = document["invoice"]["currency"]
    last = queries.latest_verification(proof)
    if last is None:
        yield Figure("Verified again", "not yet", "proved when it was made", "waiting")
    else:
        value, tone = ("proved", "good") if last.is_proved else ("differs", "bad")
        yield Figure("Verified again", value, f"{last.verified_at:%d %b %Y %H:%M} UTC by {last.verified_by}", tone)
    note = "made after the invoice was finalised" if proof.is_afterwards else "made before the invoice was finalised"
    yield Figure("Lines of ours", str(len(document["lines"])), note, url=page_url("billing.invoice", proof.invoice_id))
    yield Figure("They charge", minor_text(document["charged_minor"], currency))
    events = sum(row[5] for period in document["periods"] for row in period["windows"])
    yield Figure(
        "Rests on", _counted(events, "count"), f"of events by meters, in {_counted(proof.window_count, 'window')}"
    )
    yield Figure("Prices", str(len(document["rates"])), f"of {_counted(len(document['meters']), 'version')} of meters")


def _period(period: Document, document: Document) -> PeriodCard:
    currency, key = document["invoice"]["currency"], document["invoice"]["customer_key"]
    start, end = (datetime.fromisoformat(period[name]) for name in ("starts_at", "ends_at"))
    rates = {row["id"]: row for row in document["rates"]}
    return PeriodCard(
        title=f"{start:%d %b %Y %H:%M} – {end:%d %b %Y %H:%M} UTC",
        url=page_url("billing.billingperiod", period["id"]),
        terms=f"{period['plan_version']}, {period['kind']}, {_counted(period['seats'], 'seat')}",
        windows=_counted(len(period["windows"]), "window"),
        windows_url=windows_url(customer_key=key, start=start, end=end),
        events=_counted(sum(row[5] for row in period["windows"]), "count") + " of events",
        accruals=f"{_counted(period['accruals']['count'], 'run')} of rating, with entries",
        accruals_url=list_url("billing.usageaccrual", period__id__exact=period["id"]),
        earlier=[
            Payment(_earlier(row), exact_text(Decimal(row["amount"]), currency))
            for row in period["settled"][:SHOWN_MAX]
        ],
        rates=[_rate(row, rates, currency) for row in period["rates"][:RATES_SHOWN_MAX]],
        hidden_rates=max(len(period["rates"]) - RATES_SHOWN_MAX, 0),
        payments=_payments(period, currency),
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _earlier(row: Document) -> str:
    names = {"line": f"on invoice {row.get('invoice', '')}", "absorbed": "absorbed", "credit": "given back by a note"}
    return f"{names.get(row['kind'], row['kind'])}, rate {row['rate']}"


def _rate(row: list[Any], rates: dict[int, Document], currency: str) -> RateRow:
    rate = rates[row[0]]
    values = ", ".join(str(value) for value in rate["dimensions"].values())
    name = f"{rate['meter_code'] or rate['charge_model']} {values}".replace("_", " ").strip()
    rated, included, credited, unbilled = (exact_text(Decimal(text), currency) for text in row[2:])
    quantity = quantity_text(Decimal(row[1]))
    return RateRow(name, page_url("billing.rate", row[0]), quantity, rated, included, credited, unbilled)


def _payments(period: Document, currency: str) -> list[Payment]:
    """What each allowance and grant paid, over all rates."""
    names = {("allowance", one["id"]): f"Allowance {one['code']}" for one in period["allowances"]}
    names |= {("grant", one["id"]): f"Grant {one['id']}" for one in period["grants"]}
    sums: dict[tuple[str, int], Decimal] = {}
    for _, kind, source_id, amount, _ in period["paid"]:
        sums[kind, source_id] = sums.get((kind, source_id), Decimal(0)) + Decimal(amount)
    return [
        Payment(
            names.get(source, f"{source[0]} {source[1]}"),
            exact_text(amount, currency),
            page_url("promotions.creditgrant", source[1]) if source[0] == "grant" else "",
        )
        for source, amount in sums.items()
    ]
