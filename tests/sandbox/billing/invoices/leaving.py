"""What becomes of a customer's invoices and waiting items when the customer is deleted.

Assumption (Stripe only publishes that subscriptions end): nothing is collected any more, and what waits is deleted.
"""

from tests.sandbox.billing.invoices.invoicing import pending_items
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def leave_invoices(world: World, customer: StripeObject) -> None:
    for item in pending_items(world, customer["id"]):
        world.store.remove(item)
        world.emit("invoiceitem.deleted", item)
    for invoice in world.store.where("invoice", "customer", customer["id"]):
        if invoice["status"] in ("draft", "open"):
            world.update(
                invoice,
                "invoice.updated",
                auto_advance=False,
                automatically_finalizes_at=None,
                next_payment_attempt=None,
            )
