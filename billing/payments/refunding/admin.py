"""Refunds: asked for on a payment's page, decided about by a second person, and many at once with a preview."""

import csv
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from unfold.decorators import display

from billing.admin_links import page_link, page_url
from billing.money_text import minor_text
from billing.payments.deciding_admin import DecidingAdmin, Facts, actor_of
from billing.payments.models import Payment
from billing.payments.refunding import batches, operations
from billing.payments.refunding.batch_list import ListedProgress
from billing.payments.refunding.forms import BatchForm, RefundForm
from billing.payments.refunding.left import left_of
from billing.payments.refunding.models import RefundBatch, RefundRequest
from billing.payments.two_people import Outcome, TwoPeopleError
from config import clock
from config.csv_text import safe_text

State = RefundRequest.State
STATE_COLOURS = {
    State.WAITING.label: "warning",
    State.AGREED.label: "info",
    State.SENT.label: "success",
    State.REFUSED.label: "danger",
    State.DROPPED.label: "default",
}
LINES_SHOWN = 200


@admin.register(RefundRequest)
class RefundRequestAdmin(DecidingAdmin):
    list_display = (
        "__str__",
        "customer_link",
        "amount",
        "state_label",
        "what_for",
        "asked_by",
        "requested_at",
        "batch_link",
    )
    list_select_related = ("customer", "payment", "batch", "decision")
    shown_with = {"batch_link": "billing.view_refundbatch"}
    list_filter = ("state", "reason_code", "way")
    linked_by = frozenset({"payment__id__exact", "customer__id__exact", "batch__id__exact", "state__exact"})
    search_fields = ("=customer__customer_key", "=stripe_refund_id", "=payment__stripe_payment_intent_id")
    search_help_text = "A customer's key, or an id at Stripe of a refund or payment"
    change_form_outer_before_template = "admin/billing/refunding/decide_buttons.html"
    approve_permission = operations.APPROVE
    fields = (
        "customer_link",
        "payment_link",
        "amount",
        "way",
        "state_label",
        "what_for",
        "reason",
        "asked_by",
        "requested_at",
        "decided",
        "batch_link",
        "stripe_refund_id",
        "stripe_credit_note_id",
        "error",
        "ended_at",
    )

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, asked: RefundRequest) -> str:
        return page_link("billing.customer", asked.customer_id, asked.customer)

    @display(description="Payment")
    def payment_link(self, asked: RefundRequest) -> str:
        return page_link("billing.payment", asked.payment_id, asked.payment)

    @display(description="Batch")
    def batch_link(self, asked: RefundRequest) -> str:
        return page_link("billing.refundbatch", asked.batch_id, asked.batch)

    @display(description="Amount", ordering="amount_minor")
    def amount(self, asked: RefundRequest) -> str:
        return minor_text(asked.amount_minor, asked.currency)

    @display(description="What for", ordering="reason_code")
    def what_for(self, asked: RefundRequest) -> str:
        return asked.get_reason_code_display()

    @display(description="Asked by", ordering="requested_by")
    def asked_by(self, asked: RefundRequest) -> str:
        return asked.requested_by.removeprefix("user:")

    @display(description="Decided")
    def decided(self, asked: RefundRequest) -> str:
        decision = getattr(asked, "decision", None)
        if decision is None:
            return "Waits for a second person"
        return f"{decision}, {decision.decided_at:%d %b %Y %H:%M} UTC. {decision.words}"

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, asked: RefundRequest) -> str:
        return asked.get_state_display()

    def get_urls(self) -> list[URLPattern]:
        return [self.view("of/<int:payment_id>/", self.ask_view, "ask"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        asked = self.get_object(request, object_id)
        shown: dict[str, Any] = {"subtitle": None}
        if asked is not None and asked.state == State.WAITING and asked.batch_id is None:
            shown["may_decide"] = self.may_decide(request, asked, "approve")
            shown["may_withdraw"] = self.may_decide(request, asked, "withdraw")
        response: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})
        return response

    def ask_view(self, request: HttpRequest, payment_id: int) -> HttpResponse:
        """Fill in (GET, or POST with an error), see what would be asked (POST), ask (POST with `confirmed`)."""
        if not request.user.has_perm(operations.REQUEST):
            raise PermissionDenied
        payment = Payment.objects.select_related("customer", "invoice").filter(pk=payment_id).first()
        if payment is None:
            raise Http404("There is no such payment.")
        form = RefundForm(request.POST or None, payment=payment)
        context: dict[str, Any] = {"facts": _facts_of(payment), "button": "Continue"}
        if request.method == "POST" and form.is_valid() and "edit" not in request.POST:
            terms = {name: form.cleaned_data[name] for name in ("amount_minor", "way", "reason_code", "reason")}
            actor, now = actor_of(request), clock.now()
            if "confirmed" in request.POST:
                key = form.cleaned_data["idempotency_key"]

                def work() -> None:
                    operations.request_refund(payment_id=payment.pk, idempotency_key=key, actor=actor, now=now, **terms)

                if self.act(request, form, payment, f"Asked for a refund: {terms['reason']}", work):
                    return self._asked(request, RefundRequest.objects.get(idempotency_key=key))
            else:
                try:
                    seen = operations.preview_refund(payment_id=payment.pk, actor=actor, now=now, **terms)
                    context |= _preview_of(seen)
                except TwoPeopleError as refusal:
                    form.show(refusal)
        context |= {"title": f"Refund {payment}", "form": form, "is_good": True}
        context["back_url"] = page_url("billing.payment", payment.pk)
        status = 422 if form.is_bound and form.errors else 200
        return self.page(request, "recovery/ask.html", context, status=status)

    def _asked(self, request: HttpRequest, asked: RefundRequest) -> HttpResponse:
        waits = asked.state == State.WAITING
        said = "Nothing is sent yet: a second person has to approve it." if waits else "It is sent to Stripe now."
        self.message_user(request, said, messages.WARNING if waits else messages.SUCCESS)
        return HttpResponseRedirect(page_url("billing.refundrequest", asked.pk))

    def facts(self, asked: RefundRequest) -> Facts:
        return [*_facts_of(asked.payment), *_wish(asked), ("Asked by", asked.requested_by.removeprefix("user:"))]

    def decide(self, asked: RefundRequest, *, outcome: Outcome, words: str, actor: str) -> None:
        operations.decide_refund(request_id=asked.pk, outcome=outcome, words=words, actor=actor, now=clock.now())

    def back_url(self, asked: RefundRequest) -> str:
        return page_url("billing.refundrequest", asked.pk)


def _facts_of(payment: Payment) -> Facts:
    left = left_of(payment)
    return [
        ("Customer", payment.customer),
        ("Invoice", payment.invoice or "–"),
        ("Paid", f"{minor_text(payment.amount_minor, payment.currency)}, {payment.occurred_at:%d %b %Y}"),
        ("Left to refund", minor_text(left, payment.currency)),
    ]


def _wish(asked: RefundRequest) -> Facts:
    return [
        ("To be refunded", minor_text(asked.amount_minor, asked.currency)),
        ("How", asked.get_way_display()),
        ("What for", asked.get_reason_code_display()),
        ("Because", asked.reason),
    ]


def _preview_of(seen: RefundRequest) -> dict[str, Any]:
    amount = minor_text(seen.amount_minor, seen.currency)
    note = ""
    if seen.needs_second_person:
        note = "A second person has to approve it: it is above what one person may move alone in a day."
    return {
        "is_preview": True,
        "note": note,
        "facts": [*_facts_of(seen.payment), *_wish(seen)],
        "button": f"Ask for approval of {amount}" if note else f"Refund {amount}",
    }


@admin.register(RefundBatch)
class RefundBatchAdmin(ListedProgress):
    nothing_yet = "Nothing yet. A person of finance makes one, by Refund many charges."
    list_display = ("name", "total", "line_count", "how_far", "asked_by", "requested_at", "reason")
    search_fields = ("name",)
    search_help_text = "A part of a name"
    list_before_template = "admin/billing/refunding/before_batches.html"
    change_form_template = "admin/billing/refunding/batch.html"
    fields = ("name",)
    approve_permission = operations.APPROVE

    @display(description="Together", ordering="total_minor")
    def total(self, batch: RefundBatch) -> str:
        return minor_text(batch.total_minor, batch.currency)

    @display(description="Asked by", ordering="requested_by")
    def asked_by(self, batch: RefundBatch) -> str:
        return batch.requested_by.removeprefix("user:")

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.view("new/", self.new_view, "new"),
            self.view("preview.csv", self.preview_csv_view, "preview_csv"),
            self.view("<int:batch_id>/report.csv", self.report_view, "report"),
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {"may_ask": request.user.has_perm(batches.REQUEST)}
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **shown})
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        batch = self.get_object(request, object_id)
        if batch is not None and self.has_view_permission(request, batch):
            found = batches.progress_of(batch)
            waits = found.counts.get(State.WAITING, 0) > 0
            extra_context = {
                **(extra_context or {}),
                "batch": batch,
                "facts": self.facts(batch),
                "decision": batches.decision_of(batch),
                "figures": _progress(batch, found),
                "done_percent": found.done * 100 // batch.line_count,
                "lines": list(batches.report(batch, limit=LINES_SHOWN)),
                "lines_more": max(batch.line_count - LINES_SHOWN, 0),
                "may_decide": waits and self.may_decide(request, batch, "approve"),
                "may_withdraw": waits and self.may_decide(request, batch, "withdraw"),
                "waits": waits,
                "subtitle": None,
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def new_view(self, request: HttpRequest) -> HttpResponse:
        """Type a rule (GET), see what it chooses (POST), ask for exactly that (POST with `confirmed`)."""
        if not request.user.has_perm(batches.REQUEST):
            raise PermissionDenied
        form = BatchForm(request.POST or None)
        context: dict[str, Any] = {}
        if request.method == "POST" and form.is_valid() and "edit" not in request.POST:
            try:
                if "confirmed" in request.POST:
                    return self._ask(request, form, now=clock.now())
                context |= self._seen(form)
            except TwoPeopleError as refusal:
                form.show(refusal)
        context |= {"title": "Refund many charges", "form": form}
        status = 422 if form.is_bound and form.errors else 200
        return self.page(request, "refunding/new_batch.html", context, status=status)

    def _seen(self, form: BatchForm) -> dict[str, Any]:
        found = batches.select(form.rule())
        again = BatchForm({**dict(form.data.items()), "seen": f"{len(found.lines)}:{found.total_minor}"})
        again.is_valid()
        return {
            "preview": found,
            "preview_form": again,
            "shown": found.lines[:LINES_SHOWN],
            "more": max(len(found.lines) - LINES_SHOWN, 0),
            "currency": form.cleaned_data["currency"],
        }

    def _ask(self, request: HttpRequest, form: BatchForm, *, now: datetime) -> HttpResponse:
        typed, (count, total) = form.cleaned_data, form.seen_figures()
        batch = batches.request_batch(
            form.rule(),
            name=typed["name"],
            reason_code=typed["reason_code"],
            reason=typed["reason"],
            seen_count=count,
            seen_total_minor=total,
            idempotency_key=typed["idempotency_key"],
            actor=actor_of(request),
            now=now,
        )
        if batch.requested_at == now:
            self.log_change(request, batch, f"Asked for {batch.line_count} refunds: {batch.reason}")
        self.message_user(request, "Asked for. Nothing is sent before somebody else approves it.", messages.SUCCESS)
        return HttpResponseRedirect(page_url("billing.refundbatch", batch.pk))

    def preview_csv_view(self, request: HttpRequest) -> HttpResponse:
        """What a rule chooses now, as a file. POST, because the rule is a form."""
        if not request.user.has_perm(batches.REQUEST):
            raise PermissionDenied
        form = BatchForm(request.POST or None)
        if not form.is_valid():
            raise Http404("There is no such rule.")
        found = batches.select(form.rule())
        rows = [("customer", "payment", "paid_at", "currency", "paid_minor", "refund_minor", "why_not")]
        rows += [_csv_row(line.payment, line.amount_minor, "") for line in found.lines]
        rows += [_csv_row(payment, 0, why) for payment, why in found.passed_over]
        return _csv("refunds-preview.csv", rows)

    def report_view(self, request: HttpRequest, batch_id: int) -> HttpResponse:
        """Every line with what became of it and its journal entry."""
        batch = RefundBatch.objects.filter(pk=batch_id).first()
        if batch is None or not self.has_view_permission(request, batch):
            raise Http404("There is no such batch.")
        rows: list[tuple[Any, ...]] = [
            ("customer", "payment", "currency", "refund_minor", "state", "refund", "journal_entry", "error")
        ]
        for line in batches.report(batch):
            asked = line.request
            rows.append(
                (
                    asked.payment.customer.customer_key,
                    asked.payment.stripe_payment_intent_id,
                    asked.currency,
                    asked.amount_minor,
                    asked.state,
                    asked.stripe_refund_id,
                    line.entry_id or "",
                    asked.error,
                )
            )
        return _csv(f"refunds-{batch.pk}.csv", rows)

    def facts(self, asked: RefundBatch) -> Facts:
        rule = batches.rule_of(asked.rule)
        only = ", ".join(rule.customer_keys[:10]) + (" …" if len(rule.customer_keys) > 10 else "")
        bounds = [
            f"{word} {minor_text(minor, rule.currency)}"
            for word, minor in (("at least", rule.least_minor), ("at most", rule.most_minor))
            if minor is not None
        ]
        return [
            ("Paid", f"from {rule.paid_from:%d %b %Y} until before {rule.paid_until:%d %b %Y} (UTC), {rule.currency}"),
            ("Customers", only or "all"),
            ("Amounts", " and ".join(bounds) or "any"),
            ("Of each", f"{rule.percent} %"),
            ("What for", asked.get_reason_code_display()),
            ("Because", asked.reason),
            ("Refunds", f"{asked.line_count:,}, together {minor_text(asked.total_minor, asked.currency)}"),
            ("Asked by", f"{asked.requested_by.removeprefix('user:')}, {asked.requested_at:%d %b %Y %H:%M} UTC"),
        ]

    def decide(self, asked: RefundBatch, *, outcome: Outcome, words: str, actor: str) -> None:
        batches.decide_batch(batch_id=asked.pk, outcome=outcome, words=words, actor=actor, now=clock.now())

    def back_url(self, asked: RefundBatch) -> str:
        return page_url("billing.refundbatch", asked.pk)


def _progress(batch: RefundBatch, found: batches.Progress) -> list[dict[str, str]]:
    tones = {State.SENT: "good", State.REFUSED: "bad", State.WAITING: "waiting"}
    return [
        {
            "name": State(state).label,
            "value": minor_text(found.amounts[state], batch.currency),
            "note": f"{number:,} of {batch.line_count:,}",
            "tone": tones.get(State(state), "plain"),
        }
        for state, number in sorted(found.counts.items())
    ]


def _csv_row(payment: Payment, amount_minor: int, why_not: str) -> tuple[Any, ...]:
    return (
        payment.customer.customer_key,
        payment.stripe_payment_intent_id,
        payment.occurred_at.isoformat(),
        payment.currency,
        payment.amount_minor,
        amount_minor,
        why_not,
    )


def _csv(name: str, rows: list[Any]) -> HttpResponse:
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    csv.writer(response).writerows([safe_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return response
