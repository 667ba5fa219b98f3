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
    credit_note: str | None = None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
) -> StripeObject:
    """Add `amount` minor units to the balance of `customer` and record why (`kind` is Stripe's transaction type)."""
    ending = customer["balance"] + amount
    transaction = world.new(
        "customer_balance_transaction",
        "cbtxn",
        amount=amount,
        credit_note=credit_note,
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


def require_currency(customer: StripeObject, currency: str) -> None:
    """Raises `StripeError` for a currency other than that of the customer's first bill."""
    if customer["currency"] not in (None, currency):
        raise StripeError(
            "You cannot combine currencies on a single customer. This customer has had a subscription, invoice item, "
            f"or balance with currency {customer['currency']}.",
            param="currency",
        )


def claim_currency(world: World, customer: StripeObject, currency: str) -> None:
    """A customer keeps the currency of the first bill. Raises `StripeError` for a second one."""
    require_currency(customer, currency)
    world.update(customer, "customer.updated", currency=currency)
