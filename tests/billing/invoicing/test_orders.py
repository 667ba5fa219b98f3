"""Invoices of our making: at a threshold, for the end of a subscription, one-off, and in place of a void one."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from billing.customers.operations import lock_customer
from billing.invoicing.models import Invoice
from billing.invoicing.orders.carrying_out import carry_out
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.orders.operations import (
    OrderConflict,
    OrderedLine,
    order_closing_invoice,
    order_one_off,
)
from billing.invoicing.orders.repeating import order_again, waiting_for_a_person
from billing.invoicing.orders.thresholds import order_threshold_invoices, reached
from billing.rating import queries as rating_queries
from billing.rating.operations import accrue_period
from billing.stripe import gateway
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import close_period
from tests.billing.invoicing.late import OCT_10, OCT_20, assert_reconciled, cancel, october
from tests.billing.invoicing.ordering import FINANCE, carry_out_all, invoice_of, people
from tests.billing.thread import SECOND_MONTH, Thread

OCT_25 = datetime(2026, 10, 25, 12, tzinfo=UTC)


def at(thread: Thread, moment: datetime) -> None:
    """Stripe's clock and the instant at which tasks look; ours stays ahead of both."""
    thread.sandbox.advance(moment)


def find_thresholds(thread: Thread, moment: datetime) -> list[InvoiceOrder]:
    thread.aggregate()
    accrue_period(period_id=october().pk, now=thread.now)
    return order_threshold_invoices(now=moment)


class TestThreshold:
    @pytest.fixture(autouse=True)
    def _ten_dollars(self, settings: Settings) -> None:
        settings.BILLING_THRESHOLDS = {"USD": Decimal(10)}

    def test_asks_for_what_is_on_no_invoice_and_the_close_only_for_the_rest(self, thread: Thread) -> None:
        """4 million tokens are 12.00 USD; two more million after that are 6.00 on the invoice of the month."""
        thread.subscribe()
        thread.settle()
        thread.use(4_000_000, at=OCT_10)
        at(thread, OCT_20)
        thread.aggregate()
        accrue_period(period_id=october().pk, now=thread.now)
        with CaptureQueriesContext(connection) as queries:
            assert len(reached(now=OCT_20)) == 1
        assert len(queries) == 1  # however many customers there are
        (order,) = find_thresholds(thread, OCT_20)
        carry_out_all(thread)

        first = invoice_of(order)
        assert (first.status, first.total_minor, first.billing_reason) == ("paid", 1200, "manual")
        assert october().state == "open"
        assert rating_queries.uninvoiced(october().subscription_id, october().pk) == []
        assert find_thresholds(thread, OCT_25) == []

        thread.use(2_000_000, at=OCT_20)
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()
        last = Invoice.objects.get(billing_reason="subscription_cycle")
        usage = last.lines.get(kind="usage")
        assert (last.total_minor, usage.amount_minor) == (2600, 600)
        assert usage.description.endswith("= 18 USD, less 12 USD on earlier invoices")
        assert october().state == "closed"
        assert "unbilled" not in thread.balances()
        assert_reconciled(thread)

    def test_that_is_not_paid_makes_no_other_and_usage_after_it_counts_for_the_next(self, thread: Thread) -> None:
        thread.subscribe()
        thread.settle()
        thread.use_card("ada", "pm_card_chargeCustomerFail")
        thread.use(4_000_000, at=OCT_10)
        at(thread, OCT_20)
        (order,) = find_thresholds(thread, OCT_20)
        carry_out_all(thread)
        assert invoice_of(order).status == "open"

        thread.use(5_000_000, at=OCT_20)
        assert find_thresholds(thread, OCT_25) == []
        thread.use_card("ada", "pm_card_visa")
        gateway.request("post", f"/v1/invoices/{invoice_of(order).stripe_invoice_id}/pay")
        thread.settle()
        # It doubled with the one that was paid: 15.00 are less than 20.00.
        assert find_thresholds(thread, OCT_25) == []
        thread.use(2_000_000, at=OCT_20)
        (second,) = find_thresholds(thread, OCT_25)
        assert (second.amount_minor, second.idempotency_key) == (2100, f"threshold:{october().pk}:2")
        assert second.reason == "Usage on no invoice came to 21 USD; the threshold is 20 USD"

    def test_of_a_void_one_is_not_asked_for_again_by_itself_but_by_the_close(self, thread: Thread) -> None:
        thread.subscribe()
        thread.settle()
        thread.use_card("ada", "pm_card_chargeCustomerFail")
        thread.use(4_000_000, at=OCT_10)
        at(thread, OCT_20)
        (order,) = find_thresholds(thread, OCT_20)
        carry_out_all(thread)
        gateway.request("post", f"/v1/invoices/{invoice_of(order).stripe_invoice_id}/void")
        thread.settle()
        assert find_thresholds(thread, OCT_25) == []
        # Nor with what is used after it, whose invoice would ask for the void one's 12.00 too.
        thread.use(5_000_000, at=OCT_20)
        assert find_thresholds(thread, OCT_25) == []

        thread.use_card("ada", "pm_card_visa")
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()
        assert Invoice.objects.get(billing_reason="subscription_cycle").total_minor == 4700
        assert_reconciled(thread)

    def test_is_dropped_when_the_period_was_invoiced_as_a_whole_meanwhile(self, thread: Thread) -> None:
        thread.subscribe()
        thread.use(4_000_000, at=OCT_10)
        (refused,) = find_thresholds(thread, OCT_20)
        people()
        # Stripe refuses one: no other is made every few minutes, until a person has it made once more.
        InvoiceOrder.objects.update(state="refused", outcome="no", finished_at=thread.now)
        assert find_thresholds(thread, OCT_20) == []
        assert waiting_for_a_person(now=thread.now).get() == refused
        order = order_again(order_id=refused.pk, words="mended", actor=FINANCE, now=thread.now)
        assert waiting_for_a_person(now=thread.now).count() == 0
        close_period(period_id=october().pk, now=thread.now)
        assert carry_out(order_id=order.pk, now=thread.now) is None

        order.refresh_from_db()
        assert (order.state, order.outcome) == ("dropped", "The period was invoiced as a whole meanwhile")
        assert thread.calls_counted("POST /v1/invoices") == 0


class TestClosing:
    @pytest.fixture
    def ended(self, thread: Thread) -> Thread:
        """The subscription ends on 20 October, as SUBSCRIPTIONS ends it: the open period is cut at that instant."""
        thread.subscribe()
        thread.use(4_000_000, at=OCT_10)
        thread.settle()
        thread.sandbox.advance(OCT_20)
        cancel(thread)
        BillingPeriod.objects.filter(pk=october().pk).update(ends_at=OCT_20)
        return thread

    def order(self, thread: Thread) -> InvoiceOrder:
        with transaction.atomic():
            lock_customer(customer_id=october().subscription.customer_id)
            return order_closing_invoice(period=october(), actor="user:tester", now=thread.now)

    def test_asks_for_the_usage_of_the_last_period_once(self, ended: Thread, settings: Settings) -> None:
        order = self.order(ended)
        assert self.order(ended) == order
        # Its usage is not all counted yet: there is no draft before that.
        settings.BILLING_CLOSE_GRACE_SECONDS = 36_600 * 86_400  # over in no year that this is run in
        assert carry_out(order_id=order.pk, now=ended.now) is None
        order.refresh_from_db()
        assert (order.state, order.request) == ("intended", None)
        assert order.error.endswith("is not aggregated yet")
        settings.BILLING_CLOSE_GRACE_SECONDS = 0
        ended.now += timedelta(minutes=1)
        carry_out_all(ended)
        invoice = invoice_of(order)
        assert (invoice.status, invoice.total_minor) == ("paid", 1200)
        assert [line.kind for line in invoice.lines.all()] == ["usage"]
        assert (october().state, invoice.close.period) == ("closed", october())
        assert invoice.subscription == october().subscription
        assert "unbilled" not in ended.balances()
        assert_reconciled(ended)

    def test_without_anything_to_invoice_closes_the_period_and_gives_up_what_is_too_small(self, thread: Thread) -> None:
        """1,000 tokens are 0.003 USD."""
        thread.subscribe()
        thread.use(1_000, at=OCT_10)
        thread.settle()
        thread.sandbox.advance(OCT_20)
        cancel(thread)
        BillingPeriod.objects.filter(pk=october().pk).update(ends_at=OCT_20)
        order = self.order(thread)
        carry_out_all(thread)
        order.refresh_from_db()
        assert (order.state, order.outcome, order.invoice) == ("dropped", "Nothing was left to invoice", None)
        assert october().state == "closed"
        assert thread.balances()["contra:adjustments"] == Decimal("0.003")
        assert "unbilled" not in thread.balances()


class TestOneOff:
    def order(self, thread: Thread, *lines: OrderedLine, key: str = "one") -> InvoiceOrder:
        customer = october().subscription.customer
        with transaction.atomic():
            lock_customer(customer_id=customer.pk)
            return order_one_off(
                customer=customer, lines=lines, reason="a test", actor="user:fiona", idempotency_key=key, now=thread.now
            )

    def test_is_revenue_of_its_own_and_said_twice_one_invoice(self, thread: Thread) -> None:
        subscription = thread.subscribe()
        thread.settle()
        # Somebody's floating item: it stays where it is.
        pending = {"customer": subscription.customer.stripe_customer_id, "amount": 777, "currency": "usd"}
        gateway.request("post", "/v1/invoiceitems", pending)
        lines = (OrderedLine("Onboarding", 15000), OrderedLine("Travel", 2599, is_taxed=False))
        order = self.order(thread, *lines)
        assert self.order(thread, *lines) == order
        with pytest.raises(OrderConflict):
            self.order(thread, OrderedLine("Onboarding", 1))
        carry_out_all(thread)

        invoice = invoice_of(order)
        assert (invoice.status, invoice.total_minor) == ("paid", 17599)
        assert [(line.kind, line.description) for line in invoice.lines.all()] == [
            ("one_off", "Onboarding"),
            ("one_off", "Travel"),
        ]
        assert thread.balances()["revenue:other"] == Decimal("175.99")
        assert [step.step for step in invoice.close.steps.all()][:2] == ["started", "accrued"]
        assert_reconciled(thread)
