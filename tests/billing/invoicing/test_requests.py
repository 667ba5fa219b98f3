"""Asking for one-offs, voids and credit notes: limits, two people, and what is done at Stripe, once."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from billing.invoicing.models import CreditNote, Invoice
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.orders.operations import OrderedLine
from billing.invoicing.requests import operations, terms
from billing.invoicing.requests.models import InvoiceRequest
from billing.invoicing.requests.terms import CreditedPart
from billing.stripe import gateway
from tests.billing.invoicing.late import OCT_10, assert_reconciled, bill_november, october
from tests.billing.invoicing.ordering import FINANCE, SECOND, SUCCESS, carry_out_all, people
from tests.billing.thread import SECOND_MONTH, Thread
from tests.factories import NOVEMBER, CustomerFactory

Refused = terms.InvoiceRequestError


@dataclass
class Moment:
    """What of a world these need: the time."""

    now: datetime


@pytest.fixture
def month(thread: Thread) -> Thread:
    """Ada's first fee of 20.00 is paid, and people may act."""
    people()
    thread.subscribe()
    thread.settle()
    return thread


@pytest.fixture
def open_invoice(month: Thread) -> Invoice:
    """23.00 for October that the card declined: 20.00 of the next fee and 3.00 of usage."""
    month.use_card("ada", "pm_card_chargeCustomerFail")
    month.use(1_000_000, at=OCT_10)
    month.sandbox.advance(SECOND_MONTH)
    month.settle()
    month.use_card("ada", "pm_card_visa")
    return Invoice.objects.get(billing_reason="subscription_cycle")


def ask(thread: Thread | Moment, wanted: terms.Wanted, *, actor: str = FINANCE, key: str = "one") -> InvoiceRequest:
    return operations.ask(wanted, reason="a test", actor=actor, idempotency_key=key, now=thread.now)


def one_off(*amounts: int) -> terms.Wanted:
    return terms.one_off(customer_key="ada", lines=[OrderedLine("Work", amount) for amount in amounts])


def refused(work: Callable[[], Any]) -> str:
    with pytest.raises(Refused) as caught:
        work()
    return str(caught.value)


class TestTwoPeople:
    @pytest.fixture
    def month(self, db: None) -> Moment:
        """Ada is a customer, and people may act: nothing here speaks with Stripe."""
        people()
        CustomerFactory(customer_key="ada", currency="USD")
        return Moment(NOVEMBER)

    def test_above_the_limit_a_second_person_decides_and_only_then_it_is_ordered(self, month: Moment) -> None:
        within = ask(month, one_off(20000), actor=SUCCESS)
        assert (within.state, InvoiceOrder.objects.count()) == ("done", 1)
        # In parts it is no less: 200 and 100 are more than the 250 that one person may move alone in a day.
        asked = ask(month, one_off(10000), actor=SUCCESS, key="two")
        assert (asked.state, str(asked.alone_total.normalize())) == ("waiting", "3E+2")
        assert InvoiceOrder.objects.count() == 1

        common: dict[str, Any] = {"request_id": asked.pk, "words": "seen", "now": month.now}
        assert "Say why" in refused(lambda: operations.approve(actor=FINANCE, **{**common, "words": " "}))
        assert "permission" in refused(lambda: operations.approve(actor=SUCCESS, **common))
        assert "Only who asked" in refused(lambda: operations.withdraw(actor=SECOND, **common))
        operations.approve(actor=FINANCE, **common)
        assert operations.approve(actor=FINANCE, **common).state == "done"
        assert "approved by fiona" in refused(lambda: operations.reject(actor=SECOND, **common))
        assert InvoiceOrder.objects.count() == 2

    def test_who_asked_cannot_approve_it(self, month: Moment) -> None:
        asked = ask(month, one_off(30000))
        said = refused(lambda: operations.approve(request_id=asked.pk, words="x", actor=FINANCE, now=month.now))
        assert "You asked for this" in said
        called_off = operations.withdraw(request_id=asked.pk, words="a mistake", actor=FINANCE, now=month.now)
        assert (called_off.state, InvoiceOrder.objects.count()) == ("called_off", 0)

    def test_a_service_orders_within_the_limit_and_nothing_waits_for_it(self, month: Moment) -> None:
        assert ask(month, one_off(25000), actor="service:shop").state == "done"
        said = refused(lambda: ask(month, one_off(1), actor="service:shop", key="two"))
        assert "A person has to ask for it" in said
        assert InvoiceRequest.objects.count() == 1

    def test_the_same_key_asks_once_and_for_nothing_else(self, month: Moment) -> None:
        first = ask(month, one_off(100))
        assert ask(month, one_off(100)).pk == first.pk
        assert "other content" in refused(lambda: ask(month, one_off(101)))

    @pytest.mark.parametrize("amount", [0, -5])
    def test_nothing_is_charged_for_nothing(self, month: Moment, amount: int) -> None:
        assert "more than nothing" in refused(lambda: one_off(amount))


class TestVoid:
    def test_and_reissue_asks_for_all_of_it_again(self, month: Thread, open_invoice: Invoice) -> None:
        """F#1765: voided invoices blocked a reissue. L#5495: a concurrent void; here somebody voids it at Stripe."""
        asked = ask(month, terms.void(invoice=open_invoice, usage="reissue"))
        assert "not finished" in refused(
            lambda: ask(month, terms.void(invoice=open_invoice, usage="absorb"), actor=SECOND, key="two")
        )
        gateway.request("post", f"/v1/invoices/{open_invoice.stripe_invoice_id}/void")
        carry_out_all(month)

        asked.refresh_from_db()
        order = InvoiceOrder.objects.get(kind="reissue")
        assert (asked.state, asked.outcome) == ("done", f"Void; order {order.pk} asks for it again")
        assert order.invoice is not None
        assert (order.invoice.status, order.invoice.total_minor, order.replaces) == ("paid", 2300, open_invoice)
        assert "unbilled" not in month.balances()
        assert_reconciled(month)
        # Void already: a second wish about it is about its usage alone, and there is none left to ask for.
        void = Invoice.objects.get(pk=open_invoice.pk)
        ask(month, terms.void(invoice=void, usage="next_invoice"), key="three")
        carry_out_all(month)
        assert InvoiceRequest.objects.latest("pk").state == "done"

    def test_leaves_the_usage_for_the_next_invoice(self, month: Thread, open_invoice: Invoice) -> None:
        ask(month, terms.void(invoice=open_invoice, usage="next_invoice"))
        carry_out_all(month)
        assert month.balances()["unbilled"] == 3
        latest = bill_november(month)
        assert [(line.kind, line.amount_minor) for line in latest.lines.all()] == [("usage", 300), ("fee", 2000)]

    def test_absorbs_the_usage(self, month: Thread, open_invoice: Invoice) -> None:
        ask(month, terms.void(invoice=open_invoice, usage="absorb"))
        carry_out_all(month)
        balances = month.balances()
        assert ("unbilled" not in balances, balances["contra:adjustments"]) == (True, 3)
        assert_reconciled(month)

    def test_of_a_paid_invoice_is_refused_with_the_remedy(self, month: Thread) -> None:
        said = refused(lambda: terms.void(invoice=Invoice.objects.get(), usage="absorb"))
        assert "Give back what was paid by a credit note" in said


class TestCreditNote:
    def test_on_a_paid_invoice_goes_onto_the_balance_once(self, month: Thread) -> None:
        """F 2026-08-06: credit note finalised twice. Two workers and a repeat make one."""
        invoice = Invoice.objects.get()
        line = invoice.lines.get()
        wanted = terms.credit_note(invoice=invoice, parts=[CreditedPart(line.pk, 500)], way="balance")
        asked = ask(month, wanted, actor=SUCCESS)
        assert "1500 minor units can be given back" in refused(
            lambda: terms.credit_note(invoice=invoice, parts=[CreditedPart(line.pk, 1501)], way="balance")
        )
        carry_out_all(month)
        # As if the worker had died before it wrote down what came of it.
        InvoiceRequest.objects.filter(pk=asked.pk).update(next_attempt_at=month.now)
        carry_out_all(month)

        note = CreditNote.objects.get()
        asked.refresh_from_db()
        assert (note.to_balance_minor, asked.credit_note, asked.state) == (500, note, "done")
        assert month.calls_counted("POST /v1/credit_notes") == 1
        assert (month.balances()["balance"], month.balances()["contra:refunds"]) == (5, 5)
        assert_reconciled(month)

    def test_takes_off_what_is_open_and_nothing_more(self, month: Thread, open_invoice: Invoice) -> None:
        fee = open_invoice.lines.get(kind="fee")
        part = [CreditedPart(fee.pk, 2000)]
        assert "All of it is still open" in refused(
            lambda: terms.credit_note(invoice=open_invoice, parts=part, way="refund")
        )
        ask(month, terms.credit_note(invoice=open_invoice, parts=part, way="open"))
        carry_out_all(month)
        open_invoice.refresh_from_db()
        assert (open_invoice.amount_remaining_minor, open_invoice.credited_before_payment_minor) == (300, 2000)
        assert october().state == "closed"
