"""Random lives of subscriptions: whatever is asked in whatever order, sums stay sums, and the events tell it all."""

from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World
from tests.stripe_sandbox.lives import ACTIONS, ENDS, Life

numbers = st.integers(min_value=0, max_value=3000)
plans = st.lists(st.tuples(st.sampled_from(ACTIONS), numbers), max_size=25)

# Kinds whose every change Stripe tells by an event. (Not: invoice items, of which Stripe tells only that they are made
# and deleted; invoice payments, of which it tells only that they are paid; balance transactions; credit balances.)
TOLD = (
    *("customer", "product", "price", "coupon", "tax_rate", "subscription", "invoice", "charge", "refund", "dispute"),
    *("credit_note", "payout", "payment_intent", "setup_intent", "payment_method", "promotion_code"),
)
NO_OBJECT = ("balance.available", "invoice.upcoming")  # about the account, and about an invoice that is none yet
# Fields that change without an event of their own: a credit note lowers an intent with its invoice, and Stripe has no
# payment_intent.updated.
UNTOLD = {"payment_intent": {"amount"}}


@settings(max_examples=60, deadline=None)
@given(plans, st.sampled_from(ENDS))
def test_sums_stay_sums(plan: list[tuple[str, int]], after_last_retry: Any) -> None:
    life = Life(after_last_retry=after_last_retry)
    life.live(plan)

    assert life.world.problems == []
    check_sums(life)


@settings(max_examples=60, deadline=None)
@given(plans, st.sampled_from(ENDS))
def test_a_replay_of_the_events_gives_the_final_objects(plan: list[tuple[str, int]], after_last_retry: Any) -> None:
    life = Life(after_last_retry=after_last_retry)
    life.live([*plan, ("days", 3), ("hours", 5)])

    replayed, deleted = replay(life.told)
    for kind in TOLD:
        final = {thing["id"]: thing for thing in life.world.store.all(kind)}
        told = {key: thing for key, thing in replayed.items() if thing["object"] == kind and key not in deleted}
        assert differing(final, told, UNTOLD.get(kind, set())) == {}, kind


def check_sums(life: Life) -> None:
    store = life.world.store
    transactions = store.where("customer_balance_transaction", "customer", life.customer)
    balance = 0
    for transaction in transactions:
        balance += transaction["amount"]
        assert transaction["ending_balance"] == balance
    assert store.get("customer", life.customer)["balance"] == balance
    for invoice in store.all("invoice"):
        check_invoice(life.world, invoice)
    for charge in store.all("charge"):
        check_charge(life.world, charge)
    check_account(life)


def check_invoice(world: World, invoice: StripeObject) -> None:
    lines = world.lines[invoice["id"]]
    discounts = sum(amount["amount"] for line in lines for amount in line["discount_amounts"])
    taxes = [tax for line in lines for tax in line["taxes"]]
    exclusive = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "exclusive")
    inclusive = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "inclusive")
    subtotal = sum(line["amount"] for line in lines)
    assert invoice["subtotal"] == subtotal
    assert invoice["total"] == subtotal - discounts + exclusive
    assert invoice["total_excluding_tax"] == subtotal - discounts - inclusive
    assert sum(item["amount"] for item in invoice["total_discount_amounts"]) == discounts
    assert sum(item["amount"] for item in invoice["total_taxes"]) == exclusive + inclusive
    notes = invoice["pre_payment_credit_notes_amount"]
    assert invoice["amount_due"] == invoice["amount_paid"] + invoice["amount_remaining"] - invoice["amount_overpaid"]
    payments = world.store.where("invoice_payment", "invoice", invoice["id"])
    paid = sum(payment["amount_paid"] or 0 for payment in payments)
    assert invoice["amount_paid"] == paid
    assert (invoice["status"] == "paid") <= (invoice["amount_remaining"] == 0)
    if invoice["status"] in ("open", "paid", "uncollectible"):
        own = world.store.where("customer_balance_transaction", "customer", invoice["customer"])
        kinds = ("applied_to_invoice", "invoice_too_small")
        moved = sum(item["amount"] for item in own if item["invoice"] == invoice["id"] and item["type"] in kinds)
        assert invoice["total"] - notes == invoice["amount_due"] + moved
        assert invoice["ending_balance"] == invoice["starting_balance"] + moved


def check_charge(world: World, charge: StripeObject) -> None:
    moved = world.store.where("balance_transaction", "source", charge["id"])
    assert [item["amount"] for item in moved] == ([charge["amount_captured"]] if charge["paid"] else [])
    refunds = world.store.where("refund", "charge", charge["id"])
    standing = sum(refund["amount"] for refund in refunds if refund["status"] in ("succeeded", "pending"))
    assert charge["amount_refunded"] == standing <= charge["amount_captured"]


def check_account(life: Life) -> None:
    """What Stripe says we have is the sum of the movements."""
    balance = life.ask("balance", "GET")
    sums: dict[str, int] = defaultdict(int)
    for transaction in life.world.store.all("balance_transaction"):
        assert transaction["net"] == transaction["amount"] - transaction["fee"]
        sums[transaction["currency"]] += transaction["net"]
    shown: dict[str, int] = defaultdict(int)
    for part in (*balance["pending"], *balance["available"]):
        shown[part["currency"]] += part["amount"]
    assert {key: value for key, value in shown.items() if value} == {key: value for key, value in sums.items() if value}


def replay(told: list[StripeObject]) -> tuple[dict[str, StripeObject], set[str]]:
    """The last state of each object that an event told, and what was deleted."""
    objects: dict[str, StripeObject] = {}
    deleted: set[str] = set()
    for event in told:
        thing = event["data"]["object"]
        if event["type"] in NO_OBJECT:
            continue
        objects[thing["id"]] = thing
        if event["type"].endswith(".deleted") and thing["object"] != "subscription":
            deleted.add(thing["id"])
    return objects, deleted


def differing(
    final: dict[str, StripeObject], told: dict[str, StripeObject], untold: set[str]
) -> dict[str, dict[str, tuple[Any, Any]]]:
    """By object: the fields whose final value (first) is not the one that the events told (second)."""
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    for key in final.keys() | told.keys():
        mine, theirs = copied(final.get(key, {})), told.get(key, {})
        fields = {
            field: (mine.get(field), theirs.get(field))
            for field in (mine.keys() | theirs.keys()) - untold
            if mine.get(field) != theirs.get(field)
        }
        if fields:
            found[key] = fields
    return found
