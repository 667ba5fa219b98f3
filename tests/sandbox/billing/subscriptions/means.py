"""Whether a subscription's payment can be made: found out in a scratch world, before anything really happens."""

from collections.abc import Callable

from tests.sandbox.billing.payments.invoice_payments import intent_of, payment_of
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.scratch import scratch_of
from tests.sandbox.world import World

# Does the thing in the scratch world; the answer is the invoice that could not be paid, or None.
Attempt = Callable[[World], StripeObject | None]


def require_means(world: World, customer: StripeObject, parameters: Parameters, attempt: Attempt) -> None:
    """Raises `StripeError` when something would have to be charged and there is nothing to charge."""
    named = (
        parameters.get("default_payment_method"),
        parameters.get("default_source"),
        customer["invoice_settings"]["default_payment_method"],
        customer["default_source"],
    )
    if parameters.get("collection_method") == "send_invoice" or any(named):
        return
    with scratch_of(world, None) as scratch:
        if attempt(scratch) is not None:
            raise _without_means()


def require_payable(world: World, attempt: Attempt) -> None:
    """Raises the `StripeError` 402 of the payment that would fail."""
    with scratch_of(world, None) as scratch:
        invoice = attempt(scratch)
        if invoice is None:
            return
        payment = payment_of(scratch, invoice)
        intent = intent_of(scratch, payment) if payment is not None else None
    if intent is not None and intent["status"] == "requires_action":
        raise StripeError(
            "Payment for this subscription requires additional user action before it can be completed successfully.",
            status=402,
            kind="card_error",
            code="subscription_payment_intent_requires_action",
        )
    error = intent["last_payment_error"] if intent is not None else None
    if error is None:
        raise _without_means()
    raise StripeError(
        error["message"],
        status=402,
        kind=error["type"],
        code=error.get("code"),
        decline_code=error.get("decline_code"),
        payment_method=copied(error["payment_method"]),
    )


def _without_means() -> StripeError:
    return StripeError(
        "This customer has no attached payment source or default payment method. Please consider adding a default "
        "payment method. For more information, visit https://stripe.com/docs/billing/subscriptions/payment.",
        code="resource_missing",
    )
