"""Ends of an open invoice other than payment: void, and uncollectible."""

from tests.sandbox.billing.consequences import invoice_given_up
from tests.sandbox.billing.invoices.balance import move_balance
from tests.sandbox.billing.payments.invoice_payments import close_payment
from tests.sandbox.billing.prices.credit_grants import reinstate_credits
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

FINALIZATION_MOVES = ("applied_to_invoice", "invoice_too_large")  # of the balance, for an invoice that is still open


def void(world: World, invoice: StripeObject) -> None:
    """Undo a finalised invoice: applied balance goes back, and so does what was too much to charge.

    Raises `StripeError` unless it is open or uncollectible, and when a part of it was paid.
    """
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(
            f"You can only pass in open or uncollectible invoices. This invoice is {invoice['status']}.",
            code="invoice_not_editable",
        )
    if invoice["amount_paid"]:
        raise StripeError(
            "You cannot void an invoice that was paid in part. Issue a credit note instead.",
            code="invoice_not_editable",
        )
    customer = world.store.find("customer", invoice["customer"])
    applied = sum(
        transaction["amount"]
        for transaction in world.store.where("customer_balance_transaction", "customer", invoice["customer"])
        if transaction["invoice"] == invoice["id"] and transaction["type"] in FINALIZATION_MOVES
    )
    if applied and customer is not None:
        move_balance(
            world,
            customer,
            amount=-applied,
            kind="unapplied_from_invoice",
            currency=invoice["currency"],
            invoice=invoice["id"],
        )
    reinstate_credits(world, invoice)
    close_payment(world, invoice, reason="void_invoice")
    _end(world, invoice, "void", "voided_at")
    world.emit("invoice.voided", invoice)
    invoice_given_up(world, invoice)


def void_revised(world: World, revision: StripeObject) -> None:
    """The invoice that `revision` revises ends when the revision becomes final. Raises `StripeError` if it cannot."""
    if revision["from_invoice"] is None:
        return
    original = world.store.get("invoice", revision["from_invoice"]["invoice"])
    void(world, original)
    world.update(original, "invoice.updated", latest_revision=revision["id"])


def mark_uncollectible(world: World, invoice: StripeObject) -> None:
    """Give an open invoice up. Raises `StripeError` for any other status."""
    if invoice["status"] != "open":
        raise StripeError(
            f"You can only mark open invoices uncollectible. This invoice is {invoice['status']}.",
            code="invoice_not_editable",
        )
    _end(world, invoice, "uncollectible", "marked_uncollectible_at")
    world.emit("invoice.marked_uncollectible", invoice)
    invoice_given_up(world, invoice)


def _end(world: World, invoice: StripeObject, status: str, transition: str) -> None:
    world.update(
        invoice,
        "invoice.updated",
        auto_advance=False,
        next_payment_attempt=None,
        status=status,
        status_transitions={**invoice["status_transitions"], transition: world.now},
    )
