"""Manual entries: what waits for a second person first, asking for one, and deciding about somebody else's."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Case, QuerySet, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display

from billing.accounting import manual_entry_page as page
from billing.accounting import operations
from billing.accounting.adjustments import BY_CODE, REASON_CODES, REQUEST_ADJUSTMENT, ReasonCode
from billing.accounting.manual_entries import decision_of
from billing.accounting.manual_entry_forms import AdjustmentForm, ReversalForm, WordsForm
from billing.accounting.manual_entry_rules import why_not_reversible
from billing.accounting.models import ManualEntry, ManualEntryDecision
from billing.admin_links import NOTHING, list_url, page_link, page_url
from billing.money_text import exact_text
from billing.read_only_admin import ReadOnlyAdmin
from config import clock
from ledger import queries as ledger

TEMPLATES = "admin/billing/manualentry"
Outcome = ManualEntryDecision.Outcome
WAITING_LABEL = "Waits for a second person"
STATE_COLOURS = {
    WAITING_LABEL: "warning",
    Outcome.WITHIN_LIMIT.label: "success",
    Outcome.APPROVED.label: "success",
    Outcome.REJECTED.label: "danger",
    Outcome.WITHDRAWN.label: "info",
}
# What one may do with a request that waits: the operation, what its page is called, its button, and what it then says.
Decide = Callable[..., ManualEntry]
DECISIONS: dict[str, tuple[Decide, str, str, str]] = {
    "approve": (operations.approve, "Approve", "Approve and post", "Approved, and posted as it was asked for."),
    "reject": (operations.reject, "Reject", "Reject", "Rejected: nothing was posted."),
    "withdraw": (operations.withdraw, "Withdraw", "Withdraw", "Withdrawn: nothing was posted."),
}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(page.WAITING, WAITING_LABEL), *Outcome.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ManualEntry]) -> QuerySet[ManualEntry]:
        if self.value() == page.WAITING:
            return queryset.filter(decision=None)
        return queryset.filter(decision__outcome=self.value()) if self.value() else queryset


class ReasonFilter(admin.SimpleListFilter):
    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(code.code, code.name) for code in REASON_CODES if request.user.has_perm(code.permission)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ManualEntry]) -> QuerySet[ManualEntry]:
        return queryset.filter(reason_code=self.value()) if self.value() else queryset


@admin.register(ManualEntry)
class ManualEntryAdmin(ReadOnlyAdmin):
    list_display = ("what", "state", "amount_text", "customer_link", "asked_by", "requested_at", "decided_by", "reason")
    list_select_related = ("customer", "decision")
    list_filter = (StateFilter, ReasonFilter, "kind")
    search_fields = ("=id", "=reference", "reason", "=customer__customer_key")
    search_help_text = "The number of a request, its reference, words of its reason, or a customer's key"
    list_before_template = f"{TEMPLATES}/before_list.html"
    fields = ("reason",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ManualEntry]:
        """Who asks only for what is promised to customers sees only that."""
        found: QuerySet[ManualEntry] = super().get_queryset(request)
        if not request.user.has_perm(REQUEST_ADJUSTMENT) and not request.user.has_perm(operations.APPROVE):
            theirs = [code.code for code in REASON_CODES if request.user.has_perm(code.permission)]
            found = found.filter(reason_code__in=theirs)
        return found.select_related("customer", "decision")

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        return (Case(When(decision=None, then=0), default=1), "-requested_at", "-id")

    @display(description="What")
    def what(self, asked: ManualEntry) -> str:
        return page.title_of(asked)

    @display(description="State", label=STATE_COLOURS)
    def state(self, asked: ManualEntry) -> str:
        decision = decision_of(asked)
        return WAITING_LABEL if decision is None else decision.get_outcome_display()

    @display(description="Amount", ordering="amount")
    def amount_text(self, asked: ManualEntry) -> str:
        return exact_text(asked.amount, asked.currency)

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, asked: ManualEntry) -> str:
        return page_link("billing.customer", asked.customer_id, asked.customer)

    @display(description="Asked by", ordering="requested_by")
    def asked_by(self, asked: ManualEntry) -> str:
        return page.person(asked.requested_by)

    @display(description="Decided by")
    def decided_by(self, asked: ManualEntry) -> str:
        decision = decision_of(asked)
        return NOTHING if decision is None else page.person(decision.decided_by)

    def get_urls(self) -> list[URLPattern]:
        def view(route: str, function: Callable[..., HttpResponse], name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(function), name=f"billing_manualentry_{name}")

        return [
            view("new/", self.choose_view, "choose"),
            view("new/<str:reason_code>/", self.adjust_view, "adjust"),
            view("reverse/<int:entry_id>/", self.reverse_view, "reverse"),
            *(
                path(
                    f"<int:manual_entry_id>/{verb}/",
                    self.admin_site.admin_view(self.decide_view),
                    {"verb": verb},
                    name=f"billing_manualentry_{verb}",
                )
                for verb in DECISIONS
            ),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_ask = page.may_ask_for_something(request.user.has_perm)
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

    def choose_view(self, request: HttpRequest) -> HttpResponse:
        """Every reason the reader may use, with what it posts; and what is not adjusted here, with the remedy."""
        customer_key = request.GET.get("customer", "")
        found = page.choices(request.user.has_perm, customer_key=customer_key)
        if not found:
            raise PermissionDenied
        context = {
            "title": "New adjustment",
            "groups": found,
            "never": page.never_by_hand(),
            "customer_key": customer_key,
        }
        return self._page(request, "choose.html", context)

    def adjust_view(self, request: HttpRequest, reason_code: str) -> HttpResponse:
        """Fill in (GET, or POST with an error), see what would be posted (POST), ask (POST with `confirmed`)."""
        code = BY_CODE.get(reason_code)
        if code is None:
            raise Http404("There is no such reason.")
        if not request.user.has_perm(code.permission):
            raise PermissionDenied
        now = clock.now()
        if request.method != "POST":
            initial = {"customer_key": request.GET.get("customer", "")}
            return self._show_adjustment(request, code, AdjustmentForm(code=code, now=now, initial=initial))
        form = AdjustmentForm(request.POST, code=code, now=now)
        if not form.is_valid() or "edit" in request.POST:
            return self._show_adjustment(request, code, form)
        if "confirmed" in request.POST:
            return self._adjust(request, code, form, now=now)
        try:
            preview = operations.preview_adjustment(form.new_adjustment(), actor=_actor(request), now=now)
        except operations.ManualEntryError as refusal:
            form.show(refusal)
            return self._show_adjustment(request, code, form)
        return self._show_adjustment(request, code, form.confirmation(now=now), preview=preview)

    def _adjust(self, request: HttpRequest, code: ReasonCode, form: AdjustmentForm, *, now: datetime) -> HttpResponse:
        try:
            with transaction.atomic():
                asked = operations.request_adjustment(
                    form.new_adjustment(),
                    idempotency_key=form.cleaned_data["idempotency_key"],
                    actor=_actor(request),
                    now=now,
                )
                self._log(request, asked, asked.requested_at == now, f"Asked for: {page.title_of(asked)}")
        except operations.ManualEntryError as refusal:
            form.show(refusal)
            return self._show_adjustment(request, code, form)
        return self._asked(request, asked, is_first=asked.requested_at == now)

    def reverse_view(self, request: HttpRequest, entry_id: int) -> HttpResponse:
        """Show the mirror image and ask why (GET, or POST with an error), then ask for it (POST)."""
        if not request.user.has_perm(operations.REQUEST_REVERSAL):
            raise PermissionDenied
        entry = ledger.find_entry(entry_id)
        if entry is None:
            raise Http404("There is no such entry.")
        now = clock.now()
        form = ReversalForm(request.POST or None, now=now)
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic():
                    asked = operations.request_reversal(
                        entry_id=entry_id, actor=_actor(request), now=now, **form.cleaned_data
                    )
                    self._log(request, asked, asked.requested_at == now, f"Asked for: {page.title_of(asked)}")
                return self._asked(request, asked, is_first=asked.requested_at == now)
            except operations.ManualEntryError as refusal:
                form.show(refusal)
        context = {
            "title": f"Reverse entry #{entry.id}",
            "entry": entry,
            "entry_url": page_url("ledger.journalentry", entry.id),
            "lines": page.mirrored(entry),
            "currency": entry.lines[0].currency,
            "why_not": None if form.is_bound else why_not_reversible(entry),
            "form": form,
        }
        return self._page(request, "reverse.html", context, status=422 if form.is_bound else 200)

    def decide_view(self, request: HttpRequest, manual_entry_id: int, verb: str) -> HttpResponse:
        """Show what is decided about and ask for words (GET, or POST with an error), then decide (POST)."""
        asked = self.get_queryset(request).filter(pk=manual_entry_id).first()
        if asked is None or not self.has_view_permission(request, asked):
            raise PermissionDenied
        shown = page.sections(asked, may=request.user.has_perm, actor=_actor(request))
        if verb == "withdraw":
            if asked.requested_by != _actor(request):
                raise PermissionDenied
        elif not request.user.has_perm(operations.APPROVE) or asked.requested_by == _actor(request):
            raise PermissionDenied
        decide, title, button, said = DECISIONS[verb]
        form = WordsForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            words, now = form.cleaned_data["words"], clock.now()
            try:
                with transaction.atomic():
                    decided = decide(manual_entry_id=asked.pk, words=words, actor=_actor(request), now=now)
                    self._log(request, decided, _is_new(decided, now), f"{title}: {words}")
                self.message_user(request, said, messages.SUCCESS)
                return HttpResponseRedirect(page.url_of(asked))
            except operations.ManualEntryError as refusal:
                form.show(refusal)
        context = {**shown, "title": f"{title}: {page.title_of(asked)}", "verb": verb, "button": button, "form": form}
        return self._page(request, "decide.html", context, status=422 if form.is_bound else 200)

    def _asked(self, request: HttpRequest, asked: ManualEntry, *, is_first: bool) -> HttpResponse:
        """Say what became of a request, and lead to its page."""
        if not is_first:
            self.message_user(request, "This was asked for already, once: here it is.", messages.INFO)
        elif decision_of(asked) is None:
            self.message_user(request, f"Nothing is posted yet. {page.why_waiting(asked)}", messages.WARNING)
        else:
            self.message_user(request, "Posted.", messages.SUCCESS)
        return HttpResponseRedirect(page.url_of(asked))

    def _log(self, request: HttpRequest, asked: ManualEntry, is_new: bool, message: str) -> None:
        if is_new:
            self.log_change(request, asked, message)

    def _show_adjustment(
        self, request: HttpRequest, code: ReasonCode, form: AdjustmentForm, preview: ManualEntry | None = None
    ) -> HttpResponse:
        context = {
            "title": code.name,
            "code": code,
            "form": form,
            "preview": preview,
            "lines": page.lines_of_code(code) if preview is None else page.lines_of(preview),
            "why_waiting": page.why_waiting(preview) if preview is not None and preview.needs_second_person else "",
        }
        status = 422 if form.is_bound and form.errors else 200
        return self._page(request, "adjust.html", context, status=status)

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
        shared = {**self.admin_site.each_context(request), "opts": None, "list_url": list_url("billing.manualentry")}
        return TemplateResponse(request, f"{TEMPLATES}/{template}", {**shared, **context}, status=status)


def _actor(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"


def _is_new(asked: ManualEntry, now: datetime) -> bool:
    decision = decision_of(asked)
    return decision is not None and decision.decided_at == now
