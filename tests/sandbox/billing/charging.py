"""Charging a card: the intent is confirmed, a charge follows, and for money that came in a balance transaction."""

from tests.sandbox.billing.cards import AUTHENTICATION_REQUIRED, CARDS, Card, Decline
from tests.sandbox.billing.money import AVAILABLE_AFTER_SECONDS, card_fee
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World


def new_payment_intent(
    world: World, *, amount: int, currency: str, customer: str | None, description: str | None, **fields: object
) -> StripeObject:
    intent = world.new(
        "payment_intent",
        "pi",
        amount=amount,
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        capture_method="automatic_async",
        confirmation_method="automatic",
        currency=currency,
        customer=customer,
        description=description,
        metadata={},
        payment_method_types=["card"],
        status="requires_payment_method",
    )
    intent["client_secret"] = f"{intent['id']}_secret_{world.ids.capitals(25)}"
    intent.update(fields)
    world.emit("payment_intent.created", intent)
    return intent


def confirm(world: World, intent: StripeObject, payment_method: StripeObject) -> Decline | None:
    """Try to collect the intent with a payment method. The answer is why it did not work, or None.

    A card that needs authentication leaves the intent in requires_action, which is no failed charge.
    """
    card = CARDS[world.cards[payment_method["id"]]]
    if card.needs_authentication:
        world.update(
            intent,
            None,
            status="requires_action",
            payment_method=payment_method["id"],
            next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}},
        )
        world.emit("payment_intent.requires_action", intent)
        return AUTHENTICATION_REQUIRED
    charge = _new_charge(world, intent, payment_method, card)
    if card.decline is not None:
        _fail(world, intent, charge, payment_method, card.decline)
        return card.decline
    _succeed(world, intent, charge, payment_method)
    return None


def card_error(decline: Decline, *, intent: StripeObject | None = None) -> StripeError:
    """The 402 of a declined card."""
    return StripeError(
        decline.message,
        status=402,
        kind="card_error",
        code=decline.code,
        decline_code=decline.decline_code,
        charge=intent["latest_charge"] if intent else None,
        payment_intent=copied(intent) if intent else None,
    )


def _new_charge(world: World, intent: StripeObject, payment_method: StripeObject, card: Card) -> StripeObject:
    return world.new(
        "charge",
        "ch",
        amount=intent["amount"],
        billing_details=payment_method["billing_details"],
        calculated_statement_descriptor="BORING SANDBOX",
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        fraud_details={},
        payment_intent=intent["id"],
        payment_method=payment_method["id"],
        payment_method_details=_details(world, intent, card),
        status="pending",
    )


def _details(world: World, intent: StripeObject, card: Card) -> StripeObject:
    details = world.skeletons.new(
        "payment_method_details_card",
        brand=card.brand,
        country="US",
        exp_month=12,
        exp_year=2034,
        funding="credit",
        last4=card.last4,
        network=card.brand,
        amount_authorized=intent["amount"],
    )
    return {"card": details, "type": "card"}


def _succeed(world: World, intent: StripeObject, charge: StripeObject, payment_method: StripeObject) -> None:
    transaction = new_balance_transaction(
        world, kind="charge", amount=charge["amount"], fee=card_fee(charge["amount"]), source=charge
    )
    charge.update(
        amount_captured=charge["amount"],
        balance_transaction=transaction["id"],
        captured=True,
        paid=True,
        status="succeeded",
        receipt_url=f"https://pay.stripe.com/receipts/{charge['id']}",
        outcome=_outcome(world, "approved_by_network", "authorized", "Payment complete."),
    )
    world.update(
        intent,
        None,
        amount_received=intent["amount"],
        last_payment_error=None,
        latest_charge=charge["id"],
        next_action=None,
        payment_method=payment_method["id"],
        status="succeeded",
    )
    world.emit("charge.succeeded", charge)
    world.emit("payment_intent.succeeded", intent)


def _fail(
    world: World, intent: StripeObject, charge: StripeObject, payment_method: StripeObject, decline: Decline
) -> None:
    charge.update(
        failure_code=decline.code,
        failure_message=decline.message,
        status="failed",
        outcome=_outcome(world, "declined_by_network", "issuer_declined", decline.message, reason=decline.decline_code),
    )
    error = {
        "charge": charge["id"],
        "code": decline.code,
        "decline_code": decline.decline_code,
        "message": decline.message,
        "payment_method": copied(payment_method),
        "type": "card_error",
    }
    world.update(
        intent,
        None,
        last_payment_error=error,
        latest_charge=charge["id"],
        payment_method=None,
        status="requires_payment_method",
    )
    world.emit("charge.failed", charge)
    world.emit("payment_intent.payment_failed", intent)


def _outcome(world: World, status: str, kind: str, message: str, reason: str | None = None) -> StripeObject:
    return world.skeletons.new(
        "charge_outcome",
        network_status=status,
        reason=reason,
        risk_level="normal",
        risk_score=20,
        seller_message=message,
        type=kind,
    )


def new_balance_transaction(
    world: World, *, kind: str, amount: int, fee: int, source: StripeObject, description: str | None = None
) -> StripeObject:
    """A movement of our balance at Stripe: `amount` gross, net of `fee`, available after two days."""
    available_on = world.now + AVAILABLE_AFTER_SECONDS
    details = [
        {
            "amount": fee,
            "application": None,
            "currency": source["currency"],
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]
    transaction = world.new(
        "balance_transaction",
        "txn",
        amount=amount,
        available_on=available_on,
        balance_type="payments",
        currency=source["currency"],
        description=description,
        fee=fee,
        fee_details=details if fee else [],
        net=amount - fee,
        reporting_category=kind,
        source=source["id"],
        status="pending",
        type=kind,
    )
    world.clock.at(available_on, lambda: transaction.update(status="available"))
    return transaction
