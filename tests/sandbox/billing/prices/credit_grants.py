"""Billing credits: granting them, their end, and what they take off the metered lines of an invoice.

They apply when an invoice is finalised, after discounts and before taxes. Of several grants the one with the higher
priority (the lower number) comes first, then the one that ends sooner, promotional before paid, the one in effect
earlier, the older one (Stripe's page on billing credits).
"""

from typing import Any

from tests.sandbox.billing.prices.credit_balance import GRANT, KIND, balance_of, credit, debit, empty, is_usable
from tests.sandbox.billing.prices.pricing import is_metered
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

PRIORITY_DEFAULT = 50
NEVER = float("inf")


def grant_credits(world: World, *, customer: StripeObject, **fields: Any) -> StripeObject:
    """A stored grant with its first transaction. `fields` are those of the document, checked by the caller."""
    grant = world.new(GRANT, "credgr", customer=customer["id"], updated=world.now, **fields)
    world.emit("billing.credit_grant.created", grant)
    credit(world, grant, grant["amount"]["monetary"]["value"], "credits_granted")
    expire_when_due(world, grant)
    return grant


def expire_when_due(world: World, grant: StripeObject) -> None:
    """Let what is left run out at `expires_at`, unless that was changed by then."""
    moment = grant["expires_at"]
    if moment is None:
        return

    def due() -> None:
        if grant["expires_at"] == moment and grant["voided_at"] is None:
            empty(world, grant, "credits_expired")

    world.clock.at(moment, due, f"expiry of {grant['id']}")


def apply_credit_grants(world: World, invoice: StripeObject) -> None:
    """Spend credits on the metered lines of a draft that is being finalised.

    Writes `world.line_credits`; the caller redoes the sums. The lines' discounts must be summed up already.
    """
    grants = _grants_for(world, invoice)
    for line in world.lines[invoice["id"]] if grants else ():
        price = _metered_price(world, line)
        left = line["amount"] - sum(discount["amount"] for discount in line["discount_amounts"])
        for grant in grants if price is not None else ():
            amount = min(left, balance_of(world, grant)) if applies_to(grant, price) else 0
            if amount > 0:
                left -= amount
                _spend(world, grant, amount, invoice, line)


def reinstate_credits(world: World, invoice: StripeObject) -> None:
    """Give the credits of a voided invoice back to their grants."""
    for line in world.lines[invoice["id"]]:
        for spent in world.line_credits.get(line["id"], ()):
            transaction = world.store.get(KIND, spent["credit_balance_transaction"])
            grant = world.store.get(GRANT, transaction["credit_grant"])
            details = {"invoice": invoice["id"], "invoice_line_item": line["id"]}
            credit(
                world,
                grant,
                spent["amount"],
                "credits_application_invoice_voided",
                credits_application_invoice_voided=details,
            )


def is_spent_on(world: World, grant: StripeObject) -> bool:
    """Whether an invoice ever used some of the grant."""
    transactions = world.store.where(KIND, "credit_grant", grant["id"])
    return any(item["debit"] and item["debit"]["type"] == "credits_applied" for item in transactions)


def applies_to(grant: StripeObject, price_id: str | None) -> bool:
    """Whether the grant's scope covers a metered price."""
    prices = grant["applicability_config"]["scope"].get("prices")
    return prices is None or any(price["id"] == price_id for price in prices)


def _spend(world: World, grant: StripeObject, amount: int, invoice: StripeObject, line: StripeObject) -> None:
    details = {"invoice": invoice["id"], "invoice_line_item": line["id"]}
    transaction = debit(world, grant, amount, "credits_applied", credits_applied=details)
    world.line_credits.setdefault(line["id"], []).append(
        {"amount": amount, "credit_balance_transaction": transaction["id"], "type": "credit_balance_transaction"}
    )


def _grants_for(world: World, invoice: StripeObject) -> list[StripeObject]:
    """The customer's usable grants in the invoice's currency, in the order in which they are spent."""
    grants = [
        grant
        for grant in world.store.where(GRANT, "customer", invoice["customer"])
        if is_usable(world, grant) and grant["amount"]["monetary"]["currency"] == invoice["currency"]
    ]
    return sorted(
        grants,
        key=lambda grant: (
            grant["priority"],
            NEVER if grant["expires_at"] is None else grant["expires_at"],
            grant["category"] != "promotional",
            grant["effective_at"],
            world.store.place(grant["id"]),
        ),
    )


def _metered_price(world: World, line: StripeObject) -> str | None:
    """The price of a line of a metered subscription item; None for any other line."""
    details = line["pricing"].get("price_details") if line["pricing"] else None
    if details is None or line["parent"]["type"] != "subscription_item_details":
        return None
    price = world.store.find("price", details["price"])
    return str(details["price"]) if price is not None and is_metered(price) else None
