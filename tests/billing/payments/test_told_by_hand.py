"""Turns of a story that the sandbox never takes, told as Stripe would tell them; balances written down beforehand."""

from typing import Any

import pytest
from django.db import transaction

from billing.accounting.models import ManualEntry
from billing.customers.models import Customer
from billing.payments.disputes import project_disputes
from billing.payments.models import BalanceTransaction, Dispute, Payment
from billing.payments.operations import project_payment
from billing.payments.refunds import cover_refunds, project_refunds
from billing.stripe import gateway, poll
from billing.stripe.errors import ProjectionRefused
from tests.billing.accounting.people import adjust, hire, posted_entry_id, reverse
from tests.billing.accounting.stripe_story import amounts_of, balances, discrepancies, post, subscribed
from tests.billing.thread import Thread

PAID_AT = 1_790_900_000
DAY = 86_400
Told = dict[str, Any]


def movement(stripe_id: str, kind: str, amount: int, *, day: int, category: str = "") -> Told:
    return {
        "id": stripe_id, "object": "balance_transaction", "type": kind, "reporting_category": category or kind,
        "currency": "usd", "amount": amount, "fee": 0, "net": amount, "exchange_rate": None, "source": None,
        "created": PAID_AT + day * DAY,
    }  # fmt: skip


def refund(
    stripe_id: str,
    amount: int,
    *,
    day: int,
    status: str = "succeeded",
    failed_on: int | None = None,
    moved: bool = True,
) -> Told:
    return {
        "id": stripe_id, "object": "refund", "amount": amount, "currency": "usd", "status": status,
        "created": PAID_AT + day * DAY,
        "balance_transaction": movement(f"txn_{stripe_id}", "refund", -amount, day=day) if moved else None,
        "failure_balance_transaction":
            None if failed_on is None else movement(f"txn_f_{stripe_id}", "refund_failure", amount, day=failed_on),
    }  # fmt: skip


def tell(thread: Thread, payment: Payment, *refunds: Told) -> None:
    """Twice: the second time nothing is new."""
    for _ in range(2):
        with transaction.atomic():
            project_refunds(refunds, payment=Payment.objects.get(pk=payment.pk), now=thread.now)


class TestRefunds:
    def test_one_that_failed_and_was_sent_again_is_one_promise(self, thread: Thread) -> None:
        payment = subscribed(thread)
        failed = refund("re_1", 2000, day=1, status="failed", failed_on=2)
        tell(thread, payment, failed)
        assert balances()["refund_due"] == 20

        tell(thread, payment, failed, refund("re_2", 2000, day=3))

        expected = """
            revenue:subscription  20.00
            contra:refunds        20.00
            fees:stripe            0.88
            stripe:clearing       -0.88
        """
        assert balances() == amounts_of(expected)

    def test_one_by_a_credit_note_that_failed_and_was_sent_again_without_one(self, thread: Thread) -> None:
        payment = subscribed(thread)
        assert payment.invoice is not None
        invoice_id = payment.invoice.stripe_invoice_id
        note = post("/v1/credit_notes", invoice=invoice_id, amount=800, refund_amount=800)
        thread.settle()
        (sent,) = gateway.listed("/v1/refunds", charge=payment.stripe_charge_id, expand=["data.balance_transaction"])
        failure = movement("txn_back", "refund_failure", 800, day=90)
        tell(thread, payment, {**sent, "status": "failed", "failure_balance_transaction": failure})
        assert balances()["refund_due"] == 8

        tell(thread, payment, refund("re_2", 800, day=95))

        expected = """
            revenue:subscription  20.00
            contra:refunds         8.00
            fees:stripe            0.88
            stripe:clearing       11.12
        """
        assert balances() == amounts_of(expected)
        assert note["refunds"][0]["amount_refunded"] == 800

    def test_one_that_waits_at_stripe_is_promised_and_not_sent(self, thread: Thread) -> None:
        payment = subscribed(thread)

        tell(thread, payment, refund("re_1", 500, day=1, status="pending", moved=False))

        assert balances()["contra:refunds"] == balances()["refund_due"] == 5
        tell(thread, payment, refund("re_1", 500, day=1))
        assert balances()["contra:refunds"] == 5
        assert "refund_due" not in balances()

    def test_the_release_of_an_authorisation_is_no_refund_of_ours(self, thread: Thread) -> None:
        payment = subscribed(thread)
        before = balances()

        tell(thread, payment, refund("re_1", 500, day=1, moved=False))

        assert balances() == before

    def test_a_credit_note_for_a_part_takes_over_that_part(self, thread: Thread) -> None:
        """12.00 refunded, 8.00 of them on a credit note: 4.00 remain promised without one."""
        payment = subscribed(thread)
        covered = [{"refund": "re_1", "amount_refunded": 800}]
        with transaction.atomic():
            cover_refunds(covered, credit_note_id="cn_1", now=thread.now)
        tell(thread, payment, refund("re_1", 1200, day=1))

        assert balances()["contra:refunds"] == 4
        # The credit note's own entry, which promises its 8.00, is not part of this story.
        assert balances()["refund_due"] == -8

    def test_a_credit_note_and_another_refund_learned_in_one_transaction(self, thread: Thread) -> None:
        """5.00 promised; then a credit note turns out to stand for them, and 3.00 more were refunded."""
        payment = subscribed(thread)
        first, second = refund("re_1", 500, day=1), refund("re_2", 300, day=2)
        tell(thread, payment, first)
        with transaction.atomic():
            held = Payment.objects.get(pk=payment.pk)
            cover_refunds([{"refund": "re_1", "amount_refunded": 500}], credit_note_id="cn_1", now=thread.now)
            project_refunds([first, second], payment=held, now=thread.now)

        assert balances()["contra:refunds"] == 3
        held.refresh_from_db()
        assert (held.promised_minor, held.promise_count) == (300, 3)


class TestPromisesMadeByHand:
    """Fiona promises; a refund at Stripe, or the bank, then keeps the promise, whichever is heard of first."""

    @pytest.fixture(autouse=True)
    def _people(self, thread: Thread) -> None:
        hire()

    def by_hand(self, thread: Thread, code: str, amount: str, reference: str) -> ManualEntry:
        return adjust(
            code, amount, customer_key="ada", reference=reference, now=thread.now, effective_at=thread.now,
        )  # fmt: skip

    def test_a_refund_of_the_charge_sends_what_was_promised(self, thread: Thread) -> None:
        """15.00 promised by hand, 20.00 refunded: 5.00 were promised by nobody before."""
        payment = subscribed(thread)
        self.by_hand(thread, "refund_promised", "15", f"{payment.stripe_charge_id} ticket-7")

        tell(thread, payment, refund("re_1", 2000, day=1))

        expected = """
            revenue:subscription  20.00
            contra:refunds        20.00
            fees:stripe            0.88
            stripe:clearing       -0.88
        """
        assert balances() == amounts_of(expected)
        payment.refresh_from_db()
        assert payment.promised_minor == 500

    def test_written_after_the_refund_it_takes_the_place_of_that_ones_promise(self, thread: Thread) -> None:
        payment = subscribed(thread)
        tell(thread, payment, refund("re_1", 500, day=1))
        self.by_hand(thread, "refund_promised", "5", payment.stripe_charge_id)
        assert balances()["refund_due"] == 5

        tell(thread, payment, refund("re_1", 500, day=1))

        assert balances()["contra:refunds"] == 5
        assert "refund_due" not in balances()

    @pytest.mark.parametrize("is_promised_by_hand", [True, False])
    def test_the_bank_sends_what_stripe_could_not(self, thread: Thread, *, is_promised_by_hand: bool) -> None:
        payment = subscribed(thread)
        if is_promised_by_hand:
            self.by_hand(thread, "refund_promised", "5", payment.stripe_charge_id)
        failed = refund("re_1", 500, day=1, status="failed", failed_on=2)
        tell(thread, payment, failed)
        assert balances()["contra:refunds"] == balances()["refund_due"] == 5

        self.by_hand(thread, "refund_paid_by_bank", "5", payment.stripe_charge_id)
        tell(thread, payment, failed)

        expected = """
            revenue:subscription  20.00
            contra:refunds         5.00
            bank                  -5.00
            fees:stripe            0.88
            stripe:clearing       19.12
        """
        assert balances() == amounts_of(expected)

    def test_kept_by_the_bank_a_refund_at_stripe_is_another(self, thread: Thread) -> None:
        payment = subscribed(thread)
        self.by_hand(thread, "refund_promised", "5", payment.stripe_charge_id)
        self.by_hand(thread, "refund_paid_by_bank", "5", payment.stripe_charge_id)

        tell(thread, payment, refund("re_1", 500, day=1))

        assert balances()["contra:refunds"] == 10
        assert "refund_due" not in balances()

    @pytest.mark.parametrize("how", ["ended", "reversed"])
    def test_taken_back_a_refund_promises_for_itself(self, thread: Thread, how: str) -> None:
        payment = subscribed(thread)
        promise = self.by_hand(thread, "refund_promised", "5", payment.stripe_charge_id)
        if how == "ended":
            self.by_hand(thread, "refund_promise_ended", "5", payment.stripe_charge_id)
        else:
            reverse(posted_entry_id(promise), now=thread.now, effective_at=thread.now)
        assert "refund_due" not in balances()

        tell(thread, payment, refund("re_1", 500, day=1))

        assert balances()["contra:refunds"] == 5
        assert "refund_due" not in balances()

    def test_with_a_ticket_only_the_promise_stands_and_is_named(self, thread: Thread) -> None:
        payment = subscribed(thread)
        self.by_hand(thread, "refund_promised", "5", "ticket-7")
        post("/v1/refunds", charge=payment.stripe_charge_id, amount=500)
        thread.settle()
        poll.fetch_missed_balance_transactions(now=thread.now)

        assert balances()["refund_due"] == 5
        named = ("clearing_accounts", "account refund_due:ada:USD: ticket-7", "0", "-5")
        assert discrepancies(thread, days_later=365) == [named]


class TestDisputes:
    def test_reinstated_after_it_was_lost_is_no_bad_debt(self, thread: Thread) -> None:
        payment = subscribed(thread, "pm_card_createDispute")
        dispute = Dispute.objects.get()
        post(f"/v1/disputes/{dispute.stripe_dispute_id}/close")
        thread.settle()
        assert balances()["bad_debt"] == 20
        lost = gateway.retrieve(f"/v1/disputes/{dispute.stripe_dispute_id}")
        back = movement("txn_reinstated", "adjustment", 2000, day=100, category="dispute_reversal")
        told = {**lost, "balance_transactions": [*lost["balance_transactions"], back]}

        for _ in range(2):
            with transaction.atomic():
                project_disputes([told], payment=payment, closed_at={}, now=thread.now)

        expected = """
            revenue:subscription  20.00
            fees:stripe           15.88
            stripe:clearing        4.12
        """
        assert balances() == amounts_of(expected)


class TestPayments:
    def test_a_success_without_a_charge_is_refused(self, thread: Thread) -> None:
        """Its entries would be those of any other payment without one."""
        thread.subscribe()
        intent = {
            "id": "pi_1", "status": "succeeded", "latest_charge": None, "amount": 500, "amount_received": 500,
            "currency": "usd", "created": PAID_AT,
        }  # fmt: skip

        with transaction.atomic(), pytest.raises(ProjectionRefused, match="names no charge"):
            project_payment(intent, customer=Customer.objects.get(), invoice=None, now=thread.now)

        assert not Payment.objects.filter(stripe_payment_intent_id="pi_1").exists()


class TestSomebodyElsesCharge:
    def test_is_on_our_balance_and_named_as_standing_open(self, thread: Thread) -> None:
        """A charge without a payment intent is none of our payments; what it moves is entered, and seen."""
        subscribed(thread)
        charge = post("/v1/charges", amount=1000, currency="usd", source="tok_visa")
        post("/v1/refunds", charge=charge["id"], amount=400)
        thread.settle()
        poll.fetch_missed_balance_transactions(now=thread.now)

        assert thread.unfinished() == []
        assert BalanceTransaction.objects.count() == 3
        assert balances()["stripe:in_transit"] == -6
        found = {(subject, right) for check, subject, _, right in discrepancies(thread, days_later=30)}
        assert (f"account stripe:in_transit:USD: {charge['id']}", "-10") in found
