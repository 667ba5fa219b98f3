"""Usage that Stripe left off an invoice: what waits for a person, and the decision about it."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from billing.admin_links import NOTHING, link, page_link, page_url
from billing.invoicing.metered.deciding import DECIDE, decide_shortfall
from billing.invoicing.metered.models import MeteredShortfall
from billing.invoicing.metered.shortfalls import WAYS, Way, waiting, words_of
from billing.invoicing.models import Invoice
from billing.money_text import minor_text
from billing.payments.deciding_admin import PagesAdmin, WordsForm, actor_of
from config import clock

WAITS, CHARGED = "Waits for a person", "On its invoice as it was written"
DELETED = "Its draft was deleted: another invoice asks for it"
COLOURS = {WAITS: "danger", CHARGED: "success"}
_ROW = ("event__period__subscription__customer", "event__price__rate", "close__invoice", "decision")


class DecideForm(WordsForm):
    way = forms.ChoiceField(
        choices=[(way.value, way.label) for way in WAYS], widget=UnfoldAdminSelectWidget, label="What becomes of it"
    )
    field_order = ("way", "words")


class WaitingFilter(admin.SimpleListFilter):
    title = "what became of it"
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Waits for a person"), ("no", "Settled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[MeteredShortfall]) -> QuerySet[MeteredShortfall]:
        waits = Q(pk__in=waiting().values("pk"))
        return {"yes": queryset.filter(waits), "no": queryset.exclude(waits)}.get(self.value() or "", queryset)


@admin.register(MeteredShortfall)
class MeteredShortfallAdmin(PagesAdmin):
    list_display = ("amount", "customer_link", "period_link", "invoice_link", "event_link", "state_label", "found_at")
    list_select_related = _ROW
    list_filter = (WaitingFilter,)
    search_fields = ("=event__identifier", "=event__period__subscription__customer__customer_key")
    search_help_text = "An identifier or a customer key"
    fields = (
        "amount",
        "customer_link",
        "period_link",
        "invoice_link",
        "event_link",
        "said",
        "found_at",
        "state_label",
        "decided",
        "decide_link",
    )

    @display(description="Amount", ordering="amount_minor")
    def amount(self, row: MeteredShortfall) -> str:
        return minor_text(row.amount_minor, row.close.invoice.currency)

    @display(description="Customer")
    def customer_link(self, row: MeteredShortfall) -> str:
        customer = row.event.period.subscription.customer
        return page_link("billing.customer", customer.pk, customer)

    @display(description="Period")
    def period_link(self, row: MeteredShortfall) -> str:
        return page_link("billing.billingperiod", row.event.period_id, row.event.period)

    @display(description="Invoice")
    def invoice_link(self, row: MeteredShortfall) -> str:
        return page_link("billing.invoice", row.close.invoice_id, row.close.invoice)

    @display(description="Meter event")
    def event_link(self, row: MeteredShortfall) -> str:
        return page_link("billing.meteredevent", row.event_id, row.event)

    @display(description="What Stripe said")
    def said(self, row: MeteredShortfall) -> str:
        return row.event.error

    @display(description="State", label=COLOURS)
    def state_label(self, row: MeteredShortfall) -> str:
        decision = getattr(row, "decision", None)
        if decision is not None:
            return str(decision)
        if row.close.invoice.finalized_at is not None:
            return CHARGED
        return DELETED if row.close.invoice.status == Invoice.Status.VOID else WAITS

    @display(description="Decided")
    def decided(self, row: MeteredShortfall) -> str:
        one = getattr(row, "decision", None)
        return NOTHING if one is None else f"{one.decided_by}, {one.decided_at:%d %b %Y %H:%M} UTC: {one.reason}"

    @display(description="What to do")
    def decide_link(self, row: MeteredShortfall) -> str:
        if self.state_label(row) != WAITS:
            return NOTHING
        address = reverse("admin:billing_meteredshortfall_decide", args=[row.pk])
        again = page_link("billing.meteredevent", row.event_id, "have it sent again")
        return format_html("{}, or {}", link(address, "Decide what becomes of it"), again)

    def get_urls(self) -> list[URLPattern]:
        return [self.view("<int:shortfall_id>/decide/", self.decide_view, "decide"), *super().get_urls()]

    def decide_view(self, request: HttpRequest, shortfall_id: int) -> HttpResponse:
        """Ask what to do and why (GET, or POST with an error), then keep the decision (POST)."""
        if not request.user.has_perm(DECIDE):
            raise PermissionDenied
        row = MeteredShortfall.objects.select_related(*_ROW).filter(pk=shortfall_id).first()
        if row is None:
            raise Http404("There is no such shortfall.")
        form = DecideForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            way, words = form.cleaned_data["way"], form.cleaned_data["words"]

            def work() -> None:
                decide_shortfall(shortfall_id=row.pk, way=way, reason=words, actor=actor_of(request), now=clock.now())

            if self.act(request, form, row, f"Decided: {Way(way).label} ({words})", work):
                self.message_user(request, "Decided. Let the invoice go on, if it is held.", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.meteredshortfall", row.pk))
        context = {
            "title": "Decide about usage that Stripe left off an invoice",
            "facts": [
                ("Invoice", row.close.invoice),
                ("Period", row.event.period),
                ("Amount", self.amount(row)),
                ("What happened", words_of(row)),
            ],
            "note": "All that Stripe left off the same line is decided with it.",
            "form": form,
            "button": "Decide",
            "is_good": True,
            "back_url": page_url("billing.meteredshortfall", row.pk),
        }
        return self.page(request, "recovery/ask.html", context, status=422 if form.is_bound else 200)
