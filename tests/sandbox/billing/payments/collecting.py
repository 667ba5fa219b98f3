"""Getting an open invoice paid: the attempt, the declared retries, and what both mean for subscription and customer."""

from tests.sandbox.billing.invoices.voiding import mark_uncollectible
from tests.sandbox.billing.payments.attaching import find_payment_method, require_usable
from tests.sandbox.billing.payments.charging import confirm
from tests.sandbox.billing.payments.declines import AUTHENTICATION_FAILED, AUTHENTICATION_REQUIRED, Decline
from tests.sandbox.billing.payments.intents import card_error, follows_intents
from tests.sandbox.billing.payments.invoice_payments import (
    intent_of,
    invoice_of_intent,
    open_payment,
    payment_of,
    subscription_of_invoice,
)
from tests.sandbox.billing.payments.settling import set_delinquent, settle
from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.billing.subscriptions.ended import end_subscription
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Stripe's Smart Retries are not public. Assumption: after the first attempt three more, these many days apart.
RETRY_WAITS_DAYS = (3, 5, 7)


def default_payment_method(world: World, invoice: StripeObject) -> StripeObject | None:
    """Whose card pays: the invoice's own, the subscription's, the customer's; in this order.

    Of each the payment method first, then the source of the old API.
    """
    customer = world.store.get("customer", invoice["customer"])
    subscription = subscription_of_invoice(world, invoice)
    names = [invoice["default_payment_method"], invoice["default_source"]]
    if subscription is not None:
        names += [subscription["default_payment_method"], subscription["default_source"]]
    names += [customer["invoice_settings"]["default_payment_method"], customer["default_source"]]
    return next((find_payment_method(world, name) for name in names if name and _exists(world, name)), None)


def collect_automatically(world: World, invoice: StripeObject, *, off_session: bool | None = None) -> None:
    """An attempt by Stripe itself: counted, and tried again by the schedule. Refusals end as events, not errors.

    The customer is taken to be there for the first invoice of a subscription only, unless `off_session` says.
    """
    if off_session is None:
        off_session = invoice["billing_reason"] != "subscription_create"
    payment_method = default_payment_method(world, invoice)
    decline = None
    if payment_method is not None:
        if is_processing(world, invoice):
            return
        try:
            decline = attempt(world, invoice, payment_method, counts=True, off_session=off_session)
        except StripeError:  # what cannot even be tried, as a debit without a mandate, has failed
            pass
        else:
            if decline is None:
                return
    if decline is AUTHENTICATION_REQUIRED:
        _action_required(world, invoice, next_attempt=None)
    else:
        _try_again(world, invoice, decline)
    set_delinquent(world, invoice["customer"], True)


def pay_by_request(
    world: World, invoice: StripeObject, payment_method: StripeObject | None, *, off_session: bool = True
) -> None:
    """`POST /v1/invoices/:id/pay`. Raises the card's `StripeError` 402 when it is declined."""
    payment_method = payment_method or default_payment_method(world, invoice)
    if payment_method is None:
        raise StripeError(
            "There is no default_payment_method set on this Customer or Invoice. Please set a default payment method "
            "or provide one to pay this invoice with.",
            code="resource_missing",
        )
    require_usable(world, payment_method, invoice["customer"])
    first = not invoice["attempted"]
    decline = attempt(world, invoice, payment_method, counts=first, off_session=off_session)
    if decline is None:
        return
    if decline is AUTHENTICATION_REQUIRED:
        _action_required(world, invoice, next_attempt=invoice["next_payment_attempt"])
    else:  # only the first attempt and automatic retries count
        count = invoice["attempt_count"] + first
        _payment_failed(world, invoice, attempt_count=count, next_attempt=invoice["next_payment_attempt"])
    payment = payment_of(world, invoice)
    raise card_error(decline, intent=intent_of(world, payment) if payment else None)


def attempt(
    world: World, invoice: StripeObject, payment_method: StripeObject, *, counts: bool, off_session: bool = True
) -> Decline | None:
    """Confirm the invoice's payment intent; on success it is paid, by a debit it may be in some days.

    The answer is the refusal. `counts`: a success adds to the invoice's attempts (the first does, and every retry).
    """
    if is_processing(world, invoice):
        raise StripeError("This invoice is being paid already: its payment is processing.")
    payment = payment_of(world, invoice) or open_payment(world, invoice)
    intent = intent_of(world, payment)
    if intent["amount"] != invoice["amount_remaining"]:  # a credit note came in between
        world.update(intent, None, amount=invoice["amount_remaining"])
        world.update(payment, None, amount_requested=invoice["amount_remaining"])
    decline = confirm(world, intent, payment_method, off_session=off_session)
    if decline is not None:
        return decline
    if intent["status"] == "succeeded":
        settle(world, invoice, payment, intent, attempt_count=invoice["attempt_count"] + counts)
    else:
        _wait_for_bank(world, invoice, attempt_count=invoice["attempt_count"] + counts)
    return None


def is_processing(world: World, invoice: StripeObject) -> bool:
    """Whether a debit for it is under way."""
    payment = payment_of(world, invoice)
    return payment is not None and bool(intent_of(world, payment)["status"] == "processing")


@follows_intents
def follow_intent(world: World, intent: StripeObject, decline: Decline | None) -> None:
    """An invoice's intent was confirmed by request, authenticated by the customer, or answered by the bank."""
    invoice = invoice_of_intent(world, intent)
    payment = payment_of(world, invoice) if invoice is not None else None
    if invoice is None or payment is None or payment["status"] != "open":
        return
    if decline is AUTHENTICATION_REQUIRED:
        _action_required(world, invoice, next_attempt=invoice["next_payment_attempt"])
    elif decline is not None:
        _follow_failure(world, invoice, intent, decline)
    elif intent["status"] == "succeeded":
        settle(world, invoice, payment, intent, attempt_count=invoice["attempt_count"] or 1)
    elif intent["status"] == "processing":
        _wait_for_bank(world, invoice, attempt_count=invoice["attempt_count"] or 1)


def _follow_failure(world: World, invoice: StripeObject, intent: StripeObject, decline: Decline) -> None:
    """A debit that Stripe sent by itself is sent again by the schedule; what the customer tried is theirs to repeat."""
    charge = world.store.find("charge", intent["latest_charge"])
    debited = charge is not None and charge["payment_method_details"]["type"] == "sepa_debit"
    if debited and decline is not AUTHENTICATION_FAILED and invoice["auto_advance"]:
        _try_again(world, invoice, decline, counted=True)
        set_delinquent(world, invoice["customer"], True)
        return
    first = decline is not AUTHENTICATION_FAILED and invoice["attempt_count"] == 0
    count = invoice["attempt_count"] + first
    _payment_failed(world, invoice, attempt_count=count, next_attempt=invoice["next_payment_attempt"])


def _wait_for_bank(world: World, invoice: StripeObject, *, attempt_count: int) -> None:
    """A debit is under way. Stripe takes the subscription for active while it is."""
    world.update(invoice, "invoice.updated", attempt_count=attempt_count, attempted=True, next_payment_attempt=None)
    subscription = subscription_of_invoice(world, invoice)
    if subscription is not None and subscription["status"] == "incomplete":
        world.update(subscription, "customer.subscription.updated", status="active")


def _action_required(world: World, invoice: StripeObject, *, next_attempt: int | None) -> None:
    """The customer has to authenticate: attempted, and no attempt that counts."""
    world.update(invoice, None, attempted=True)
    world.emit("invoice.payment_action_required", invoice)
    _payment_failed(world, invoice, attempt_count=invoice["attempt_count"], next_attempt=next_attempt)


def _try_again(world: World, invoice: StripeObject, decline: Decline | None, *, counted: bool = False) -> None:
    """The schedule's next attempt, or after a hard decline and the last one what the account settled on."""
    count = invoice["attempt_count"] + (not counted)
    next_attempt = None
    if count <= len(RETRY_WAITS_DAYS) and not (decline and decline.hard) and not _waits_for_first(world, invoice):
        next_attempt = world.now + RETRY_WAITS_DAYS[count - 1] * DAY_SECONDS
    _payment_failed(world, invoice, attempt_count=count, next_attempt=next_attempt)
    if next_attempt is not None:
        _retry_at(world, invoice, next_attempt)
    else:
        _after_last_attempt(world, invoice)


def _payment_failed(world: World, invoice: StripeObject, *, attempt_count: int, next_attempt: int | None) -> None:
    previous = world.update(
        invoice, None, attempt_count=attempt_count, attempted=True, next_payment_attempt=next_attempt
    )
    world.emit("invoice.payment_failed", invoice)
    if previous:
        world.emit("invoice.updated", invoice, previous=previous)
    subscription = subscription_of_invoice(world, invoice)
    if subscription is None or subscription["pending_update"] is not None:  # it goes on as if nothing was asked for
        return
    if subscription["status"] == "active" and subscription["latest_invoice"] == invoice["id"]:
        world.update(subscription, "customer.subscription.updated", status="past_due")


def _waits_for_first(world: World, invoice: StripeObject) -> bool:
    """Whether a subscription waits for its first payment, which Stripe does not try again by itself."""
    subscription = subscription_of_invoice(world, invoice)
    return subscription is not None and bool(subscription["status"] == "incomplete")


def _retry_at(world: World, invoice: StripeObject, moment: int) -> None:
    def due() -> None:
        if invoice["status"] == "open" and invoice["auto_advance"] and invoice["next_payment_attempt"] == moment:
            collect_automatically(world, invoice)

    world.clock.at(moment, due, f"payment retry for {invoice['id']}")


def _after_last_attempt(world: World, invoice: StripeObject) -> None:
    """What the account settled on: leave the subscription past due, mark it unpaid, or cancel it; and the invoice."""
    subscription = subscription_of_invoice(world, invoice)
    if subscription is not None and subscription["status"] == "past_due":
        choice = world.settings.after_last_retry
        if choice == "unpaid":
            world.update(subscription, "customer.subscription.updated", status="unpaid")
        elif choice == "cancel":
            end_subscription(world, subscription, reason="payment_failed")
    leaves_open = world.settings.invoice_after_last_retry == "leave_open"
    if not leaves_open and invoice["billing_reason"] != "subscription_create":
        mark_uncollectible(world, invoice)


def _exists(world: World, name: str) -> bool:
    return world.store.find("payment_method", name) is not None or world.store.find("card", name) is not None
