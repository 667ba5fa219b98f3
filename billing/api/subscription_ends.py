"""How a subscription goes on and ends: phases, an end previewed and asked for, and what starting anew costs."""

from typing import Annotated, ClassVar

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request

from billing.api import subscriptions_schema as described
from billing.api.refusals import NotThere
from billing.api.subscription_bodies import end_preview_body, paid_again_body, phases_body
from billing.api.subscriptions import PhaseBody, SubscriptionView, phases_of, subscription_of, told
from billing.api.writing import Body, Instant, Reason, WrongBody
from billing.subscriptions import lifecycle, scheduling
from billing.subscriptions.change_models import EndPreview
from billing.subscriptions.end_previews import preview_end
from billing.subscriptions.paying_again import what_is_paid_again
from config import clock


class EndBody(Body, frozen=True, kw_only=True):
    """When it is to end: now, with its period, or at a date; and whether the fee after it is given back."""

    at_period_end: bool = False
    at: Instant | None = None
    prorate: bool = False

    @property
    def how(self) -> str:
        return EndPreview.How.PERIOD_END if self.at_period_end else EndPreview.How.AT if self.at else EndPreview.How.NOW


class CancelBody(EndBody, frozen=True, kw_only=True):
    reason: Reason
    preview: Annotated[int, msgspec.Meta(ge=1)] | None = None


class PlanBody(Body, frozen=True, kw_only=True):
    """All phases to come, none included: what was planned before and is not named does not happen."""

    phases: Annotated[list[PhaseBody], msgspec.Meta(max_length=scheduling.PHASES_MAX)]
    reason: Reason


class CancelPreview(SubscriptionView):
    write_permissions = ("billing.cancel_subscription",)

    @described.cancel_preview
    def post(self, request: Request, number: int) -> HttpResponse:
        subscription_of(number)
        asked = self.asked(request, EndBody)
        _require_one_end(asked.body)
        made = preview_end(
            subscription_id=number,
            how=asked.body.how,
            at=asked.body.at,
            prorate=asked.body.prorate,
            actor=asked.actor,
            now=asked.now,
        )
        return self.answer(end_preview_body(made), status=201)


class CancelPreviewed(SubscriptionView):
    @described.cancel_previewed
    def get(self, request: Request, number: int, preview: int) -> HttpResponse:
        found = _end_preview(number, preview)
        if found is None:
            raise NotThere("preview", f"Subscription {number} has no preview {preview} of an end.")
        return self.answer(end_preview_body(found))


class Cancel(SubscriptionView):
    write_permissions = ("billing.cancel_subscription",)

    @described.cancel
    def post(self, request: Request, number: int) -> HttpResponse:
        asked = self.asked(request, CancelBody)
        body = asked.body
        _require_one_end(body)
        said = told(asked)
        if body.preview is not None:
            said["preview"] = _end_preview(number, body.preview)
            if said["preview"] is None:
                raise WrongBody("preview", "There is no such preview of an end of it; make one, or leave it out.")
        if body.at_period_end:
            return self.done(lifecycle.cancel_at_period_end(subscription_id=number, **said))
        if body.at is not None:
            ended = lifecycle.cancel_at_date(subscription_id=number, at=body.at, prorate=body.prorate, **said)
            return self.done(ended)
        return self.done(lifecycle.cancel(subscription_id=number, prorate=body.prorate, **said))


class Phases(SubscriptionView):
    """Everything that a subscription was, is and will be; and the phases to come, planned in one go."""

    write_permissions = ("billing.edit_subscription_terms",)
    required_scopes: ClassVar = {"GET": ("billing:read",), "PUT": ("billing:write",)}

    @described.phases
    def get(self, request: Request, number: int) -> HttpResponse:
        return self.answer(phases_body(subscription_of(number), now=clock.now()))

    @described.plan_phases
    def put(self, request: Request, number: int) -> HttpResponse:
        found, asked = subscription_of(number), self.asked(request, PlanBody)
        phases = phases_of(asked.body.phases, found.customer)
        scheduling.plan_phases(subscription_id=number, phases=phases, **told(asked))
        return self.answer(phases_body(subscription_of(number), now=asked.now))


class Reactivation(SubscriptionView):
    @described.reactivation
    def get(self, request: Request, number: int) -> HttpResponse:
        found = subscription_of(number)
        if found.ended_at is None:
            raise NotThere("number", f"Subscription {number} has not ended.")
        return self.answer(paid_again_body(what_is_paid_again(found, now=clock.now())))


def _require_one_end(body: EndBody) -> None:
    if body.at_period_end and body.prorate:
        raise WrongBody("prorate", "What ends with its period has nothing to credit: leave one of the two out.")
    if body.at_period_end and body.at is not None:
        raise WrongBody("at", "It ends either with its period or at a date: leave one of the two out.")


def _end_preview(number: int, preview: int) -> EndPreview | None:
    rows = EndPreview.objects.select_related("preview__subscription", "outcome")
    return rows.filter(preview_id=preview, preview__subscription_id=number).first()
