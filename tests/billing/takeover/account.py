"""
A company that billed through Stripe without us, made as it would have made it: by Stripe's API alone.

Two plans (one whose price we were synced to, one that only the map knows), a trial, a renewal that nobody paid, open
invoices with and without a balance in them, one given up, a charge that was half given back, balances of both signs,
and a payout under way.
"""

from datetime import UTC, datetime
from typing import Any

from billing.catalog.models import PlanVersion
from billing.catalog.operations import load_catalog
from billing.stripe import gateway
from billing.takeover.document import Map, read_map
from tests.billing.thread import Thread, catalog
from tests.sandbox.client import SandboxProcess

BEGINNING = datetime(2026, 9, 5, 10, tzinfo=UTC)
SIGNED_UP = datetime(2026, 9, 20, 10, tzinfo=UTC)
CUT = datetime(2026, 10, 10, 12, tzinfo=UTC)

StripeDict = dict[str, Any]


def post(path: str, **params: Any) -> StripeDict:
    return gateway.request("post", path, params).data


class Account:
    """The account as it stands at the cut, by the customers' names."""

    def __init__(self, sandbox: SandboxProcess) -> None:
        self.sandbox = sandbox
        sandbox.reset(now=BEGINNING)
        self.thread = Thread(sandbox)
        document = catalog(fee_minor=1500, included="0")
        document["plans"] = [{**document["plans"][0], "code": "team", "name": "Team"}]
        load_catalog({"plans": document["plans"]}, now=self.thread.now)
        self.ids: dict[str, str] = {}
        self.invoices: dict[str, str] = {}
        self.subscriptions: dict[str, str] = {}
        product = post("/v1/products", name="Team of before")
        self.team_price = self._price(product["id"], 1500)
        self.pro_price = str(PlanVersion.objects.get(plan__code="pro").stripe_price_id)
        self._early()
        sandbox.advance(SIGNED_UP)
        self._subscribers()
        sandbox.advance(CUT)
        self._at_the_end()

    @property
    def map(self) -> Map:
        """What its finance decided."""
        return read_map(self.map_text)

    @property
    def map_text(self) -> str:
        """The same as finance wrote it."""
        return (
            "customer_key: account\ncurrency: USD\n"
            f"prices:\n  {self.team_price}: {{plan: team, version: 1}}\n"
            f"leave_out:\n  {self.ids['tester']}: our own tests\n"
        )

    def _price(self, product: str, unit_amount: int) -> str:
        recurring = {"interval": "month"}
        price = post("/v1/prices", product=product, currency="usd", unit_amount=unit_amount, recurring=recurring)
        return str(price["id"])

    def _customer(self, name: str, *, card: str = "pm_card_visa", **more: Any) -> str:
        made = post("/v1/customers", name=name.title(), email=f"{name}@example.com", **more)
        self.ids[name] = made["id"]
        if card:
            self.use_card(name, card)
        return str(made["id"])

    def use_card(self, name: str, card: str) -> None:
        method = post(f"/v1/payment_methods/{card}/attach", customer=self.ids[name])
        post(f"/v1/customers/{self.ids[name]}", invoice_settings={"default_payment_method": method["id"]})

    def _subscribe(self, name: str, price: str, quantity: int = 1, **more: Any) -> None:
        items = [{"price": price, "quantity": quantity}]
        made = post("/v1/subscriptions", customer=self.ids[name], items=items, **more)
        self.subscriptions[name] = made["id"]

    def _invoice(self, name: str, amount: int, **more: Any) -> str:
        """A one-off invoice, finalised."""
        invoice = post("/v1/invoices", customer=self.ids[name], auto_advance=False, **more)
        post("/v1/invoiceitems", customer=self.ids[name], invoice=invoice["id"], amount=amount, currency="usd",
             description="Consulting")  # fmt: skip
        post(f"/v1/invoices/{invoice['id']}/finalize", auto_advance=False)
        self.invoices[name] = invoice["id"]
        return str(invoice["id"])

    def _early(self) -> None:
        self._customer("cy", metadata={"account": "cyan"})
        self._subscribe("cy", self.pro_price)
        self.use_card("cy", "pm_card_chargeCustomerFail")

    def _subscribers(self) -> None:
        self._customer("acme", metadata={"account": "acme"})
        self._subscribe("acme", self.team_price, 3)
        self._customer("bo")
        self._subscribe("bo", self.pro_price)
        self._customer("dee")
        self._subscribe("dee", self.pro_price, trial_end=int(datetime(2026, 10, 20, 10, tzinfo=UTC).timestamp()))
        self._customer("fay")
        post(f"/v1/invoices/{self._invoice('fay', 5000)}/pay")
        self._customer("tester")
        post(f"/v1/invoices/{self._invoice('tester', 900)}/pay")

    def _at_the_end(self) -> None:
        sent = {"collection_method": "send_invoice", "days_until_due": 30}
        self._customer("eve", card="")
        post(f"/v1/customers/{self.ids['eve']}/balance_transactions", amount=-500, currency="usd")
        self._invoice("eve", 4000, **sent)
        self._customer("ina", card="")
        post(f"/v1/customers/{self.ids['ina']}/balance_transactions", amount=-300, currency="usd")
        self._invoice("ina", 1000, **sent)
        self._customer("gus", card="")
        post(f"/v1/invoices/{self._invoice('gus', 2500, **sent)}/mark_uncollectible")
        self._customer("hal", card="")
        post(f"/v1/customers/{self.ids['hal']}/balance_transactions", amount=700, currency="usd")
        self._customer("joy", card="")
        post(f"/v1/customers/{self.ids['joy']}/balance_transactions", amount=-250, currency="usd")
        self._customer("kim", card="pm_card_createDispute")
        post(f"/v1/invoices/{self._invoice('kim', 3000)}/pay")
        draft = post("/v1/invoices", customer=self.ids["bo"], auto_advance=False)
        post("/v1/invoiceitems", customer=self.ids["bo"], invoice=draft["id"], amount=600, currency="usd")
        self.invoices["bo"] = draft["id"]
        post("/v1/refunds", payment_intent=self.paid_by("fay"), amount=2500)
        post("/v1/payouts", amount=1000, currency="usd")

    def paid_by(self, name: str) -> str:
        """The payment intent of a customer's one-off invoice."""
        page = gateway.request("get", "/v1/invoice_payments", {"invoice": self.invoices[name]}).data
        return str(page["data"][0]["payment"]["payment_intent"])
