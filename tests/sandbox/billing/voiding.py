"""Ends of an open invoice other than payment: void, and uncollectible."""

from tests.sandbox.billing.balance import move_balance
from tests.sandbox.billing.collecting import close_payment
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def void(world: World, invoice: StripeObject) -> None:
    """Undo a finalised invoice: applied balance goes back. Raises `StripeError` unless open or uncollectible."""
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(
            f"You can only pass in open or uncollectible invoices. This invoice is {invoice['status']}.",
            code="invoice_not_editable",
        )
    customer = world.store.get("customer", invoice["customer"])
    applied = sum(
        transaction["amount"]
        for transaction in world.store.where("customer_balance_transaction", "customer", customer["id"])
        if transaction["invoice"] == invoice["id"] and transaction["type"] == "applied_to_invoice"
    )
    if applied:
        move_balance(
            world,
            customer,
            amount=-applied,
            kind="unapplied_from_invoice",
            currency=invoice["currency"],
            invoice=invoice["id"],
        )
    close_payment(world, invoice, reason="void_invoice")
    _end(world, invoice, "void", "voided_at")
    world.emit("invoice.voided", invoice)


def mark_uncollectible(world: World, invoice: StripeObject) -> None:
    """Give an open invoice up. Raises `StripeError` for any other status."""
    if invoice["status"] != "open":
        raise StripeError(
            f"You can only mark open invoices uncollectible. This invoice is {invoice['status']}.",
            code="invoice_not_editable",
        )
    _end(world, invoice, "uncollectible", "marked_uncollectible_at")
    world.emit("invoice.marked_uncollectible", invoice)


def _end(world: World, invoice: StripeObject, status: str, transition: str) -> None:
    world.update(
        invoice,
        "invoice.updated",
        auto_advance=False,
        next_payment_attempt=None,
        status=status,
        status_transitions={**invoice["status_transitions"], transition: world.now},
    )
