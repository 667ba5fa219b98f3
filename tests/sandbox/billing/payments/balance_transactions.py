"""Movements of the account's balance at Stripe, and the balance as their sum. Both change together, always here."""

from tests.sandbox.billing.money import AVAILABLE_AFTER_SECONDS
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def new_balance_transaction(
    world: World,
    *,
    kind: str,
    amount: int,
    fee: int,
    source: StripeObject,
    description: str | None = None,
    available_on: int | None = None,
    category: str | None = None,
    fee_description: str = "Stripe processing fees",
) -> StripeObject:
    """A movement of our balance at Stripe: `amount` gross, net of `fee`, in minor units.

    Pending for two days unless `available_on` says otherwise; `category` is Stripe's reporting category where it
    differs from the type.
    """
    available_on = world.now + AVAILABLE_AFTER_SECONDS if available_on is None else available_on
    details = [
        {
            "amount": fee,
            "application": None,
            "currency": source["currency"],
            "description": fee_description,
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
        reporting_category=category or kind,
        source=source["id"],
        status="pending",
        type=kind,
    )
    _count(world, transaction, 1)
    if available_on <= world.now:
        _make_available(world, transaction)
    else:
        _mature_at(world, transaction, available_on)
    return transaction


def balance_of_account(world: World) -> StripeObject:
    """Stripe's balance object: sums of the transactions by status and currency. Unlike other objects it is not kept."""
    amounts = {
        status: [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sorted(sums.items())
        ]
        for status, sums in world.balances.items()
    }
    balance = world.skeletons.new("balance", **amounts)
    if not balance["available"]:  # Stripe always names the account's own currency
        balance["available"] = [{"amount": 0, "currency": "usd", "source_types": {"card": 0}}]
    if not balance["pending"]:
        balance["pending"] = [{"amount": 0, "currency": "usd", "source_types": {"card": 0}}]
    return balance


def available_amount(world: World, currency: str) -> int:
    return world.balances["available"].get(currency, 0)


def tell_available(world: World) -> None:
    world.emit("balance.available", balance_of_account(world))


def _mature_at(world: World, transaction: StripeObject, moment: int) -> None:
    waiting = world.maturing.setdefault((world.clock, moment), [])
    waiting.append(transaction)
    if len(waiting) > 1:
        return
    clock = world.clock

    def due() -> None:
        for matured in world.maturing.pop((clock, moment)):
            _make_available(world, matured)
        tell_available(world)

    world.clock.at(moment, due, f"availability of {transaction['id']} and what came in with it")


def _make_available(world: World, transaction: StripeObject) -> None:
    _count(world, transaction, -1)
    world.update(transaction, None, status="available")
    _count(world, transaction, 1)


def _count(world: World, transaction: StripeObject, sign: int) -> None:
    sums = world.balances[transaction["status"]]
    sums[transaction["currency"]] = sums.get(transaction["currency"], 0) + sign * transaction["net"]
