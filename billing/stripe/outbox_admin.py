"""Writes to Stripe to read, and to carry on where one did not end well."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.admin_links import page_url
from billing.read_only_admin import ReadOnlyAdmin
from billing.stripe import gateway, outbox_page, redriving
from billing.stripe.errors import OutboxRefusal, StripeRefused, StripeUnavailable
from billing.stripe.models import OutboxIntent
from billing.stripe.redriving import Redriven
from config import clock

TEMPLATES = "admin/billing/outboxintent"
State = OutboxIntent.State
STATE_COLOURS = {
    State.SUCCEEDED.label: "success",
    State.REFUSED.label: "danger",
    State.INTENDED.label: "warning",
    State.SUPERSEDED.label: "info",
    State.ABANDONED.label: "info",
}
ABANDON_TEXT = (
    "It is looked for at Stripe first: what was carried out is recorded as done and cannot be abandoned. Else it is"
    " never sent, and whoever asked for it is told so."
)
Do = Callable[..., Redriven]
# What one may do with an intent: the operation and its page's title.
VERBS: dict[str, tuple[Do, str]] = {
    "redrive": (redriving.redrive, "Carry on with"),
    "abandon": (redriving.abandon, "Abandon"),
}


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label="Why",
        max_length=redriving.REASON_CHARS_MAX,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It stays on the timeline, with your name.",
    )


class WaitingFilter(admin.SimpleListFilter):
    title = "attention"
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unfinished", "Unfinished for minutes"), ("person", "Unfinished or refused")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutboxIntent]) -> QuerySet[OutboxIntent]:
        if self.value() == "unfinished":
            return redriving.unfinished(queryset, now=clock.now())
        return queryset.filter(state__in=(State.INTENDED, State.REFUSED)) if self.value() == "person" else queryset


@admin.register(OutboxIntent)
class OutboxIntentAdmin(ReadOnlyAdmin):
    list_display = ("purpose", "state_label", "operation", "created_at", "attempts", "stripe_object_id", "finished_at")
    list_filter = ("state", WaitingFilter)
    search_fields = ("=purpose", "=operation", "=target", "=stripe_object_id", "=request_id")
    search_help_text = "A purpose, an operation, or an id at Stripe"
    linked_by = frozenset({"target__exact"})
    change_form_template = f"{TEMPLATES}/change_form.html"
    fields = ("purpose",)

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, intent: OutboxIntent) -> str:
        return intent.get_state_display()

    def get_urls(self) -> list[URLPattern]:
        verbs = [
            path(
                f"<uuid:intent_id>/{verb}/",
                self.admin_site.admin_view(self.decide_view),
                {"verb": verb},
                name=f"billing_outboxintent_{verb}",
            )
            for verb in VERBS
        ]
        return [*verbs, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        intent = self.get_object(request, object_id)
        if intent is not None and self.has_view_permission(request, intent):
            may_redrive = request.user.has_perm(redriving.PERMISSION)
            shown = outbox_page.sections(intent, may_redrive=may_redrive, now=clock.now())
            extra_context = {**(extra_context or {}), **shown, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def decide_view(self, request: HttpRequest, intent_id: UUID, verb: str) -> HttpResponse:
        """Say what would happen and ask why (GET, or POST with an error), then do it (POST)."""
        if not request.user.has_perm(redriving.PERMISSION):
            raise PermissionDenied
        intent = OutboxIntent.objects.filter(pk=intent_id).first()
        if intent is None:
            raise Http404("There is no such intent.")
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            done = self._do(request, intent, verb, form)
            if done is not None:
                return done
        way = redriving.way_of(intent, now=clock.now())
        labels = {name: label for name, label, _ in outbox_page.buttons(intent, now=clock.now())}
        context = {
            "title": f"{VERBS[verb][1]} {intent.purpose}",
            "intent": intent,
            "what": ABANDON_TEXT if verb == "abandon" else way.value,
            "request_text": outbox_page.request_text(intent),
            "form": form,
            "button": labels.get(verb),
            "is_danger": verb == "abandon" or way is redriving.Way.OVERWRITE,
            "cancel_url": page_url("billing.outboxintent", intent.pk),
        }
        context = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        status = 422 if form.is_bound else 200
        return TemplateResponse(request, f"{TEMPLATES}/decide.html", context, status=status)

    def _do(self, request: HttpRequest, intent: OutboxIntent, verb: str, form: ReasonForm) -> HttpResponse | None:
        """Do it in one try, because somebody waits for the page; None when the form has to say why not."""
        reason, actor = form.cleaned_data["reason"], f"user:{request.user.get_username()}"
        try:
            with gateway.one_try():
                done = VERBS[verb][0](intent_id=intent.pk, actor=actor, reason=reason, now=clock.now())
        except OutboxRefusal as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, str(refusal))
            return None
        except (StripeRefused, StripeUnavailable) as failure:
            said, level = f"Stripe: {failure}", messages.ERROR
        else:
            said, level = done.said, messages.SUCCESS
        self.log_change(request, intent, f"{VERBS[verb][1]}: {reason}. {said}")
        self.message_user(request, said, level)
        return HttpResponseRedirect(page_url("billing.outboxintent", intent.pk))
