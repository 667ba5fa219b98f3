"""The description of subscriptions' part of the API: bodies, answers and refusals of every address."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from billing.api.schema import TAG, BillingProblem

KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    required=True,
    description="1 to 100 visible ASCII characters, made for this wish; a repeat carries the same.",
)


def _text(**options: Any) -> serializers.CharField:
    return serializers.CharField(**options)


def _number(**options: Any) -> serializers.IntegerField:
    return serializers.IntegerField(**options)


def _instant(**options: Any) -> serializers.DateTimeField:
    return serializers.DateTimeField(**options)


class SubscriptionAddOnTerms(serializers.Serializer[Any]):
    plan = _text(help_text="Code of the add-on.")
    version = _number(required=False, allow_null=True, help_text="Left out: the newest that is sold.")
    seats = _number(required=False, min_value=1)


class SubscriptionTerms(SubscriptionAddOnTerms):
    add_ons = SubscriptionAddOnTerms(many=True, required=False, help_text="All add-ons: what is not named goes.")


class SubscriptionPreviewBody(SubscriptionTerms):
    from_next_period = serializers.BooleanField(required=False)


class SubscriptionChangeBody(SubscriptionPreviewBody):
    reason = _text()
    preview = _number(required=False, allow_null=True, help_text="Then it counts from the preview's second.")


class SubscriptionNewBody(SubscriptionTerms):
    reason = _text()
    payment_method = _text(required=False, allow_null=True, help_text="Stripe's id; left out: the default one.")
    days_until_due = _number(required=False, allow_null=True, help_text="Invoices are sent, to be paid within these.")


class SubscriptionPhase(SubscriptionTerms):
    effective_at = _instant()


class SubscriptionScheduleBody(serializers.Serializer[Any]):
    phases = SubscriptionPhase(many=True, help_text="Each from its instant on, in their order.")
    reason = _text()


class SubscriptionReasonBody(serializers.Serializer[Any]):
    reason = _text()


class SubscriptionPauseBody(SubscriptionReasonBody):
    until = _instant(required=False, allow_null=True)


class SubscriptionEndBody(serializers.Serializer[Any]):
    at_period_end = serializers.BooleanField(required=False)
    at = _instant(required=False, allow_null=True, help_text="A date within the period, or the end of a later one.")
    prorate = serializers.BooleanField(required=False, help_text="Credit the fee of the time that is left.")


class SubscriptionCancelBody(SubscriptionEndBody):
    reason = _text()
    preview = _number(required=False, allow_null=True, help_text="Then it is refused where that does not hold.")


class SubscriptionPlanBody(serializers.Serializer[Any]):
    phases = SubscriptionPhase(many=True, help_text="All that are to come, in their order; none: nothing is planned.")
    reason = _text()


class SubscriptionReactivateBody(SubscriptionReasonBody):
    payment_method = _text(required=False, allow_null=True)


class SubscriptionScheduled(serializers.Serializer[Any]):
    id = _number()
    kind = _text(help_text="terms or resume.")
    effective_at = _instant()
    state = _text(help_text="waiting, done, cancelled or refused.")
    plan = _text(allow_null=True)
    version = _number(allow_null=True)
    seats = _number(allow_null=True)
    reason = _text()
    requested_by = _text()
    detail = _text(help_text="Why it waits, was refused or cancelled.")


class SubscriptionScheduledList(serializers.Serializer[Any]):
    scheduled = SubscriptionScheduled(many=True)


class SubscriptionItem(serializers.Serializer[Any]):
    plan = _text()
    version = _number()
    seats = _number()


class SubscriptionPeriod(serializers.Serializer[Any]):
    id = _number()
    starts_at = _instant()
    ends_at = _instant(help_text="Not included.")
    kind = _text(help_text="regular, trial or paused.")
    state = _text()
    terms = _text()
    seats = _number()


class SubscriptionHappening(serializers.Serializer[Any]):
    kind = _text()
    before = _text()
    after = _text()
    effective_at = _instant()
    recorded_at = _instant()
    actor = _text()
    reason = _text()


class SubscriptionInList(serializers.Serializer[Any]):
    id = _number()
    customer_key = _text()
    status = _text(help_text="Stripe's word, or pending before it is there.")
    plan = SubscriptionItem()
    add_ons = SubscriptionItem(many=True)
    collection_method = _text()
    days_until_due = _number(allow_null=True)
    started_at = _instant()
    trial_ends_at = _instant(allow_null=True)
    paused_from = _instant(allow_null=True)
    cancel_at = _instant(allow_null=True)
    ended_at = _instant(allow_null=True)
    held_reason = _text(help_text="What was done at Stripe that cannot be followed; else nothing.")
    stripe_subscription_id = _text(allow_null=True)
    scheduled = SubscriptionScheduled(many=True)


class SubscriptionBody(SubscriptionInList):
    periods = SubscriptionPeriod(many=True, help_text="The newest first, 24 at most.")
    events = SubscriptionHappening(many=True, help_text="The newest first, 100 at most.")


class SubscriptionsBody(serializers.Serializer[Any]):
    customer_key = _text()
    subscriptions = SubscriptionInList(many=True)


class SubscriptionPreviewLine(serializers.Serializer[Any]):
    description = _text()
    is_proration = serializers.BooleanField(help_text="Of the rest of this period; else the next one's fee.")
    ours_minor = _number(help_text="Minor units.")
    stripe_minor = _number(help_text="Minor units.")
    agrees = serializers.BooleanField()


class SubscriptionPreviewAnswer(serializers.Serializer[Any]):
    id = _number(help_text="Name it with the change, within half an hour.")
    effective_at = _instant()
    currency = _text()
    lines = SubscriptionPreviewLine(many=True)
    differences = serializers.ListField(child=_text())


class SubscriptionEndUsage(serializers.Serializer[Any]):
    rated = _text(help_text="Currency units, exact: usage on no closed invoice.")
    included = _text()
    credited = _text()
    invoiced = _text(help_text="On invoices already, or absorbed.")
    unbilled = _text()
    closing_invoice_minor = _number(help_text="Minor units: the closing invoice would ask for it.")


class SubscriptionEndConsequence(serializers.Serializer[Any]):
    what = _text()
    becomes = _text()


class SubscriptionEndOutcome(serializers.Serializer[Any]):
    ended_at = _instant()
    fee_minor = _number(help_text="Ours, for the second of the end.")
    fee_invoiced_minor = _number()
    usage_invoiced_minor = _number()
    stripe_invoice_id = _text(help_text="The closing invoice, if one was due.")
    differences = serializers.ListField(child=_text())


class SubscriptionEndPreviewAnswer(SubscriptionPreviewAnswer):
    how = _text(help_text="now, period_end or at.")
    ends_at = _instant()
    prorate = serializers.BooleanField()
    usage = SubscriptionEndUsage()
    consequences = SubscriptionEndConsequence(many=True)
    outdated = serializers.ListField(child=_text(), help_text="What it rests on and is no more so.")
    outcome = SubscriptionEndOutcome(allow_null=True)


class SubscriptionPaidAgain(serializers.Serializer[Any]):
    currency = _text()
    fee_minor = _number(help_text="Minor units: the first fee of the new subscription.")
    from_balance_minor = _number(help_text="Of it, paid by the customer's balance.")
    unused_minor = _number(help_text="Billed by the old one, not used and not given back: paid again.")
    unused_until = _instant(allow_null=True)


class SubscriptionStretch(serializers.Serializer[Any]):
    starts_at = _instant()
    ends_at = _instant(allow_null=True, help_text="Not included; null: until further notice.")
    kind = _text(help_text="regular, trial, paused or ended.")
    when = _text(help_text="past, now or planned.")
    terms = _text()
    seats = _number(allow_null=True)
    expected_fee_minor = _number(allow_null=True, help_text="Minor units a whole period, before discount and tax.")
    currency = _text()


class SubscriptionPhases(serializers.Serializer[Any]):
    subscription = _number()
    phases = SubscriptionStretch(many=True)


def _described(
    operation_id: str,
    summary: str,
    answer: type[serializers.Serializer[Any]],
    *,
    body: type[serializers.Serializer[Any]] | None = None,
    status: int = 200,
) -> Any:
    reading = {
        401: "The API key is missing, unknown, expired or revoked.",
        403: "The API key lacks the scope, or the person the permission.",
        404: "There is no such thing.",
    }
    writing = {
        400: "The key is missing, or a field of the body is unknown or wrong; `field` names it.",
        409: "The key was sent with another request before, or there is a live subscription already.",
        422: "It cannot be done as asked; `detail` says what can.",
        503: "Stripe does not answer: send the same again after Retry-After.",
    }
    refusals = reading | (writing if body is not None else {})
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        tags=[TAG],
        parameters=[KEY] if body is not None else [],
        request=body,
        responses={
            (status, "application/json"): answer,
            **{
                (code, "application/problem+json"): OpenApiResponse(BillingProblem, meaning)
                for code, meaning in sorted(refusals.items())
            },
        },
    )


of_customer = _described("customer_subscriptions", "A customer's subscriptions", SubscriptionsBody)
one = _described("subscription", "A subscription, its periods and what happened to it", SubscriptionBody)
create = _described(
    "create_subscription", "Start a subscription", SubscriptionBody, body=SubscriptionNewBody, status=201
)
preview = _described(
    "preview_subscription_change",
    "What other terms would cost, by us and by Stripe",
    SubscriptionPreviewAnswer,
    body=SubscriptionPreviewBody,
    status=201,
)
change = _described(
    "change_subscription", "Change plan, seats and add-ons", SubscriptionBody, body=SubscriptionChangeBody
)
schedule = _described(
    "schedule_subscription_changes",
    "Schedule other terms, alone or as phases",
    SubscriptionScheduledList,
    body=SubscriptionScheduleBody,
    status=201,
)
cancel_scheduled = _described(
    "cancel_scheduled_change", "Cancel a scheduled change", SubscriptionScheduled, body=SubscriptionReasonBody
)
pause = _described("pause_subscription", "Pause a subscription", SubscriptionBody, body=SubscriptionPauseBody)
resume = _described("resume_subscription", "End a pause", SubscriptionBody, body=SubscriptionReasonBody)
cancel = _described(
    "cancel_subscription", "End it now or with its period", SubscriptionBody, body=SubscriptionCancelBody
)
undo = _described("undo_cancellation", "Take a planned end back", SubscriptionBody, body=SubscriptionReasonBody)
end_trial = _described("end_trial", "End a trial now", SubscriptionBody, body=SubscriptionReasonBody)
reactivate = _described(
    "reactivate_subscription",
    "Start anew what has ended",
    SubscriptionBody,
    body=SubscriptionReactivateBody,
    status=201,
)
cancel_preview = _described(
    "preview_cancellation",
    "What an end would come to: fee, usage, and what becomes of the rest",
    SubscriptionEndPreviewAnswer,
    body=SubscriptionEndBody,
    status=201,
)
cancel_previewed = _described(
    "cancellation_preview", "A preview of an end, and what it was invoiced as", SubscriptionEndPreviewAnswer
)
phases = _described("subscription_phases", "What it was, is and will be", SubscriptionPhases)
plan_phases = _described(
    "plan_subscription_phases", "Plan all phases to come in one go", SubscriptionPhases, body=SubscriptionPlanBody
)
reactivation = _described("subscription_reactivation", "What a reactivation would ask for", SubscriptionPaidAgain)
