"""Pages that requests of two people share: asking with a reason, and approving, rejecting or withdrawing in words."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.payments.two_people import Outcome, TwoPeopleError
from billing.read_only_admin import ReadOnlyAdmin

VERBS = {
    "approve": (Outcome.APPROVED, "Approve", "Approved."),
    "reject": (Outcome.REJECTED, "Reject", "Rejected: nothing leaves."),
    "withdraw": (Outcome.WITHDRAWN, "Withdraw", "Withdrawn: nothing leaves."),
}
Facts = list[tuple[str, object]]


class RefusableForm(forms.Form):
    """A form that can show what an operation refused, at the field to mend."""

    def show(self, refusal: TwoPeopleError) -> None:
        self.add_error(refusal.field if refusal.field in self.fields else None, str(refusal))


class WordsForm(RefusableForm):
    words = forms.CharField(
        label="Why",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="For whoever asks later. Kept with the decision.",
    )


class ReasonForm(RefusableForm):
    """Why it is asked for. The key is made when the form is first shown: however often it is sent, it asks once."""

    reason = forms.CharField(
        label="Why",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="For whoever asks later. The customer does not see it.",
    )
    idempotency_key = forms.RegexField(regex=r"^admin:[0-9a-f-]{36}$", widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("idempotency_key", f"admin:{uuid.uuid4()}")


class PagesAdmin(ReadOnlyAdmin):
    """Pages of its own beside the list and the row's."""

    def view(self, route: str, function: Callable[..., HttpResponse], name: str, **given: Any) -> URLPattern:
        return path(route, self.admin_site.admin_view(function), given, name=f"{self._label()}_{name}")

    def _label(self) -> str:
        return f"{self.model._meta.app_label}_{self.model._meta.model_name}"

    def page(
        self, request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200
    ) -> HttpResponse:
        shared = {**self.admin_site.each_context(request), "opts": None}
        return TemplateResponse(request, f"admin/billing/{template}", {**shared, **context}, status=status)

    def act(self, request: HttpRequest, form: RefusableForm, row: Model, what: str, work: Callable[[], object]) -> bool:
        """Do it and write it into the log, together; False when it was refused: the reason is on the form."""
        try:
            with transaction.atomic():
                work()
                self.log_change(request, row, what)
        except TwoPeopleError as refusal:
            form.show(refusal)
            return False
        return True


class DecidingAdmin(PagesAdmin):
    """Of a request that may wait for a second person."""

    approve_permission: ClassVar[str] = ""

    def facts(self, asked: Any) -> Facts:
        """What is decided about: names and values."""
        raise NotImplementedError

    def decide(self, asked: Any, *, outcome: Outcome, words: str, actor: str) -> None:
        raise NotImplementedError

    def back_url(self, asked: Any) -> str:
        raise NotImplementedError

    def requested_by(self, asked: Any) -> str:
        return str(asked.requested_by)

    def get_urls(self) -> list[URLPattern]:
        decisions = [self.view(f"<int:request_id>/{verb}/", self.decide_view, verb, verb=verb) for verb in VERBS]
        return [*decisions, *super().get_urls()]

    def may_decide(self, request: HttpRequest, asked: Any, verb: str) -> bool:
        own = self.requested_by(asked) == actor_of(request)
        return own if verb == "withdraw" else not own and request.user.has_perm(self.approve_permission)

    def decide_view(self, request: HttpRequest, request_id: int, verb: str) -> HttpResponse:
        """Show what is decided about and ask for words (GET, or POST with an error), then decide (POST)."""
        asked = self.model._default_manager.filter(pk=request_id).first()
        if asked is None:
            raise Http404("There is no such request.")
        if not self.may_decide(request, asked, verb):
            raise PermissionDenied
        outcome, title, said = VERBS[verb]
        form = WordsForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            words = form.cleaned_data["words"]

            def work() -> None:
                self.decide(asked, outcome=outcome, words=words, actor=actor_of(request))

            if self.act(request, form, asked, f"{title}: {words}", work):
                self.message_user(request, said, messages.SUCCESS)
                return HttpResponseRedirect(self.back_url(asked))
        context = {
            "title": f"{title}: {asked}",
            "facts": self.facts(asked),
            "form": form,
            "button": title,
            "is_good": verb == "approve",
            "back_url": self.back_url(asked),
        }
        return self.page(request, "recovery/ask.html", context, status=422 if form.is_bound else 200)


def actor_of(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"
