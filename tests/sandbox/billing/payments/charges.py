"""A charge from its first second to money: what it shows of the payment method, its outcome, capture and release."""

from tests.sandbox.billing.money import card_fee
from tests.sandbox.billing.payments.balance_transactions import new_balance_transaction, tell_available
from tests.sandbox.billing.payments.cards import CARDS, Card
from tests.sandbox.billing.payments.declines import Decline
from tests.sandbox.billing.payments.disputing import dispute_soon
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Assumption: with late balance transactions, this long after the charge.
LATE_SECONDS = 60
# Stripe's usual validity of a card authorisation that nobody captures.
AUTHORIZATION_SECONDS = 7 * 24 * 3600
DESCRIPTOR = "BORING SANDBOX"


def new_charge(
    world: World, intent: StripeObject, payment_method: StripeObject, *, authentication: StripeObject | None = None
) -> StripeObject:
    """A pending charge of an intent's amount. `authentication` is the result of 3D Secure, if there was any."""
    suffix = intent["statement_descriptor_suffix"]
    descriptor = intent["statement_descriptor"] or (f"{DESCRIPTOR}* {suffix}" if suffix else DESCRIPTOR)
    return world.new(
        "charge",
        "ch" if payment_method["type"] == "card" else "py",
        amount=intent["amount"],
        billing_details=payment_method["billing_details"],
        calculated_statement_descriptor=descriptor[:22],
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        fraud_details={},
        metadata=dict(intent["metadata"]),
        payment_intent=intent["id"],
        payment_method=payment_method["id"],
        payment_method_details=_details(world, intent, payment_method, authentication),
        receipt_email=intent["receipt_email"],
        shipping=intent["shipping"],
        statement_descriptor=intent["statement_descriptor"],
        statement_descriptor_suffix=suffix,
        status="pending",
    )


def authorize(world: World, charge: StripeObject) -> None:
    """The bank agreed; the money is held until somebody captures or releases it."""
    charge.update(paid=True, status="succeeded", outcome=_approved(world, charge), **_receipt(charge))
    charge["payment_method_details"]["card"]["capture_before"] = world.now + AUTHORIZATION_SECONDS


def complete(world: World, charge: StripeObject, amount: int) -> None:
    """The money is ours: `amount` captured. No event; what follows from the card (a dispute …) follows."""
    card = card_of(world, charge)
    charge.update(
        amount_captured=amount,
        captured=True,
        paid=True,
        status="succeeded",
        outcome=_approved(world, charge),
        **_receipt(charge),
    )
    if world.settings.late_balance_transactions:
        _enter_late(world, charge)
    else:
        charge["balance_transaction"] = _enter(world, charge)["id"]
    if card is not None and card.bypasses_pending:
        world.clock.at(world.now, lambda: tell_available(world), f"availability of {charge['id']} at once")
    if card is not None:
        dispute_soon(world, charge, card)


def refuse(world: World, charge: StripeObject, decline: Decline) -> None:
    """The charge failed. No event."""
    status = "declined_by_network" if decline.blocked_as is None else "not_sent_to_network"
    outcome = world.skeletons.new(
        "charge_outcome",
        advice_code=decline.advice,
        network_status=status,
        reason="highest_risk_level" if decline.blocked_as else decline.decline_code,
        risk_level=decline.blocked_as or "normal",
        risk_score=90 if decline.blocked_as else 20,
        seller_message=decline.message,
        type="blocked" if decline.blocked_as else "issuer_declined",
    )
    charge.update(
        failure_code=decline.code, failure_message=decline.message, outcome=outcome, paid=False, status="failed"
    )


def release(world: World, charge: StripeObject, *, reason: str | None) -> None:
    """Give back what was held and will not be captured. It never was our money, so no balance transaction."""
    amount = charge["amount"] - charge["amount_captured"] - charge["amount_refunded"]
    refund = world.new(
        "refund",
        "re",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        customer=charge["customer"],
        destination_details={"card": {"type": "reversal"}, "type": "card"},
        metadata={},
        payment_intent=charge["payment_intent"],
        payment_method=charge["payment_method"],
        reason=reason,
        status="succeeded",
    )
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    world.emit("refund.created", refund)


def card_of(world: World, charge: StripeObject) -> Card | None:
    """The test card that was charged, None for other ways to pay."""
    name = world.cards.get(charge["payment_method"])
    return CARDS[name] if name is not None else None


def _enter(world: World, charge: StripeObject) -> StripeObject:
    card = card_of(world, charge)
    amount = charge["amount_captured"]
    return new_balance_transaction(
        world,
        kind="charge" if charge["payment_method_details"]["type"] == "card" else "payment",
        category="charge",
        amount=amount,
        fee=card_fee(amount),
        source=charge,
        description=charge["description"],
        available_on=world.now if card is not None and card.bypasses_pending else None,
    )


def _enter_late(world: World, charge: StripeObject) -> None:
    def due() -> None:
        world.update(charge, "charge.updated", balance_transaction=_enter(world, charge)["id"])

    world.clock.at(world.now + LATE_SECONDS, due, f"late balance transaction of {charge['id']}")


def _approved(world: World, charge: StripeObject) -> StripeObject:
    card = card_of(world, charge)
    risk = card.risk_level if card is not None else "not_assessed"
    outcome = world.skeletons.new(
        "charge_outcome",
        network_status="approved_by_network",
        risk_level=risk,
        seller_message="Payment complete.",
        type="authorized",
    )
    if card is not None:
        outcome["risk_score"] = 70 if risk == "elevated" else 20
    return outcome


def _receipt(charge: StripeObject) -> StripeObject:
    return {"receipt_url": f"https://pay.stripe.com/receipts/{charge['id']}"}


def _details(
    world: World, intent: StripeObject, payment_method: StripeObject, authentication: StripeObject | None
) -> StripeObject:
    kind = payment_method["type"]
    if kind == "customer_balance":
        return {"customer_balance": {}, "type": kind}
    if kind == "sepa_debit":
        debit = {name: value for name, value in payment_method["sepa_debit"].items() if name != "generated_from"}
        return {"sepa_debit": {**debit, "mandate": world.mandates.get(payment_method["id"])}, "type": kind}
    card, shown = CARDS[world.cards[payment_method["id"]]], payment_method["card"]
    details = world.skeletons.new(
        "payment_method_details_card",
        amount_authorized=intent["amount"],
        authorization_code=world.ids.capitals(6),
        brand=card.brand,
        checks=card.checks(),
        country=card.country,
        exp_month=shown["exp_month"],
        exp_year=shown["exp_year"],
        fingerprint=card.fingerprint,
        funding=card.funding,
        last4=card.last4,
        network=card.brand,
        network_token={"used": False},
        three_d_secure=authentication,
    )
    return {"card": details, "type": "card"}
