"""
What may be done with a subscription in the admin: each a page with what it does and a reason, for who may do it; a
change of terms with the three-way preview before the button.

A wish is carried out under the key that its form was first shown with. Stripe is told outside of any transaction; the
history of the object says who did it and why.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from billing.admin_links import page_url
from billing.customers.models import Customer
from billing.subscriptions import comparing, forms, lifecycle, previews, scheduling, starting
from billing.subscriptions.change_models import ChangePreview, ScheduledChange
from billing.subscriptions.end_pages import REFUSALS, SubscriptionEnds, actor_of, found_or_404, key_of, require
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import change_terms
from billing.subscriptions.paying_again import what_is_paid_again
from billing.subscriptions.timeline import scheduled_text
from config import clock

CREATE, CHANGE = "billing.create_subscription", "billing.edit_subscription_terms"
PAUSE, CANCEL = "billing.pause_subscription", "billing.cancel_subscription"
SEES = "billing.view_subscription"
Do = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing to do: its page's words, who may, its form, and the call of its operation."""

    title: str
    button: str
    what: str
    permission: str
    form: type[forms.WishForm]
    do: Do
    said: str
    is_danger: bool = False


WISHES: dict[str, Wish] = {
    "pause": Wish(
        "Pause",
        "Pause it now",
        "From now on nothing is billed and all usage is included. Usage until now goes onto the next invoice; the fee"
        " of this period was paid in advance and is not given back.",
        PAUSE,
        forms.PauseForm,
        lifecycle.pause,
        "Paused.",
    ),
    "resume": Wish(
        "Resume",
        "Resume it now",
        "Within the period whose fee was paid, the rest of it goes on. After a renewal that was void, a whole period"
        " begins now and its fee is billed at once.",
        PAUSE,
        forms.WishForm,
        lifecycle.resume,
        "Resumed.",
    ),
    "undo": Wish(
        "Take the cancellation back",
        "Let it go on",
        "It renews as if nothing had been planned.",
        CANCEL,
        forms.WishForm,
        lifecycle.undo_cancellation,
        "Taken back: it goes on.",
    ),
    "end_trial": Wish(
        "End the trial",
        "End the trial now",
        "The first period that costs something begins now, and Stripe bills its fee at once.",
        CHANGE,
        forms.WishForm,
        lifecycle.end_trial,
        "The trial is over.",
    ),
    "reactivate": Wish(
        "Reactivate",
        "Start it anew",
        "A new subscription begins now on the last terms, without a trial. The old one stays as it ended.",
        CREATE,
        forms.ReactivateForm,
        starting.reactivate,
        "Started anew.",
    ),
}


def offered(subscription: Subscription, may: Callable[[str], bool]) -> list[tuple[str, str, str]]:
    """Name, title and address of what the reader may do with it now."""
    is_over, status = subscription.ended_at is not None, Subscription.Status
    if is_over:
        names = ["reactivate"]
    elif subscription.stripe_subscription_id is None:
        names = ["cancel"]
    else:
        names = ["resume"] if subscription.paused_from is not None else ["change_terms"]
        if subscription.paused_from is None and subscription.status in (status.ACTIVE, status.PAST_DUE):
            names.append("pause")
        names += ["end_trial"] if subscription.status == status.TRIALING else []
        names += ["undo"] if subscription.cancel_at is not None else []
        names.append("cancel")
    names.append("phases")
    titles = {name: (wish.title, wish.permission) for name, wish in WISHES.items()}
    titles |= {"change_terms": ("Change the terms", CHANGE), "cancel": ("Cancel", CANCEL)}
    titles["phases"] = ("Phases", SEES)
    return [
        (name, titles[name][0], reverse(f"admin:billing_subscription_{name}", args=[subscription.pk]))
        for name in names
        if may(titles[name][1])
    ]


class SubscriptionActions(SubscriptionEnds):
    """The views; the admin of subscriptions has them beside its own."""

    log_addition: Any

    def action_urls(self) -> list[URLPattern]:
        def view(route: str, function: Callable[..., HttpResponse], name: str, **extra: str) -> URLPattern:
            guarded: Callable[..., HttpResponse] = self.admin_site.admin_view(function)
            return path(route, guarded, extra, name=f"billing_subscription_{name}")

        return [
            *(view(f"<int:subscription_id>/{verb}/", self.wish_view, verb, verb=verb) for verb in WISHES),
            view("<int:subscription_id>/terms/", self.change_terms_view, "change_terms"),
            view("<int:subscription_id>/cancel/", self.cancel_view, "cancel"),
            view("<int:subscription_id>/phases/", self.phases_view, "phases"),
            view("scheduled/<int:scheduled_id>/cancel/", self.cancel_scheduled_view, "cancel_scheduled"),
            view("new/<int:customer_id>/", self.start_view, "start"),
        ]

    def wish_view(self, request: HttpRequest, subscription_id: int, verb: str) -> HttpResponse:
        """Say what it does and ask why (GET, or POST with an error), then do it (POST)."""
        wish, found = WISHES[verb], found_or_404(subscription_id)
        require(request, wish.permission)
        form = wish.form(request.POST or None)
        if request.method == "POST" and form.is_valid():
            typed = dict(form.cleaned_data)
            key = key_of(request, typed.pop("key"))
            try:
                done = wish.do(
                    subscription_id=found.pk, actor=actor_of(request), idempotency_key=key, now=clock.now(), **typed
                )
            except REFUSALS as refusal:
                form.show(refusal)
            else:
                self.log_change(request, done, f"{wish.title}: {typed['reason']}")
                self.message_user(request, wish.said, messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.subscription", done.pk))
        context = {
            "title": f"{wish.title}: {found} of {found.customer.name}",
            "form": form,
            "button": wish.button,
            "what": wish.what,
            "is_danger": wish.is_danger,
            "cancel_url": page_url("billing.subscription", found.pk),
            "paid": what_is_paid_again(found, now=clock.now()) if verb == "reactivate" and found.ended_at else None,
        }
        return self.page(request, "form.html", context, status=422 if form.is_bound else 200)

    def change_terms_view(self, request: HttpRequest, subscription_id: int) -> HttpResponse:
        """Fill in (GET, or POST with an error), see what it costs (POST), change or schedule (POST `confirmed`)."""
        require(request, CHANGE)
        found = found_or_404(subscription_id)
        form = forms.ChangeForm(request.POST or None, customer=found.customer, held=found)
        shown: dict[str, Any] = {}
        if request.method == "POST" and form.is_valid() and "edit" not in request.POST:
            try:
                if "confirmed" in request.POST:
                    return self._change(request, found, form)
                shown = self._preview(request, found, form)
            except REFUSALS as refusal:
                form.show(refusal)
        context = {
            "title": f"Change the terms of {found} of {found.customer.name}",
            "subscription": found,
            "form": forms.fixed(form) if shown else form,
            "cancel_url": page_url("billing.subscription", found.pk),
            **shown,
        }
        return self.page(request, "terms.html", context, status=422 if form.is_bound and form.errors else 200)

    def _preview(self, request: HttpRequest, found: Subscription, form: forms.ChangeForm) -> dict[str, Any]:
        """What is shown before the button: for a later instant only what will be, as nobody knows its amounts yet."""
        when, wanted = form.cleaned_data["when"], form.wanted()
        words = {"wanted": wanted, "when": dict(forms.WHEN)[when], "at": form.cleaned_data["at"]}
        if when == forms.LATER:
            return words | {"confirming": True}
        preview = previews.preview_change(
            subscription_id=found.pk,
            from_next_period=when == forms.NEXT,
            actor=actor_of(request),
            now=clock.now(),
            **wanted,
        )
        rows = comparing.rows_of(preview)
        return words | {
            "confirming": True,
            "preview": preview,
            "rows": rows,
            "differences": comparing.differences(rows, preview.currency),
        }

    def _change(self, request: HttpRequest, found: Subscription, form: forms.ChangeForm) -> HttpResponse:
        typed, wanted, now = form.cleaned_data, form.wanted(), clock.now()
        said = {
            "subscription_id": found.pk,
            "actor": actor_of(request),
            "reason": typed["reason"],
            "idempotency_key": key_of(request, typed["key"]),
            "now": now,
        }
        if typed["when"] == forms.LATER:
            add_ons = tuple(wanted["add_ons"])
            phase = scheduling.Phase(typed["at"], wanted["plan_version"], wanted["seats"], add_ons)
            scheduling.schedule(phases=[phase], **said)
            done = "Scheduled: it is carried out at its time."
        else:
            number = request.POST.get("preview", "")
            known = int(number) if number.isascii() and number.isdecimal() else 0
            preview = ChangePreview.objects.filter(pk=known, subscription=found).first()
            change_terms(preview=preview, from_next_period=typed["when"] == forms.NEXT, **wanted, **said)
            begins = "" if preview is None else f" from {preview.effective_at:%d %b %Y, %H:%M:%S} UTC on"
            done = f"Changed{begins}."
        self.log_change(request, found, f"Changed to {wanted['plan_version']}, {wanted['seats']}: {typed['reason']}")
        self.message_user(request, done, messages.SUCCESS)
        return HttpResponseRedirect(page_url("billing.subscription", found.pk))

    def cancel_scheduled_view(self, request: HttpRequest, scheduled_id: int) -> HttpResponse:
        require(request, CHANGE)
        row = ScheduledChange.objects.select_related("plan_version__plan").filter(pk=scheduled_id).first()
        if row is None:
            raise Http404("There is no such scheduled change.")
        found = found_or_404(row.subscription_id)
        form = forms.WishForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            reason = form.cleaned_data["reason"]
            try:
                scheduling.cancel_scheduled(
                    scheduled_id=scheduled_id, actor=actor_of(request), reason=reason, now=clock.now()
                )
            except REFUSALS as refusal:
                form.show(refusal)
            else:
                self.log_change(request, found, f"Cancelled {row}: {reason}")
                self.message_user(request, "Cancelled: it will not happen.", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.subscription", found.pk))
        context = {
            "title": f"Cancel {row} of {found.customer.name}",
            "form": form,
            "button": "Cancel the change",
            "what": scheduled_text(row),
            "is_danger": True,
            "cancel_url": page_url("billing.subscription", found.pk),
        }
        return self.page(request, "form.html", context, status=422 if form.is_bound else 200)

    def start_view(self, request: HttpRequest, customer_id: int) -> HttpResponse:
        """Start a subscription for a customer: fill in (GET, or POST with an error), then start (POST)."""
        require(request, CREATE)
        customer = Customer.objects.filter(pk=customer_id).first()
        if customer is None:
            raise Http404("There is no such customer.")
        form = forms.StartForm(request.POST or None, customer=customer, initial={"seats": 1})
        if request.method == "POST" and form.is_valid():
            typed = form.cleaned_data
            try:
                started = starting.subscribe(
                    customer_id=customer.pk,
                    payment_method=typed["payment_method"],
                    days_until_due=typed["days_until_due"],
                    actor=actor_of(request),
                    reason=typed["reason"],
                    idempotency_key=key_of(request, typed["key"]),
                    now=clock.now(),
                    **form.wanted(),
                )
            except REFUSALS as refusal:
                form.show(refusal)
            else:
                self.log_addition(request, started, f"Started: {typed['reason']}")
                self.message_user(request, "Started.", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.subscription", started.pk))
        context = {
            "title": f"New subscription for {customer.name}",
            "form": form,
            "button": "Start it now",
            "what": "It begins now, here and at Stripe, which bills the first fee at once (or after a trial).",
            "cancel_url": page_url("billing.customer", customer.pk),
        }
        return self.page(request, "form.html", context, status=422 if form.is_bound else 200)
