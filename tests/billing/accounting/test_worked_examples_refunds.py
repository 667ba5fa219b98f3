"""
The worked examples of refunds and of payments that no invoice asks for (docs/ledger-examples.md, 20 to 23).

Told at the sandbox, webhooks and all; every expected balance was written down before the code ran. Ada has paid her
first month, 20.00, of which Stripe kept 0.88. Accounts that are not named are at zero.
"""

from billing.customers.models import Customer
from billing.payments.models import Payment, Refund
from ledger.models import JournalEntry
from tests.billing.accounting.stripe_story import (
    amounts_of,
    balances,
    days_pass,
    discrepancies,
    invoice_left_open,
    payment_of,
    post,
    subscribed,
)
from tests.billing.thread import Thread


def kinds_of_entries() -> list[str]:
    return list(JournalEntry.objects.order_by("id").values_list("kind", flat=True))


class TestRefundWithoutACreditNote:
    def test_is_promised_out_of_revenue_and_sent(self, thread: Thread) -> None:
        payment = subscribed(thread)
        post("/v1/refunds", charge=payment.stripe_charge_id, amount=500)
        post("/v1/refunds", charge=payment.stripe_charge_id, amount=1500)
        thread.settle()

        expected = """
            revenue:subscription  20.00
            contra:refunds        20.00
            fees:stripe            0.88
            stripe:clearing       -0.88
        """
        assert balances() == amounts_of(expected)
        refunds = Refund.objects.order_by("amount_minor").values_list("amount_minor", "status")
        assert list(refunds) == [(500, "succeeded"), (1500, "succeeded")]
        assert discrepancies(thread, days_later=30) == []

    def test_that_is_pending_and_called_off_leaves_nothing_behind(self, thread: Thread) -> None:
        payment = subscribed(thread, "pm_card_pendingRefund")
        refund = post("/v1/refunds", charge=payment.stripe_charge_id)
        thread.settle()
        waiting = """
            revenue:subscription  20.00
            contra:refunds        20.00
            fees:stripe            0.88
            stripe:clearing       -0.88
        """
        assert balances() == amounts_of(waiting)

        post(f"/v1/refunds/{refund['id']}/cancel")
        thread.settle()

        called_off = """
            revenue:subscription  20.00
            fees:stripe            0.88
            stripe:clearing       19.12
        """
        assert balances() == amounts_of(called_off)
        assert Refund.objects.get().status == "canceled"
        assert discrepancies(thread, days_later=30) == []

    def test_that_is_pending_ends_as_it_began_to(self, thread: Thread) -> None:
        payment = subscribed(thread, "pm_card_pendingRefund")
        post("/v1/refunds", charge=payment.stripe_charge_id)
        thread.settle()
        before = balances()

        days_pass(thread, 1)

        assert balances() == before
        assert Refund.objects.get().status == "succeeded"

    def test_that_fails_is_owed_again_and_reconciliation_says_so(self, thread: Thread) -> None:
        payment = subscribed(thread, "pm_card_refundFail")
        post("/v1/refunds", charge=payment.stripe_charge_id)
        thread.settle()

        days_pass(thread, 1)

        expected = """
            revenue:subscription  20.00
            contra:refunds        20.00
            refund_due            20.00
            fees:stripe            0.88
            stripe:clearing       19.12
        """
        assert balances() == amounts_of(expected)
        assert discrepancies(thread, days_later=1) == []
        owed = (f"account refund_due:ada:USD: {payment.stripe_charge_id}", "0", "-20")
        assert discrepancies(thread, days_later=30) == [("clearing_accounts", *owed)]


class TestRefundByACreditNote:
    def test_is_promised_by_the_credit_note_alone(self, thread: Thread) -> None:
        payment = subscribed(thread)
        assert payment.invoice is not None
        post("/v1/credit_notes", invoice=payment.invoice.stripe_invoice_id, amount=800, refund_amount=800)
        thread.settle()

        expected = """
            revenue:subscription  20.00
            contra:refunds         8.00
            fees:stripe            0.88
            stripe:clearing       11.12
        """
        assert balances() == amounts_of(expected)
        assert "refund_promised" not in kinds_of_entries()
        assert discrepancies(thread, days_later=30) == []

    def test_that_is_written_after_the_refund_takes_its_promise_over(self, thread: Thread) -> None:
        payment = subscribed(thread)
        assert payment.invoice is not None
        refund = post("/v1/refunds", charge=payment.stripe_charge_id, amount=800)
        thread.settle()
        promised = balances()
        invoice_id = payment.invoice.stripe_invoice_id
        covered = [{"refund": refund["id"], "amount_refunded": 800}]
        post("/v1/credit_notes", invoice=invoice_id, amount=800, refunds=covered)
        thread.settle()

        assert balances() == promised  # the same, now for another reason
        kinds = kinds_of_entries()
        assert kinds.count("refund_promised") == 2  # made, and taken back
        assert kinds.count("credit_note_issued") == 1
        payment.refresh_from_db()
        assert payment.promised_minor == 0
        assert discrepancies(thread, days_later=30) == []


class TestAPaymentNobodyAskedFor:
    def test_is_the_customers_until_it_is_given_back(self, thread: Thread) -> None:
        """30.00, of which Stripe keeps 1.17."""
        subscribed(thread)
        intent = payment_of(Customer.objects.get(), 3000)
        thread.settle()
        held = """
            revenue:subscription  20.00
            refund_due            30.00
            fees:stripe            2.05
            stripe:clearing       47.95
        """
        assert balances() == amounts_of(held)

        post("/v1/refunds", payment_intent=intent)
        thread.settle()

        given_back = """
            revenue:subscription  20.00
            fees:stripe            2.05
            stripe:clearing       17.95
        """
        assert balances() == amounts_of(given_back)
        assert discrepancies(thread, days_later=30) == []

    def test_may_be_attached_to_an_invoice_and_what_is_too_much_is_credit(self, thread: Thread) -> None:
        """An open invoice of 20.00 and 30.00 received: 10.00 go to the customer's balance."""
        invoice = invoice_left_open(thread)
        intent = payment_of(Customer.objects.get(), 3000)
        thread.settle()

        post(f"/v1/invoices/{invoice.stripe_invoice_id}/attach_payment", payment_intent=intent)
        thread.settle()

        expected = """
            revenue:subscription  40.00
            balance               10.00
            fees:stripe            2.05
            stripe:clearing       47.95
        """
        assert balances() == amounts_of(expected)
        assert Payment.objects.get(stripe_payment_intent_id=intent).invoice == invoice
        assert discrepancies(thread, days_later=30) == []

    def test_attached_before_it_was_heard_of_pays_the_invoice_at_once(self, thread: Thread) -> None:
        invoice = invoice_left_open(thread)
        intent = payment_of(Customer.objects.get(), 2000)
        post(f"/v1/invoices/{invoice.stripe_invoice_id}/attach_payment", payment_intent=intent)
        thread.settle()

        expected = """
            revenue:subscription  40.00
            fees:stripe            1.76
            stripe:clearing       38.24
        """
        assert balances() == amounts_of(expected)
        assert "payment_applied" not in kinds_of_entries()
