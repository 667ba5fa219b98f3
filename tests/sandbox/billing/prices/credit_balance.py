"""The ledger of billing credits: what each grant still holds is the sum of its transactions, and nothing else."""

from typing import Any

from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

KIND = "billing.credit_balance_transaction"
GRANT = "billing.credit_grant"


def balance_of(world: World, grant: StripeObject) -> int:
    """What is left of a grant, in minor units of its currency."""
    return sum(
        _value(transaction["credit"]) - _value(transaction["debit"])
        for transaction in world.store.where(KIND, "credit_grant", grant["id"])
    )


def is_usable(world: World, grant: StripeObject) -> bool:
    """Whether the grant is in effect by the clock: begun, not ended, not voided."""
    begun = grant["effective_at"] is None or grant["effective_at"] <= world.now
    ended = grant["expires_at"] is not None and grant["expires_at"] <= world.now
    return begun and not ended and grant["voided_at"] is None


def credit(world: World, grant: StripeObject, amount: int, kind: str, **details: Any) -> StripeObject:
    """Add to a grant. `kind` and `details` are those of the transaction's `credit`."""
    body = {"amount": _amount(grant, amount), "credits_application_invoice_voided": None, "type": kind, **details}
    effective_at = grant["effective_at"] if kind == "credits_granted" else world.now
    return _record(world, grant, type="credit", credit=body, effective_at=effective_at)


def debit(world: World, grant: StripeObject, amount: int, kind: str, **details: Any) -> StripeObject:
    """Take from a grant. `kind` and `details` are those of the transaction's `debit`."""
    body = {"amount": _amount(grant, amount), "credits_applied": None, "type": kind, **details}
    return _record(world, grant, type="debit", debit=body, effective_at=world.now)


def empty(world: World, grant: StripeObject, kind: str) -> None:
    """Take everything that is left: `credits_expired` or `credits_voided`."""
    left = balance_of(world, grant)
    if left > 0:
        debit(world, grant, left, kind)


def _record(world: World, grant: StripeObject, **fields: Any) -> StripeObject:
    transaction = world.new(KIND, "cbtxn", credit_grant=grant["id"], test_clock=grant["test_clock"], **fields)
    world.emit("billing.credit_balance_transaction.created", transaction)
    return transaction


def _amount(grant: StripeObject, value: int) -> StripeObject:
    return {"monetary": {"currency": grant["amount"]["monetary"]["currency"], "value": value}, "type": "monetary"}


def _value(side: StripeObject | None) -> int:
    return int(side["amount"]["monetary"]["value"]) if side else 0
