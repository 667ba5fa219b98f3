"""Four customers whose month ends at once, what each owes by arithmetic of its own, and what Stripe then holds."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from tests.billing.thread import Thread

OCT_10 = datetime(2026, 10, 10, 12, tzinfo=UTC)
FEE_CENTS = 2000
CENTS_PER_TOKEN = Fraction(300, 1_000_000)
# Input tokens of October. 1,235,000 are 370.5 cents: half a cent away from both.
TOKENS: Mapping[str, int] = {
    "none": 0,
    "some": 1_235_000,
    "much": 98_765_432,
    "declined": 2_000_000,
}
DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Held:
    """What Stripe holds of one customer: cents asked for by each invoice, and how often each was charged."""

    totals: tuple[int, ...]
    charges: tuple[int, ...]


def begin(thread: Thread) -> None:
    """All subscribed and paid for October; one card is declined from then on."""
    for customer_key in TOKENS:
        thread.subscribe(customer_key)
    thread.settle()
    thread.use_card(DECLINED, "pm_card_chargeCustomerFail")
    for customer_key, tokens in TOKENS.items():
        if tokens:
            thread.use(tokens, at=OCT_10, customer_key=customer_key)


def expected() -> dict[str, Held]:
    """The first fee, then the second fee with October's usage; the latter is not paid where the card is declined."""
    return {
        key: Held((FEE_CENTS, FEE_CENTS + _cents(tokens)), (1, 0 if key == DECLINED else 1))
        for key, tokens in TOKENS.items()
    }


def _cents(tokens: int) -> int:
    """Half away from zero."""
    doubled = 2 * tokens * CENTS_PER_TOKEN + 1
    return int(doubled.numerator // (2 * doubled.denominator))


def held_by_stripe(state: Mapping[str, Any]) -> dict[str, Held]:
    """Each customer's invoices, oldest first. A charge counts for the invoice that its payment intent belongs to."""
    keys = {customer["id"]: customer["email"].partition("@")[0] for customer in state["customer"]}
    invoice_of = {
        payment["payment"]["payment_intent"]: payment["invoice"]
        for payment in state["invoice_payment"]
        if payment["payment"]["type"] == "payment_intent"
    }
    charged = Counter(
        invoice_of[charge["payment_intent"]] for charge in state["charge"] if charge["status"] == "succeeded"
    )
    found: dict[str, Held] = {}
    for customer_id, key in keys.items():
        invoices = [invoice for invoice in state["invoice"] if invoice["customer"] == customer_id]
        found[key] = Held(
            tuple(invoice["total"] for invoice in invoices), tuple(charged[invoice["id"]] for invoice in invoices)
        )
    return found


def digest(state: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a second effect would change: each object of the kinds that we write, in full."""
    kinds = ("customer", "subscription", "invoice", "charge", "payment_intent", "refund", "price", "product")
    return {kind: state[kind] for kind in kinds if kind in state}
