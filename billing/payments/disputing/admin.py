"""Disputes: their deadlines, evidence that is drafted and sent, and accepting one."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.admin_links import NOTHING, page_link, page_url
from billing.money_text import minor_text
from billing.payments.admin import OfPaymentAdmin
from billing.payments.deciding_admin import DecidingAdmin, Facts, PagesAdmin, ReasonForm, RefusableForm, actor_of
from billing.payments.disputing import operations
from billing.payments.disputing.models import DisputeAcceptance, DisputeEvidence
from billing.payments.models import Dispute
from billing.payments.two_people import Outcome
from billing.stripe.dashboard import object_text
from config import clock


class EvidenceForm(RefusableForm):
    """The texts of the evidence. Saving keeps a draft; the bank takes what is sent once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, label in operations.FIELDS.items():
            self.fields[name] = forms.CharField(
                label=label, required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4})
            )


@admin.register(Dispute)
class DisputeAdmin(OfPaymentAdmin, PagesAdmin):
    list_display = (
        "__str__",
        "customer_link",
        "amount",
        "status_label",
        "why",
        "respond_by",
        "payment_link",
        "occurred_at",
    )
    search_fields = ("=stripe_dispute_id", "=stripe_charge_id", "payment__customer__customer_key")
    search_help_text = "An id at Stripe of a dispute or charge, or a customer key"
    list_before_template = "admin/billing/disputing/before_list.html"
    change_form_outer_before_template = "admin/billing/disputing/answer.html"
    fields = (
        "customer_link",
        "payment_link",
        "amount",
        "status_label",
        "why",
        "respond_by",
        "answer",
        "lost",
        "stripe_object",
        "occurred_at",
        "closed_at",
        "projected_at",
    )

    @display(description="Entered as bad debt")
    def lost(self, dispute: Dispute) -> str:
        return minor_text(dispute.lost_minor, dispute.currency)

    @display(
        description="Status",
        ordering="status",
        label={
            Dispute.Status.WON.label: "success",
            Dispute.Status.LOST.label: "danger",
            Dispute.Status.NEEDS_RESPONSE.label: "warning",
            Dispute.Status.WARNING_NEEDS_RESPONSE.label: "warning",
            Dispute.Status.UNDER_REVIEW.label: "info",
            Dispute.Status.WARNING_UNDER_REVIEW.label: "info",
        },
    )
    def status_label(self, dispute: Dispute) -> str:
        return dispute.get_status_display()

    @display(description="At Stripe")
    def stripe_object(self, dispute: Dispute) -> str:
        return object_text("disputes", dispute.stripe_dispute_id)

    @display(description="Our answer")
    def answer(self, dispute: Dispute) -> str:
        evidence = DisputeEvidence.objects.filter(dispute=dispute).exclude(sent_by="").first()
        if evidence is not None:
            when = "on its way" if evidence.sent_at is None else f"{evidence.sent_at:%d %b %Y %H:%M} UTC"
            return f"Evidence sent by {evidence.sent_by.removeprefix('user:')}, {when}"
        asked = DisputeAcceptance.objects.filter(dispute=dispute).select_related("decision").first()
        if asked is not None:
            who = asked.requested_by.removeprefix("user:")
            state = str(getattr(asked, "decision", "waits for a second person"))
            return f"Accepting was asked for by {who}: {state}. {asked.error or asked.reason}"
        return "A draft is kept" if DisputeEvidence.objects.filter(dispute=dispute).exists() else NOTHING

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.view("<int:dispute_id>/evidence/", self.evidence_view, "evidence"),
            self.view("<int:dispute_id>/accept/", self.accept_view, "accept"),
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {"awaiting": list(operations.awaiting_answer(now=clock.now())[:10]), "now": clock.now()}
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **shown})
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        dispute = self.get_object(request, object_id)
        shown: dict[str, Any] = {"subtitle": None}
        if dispute is not None:
            waiting = DisputeAcceptance.objects.filter(dispute=dispute).filter(decision=None).first()
            is_awaited = operations.awaiting_answer(now=clock.now()).filter(pk=dispute.pk).exists()
            shown |= {
                "may_answer": is_awaited and request.user.has_perm(operations.ANSWER),
                "waiting": waiting,
                "may_decide": waiting is not None
                and waiting.requested_by != actor_of(request)
                and request.user.has_perm(operations.APPROVE),
                "may_withdraw": waiting is not None and waiting.requested_by == actor_of(request),
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})
        return response

    def evidence_view(self, request: HttpRequest, dispute_id: int) -> HttpResponse:
        """Write the texts (GET, or POST with an error), keep them as a draft, or send them (POST with `send`)."""
        dispute = _answerable(request, dispute_id)
        latest = DisputeEvidence.objects.filter(dispute=dispute).order_by("-pk").first()
        form = EvidenceForm(request.POST or None, initial=latest.texts if latest is not None else {})
        if request.method == "POST" and form.is_valid():
            sends, actor, now = "send" in request.POST, actor_of(request), clock.now()
            texts = dict(form.cleaned_data)

            def work() -> None:
                draft = operations.draft_evidence(dispute_id=dispute.pk, texts=texts, actor=actor, now=now)
                if sends:
                    operations.send_evidence(evidence_id=draft.pk, actor=actor, now=now)

            if self.act(request, form, dispute, "Sent the evidence" if sends else "Kept a draft of evidence", work):
                said = "It is sent to the bank now." if sends else "Kept as a draft. The bank has not seen it."
                self.message_user(request, said, messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.dispute", dispute.pk))
        context = {
            "title": f"Evidence for {dispute}",
            "facts": _facts_of(dispute),
            "form": form,
            "back_url": page_url("billing.dispute", dispute.pk),
        }
        return self.page(request, "disputing/evidence.html", context, status=422 if form.is_bound else 200)

    def accept_view(self, request: HttpRequest, dispute_id: int) -> HttpResponse:
        """Show what is given up and ask why (GET, or POST with an error), then ask for it (POST)."""
        dispute = _answerable(request, dispute_id)
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data

            def work() -> None:
                operations.request_acceptance(dispute_id=dispute.pk, actor=actor_of(request), now=clock.now(), **given)

            if self.act(request, form, dispute, f"Asked to accept it: {given['reason']}", work):
                asked = DisputeAcceptance.objects.filter(dispute=dispute).get(idempotency_key=given["idempotency_key"])
                waits = "A second person has to approve it." if asked.needs_second_person else "Stripe is told now."
                self.message_user(request, f"Asked for. {waits}", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.dispute", dispute.pk))
        amount = minor_text(dispute.amount_minor, dispute.currency)
        context = {
            "title": f"Accept {dispute}",
            "facts": _facts_of(dispute),
            "note": "The money stays with the customer's bank, and nobody can take that back.",
            "form": form,
            "button": f"Give up {amount}",
            "back_url": page_url("billing.dispute", dispute.pk),
        }
        return self.page(request, "recovery/ask.html", context, status=422 if form.is_bound else 200)


def _answerable(request: HttpRequest, dispute_id: int) -> Dispute:
    if not request.user.has_perm(operations.ANSWER):
        raise PermissionDenied
    dispute = Dispute.objects.select_related("payment__customer").filter(pk=dispute_id).first()
    if dispute is None:
        raise Http404("There is no such dispute.")
    return dispute


def _facts_of(dispute: Dispute) -> Facts:
    ends = "–" if dispute.respond_by is None else f"{dispute.respond_by:%d %b %Y %H:%M} UTC"
    return [
        ("Customer", dispute.payment.customer),
        ("Amount", minor_text(dispute.amount_minor, dispute.currency)),
        ("The bank says", dispute.reason.replace("_", " ")),
        ("Answer until", ends),
    ]


@admin.register(DisputeAcceptance)
class DisputeAcceptanceAdmin(DecidingAdmin):
    list_display = ("dispute_link", "amount", "requested_by", "requested_at", "decided", "done_at", "reason")
    list_select_related = ("dispute", "decision")
    search_fields = ("=dispute__stripe_dispute_id",)
    search_help_text = "A dispute's id at Stripe"
    fields = ("dispute_link", "amount", "requested_by", "requested_at", "reason", "decided", "done_at", "error")
    approve_permission = operations.APPROVE

    @display(description="Dispute")
    def dispute_link(self, asked: DisputeAcceptance) -> str:
        return page_link("billing.dispute", asked.dispute_id, asked.dispute)

    @display(description="Amount", ordering="amount_minor")
    def amount(self, asked: DisputeAcceptance) -> str:
        return minor_text(asked.amount_minor, asked.currency)

    @display(description="Decided")
    def decided(self, asked: DisputeAcceptance) -> str:
        decision = getattr(asked, "decision", None)
        return "Waits for a second person" if decision is None else str(decision)

    def facts(self, asked: DisputeAcceptance) -> Facts:
        who = asked.requested_by.removeprefix("user:")
        return [*_facts_of(asked.dispute), ("Asked by", who), ("Because", asked.reason)]

    def decide(self, asked: DisputeAcceptance, *, outcome: Outcome, words: str, actor: str) -> None:
        operations.decide_acceptance(request_id=asked.pk, outcome=outcome, words=words, actor=actor, now=clock.now())

    def back_url(self, asked: DisputeAcceptance) -> str:
        return page_url("billing.dispute", asked.dispute_id)
