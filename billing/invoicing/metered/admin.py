"""Meter events and metered prices to read, and to have sent again what Stripe does not count."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.admin_links import NOTHING, link, list_url, page_link, page_url
from billing.invoicing.metered.models import MeteredEvent, MeteredPrice
from billing.invoicing.metered.page import COLOURS, meter_text
from billing.invoicing.metered.sending import MeterStuck, send_again
from billing.invoicing.metered.targets import Standing, standings
from billing.money_text import minor_text
from billing.read_only_admin import ReadOnlyAdmin
from billing.stripe.errors import StripeUnavailable
from billing.stripe.models import OutboxIntent
from config import clock

RESEND = "billing.resend_meteredevent"
_PERIOD = ("period__subscription__customer", "period__plan_version", "price__rate")


class AgainForm(forms.Form):
    reason = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="What was mended, for whoever asks later. Kept with the event.",
    )


@admin.register(MeteredEvent)
class MeteredEventAdmin(ReadOnlyAdmin):
    nothing_yet = "Nothing yet. Usage of plans that are sent to Stripe's meters shows here once it was rated."
    list_display = ("identifier", "customer_link", "meter", "units", "amount", "minute_at", "state_label", "error")
    list_select_related = _PERIOD
    list_filter = ("state",)
    search_fields = ("=identifier", "=period__subscription__customer__customer_key")
    search_help_text = "An identifier or a customer key"
    linked_by = frozenset({"period__id__exact", "price__id__exact"})
    change_form_outer_before_template = "admin/billing/metered/again_button.html"
    shown_with: ClassVar[dict[str, str]] = {"intent_link": "billing.view_outboxintent"}
    fields = (
        "identifier",
        "customer_link",
        "period_link",
        "meter",
        "units",
        "amount",
        "total",
        "minute_at",
        "state_label",
        "error",
        "again_link",
        "made_at",
        "made_by",
        "reason",
        "answered_at",
        "intent_link",
    )

    @display(description="Customer")
    def customer_link(self, event: MeteredEvent) -> str:
        customer = event.period.subscription.customer
        return page_link("billing.customer", customer.pk, customer)

    @display(description="Period")
    def period_link(self, event: MeteredEvent) -> str:
        return page_link("billing.billingperiod", event.period_id, event.period)

    @display(description="Meter", ordering="price")
    def meter(self, event: MeteredEvent) -> str:
        return page_link("billing.meteredprice", event.price_id, meter_text(event.price))

    @display(description="Change")
    def amount(self, event: MeteredEvent) -> str:
        return minor_text(event.units * event.price.unit_minor, event.period.plan_version.currency)

    @display(description="The period comes to")
    def total(self, event: MeteredEvent) -> str:
        return minor_text(event.total_units * event.price.unit_minor, event.period.plan_version.currency)

    @display(description="State", ordering="state", label=COLOURS)
    def state_label(self, event: MeteredEvent) -> str:
        return event.get_state_display()

    @display(description="Sent instead of")
    def again_link(self, event: MeteredEvent) -> str:
        return page_link("billing.meteredevent", event.again_of_id, event.again_of)

    @display(description="Its way to Stripe")
    def intent_link(self, event: MeteredEvent) -> str:
        intent = OutboxIntent.objects.filter(purpose=f"meter_event:{event.identifier}").first()
        return NOTHING if intent is None else page_link("billing.outboxintent", intent.pk, intent.get_state_display())

    def get_urls(self) -> list[URLPattern]:
        again = path(
            "<int:event_id>/again/", self.admin_site.admin_view(self.again_view), name="billing_meteredevent_again"
        )
        return [again, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        shown = {
            "may_resend": request.user.has_perm(RESEND),
            "is_sent_again": MeteredEvent.objects.filter(again_of_id=int(object_id)).exists()
            if object_id.isdecimal()
            else False,
            "subtitle": None,
        }
        response: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})
        return response

    def again_view(self, request: HttpRequest, event_id: int) -> HttpResponse:
        """Say what would be sent and ask why (GET, or POST with an error), then send it (POST)."""
        if not request.user.has_perm(RESEND):
            raise PermissionDenied
        rows = MeteredEvent.objects.exclude(state=MeteredEvent.State.INTENDED).select_related(*_PERIOD)
        event = rows.filter(pk=event_id).first()
        if event is None:
            raise Http404("There is no such event that Stripe has answered.")
        form = AgainForm(request.POST or None)
        if request.method == "POST" and form.is_valid() and self._send(request, event, form):
            return HttpResponseRedirect(page_url("billing.meteredevent", event_id))
        context = {
            **self.admin_site.each_context(request),
            "title": "Send usage to Stripe's meter again",
            "event": event,
            "meter": meter_text(event.price),
            "standing": _standing(event),
            "currency": event.period.plan_version.currency,
            "form": form,
            "cancel_url": page_url("billing.meteredevent", event_id),
        }
        status = 422 if request.method == "POST" else 200
        return TemplateResponse(request, "admin/billing/metered/again.html", context, status=status)

    def _send(self, request: HttpRequest, event: MeteredEvent, form: AgainForm) -> bool:
        """False when it was refused: the reason is then on the form."""
        actor, reason = f"user:{request.user.get_username()}", form.cleaned_data["reason"]
        try:
            made = send_again(event_id=event.pk, reason=reason, actor=actor, now=clock.now())
        except MeterStuck as stuck:
            form.add_error(None, f"Nothing was sent: {stuck}")
            return False
        except StripeUnavailable as failure:
            form.add_error(None, f"Stripe did not answer; it is sent by the next run: {failure}")
            return False
        self.log_change(request, event, f"Sent again: {made or 'nothing was left to send'} ({reason})")
        said = f"{made}: {made.get_state_display()}." if made is not None else "Nothing is left to send."
        self.message_user(request, said, messages.SUCCESS)
        return True


def _standing(event: MeteredEvent) -> Standing:
    return next(row for row in standings([event.period]) if row.price.pk == event.price_id)


@admin.register(MeteredPrice)
class MeteredPriceAdmin(ReadOnlyAdmin):
    nothing_yet = "Nothing yet. A price is made for each rate of a published plan version that is sent to meters."
    list_display = ("event_name", "version_link", "rate_link", "increment", "stripe_price_id", "made_at")
    list_select_related = ("plan_version__plan", "rate")
    search_fields = ("=event_name", "=stripe_price_id", "=stripe_meter_id")
    search_help_text = "The name of a meter's events, or an id of its meter or price at Stripe"
    fields = (
        "event_name",
        "version_link",
        "rate_link",
        "increment",
        "stripe_meter_id",
        "stripe_price_id",
        "made_at",
        "events_link",
    )

    @display(description="Plan version")
    def version_link(self, price: MeteredPrice) -> str:
        return page_link("billing.planversion", price.plan_version_id, price.plan_version)

    @display(description="Rate")
    def rate_link(self, price: MeteredPrice) -> str:
        return page_link("billing.rate", price.rate_id, price.rate)

    @display(description="One increment", ordering="unit_minor")
    def increment(self, price: MeteredPrice) -> str:
        return minor_text(price.unit_minor, price.plan_version.currency)

    @display(description="What was sent")
    def events_link(self, price: MeteredPrice) -> str:
        return link(list_url("billing.meteredevent", price__id__exact=price.pk), "Meter events")
