"""The start of a subscription: its object, its first invoice, and the first payment."""

from tests.sandbox.billing.invoices.balance import claim_currency
from tests.sandbox.billing.invoices.discounts import new_discounts
from tests.sandbox.billing.invoices.invoicing import attach_pending_items
from tests.sandbox.billing.invoices.lines import resum
from tests.sandbox.billing.subscriptions.adding import add_invoice_items
from tests.sandbox.billing.subscriptions.anchoring import truncated
from tests.sandbox.billing.subscriptions.first_setup import offer_setup
from tests.sandbox.billing.subscriptions.item_terms import (
    items_of,
    list_of_items,
    new_item,
    redeem_item_discounts,
    require_together,
)
from tests.sandbox.billing.subscriptions.means import require_means, require_payable
from tests.sandbox.billing.subscriptions.opening import Opening, first_spans, open_subscription
from tests.sandbox.billing.subscriptions.pending_intervals import (
    bill_pending_when_due,
)
from tests.sandbox.billing.subscriptions.period_lines import (
    add_licensed_lines,
    add_trial_line,
    add_usage_lines,
    metered,
)
from tests.sandbox.billing.subscriptions.renewing import cancel_when_due, expire_when_due, renew_when_due
from tests.sandbox.billing.subscriptions.simulating import require_room_for_subscription
from tests.sandbox.billing.subscriptions.subscription_invoices import pay_at_once, release, subscription_invoice
from tests.sandbox.billing.subscriptions.terms import TERMS, changed_terms
from tests.sandbox.billing.subscriptions.trials import warn_when_due
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

CREATABLE = TERMS | frozenset(
    {"add_invoice_items", "backdate_start_date", "billing_cycle_anchor", "billing_cycle_anchor_config", "billing_mode"}
    | {"cancel_at", "cancel_at_period_end", "currency", "customer", "discounts", "items", "payment_behavior"}
    | {"pending_invoice_item_interval", "proration_behavior", "trial_end", "trial_from_plan", "trial_period_days"}
)


def start_from_parameters(world: World, parameters: Parameters, *, scheduled: bool = False) -> StripeObject:
    """A subscription from the parameters of `POST /v1/subscriptions`. Raises `StripeError` for what may not be.

    A first payment that must succeed, or cannot even be tried, is tried in a scratch world first: then nothing is left
    of a refused subscription. One started by a schedule (`scheduled`) is active at once, and its first invoice waits
    its hour as a draft (Stripe's document, POST /v1/subscriptions).
    """
    refuse_unsupported(parameters, CREATABLE, "POST /v1/subscriptions")
    if "customer" not in parameters:
        raise StripeError("Missing required param: customer.", code="parameter_missing", param="customer")
    customer = world.store.get("customer", parameters["customer"], param="customer")
    require_room_for_subscription(world, customer)
    behavior = parameters.get("payment_behavior", "allow_incomplete")
    if scheduled:
        return _start(world, customer, parameters, behavior, scheduled=True)
    if behavior == "pending_if_incomplete":
        raise StripeError("`pending_if_incomplete` is for updates of a subscription.", param="payment_behavior")
    if behavior == "error_if_incomplete":
        attempted = {**parameters, "payment_behavior": "allow_incomplete"}
        require_payable(world, lambda scratch: _first_open_invoice(scratch, attempted))
    elif behavior == "allow_incomplete":
        untried = {**parameters, "payment_behavior": "default_incomplete"}
        require_means(world, customer, parameters, lambda scratch: _first_open_invoice(scratch, untried))
    return _start(world, customer, parameters, behavior)


def _first_open_invoice(scratch: World, parameters: Parameters) -> StripeObject | None:
    """The invoice that keeps the subscription from being active, when it is started in a scratch world."""
    subscription = start_from_parameters(scratch, parameters)
    return (
        scratch.store.find("invoice", subscription["latest_invoice"])
        if subscription["status"] == "incomplete"
        else None
    )


def _start(
    world: World, customer: StripeObject, parameters: Parameters, behavior: str, *, scheduled: bool = False
) -> StripeObject:
    subscription = _new_subscription(world, customer, parameters)
    try:
        opening = open_subscription(world, subscription, parameters)
        claim_currency(world, customer, subscription["currency"])
        _redeem(world, subscription, parameters)
        add_invoice_items(world, subscription, parameters.get("add_invoice_items", []))
    except StripeError:
        world.store.remove(subscription)
        raise
    invoice = _first_invoice(world, subscription, opening)
    if subscription["trial_end"] is not None:
        subscription["status"] = "trialing"
    elif scheduled:
        subscription["status"] = "active"
    elif invoice is not None and invoice["amount_due"] > 0 and invoice["collection_method"] == "charge_automatically":
        subscription["status"] = "incomplete"
    else:
        subscription["status"] = "active"
    if invoice is not None:
        subscription["latest_invoice"] = invoice["id"]
    if behavior == "default_incomplete":
        offer_setup(world, subscription)
    world.emit("customer.subscription.created", subscription)
    if invoice is not None and scheduled:
        release(world, subscription, invoice)
    elif invoice is not None:
        _first_payment(world, subscription, invoice, behavior)
    if subscription["status"] == "trialing":
        warn_when_due(world, subscription)
    cancel_when_due(world, subscription)
    renew_when_due(world, subscription)
    bill_pending_when_due(world, subscription)
    return subscription


def _new_subscription(world: World, customer: StripeObject, parameters: Parameters) -> StripeObject:
    """The stored object with its items, which have no periods yet."""
    mode = parameters.get("billing_mode", {"type": "flexible"})
    if mode["type"] != "flexible" or mode.get("flexible", {}).get("proration_discounts", "included") != "included":
        raise not_implemented("a billing mode other than flexible with discounts included", param="billing_mode")
    subscription = world.new(
        "subscription",
        "sub",
        billing_mode={"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": world.now},
        cancellation_details=world.skeletons.new("cancellation_details"),
        collection_method="charge_automatically",
        customer=customer["id"],
        invoice_settings={
            **world.skeletons.new("subscriptions_resource_subscription_invoice_settings"),
            "issuer": {"type": "self"},
        },
        managed_payments={"enabled": False},
        metadata={},
        payment_settings={
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        default_tax_rates=[],
        start_date=world.now,
        trial_settings={"end_behavior": {"missing_payment_method": "create_invoice"}},
    )
    try:
        subscription.update(changed_terms(world, customer, subscription, parameters))
        items = [
            new_item(world, subscription["id"], given, f"items[{place}]")
            for place, given in enumerate(parameters.get("items") or [])
        ]
        if not items:
            raise StripeError("Missing required param: items.", code="parameter_missing", param="items")
        subscription["currency"] = parameters.get("currency", "").lower() or items[0]["price"]["currency"]
        require_together(world, items, subscription["currency"])
    except StripeError:
        world.store.remove(subscription)
        raise
    subscription["items"] = list_of_items(subscription["id"], items)
    return subscription


def _redeem(world: World, subscription: StripeObject, parameters: Parameters) -> None:
    customer = subscription["customer"]
    subscription["discounts"] = new_discounts(
        world, parameters.get("discounts"), customer=customer, subscription=subscription["id"]
    )
    for place, (item, given) in enumerate(zip(items_of(subscription), parameters["items"], strict=True)):
        redeem_item_discounts(world, item, given, f"items[{place}]", customer=customer, told=False)


def _first_invoice(world: World, subscription: StripeObject, opening: Opening) -> StripeObject | None:
    """The first invoice, if there is anything on it besides what waits for some invoice of the customer."""
    invoice = subscription_invoice(world, subscription, reason="subscription_create", period=(world.now, world.now))
    for item in items_of(subscription):
        _add_first_lines(world, invoice, item, opening, subscription["cancel_at"])
    added = [
        item
        for item in world.store.where("invoiceitem", "customer", subscription["customer"])
        if _own(item, subscription)
    ]
    if not world.lines[invoice["id"]] and not added:
        world.store.remove(invoice)
        return None
    own_lines = world.lines.pop(invoice["id"])
    attach_pending_items(world, invoice, subscription_id=subscription["id"])
    world.lines[invoice["id"]] += own_lines
    resum(world, invoice, event=False)
    return invoice


def _add_first_lines(
    world: World, invoice: StripeObject, item: StripeObject, opening: Opening, cancel_at: int | None
) -> None:
    """A trial's line of nothing, or a line a period; without prorations only of whole periods that begin now.

    A first period that a `cancel_at` cuts short is charged in full without prorations.
    """
    spans = first_spans(world, opening, item)
    if opening.trial_end is not None:
        add_trial_line(world, invoice, item, (world.now, opening.trial_end))
        return
    for span in spans:
        if metered(item):
            if span.end <= world.now:
                add_usage_lines(world, invoice, item, (span.start, span.end), even_zero=False)
        elif opening.prorated:
            add_licensed_lines(world, invoice, item, truncated(span, cancel_at))
        elif span.whole and span.start == world.now:
            add_licensed_lines(world, invoice, item, span)


def _own(item: StripeObject, subscription: StripeObject) -> bool:
    parent = item["parent"]
    return bool(parent) and parent["subscription_details"]["subscription"] == subscription["id"]


def _first_payment(world: World, subscription: StripeObject, invoice: StripeObject, behavior: str) -> None:
    """Finalised and charged at once; a subscription that waits for its first payment expires after 23 hours."""
    pay_at_once(world, subscription, invoice, payment_behavior=behavior)
    if subscription["status"] == "incomplete":
        # Stripe does not retry a first payment by itself.
        world.update(invoice, "invoice.updated", auto_advance=False, next_payment_attempt=None)
        expire_when_due(world, subscription)
