"""Subscriptions of a customer: to read, and everything that may be asked of them, each by one call of its operation."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request

from billing.api import parameters
from billing.api import subscriptions_schema as described
from billing.api.refusals import NotThere
from billing.api.subscription_bodies import preview_body, scheduled_body, subscription_body
from billing.api.writing import Asked, Body, Instant, Reason, Text, WritingView, WrongBody
from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.subscriptions import lifecycle, previews, scheduling, starting
from billing.subscriptions.change_models import ChangePreview, ScheduledChange
from billing.subscriptions.errors import (
    ChangeRefused,
    PlanNotOffered,
    SubscriptionConflict,
    SubscriptionError,
    SubscriptionNotFound,
)
from billing.subscriptions.keys import own_key
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import change_terms

SEES = "billing.view_subscription"
Seats = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Versions = list[tuple[PlanVersion, int]]


class AddOnBody(Body, frozen=True, kw_only=True):
    plan: Text
    version: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seats: Seats = 1


class TermsBody(Body, frozen=True, kw_only=True):
    """The plan, its seats, and all add-ons: what is not named is not there afterwards."""

    plan: Text
    version: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seats: Seats = 1
    add_ons: Annotated[list[AddOnBody], msgspec.Meta(max_length=20)] = msgspec.field(default_factory=list)


class PreviewBody(TermsBody, frozen=True, kw_only=True):
    from_next_period: bool = False


class ChangeBody(PreviewBody, frozen=True, kw_only=True):
    reason: Reason
    preview: Annotated[int, msgspec.Meta(ge=1)] | None = None


class NewBody(TermsBody, frozen=True, kw_only=True):
    reason: Reason
    payment_method: Text | None = None
    days_until_due: Annotated[int, msgspec.Meta(ge=0, le=365)] | None = None


class PhaseBody(TermsBody, frozen=True, kw_only=True):
    effective_at: Instant


class ScheduleBody(Body, frozen=True, kw_only=True):
    phases: Annotated[list[PhaseBody], msgspec.Meta(min_length=1, max_length=scheduling.PHASES_MAX)]
    reason: Reason


class ReasonBody(Body, frozen=True, kw_only=True):
    reason: Reason


class PauseBody(ReasonBody, frozen=True, kw_only=True):
    until: Instant | None = None


class ReactivateBody(ReasonBody, frozen=True, kw_only=True):
    payment_method: Text | None = None


class SubscriptionView(WritingView):
    """What all have in common: who may see one, and how its refusals are told."""

    permissions = (SEES,)
    refused: ClassVar = {
        SubscriptionNotFound: 404,
        SubscriptionConflict: 409,
        PlanNotOffered: 422,
        ChangeRefused: 422,
        SubscriptionError: 409,
    }
    refused_field = "subscription"

    def _translated(self, exc: Exception) -> Exception:
        if isinstance(exc, ChangeRefused) and exc.is_conflict:
            exc = SubscriptionConflict(str(exc))
            exc.field = "Idempotency-Key"  # type: ignore[attr-defined]
        elif isinstance(exc, PlanNotOffered):
            exc.field = "plan"  # type: ignore[attr-defined]
        return super()._translated(exc)

    def done(self, subscription: Subscription, *, status: int = 200) -> HttpResponse:
        return self.answer(subscription_body(subscription_of(subscription.pk), is_whole=True), status=status)


class CustomerSubscriptions(SubscriptionView):
    write_permissions = ("billing.create_subscription",)

    @described.of_customer
    def get(self, request: Request, customer_key: str) -> HttpResponse:
        customer = _customer(customer_key)
        rows = Subscription.objects.filter(customer=customer).select_related("customer", "plan_version__plan")
        found = [subscription_body(row, is_whole=False) for row in rows.order_by("-pk")]
        return self.answer({"customer_key": customer.customer_key, "subscriptions": found})

    @described.create
    def post(self, request: Request, customer_key: str) -> HttpResponse:
        customer = _customer(customer_key)
        asked = self.asked(request, NewBody)
        version, add_ons = _terms(asked.body, customer)
        subscription = starting.subscribe(
            customer_id=customer.pk,
            plan_version=version,
            seats=asked.body.seats,
            add_ons=add_ons,
            payment_method=asked.body.payment_method or "",
            days_until_due=asked.body.days_until_due,
            actor=asked.actor,
            reason=asked.body.reason,
            idempotency_key=own_key(way="api", actor=asked.actor, key=asked.key),
            now=asked.now,
        )
        return self.done(subscription, status=201)


class OneSubscription(SubscriptionView):
    @described.one
    def get(self, request: Request, number: int) -> HttpResponse:
        return self.done(subscription_of(number))


class Preview(SubscriptionView):
    write_permissions = ("billing.edit_subscription_terms",)

    @described.preview
    def post(self, request: Request, number: int) -> HttpResponse:
        found, asked = subscription_of(number), self.asked(request, PreviewBody)
        version, add_ons = _terms(asked.body, found.customer)
        made = previews.preview_change(
            subscription_id=number,
            plan_version=version,
            seats=asked.body.seats,
            add_ons=add_ons,
            from_next_period=asked.body.from_next_period,
            actor=asked.actor,
            now=asked.now,
        )
        return self.answer(preview_body(made), status=201)


class Changes(SubscriptionView):
    write_permissions = ("billing.edit_subscription_terms",)

    @described.change
    def post(self, request: Request, number: int) -> HttpResponse:
        found, asked = subscription_of(number), self.asked(request, ChangeBody)
        version, add_ons = _terms(asked.body, found.customer)
        preview = None
        if asked.body.preview is not None:
            preview = ChangePreview.objects.filter(pk=asked.body.preview, subscription=found).first()
            if preview is None:
                raise WrongBody("preview", "There is no such preview of this subscription; make one, or leave it out.")
        changed = change_terms(
            subscription_id=number,
            plan_version=version,
            seats=asked.body.seats,
            add_ons=add_ons,
            from_next_period=asked.body.from_next_period,
            preview=preview,
            **told(asked),
        )
        return self.done(changed)


class ScheduledChanges(SubscriptionView):
    write_permissions = ("billing.edit_subscription_terms",)

    @described.schedule
    def post(self, request: Request, number: int) -> HttpResponse:
        found, asked = subscription_of(number), self.asked(request, ScheduleBody)
        phases = phases_of(asked.body.phases, found.customer)
        rows = scheduling.schedule(subscription_id=number, phases=phases, **told(asked))
        return self.answer({"scheduled": [scheduled_body(row) for row in rows]}, status=201)


class CancelScheduled(SubscriptionView):
    write_permissions = ("billing.edit_subscription_terms",)
    refused_field = "change"

    @described.cancel_scheduled
    def post(self, request: Request, number: int, change: int) -> HttpResponse:
        asked = self.asked(request, ReasonBody)
        if not ScheduledChange.objects.filter(pk=change, subscription_id=number).exists():
            raise NotThere("change", f"Subscription {number} has no scheduled change {change}.")
        row = scheduling.cancel_scheduled(
            scheduled_id=change, actor=asked.actor, reason=asked.body.reason, now=asked.now
        )
        return self.answer(scheduled_body(row))


class Pause(SubscriptionView):
    write_permissions = ("billing.pause_subscription",)

    @described.pause
    def post(self, request: Request, number: int) -> HttpResponse:
        asked = self.asked(request, PauseBody)
        return self.done(lifecycle.pause(subscription_id=number, until=asked.body.until, **told(asked)))


class Simple(SubscriptionView):
    """A wish that needs no more than a reason."""

    operation: ClassVar[Callable[..., Subscription]]

    def do(self, request: Request, number: int) -> HttpResponse:
        asked = self.asked(request, ReasonBody)
        return self.done(type(self).operation(subscription_id=number, **told(asked)))


class Resume(Simple):
    write_permissions = ("billing.pause_subscription",)
    operation = lifecycle.resume

    @described.resume
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.do(request, number)


class EndTrial(Simple):
    write_permissions = ("billing.edit_subscription_terms",)
    operation = lifecycle.end_trial

    @described.end_trial
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.do(request, number)


class UndoCancellation(Simple):
    write_permissions = ("billing.cancel_subscription",)
    operation = lifecycle.undo_cancellation

    @described.undo
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.do(request, number)


class Reactivate(SubscriptionView):
    write_permissions = ("billing.create_subscription",)

    @described.reactivate
    def post(self, request: Request, number: int) -> HttpResponse:
        asked = self.asked(request, ReactivateBody)
        method = asked.body.payment_method or ""
        again = starting.reactivate(subscription_id=number, payment_method=method, **told(asked))
        return self.done(again, status=201)


def phases_of(bodies: list[PhaseBody], customer: Customer) -> list[scheduling.Phase]:
    phases = []
    for place, one in enumerate(bodies):
        version, add_ons = _terms(one, customer, path=f"phases[{place}].")
        phases.append(scheduling.Phase(one.effective_at, version, one.seats, tuple(add_ons)))
    return phases


def told(asked: Asked[Any]) -> dict[str, Any]:
    """What every operation is told of a request."""
    return {
        "actor": asked.actor,
        "reason": asked.body.reason,
        "idempotency_key": own_key(way="api", actor=asked.actor, key=asked.key),
        "now": asked.now,
    }


def _terms(body: TermsBody, customer: Customer, *, path: str = "") -> tuple[PlanVersion, Versions]:
    plan = _version(body.plan, body.version, customer, field=f"{path}plan")
    return plan, [
        (_version(one.plan, one.version, customer, field=f"{path}add_ons[{place}].plan"), one.seats)
        for place, one in enumerate(body.add_ons)
    ]


def _version(code: str, number: int | None, customer: Customer, *, field: str) -> PlanVersion:
    """The version that is named, or the newest that is sold to everybody in the customer's currency."""
    rows = PlanVersion.objects.select_related("plan").filter(plan__code=code, currency=customer.currency)
    rows = (
        rows.filter(version=number)
        if number is not None
        else rows.filter(status=PlanVersion.Status.PUBLISHED, only_for=None)
    )
    found = rows.order_by("-version").first()
    if found is None:
        what = f"version {number} of the plan" if number is not None else "published version of the plan"
        raise WrongBody(field, f"There is no {what} {code!r} in {customer.currency}; name one of the catalogue.")
    return found


def _customer(customer_key: str) -> Customer:
    found = None
    if parameters.is_text(customer_key):
        found = Customer.objects.filter(customer_key=customer_key).first()
    if found is None:
        raise NotThere("customer_key", f"There is no customer {customer_key[:128]!r}. Check the key.")
    return found


def subscription_of(number: int) -> Subscription:
    found = Subscription.objects.select_related("customer", "plan_version__plan").filter(pk=number).first()
    if found is None:
        raise NotThere("number", f"There is no subscription {number}.")
    return found
