"""How the addresses of a customer's invoices are described. The serializers never run."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from billing.api.schema import TAG

_KINDS = ("usage", "coverage", "fee", "one_off", "prepaid")


class InvoiceLineOfCustomer(serializers.Serializer[Any]):
    id = serializers.IntegerField(help_text="Of /invoice-lines/{id}/explanation, for usage and coverage.")
    kind = serializers.ChoiceField(choices=_KINDS)
    description = serializers.CharField()
    quantity = serializers.CharField(help_text="A decimal string.")
    exact_amount = serializers.CharField(help_text="In currency units, before it was rounded once.")
    amount_minor = serializers.IntegerField(help_text="As charged, in the currency's minor unit, before tax on top.")
    discount_minor = serializers.IntegerField()
    tax_minor = serializers.IntegerField()


class InvoiceOfCustomer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    invoice = serializers.CharField(help_text="Stripe's id.")
    number = serializers.CharField()
    status = serializers.ChoiceField(choices=("draft", "open", "paid", "void", "uncollectible"))
    is_past_due = serializers.BooleanField()
    why = serializers.CharField(help_text="threshold, closing, one_off, reissue, or Stripe's billing reason.")
    currency = serializers.CharField()
    total_minor = serializers.IntegerField()
    paid_minor = serializers.IntegerField()
    open_minor = serializers.IntegerField(help_text="What is still asked for.")
    created_at = serializers.DateTimeField()
    finalized_at = serializers.DateTimeField(allow_null=True)
    due_at = serializers.DateTimeField(allow_null=True)
    lines = InvoiceLineOfCustomer(many=True)


class CustomerInvoicesBody(serializers.Serializer[Any]):
    customer_key = serializers.CharField()
    invoices = InvoiceOfCustomer(many=True)
    has_more = serializers.BooleanField(help_text="Ask again with `before` = the last id.")


class OneOffLineAskedFor(serializers.Serializer[Any]):
    description = serializers.CharField(help_text="As the customer reads it.")
    amount_minor = serializers.IntegerField(min_value=1)
    is_taxed = serializers.BooleanField(required=False, help_text="As the customer's other invoices; default true.")


class OneOffAskedFor(serializers.Serializer[Any]):
    lines = OneOffLineAskedFor(many=True)
    reason = serializers.CharField(help_text="For whoever asks later; the customer does not see it.")


class InvoiceRequestBody(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    state = serializers.ChoiceField(choices=("waiting", "intended", "done", "refused", "called_off"))
    needs_second_person = serializers.BooleanField()
    amount_minor = serializers.IntegerField()
    currency = serializers.CharField()
    order = serializers.IntegerField(allow_null=True)
    order_state = serializers.CharField(allow_null=True)
    invoice = serializers.CharField(allow_null=True, help_text="Stripe's id, once the draft is made.")


_CUSTOMER = OpenApiParameter("customer_key", OpenApiTypes.STR, OpenApiParameter.PATH)
_PROBLEM = OpenApiResponse(description="problem+json that names the field and the remedy")
invoices = extend_schema(
    operation_id="billing_customer_invoices",
    tags=[TAG],
    summary="A customer's invoices, the newest first, with lines, status and what is open",
    parameters=[
        _CUSTOMER,
        OpenApiParameter("status", OpenApiTypes.STR, OpenApiParameter.QUERY),
        OpenApiParameter("before", OpenApiTypes.INT64, OpenApiParameter.QUERY, description="Older than this id."),
    ],
    responses={200: CustomerInvoicesBody, 400: _PROBLEM, 404: _PROBLEM},
)
one_off = extend_schema(
    operation_id="billing_one_off_invoice",
    tags=[TAG],
    summary="Ask for a one-off invoice; a key of a service only within the limit of one person",
    parameters=[
        _CUSTOMER,
        OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER, required=True),
    ],
    request=OneOffAskedFor,
    responses={201: InvoiceRequestBody, 400: _PROBLEM, 404: _PROBLEM, 409: _PROBLEM, 422: _PROBLEM},
)
