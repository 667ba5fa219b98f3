"""Revisions: a draft that replaces a finalised invoice. When it becomes final, the invoice it revises is voided."""

from typing import Any

from tests.sandbox.billing.invoices.lines import item_of_line, line_of_item
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

TAKEN_OVER = (
    "account_tax_ids",
    "collection_method",
    "custom_fields",
    "default_payment_method",
    "default_source",
    "default_tax_rates",
    "description",
    "discounts",
    "due_date",
    "footer",
    "metadata",
    "payment_settings",
    "rendering",
    "shipping_details",
    "statement_descriptor",
)


def revisable(world: World, invoice_id: str) -> StripeObject:
    """The invoice to revise. Raises `StripeError` for one that a revision could not void or copy."""
    original = world.store.get("invoice", invoice_id, param="from_invoice[invoice]")
    if original["status"] not in ("open", "uncollectible") or original["amount_paid"]:
        raise StripeError(
            f"Only open and uncollectible invoices on which nothing was paid can be revised. This one is "
            f"{original['status']}.",
            param="from_invoice[invoice]",
        )
    if any(item_of_line(line) is None for line in world.lines[invoice_id]):
        raise StripeError("Invoices with lines of a subscription cannot be revised.", param="from_invoice[invoice]")
    return original


def fields_taken_over(original: StripeObject) -> dict[str, Any]:
    """What a revision begins with, besides its lines."""
    taken = copied({name: original[name] for name in TAKEN_OVER})
    return {**taken, "from_invoice": {"action": "revision", "invoice": original["id"]}}


def copy_lines(world: World, original: StripeObject, revision: StripeObject) -> None:
    """Give the revision items of its own, like those of the invoice that it revises."""
    for line in list(world.lines[original["id"]]):
        item = world.store.get("invoiceitem", str(item_of_line(line)))
        own = world.store.add({**copied(item), "id": world.ids.new("ii"), "invoice": revision["id"], "date": world.now})
        world.emit("invoiceitem.created", own)
        world.lines[revision["id"]].append(line_of_item(world, revision, own))
