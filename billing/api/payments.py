"""What payment problems mean for a customer's service, and refunds that are asked for."""

from typing import Annotated

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request

from billing.api import parameters
from billing.api import payments_schema as described
from billing.api.refusals import NotThere
from billing.api.views import BillingView
from billing.api.writing import Body, Reason, Text, WritingView
from billing.customers.queries import customer_by_key
from billing.payments.models import Payment
from billing.payments.recovery.queries import Standing, standing
from billing.payments.refunding import operations as refunding
from billing.payments.refunding.models import RefundRequest
from billing.payments.two_people import InvalidRequest, NotPermitted, RequestConflict
from billing.rating.explanation.as_json import instant_text
from config import clock

SEES_PAYMENTS = "billing.view_payment"


class CustomerStanding(BillingView):
    permissions = (SEES_PAYMENTS,)

    @described.standing
    def get(self, request: Request, customer_key: str) -> HttpResponse:
        customer = customer_by_key(customer_key) if parameters.is_text(customer_key) else None
        if customer is None:
            raise NotThere("customer_key", f"There is no customer {customer_key[:128]!r}. Check the key.")
        body = standing_body(customer.customer_key, standing(customer.pk, now=clock.now()))
        return HttpResponse(msgspec.json.encode(body), content_type="application/json")


def standing_body(customer_key: str, found: Standing) -> dict[str, object]:
    return {
        "customer_key": customer_key,
        "state": found.state.value,
        "since": found.since and instant_text(found.since),
        "until": found.until and instant_text(found.until),
        "why": found.why,
        "owed": [
            {
                "invoice": one.stripe_invoice_id,
                "number": one.number,
                "currency": one.currency,
                "amount_minor": one.amount_minor,
                "failed_at": instant_text(one.failed_at),
                "restricts_at": one.restricts_at and instant_text(one.restricts_at),
                "is_written_off": one.is_written_off,
            }
            for one in found.owed
        ],
    }


class RefundBody(Body, frozen=True, kw_only=True):
    """`amount_minor` is left out for all that is left of the payment."""

    amount_minor: Annotated[int, msgspec.Meta(ge=1, le=99_999_999_999)] | None = None
    reason_code: Text
    reason: Reason
    way: Text = RefundRequest.Way.REFUND.value


class RefundsOfPayment(WritingView):
    """
    Ask for a refund of one payment. A service may do so within the limit of one person, and above it is refused: who
    holds its key could approve what it asked for.
    """

    # Of its own, because money leaves.
    required_scopes = {"GET": ("billing:read",), "POST": ("refunds:write",)}
    permissions = (SEES_PAYMENTS,)
    write_permissions = (refunding.REQUEST,)
    refused = {RequestConflict: 409, NotPermitted: 422, InvalidRequest: 422}

    @described.refunds
    def post(self, request: Request, stripe_payment_intent_id: str) -> HttpResponse:
        asked = self.asked(request, RefundBody)
        payment = None
        if parameters.is_text(stripe_payment_intent_id):
            payment = Payment.objects.filter(stripe_payment_intent_id=stripe_payment_intent_id).first()
        if payment is None:
            raise NotThere("payment", f"There is no payment {stripe_payment_intent_id[:100]!r}. Check its id.")
        made = refunding.request_refund(
            payment_id=payment.pk,
            amount_minor=asked.body.amount_minor,
            way=asked.body.way,
            reason_code=asked.body.reason_code,
            reason=asked.body.reason,
            idempotency_key=f"api:{asked.actor}:{asked.key}",
            actor=asked.actor,
            now=asked.now,
        )
        return self.answer(refund_body(made), status=201)


def refund_body(asked: RefundRequest) -> dict[str, object]:
    return {
        "id": asked.pk,
        "payment": asked.payment.stripe_payment_intent_id,
        "state": asked.state,
        "amount_minor": asked.amount_minor,
        "currency": asked.currency,
        "needs_second_person": asked.needs_second_person,
        "refund": asked.stripe_refund_id or None,
    }
