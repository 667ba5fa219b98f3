"""An invoice's way from draft to open, paid, void or uncollectible, step by step as requests ask for it."""

from tests.sandbox.billing.invoices.finalizing import collect_soon, finalize
from tests.sandbox.billing.invoices.partial_paying import attach_payment_intent
from tests.sandbox.billing.invoices.voiding import mark_uncollectible, void
from tests.sandbox.billing.payments.attaching import find_payment_method
from tests.sandbox.billing.payments.collecting import pay_by_request
from tests.sandbox.billing.payments.invoice_payments import close_payment, record_payment_elsewhere
from tests.sandbox.billing.payments.settling import mark_paid, set_delinquent
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.invoice_items import require_draft
from tests.sandbox.world import World

PAYABLE = ("open", "uncollectible")
PAY_PARAMETERS = frozenset({"forgive", "off_session", "paid_out_of_band", "payment_method", "source"})


@handles("POST /v1/invoices/{invoice}/finalize")
def finalize_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    invoice = world.store.get("invoice", invoice_id)
    require_draft(invoice)
    finalize(world, invoice, auto_advance=parameters.get("auto_advance"))
    collect_soon(world, invoice)
    return invoice


@handles("POST /v1/invoices/{invoice}/pay")
def pay_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    """`forgive` is for sources that hold less than is due; a card always holds all or declines, so it changes nothing.

    Raises the card's `StripeError` 402 when it is declined.
    """
    refuse_unsupported(parameters, PAY_PARAMETERS, "POST /v1/invoices/{invoice}/pay")
    invoice = world.store.get("invoice", invoice_id)
    name = parameters.get("payment_method") or parameters.get("source")
    payment_method = find_payment_method(world, name) if name else None
    if invoice["status"] == "draft":
        finalize(world, invoice)
        if invoice["status"] == "paid":
            return invoice
    if invoice["status"] not in PAYABLE:
        raise StripeError(f"Invoice is already {invoice['status']}", code="invoice_already_paid")
    if parameters.get("paid_out_of_band"):
        close_payment(world, invoice, reason="void_invoice")
        record_payment_elsewhere(world, invoice, amount=invoice["amount_remaining"])
        mark_paid(world, invoice, paid=invoice["amount_remaining"])
    else:
        pay_by_request(world, invoice, payment_method, off_session=parameters.get("off_session", True))
    return invoice


@handles("POST /v1/invoices/{invoice}/attach_payment")
def attach_payment(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    if "payment_record" in parameters:
        raise not_implemented("payment records", param="payment_record")
    invoice = world.store.get("invoice", invoice_id)
    if "payment_intent" not in parameters:
        raise StripeError("Missing required param: payment_intent.", code="parameter_missing", param="payment_intent")
    intent = world.store.get("payment_intent", parameters["payment_intent"], param="payment_intent")
    attach_payment_intent(world, invoice, intent)
    return invoice


@handles("POST /v1/invoices/{invoice}/void")
def void_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    invoice = world.store.get("invoice", invoice_id)
    void(world, invoice)
    return invoice


@handles("POST /v1/invoices/{invoice}/mark_uncollectible")
def mark_invoice_uncollectible(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    invoice = world.store.get("invoice", invoice_id)
    mark_uncollectible(world, invoice)
    set_delinquent(world, invoice["customer"], False)
    return invoice


@handles("POST /v1/invoices/{invoice}/send")
def send_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    """No mail leaves the sandbox; the event says that one would."""
    invoice = world.store.get("invoice", invoice_id)
    if invoice["collection_method"] != "send_invoice":
        raise StripeError("You can only manually send an invoice if its collection method is `send_invoice`.")
    if invoice["status"] == "draft":
        finalize(world, invoice)
    if invoice["status"] not in ("open", "paid"):
        raise StripeError(f"You can only send open invoices. This invoice is {invoice['status']}.")
    world.emit("invoice.sent", invoice)
    return invoice
