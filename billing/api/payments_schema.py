"""How the addresses of payments are described. The serializers never run."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from billing.api.schema import TAG


class OwedInvoice(serializers.Serializer[Any]):
    invoice = serializers.CharField(help_text="Stripe's id.")
    number = serializers.CharField()
    currency = serializers.CharField()
    amount_minor = serializers.IntegerField(help_text="Still open, in the currency's minor unit.")
    failed_at = serializers.DateTimeField(help_text="The first failure, or the due date.")
    restricts_at = serializers.DateTimeField(allow_null=True, help_text="Null: it never restricts.")
    is_written_off = serializers.BooleanField()


class CustomerStandingBody(serializers.Serializer[Any]):
    customer_key = serializers.CharField()
    state = serializers.ChoiceField(choices=("good", "grace", "restricted"))
    since = serializers.DateTimeField(allow_null=True)
    until = serializers.DateTimeField(allow_null=True, help_text="Of grace: when service is restricted.")
    why = serializers.CharField()
    owed = OwedInvoice(many=True)


class RefundAskedFor(serializers.Serializer[Any]):
    amount_minor = serializers.IntegerField(required=False, help_text="Left out: all that is left of the payment.")
    reason_code = serializers.CharField(help_text="duplicate, requested_by_customer, outage, wrong_amount, goodwill …")
    reason = serializers.CharField()
    way = serializers.ChoiceField(choices=("refund", "credit_note"), required=False)


class RefundRequestBody(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    payment = serializers.CharField()
    state = serializers.CharField(help_text="waiting (for a second person), agreed, sent, refused or dropped.")
    amount_minor = serializers.IntegerField()
    currency = serializers.CharField()
    needs_second_person = serializers.BooleanField()
    refund = serializers.CharField(allow_null=True, help_text="Stripe's id, once it is sent.")


_KEY = OpenApiParameter("customer_key", OpenApiTypes.STR, OpenApiParameter.PATH)
_PROBLEM = OpenApiResponse(description="problem+json that names the field and the remedy")
standing = extend_schema(
    operation_id="billing_customer_standing",
    tags=[TAG],
    summary="What payment problems mean for a customer's service",
    parameters=[_KEY],
    responses={200: CustomerStandingBody, 404: _PROBLEM},
)
refunds = extend_schema(
    operation_id="billing_payment_refund",
    tags=[TAG],
    summary="Ask for a refund of a payment, whole or in part",
    parameters=[
        OpenApiParameter("stripe_payment_intent_id", OpenApiTypes.STR, OpenApiParameter.PATH),
        OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER, required=True),
    ],
    request=RefundAskedFor,
    responses={201: RefundRequestBody, 400: _PROBLEM, 404: _PROBLEM, 409: _PROBLEM, 422: _PROBLEM},
)
