"""
A cancellation with what it comes to before the button, and the page of all phases with a plan for those to come.

A wish is carried out under the key that its form was first shown with, whoever sends it twice.
"""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from billing.admin_links import page_url
from billing.stripe.errors import OutboxConflict, StripeRefused, StripeUnavailable
from billing.subscriptions import comparing, end_previews, forms, lifecycle, phases, scheduling
from billing.subscriptions.at_stripe import items_of
from billing.subscriptions.change_models import EndPreview
from billing.subscriptions.errors import ChangeRefused, SubscriptionError
from billing.subscriptions.keys import own_key
from billing.subscriptions.models import Subscription
from billing.subscriptions.queries import latest_period
from config import clock

TEMPLATES = "admin/billing/subscription"
CANCEL, CHANGE, SEES = "billing.cancel_subscription", "billing.edit_subscription_terms", "billing.view_subscription"
REFUSALS = (SubscriptionError, StripeRefused, StripeUnavailable, OutboxConflict, ValueError)
How = EndPreview.How
# Of an id of ours, as it is typed.
DIGITS_MAX = 18


class SubscriptionEnds:
    """The views of ends and phases."""

    admin_site: Any
    log_change: Any
    message_user: Any

    def cancel_view(self, request: HttpRequest, subscription_id: int) -> HttpResponse:
        """Fill in (GET, or POST with an error), see what it comes to (POST), cancel (POST `confirmed`)."""
        require(request, CANCEL)
        found = found_or_404(subscription_id)
        form = forms.CancelForm(request.POST or None)
        shown: dict[str, Any] = {}
        if request.method == "POST" and form.is_valid() and "edit" not in request.POST:
            try:
                if "confirmed" in request.POST:
                    return self._cancel(request, found, form)
                shown = end_shown(
                    end_previews.preview_end(
                        subscription_id=found.pk, actor=actor_of(request), now=clock.now(), **form.wanted()
                    )
                )
            except REFUSALS as refusal:
                form.show(refusal)
        context = {
            "title": f"Cancel {found} of {found.customer.name}",
            "subscription": found,
            "form": forms.fixed(form) if shown else form,
            "cancel_url": page_url("billing.subscription", found.pk),
            **shown,
        }
        return self.page(request, "cancel.html", context, status=422 if form.is_bound and form.errors else 200)

    def _cancel(self, request: HttpRequest, found: Subscription, form: forms.CancelForm) -> HttpResponse:
        typed, wanted = form.cleaned_data, form.wanted()
        number = request.POST.get("preview", "")
        known = int(number) if number.isascii() and number.isdecimal() and len(number) <= DIGITS_MAX else 0
        seen = EndPreview.objects.filter(preview_id=known, preview__subscription=found).first()
        if seen is None:
            raise ChangeRefused("Nobody has seen yet what this end comes to; see what it comes to, then confirm it.")
        said: dict[str, Any] = {
            "subscription_id": found.pk,
            "preview": seen,
            "actor": actor_of(request),
            "reason": typed["reason"],
            "idempotency_key": key_of(request, typed["key"]),
            "now": clock.now(),
        }
        if wanted["how"] == How.PERIOD_END:
            done = lifecycle.cancel_at_period_end(**said)
        elif wanted["how"] == How.AT:
            done = lifecycle.cancel_at_date(at=wanted["at"], prorate=wanted["prorate"], **said)
        else:
            done = lifecycle.cancel(prorate=wanted["prorate"], **said)
        self.log_change(request, done, f"Cancel: {typed['reason']}")
        is_now = wanted["how"] == How.NOW
        became = "Cancelled." if is_now else "Its end is planned; until it comes it can be taken back."
        self.message_user(request, became, messages.SUCCESS)
        return HttpResponseRedirect(page_url("billing.subscription", done.pk))

    def phases_view(self, request: HttpRequest, subscription_id: int) -> HttpResponse:
        """All phases, and for who may: plan those to come (POST shows what would be, POST `confirmed` plans it)."""
        require(request, SEES)
        found, now = found_or_404(subscription_id), clock.now()
        waiting = [row for row in scheduling.waiting_for(found) if row.plan_version is not None]
        held = [phases.phase_of(row) for row in waiting if row.effective_at > now]
        may_plan = request.user.has_perm(CHANGE) and found.ended_at is None
        form = forms.PlanForm(request.POST or None, customer=found.customer, held=held) if may_plan else None
        planned: list[scheduling.Phase] | None = None
        if request.method == "POST":
            require(request, CHANGE)
        if request.method == "POST" and form is not None and form.is_valid() and "edit" not in request.POST:
            latest = latest_period(found.pk)
            own = items_of(found, at=found.started_at if latest is None else latest.ends_at)[1:]
            add_ons = {phase.effective_at: list(phase.add_ons) for phase in held}
            typed = form.wanted(add_ons=add_ons, otherwise=[(item.version, item.seats) for item in own])
            try:
                scheduling.require_plan(found, typed, now=now)
                if "confirmed" in request.POST:
                    return self._plan(request, found, form, typed)
                planned = typed
            except REFUSALS as refusal:
                form.show(refusal)
        rows = phases.phases_of(found, planned=planned, now=now)
        context = {
            "title": f"Phases of {found} of {found.customer.name}",
            "subscription": found,
            "rows": [(row, phases.span_text(row)) for row in rows],
            "bar": phases.bar_of(rows),
            "form": forms.fixed(form) if planned is not None and form is not None else form,
            "confirming": planned is not None,
            "cancel_url": page_url("billing.subscription", found.pk),
        }
        is_wrong = form is not None and form.is_bound and bool(form.errors)
        return self.page(request, "phases.html", context, status=422 if is_wrong else 200)

    def _plan(
        self, request: HttpRequest, found: Subscription, form: forms.PlanForm, typed: list[scheduling.Phase]
    ) -> HttpResponse:
        reason = form.cleaned_data["reason"]
        scheduling.plan_phases(
            subscription_id=found.pk, phases=typed, actor=actor_of(request), reason=reason,
            idempotency_key=key_of(request, form.cleaned_data["key"]), now=clock.now(),
        )  # fmt: skip
        self.log_change(request, found, f"Planned {len(typed)} phases: {reason}")
        self.message_user(request, "Planned: each is carried out at its time.", messages.SUCCESS)
        return HttpResponseRedirect(request.path)

    def page(self, request: HttpRequest, template: str, context: dict[str, Any], *, status: int) -> HttpResponse:
        shared = {**self.admin_site.each_context(request), "opts": None}
        return TemplateResponse(request, f"{TEMPLATES}/{template}", {**shared, **context}, status=status)


def end_shown(end: EndPreview) -> dict[str, Any]:
    """What a preview of an end is shown with, before the button and later beside what was invoiced."""
    rows = comparing.rows_of(end.preview)
    return {
        "confirming": True,
        "end": end,
        "preview": end.preview,
        "rows": rows,
        "differences": comparing.differences(rows, end.preview.currency),
        "outdated": list(end_previews.outdated(end).values()),
    }


def found_or_404(subscription_id: int) -> Subscription:
    rows = Subscription.objects.select_related("customer", "plan_version__plan")
    found = rows.filter(pk=subscription_id).first()
    if found is None:
        raise Http404("There is no such subscription.")
    return found


def require(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def key_of(request: HttpRequest, key: str) -> str:
    """The key of a form, which is its own reader's."""
    return own_key(way="form", actor=actor_of(request), key=key)


def actor_of(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"
