"""Rollouts and their moves to read, planning one, and steering it; and pinning a subscription to its terms."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display

from billing.admin_links import list_url, page_link, page_url
from billing.read_only_admin import ReadOnlyAdmin
from billing.rollouts import operations as rollouts
from billing.rollouts import page as rollout_page
from billing.rollouts import pins
from billing.rollouts.forms import LimitsForm, PlanForm, ReasonForm
from billing.rollouts.models.rollouts import Rollout, RolloutMove
from billing.rollouts.refusals import RolloutError
from billing.rollouts.tasks import task_advance_rollouts
from billing.subscriptions.models import Subscription
from config import clock

TEMPLATES = "admin/billing/rollout"
STATE_COLOURS = {
    Rollout.State.RUNNING.label: "info",
    Rollout.State.HALTED.label: "danger",
    Rollout.State.COMPLETED.label: "success",
    Rollout.State.ROLLED_BACK.label: "danger",
}
MOVE_COLOURS = {
    RolloutMove.State.DONE.label: "success",
    RolloutMove.State.TOLD.label: "info",
    RolloutMove.State.TELLING.label: "info",
    RolloutMove.State.REFUSED.label: "danger",
}
# What one may do with a rollout: the operation, its page's title, its button, and what is said after it.
Steer = Callable[..., Rollout]
STEERING: dict[str, tuple[Steer, str, str, str]] = {
    "start": (rollouts.start, "Start", "Start the rollout", "Started: the guards look, then the first stage begins."),
    "halt": (rollouts.halt, "Halt", "Halt the rollout", "Halted: nobody else is moved."),
    "resume": (rollouts.resume, "Resume", "Resume the rollout", "Resumed: the guards look again before anybody moves."),
    "roll_back": (
        rollouts.roll_back,
        "Roll back",
        "Roll it back",
        "Rolled back: whoever moved returns with their next period.",
    ),
}
ALONE = "Other limits count at once and nobody confirms them; the rollout's page keeps who set them, and when."
PERMISSIONS = {"start": rollouts.PLAN, "halt": rollouts.STEER, "resume": rollouts.STEER, "roll_back": rollouts.STEER}


@admin.register(Rollout)
class RolloutAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "plan", "from_to", "state_label", "stage", "changed_at")
    list_select_related = ("plan", "baseline__plan", "candidate__plan")
    list_filter = ("state", "plan")
    search_fields = ("=id", "=plan__code")
    list_before_template = f"{TEMPLATES}/before_list.html"
    fields = ("plan",)

    @display(description="From → to")
    def from_to(self, rollout: Rollout) -> str:
        return f"v{rollout.baseline.version} → v{rollout.candidate.version} {rollout.currency}"

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, rollout: Rollout) -> str:
        return rollout.get_state_display()

    def get_urls(self) -> list[URLPattern]:
        def view(route: str, function: Callable[..., HttpResponse], name: str, **extra: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(function), extra, name=f"billing_rollout_{name}")

        return [
            view("plan/", self.plan_view, "plan"),
            view("pin/<int:subscription_id>/", self.pin_view, "pin"),
            *(view(f"<int:rollout_id>/{verb}/", self.steer_view, verb, verb=verb) for verb in STEERING),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_plan = request.user.has_perm(rollouts.PLAN)
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), "may_plan": may_plan})
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        rollout = self.get_object(request, object_id)
        if rollout is not None and self.has_view_permission(request, rollout):
            shown = rollout_page.sections(rollouts.by_id(rollout.pk), may=request.user.has_perm)
            extra_context = {**(extra_context or {}), **shown, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def plan_view(self, request: HttpRequest) -> HttpResponse:
        """Fill in (GET, or POST with an error), then plan (POST). Nothing happens before somebody starts it."""
        if not request.user.has_perm(rollouts.PLAN):
            raise PermissionDenied
        candidate = request.GET.get("candidate", "")
        initial = {"candidate": int(candidate)} if candidate.isascii() and candidate.isdecimal() else {}
        form = PlanForm(request.POST or None, initial=initial)
        if request.method == "POST" and form.is_valid():
            typed = form.cleaned_data
            try:
                with transaction.atomic():
                    rollout = rollouts.plan_rollout(
                        baseline_id=typed["baseline"].pk,
                        candidate_id=typed["candidate"].pk,
                        stages=typed["stages"],
                        limits=form.limits(),
                        reason=typed["reason"],
                        actor=_actor(request),
                        now=clock.now(),
                    )
                    self.log_addition(request, rollout, "Planned")
                self.message_user(request, "Planned. Nothing happens before it is started.", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.rollout", rollout.pk))
            except RolloutError as refusal:
                form.show(refusal)
        context = {"title": "Plan a rollout", "form": form, "button": "Plan", "cancel_url": list_url("billing.rollout")}
        return self._page(request, context, status=422 if form.is_bound else 200)

    def steer_view(self, request: HttpRequest, rollout_id: int, verb: str) -> HttpResponse:
        """Say what it does and ask why (GET, or POST with an error), then do it (POST)."""
        if not request.user.has_perm(PERMISSIONS[verb]):
            raise PermissionDenied
        if not Rollout.objects.filter(pk=rollout_id).exists():
            raise Http404("There is no such rollout.")
        rollout = rollouts.by_id(rollout_id)
        steer, title, button, said = STEERING[verb]
        sets_limits = verb == "resume"
        form = (
            LimitsForm(request.POST or None, initial=asdict(rollouts.limits_of(rollout)))
            if sets_limits
            else ReasonForm(request.POST or None)
        )
        if request.method == "POST" and form.is_valid():
            extra = {"limits": form.limits()} if isinstance(form, LimitsForm) else {}
            try:
                with transaction.atomic():
                    reason = form.cleaned_data["reason"]
                    steer(rollout_id=rollout_id, reason=reason, actor=_actor(request), now=clock.now(), **extra)
                    self.log_change(request, rollout, f"{title}: {reason}")
                    transaction.on_commit(task_advance_rollouts.delay, robust=True)
                self.message_user(request, said, messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.rollout", rollout_id))
            except RolloutError as refusal:
                form.show(refusal)
        context = {
            "title": f"{title}: {rollout}, {rollout.baseline} → v{rollout.candidate.version}",
            "form": form,
            "button": button,
            "is_danger": verb in ("halt", "roll_back"),
            "what": said.partition(": ")[2] + (f" {ALONE}" if sets_limits else ""),
            "cancel_url": page_url("billing.rollout", rollout_id),
        }
        return self._page(request, context, status=422 if form.is_bound else 200)

    def pin_view(self, request: HttpRequest, subscription_id: int) -> HttpResponse:
        """Pin a subscription to the terms it has, or let it go again (POST)."""
        if not request.user.has_perm(pins.PIN):
            raise PermissionDenied
        subscription = Subscription.objects.select_related("customer", "plan_version__plan").filter(pk=subscription_id)
        pinned = subscription.first()
        if pinned is None:
            raise Http404("There is no such subscription.")
        is_pinned = pinned.pinned_at is not None
        form = ReasonForm(request.POST or None, initial={"reason": ""})
        if request.method == "POST" and form.is_valid():
            try:
                reason = form.cleaned_data["reason"]
                with transaction.atomic():
                    if is_pinned:
                        pins.unpin(subscription_id=subscription_id, actor=_actor(request))
                    else:
                        pins.pin(subscription_id=subscription_id, reason=reason, actor=_actor(request), now=clock.now())
                    self.log_change(request, pinned, f"{'Unpinned' if is_pinned else 'Pinned'}: {reason}")
                said = "Let go: rollouts may move it again." if is_pinned else "Pinned: no rollout moves it."
                self.message_user(request, said, messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.subscription", subscription_id))
            except RolloutError as refusal:
                form.show(refusal)
        context = {
            "title": f"{'Unpin' if is_pinned else 'Pin'} {pinned} of {pinned.customer.name}",
            "form": form,
            "button": "Unpin" if is_pinned else f"Pin to {pinned.plan_version}",
            "what": f"pinned: {pinned.pinned_because}" if is_pinned else "a move that is under way is taken back.",
            "cancel_url": page_url("billing.subscription", subscription_id),
        }
        return self._page(request, context, status=422 if form.is_bound else 200)

    def _page(self, request: HttpRequest, context: dict[str, Any], status: int = 200) -> HttpResponse:
        shared = {**self.admin_site.each_context(request), "opts": None, "list_url": list_url("billing.rollout")}
        return TemplateResponse(request, f"{TEMPLATES}/form.html", {**shared, **context}, status=status)


@admin.register(RolloutMove)
class RolloutMoveAdmin(ReadOnlyAdmin):
    list_display = (
        "customer_link",
        "direction",
        "state_label",
        "stage",
        "intended_at",
        "told_at",
        "effective_at",
        "why",
    )
    list_display_links = ("state_label",)
    list_select_related = ("subscription__customer",)
    list_filter = ("state", "direction")
    search_fields = ("=subscription__customer__customer_key",)
    linked_by = frozenset({"rollout__id__exact"})
    fields = (
        "rollout_link", "customer_link", "subscription_link", "direction", "from_version", "to_version", "state_label",
        "stage", "intended_at", "told_at", "effective_at", "why",
    )  # fmt: skip

    @display(description="Customer", ordering="subscription__customer__name")
    def customer_link(self, move: RolloutMove) -> str:
        customer = move.subscription.customer
        return page_link("billing.customer", customer.pk, customer)

    @display(description="Subscription")
    def subscription_link(self, move: RolloutMove) -> str:
        return page_link("billing.subscription", move.subscription_id, move.subscription)

    @display(description="Rollout")
    def rollout_link(self, move: RolloutMove) -> str:
        return page_link("billing.rollout", move.rollout_id, move.rollout)

    @display(description="State", ordering="state", label=MOVE_COLOURS)
    def state_label(self, move: RolloutMove) -> str:
        return move.get_state_display()

    @display(description="Why")
    def why(self, move: RolloutMove) -> str:
        return " · ".join(text for text in (move.because, move.detail) if text)


def _actor(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"
