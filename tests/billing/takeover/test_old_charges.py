"""Charges of before the cut that something happens to after it: attached to an invoice, given back, contested."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from billing.invoicing.models import Invoice
from billing.payments.models import Payment
from billing.payments.refunding.operations import request_refund, send_refunds
from billing.stripe import gateway
from billing.takeover.models import TakenOver
from tests.billing.takeover.test_odd_accounts import CUT, Shop, assert_all_is_told, post
from tests.sandbox.client import SandboxProcess


class Counter(Shop):
    """A shop that also charges cards without an invoice."""

    def enter(self, name: str, *, card: str = "pm_card_visa") -> str:
        """A customer with a card; return the card's id."""
        made = post("/v1/customers", name=name.title(), email=f"{name}@example.com")
        self.customers[name] = made["id"]
        method = post(f"/v1/payment_methods/{card}/attach", customer=made["id"])
        post(f"/v1/customers/{made['id']}", invoice_settings={"default_payment_method": method["id"]})
        return str(method["id"])

    def charge(self, name: str, amount: int) -> str:
        """A payment that no invoice asks for; return its intent."""
        card = self.enter(name)
        intent = post("/v1/payment_intents", customer=self.customers[name], amount=amount, currency="usd",
                      payment_method=card, confirm=True, off_session=True)  # fmt: skip
        return str(intent["id"])

    def charge_by_old_api(self, name: str, amount: int, *, card: str = "pm_card_visa") -> str:
        """A charge without a payment intent; return it."""
        card = self.enter(name, card=card)
        made = post("/v1/charges", amount=amount, currency="usd", customer=self.customers[name], source=card)
        return str(made["id"])

    def answer_disputes(self, how: dict[str, str]) -> None:
        """Each by its charge, with evidence that wins or loses."""
        for dispute in gateway.listed("/v1/disputes"):
            evidence = {"uncategorized_text": f"{how[dispute['charge']]}_evidence"}
            post(f"/v1/disputes/{dispute['id']}", evidence=evidence, submit=True)

    def ask(self, name: str, amount: int) -> str:
        """An open invoice for a customer that is here."""
        sent = {"collection_method": "send_invoice", "days_until_due": 30}
        invoice = post("/v1/invoices", customer=self.customers[name], auto_advance=False, **sent)["id"]
        post("/v1/invoiceitems", customer=self.customers[name], invoice=invoice, amount=amount, currency="usd",
             metadata={"kind": "one_off"})  # fmt: skip
        post(f"/v1/invoices/{invoice}/finalize", auto_advance=False)
        return str(invoice)


def charge_guest(amount: int, token: str = "tok_visa") -> str:
    """A charge that names no customer."""
    return str(post("/v1/charges", amount=amount, currency="usd", source=token)["id"])


def attach(invoice: str, intent: str) -> None:
    post(f"/v1/invoices/{invoice}/attach_payment", payment_intent=intent)


@pytest.fixture
def shop(committed_db: None, at_sandbox: SandboxProcess) -> Counter:
    return Counter(at_sandbox)


def test_a_charge_of_before_that_pays_an_invoice_of_after_is_taken_out_of_the_opening(shop: Counter) -> None:
    """It was on our balance at the cut, which the opening holds: no other money pays the invoice."""
    names = ("sooner", "later", "partly", "refunded", "unused")
    intents = {name: shop.charge(name, 4000) for name in names}
    open_at_cut = shop.ask("partly", 5000)
    shop.sandbox.advance(CUT + timedelta(hours=1))
    attach(shop.ask("sooner", 4000), intents["sooner"])  # between the cut and the run
    shop.run()
    assert not TakenOver.objects.filter(outcome="left_out").exists()
    assert shop.differences() == []
    assert shop.owed() == {"partly": {"receivable": 50}}
    assert shop.house("opening")["opening"] == 5 * 40 - 40 + 50 - fees(5)

    attach(shop.ask("later", 3000), intents["later"])  # 10 more than was asked for
    attach(open_at_cut, intents["partly"])
    post("/v1/refunds", payment_intent=intents["refunded"], amount=1500)
    attach(shop.ask("refunded", 4000), intents["refunded"])
    shop.sandbox.advance(CUT + timedelta(hours=2))
    assert shop.differences() == []
    assert shop.owed() == {"later": {"balance": 10}, "partly": {"receivable": 10}}
    assert shop.house("contra:refunds", "stripe:in_transit", "revenue:other") == {
        "contra:refunds": 15, "revenue:other": 40 + 30 + 40,
    }  # fmt: skip
    shop.thread.redeliver_everything()
    assert shop.differences() == []
    assert Payment.objects.filter(is_taken_over=True).count() == len(names)


def test_what_is_given_back_or_contested_of_an_old_charge_stands_nowhere_in_transit(shop: Counter) -> None:
    """Charges without a payment intent, of customers and of nobody we know, and a payment of nobody."""
    old = {name: shop.charge_by_old_api(name, 4000) for name in ("given", "partly", "untouched")}
    old["fails"] = shop.charge_by_old_api("fails", 4000, card="pm_card_refundFail")
    guest = charge_guest(2000)
    unknown = post("/v1/payment_intents", amount=2200, currency="usd", payment_method="pm_card_visa", confirm=True,
                   return_url="https://example.com")["id"]  # fmt: skip
    shop.sandbox.advance(CUT - timedelta(hours=1))
    old["won"] = shop.charge_by_old_api("won", 3000, card="pm_card_createDispute")
    lost = charge_guest(2500, "tok_createDispute")
    post("/v1/refunds", charge=old["partly"], amount=1100)
    post("/v1/refunds", charge=old["fails"], amount=1200)  # comes back after the cut
    shop.sandbox.advance(CUT + timedelta(hours=1))
    post("/v1/refunds", charge=old["given"], amount=500)  # between the cut and the run
    shop.run()
    assert_all_is_told()
    assert shop.differences() == []
    assert shop.house("disputes", "contra:refunds", "stripe:in_transit") == {
        "disputes": 30 + 25, "contra:refunds": 5,
    }  # fmt: skip

    for charge, amount in ((old["given"], 300), (old["partly"], 700), (guest, 400)):
        post("/v1/refunds", charge=charge, amount=amount)
    post("/v1/refunds", payment_intent=unknown, amount=600)
    shop.answer_disputes({old["won"]: "winning", lost: "losing"})
    User.objects.create_superuser("root")
    asked = request_refund(
        payment_id=Payment.objects.get(stripe_charge_id=old["given"]).pk, amount_minor=900, way="refund",
        reason_code="goodwill", reason="Late", actor="user:root", idempotency_key="once", now=shop.thread.now,
    )  # fmt: skip
    assert send_refunds([asked.pk], now=shop.thread.now) == 1
    shop.sandbox.advance(CUT + timedelta(days=6))
    shop.thread.settle()
    assert shop.thread.unfinished() == []
    assert [one for one in shop.differences() if "refund_due" not in one] == []
    assert shop.house("disputes", "stripe:in_transit", "contra:refunds", "bad_debt") == {
        "contra:refunds": 5 + 3 + 7 + 4 + 6 + 9, "bad_debt": 25,
    }  # fmt: skip
    assert shop.owed() == {"fails": {"refund_due": 12}}


def fees(charges: int) -> Decimal:
    """What Stripe took of so many charges of 40.00."""
    return charges * Decimal("1.46")


def pay_by_old_charge(shop: Counter, invoice: str, charge: str) -> None:
    """A charge without a payment intent pays it, as those did that Stripe's old API made."""
    post(f"/v1/invoices/{invoice}/pay", paid_out_of_band=True)
    (payment,) = gateway.listed("/v1/invoice_payments", invoice=invoice, status="paid")
    shop.sandbox.alter(payment["id"], payment={"type": "charge", "charge": charge})


def test_an_old_charge_pays_the_invoice_that_stripe_says_it_paid(shop: Counter) -> None:
    """Its invoice was open at the cut and paid an hour later; one had been paid long before, and is refunded later."""
    debit, long_ago = shop.charge_by_old_api("debit", 5000), shop.charge_by_old_api("ago", 4000)
    asked, settled = shop.ask("debit", 5000), shop.ask("ago", 4000)
    pay_by_old_charge(shop, settled, long_ago)
    shop.sandbox.advance(CUT + timedelta(hours=1))
    pay_by_old_charge(shop, asked, debit)
    shop.run()
    assert shop.owed() == {}
    assert Payment.objects.get(stripe_charge_id=debit).invoice == Invoice.objects.get(stripe_invoice_id=asked)

    post("/v1/refunds", charge=long_ago, amount=900)
    assert shop.differences() == []
    assert Payment.objects.get(stripe_charge_id=long_ago).invoice == Invoice.objects.get(stripe_invoice_id=settled)
    assert shop.house("contra:refunds", "stripe:in_transit") == {"contra:refunds": 9}


def test_an_old_debit_that_succeeds_after_the_run_is_heard_of_by_its_part_of_the_invoice(shop: Counter) -> None:
    debit = shop.charge_by_old_api("debit", 5000)
    shop.sandbox.alter(debit, status="pending", paid=False)
    asked = shop.ask("debit", 5000)
    shop.sandbox.advance(CUT + timedelta(hours=1))
    shop.run()
    assert shop.owed() == {"debit": {"receivable": 50}}

    shop.sandbox.alter(debit, status="succeeded", paid=True)
    pay_by_old_charge(shop, asked, debit)
    (told,) = gateway.listed("/v1/events", type="invoice_payment.paid")
    shop.sandbox.alter(told["id"], data={"object": gateway.retrieve(f"/v1/invoice_payments/{told_of(told)}")})
    assert shop.differences() == []
    assert shop.owed() == {}
    assert Payment.objects.get(stripe_charge_id=debit).status == Payment.Status.SUCCEEDED


def told_of(event: dict[str, Any]) -> str:
    return str(event["data"]["object"]["id"])
