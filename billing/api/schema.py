"""
Billing's part of the API's description: parameters, answers and refusals of every address.

The serializers describe the bodies that `billing/rating/explanation/as_json.py` and the views write; they never run.
"""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

TAG = "billing"
AMOUNT = "Decimal string in the currency's major unit, exact, every place it has."


def _text(**options: Any) -> serializers.CharField:
    return serializers.CharField(**options)


def _number(**options: Any) -> serializers.IntegerField:
    return serializers.IntegerField(**options)


def _instant(**options: Any) -> serializers.DateTimeField:
    return serializers.DateTimeField(**options)


class BillingAmounts(serializers.Serializer[Any]):
    quantity = _text(help_text="Units used, a decimal string.")
    rated = _text(help_text=f"What they cost: included + credited + unbilled, exactly. {AMOUNT}")
    included = _text(help_text="What allowances pay, and what is above an agreed maximum.")
    credited = _text(help_text="What credit grants pay.")
    unbilled = _text(help_text="What is left to invoice.")


class ExplainedSubject(serializers.Serializer[Any]):
    kind = _text(help_text="invoice_line, accrual, accrual_line or period.")
    id = _number()
    title = _text()


class ExplainedPeriod(serializers.Serializer[Any]):
    id = _number()
    customer_key = _text()
    customer_name = _text()
    starts_at = _instant()
    ends_at = _instant(help_text="Not included.")
    kind = _text(help_text="regular or trial.")
    state = _text(help_text="open or closed.")
    plan_version = _number()
    terms = _text()
    seats = _number()
    add_ons = serializers.ListField(child=_text())


class ExplainedPayer(serializers.Serializer[Any]):
    kind = _text(help_text="allowance, grant, or unbilled: left to invoice.")
    id = _number(allow_null=True, help_text="The allowance's or grant's; null for what is left to invoice.")
    name = _text()
    amount = _text(help_text=AMOUNT)
    quantity = _text(help_text="The units that an allowance in units paid for; else 0.")
    measure = _text(allow_null=True, help_text="An allowance's: money, units or cap.")
    limit = _text(allow_null=True, help_text="What it may give in all; null: no limit.")


class ExplainedVersion(serializers.Serializer[Any]):
    rate = _number()
    title = _text()
    meter = _text(allow_null=True, help_text="Null: a charge that needs no usage.")
    dimensions = serializers.DictField(child=_text())
    charge_model = _text()
    card = _text()
    effective_from = _instant()
    effective_until = _instant(allow_null=True, help_text="Not included; null: no other price follows.")


class ExplainedStep(serializers.Serializer[Any]):
    text = _text()
    amount = _text(help_text=AMOUNT)


class ExplainedUsage(serializers.Serializer[Any]):
    quantity = _text()
    windows = _number()
    events = _number()
    fingerprint = _text(help_text="Of all the events, whatever their order.")
    first_window = _instant(allow_null=True)
    last_window = _instant(allow_null=True)


class ExplainedDay(ExplainedUsage):
    day = serializers.DateField(help_text="UTC.")
    amounts = BillingAmounts()


class ExplainedWindow(ExplainedUsage):
    window_start = _instant()
    dimensions = serializers.DictField(child=_text(allow_null=True))
    amounts = BillingAmounts()


class ExplainedPrice(serializers.Serializer[Any]):
    price = ExplainedVersion()
    before = BillingAmounts(help_text="What it had come to before what is explained.")
    change = BillingAmounts(help_text="What is explained.")
    after = BillingAmounts(help_text="before + change.")
    steps = ExplainedStep(many=True, help_text="How after.rated is computed; they add up to it where steps_add_up.")
    steps_add_up = serializers.BooleanField()
    payers = ExplainedPayer(many=True, help_text="Who pays for the change, in their order.")
    usage = ExplainedUsage(allow_null=True, help_text="The windows as they are now; null: they cannot be computed.")
    days = ExplainedDay(many=True)


class ExplainedPosting(serializers.Serializer[Any]):
    accrual = _number()
    revision = _number()
    recorded_at = _instant()
    change = BillingAmounts()
    journal_entry = _number(allow_null=True)
    because = _text(allow_null=True, help_text="What made it necessary after the close.")


class ExplainedLine(serializers.Serializer[Any]):
    id = _number()
    invoice = _text()
    invoice_status = _text()
    kind = _text()
    description = _text()
    created_at = _instant()
    finalized_at = _instant(allow_null=True)
    exact_amount = _text(help_text=AMOUNT)
    rounding = _text(help_text="exact_amount + rounding is what is charged. It is rounded once.")
    amount_minor = _number(help_text="As charged, in the currency's minor unit.")
    increment_minor = _number(help_text="The smallest step in which the currency can be charged, in minor units.")


class ExplainedSettling(serializers.Serializer[Any]):
    billed = _text(help_text=AMOUNT)
    given_back = _text(help_text="By credit notes for late usage; below zero.")
    absorbed = _text(help_text=AMOUNT)
    left = _text(help_text="On no document yet.")


class ExplainedCheck(serializers.Serializer[Any]):
    verdict = _text(help_text="agrees, differs (the next accrual posts the difference) or unknown.")
    text = _text()


class ExplanationBody(serializers.Serializer[Any]):
    schema = _text(help_text="The version of this shape: fields are added to it, none is renamed or taken away.")
    subject = ExplainedSubject()
    currency = _text(help_text="ISO 4217.")
    period = ExplainedPeriod()
    total = BillingAmounts(help_text="The change of all prices together.")
    payers = ExplainedPayer(many=True)
    prices = ExplainedPrice(many=True)
    postings = ExplainedPosting(many=True)
    invoice_line = ExplainedLine(allow_null=True)
    settled = ExplainedSettling(allow_null=True, help_text="Of a period: what became of what is to invoice.")
    check = ExplainedCheck()


class ExplainedDayBody(serializers.Serializer[Any]):
    schema = _text()
    period = _number()
    rate = _number()
    day = serializers.DateField()
    windows = ExplainedWindow(many=True)


class EventCostPart(ExplainedPayer):
    used_before = _text(
        help_text="What the payer had paid of the period before this event; units where it counts units."
    )
    why = _text(help_text="Why it was its turn.")


class EventCostAtMeter(serializers.Serializer[Any]):
    event_time = _instant()
    meter = _text()
    meter_version = _number()
    dimensions = serializers.DictField(child=_text(allow_null=True))
    standing = _text(help_text="counted, waiting, void, unpriced, no_period, excluded or unknown.")
    text = _text(help_text="In a sentence.")
    period = ExplainedPeriod(allow_null=True)
    currency = _text(allow_null=True)
    price = ExplainedVersion(allow_null=True)
    quantity = _text()
    amount = _text(help_text=AMOUNT)
    how = _text(allow_null=True, help_text="How the price comes about.")
    parts = EventCostPart(many=True, help_text="Who paid, in their order; they add up to the amount.")
    place_in_hour = _number(allow_null=True, help_text="By time, source and id, from 1.")
    events_in_hour = _number(allow_null=True)
    quantity_before = _text(help_text="Units of the price in the period before it.")
    is_posted = serializers.BooleanField(help_text="Whether an accrual has it.")


class EventCostBody(serializers.Serializer[Any]):
    schema = _text()
    event = _text(help_text="The event's key.")
    meters = EventCostAtMeter(many=True)


class PeriodInList(serializers.Serializer[Any]):
    id = _number()
    starts_at = _instant()
    ends_at = _instant()
    kind = _text()
    state = _text()
    terms = _text()
    explanation = serializers.URLField()


class CustomerPeriodsBody(serializers.Serializer[Any]):
    customer_key = _text()
    periods = PeriodInList(many=True, help_text="The newest first, 200 at most.")


class LineInList(serializers.Serializer[Any]):
    id = _number()
    kind = _text(help_text="usage, coverage, fee, one_off or prepaid.")
    description = _text()
    quantity = _text()
    exact_amount = _text(help_text=AMOUNT)
    rounding = _text(help_text=AMOUNT)
    amount_minor = _number()
    explanation = serializers.URLField(allow_null=True, help_text="Null: a line of no usage.")


class InvoiceLinesBody(serializers.Serializer[Any]):
    invoice = _text(help_text="Stripe's id.")
    number = _text()
    status = _text()
    customer_key = _text()
    currency = _text()
    total_minor = _number()
    lines = LineInList(many=True)


class BillingProblem(serializers.Serializer[Any]):
    """RFC 9457."""

    type = _text()
    title = _text()
    status = _number()
    detail = _text(help_text="What is wrong and what to do instead.")
    field = _text(required=False, help_text="The parameter, or the part of the address, that is wrong.")


def _path(name: str, meaning: str, kind: Any = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.PATH, description=meaning)


def _query(name: str, meaning: str, *, required: bool = True) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.QUERY, required=required, description=meaning)


_AS = OpenApiParameter(
    "as",
    OpenApiTypes.STR,
    OpenApiParameter.QUERY,
    enum=["json", "text"],
    description="json if left out; text is for a customer.",
)
_NUMBER = _path("number", "Its number.", OpenApiTypes.INT64)
_RATE = _path("rate", "The price's number.", OpenApiTypes.INT64)
_DAY = _path("day", "A day in UTC, such as 2026-10-04.")


def _described(
    operation_id: str,
    summary: str,
    body: type[serializers.Serializer[Any]],
    parameters: list[OpenApiParameter],
    *,
    description: str,
    not_found: str,
    not_computable: str = "",
    scopes: str = "the scope billing:read",
) -> Any:
    refusals = {
        400: "A parameter is unknown or not acceptable; `field` names it.",
        401: "The API key is missing, unknown, expired or revoked.",
        403: f"The API key lacks {scopes}, or the person may not see it.",
        404: not_found,
        **({409: not_computable} if not_computable else {}),
    }
    as_text = {(200, "text/plain"): OpenApiTypes.STR} if _AS in parameters else {}
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        description=description,
        tags=[TAG],
        parameters=parameters,
        responses={
            (200, "application/json"): body,
            **as_text,
            **{
                (status, "application/problem+json"): OpenApiResponse(BillingProblem, meaning)
                for status, meaning in refusals.items()
            },
        },
    )


_EXPLAINED = (
    "Quantity, price version and its steps, who paid, what was posted with its journal entries, and the windows behind "
    "it as they are now. The period is computed again at each request; `check` says whether that comes to the same."
)
invoice_line = _described(
    "explain_invoice_line",
    "Why a line of an invoice was charged",
    ExplanationBody,
    [_NUMBER, _AS],
    description=_EXPLAINED,
    not_found="There is no such line, or it is no usage.",
)
accrual = _described(
    "explain_accrual",
    "Why a run of rating changed what it changed",
    ExplanationBody,
    [_NUMBER, _AS],
    description=_EXPLAINED,
    not_found="There is no such accrual.",
)
accrual_line = _described(
    "explain_accrual_line",
    "Why a run of rating changed a price's amount",
    ExplanationBody,
    [_NUMBER, _AS],
    description=_EXPLAINED,
    not_found="There is no such line of an accrual.",
)
period = _described(
    "explain_period",
    "What a billing period has come to, and why",
    ExplanationBody,
    [_NUMBER, _AS],
    description=_EXPLAINED,
    not_found="There is no such period.",
)
day = _described(
    "explain_day",
    "The windows of a price on a day",
    ExplainedDayBody,
    [_NUMBER, _RATE, _DAY],
    description="Each with what it came to and who paid, computed again at each request.",
    not_found="There is no such period or day.",
    not_computable="The period cannot be computed again, such as while its events lie in an archive.",
)
_COST = (
    "At each meter that counts it: the price, whether it was included, credited or on demand, and why. Computed again "
    "at each request, always to the same. A key needs usage:read beside billing:read: the answer tells what was used."
)
_COST_SCOPES = "one of the scopes billing:read and usage:read"
event_cost = _described(
    "event_cost",
    "What one event cost",
    EventCostBody,
    [_path("key", "The event's key, as usage events name it."), _AS],
    description=_COST,
    not_found="No such event is kept here.",
    scopes=_COST_SCOPES,
)
event_cost_by_id = _described(
    "event_cost_by_id",
    "What the event with this source and id cost",
    EventCostBody,
    [_query("source", "The event's source."), _query("id", "The event's id."), _AS],
    description=_COST,
    not_found="No such event was accepted.",
    scopes=_COST_SCOPES,
)
customer_periods = _described(
    "billing_periods",
    "A customer's billing periods",
    CustomerPeriodsBody,
    [_path("customer_key", "The customer's key.")],
    description="Each with the address of its explanation.",
    not_found="There is no such customer.",
)
invoice = _described(
    "billing_invoice",
    "The lines of an invoice",
    InvoiceLinesBody,
    [_path("stripe_invoice_id", "Stripe's id of the invoice, such as in_1.")],
    description="Each with the address of its explanation.",
    not_found="There is no such invoice.",
)
