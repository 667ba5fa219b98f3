"""
Whole months in currencies of two, zero and three decimals, and of whole units stated times a hundred (DESIGN §3.6).

Each customer's usage comes to parts of the smallest step that can be charged; what rounding added is in the books, and
everything Stripe holds equals everything the ledger holds, to that step.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from billing.catalog.models import PlanVersion
from billing.catalog.operations import load_catalog, sync_catalog_to_stripe
from billing.customers.operations import create_customer
from billing.invoicing.holding import release_close
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.orders.thresholds import order_threshold_invoices
from billing.invoicing.rounding import chargeable_increment_minor, from_minor
from billing.payments.models import Payment
from billing.payments.refunding.operations import request_refund
from billing.payments.two_people import InvalidRequest
from billing.rating.operations import accrue_period
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import create_subscription, start_at_stripe
from ledger import queries as ledger_queries
from tests.billing.accounting.people import FIONA, hire
from tests.billing.invoicing.late import OCT_10, OCT_20, assert_reconciled, october
from tests.billing.invoicing.ordering import FINANCE, carry_out_all, people
from tests.billing.thread import MODEL, SECOND_MONTH, Thread
from tests.billing.voiding import take_out
from tests.sandbox.client import SandboxProcess

# Currency: fee in minor units, price of a million tokens, and what 1,234,567 tokens are charged in minor units.
MONTHS = {
    "JPY": (3000, "450", 556),  # 555.55515
    "KWD": (6000, "0.9", 1110),  # 1.1111103 of a dinar, in steps of 0.010
    "UGX": (7_500_000, "11000", 1_358_000),  # 13580.237
    "ISK": (280_000, "417", 51_500),  # 514.814439
}


def catalog(currency: str, fee_minor: int, price: str) -> dict[str, object]:
    code = currency.lower()
    card = {
        "code": f"card-{code}",
        "name": "Prices",
        "currency": currency,
        "effective_from": "2020-01-01T00:00:00Z",
        "models": [{"model": MODEL, "rates": {"input_tokens": price}}],
    }
    terms = {"currency": currency, "fee_minor": fee_minor, "included_amount": "0", "rate_card": f"card-{code}"}
    plan = {"code": f"pro-{code}", "name": f"Pro {currency}", "versions": [{"version": 1, **terms}]}
    return {"rate_cards": [card], "plans": [plan]}


def subscribe(thread: Thread, currency: str) -> None:
    starts_at = datetime.fromtimestamp(thread.sandbox.now(), tz=UTC)
    customer = create_customer(
        customer_key=currency.lower(),
        name=currency,
        email=f"{currency}@example.com",
        kind="individual",
        currency=currency,
        created_at=starts_at,
        actor="user:tester",
    )
    version = PlanVersion.objects.get(plan__code=f"pro-{currency.lower()}")
    made = create_subscription(
        customer=customer, plan_version=version, seats=1, starts_at=starts_at, actor="user:tester"
    )
    start_at_stripe(subscription_id=made.pk, payment_method="pm_card_visa", now=thread.now)


def test_whole_months_end_to_the_step_in_every_kind_of_currency(thread: Thread) -> None:
    hire()
    for currency, (fee_minor, price, _) in MONTHS.items():
        load_catalog(catalog(currency, fee_minor, price), now=thread.now)
    sync_catalog_to_stripe(now=thread.now)
    for currency in MONTHS:
        subscribe(thread, currency)
        thread.use(1_234_567, at=OCT_10, customer_key=currency.lower())
    thread.settle()
    thread.sandbox.advance(SECOND_MONTH)
    thread.settle()

    for currency, (fee_minor, _, charged) in MONTHS.items():
        invoice = Invoice.objects.get(billing_reason="subscription_cycle", currency=currency)
        line = invoice.lines.get(kind="usage")
        assert (invoice.status, invoice.total_minor, line.amount_minor) == ("paid", fee_minor + charged, charged)
        assert line.exact_amount + line.rounding == from_minor(charged, currency)
        assert abs(line.rounding) * 2 <= from_minor(chargeable_increment_minor(currency), currency)
        for account in (f"unbilled:{currency.lower()}", f"receivable:{currency.lower()}"):
            assert ledger_queries.balance_of(f"{account}:{currency}") == 0, account
        total = sum(row.rounding for row in InvoiceLine.objects.filter(invoice__currency=currency))
        assert ledger_queries.balance_of(f"rounding:{currency}") == total
        assert_refunded_in_steps(currency)
    assert_reconciled(thread)


def assert_refunded_in_steps(currency: str) -> None:
    """What is between two steps Stripe refuses (https://docs.stripe.com/currencies): it is not asked for here."""
    payment, step = Payment.objects.filter(currency=currency).latest("pk"), chargeable_increment_minor(currency)
    asked: dict[str, Any] = {"reason_code": "goodwill", "reason": "sorry", "idempotency_key": "k", "actor": FIONA}
    if step > 1:
        with pytest.raises(InvalidRequest, match=f"in steps of {step}"):
            request_refund(payment_id=payment.pk, amount_minor=step + 1, now=SECOND_MONTH, **asked)


def test_a_total_below_zero_is_held_and_then_goes_onto_the_balance(
    committed_db: None, at_sandbox: SandboxProcess, settings: Settings
) -> None:
    """12.00 were asked for at the threshold; then the events were taken out: the month comes to -12.00."""
    settings.BILLING_THRESHOLDS = {"USD": Decimal(10)}
    people()
    thread = Thread(at_sandbox, fee_minor=0)
    thread.subscribe()
    thread.settle()
    thread.use(4_000_000, at=OCT_10)
    thread.aggregate()
    accrue_period(period_id=october().pk, now=thread.now)
    assert len(order_threshold_invoices(now=OCT_20)) == 1
    carry_out_all(thread)
    take_out("ada", at=OCT_10, now=thread.now)
    thread.sandbox.advance(SECOND_MONTH)
    thread.settle()

    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    assert (invoice.status, invoice.total_minor) == ("draft", -1200)
    assert invoice.close.held_reason == "the total is below zero: -12.00 USD"
    release_close(close_id=invoice.close.pk, words="usage was voided", actor=FINANCE, now=thread.now)
    thread.settle()
    invoice.refresh_from_db()
    assert (invoice.status, invoice.amount_due_minor, BillingPeriod.objects.filter(state="closed").count()) == (
        "paid",
        0,
        1,
    )
    assert thread.balances()["balance"] == 12
    assert "unbilled" not in thread.balances()
    assert_reconciled(thread)
