"""Invoice payments, to read: which intent paid, or is to pay, which invoice."""

from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@handles("GET /v1/invoice_payments")
def list_invoice_payments(world: World, parameters: Parameters) -> StripeObject:
    if "invoice" in parameters:
        payments = world.store.where("invoice_payment", "invoice", parameters["invoice"])
    else:
        payments = world.store.all("invoice_payment")
    if "payment" in parameters:
        intent = parameters["payment"].get("payment_intent")
        payments = [payment for payment in payments if payment["payment"].get("payment_intent") == intent]
    return page_of(world.store, matching(payments, parameters, "status"), parameters, url="/v1/invoice_payments")


@handles("GET /v1/invoice_payments/{invoice_payment}")
def retrieve_invoice_payment(world: World, parameters: Parameters, payment_id: str) -> StripeObject:
    return world.store.get("invoice_payment", payment_id)
