"""Double invoicing as it reached customers of others (field.md, section E), each with what holds here."""

import threading
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import connections, transaction
from pytest_django.fixtures import Settings

from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.invoicing.closing import advance_close
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.orders.operations import OrderedLine
from billing.invoicing.orders.thresholds import order_threshold_invoices
from billing.invoicing.requests import operations, terms
from billing.invoicing.requests.carrying_out import carry_out_request
from billing.invoicing.requests.models import InvoiceRequest
from billing.invoicing.requests.terms import CreditedPart
from billing.payments.models import Payment
from billing.rating.operations import accrue_period
from billing.stripe import gateway
from billing.stripe.errors import StripeRefused
from tests.billing.invoicing.late import OCT_10, OCT_20, assert_reconciled, october
from tests.billing.invoicing.ordering import FINANCE, carry_out_all, people
from tests.billing.thread import SECOND_MONTH, Thread


def both(*work: Callable[[], object]) -> None:
    """Run these at the same time, each on a connection of its own."""
    failures: list[BaseException] = []
    begin = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> None:
        try:
            begin.wait(timeout=60)
            one()
        except BaseException as error:  # noqa: BLE001  (shown by the assertion below)
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []


@pytest.fixture
def due(thread: Thread) -> Thread:
    """October is over, 3.00 of usage and 20.00 of the next fee are to be closed."""
    people()
    thread.subscribe()
    thread.settle()
    thread.use(1_000_000, at=OCT_10)
    thread.sandbox.advance(SECOND_MONTH)
    thread.settle(is_closing=False)
    return thread


def test_p11065_a_scheduler_that_runs_a_cycle_twice_at_once_bills_it_once(due: Thread) -> None:
    close_id = InvoiceClose.objects.get().pk
    for _ in range(5):
        both(*[lambda: advance_close(close_id=close_id, now=due.now)] * 2)
        InvoiceClose.objects.update(next_attempt_at=due.now)  # as if the first had died: its lease is over
    due.settle()
    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    assert (invoice.status, invoice.total_minor, invoice.lines.filter(kind="usage").count()) == ("paid", 2300, 1)
    assert [due.calls_counted(f"POST /v1/invoices/{invoice.stripe_invoice_id}/{verb}") for verb in ("add_lines",)] == [
        1
    ]
    assert_reconciled(due)


def test_l5523_finalised_at_stripe_while_we_were_about_to_is_finalised_once(due: Thread) -> None:
    """L#5708 beside it: whoever pays by hand what is charged automatically pays once."""
    close = InvoiceClose.objects.get()
    while close.step != "proved":
        advance_close(close_id=close.pk, now=due.now)
        close.refresh_from_db()
    invoice_id = close.invoice.stripe_invoice_id
    gateway.request("post", f"/v1/invoices/{invoice_id}/finalize")
    gateway.request("post", f"/v1/invoices/{invoice_id}/pay")
    with pytest.raises(StripeRefused):
        gateway.request("post", f"/v1/invoices/{invoice_id}/pay")
    due.settle()
    close.refresh_from_db()
    assert (close.step, close.held_reason) == ("finalized", "")
    assert "by somebody else" in close.steps.get(step="finalized").detail
    assert Payment.objects.filter(invoice=close.invoice, status="succeeded").count() == 1
    assert_reconciled(due)


def test_om4681_polar_2025_11_17_no_lock_of_one_customer_holds_another_customers_invoice_up(due: Thread) -> None:
    """Numbers are Stripe's; what we lock is the customer. P 2025-11-17: an index lock on numbers stopped everybody."""
    due.subscribe("bob")
    close_id = InvoiceClose.objects.get().pk
    with transaction.atomic():
        lock_customer(customer_id=Customer.objects.get(customer_key="bob").pk)
        both(lambda: advance_close(close_id=close_id, now=due.now))
    assert InvoiceClose.objects.get().step == "accrued"


def test_f1765_kb1503_a_credit_note_a_void_and_a_reissue_leave_books_at_rest(due: Thread) -> None:
    """KB#1505, KB#1503: illegal state after repair and adjustment; KB#877: billed again is not billed twice."""
    due.use_card("ada", "pm_card_chargeCustomerFail")
    due.settle()
    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    part = [CreditedPart(invoice.lines.get(kind="fee").pk, 500)]
    credit = terms.credit_note(invoice=invoice, parts=part, way="open")
    operations.ask(credit, reason="too much", actor=FINANCE, idempotency_key="credit", now=due.now)
    carry_out_all(due)
    invoice.refresh_from_db()
    due.use_card("ada", "pm_card_visa")
    # Issued again, it would ask for what the credit note gave back: that has to go first.
    with pytest.raises(terms.InvalidRequest, match=r"of \$5\.00 stands on it"):
        terms.void(invoice=invoice, usage="reissue")
    gateway.request("post", f"/v1/credit_notes/{invoice.credit_notes.get().stripe_credit_note_id}/void")
    due.settle()
    invoice.refresh_from_db()
    asked = operations.ask(
        terms.void(invoice=invoice, usage="reissue"),
        reason="wrong address",
        actor=FINANCE,
        idempotency_key="void",
        now=due.now,
    )
    # L#5495, a concurrent void: the worker dies just before it writes down what came of it, and another goes on.
    gateway.request("post", f"/v1/invoices/{invoice.stripe_invoice_id}/void")
    both(*[lambda: carry_out_request(request_id=asked.pk, now=due.now)] * 2)
    carry_out_all(due)

    asked.refresh_from_db()
    assert asked.state == InvoiceRequest.State.DONE
    reissued = InvoiceOrder.objects.get(kind="reissue").invoice
    assert reissued is not None
    assert (reissued.status, reissued.total_minor) == ("paid", 2300)
    assert "unbilled" not in due.balances()
    assert "receivable" not in due.balances()
    assert_reconciled(due)


def test_f1400_two_wishes_of_one_minute_and_one_content_are_two_invoices(thread: Thread, settings: Settings) -> None:
    """And P#11065 once more: two schedulers that find one threshold at once make one invoice."""
    people()
    settings.BILLING_THRESHOLDS = {"USD": Decimal(10)}
    thread.subscribe()
    thread.settle()
    wanted = terms.one_off(customer_key="ada", lines=[OrderedLine("Work", 5000)])
    for key in ("one", "two", "two"):
        operations.ask(wanted, reason="a test", actor=FINANCE, idempotency_key=key, now=thread.now)
    thread.use(4_000_000, at=OCT_10)
    thread.aggregate()
    accrue_period(period_id=october().pk, now=thread.now)
    both(*[lambda: order_threshold_invoices(now=OCT_20)] * 2)
    carry_out_all(thread)
    made = InvoiceOrder.objects.order_by("pk").values_list("kind", "invoice__total_minor", "invoice__status")
    assert list(made) == [("one_off", 5000, "paid"), ("one_off", 5000, "paid"), ("threshold", 1200, "paid")]
    assert_reconciled(thread)
