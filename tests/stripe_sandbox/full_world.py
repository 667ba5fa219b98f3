"""An account with something of every kind in it, for requests that are to find what they name."""

from typing import Any

from tests.stripe_sandbox.in_process import InProcess

DAY = 86_400


class FullWorld(InProcess):
    """Made by plain requests, none of which may be refused."""

    def __init__(self) -> None:
        super().__init__()
        self.customer = self._made("customers", email="a@example.com", payment_method="pm_card_visa")
        card = self._made("payment_methods/pm_card_visa/attach", customer=self.customer)
        self._made(f"customers/{self.customer}", **{"invoice_settings[default_payment_method]": card})
        self._make_catalog()
        self._make_subscriptions()
        self.world.clock.advance(self.world.now + 20 * DAY)
        self._make_payments()
        self._make_selling()
        self._make_rest()
        self.world.clock.advance(self.world.now + 3_600)

    def _made(self, path: str, **parameters: Any) -> str:
        answer = self.ask(path, **parameters)
        assert "error" not in answer, (path, answer)
        return str(answer.get("id"))

    def _make_catalog(self) -> None:
        self.product = self._made("products", name="Pro")
        monthly = {"product": self.product, "currency": "usd", "recurring[interval]": "month"}
        self.price = self._made("prices", unit_amount=2599, **monthly)
        self.meter = self._made(
            "billing/meters", display_name="Tokens", event_name="tokens", **{"default_aggregation[formula]": "sum"}
        )
        metered = {"recurring[usage_type]": "metered", "recurring[meter]": self.meter}
        self.metered_price = self._made("prices", unit_amount_decimal="0.37", **monthly, **metered)
        tiers = {
            "tiers[0][up_to]": 5,
            "tiers[0][unit_amount]": 100,
            "tiers[1][up_to]": "inf",
            "tiers[1][flat_amount]": 9,
        }
        self.tiered_price = self._made("prices", billing_scheme="tiered", tiers_mode="graduated", **tiers, **monthly)
        self.once_price = self._made("prices", product=self.product, currency="usd", unit_amount=500)
        self._made("plans", amount=700, currency="usd", interval="month", product=self.product)
        self.coupon = self._made("coupons", percent_off="25", duration="repeating", duration_in_months=3)
        self._made("coupons", amount_off=300, currency="usd")
        promotion = {"promotion[type]": "coupon", "promotion[coupon]": self.coupon}
        self._made("promotion_codes", code="SPRING", **promotion)
        self.tax_rate = self._made("tax_rates", display_name="VAT", percentage="19", inclusive="false")
        feature = self._made("entitlements/features", name="Seats", lookup_key="seats")
        self._made(f"products/{self.product}/features", entitlement_feature=feature)

    def _make_subscriptions(self) -> None:
        item = {"customer": self.customer, "items[0][price]": self.price}
        usage = {"items[1][price]": self.metered_price, "discounts[0][coupon]": self.coupon}
        self.subscription = self._made("subscriptions", **item, **usage, **{"default_tax_rates[0]": self.tax_rate})
        self._made("subscriptions", **item, trial_period_days=40)
        self._made("subscriptions", **item, collection_method="send_invoice", days_until_due=14)
        self._made("subscriptions", customer=self.customer, **{"items[0][price]": self.tiered_price})
        ended = self._made("subscriptions", **item)
        self.ask(f"subscriptions/{ended}", "DELETE")
        self._made("subscription_schedules", from_subscription=self.subscription)
        phase = {"phases[0][items][0][price]": self.price, "phases[0][duration][interval]": "month"}
        later = self.world.now + 30 * DAY
        self._made("subscription_schedules", customer=self.customer, start_date=later, **phase)
        payload = {"payload[stripe_customer_id]": self.customer, "payload[value]": "12"}
        self._made("billing/meter_events", event_name="tokens", **payload)

    def _make_payments(self) -> None:
        amount = {"amount": 2000, "currency": "usd"}
        paid = self._made(
            "payment_intents", customer=self.customer, payment_method="pm_card_visa", confirm="true", **amount
        )
        charge = self.world.store.where("charge", "payment_intent", paid)[0]["id"]
        self._made("refunds", charge=charge, amount=700)
        for card in ("pm_card_createDispute", "pm_card_authenticationRequired"):
            self._made(
                "payment_intents", payment_method=card, confirm="true", **amount, **{"payment_method_types[]": "card"}
            )
        manual = {"capture_method": "manual", "confirm": "true", "payment_method": "pm_card_visa"}
        self._made("payment_intents", **manual, **amount, **{"payment_method_types[]": "card"})
        self._made("payment_intents", **amount)
        self._made("setup_intents", customer=self.customer)
        self._made(
            "setup_intents", customer=self.customer, payment_method="pm_card_visa", **{"payment_method_types[]": "card"}
        )
        self._made("charges", source="tok_visa", **amount)
        self._made("tokens", **{"card[number]": "4242424242424242", "card[exp_month]": 5, "card[exp_year]": 2031})
        self._made(f"customers/{self.customer}/sources", source="tok_visa")
        debit = {"type": "sepa_debit", "sepa_debit[iban]": "DE89370400440532013000", "billing_details[name]": "A"}
        self._made("payment_methods", **debit, **{"billing_details[email]": "a@example.com"})
        self._made("topups", amount=5000, currency="usd")
        self._made(f"test_helpers/customers/{self.customer}/fund_cash_balance", amount=1000, currency="eur")

    def _make_selling(self) -> None:
        line = {"line_items[0][price]": self.once_price, "line_items[0][quantity]": 2}
        urls = {"success_url": "https://example.com/done"}
        self._made("checkout/sessions", mode="payment", **line, **urls)
        monthly = {"line_items[0][price]": self.price, "line_items[0][quantity]": 1}
        self._made("checkout/sessions", mode="subscription", customer=self.customer, **monthly, **urls)
        self._made("checkout/sessions", mode="setup", customer=self.customer, currency="usd", **urls)
        self._made("payment_links", **line)
        self._made("quotes", customer=self.customer, **line)
        quote = self._made("quotes", customer=self.customer, **monthly)
        self._made(f"quotes/{quote}/finalize")
        self._made("billing_portal/configurations", **{"features[invoice_history][enabled]": "true"})
        self._made("billing_portal/sessions", customer=self.customer)

    def _make_rest(self) -> None:
        own = {"customer": self.customer, "currency": "usd"}
        self._made("invoiceitems", amount=900, **own)
        invoices = [self._made("invoices", customer=self.customer, auto_advance="false") for _ in range(4)]
        for invoice in invoices:
            self._made("invoiceitems", amount=1500, invoice=invoice, **own)
        for invoice in invoices[1:]:
            self._made(f"invoices/{invoice}/finalize")
        self._made(f"invoices/{invoices[1]}/pay")
        self._made("credit_notes", invoice=invoices[1], amount=500, credit_amount=500)
        self._made("credit_notes", invoice=invoices[2], amount=500)
        self._made(f"customers/{self.customer}/balance_transactions", amount=-250, currency="usd")
        self._made(f"customers/{self.customer}/tax_ids", type="eu_vat", value="DE123456789")
        amount = {"amount[type]": "monetary", "amount[monetary][value]": 1000, "amount[monetary][currency]": "usd"}
        scope = {"applicability_config[scope][price_type]": "metered", "category": "paid"}
        self._made("billing/credit_grants", customer=self.customer, **amount, **scope)
        frozen = self._made("test_helpers/test_clocks", frozen_time=self.world.now)
        clocked = self._made("customers", test_clock=frozen, payment_method="pm_card_visa")
        method = self.world.store.where("payment_method", "customer", clocked)[0]["id"]
        item = {"items[0][price]": self.price, "default_payment_method": method}
        self._made("subscriptions", customer=clocked, **item)
        self._made("webhook_endpoints", url="http://127.0.0.1:9/", **{"enabled_events[]": "*"})
        self._made("payouts", amount=100, currency="usd") if self.world.balances["available"].get(
            "usd", 0
        ) > 100 else None
