"""Making draft invoices, and attaching the items that were waiting for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.sandbox.billing.invoices.discounts import live_discounts
from tests.sandbox.billing.invoices.finalizing import finalize_when_due
from tests.sandbox.billing.invoices.lines import line_of_item, resum
from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

DRAFT_WINDOW_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class InvoiceRequest:
    """What a draft starts from. `period` is Unix seconds, [start, end)."""

    customer: StripeObject
    currency: str
    billing_reason: str
    period: tuple[int, int]
    subscription: StripeObject | None = None
    collection_method: str = "charge_automatically"
    days_until_due: int | None = None


def new_invoice(world: World, wanted: InvoiceRequest, **fields: Any) -> StripeObject:
    """A stored draft without lines. The caller adds lines, then tells `invoice.created`.

    It takes over the discounts and tax rates of its subscription, and what the customer's invoices are to show;
    `fields` go before that.
    """
    customer, subscription = wanted.customer, wanted.subscription
    shown = customer["invoice_settings"]
    invoice = world.new(
        "invoice",
        "in",
        id=fields.pop("id", None) or world.ids.new("in"),
        account_country="US",
        account_name="Boring Billing sandbox",
        billing_reason=wanted.billing_reason,
        collection_method=wanted.collection_method,
        currency=wanted.currency,
        custom_fields=shown["custom_fields"],
        customer=customer["id"],
        default_tax_rates=[copied(rate) for rate in (subscription["default_tax_rates"] or [] if subscription else [])],
        discounts=live_discounts(world, subscription["discounts"]) if subscription else [],
        due_date=_due_date(world, wanted),
        footer=shown["footer"],
        issuer={"type": "self"},
        metadata={},
        parent=_parent(subscription) if subscription else None,
        period_start=wanted.period[0],
        period_end=wanted.period[1],
        starting_balance=customer["balance"],
        status="draft",
        total_discount_amounts=[],
        total_pretax_credit_amounts=[],
        total_taxes=[],
        webhooks_delivered_at=world.now,
        **customer_details(world, customer),
    )
    invoice["lines"] = {
        "object": "list",
        "data": [],
        "has_more": False,
        "url": f"/v1/invoices/{invoice['id']}/lines",
    }
    invoice.update(fields)
    return invoice


def customer_details(world: World, customer: StripeObject) -> dict[str, Any]:
    """The fields of a draft that follow its customer until it is final."""
    tax_ids = world.store.where("tax_id", "customer", customer["id"])
    return {
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": customer["shipping"],
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [{"type": tax_id["type"], "value": tax_id["value"]} for tax_id in tax_ids],
    }


def follow_customer(world: World, customer: StripeObject) -> None:
    """Bring the customer's drafts up to date with their customer, whose details or tax ids changed."""
    details = customer_details(world, customer)
    for invoice in world.store.where("invoice", "customer", customer["id"]):
        if invoice["status"] == "draft" and world.update(invoice, "invoice.updated", **details):
            resum(world, invoice, event=True)


def plan_finalization(world: World, invoice: StripeObject) -> None:
    """Let the draft finalise itself after the draft window."""
    invoice["auto_advance"] = True
    invoice["automatically_finalizes_at"] = world.now + DRAFT_WINDOW_SECONDS
    finalize_when_due(world, invoice)


def attach_pending_items(world: World, invoice: StripeObject, *, subscription_id: str | None) -> int:
    """Move waiting items onto the draft as Stripe does, newest first; the answer is how many there were.

    A subscription's invoice takes its own items and those of no subscription; any other only those of none.
    """
    items = pending_items(world, invoice["customer"])
    return attach_items(world, invoice, [item for item in items if item_subscription(item) in (None, subscription_id)])


def attach_items(world: World, invoice: StripeObject, items: Sequence[StripeObject]) -> int:
    """Move those of the waiting `items` onto the draft that are in its currency; the answer is how many there were."""
    taken = [item for item in items if item["currency"] == invoice["currency"]]
    for item in reversed(taken):
        item["invoice"] = invoice["id"]
        world.lines[invoice["id"]].append(line_of_item(world, invoice, item))
    return len(taken)


def pending_items(world: World, customer_id: str) -> list[StripeObject]:
    return [item for item in world.store.where("invoiceitem", "customer", customer_id) if item["invoice"] is None]


def item_subscription(item: StripeObject) -> str | None:
    parent = item["parent"]
    return parent["subscription_details"]["subscription"] if parent else None


def subscription_of(invoice: StripeObject) -> str | None:
    details = (invoice["parent"] or {}).get("subscription_details")  # none where a quote is the parent
    return details["subscription"] if details else None


def _parent(subscription: StripeObject) -> StripeObject:
    details = {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]}
    return {"quote_details": None, "subscription_details": details, "type": "subscription_details"}


def _due_date(world: World, wanted: InvoiceRequest) -> int | None:
    if wanted.collection_method != "send_invoice":
        return None
    return world.now + DAY_SECONDS * (30 if wanted.days_until_due is None else wanted.days_until_due)
