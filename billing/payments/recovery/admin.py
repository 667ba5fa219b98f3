"""Recovery to look at: cases with their story, policies, e-mails as they are sent, cards; and giving up a debt."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html_join
from unfold.decorators import display

from billing.admin_links import page_link, page_url
from billing.money_text import minor_text
from billing.payments.deciding_admin import DecidingAdmin, Facts, PagesAdmin, ReasonForm, actor_of
from billing.payments.recovery import messages as emails
from billing.payments.recovery import page
from billing.payments.recovery.models import (
    Message,
    PaymentCard,
    RecoveryCase,
    RecoveryPolicy,
    WriteOffRequest,
)
from billing.payments.recovery.policy import OURS, terms_of
from billing.payments.recovery.write_offs import DECIDE, cases_to_decide, decide_write_off, request_write_off
from billing.payments.two_people import Outcome
from billing.read_only_admin import ReadOnlyAdmin
from config import clock

STATE_COLOURS = {
    RecoveryCase.State.OPEN.label: "danger",
    RecoveryCase.State.WRITTEN_OFF.label: "warning",
    RecoveryCase.State.CLOSED.label: "success",
}


class WriteOffFilter(admin.SimpleListFilter):
    title = "write-off"
    parameter_name = "write_off"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "To decide")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RecoveryCase]) -> QuerySet[RecoveryCase]:
        return queryset.filter(pk__in=cases_to_decide().values("pk")) if self.value() == "waiting" else queryset


@admin.register(RecoveryCase)
class RecoveryCaseAdmin(PagesAdmin):
    list_display = (
        "invoice_text",
        "customer_link",
        "amount",
        "state_label",
        "outcome_text",
        "failed_at",
        "restricts_at",
        "next_step_at",
    )
    list_select_related = ("invoice", "customer")
    list_filter = ("state", "outcome", WriteOffFilter)
    linked_by = frozenset({"customer__id__exact", "state__exact", "policy__id__exact"})
    search_fields = ("=invoice__stripe_invoice_id", "=invoice__number", "=customer__customer_key", "customer__name")
    search_help_text = "An invoice's number or id, a customer's key or name"
    list_before_template = "admin/billing/recovery/before_list.html"
    change_form_template = "admin/billing/recovery/case.html"
    fields = ("invoice_text",)

    @display(description="Invoice", ordering="invoice__number")
    def invoice_text(self, case: RecoveryCase) -> str:
        return str(case.invoice)

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, case: RecoveryCase) -> str:
        return page_link("billing.customer", case.customer_id, case.customer)

    @display(description="Amount", ordering="amount_minor")
    def amount(self, case: RecoveryCase) -> str:
        return minor_text(case.amount_minor, case.currency)

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, case: RecoveryCase) -> str:
        return case.get_state_display()

    @display(description="How it ended", ordering="outcome")
    def outcome_text(self, case: RecoveryCase) -> str:
        return case.get_outcome_display() or "–"

    def get_urls(self) -> list[URLPattern]:
        return [self.view("<int:case_id>/write-off/", self.write_off_view, "write_off"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {"figures": page.figures(), "recovered_chart": page.recovered_chart(now=clock.now())}
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **shown})
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        case = self.get_object(request, object_id)
        if case is not None and self.has_view_permission(request, case):
            shown = page.sections(case, may=request.user.has_perm, actor=actor_of(request), now=clock.now())
            extra_context = {**(extra_context or {}), **shown, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def write_off_view(self, request: HttpRequest, case_id: int) -> HttpResponse:
        """Show what would be given up and ask why (GET, or POST with an error), then ask for it (POST)."""
        if not request.user.has_perm(DECIDE):
            raise PermissionDenied
        case = RecoveryCase.objects.select_related("invoice", "customer").filter(pk=case_id).first()
        if case is None:
            raise Http404("There is no such case.")
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data

            def work() -> None:
                request_write_off(case_id=case.pk, actor=actor_of(request), now=clock.now(), **given)

            if self.act(request, form, case, f"Asked to write off: {given['reason']}", work):
                asked = case.write_off_requests.get(idempotency_key=given["idempotency_key"])
                waits = "A second person has to approve it." if asked.needs_second_person else "Stripe is told now."
                self.message_user(request, f"Asked for. {waits}", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.recoverycase", case.pk))
        context = {
            "title": f"Write off {case.invoice}",
            "facts": _facts_of(case),
            "note": "The customer still owes it. If it is paid later, the books take it back by themselves.",
            "form": form,
            "button": f"Write off {minor_text(case.invoice.amount_remaining_minor, case.currency)}",
            "back_url": page_url("billing.recoverycase", case.pk),
        }
        return self.page(request, "recovery/ask.html", context, status=422 if form.is_bound else 200)


def _facts_of(case: RecoveryCase) -> Facts:
    return [
        ("Customer", case.customer),
        ("Invoice", case.invoice),
        ("Still open", minor_text(case.invoice.amount_remaining_minor, case.currency)),
        ("Not paid since", f"{case.failed_at:%d %b %Y}"),
    ]


@admin.register(WriteOffRequest)
class WriteOffRequestAdmin(DecidingAdmin):
    list_display = ("case_link", "amount", "requested_by", "requested_at", "decided", "done_at", "reason")
    list_select_related = ("case__invoice", "decision")
    search_fields = ("=case__invoice__number", "=case__customer__customer_key")
    search_help_text = "An invoice's number or a customer's key"
    fields = ("case_link", "amount", "requested_by", "requested_at", "reason", "decided", "done_at", "error")
    approve_permission = DECIDE

    @display(description="Case")
    def case_link(self, asked: WriteOffRequest) -> str:
        return page_link("billing.recoverycase", asked.case_id, asked.case.invoice)

    @display(description="Amount", ordering="amount_minor")
    def amount(self, asked: WriteOffRequest) -> str:
        return minor_text(asked.amount_minor, asked.currency)

    @display(description="Decided")
    def decided(self, asked: WriteOffRequest) -> str:
        decision = getattr(asked, "decision", None)
        return "Waits for a second person" if decision is None else str(decision)

    def facts(self, asked: WriteOffRequest) -> Facts:
        who = asked.requested_by.removeprefix("user:")
        return [*_facts_of(asked.case), ("Asked by", who), ("Because", asked.reason)]

    def decide(self, asked: WriteOffRequest, *, outcome: Outcome, words: str, actor: str) -> None:
        decide_write_off(request_id=asked.pk, outcome=outcome, words=words, actor=actor, now=clock.now())

    def back_url(self, asked: WriteOffRequest) -> str:
        return page_url("billing.recoverycase", asked.case_id)


@admin.register(RecoveryPolicy)
class RecoveryPolicyAdmin(ReadOnlyAdmin):
    nothing_yet = "Nothing yet. `manage.py recovery_policy` declares one."
    list_display = ("name", "code", "version", "whose", "holds_for", "declared_at", "declared_by")
    search_fields = ("code", "name")
    search_help_text = "A part of a code or name"
    fields = (
        "name",
        "code",
        "version",
        "whose",
        "retries",
        "reminders",
        "grace",
        "restricts",
        "writes_off",
        "holds_for",
        "declared_at",
        "declared_by",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[RecoveryPolicy]:
        found: QuerySet[RecoveryPolicy] = super().get_queryset(request)
        return found.prefetch_related("choices__customer", "choices__plan")

    @display(description="Whose retries")
    def whose(self, policy: RecoveryPolicy) -> str:
        return "Ours" if terms_of(policy.terms).retries == OURS else "Stripe's own (its days are not public)"

    @display(description="Retried on days")
    def retries(self, policy: RecoveryPolicy) -> str:
        return ", ".join(str(day) for day in terms_of(policy.terms).retry_days) or "–"

    @display(description="Reminders")
    def reminders(self, policy: RecoveryPolicy) -> str:
        rows = ((f"day {one.day}: {emails.TEXTS[one.text]}",) for one in terms_of(policy.terms).reminders)
        return format_html_join("; ", "{}", rows) or "–"

    @display(description="Grace ends on day")
    def grace(self, policy: RecoveryPolicy) -> int:
        return terms_of(policy.terms).grace_days

    @display(description="Service restricted on day")
    def restricts(self, policy: RecoveryPolicy) -> str:
        day = terms_of(policy.terms).restrict_after_days
        return "never" if day is None else str(day)

    @display(description="Proposed for write-off on day")
    def writes_off(self, policy: RecoveryPolicy) -> str:
        day = terms_of(policy.terms).write_off_after_days
        return "never" if day is None else str(day)

    @display(description="Chosen for")
    def holds_for(self, policy: RecoveryPolicy) -> str:
        rows = ((str(one.customer or one.plan or "everybody"),) for one in policy.choices.all())
        return format_html_join(", ", "{}", rows) or "–"


@admin.register(PaymentCard)
class PaymentCardAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "customer_link", "is_default", "detached_at", "projected_at")
    list_select_related = ("customer",)
    list_filter = ("is_default",)
    linked_by = frozenset({"customer__id__exact"})
    search_fields = ("=customer__customer_key", "=stripe_payment_method_id")
    search_help_text = "A customer's key or a card's id at Stripe"
    fields = ("customer_link", "brand", "last4", "exp_month", "exp_year", "is_default", "detached_at", "projected_at")

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, card: PaymentCard) -> str:
        return page_link("billing.customer", card.customer_id, card.customer)


@admin.register(Message)
class MessageAdmin(PagesAdmin):
    list_display = ("subject", "to", "customer_link", "state_label", "created_at", "sent_at", "error")
    list_select_related = ("customer",)
    list_filter = ("state", "text")
    linked_by = frozenset({"customer__id__exact", "case__id__exact"})
    search_fields = ("=to", "=customer__customer_key", "=purpose")
    search_help_text = "An address, a customer's key or a purpose"
    list_before_template = "admin/billing/recovery/before_messages.html"
    change_form_template = "admin/billing/recovery/message.html"
    fields = ("to",)

    @display(description="E-mail", ordering="text")
    def subject(self, message: Message) -> str:
        return emails.TEXTS.get(message.text, message.text)

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, message: Message) -> str:
        return page_link("billing.customer", message.customer_id, message.customer)

    @display(
        description="State",
        ordering="state",
        label={
            Message.State.SENT.label: "success",
            Message.State.WAITING.label: "info",
            Message.State.SENDING.label: "warning",
            Message.State.FAILED.label: "danger",
        },
    )
    def state_label(self, message: Message) -> str:
        return message.get_state_display()

    def get_urls(self) -> list[URLPattern]:
        return [self.view("preview/<str:text>/", self.preview_view, "preview"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {"texts": emails.TEXTS}
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **shown})
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        message = self.get_object(request, object_id)
        if message is not None and self.has_view_permission(request, message):
            written = emails.render(message.text, message.context)
            extra_context = {**(extra_context or {}), "message": message, "written": written, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def preview_view(self, request: HttpRequest, text: str) -> HttpResponse:
        """A text as it would be sent, with nobody's data."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if text not in emails.TEXTS:
            raise Http404("There is no such text.")
        written = emails.render(text, emails.sample_of(text))
        context = {"title": emails.TEXTS[text], "written": written, "texts": emails.TEXTS, "chosen": text}
        return self.page(request, "recovery/preview.html", context)
