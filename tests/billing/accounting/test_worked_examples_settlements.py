"""
The worked examples of invoices paid in parts, paid elsewhere, given up and paid after all (docs/ledger-examples.md, 28
to 30), told at the sandbox; balances written down beforehand.

Ada's first month of 20.00 is paid (Stripe kept 0.88); for the second her card was declined: an open invoice of 20.00.
"""

from billing.customers.models import Customer
from billing.invoicing.models import Invoice
from tests.billing.accounting.stripe_story import (
    amounts_of,
    balances,
    discrepancies,
    invoice_left_open,
    payment_of,
    post,
)
from tests.billing.thread import Thread

GIVEN_UP = """
    revenue:subscription  40.00
    bad_debt              20.00
    fees:stripe            0.88
    stripe:clearing       19.12
"""
PAID = """
    revenue:subscription  40.00
    fees:stripe            1.76
    stripe:clearing       38.24
"""


def test_an_invoice_paid_in_two_parts(thread: Thread) -> None:
    """8.00 and 12.00; Stripe keeps 0.53 and 0.65."""
    path = f"/v1/invoices/{invoice_left_open(thread).stripe_invoice_id}/attach_payment"
    post(path, payment_intent=payment_of(Customer.objects.get(), 800))
    thread.settle()
    in_part = """
        revenue:subscription  40.00
        receivable            12.00
        fees:stripe            1.41
        stripe:clearing       26.59
    """
    assert balances() == amounts_of(in_part)
    assert discrepancies(thread) == []

    post(path, payment_intent=payment_of(Customer.objects.get(), 1200))
    thread.settle()

    in_full = """
        revenue:subscription  40.00
        fees:stripe            2.06
        stripe:clearing       37.94
    """
    assert balances() == amounts_of(in_full)
    assert discrepancies(thread, days_later=60) == []


class TestPaidOutsideStripe:
    def test_the_money_is_at_the_bank(self, thread: Thread) -> None:
        invoice = invoice_left_open(thread)
        post(f"/v1/invoices/{invoice.stripe_invoice_id}/pay", paid_out_of_band=True)
        thread.settle()

        expected = """
            revenue:subscription  40.00
            bank                  20.00
            fees:stripe            0.88
            stripe:clearing       19.12
        """
        assert balances() == amounts_of(expected)
        thread.redeliver_everything()
        assert balances() == amounts_of(expected)
        assert discrepancies(thread, days_later=60) == []

    def test_only_the_rest_is_when_a_part_was_paid(self, thread: Thread) -> None:
        invoice = invoice_left_open(thread)
        path = f"/v1/invoices/{invoice.stripe_invoice_id}"
        post(f"{path}/attach_payment", payment_intent=payment_of(Customer.objects.get(), 800))
        post(f"{path}/pay", paid_out_of_band=True)
        thread.settle()

        expected = """
            revenue:subscription  40.00
            bank                  12.00
            fees:stripe            1.41
            stripe:clearing       26.59
        """
        assert balances() == amounts_of(expected)
        assert discrepancies(thread, days_later=60) == []


class TestGivenUp:
    def given_up(self, thread: Thread) -> Invoice:
        invoice = invoice_left_open(thread)
        post(f"/v1/invoices/{invoice.stripe_invoice_id}/mark_uncollectible")
        thread.settle()
        assert balances() == amounts_of(GIVEN_UP)
        return invoice

    def test_is_bad_debt_once_however_often_it_is_said(self, thread: Thread) -> None:
        self.given_up(thread)

        thread.redeliver_everything()

        assert balances() == amounts_of(GIVEN_UP)
        assert discrepancies(thread, days_later=60) == []

    def test_and_paid_after_all(self, thread: Thread) -> None:
        invoice = self.given_up(thread)
        thread.use_card("ada", "pm_card_visa")
        post(f"/v1/invoices/{invoice.stripe_invoice_id}/pay")
        thread.settle()

        assert balances() == amounts_of(PAID)
        assert discrepancies(thread, days_later=60) == []

    def test_and_paid_after_all_heard_of_only_when_it_was_over(self, thread: Thread) -> None:
        invoice = invoice_left_open(thread)
        post(f"/v1/invoices/{invoice.stripe_invoice_id}/mark_uncollectible")
        thread.use_card("ada", "pm_card_visa")
        post(f"/v1/invoices/{invoice.stripe_invoice_id}/pay")
        thread.settle()

        assert balances() == amounts_of(PAID)

    def test_and_a_part_paid_after_all(self, thread: Thread) -> None:
        """8.00 of it; Stripe keeps 0.53."""
        invoice = self.given_up(thread)
        intent = payment_of(Customer.objects.get(), 800)
        post(f"/v1/invoices/{invoice.stripe_invoice_id}/attach_payment", payment_intent=intent)
        thread.settle()

        expected = """
            revenue:subscription  40.00
            bad_debt              12.00
            fees:stripe            1.41
            stripe:clearing       26.59
        """
        assert balances() == amounts_of(expected)
        assert Invoice.objects.get(pk=invoice.pk).written_off_minor == 1200
        assert discrepancies(thread, days_later=60) == []

    def test_after_a_part_was_paid_only_the_rest_is(self, thread: Thread) -> None:
        invoice = invoice_left_open(thread)
        intent = payment_of(Customer.objects.get(), 800)
        post(f"/v1/invoices/{invoice.stripe_invoice_id}/attach_payment", payment_intent=intent)
        post(f"/v1/invoices/{invoice.stripe_invoice_id}/mark_uncollectible")
        thread.settle()

        assert balances()["bad_debt"] == 12
        assert "receivable" not in balances()
        assert discrepancies(thread, days_later=60) == []

    def test_and_void_after_that_was_never_asked_for(self, thread: Thread) -> None:
        invoice = self.given_up(thread)
        post(f"/v1/invoices/{invoice.stripe_invoice_id}/void")
        thread.settle()

        expected = """
            revenue:subscription  20.00
            fees:stripe            0.88
            stripe:clearing       19.12
        """
        assert balances() == amounts_of(expected)
        assert discrepancies(thread, days_later=60) == []
