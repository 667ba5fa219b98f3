"""What stands in the middle of something at the cut: balances, drafts, payouts, debits and disputes, in currencies."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.accounting.chart import customer_account_specs, system, system_account_specs
from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.payments.disputes import project_disputes
from billing.payments.models import Payment
from billing.payments.operations import project_payment
from billing.stripe.seconds import second_of
from billing.takeover.bringing import Job, bring_payment
from billing.takeover.models import Takeover
from ledger import queries as ledger
from ledger.operations import open_accounts
from tests.billing.takeover.test_odd_accounts import ACTOR, CUT, Shop, StripeDict, post
from tests.factories import CustomerFactory
from tests.sandbox.client import SandboxProcess

BEFORE, AFTER = second_of(CUT) - 3600, second_of(CUT) + 3600


@pytest.fixture
def shop(committed_db: None, at_sandbox: SandboxProcess) -> Shop:
    return Shop(at_sandbox)


def move_balance(shop: Shop, name: str, amount: int, currency: str = "usd") -> None:
    post(f"/v1/customers/{shop.customers[name]}/balance_transactions", amount=amount, currency=currency)


def know(shop: Shop, name: str) -> str:
    made = post("/v1/customers", name=name.title(), email=f"{name}@example.com")
    shop.customers[name] = made["id"]
    return str(made["id"])


def draft(shop: Shop, name: str, amount: int, currency: str = "usd") -> str:
    sent = {"collection_method": "send_invoice", "days_until_due": 30}
    invoice = post("/v1/invoices", customer=shop.customers[name], auto_advance=False, currency=currency, **sent)["id"]
    post("/v1/invoiceitems", customer=shop.customers[name], invoice=invoice, amount=amount, currency=currency)
    shop.invoices[name] = invoice
    return str(invoice)


def finalize(invoice: str) -> None:
    post(f"/v1/invoices/{invoice}/finalize", auto_advance=False)


def test_what_is_half_done_at_the_cut_ends_right_in_every_currency(shop: Shop) -> None:
    shop.buy("payer")
    shop.sandbox.advance(CUT - timedelta(days=1))
    for name, amount in (("spender", -500), ("debtor", 700), ("drafted", -300), ("unused", -800)):
        know(shop, name)
        move_balance(shop, name, amount)
    know(shop, "jiro")
    move_balance(shop, "jiro", -300, "jpy")
    finalize(draft(shop, "jiro", 1000, "jpy"))
    jiro = shop.customers.pop("jiro")  # whose accounts are in JPY
    finalize(draft(shop, "debtor", 1000))  # its 10.00 and the 7.00 that were owed
    shop.credit("debtor", 700)
    know(shop, "elsewhere")
    finalize(draft(shop, "elsewhere", 400))
    draft(shop, "drafted", 2000)
    price = str(PlanVersion.objects.get().stripe_price_id)
    shop.subscribe("renewing", price, trial_end=second_of(CUT - timedelta(minutes=30)))
    shop.subscribe("trying", price, trial_end=second_of(CUT + timedelta(minutes=30)))
    post("/v1/payouts", amount=1000, currency="usd")
    shop.sandbox.advance(CUT + timedelta(hours=2))
    post(f"/v1/invoices/{shop.invoices['elsewhere']}/pay", paid_out_of_band=True)

    shop.run()
    assert shop.differences() == []
    assert ledger.balance_of(system("bank", "USD")) == 4
    assert shop.owed() == {
        "spender": {"balance": 5}, "debtor": {"receivable": 10}, "drafted": {"balance": 3}, "unused": {"balance": 8},
    }  # fmt: skip
    assert ledger.balance_of(f"receivable:{jiro}:JPY") == 700

    move_balance(shop, "spender", 500)  # back at nothing, as a customer without a balance is
    finalize(shop.invoices["drafted"])
    post(f"/v1/invoices/{shop.invoices['jiro']}/pay", paid_out_of_band=True)
    post(f"/v1/invoices/{shop.invoices['debtor']}/void")
    shop.sandbox.advance(CUT + timedelta(days=5))
    assert shop.differences() == []
    assert shop.owed()["drafted"] == {"receivable": 17}
    assert "spender" not in shop.owed()
    assert ledger.balance_of(system("bank", "JPY")) == 700


@pytest.fixture
def job(db: None) -> Job:
    takeover = Takeover.objects.create(as_of=CUT, started_at=CUT + timedelta(hours=2), started_by=ACTOR)
    customer = CustomerFactory(stripe_customer_id="cus_1", currency="EUR")
    for code in ("EUR", "USD"):
        open_accounts(system_account_specs(code) + customer_account_specs(customer.customer_key, code))
    return Job(takeover, ACTOR, CUT + timedelta(hours=2))


def moved(name: str, amount: int, currency: str, at: int, kind: str = "payment", **more: str) -> StripeDict:
    """A movement on our balance, without a fee; from another currency it was converted."""
    return {"id": f"txn_{name}", "type": kind, "amount": amount, "fee": 0, "net": amount, "currency": currency,
            "created": at, "reporting_category": more.get("category", ""), "source": "",
            "exchange_rate": None if currency == "eur" else 1.1}  # fmt: skip


def intent_of(status: str, **charge: object) -> StripeDict:
    """A payment of 40.00 EUR that was begun before the cut."""
    error = {} if status == "succeeded" else {"last_payment_error": {"code": "debit_failed"}}
    return {"id": "pi_1", "object": "payment_intent", "status": status, "amount": 4000, "amount_received": 4000,
            "currency": "eur", "customer": "cus_1", "created": BEFORE,
            "latest_charge": {"id": "py_1", "object": "charge", "created": BEFORE, "currency": "eur", "amount": 4000,
                              **charge}, **error}  # fmt: skip


def held(*accounts: str) -> dict[str, Decimal]:
    found = {account: ledger.balance_of(account) for account in accounts}
    return {account: amount for account, amount in found.items() if amount}


def test_a_dispute_in_another_currency_is_opened_in_its_own_and_ends_at_nothing(job: Job) -> None:
    """Stripe took 44.00 USD for 40.00 EUR before the cut, and gave 43.50 USD for them back after it."""
    taken = moved("taken", -4400, "usd", BEFORE, "adjustment", category="dispute")
    dispute = {"id": "du_1", "object": "dispute", "charge": "py_1", "payment_intent": "pi_1", "status": "under_review",
               "amount": 4000, "currency": "eur", "created": BEFORE, "balance_transactions": [taken]}  # fmt: skip
    intent = intent_of("succeeded", balance_transaction=moved("paid", 4400, "usd", BEFORE))
    assert bring_payment(intent, invoice_id="", refunds=[], disputes=[dispute], closed_at={}, job=job)
    assert held("disputes:EUR", "disputes:USD") == {"disputes:EUR": 40}

    back = moved("back", 4350, "usd", AFTER, "adjustment", category="dispute_reversal")
    won = {**dispute, "status": "won", "balance_transactions": [taken, back]}
    project_disputes([won], payment=Payment.objects.get(), closed_at={"du_1": job.now}, now=job.now)
    assert held("disputes:EUR", "disputes:USD") == {}
    assert held("stripe:clearing:USD") == {"stripe:clearing:USD": Decimal("43.5")}


def test_a_debit_that_stood_on_our_balance_at_the_cut_and_fails_after_it_is_taken_out_of_the_opening(job: Job) -> None:
    """Some bank debits count while they are pending. Said twice, and where it had failed by the cut, nothing moves."""
    customer = Customer.objects.get()
    counted = moved("counted", 4000, "eur", BEFORE)
    failed = moved("failed", -4000, "eur", AFTER, "payment_failure_refund")
    pending = intent_of("processing", balance_transaction=counted, failure_balance_transaction=None)
    over = intent_of("requires_payment_method", balance_transaction=counted, failure_balance_transaction=failed)
    for intent in (pending, over, over):
        project_payment(intent, customer=customer, invoice=None, now=job.now)
    assert held("stripe:in_transit:EUR", "opening:EUR", "stripe:clearing:EUR") == {
        "stripe:clearing:EUR": -40, "opening:EUR": -40,
    }  # fmt: skip
    long_ago = intent_of(
        "requires_payment_method",
        balance_transaction=counted,
        failure_balance_transaction={**failed, "created": BEFORE},
    )
    project_payment({**long_ago, "id": "pi_2"}, customer=customer, invoice=None, now=job.now)
    assert held("opening:EUR") == {"opening:EUR": -40}
