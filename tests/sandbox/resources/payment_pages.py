"""What Stripe's checkout page asks for and sends, by the session's id. Undocumented at Stripe; its CLI uses it too.

Assumption: both answer the checkout session. Stripe answers a page object of its own, which nobody documents.
"""

from tests.sandbox.billing.payments.attaching import find_payment_method
from tests.sandbox.billing.selling.confirming import confirm_session
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.checkout_sessions import find_session
from tests.sandbox.world import World


@handles("GET /v1/payment_pages/{session}")
def retrieve_payment_page(world: World, parameters: Parameters, session_id: str) -> StripeObject:
    return find_session(world, session_id)


@handles("POST /v1/payment_pages/{session}/confirm")
def confirm_payment_page(world: World, parameters: Parameters, session_id: str) -> StripeObject:
    session = find_session(world, session_id)
    payment_method = None
    if "payment_method" in parameters:
        payment_method = find_payment_method(world, parameters["payment_method"])
    confirm_session(world, session, payment_method, expected_amount=parameters.get("expected_amount"))
    return session
