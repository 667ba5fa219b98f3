"""Random lives with a what-if in between: each preview equals the invoice that then appears, and changes nothing."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sandbox.world import World
from tests.stripe_sandbox.in_process import InProcess

BEHAVIORS = ("always_invoice", "create_prorations", "none")
FIGURES = ("amount_shipping", "currency", "period_end", "period_start", "subtotal", "total", "total_excluding_tax")

seconds = st.integers(min_value=0, max_value=40 * 86_400)
changes = st.one_of(
    st.tuples(st.just("quantity"), st.integers(0, 9)),
    st.tuples(st.just("price"), st.integers(0, 2)),
    st.tuples(st.just("add"), st.integers(0, 2)),
    st.tuples(st.just("anchor"), st.just(0)),
    st.tuples(st.just("trial"), st.integers(1, 20)),
    st.tuples(st.just("item"), st.integers(-3000, 3000)),
    st.tuples(st.just("cancel"), st.just(0)),
    st.tuples(st.just("cancel_later"), st.integers(0, 1)),
    st.tuples(st.just("earlier"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.just(0)),
)
steps = st.tuples(changes, st.sampled_from(BEHAVIORS), seconds)


class WhatIf(InProcess):
    """A customer with a subscription. Each step is previewed, then done, then compared."""

    def __init__(self, unit_amount: int, percent_off: int) -> None:
        super().__init__()
        self.customer = self.ask("customers", payment_method="pm_card_visa")["id"]
        [card] = self.world.store.where("payment_method", "customer", self.customer)
        self.ask(f"customers/{self.customer}", **{"invoice_settings[default_payment_method]": card["id"]})
        product = self.ask("products", name="Pro")["id"]
        monthly = {"product": product, "currency": "usd", "recurring[interval]": "month"}
        self.prices = [self.ask("prices", unit_amount=unit_amount * times, **monthly)["id"] for times in (1, 3)] + [
            self.ask("prices", unit_amount=777, **(monthly | {"recurring[interval]": "year"}))["id"]
        ]
        rate = self.ask("tax_rates", display_name="VAT", percentage=7.7, inclusive="false")["id"]
        fields = {"items[0][price]": self.prices[0], "default_tax_rates[0]": rate}
        if percent_off:
            coupon = self.ask("coupons", percent_off=percent_off, duration="forever")["id"]
            fields["discounts[0][coupon]"] = coupon
        self.subscription = self.ask("subscriptions", customer=self.customer, **fields)["id"]

    def check(self, change: str, number: int, behavior: str) -> None:
        """Preview, do, compare; a change that is refused is refused both ways."""
        parameters, path, method = self.request(change, number, behavior)
        before = self.everything()
        asked = {"subscription": self.subscription, **self.question(change, parameters)}
        preview = self.ask("invoices/create_preview", **asked)
        assert self.everything() == before
        made = {invoice["id"] for invoice in self.world.store.all("invoice")}
        done = self.ask(path, method, **parameters) if path else {}
        assert ("error" in done) <= ("error" in preview), (done, preview)
        if "error" in preview:
            return
        while not (new := [item for item in self.world.store.all("invoice") if item["id"] not in made]):
            due = self.world.clock.next_due()
            assert due is not None, preview
            assert due <= preview["created"], preview
            self.world.clock.advance(max(due, self.world.now))
        assert self.figures(new[0]) == self.figures(preview)

    def request(self, change: str, number: int, behavior: str) -> tuple[dict[str, Any], str, str]:
        """What would be asked for, where and how."""
        item = self.world.store.get("subscription", self.subscription)["items"]["data"][0]["id"]
        path = f"subscriptions/{self.subscription}"
        prorated = {"proration_behavior": behavior}
        match change:
            case "quantity":
                return {"items[0][id]": item, "items[0][quantity]": number, **prorated}, path, "POST"
            case "price":
                return {"items[0][id]": item, "items[0][price]": self.prices[number], **prorated}, path, "POST"
            case "add":
                return {"items[0][price]": self.prices[number], **prorated}, path, "POST"
            case "anchor":
                return {"billing_cycle_anchor": "now", **prorated}, path, "POST"
            case "trial":
                return {"trial_end": self.world.now + number * 86_400, **prorated}, path, "POST"
            case "item":
                owner = {"customer": self.customer, "subscription": self.subscription}
                return {**owner, "amount": number, "currency": "usd"}, "invoiceitems", "POST"
            case "cancel_later":
                return {"cancel_at_period_end": "true" if number else "false"}, path, "POST"
            case "earlier":
                moment = max(self.world.now - 3600, self.period_start())
                earlier = {"proration_date": moment, **prorated}
                return {"items[0][id]": item, "items[0][quantity]": number, **earlier}, path, "POST"
            case "cancel":
                prorate = "false" if behavior == "none" else "true"
                return {"invoice_now": "true", "prorate": prorate}, path, "DELETE"
        return {}, "", "POST"

    def period_start(self) -> int:
        items = self.world.store.get("subscription", self.subscription)["items"]["data"]
        return max(item["current_period_start"] for item in items)

    @staticmethod
    def question(change: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if change == "item":
            return {f"invoice_items[0][{name}]": parameters[name] for name in ("amount", "currency")}
        if change == "cancel":
            behavior = "create_prorations" if parameters["prorate"] == "true" else "none"
            return {
                "subscription_details[cancel_now]": "true",
                "subscription_details[proration_behavior]": behavior,
            }
        asked = {}
        for name, value in parameters.items():
            head, bracket, rest = name.partition("[")
            asked[f"subscription_details[{head}]{bracket}{rest}"] = value
        return asked

    def figures(self, invoice: dict[str, Any]) -> dict[str, Any]:
        lines = self.world.lines.get(invoice["id"]) or invoice["lines"]["data"]
        parts = ("amount", "currency", "description", "period", "quantity", "subtotal")
        shown = [{name: line[name] for name in parts} for line in lines]
        taxes = [[tax["amount"] for tax in line["taxes"]] for line in lines]
        discounts = [[part["amount"] for part in line["discount_amounts"]] for line in lines]
        return {name: invoice[name] for name in FIGURES} | {"lines": shown, "taxes": taxes, "discounts": discounts}

    def everything(self) -> bytes:
        """All that a preview must leave alone: objects, lines, what is due, and the identifiers that come next."""
        world: World = self.world
        held = {
            name: repr(value)
            for name, value in vars(world).items()
            if isinstance(value, dict | set | list) and name != "problems"
        }
        due = [(item.moment, item.sequence, item.what) for item in world.clock.waiting()]
        objects = {kind: world.store.all(kind) for kind, _ in world.store.counts()}
        return msgspec.json.encode([objects, held, due, world.now, hash(world.ids.aside().new("x"))])


def test_identifiers_go_on_as_if_nobody_had_asked() -> None:
    asking, silent = WhatIf(1000, 50), WhatIf(1000, 50)
    asking.ask("invoices/create_preview", customer=asking.customer)
    asking.ask("invoices/create_preview", subscription=asking.subscription)
    for life in (asking, silent):
        life.ask("invoiceitems", customer=life.customer, amount=5, currency="usd")
        life.world.clock.advance(life.world.now + 40 * 86_400)
    for kind, _ in silent.world.store.counts():
        pairs = zip(asking.world.store.all(kind), silent.world.store.all(kind), strict=True)
        for thing, twin in pairs:
            assert thing | {"request": None} == twin | {"request": None}  # an event names its request, which is another


@settings(max_examples=40, deadline=None)
@given(st.integers(50, 9999), st.integers(0, 100), st.lists(steps, min_size=1, max_size=6))
def test_a_preview_is_what_then_happens(
    unit_amount: int, percent_off: int, plan: list[tuple[tuple[str, int], str, int]]
) -> None:
    life = WhatIf(unit_amount, percent_off)
    for (change, number), behavior, wait in plan:
        life.world.clock.advance(life.world.now + wait)
        life.check(change, number, behavior)
    assert life.world.problems == []
