"""Whole months of usage through Stripe's meters; every figure worked out by hand. A million input tokens are 3 USD."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from billing.catalog.export import document_of
from billing.catalog.fingerprint import terms_fingerprint
from billing.catalog.models import PlanVersion
from billing.catalog.operations import load_catalog, sync_catalog_to_stripe
from billing.catalog.stored import read_stored
from billing.invoicing.metered import sending
from billing.invoicing.metered.models import MeteredEvent, MeteredPrice, MeteredSummary
from billing.invoicing.metered.sending import send_usage
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.orders.thresholds import order_threshold_invoices
from billing.invoicing.proofs.operations import verify_invoice
from billing.rating.operations import accrue_period
from billing.stripe import gateway
from billing.subscriptions.models import BillingPeriod
from ledger import queries as ledger_queries
from promotions.operations import issue_grant
from tests.billing.invoicing.late import assert_reconciled
from tests.billing.invoicing.metered.world import OCT_10, OCT_20, Metered, at_stripe, charged, units
from tests.billing.invoicing.ordering import carry_out_all, people
from tests.billing.invoicing.test_currencies import MONTHS, catalog, subscribe
from tests.billing.thread import SECOND_MONTH, START
from tests.billing.voiding import take_out
from tests.sandbox.client import SandboxProcess

HOUR = timedelta(hours=1)
# What a run asks the database where nobody moved, however many customers there are.
FLAT = 20
THIRD_MONTH = datetime(2026, 12, 1, tzinfo=UTC)
OCT_28 = datetime(2026, 10, 28, tzinfo=UTC)


def assert_the_term_is_everywhere(metered: Metered) -> None:
    """In the document, the fingerprint, and at Stripe."""
    version = PlanVersion.objects.get()
    meaning = read_stored().meaning
    (plan,) = document_of(meaning)["plans"]
    assert plan["versions"][0]["usage_delivery"] == "meter_events"
    fingerprint = terms_fingerprint(version)
    version.usage_delivery = "invoice_lines"
    assert terms_fingerprint(version) != fingerprint
    prices = {price.rate.meter_code: price for price in MeteredPrice.objects.all()}
    assert set(prices) == {"input_tokens", "output_tokens"}
    at_stripe_now = gateway.retrieve(f"/v1/prices/{prices['input_tokens'].stripe_price_id}")
    assert (at_stripe_now["unit_amount"], at_stripe_now["recurring"]["usage_type"]) == (1, "metered")
    assert sync_catalog_to_stripe(now=metered.now) == 0


def test_a_month_is_sent_as_it_grows_and_billed_once(metered: Metered) -> None:
    assert_the_term_is_everywhere(metered)
    subscription = metered.subscribe()
    metered.settle()
    period = BillingPeriod.objects.get()
    metered.at(OCT_10)
    metered.use(1_234_567, at=OCT_10)  # 3.703701
    metered.use(100_000, at=OCT_10, meter="output_tokens")  # 1.50
    assert metered.send() == 2
    assert metered.send() == 0
    assert (units(period), metered.summary(period)) == ([370], 370)
    metered.at(OCT_20)
    metered.use(1_000_000, at=OCT_20)  # 6.703701
    assert metered.send() == 1
    metered.use(1_000, at=OCT_20)  # 6.706701: told in the close
    metered.at(SECOND_MONTH)
    metered.settle()

    assert metered.unfinished() == []
    close = InvoiceClose.objects.get()
    assert (close.step, close.held_reason, close.error) == ("finalized", "", "")
    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    assert charged(invoice) == [("input_tokens", 671, True), ("output_tokens", 150, True)]
    assert at_stripe(invoice) == [150, 671, 2000]
    assert (units(period), metered.summary(period)) == ([370, 300, 1], 671)
    assert (invoice.total_minor, invoice.status) == (2821, "paid")
    assert ledger_queries.out_of_balance() == []
    assert verify_invoice(invoice=invoice, actor="user:tester", now=metered.now).differences == []
    assert all(row.agrees for row in MeteredSummary.objects.all())

    metered.use(2_000_000, at=OCT_20)  # known after the close: a line of the next invoice
    metered.use(1_000_000, at=SECOND_MONTH + 5 * HOUR)
    metered.at(SECOND_MONTH + 10 * HOUR)
    metered.send()
    metered.at(THIRD_MONTH)
    metered.settle()
    assert MeteredEvent.objects.filter(period=period).count() == 4
    last = Invoice.objects.filter(subscription=subscription, billing_reason="subscription_cycle").latest("pk")
    assert charged(last) == [("input_tokens", 300, True), ("input_tokens", 600, False)]
    assert (at_stripe(last), metered.summary(period)) == ([300, 600, 2000], 671)


def test_covered_corrected_and_asked_for_at_a_threshold(metered: Metered, settings: Settings) -> None:
    """
    5.00 of credit pay first; then two million tokens are taken out; then 12.00 are asked for at a threshold. What of
    each was on the meter goes down again. Taken out then, they are less than nothing: a line, and not for a meter.
    """
    settings.BILLING_THRESHOLDS = {"USD": Decimal(10)}
    people()
    metered.subscribe()
    metered.settle()
    period = BillingPeriod.objects.get()
    issue_grant(
        customer_key="ada", name="Welcome", amount=Decimal(5), currency="USD", kind="promotional",
        effective_at=START, expires_at=None, recorded_at=START, idempotency_key="welcome", reason="a test",
        actor="user:tester",
    )  # fmt: skip
    metered.at(OCT_10)
    metered.use(1_000_000, at=OCT_10)
    metered.use(2_000_000, at=OCT_10 - HOUR)  # 9.00, of which 5.00 are covered
    metered.send()
    assert units(period) == [400]
    metered.at(OCT_10 + HOUR)
    take_out("ada", at=OCT_10 - HOUR, now=metered.now)
    metered.send()
    assert units(period) == [400, -400]  # 3.00, covered
    metered.at(OCT_20)
    metered.use(5_000_000, at=OCT_20)  # 18.00, of which 13.00 are left
    metered.send()
    assert metered.summary(period) == 1300
    assert len(order_threshold_invoices(now=OCT_20)) == 1
    carry_out_all(metered)
    metered.at(OCT_20 + HOUR)
    metered.use(500_001, at=OCT_20)  # 1.500003
    metered.send()
    assert units(period) == [400, -400, 1300, -1150]
    take_out("ada", at=OCT_20, now=metered.now)
    metered.use(100_000, at=OCT_20 + HOUR, meter="output_tokens")
    metered.at(OCT_20 + 2 * HOUR)
    metered.send()
    metered.at(SECOND_MONTH)
    metered.settle()

    first = Invoice.objects.get(billing_reason="manual")
    assert (first.close.held_reason, first.close.error, first.status) == ("", "", "paid")
    assert (charged(first), first.total_minor) == ([("input_tokens", 1300, False)], 1300)
    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    assert charged(invoice) == [("input_tokens", -1300, False), ("output_tokens", 0, True)]
    assert (at_stripe(invoice), units(period)) == ([-1300, 2000], [400, -400, 1300, -1150, -150])
    assert metered.summary(period) == 0
    metered.sandbox.advance(SECOND_MONTH + HOUR)
    assert_reconciled(metered)


def use_in(metered: Metered, currencies: Iterable[str]) -> None:
    """A customer in each currency, who uses the same on 10 October."""
    for currency in currencies:
        fee_minor, price, _ = MONTHS[currency]
        document = catalog(currency, fee_minor, price)
        document["plans"][0]["versions"][0]["usage_delivery"] = "meter_events"  # type: ignore[index]
        load_catalog(document, now=metered.now)
    sync_catalog_to_stripe(now=metered.now)
    for currency in currencies:
        subscribe(metered, currency)
        metered.use(1_234_567, at=OCT_10, customer_key=currency.lower())
    metered.settle()
    metered.at(OCT_10)
    metered.aggregate()


def test_a_run_that_was_ended_is_gone_on_with_behind_it(metered: Metered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first of so many that a run cannot send all would be sent each hour, and the last never."""
    monkeypatch.setattr(sending, "AT_ONCE_MAX", 1)
    use_in(metered, ("KWD", "ISK"))
    first, second = BillingPeriod.objects.order_by("pk").values_list("pk", flat=True)
    for period_id in (first, second):
        accrue_period(period_id=period_id, now=OCT_10)
    cache.set(sending.SENT_CACHE_KEY, first)  # the last run came so far
    assert send_usage(now=OCT_10) == 2
    assert list(MeteredEvent.objects.order_by("pk").values_list("period_id", flat=True)) == [second, first]


def test_one_unit_is_what_can_be_charged(metered: Metered) -> None:
    """One that is ten minor units, and one that is a hundred; yen are as cents are."""
    targets = {"KWD": 111, "ISK": 515}
    use_in(metered, targets)
    accrue_period(period_id=BillingPeriod.objects.earliest("pk").pk, now=OCT_10)
    assert send_usage(now=OCT_10) == 1
    with CaptureQueriesContext(connection) as one_moved:
        assert send_usage(now=OCT_10) == 0
    assert metered.send() == 1
    with CaptureQueriesContext(connection) as two_moved:
        assert send_usage(now=OCT_10) == 0
    assert len(one_moved) == len(two_moved) <= FLAT
    metered.at(SECOND_MONTH)
    metered.settle()

    for currency, target in targets.items():
        fee_minor, _, in_minor = MONTHS[currency]
        invoice = Invoice.objects.get(billing_reason="subscription_cycle", currency=currency)
        assert units(BillingPeriod.objects.get(close__invoice=invoice)) == [target]
        assert charged(invoice) == [("input_tokens", in_minor, True)]
        assert (invoice.total_minor, invoice.status) == (fee_minor + in_minor, "paid")


def test_a_plan_of_days_is_billed_by_its_meters_each_day(committed_db: None, at_sandbox: SandboxProcess) -> None:
    """3.00 at ten, sent; 3.00 more in the last minute, told in the close: each on the day it was used."""
    metered, day = Metered(at_sandbox, interval="day", fee_minor=100), timedelta(days=1)
    metered.at(OCT_28)
    metered.subscribe()
    metered.settle()
    for number in range(3):
        start = OCT_28 + number * day
        metered.at(start + 10 * HOUR)
        metered.use(1_000_000, at=start + 10 * HOUR)
        assert metered.send() == 1
        metered.use(1_000_000, at=start + day - timedelta(seconds=20))
        metered.at(start + day)
        metered.settle()

    closed = list(Invoice.objects.filter(billing_reason="subscription_cycle").order_by("created_at"))
    assert [charged(invoice) for invoice in closed] == [[("input_tokens", 600, True)]] * 3
    assert [(at_stripe(invoice), invoice.status) for invoice in closed] == [([100, 600], "paid")] * 3
    for invoice in closed:
        assert verify_invoice(invoice=invoice, actor="user:tester", now=metered.now).differences == []
    assert ledger_queries.out_of_balance() == []
    metered.sandbox.advance(OCT_28 + 3 * day + HOUR)
    assert_reconciled(metered)
