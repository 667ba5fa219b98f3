"""Payments attached to an invoice: each is credited when it has succeeded; together they may pay it, or too much."""

from tests.sandbox.billing.invoices.balance import move_balance
from tests.sandbox.billing.payments.declines import Decline
from tests.sandbox.billing.payments.intents import follows_intents
from tests.sandbox.billing.payments.invoice_payments import close_payment
from tests.sandbox.billing.payments.settling import mark_paid
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def attach_payment_intent(world: World, invoice: StripeObject, intent: StripeObject) -> None:
    """Add an intent to the invoice's payments. Raises `StripeError` where the two do not go together."""
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(
            f"Payments can be attached to open and uncollectible invoices. This invoice is {invoice['status']}.",
            code="invoice_not_editable",
        )
    if intent["currency"] != invoice["currency"]:
        raise StripeError("The PaymentIntent's currency is not the invoice's.", param="payment_intent")
    if intent["customer"] not in (None, invoice["customer"]):
        raise StripeError("The PaymentIntent belongs to another customer.", param="payment_intent")
    if intent["status"] == "canceled":
        raise StripeError("A canceled PaymentIntent cannot be attached.", param="payment_intent")
    if intent["id"] in world.attached_intents:
        raise StripeError("This PaymentIntent is attached to an invoice already.", param="payment_intent")
    payment = world.new(
        "invoice_payment",
        "inpay",
        amount_requested=intent["amount"],
        currency=intent["currency"],
        invoice=invoice["id"],
        is_default=False,
        payment={"payment_intent": intent["id"], "type": "payment_intent"},
        status="open",
    )
    world.attached_intents[intent["id"]] = payment["id"]
    if intent["status"] == "succeeded":
        _credit(world, invoice, payment, intent)


@follows_intents
def follow_attached_intent(world: World, intent: StripeObject, decline: Decline | None) -> None:
    payment = world.store.find("invoice_payment", world.attached_intents.get(intent["id"]))
    if payment is not None and payment["status"] == "open" and intent["status"] == "succeeded":
        _credit(world, world.store.get("invoice", payment["invoice"]), payment, intent)


def _credit(world: World, invoice: StripeObject, payment: StripeObject, intent: StripeObject) -> None:
    """What was received counts as paid; what is above the amount due goes to the customer's balance."""
    received = intent["amount_received"]
    transitions = {**payment["status_transitions"], "paid_at": world.now}
    world.update(payment, None, amount_paid=received, status="paid", status_transitions=transitions)
    world.emit("invoice_payment.paid", payment)
    collected = invoice["status"] in ("open", "uncollectible")
    if collected and received < invoice["amount_remaining"]:
        paid = invoice["amount_paid"] + received
        left = invoice["amount_due"] - paid
        world.update(invoice, "invoice.updated", amount_paid=paid, amount_remaining=left, attempted=True)
        return
    over = received - invoice["amount_remaining"] if collected else received
    if collected:
        close_payment(world, invoice, reason="void_invoice")
        mark_paid(world, invoice, paid=received)
    else:  # paid or void meanwhile
        world.update(invoice, "invoice.updated", amount_paid=invoice["amount_paid"] + received)
    if over:
        _return_excess(world, invoice, over)


def _return_excess(world: World, invoice: StripeObject, amount: int) -> None:
    customer = world.store.find("customer", invoice["customer"])
    if customer is not None:
        move_balance(
            world,
            customer,
            amount=-amount,
            kind="invoice_overpaid",
            currency=invoice["currency"],
            invoice=invoice["id"],
        )
    world.update(invoice, "invoice.updated", amount_overpaid=invoice["amount_overpaid"] + amount)
    world.emit("invoice.overpaid", invoice)
