"""What a void does with usage: never more than the invoice asked for, and only what is possible when it is done."""

from datetime import timedelta
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from billing.customers.models import Customer
from billing.invoicing.late_models import LateCorrection
from billing.invoicing.models import CreditNote, Invoice, InvoiceLine
from billing.invoicing.orders.operations import order_reissue
from billing.invoicing.orders.reissuing import obstacle
from billing.invoicing.requests import operations, terms
from billing.invoicing.requests.carrying_out import carry_out_request
from billing.invoicing.requests.models import InvoiceRequest
from billing.rating import queries as rating_queries
from billing.rating.operations import accrue_period
from billing.stripe import gateway
from billing.subscriptions.models import Subscription
from tests.billing.invoicing.late import OCT_10, OCT_20, assert_reconciled, cancel, october
from tests.billing.invoicing.ordering import FINANCE, SECOND, carry_out_all, people
from tests.billing.invoicing.test_requests import ask, refused
from tests.billing.thread import SECOND_MONTH, Thread
from tests.factories import NOVEMBER, CustomerFactory


@pytest.fixture
def open_invoice(thread: Thread) -> Invoice:
    """23.00 for October that the card declined: 20.00 of the next fee and 3.00 of usage."""
    people()
    thread.subscribe()
    thread.settle()
    thread.use_card("ada", "pm_card_chargeCustomerFail")
    thread.use(1_000_000, at=OCT_10)
    thread.sandbox.advance(SECOND_MONTH)
    thread.settle()
    thread.use_card("ada", "pm_card_visa")
    return Invoice.objects.get(billing_reason="subscription_cycle")


def at_stripe(invoice: Invoice) -> Any:
    return gateway.retrieve(f"/v1/invoices/{invoice.stripe_invoice_id}")["status"]


def uninvoiced() -> list[str]:
    left = rating_queries.uninvoiced(october().subscription_id, october().pk)
    return [f"{rest.amount.normalize():f}" for rest in left]


def test_absorbs_only_what_the_void_invoice_asked_for(thread: Thread, open_invoice: Invoice) -> None:
    """6.00 of October came late and are on no invoice; the void one asked for 3.00."""
    thread.use(2_000_000, at=OCT_20)
    thread.aggregate()
    accrual = accrue_period(period_id=october().pk, now=thread.now)
    assert accrual is not None
    under_way = LateCorrection.objects.create(
        kind="debit_note", period=october(), accrual=accrual, intended_by="x", created_at=thread.now
    )
    asked = ask(thread, terms.void(invoice=open_invoice, usage="absorb"))
    carry_out_one(thread, asked)
    assert (asked.state, "under way" in asked.error, at_stripe(open_invoice)) == ("intended", True, "open")

    LateCorrection.objects.filter(pk=under_way.pk).update(state="refused", finished_at=thread.now)
    thread.now += timedelta(minutes=1)
    carry_out_all(thread)
    asked.refresh_from_db()
    assert (asked.state, asked.outcome) == ("done", "Void; usage of 1 prices absorbed")
    assert (thread.balances()["contra:adjustments"], uninvoiced()) == (3, ["6"])
    assert_reconciled(thread)
    # Said again about the same invoice: what came late is not part of it.
    again = ask(thread, terms.void(invoice=Invoice.objects.get(pk=open_invoice.pk), usage="absorb"), key="two")
    carry_out_all(thread)
    again.refresh_from_db()
    assert (again.state, again.outcome) == ("done", "Void; none of its usage was left to absorb")
    assert (thread.balances()["contra:adjustments"], uninvoiced()) == (3, ["6"])


def carry_out_one(thread: Thread, asked: InvoiceRequest) -> None:
    carry_out_request(request_id=asked.pk, now=thread.now)
    asked.refresh_from_db()


def test_the_next_invoice_is_looked_for_again_before_it_is_approved_and_done(
    thread: Thread, open_invoice: Invoice, settings: Settings
) -> None:
    wanted = terms.void(invoice=open_invoice, usage="next_invoice")
    asked = ask(thread, wanted)
    cancel(thread)
    carry_out_one(thread, asked)
    assert (asked.state, asked.outcome) == ("refused", "The subscription has ended: there is no next invoice.")
    assert at_stripe(open_invoice) == "open"

    settings.MANUAL_ENTRY_LIMITS = {}
    waiting = ask(thread, wanted, key="two")
    assert waiting.state == "waiting"
    common: dict[str, Any] = {"request_id": waiting.pk, "actor": SECOND, "words": "seen", "now": thread.now}
    assert "there is no next invoice. Reject it" in refused(lambda: operations.approve(**common))
    assert Subscription.objects.get().status == "canceled"
    assert operations.reject(**common).state == "called_off"


class TestReissue:
    """Rows alone: what is ordered of a void invoice with a discounted fee and an exempt one-off."""

    @pytest.fixture
    def invoice(self, db: None) -> Invoice:
        customer: Customer = CustomerFactory(customer_key="ada", currency="USD")
        invoice = Invoice.objects.create(
            stripe_invoice_id="in_1", customer=customer, billing_reason="manual", status="void", currency="USD",
            total_minor=2300, amount_due_minor=2300, amount_paid_minor=0, amount_remaining_minor=0, tax_minor=300,
            discount_minor=500, starting_balance_minor=0, created_at=NOVEMBER, projected_at=NOVEMBER,
            voided_at=NOVEMBER,
        )  # fmt: skip
        common: dict[str, Any] = {"invoice": invoice, "quantity": 1, "exact_amount": 0, "rounding": 0}
        InvoiceLine.objects.bulk_create(
            [
                InvoiceLine(kind="fee", position=1, description="Fee", amount_minor=2000, discount_minor=500,
                            exclusive_tax_minor=300, **common),
                InvoiceLine(kind="one_off", position=2, description="Travel", amount_minor=500, is_exempt=True,
                            **common),
                InvoiceLine(kind="fee", position=3, description="Free", amount_minor=700, discount_minor=700, **common),
            ]
        )  # fmt: skip
        Invoice.objects.update(discount_minor=1200)
        invoice.refresh_from_db()
        return invoice

    def test_asks_for_the_same_money(self, invoice: Invoice) -> None:
        assert obstacle(invoice) == ""
        order = order_reissue(invoice=invoice, reason="x", actor=FINANCE, now=NOVEMBER)
        lines = [(line.description, line.amount_minor, line.is_taxed) for line in order.lines.all()]
        assert lines == [("Fee", 1500, True), ("Travel", 500, False)]
        assert order.amount_minor == 2000

    def test_is_refused_where_it_could_not(self, invoice: Invoice) -> None:
        Invoice.objects.update(discount_minor=1300)
        invoice.refresh_from_db()
        said = refused(lambda: terms.void(invoice=invoice, usage="reissue"))
        assert "cannot be given again line by line" in said
        assert "as a one-off" in said
        Invoice.objects.update(discount_minor=1200)
        invoice.refresh_from_db()
        CreditNote.objects.create(
            stripe_credit_note_id="cn_1", invoice=invoice, number="CN-1", status="issued", currency="USD",
            total_minor=100, pre_payment_minor=100, to_balance_minor=0, refunded_minor=0, out_of_band_minor=0,
            issued_at=NOVEMBER, unwound_at=NOVEMBER, journal_entry_id=1, projected_at=NOVEMBER,
        )  # fmt: skip
        assert "Credit note CN-1 of $1.00" in refused(lambda: terms.void(invoice=invoice, usage="reissue"))
