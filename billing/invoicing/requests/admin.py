"""Requests about invoices: what waits for a second person first, asking for one, and deciding about somebody else's."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Case, QuerySet, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display

from billing.admin_links import list_url, page_link, page_url
from billing.invoicing.models import Invoice
from billing.invoicing.requests import operations, page
from billing.invoicing.requests.forms import CreditForm, OneOffForm, RequestForm, VoidForm, WordsForm
from billing.invoicing.requests.models import InvoiceRequest
from billing.invoicing.requests.terms import InvoiceRequestError
from billing.money_text import minor_text
from billing.read_only_admin import ReadOnlyAdmin
from config import clock

TEMPLATES = "admin/billing/invoicerequest"
Kind, State = InvoiceRequest.Kind, InvoiceRequest.State
STATE_COLOURS = {
    State.WAITING.label: "warning",
    State.INTENDED.label: "info",
    State.DONE.label: "success",
    State.REFUSED.label: "danger",
    State.CALLED_OFF.label: "info",
}
Decide = Callable[..., InvoiceRequest]
DECISIONS: dict[str, tuple[Decide, str, str]] = {
    "approve": (operations.approve, "Approve", "Approved: it is carried out now."),
    "reject": (operations.reject, "Reject", "Rejected: nothing is done."),
    "withdraw": (operations.withdraw, "Withdraw", "Withdrawn: nothing is done."),
}
TITLES = {Kind.ONE_OFF: "New one-off invoice", Kind.VOID: "Void invoice", Kind.CREDIT_NOTE: "New credit note"}


@admin.register(InvoiceRequest)
class InvoiceRequestAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "state_label", "amount", "customer_link", "invoice_link", "requested_by", "requested_at")
    list_select_related = ("customer", "invoice")
    list_filter = ("state", "kind")
    search_fields = ("=id", "=customer__customer_key", "=invoice__number", "=invoice__stripe_invoice_id", "reason")
    search_help_text = "The number of a request, a customer key, an invoice, or words of the reason"
    linked_by = frozenset({"state__exact", "invoice__id__exact", "customer__id__exact"})
    list_before_template = f"{TEMPLATES}/before_list.html"
    fields = ("reason",)

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        return (Case(When(state=State.WAITING, then=0), default=1), "-requested_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[InvoiceRequest]:
        found: QuerySet[InvoiceRequest] = super().get_queryset(request)
        return found.select_related("customer", "invoice", "decision", "order", "credit_note")

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, asked: InvoiceRequest) -> str:
        return asked.get_state_display()

    @display(description="Amount", ordering="amount_minor")
    def amount(self, asked: InvoiceRequest) -> str:
        return minor_text(asked.amount_minor, asked.currency)

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, asked: InvoiceRequest) -> str:
        return page_link("billing.customer", asked.customer_id, asked.customer)

    @display(description="Invoice")
    def invoice_link(self, asked: InvoiceRequest) -> str:
        return page_link("billing.invoice", asked.invoice_id, asked.invoice)

    def get_urls(self) -> list[URLPattern]:
        def view(route: str, function: Callable[..., HttpResponse], name: str, **terms: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(function), terms, name=f"billing_invoicerequest_{name}")

        return [
            view("new/", self.ask_view, "one_off", kind=Kind.ONE_OFF),
            view("void/<int:invoice_id>/", self.ask_view, "void", kind=Kind.VOID),
            view("credit/<int:invoice_id>/", self.ask_view, "credit", kind=Kind.CREDIT_NOTE),
            *(view(f"<int:request_id>/{verb}/", self.decide_view, verb, verb=verb) for verb in DECISIONS),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_ask = request.user.has_perm(operations.PERMISSIONS[Kind.ONE_OFF])
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), "may_ask": may_ask})
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        asked = self.get_object(request, object_id)
        if asked is not None and self.has_view_permission(request, asked):
            shown = page.sections(asked, may=request.user.has_perm, actor=_actor(request))
            extra_context = {**(extra_context or {}), **shown, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def ask_view(self, request: HttpRequest, kind: str, invoice_id: int | None = None) -> HttpResponse:
        """Fill in (GET, or POST with an error), see what it does (POST), ask for it (POST with `confirmed`)."""
        if not request.user.has_perm(operations.PERMISSIONS[kind]):
            raise PermissionDenied
        invoice = Invoice.objects.select_related("customer", "subscription").filter(pk=invoice_id or 0).first()
        if invoice is None and kind != Kind.ONE_OFF:
            raise Http404("There is no such invoice.")
        form = _form(kind, request, invoice)
        if request.method != "POST" or not form.is_valid() or "edit" in request.POST:
            return self._show(request, kind, form, invoice)
        now = clock.now()
        try:
            wanted = form.wanted()
            if "confirmed" in request.POST:
                with transaction.atomic():
                    asked = operations.ask(
                        wanted,
                        reason=form.cleaned_data["reason"],
                        actor=_actor(request),
                        idempotency_key=form.cleaned_data["idempotency_key"],
                        now=now,
                    )
                    if asked.requested_at == now:
                        self.log_change(request, asked, f"Asked for: {asked} ({asked.reason})")
                waits = asked.state == State.WAITING
                self.message_user(
                    request, "It waits for a second person." if waits else "It is carried out now.", messages.SUCCESS
                )
                return HttpResponseRedirect(page_url("billing.invoicerequest", asked.pk))
            weighed = operations.weigh(wanted, actor=_actor(request), now=now)
        except InvoiceRequestError as refusal:
            form.show(refusal)
            return self._show(request, kind, form, invoice)
        preview = {
            "lines": page.preview(wanted),
            "facts": page.facts(wanted.kind, wanted.terms, wanted.invoice, weighed.currency),
            "weighed": weighed,
            "why_waiting": operations.why_waiting(weighed) if weighed.needs_second_person else "",
        }
        return self._show(request, kind, form.hidden(), invoice, preview=preview)

    def _show(
        self,
        request: HttpRequest,
        kind: str,
        form: RequestForm,
        invoice: Invoice | None,
        *,
        preview: dict[str, Any] | None = None,
    ) -> HttpResponse:
        back = list_url("billing.invoicerequest") if invoice is None else page_url("billing.invoice", invoice.pk)
        title = TITLES[Kind(kind)] if invoice is None else f"{TITLES[Kind(kind)]} {invoice}"
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "form": form,
            "invoice": invoice,
            "preview": preview,
            "is_void": kind == Kind.VOID,
            "q": request.GET.get("q", ""),
            "cancel_url": back,
        }
        status = 422 if form.errors else 200
        return TemplateResponse(request, f"{TEMPLATES}/ask.html", context, status=status)

    def decide_view(self, request: HttpRequest, request_id: int, verb: str) -> HttpResponse:
        """Show what was asked for and ask why (GET, or POST with an error), then decide (POST)."""
        decide, button, told = DECISIONS[verb]
        asked = self.get_queryset(request).filter(pk=request_id).first()
        if asked is None:
            raise Http404("There is no such request.")
        shown = page.sections(asked, may=request.user.has_perm, actor=_actor(request))
        if not shown["may_withdraw" if verb == "withdraw" else "may_decide"] and asked.state == State.WAITING:
            raise PermissionDenied
        form = WordsForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            words = form.cleaned_data["words"]
            try:
                with transaction.atomic():
                    decide(request_id=request_id, words=words, actor=_actor(request), now=clock.now())
                    self.log_change(request, asked, f"{button}: {words}")
                self.message_user(request, told, messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.invoicerequest", request_id))
            except InvoiceRequestError as refusal:
                form.show(refusal)
        context = {
            **self.admin_site.each_context(request),
            **shown,
            "title": f"{button}: {asked}",
            "form": form,
            "button": button,
            "verb": verb,
        }
        return TemplateResponse(request, f"{TEMPLATES}/decide.html", context, status=422 if form.errors else 200)


def _form(kind: str, request: HttpRequest, invoice: Invoice | None) -> RequestForm:
    data = request.POST if request.method == "POST" else None
    if invoice is None:
        return OneOffForm(data, initial={"customer_key": request.GET.get("customer", "")})
    if kind == Kind.VOID:
        return VoidForm(data, invoice=invoice)
    return CreditForm(data, invoice=invoice, words=request.GET.get("q", ""))


def _actor(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"
