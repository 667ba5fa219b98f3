"""Getting an open invoice paid: the attempt, the declared retries, and what both mean for a subscription."""

from tests.sandbox.billing.cards import AUTHENTICATION_REQUIRED, Decline
from tests.sandbox.billing.charging import card_error, confirm
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Stripe's Smart Retries are not public. Assumption: after the first attempt three more, these many days apart.
RETRY_WAITS_DAYS = (3, 5, 7)
DAY_SECONDS = 86_400


def payment_of(world: World, invoice: StripeObject) -> StripeObject | None:
    """The invoice's default invoice payment, if it was finalised with something to collect."""
    payments = world.store.where("invoice_payment", "invoice", invoice["id"])
    return next((payment for payment in payments if payment["is_default"]), None)


def default_payment_method(world: World, invoice: StripeObject) -> StripeObject | None:
    """Whose card pays: the invoice's own, the subscription's, the customer's; in this order."""
    customer = world.store.get("customer", invoice["customer"])
    subscription = _subscription(world, invoice)
    candidates = (
        invoice["default_payment_method"],
        subscription["default_payment_method"] if subscription else None,
        customer["invoice_settings"]["default_payment_method"],
    )
    return next((found for name in candidates if (found := world.store.find("payment_method", name))), None)


def collect_automatically(world: World, invoice: StripeObject) -> None:
    """An attempt by Stripe itself: counted, and tried again by the schedule. Refusals end as events, not errors."""
    payment_method = default_payment_method(world, invoice)
    decline = attempt(world, invoice, payment_method, counts=True) if payment_method else None
    if invoice["status"] == "paid":
        return
    if decline is AUTHENTICATION_REQUIRED:
        world.update(invoice, None, attempted=True)
        world.emit("invoice.payment_action_required", invoice)
        _payment_failed(world, invoice, attempt_count=invoice["attempt_count"], next_attempt=None)
        return
    count = invoice["attempt_count"] + 1
    next_attempt = None
    if count <= len(RETRY_WAITS_DAYS) and not (decline and decline.hard):
        next_attempt = world.now + RETRY_WAITS_DAYS[count - 1] * DAY_SECONDS
    _payment_failed(world, invoice, attempt_count=count, next_attempt=next_attempt)
    if next_attempt is not None:
        _retry_at(world, invoice, next_attempt)
    else:
        _after_last_attempt(world, invoice)


def pay_by_request(world: World, invoice: StripeObject, payment_method: StripeObject | None) -> None:
    """`POST /v1/invoices/:id/pay`. Raises the card's `StripeError` 402 when it is declined."""
    payment_method = payment_method or default_payment_method(world, invoice)
    if payment_method is None:
        raise StripeError(
            "There is no default_payment_method set on this Customer or Invoice. Please set a default payment method "
            "or provide one to pay this invoice with.",
            code="resource_missing",
        )
    first = not invoice["attempted"]
    decline = attempt(world, invoice, payment_method, counts=first)
    if decline is None:
        return
    payment = payment_of(world, invoice)
    intent = world.store.get("payment_intent", payment["payment"]["payment_intent"]) if payment else None
    if decline is AUTHENTICATION_REQUIRED:
        world.update(invoice, None, attempted=True)
        world.emit("invoice.payment_action_required", invoice)
    # Only the first attempt and automatic retries count.
    count = invoice["attempt_count"] + (1 if first and decline is not AUTHENTICATION_REQUIRED else 0)
    _payment_failed(world, invoice, attempt_count=count, next_attempt=invoice["next_payment_attempt"])
    raise card_error(decline, intent=intent)


def attempt(world: World, invoice: StripeObject, payment_method: StripeObject, *, counts: bool) -> Decline | None:
    """Confirm the invoice's payment intent with a card; on success it is paid. The answer is the refusal.

    `counts`: a success adds to the invoice's attempts (the first does, and every automatic retry).
    """
    payment = payment_of(world, invoice)
    assert payment is not None, f"{invoice['id']} is open with nothing to collect"
    intent = world.store.get("payment_intent", payment["payment"]["payment_intent"])
    decline = confirm(world, intent, payment_method)
    if decline is not None:
        return decline
    invoice.update(attempted=True, attempt_count=invoice["attempt_count"] + counts)
    _settle(world, invoice, payment, intent["amount"])
    return None


def _settle(world: World, invoice: StripeObject, payment: StripeObject, amount: int) -> None:
    transitions = {**payment["status_transitions"], "paid_at": world.now}
    world.update(payment, None, amount_paid=amount, status="paid", status_transitions=transitions)
    world.emit("invoice_payment.paid", payment)
    mark_paid(world, invoice, paid=amount)


def mark_paid(world: World, invoice: StripeObject, *, paid: int = 0, off_stripe: int = 0) -> None:
    """The invoice owes nothing any more; its subscription is in good standing again."""
    previous = world.update(
        invoice,
        None,
        amount_paid=invoice["amount_paid"] + paid + off_stripe,
        amount_paid_off_stripe=invoice["amount_paid_off_stripe"] + off_stripe,
        amount_remaining=invoice["amount_due"] - paid - off_stripe,
        auto_advance=False,
        next_payment_attempt=None,
        status="paid",
        status_transitions={**invoice["status_transitions"], "paid_at": world.now},
    )
    world.emit("invoice.updated", invoice, previous=previous)
    world.emit("invoice.paid", invoice)
    world.emit("invoice.payment_succeeded", invoice)
    subscription = _subscription(world, invoice)
    waits = subscription is not None and subscription["latest_invoice"] == invoice["id"]
    if subscription is not None and waits and subscription["status"] in ("incomplete", "past_due", "unpaid"):
        world.update(subscription, "customer.subscription.updated", status="active")


def close_payment(world: World, invoice: StripeObject, *, reason: str) -> None:
    """Cancel the open payment of an invoice that is no longer to be collected."""
    payment = payment_of(world, invoice)
    if payment is None or payment["status"] != "open":
        return
    intent = world.store.get("payment_intent", payment["payment"]["payment_intent"])
    world.update(intent, None, status="canceled", canceled_at=world.now, cancellation_reason=reason, next_action=None)
    world.emit("payment_intent.canceled", intent)
    transitions = {**payment["status_transitions"], "canceled_at": world.now}
    world.update(payment, None, status="canceled", status_transitions=transitions)


def _payment_failed(world: World, invoice: StripeObject, *, attempt_count: int, next_attempt: int | None) -> None:
    previous = world.update(
        invoice, None, attempt_count=attempt_count, attempted=True, next_payment_attempt=next_attempt
    )
    world.emit("invoice.payment_failed", invoice)
    if previous:
        world.emit("invoice.updated", invoice, previous=previous)
    subscription = _subscription(world, invoice)
    if subscription and subscription["status"] == "active" and subscription["latest_invoice"] == invoice["id"]:
        world.update(subscription, "customer.subscription.updated", status="past_due")


def _retry_at(world: World, invoice: StripeObject, moment: int) -> None:
    def due() -> None:
        if invoice["status"] == "open" and invoice["auto_advance"] and invoice["next_payment_attempt"] == moment:
            collect_automatically(world, invoice)

    world.clock.at(moment, due)


def _after_last_attempt(world: World, invoice: StripeObject) -> None:
    """What the account settled on: leave the subscription past due, mark it unpaid, or cancel it."""
    subscription = _subscription(world, invoice)
    if subscription is None or subscription["status"] != "past_due":
        return
    choice = world.settings.after_last_retry
    if choice == "unpaid":
        world.update(subscription, "customer.subscription.updated", status="unpaid")
    elif choice == "cancel":
        end_subscription(world, subscription, reason="payment_failed")


def end_subscription(world: World, subscription: StripeObject, *, reason: str) -> None:
    """Cancel a subscription now. Its unpaid invoices are no longer advanced by Stripe."""
    details = {**(subscription["cancellation_details"] or {}), "reason": reason}
    world.update(
        subscription,
        None,
        status="canceled",
        canceled_at=subscription["canceled_at"] or world.now,
        ended_at=world.now,
        cancellation_details=details,
    )
    world.emit("customer.subscription.deleted", subscription)
    for invoice in world.store.where("invoice", "customer", subscription["customer"]):
        if invoice["status"] in ("draft", "open") and _subscription(world, invoice) is subscription:
            world.update(
                invoice,
                "invoice.updated",
                auto_advance=False,
                automatically_finalizes_at=None,
                next_payment_attempt=None,
            )


def _subscription(world: World, invoice: StripeObject) -> StripeObject | None:
    parent = invoice["parent"]
    return world.store.find("subscription", parent["subscription_details"]["subscription"]) if parent else None
