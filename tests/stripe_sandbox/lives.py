"""Random lives of customers.

A life is a list of (action, number). The number decides what the action leaves open, so that a failing life shrinks
to a short one. Stripe may refuse any of it; it may never break.
"""

from collections.abc import Sequence
from typing import Any

from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import AfterLastRetry
from tests.stripe_sandbox.in_process import InProcess

HOUR, DAY = 3600, 86_400
CARDS = ("visa", "visa", "chargeCustomerFail", "authenticationRequired", "createDispute", "createDisputeInquiry")
PRICES = (("month", 1000), ("month", 2599), ("month", 0), ("month", 3), ("year", 9_990), ("week", 333))
BEHAVIORS = ("create_prorations", "always_invoice", "none")
ENDS: tuple[AfterLastRetry, ...] = ("past_due", "unpaid", "cancel")
ALIVE = ("trialing", "active", "past_due", "unpaid", "incomplete", "paused")


class Life(InProcess):
    """One customer of one account."""

    def __init__(self, *, after_last_retry: AfterLastRetry = "past_due") -> None:
        super().__init__(after_last_retry=after_last_retry)
        self.told: list[StripeObject] = []  # every event, in order
        self.refusals: list[str] = []
        self.customer = self.ask("customers", payment_method="pm_card_visa")["id"]
        self.make_default("pm_card_visa")
        self.product = self.ask("products", name="Pro")["id"]
        self.prices = [self._price(interval, amount) for interval, amount in PRICES] + [self._metered_price()]
        coupons = ({"percent_off": "33.3", "duration": "forever"}, {"amount_off": 700, "currency": "usd"})
        self.coupons = [self.ask("coupons", **coupon)["id"] for coupon in coupons]
        self.tax_rates = [
            self.ask("tax_rates", display_name="VAT", percentage="19", inclusive=inclusive)["id"]
            for inclusive in ("false", "true")
        ]

    def ask(self, path: str, method: str = "POST", **parameters: Any) -> dict[str, Any]:
        """A request as any, none of which may be about something that the sandbox leaves out."""
        answer = super().ask(path, method, **parameters)
        if "error" in answer:
            self.refusals.append(f"{method} {path}: {answer['error'].get('message')}")
            assert answer["error"].get("code") != "sandbox_not_implemented", answer
        self.hear()
        return answer

    def hear(self) -> None:
        events, self.world.new_events = self.world.new_events, []
        self.told += events

    def live(self, plan: Sequence[tuple[str, int]]) -> None:
        for action, number in plan:
            getattr(self, action)(number)

    # What can happen. `number` chooses.

    def subscribe(self, number: int) -> None:
        extras: dict[str, Any] = {}
        if number % 5 == 0:
            extras["trial_period_days"] = number % 11 + 1
        if number % 4 == 0:
            extras["discounts[0][coupon]"] = self.coupons[number % 2]
        if number % 3 == 0:
            extras["default_tax_rates[0]"] = self.tax_rates[number % 2]
        if number % 7 == 0:
            extras |= {"collection_method": "send_invoice", "days_until_due": 14}
        if number % 6 == 0:
            extras["payment_behavior"] = "default_incomplete"
        price = self.prices[number % len(self.prices)]
        quantity: dict[str, Any] = {} if price == self.prices[-1] else {"items[0][quantity]": number % 4 + 1}
        self.ask("subscriptions", customer=self.customer, **{"items[0][price]": price}, **quantity, **extras)

    def change(self, number: int) -> None:
        for subscription in self._alive():
            item = subscription["items"]["data"][0]["id"]
            extras = {"proration_behavior": BEHAVIORS[number % 3]}
            if number % 2:
                wanted: dict[str, Any] = {"items[0][quantity]": number % 5 + 1}
            else:
                wanted = {"items[0][price]": self.prices[number % len(PRICES)]}
            self.ask(f"subscriptions/{subscription['id']}", **{"items[0][id]": item}, **wanted, **extras)

    def add_item(self, number: int) -> None:
        for subscription in self._alive():
            price = self.prices[number % len(self.prices)]
            self.ask("subscription_items", subscription=subscription["id"], price=price)

    def remove_item(self, number: int) -> None:
        for subscription in self._alive():
            items = subscription["items"]["data"]
            extras = {"proration_behavior": BEHAVIORS[number % 3]}
            self.ask(f"subscription_items/{items[number % len(items)]['id']}", "DELETE", **extras)

    def cancel(self, number: int) -> None:
        for subscription in self._alive():
            path = f"subscriptions/{subscription['id']}"
            if number % 3 == 0:
                self.ask(path, cancel_at_period_end="true" if number % 2 else "false")
            elif number % 3 == 1:
                self.ask(path, cancel_at=self.world.now + (number % 50 + 1) * DAY)
            else:
                prorate = {"prorate": str(number % 2 == 0).lower(), "invoice_now": str(number % 4 == 0).lower()}
                self.ask(path, "DELETE", **prorate)

    def pause(self, number: int) -> None:
        for subscription in self._alive():
            behavior = ("keep_as_draft", "mark_uncollectible", "void")[number % 3]
            wanted = {"pause_collection[behavior]": behavior} if number % 2 else {"pause_collection": ""}
            self.ask(f"subscriptions/{subscription['id']}", **wanted)

    def trial(self, number: int) -> None:
        for subscription in self._alive():
            end = "now" if number % 2 else str(self.world.now + (number % 20 + 1) * DAY)
            self.ask(f"subscriptions/{subscription['id']}", trial_end=end)

    def use(self, number: int) -> None:
        payload = {"payload[stripe_customer_id]": self.customer, "payload[value]": number}
        self.ask("billing/meter_events", event_name="tokens", **payload)

    def credit(self, number: int) -> None:
        path = f"customers/{self.customer}/balance_transactions"
        self.ask(path, amount=number - 1500, currency="usd")

    def item(self, number: int) -> None:
        self.ask("invoiceitems", customer=self.customer, amount=number - 700, currency="usd")

    def invoice(self, number: int) -> None:
        invoice = self.ask("invoices", customer=self.customer, pending_invoice_items_behavior="include")
        if "id" in invoice:
            extras = {"tax_rates[0]": self.tax_rates[number % 2]} if number % 3 else {}
            item = {"customer": self.customer, "invoice": invoice["id"], "amount": number, "currency": "usd"}
            self.ask("invoiceitems", **item, **extras)

    def finalize(self, number: int) -> None:
        self._to_an_invoice(number, "finalize")

    def pay(self, number: int) -> None:
        self._to_an_invoice(number, "pay", **({"paid_out_of_band": "true"} if number % 4 == 0 else {}))

    def void(self, number: int) -> None:
        self._to_an_invoice(number, "void")

    def give_up(self, number: int) -> None:
        self._to_an_invoice(number, "mark_uncollectible")

    def credit_note(self, number: int) -> None:
        for invoice in self._pick("invoice", number):
            amount = number % max(1, invoice["total"]) + 1
            ways: tuple[dict[str, Any], ...] = ({}, {"credit_amount": amount}, {"refund_amount": amount})
            self.ask("credit_notes", invoice=invoice["id"], amount=amount, **ways[number % 3])

    def void_credit_note(self, number: int) -> None:
        for note in self._pick("credit_note", number):
            self.ask(f"credit_notes/{note['id']}/void")

    def refund(self, number: int) -> None:
        for charge in self._pick("charge", number):
            self.ask("refunds", charge=charge["id"], amount=number)

    def dispute(self, number: int) -> None:
        for dispute in self._pick("dispute", number):
            if number % 3 == 0:
                self.ask(f"disputes/{dispute['id']}/close")
            else:
                text = ("winning_evidence", "losing_evidence")[number % 2]
                self.ask(f"disputes/{dispute['id']}", submit="true", **{"evidence[uncategorized_text]": text})

    def card(self, number: int) -> None:
        self.make_default(f"pm_card_{CARDS[number % len(CARDS)]}")

    def hours(self, number: int) -> None:
        self._move(number % 48 * HOUR + number % 60)

    def days(self, number: int) -> None:
        self._move((number % 40 + 1) * DAY)

    def make_default(self, card: str) -> None:
        attached = self.ask(f"payment_methods/{card}/attach", customer=self.customer)
        self.ask(f"customers/{self.customer}", **{"invoice_settings[default_payment_method]": attached.get("id", "")})

    def _move(self, seconds: int) -> None:
        self.world.clock.advance(self.world.now + seconds)
        self.hear()

    def _alive(self) -> list[StripeObject]:
        """The newest subscription that has not ended, if any."""
        return [item for item in self.world.store.all("subscription") if item["status"] in ALIVE][-1:]

    def _pick(self, kind: str, number: int) -> list[StripeObject]:
        things = self.world.store.all(kind)
        return [things[number % len(things)]] if things else []

    def _to_an_invoice(self, number: int, action: str, **parameters: Any) -> None:
        for invoice in self._pick("invoice", number):
            self.ask(f"invoices/{invoice['id']}/{action}", **parameters)

    def _price(self, interval: str, amount: int) -> str:
        recurring = {"recurring[interval]": interval}
        price = self.ask("prices", product=self.product, currency="usd", unit_amount=amount, **recurring)
        return str(price["id"])

    def _metered_price(self) -> str:
        meter = self.ask(
            "billing/meters",
            display_name="Tokens",
            event_name="tokens",
            **{"default_aggregation[formula]": "sum"},
        )
        recurring = {
            "recurring[interval]": "month",
            "recurring[usage_type]": "metered",
            "recurring[meter]": meter["id"],
        }
        price = self.ask("prices", product=self.product, currency="usd", unit_amount_decimal="0.37", **recurring)
        return str(price["id"])


ACTIONS = tuple(
    name
    for name, member in vars(Life).items()
    if callable(member) and not name.startswith("_") and name not in ("ask", "hear", "live", "make_default")
)
