"""
GET only: why a line, an accrual, a period or an event comes to what it does, computed again at each request.

A service's key needs the scope billing:read, and usage:read too for what an event cost, as that tells what was used; a
person who is signed in needs to be staff who may see what is asked for.
"""

import re
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.views import APIView

from billing.api import parameters
from billing.api import schema as described
from billing.api.refusals import NotComputable, NotThere, Refusal
from billing.customers.models import Customer
from billing.invoicing.models import Invoice, InvoiceLine
from billing.rating.explanation import as_json, as_text, gather
from billing.rating.explanation.event_cost import costs_of_event
from billing.rating.explanation.gather import NothingToExplain
from billing.rating.explanation.model import EventCost, Explanation
from billing.subscriptions.models import BillingPeriod
from config import clock
from metering import queries as metering_queries

SEES_USAGE, SEES_INVOICE, SEES_EVENT = "billing.view_usageaccrual", "billing.view_invoice", "metering.view_usageevent"
PERIODS_MAX = 200
_KEY = re.compile(r"[0-9a-f]{32}", re.ASCII)


class BillingView(APIView):
    """What all have in common: who may read, which parameters there are, and how a refusal is told."""

    required_scopes: ClassVar[dict[str, tuple[str, ...]]] = {"GET": ("billing:read",)}
    permissions: ClassVar[tuple[str, ...]] = (SEES_USAGE,)
    takes: ClassVar[frozenset[str]] = frozenset()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.auth is None and not all(request.user.has_perm(one) for one in self.permissions):
            self.permission_denied(request, message="Your role may not see this.")
        parameters.require_known(request.query_params, self.takes)

    def handle_exception(self, exc: Exception) -> Any:
        return exc.answer() if isinstance(exc, Refusal) else super().handle_exception(exc)


class Explained(BillingView):
    """One explanation, as JSON or as text."""

    takes = frozenset({"as"})

    def answer(self, request: Request, explain: Callable[..., Explanation], number: int) -> HttpResponse:
        form = parameters.form(request.query_params)
        try:
            explained = explain(number, now=clock.now())
        except NothingToExplain as error:
            raise NotThere("number", str(error)) from None
        if form == "text":
            return _text(as_text.explanation_text(explained))
        return _json(as_json.explanation_body(explained))


class InvoiceLineExplained(Explained):
    permissions = (SEES_USAGE, SEES_INVOICE)

    @described.invoice_line
    def get(self, request: Request, number: int) -> HttpResponse:
        return self.answer(request, gather.explain_invoice_line, number)


class AccrualExplained(Explained):
    @described.accrual
    def get(self, request: Request, number: int) -> HttpResponse:
        return self.answer(request, gather.explain_accrual, number)


class AccrualLineExplained(Explained):
    @described.accrual_line
    def get(self, request: Request, number: int) -> HttpResponse:
        return self.answer(request, gather.explain_accrual_line, number)


class PeriodExplained(Explained):
    @described.period
    def get(self, request: Request, number: int) -> HttpResponse:
        return self.answer(request, gather.explain_period, number)


class DayExplained(BillingView):
    @described.day
    def get(self, request: Request, number: int, rate: int, day: str) -> HttpResponse:
        start = parameters.day(day)
        try:
            hours = gather.explain_day(number, rate, start, now=clock.now())
        except gather.CannotCompute as error:
            raise NotComputable("number", str(error)) from None
        except NothingToExplain as error:
            raise NotThere("number", str(error)) from None
        return _json(as_json.day_body(number, rate, start, hours))


class EventCostOf(BillingView):
    """What one event cost, with its dimensions and quantities."""

    required_scopes = {"GET": ("billing:read", "usage:read")}
    permissions = (SEES_USAGE, SEES_EVENT)

    def answer(self, request: Request, key: str | None, *, field: str, named: str) -> HttpResponse:
        form = parameters.form(request.query_params)
        costs: tuple[EventCost, ...] | None = None if key is None else costs_of_event(key, now=clock.now())
        if key is None or costs is None:
            raise NotThere(
                field, f"No event {named} is kept here: it was never accepted, or its month lies in the archive."
            )
        return _text(as_text.event_text(costs)) if form == "text" else _json(as_json.event_body(costs, event_key=key))


class EventCostByKey(EventCostOf):
    takes = frozenset({"as"})

    @described.event_cost
    def get(self, request: Request, key: str) -> HttpResponse:
        if not _KEY.fullmatch(key):
            raise NotThere("key", "A key has 32 hexadecimal digits. Without it, ask by-id with source and id.")
        return self.answer(request, key, field="key", named=key)


class EventCostById(EventCostOf):
    takes = frozenset({"as", "source", "id"})

    @described.event_cost_by_id
    def get(self, request: Request) -> HttpResponse:
        query = request.query_params
        source = parameters.text(query, "source", "Name the event's source, and its id.")
        event_id = parameters.text(query, "id", "Name the event's id, and its source.")
        key = metering_queries.find_key(source, event_id)
        return self.answer(request, key, field="id", named=repr(event_id))


class CustomerPeriods(BillingView):
    @described.customer_periods
    def get(self, request: Request, customer_key: str) -> HttpResponse:
        known = parameters.is_text(customer_key) and Customer.objects.filter(customer_key=customer_key).exists()
        if not known:
            raise NotThere("customer_key", f"There is no customer {customer_key[:128]!r}. Check the key.")
        found = BillingPeriod.objects.filter(subscription__customer__customer_key=customer_key)
        found = found.select_related("plan_version__plan").order_by("-starts_at", "-pk")[:PERIODS_MAX]
        rows = [
            {
                "id": period.pk,
                "starts_at": as_json.instant_text(period.starts_at),
                "ends_at": as_json.instant_text(period.ends_at),
                "kind": period.kind,
                "state": period.state,
                "terms": str(period.plan_version),
                "explanation": _url(request, "period", period.pk),
            }
            for period in found
        ]
        return _json({"customer_key": customer_key, "periods": rows})


class InvoiceLines(BillingView):
    permissions = (SEES_USAGE, SEES_INVOICE)

    @described.invoice
    def get(self, request: Request, stripe_invoice_id: str) -> HttpResponse:
        invoice = None
        if parameters.is_text(stripe_invoice_id):
            invoice = Invoice.objects.select_related("customer").filter(stripe_invoice_id=stripe_invoice_id).first()
        if invoice is None:
            raise NotThere("stripe_invoice_id", f"There is no invoice {stripe_invoice_id[:100]!r}. Check its id.")
        lines = [_line(request, line) for line in invoice.lines.order_by("position")]
        return _json(
            {
                "invoice": invoice.stripe_invoice_id,
                "number": invoice.number,
                "status": invoice.status,
                "customer_key": invoice.customer.customer_key,
                "currency": invoice.currency,
                "total_minor": invoice.total_minor,
                "lines": lines,
            }
        )


def _line(request: Request, line: InvoiceLine) -> as_json.Body:
    is_usage = line.kind in (InvoiceLine.Kind.USAGE, InvoiceLine.Kind.COVERAGE) and line.period_id is not None
    return {
        "id": line.pk,
        "kind": line.kind,
        "description": line.description,
        "quantity": as_json.number_text(line.quantity),
        "exact_amount": as_json.number_text(line.exact_amount),
        "rounding": as_json.number_text(line.rounding),
        "amount_minor": line.amount_minor,
        "explanation": _url(request, "invoice-line", line.pk) if is_usage else None,
    }


def _url(request: Request, name: str, number: int) -> str:
    return str(request.build_absolute_uri(reverse(f"billing-api:{name}", args=[number])))


def _json(body: as_json.Body) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(body), content_type="application/json")


def _text(text: str) -> HttpResponse:
    return HttpResponse(text, content_type="text/plain; charset=utf-8")
