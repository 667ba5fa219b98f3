"""Invoices of a subscription: the draft, and whether it waits its hour, is paid at once, or is not collected at all."""

from tests.sandbox.billing.invoices.finalizing import finalize
from tests.sandbox.billing.invoices.invoicing import InvoiceRequest, new_invoice, plan_finalization
from tests.sandbox.billing.invoices.voiding import mark_uncollectible, void
from tests.sandbox.billing.payments.collecting import collect_automatically
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def subscription_invoice(
    world: World, subscription: StripeObject, *, reason: str, period: tuple[int, int]
) -> StripeObject:
    """A draft of the subscription, without lines."""
    wanted = InvoiceRequest(
        customer=world.store.get("customer", subscription["customer"]),
        currency=subscription["currency"],
        billing_reason=reason,
        period=period,
        subscription=subscription,
        collection_method=subscription["collection_method"],
        days_until_due=subscription["days_until_due"],
    )
    invoice = new_invoice(world, wanted)
    own = {name: subscription["invoice_settings"][name] for name in ("custom_fields", "description", "footer")}
    invoice |= {name: value for name, value in own.items() if value is not None}  # before the customer's
    invoice["payment_settings"]["payment_method_types"] = subscription["payment_settings"]["payment_method_types"]
    return invoice


def since_last_invoice(world: World, subscription: StripeObject) -> tuple[int, int]:
    """The period of an invoice between renewals: from the end of the one before it until now, as recorded."""
    last = world.store.find("invoice", subscription["latest_invoice"])
    return (last["period_end"] if last is not None else subscription["start_date"], world.now)


def release(world: World, subscription: StripeObject, invoice: StripeObject) -> None:
    """A finished draft of a renewal: told, and finalised an hour later, unless collection is paused or pointless."""
    collected = subscription["status"] != "unpaid" and subscription["pause_collection"] is None
    if collected:
        plan_finalization(world, invoice)
    world.emit("invoice.created", invoice)
    if not collected:
        _leave_uncollected(world, subscription, invoice)


def pay_at_once(world: World, subscription: StripeObject, invoice: StripeObject, *, payment_behavior: str) -> None:
    """A finished draft that is finalised and charged now; one to be sent waits its hour as any other."""
    if subscription["pause_collection"] is not None:
        world.emit("invoice.created", invoice)
        _leave_uncollected(world, subscription, invoice)
    elif subscription["collection_method"] == "send_invoice":
        release(world, subscription, invoice)
    else:
        world.emit("invoice.created", invoice)
        finalize(world, invoice, auto_advance=True)
        if invoice["status"] == "open" and payment_behavior != "default_incomplete":
            collect_automatically(world, invoice)


def has_means(world: World, subscription: StripeObject) -> bool:
    """Whether its invoices can be charged, or are to be sent."""
    customer = world.store.get("customer", subscription["customer"])
    return subscription["collection_method"] == "send_invoice" or any(
        (
            subscription["default_payment_method"],
            subscription["default_source"],
            customer["invoice_settings"]["default_payment_method"],
            customer["default_source"],
        )
    )


def _leave_uncollected(world: World, subscription: StripeObject, invoice: StripeObject) -> None:
    """What `pause_collection` says: stay a draft, or be given up at once. An unpaid subscription's stay drafts."""
    pause = subscription["pause_collection"]
    if pause is None or pause["behavior"] == "keep_as_draft":
        return
    finalize(world, invoice)
    if invoice["status"] == "open":
        (void if pause["behavior"] == "void" else mark_uncollectible)(world, invoice)
