"""The customer's balance (negative: credit; positive: owed) and its transactions. Both change together, always here."""

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def move_balance(
    world: World,
    customer: StripeObject,
    *,
    amount: int,
    kind: str,
    currency: str,
    invoice: str | None = None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
) -> StripeObject:
    """Add `amount` minor units to the balance of `customer` and record why (`kind` is Stripe's transaction type)."""
    ending = customer["balance"] + amount
    transaction = world.new(
        "customer_balance_transaction",
        "cbtxn",
        amount=amount,
        currency=currency,
        customer=customer["id"],
        description=description,
        ending_balance=ending,
        invoice=invoice,
        metadata=metadata or {},
        type=kind,
    )
    world.update(customer, "customer.updated", balance=ending)
    return transaction


def claim_currency(world: World, customer: StripeObject, currency: str) -> None:
    """A customer keeps the currency of the first bill. Raises `StripeError` for a second one."""
    if customer["currency"] is None:
        world.update(customer, None, currency=currency)
    elif customer["currency"] != currency:
        raise StripeError(
            "You cannot combine currencies on a single customer. This customer has had a subscription, invoice item, "
            f"or balance with currency {customer['currency']}.",
            param="currency",
        )
