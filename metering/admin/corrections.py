"""Corrections: asked for, previewed, decided, applied and reverted."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display

from config import clock
from metering import operations
from metering.admin import correction_drafting as drafting
from metering.admin import correction_page as page
from metering.admin.correction_forms import WordsForm
from metering.admin.lists import ReadOnlyAdmin
from metering.models import Correction, CorrectionStep
from metering.queries.corrections import with_state
from metering.tasks import task_continue_corrections

TEMPLATES = "admin/metering/correction"
STATE_COLOURS = {
    "Drafted": "warning",
    "Approved": "warning",
    "Rejected": "danger",
    "Withdrawn": "info",
    "Being applied": "warning",
    "Applied": "success",
    "Being reverted": "warning",
    "Reverted": "info",
}
# What one may do with a draft by words: the operation, its permission, what its page is called, and what it then says.
DECISIONS: dict[str, tuple[Callable[..., None], str, str, str]] = {
    "reject": (operations.reject_correction, page.APPROVE, "Reject", "Rejected: nothing was changed."),
    "withdraw": (operations.withdraw_correction, page.REQUEST, "Withdraw", "Withdrawn: nothing was changed."),
}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(CorrectionStep.STEPS)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Correction]) -> QuerySet[Correction]:
        if self.value() not in dict(CorrectionStep.STEPS):
            return queryset
        annotated: QuerySet[Any] = queryset
        return annotated.filter(state=self.value())


@admin.register(Correction)
class CorrectionAdmin(ReadOnlyAdmin):
    list_display = ("what", "state_text", "events_text", "about", "reason_code", "drafted_by", "drafted_at")
    list_filter = (StateFilter, "kind", "reason_code")
    search_fields = ("=id", "reason", "=drafted_by")
    search_help_text = "The number of a correction, words of its reason, or who drafted it"
    list_before_template = f"{TEMPLATES}/before_list.html"
    ordering = ("-id",)
    fields = ("reason",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Correction]:
        return with_state(super().get_queryset(request))

    @display(description="Correction", ordering="id")
    def what(self, correction: Correction) -> str:
        return page.title_of(correction)

    @display(description="State", label=STATE_COLOURS)
    def state_text(self, correction: Any) -> str:
        return dict(CorrectionStep.STEPS)[correction.state]

    @display(description="Events")
    def events_text(self, correction: Any) -> str:
        return f"{correction.events_previewed:,}"

    @display(description="About")
    def about(self, correction: Correction) -> str:
        return page.about(correction)

    def get_urls(self) -> list[URLPattern]:
        def view(route: str, function: Callable[..., HttpResponse], name: str, **told: str) -> URLPattern:
            shown = self.admin_site.admin_view(function)
            found: URLPattern = path(route, shown, told, name=f"metering_correction_{name}")
            return found

        return [
            view("void/", self.select_view, "void", kind=Correction.VOID),
            view("restore/", self.select_view, "restore", kind=Correction.RESTORE),
            view("amend/<str:key>/", self.amend_view, "amend"),
            view("backfill/", self.backfill_view, "backfill"),
            view("<int:correction_id>/revert/", self.revert_view, "revert"),
            view("<int:correction_id>/preview/", self.preview_view, "preview"),
            view("<int:correction_id>/apply/", self.apply_view, "apply"),
            view("<int:correction_id>/approve/", self.approve_view, "approve"),
            view("<int:correction_id>/rejects.csv", self.rejects_view, "rejects"),
            *(view(f"<int:correction_id>/{verb}/", self.decide_view, verb, verb=verb) for verb in DECISIONS),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_ask = request.user.has_perm(page.REQUEST)
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), "may_ask": may_ask})
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        correction = self.get_object(request, object_id)
        if correction is not None and self.has_view_permission(request, correction):
            shown = page.sections(correction, may=request.user.has_perm, actor=actor_of(request))
            extra_context = {**(extra_context or {}), **shown, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def select_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        _require(request, page.REQUEST)
        return self._drafted(request, drafting.of_selection(request, kind, actor_of(request)), "form.html")

    def amend_view(self, request: HttpRequest, key: str) -> HttpResponse:
        _require(request, page.REQUEST)
        return self._drafted(request, drafting.of_event(request, key, actor_of(request)), "form.html")

    def backfill_view(self, request: HttpRequest) -> HttpResponse:
        _require(request, page.REQUEST)
        return self._drafted(request, drafting.of_file(request, actor_of(request)), "form.html")

    def revert_view(self, request: HttpRequest, correction_id: int) -> HttpResponse:
        _require(request, page.REVERT)
        target = self._found(request, correction_id)
        return self._drafted(request, drafting.of_revert(request, target, actor_of(request)), "form.html")

    def _drafted(self, request: HttpRequest, draft: drafting.Draft, template: str) -> HttpResponse:
        if draft.correction is not None:
            messages.success(request, "Drafted: nothing has changed yet. This is what it would do.")
            return HttpResponseRedirect(page.url_of(draft.correction.pk))
        context = {"title": draft.title, "lead": draft.lead, "form": draft.form, "is_file": draft.is_file}
        return self._page(request, template, context, status=422 if draft.form.is_bound else 200)

    def preview_view(self, request: HttpRequest, correction_id: int) -> HttpResponse:
        """Work the preview out again, and go back to see it."""
        _require_post(request, page.REQUEST)

        def renew() -> None:
            operations.preview_correction(correction_id, actor=actor_of(request), now=clock.now())

        return self._act(request, correction_id, renew, "This is what it would do now.")

    def apply_view(self, request: HttpRequest, correction_id: int) -> HttpResponse:
        _require_post(request, page.APPLY)
        digest = request.POST.get("digest", "")
        states: list[str] = []

        def apply() -> None:
            states.append(
                operations.apply_correction(correction_id, digest=digest, actor=actor_of(request), now=clock.now())
            )

        done = "Begun. It goes on in the background; this page says how far it has come."
        response = self._act(request, correction_id, apply, "")
        if states == [CorrectionStep.APPLYING]:
            task_continue_corrections.delay()  # the schedule would begin it within seconds too
        if states:
            messages.success(request, done if states == [CorrectionStep.APPLYING] else "Applied.")
        return response

    def approve_view(self, request: HttpRequest, correction_id: int) -> HttpResponse:
        """Approve the preview that is shown, with words."""
        _require(request, page.APPROVE)
        correction = self._found(request, correction_id)

        def approve(words: str) -> None:
            digest = request.POST.get("digest", "")
            operations.approve_correction(
                correction_id, digest=digest, words=words, actor=actor_of(request), now=clock.now()
            )

        return self._with_words(request, correction, approve, "Approve", "Approved: it can be applied now.")

    def decide_view(self, request: HttpRequest, correction_id: int, verb: str) -> HttpResponse:
        operation, permission, title, done = DECISIONS[verb]
        _require(request, permission)
        correction = self._found(request, correction_id)

        def decide(words: str) -> None:
            operation(correction_id, words=words, actor=actor_of(request), now=clock.now())

        return self._with_words(request, correction, decide, title, done)

    def rejects_view(self, request: HttpRequest, correction_id: int) -> HttpResponse:
        """The lines that brought no event, as CSV."""
        _require(request, page.VIEW)
        return page.rejects_csv(self._found(request, correction_id))

    def _with_words(
        self, request: HttpRequest, correction: Correction, act: Callable[[str], None], title: str, done: str
    ) -> HttpResponse:
        form = WordsForm(request.POST or None)
        if form.is_valid():
            try:
                act(form.cleaned_data["words"])
            except operations.CorrectionRefused as refusal:
                form.show(refusal)
            else:
                messages.success(request, done)
                return HttpResponseRedirect(page.url_of(correction.pk))
        shown = page.sections(correction, may=request.user.has_perm, actor=actor_of(request))
        context = {**shown, "title": f"{title} correction {correction.pk}", "form": form, "button": title}
        return self._page(request, "decide.html", context, status=422 if form.is_bound else 200)

    def _act(self, request: HttpRequest, correction_id: int, act: Callable[[], None], done: str) -> HttpResponse:
        self._found(request, correction_id)
        try:
            act()
        except operations.CorrectionRefused as refusal:
            messages.error(request, str(refusal))
        else:
            if done:
                messages.success(request, done)
        return HttpResponseRedirect(page.url_of(correction_id))

    def _found(self, request: HttpRequest, correction_id: int) -> Correction:
        found: Correction | None = self.get_object(request, str(correction_id))
        if found is None:
            raise Http404("There is no such correction.")
        return found

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
        everything = {
            **self.admin_site.each_context(request),
            "opts": self.model._meta,
            "list_url": reverse("admin:metering_correction_changelist"),
            **context,
        }
        return TemplateResponse(request, f"{TEMPLATES}/{template}", everything, status=status)


def actor_of(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"


def _require(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def _require_post(request: HttpRequest, permission: str) -> None:
    _require(request, permission)
    if request.method != "POST":
        raise PermissionDenied
