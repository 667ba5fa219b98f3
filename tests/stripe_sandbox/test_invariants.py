"""Random lives of customers: whatever is asked in whatever order, sums stay sums and every body stays valid.

Runs the application in this process, without HTTP, so that many lives fit into a second.
"""

from typing import Any
from urllib.parse import urlencode

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sandbox.application import Application
from tests.sandbox.wire import Request
from tests.sandbox.world import Settings, World
from tests.stripe_sandbox.account import KEY

START = 1_790_812_800  # 2026-10-01T00:00:00Z
HEADERS = {"authorization": f"Bearer {KEY}"}
CARDS = ("pm_card_visa", "pm_card_chargeCustomerFail", "pm_card_authenticationRequired")

amounts = st.integers(min_value=-3000, max_value=3000)
steps = st.one_of(
    st.tuples(st.just("credit"), amounts),
    st.tuples(st.just("item"), amounts),
    st.tuples(st.just("invoice"), amounts),
    st.tuples(st.just("subscribe"), st.integers(0, 3000)),
    st.tuples(st.sampled_from(["finalize", "pay", "void", "mark_uncollectible"]), st.integers(0, 5)),
    st.tuples(st.just("refund"), st.integers(1, 3000)),
    st.tuples(st.just("card"), st.integers(0, 2)),
    st.tuples(st.just("cancel"), st.just(0)),
    st.tuples(st.just("days"), st.integers(1, 40)),
)


class Life:
    """One customer; each step is one request (which may be refused) or a move of the clock."""

    def __init__(self) -> None:
        self.application = Application(now=START, settings=Settings(strict=True), seed=1)
        self.customer = self.post("customers", payment_method=CARDS[0])["id"]

    def post(self, path: str, method: str = "POST", **parameters: object) -> dict[str, Any]:
        body = urlencode(parameters).encode()
        response = self.application.answer(Request(method, f"/v1/{path}", "", HEADERS, body))
        answer: dict[str, Any] = msgspec.json.decode(response.body)
        assert response.status < 500, answer
        return answer

    def live(self, step: str, number: int) -> None:
        match step:
            case "credit":
                self.post(f"customers/{self.customer}/balance_transactions", amount=number, currency="usd")
            case "item":
                self.post("invoiceitems", customer=self.customer, amount=number, currency="usd")
            case "invoice":
                invoice = self.post("invoices", customer=self.customer, pending_invoice_items_behavior="include")
                self.post("invoiceitems", customer=self.customer, invoice=invoice["id"], amount=number)
            case "subscribe":
                self.subscribe(number)
            case "refund":
                for charge in self.world.store.all("charge")[-1:]:
                    self.post("refunds", charge=charge["id"], amount=number)
            case "card":
                card = self.post(f"payment_methods/{CARDS[number]}/attach", customer=self.customer)["id"]
                field = "invoice_settings[default_payment_method]"
                self.post(f"customers/{self.customer}", **{field: card})
            case "cancel":
                for subscription in self.world.store.all("subscription")[-1:]:
                    self.post(f"subscriptions/{subscription['id']}", method="DELETE")
            case "days":
                self.world.clock.advance(self.world.now + number * 86_400)
            case action:
                for invoice in self.world.store.all("invoice")[-1 - number :][:1]:
                    self.post(f"invoices/{invoice['id']}/{action}")

    def subscribe(self, unit_amount: int) -> None:
        product = self.post("products", name="Pro")["id"]
        recurring = {"recurring[interval]": "month"}
        price = self.post("prices", product=product, currency="usd", unit_amount=unit_amount, **recurring)["id"]
        self.post("subscriptions", customer=self.customer, **{"items[0][price]": price})

    @property
    def world(self) -> World:
        return self.application.world


@settings(max_examples=60)
@given(st.lists(steps, max_size=25))
def test_sums_stay_sums(plan: list[tuple[str, int]]) -> None:
    life = Life()
    for step, number in plan:
        life.live(step, number)

    store = life.world.store
    assert life.world.problems == []
    transactions = store.all("customer_balance_transaction")
    assert store.get("customer", life.customer)["balance"] == sum(item["amount"] for item in transactions)
    for invoice in store.all("invoice"):
        _check_invoice(life.world, invoice)
    for charge in store.all("charge"):
        moved = store.where("balance_transaction", "source", charge["id"])
        assert [item["amount"] for item in moved] == ([charge["amount"]] if charge["paid"] else [])
        refunds = store.where("refund", "charge", charge["id"])
        assert charge["amount_refunded"] == sum(refund["amount"] for refund in refunds) <= charge["amount"]


def _check_invoice(world: World, invoice: dict[str, Any]) -> None:
    assert invoice["total"] == sum(line["amount"] for line in world.lines[invoice["id"]])
    assert invoice["amount_due"] == invoice["amount_paid"] + invoice["amount_remaining"]
    payments = world.store.where("invoice_payment", "invoice", invoice["id"])
    assert invoice["amount_paid"] == sum(payment["amount_paid"] or 0 for payment in payments)
    assert (invoice["status"] == "paid") <= (invoice["amount_remaining"] == 0)
    if invoice["status"] in ("open", "paid", "uncollectible"):
        moved = [
            item["amount"]
            for item in world.store.all("customer_balance_transaction")
            if item["invoice"] == invoice["id"]
        ]
        assert invoice["total"] == invoice["amount_due"] + sum(moved)
        assert invoice["ending_balance"] == invoice["starting_balance"] + sum(moved)
