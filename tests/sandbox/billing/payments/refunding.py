"""Refunds of charges, whole or in part, at once or by the clock. Stripe keeps its fee."""

from tests.sandbox.billing.payments.balance_transactions import new_balance_transaction
from tests.sandbox.billing.payments.charges import card_of
from tests.sandbox.billing.payments.disputing import after_refund, disputes_of
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Assumptions: when an asynchronous refund of a test card ends.
PENDING_SECONDS = 24 * 3600
FAILS_AFTER_SECONDS = 24 * 3600


def refund(
    world: World, charge: StripeObject, amount: int | None, *, reason: str | None, metadata: dict[str, str]
) -> StripeObject:
    """Give `amount` back, by default all that is left. Raises `StripeError` when there is not so much, or a dispute."""
    if not charge["paid"]:
        raise StripeError("This charge has not been paid, so there is nothing to refund.", param="charge")
    if not charge["captured"]:
        raise StripeError(f"Charge {charge['id']} is not captured. Cancel its payment instead.", param="charge")
    left = charge["amount"] - charge["amount_refunded"]
    amount = left if amount is None else amount
    if left == 0:
        raise StripeError(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if any(dispute["status"] in ("needs_response", "under_review", "lost") for dispute in disputes_of(world, charge)):
        raise StripeError(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    if amount <= 0:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > left:
        raise StripeError(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).",
            code="amount_too_large",
            param="amount",
        )
    card = card_of(world, charge)
    behaviour = card.refund if card is not None else "succeeds"
    made = _new_refund(world, charge, amount, reason=reason, metadata=metadata, pends=behaviour == "pending")
    refunded = charge["amount_refunded"] + amount
    previous = world.update(charge, None, amount_refunded=refunded, refunded=refunded == charge["amount"])
    world.emit("refund.created", made)
    world.emit("charge.refunded", charge, previous=previous)
    after_refund(world, charge)
    if behaviour == "pending":
        _succeed_later(world, made)
    elif behaviour == "fails":
        _fail_later(world, made)
    return made


def cancel(world: World, refund: StripeObject) -> None:
    """Take a pending refund back. Raises `StripeError` for any other: what is paid out cannot be called back."""
    if refund["status"] not in ("pending", "requires_action"):
        raise StripeError(
            f"Refund {refund['id']} has a status of {refund['status']}; only a pending one can be canceled.",
            code="refund_not_cancelable",
        )
    _undo(world, refund, "canceled", reason="merchant_request")
    world.emit("refund.updated", refund, previous={"status": "pending"})
    world.emit("charge.refund.updated", refund, previous={"status": "pending"})


def update(world: World, refund: StripeObject, metadata: dict[str, str]) -> None:
    """Its two names for the same news: the one of the refund, and the older one of the charge."""
    previous = world.update(refund, None, metadata=metadata)
    if previous:
        world.emit("refund.updated", refund, previous=previous)
        world.emit("charge.refund.updated", refund, previous=previous)


def _new_refund(
    world: World, charge: StripeObject, amount: int, *, reason: str | None, metadata: dict[str, str], pends: bool
) -> StripeObject:
    refund = world.new(
        "refund",
        "re" if charge["payment_method_details"]["type"] == "card" else "pyr",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        customer=charge["customer"],
        destination_details=_destination(charge),
        metadata=metadata,
        payment_intent=charge["payment_intent"],
        payment_method=charge["payment_method"],
        reason=reason,
        status="pending" if pends else "succeeded",
    )
    if pends:
        refund["pending_reason"] = "processing"
    of_card = charge["payment_method_details"]["type"] == "card"
    transaction = new_balance_transaction(
        world,
        kind="refund" if of_card else "payment_refund",
        category="refund",
        amount=-amount,
        fee=0,
        source=refund,
        description="REFUND FOR CHARGE" + (f" ({charge['description']})" if charge["description"] else ""),
    )
    refund["balance_transaction"] = transaction["id"]
    return refund


def _destination(charge: StripeObject) -> StripeObject | None:
    if charge["payment_method_details"]["type"] != "card":
        return None
    card = {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}
    return {"card": card, "type": "card"}


def _succeed_later(world: World, refund: StripeObject) -> None:
    def due() -> None:
        if refund["status"] == "pending":
            refund.pop("pending_reason", None)
            previous = world.update(refund, None, status="succeeded")
            world.emit("refund.updated", refund, previous=previous)
            world.emit("charge.refund.updated", refund, previous=previous)

    world.clock.at(world.now + PENDING_SECONDS, due, f"end of pending refund {refund['id']}")


def _fail_later(world: World, refund: StripeObject) -> None:
    def due() -> None:
        _undo(world, refund, "failed", reason="expired_or_canceled_card")
        previous = {"status": "succeeded"}
        world.emit("refund.failed", refund)
        world.emit("refund.updated", refund, previous=previous)
        world.emit("charge.refund.updated", refund, previous=previous)

    world.clock.at(world.now + FAILS_AFTER_SECONDS, due, f"failure of refund {refund['id']}")


def _undo(world: World, refund: StripeObject, status: str, *, reason: str) -> None:
    """The money comes back to our balance, and the charge is refunded by so much less."""
    transaction = new_balance_transaction(
        world,
        kind="refund_failure",
        amount=refund["amount"],
        fee=0,
        source=refund,
        description="REFUND FAILURE",
    )
    refund.pop("pending_reason", None)
    world.update(refund, None, failure_balance_transaction=transaction["id"], failure_reason=reason, status=status)
    charge = world.store.get("charge", refund["charge"])
    refunded = charge["amount_refunded"] - refund["amount"]
    world.update(charge, "charge.updated", amount_refunded=refunded, refunded=False)
