"""
The worked examples of disputes (docs/ledger-examples.md, 24 to 26), told at the sandbox, webhooks and all.

Ada has paid 20.00, of which Stripe kept 0.88; a dispute costs 15.00, and a win does not bring them back. Every expected
balance was written down before the code ran; accounts that are not named are at zero.
"""

import pytest

from billing.payments.models import Dispute
from billing.reconciliation.models import Discrepancy
from tests.billing.accounting.stripe_story import amounts_of, balances, days_pass, discrepancies, post, subscribed
from tests.billing.thread import Thread

WITHDRAWN = """
    revenue:subscription   20.00
    disputes               20.00
    fees:stripe            15.88
    stripe:clearing       -15.88
"""


def answer(dispute: Dispute, text: str) -> None:
    post(f"/v1/disputes/{dispute.stripe_dispute_id}", evidence={"uncategorized_text": text}, submit=True)


class TestADispute:
    def test_takes_the_money_and_a_fee(self, thread: Thread) -> None:
        subscribed(thread, "pm_card_createDispute")

        assert balances() == amounts_of(WITHDRAWN)
        dispute = Dispute.objects.get()
        assert (dispute.status, dispute.amount_minor, dispute.reason) == ("needs_response", 2000, "fraudulent")
        assert discrepancies(thread, days_later=60) == []  # undecided is not late

    def test_that_is_lost_is_bad_debt(self, thread: Thread) -> None:
        subscribed(thread, "pm_card_createDispute")
        post(f"/v1/disputes/{Dispute.objects.get().stripe_dispute_id}/close")
        thread.settle()

        lost = """
            revenue:subscription   20.00
            bad_debt               20.00
            fees:stripe            15.88
            stripe:clearing       -15.88
        """
        assert balances() == amounts_of(lost)
        dispute = Dispute.objects.get()
        assert (dispute.status, dispute.lost_minor, dispute.loss_count) == ("lost", 2000, 1)
        assert discrepancies(thread, days_later=60) == []

    def test_that_nobody_answers_is_lost(self, thread: Thread) -> None:
        subscribed(thread, "pm_card_createDispute")

        days_pass(thread, 10)

        assert balances()["bad_debt"] == 20
        assert "disputes" not in balances()

    def test_that_is_won_brings_the_money_back_without_the_fee(self, thread: Thread) -> None:
        subscribed(thread, "pm_card_createDispute")
        answer(Dispute.objects.get(), "winning_evidence")
        thread.settle()
        assert balances() == amounts_of(WITHDRAWN)

        days_pass(thread, 3)

        won = """
            revenue:subscription   20.00
            fees:stripe            15.88
            stripe:clearing         4.12
        """
        assert balances() == amounts_of(won)
        assert Dispute.objects.get().status == "won"
        assert discrepancies(thread, days_later=60) == []

    def test_there_may_be_two_of_one_charge_and_they_end_apart(self, thread: Thread) -> None:
        """10.00 each, 15.00 fee each; one is won, one is lost."""
        subscribed(thread, "pm_card_createMultipleDisputes")
        both = """
            revenue:subscription   20.00
            disputes               20.00
            fees:stripe            30.88
            stripe:clearing       -30.88
        """
        assert balances() == amounts_of(both)
        first, second = Dispute.objects.order_by("stripe_dispute_id")
        assert (first.amount_minor, second.amount_minor) == (1000, 1000)

        answer(first, "winning_evidence")
        post(f"/v1/disputes/{second.stripe_dispute_id}/close")
        days_pass(thread, 3)

        ended = """
            revenue:subscription   20.00
            bad_debt               10.00
            fees:stripe            30.88
            stripe:clearing       -20.88
        """
        assert balances() == amounts_of(ended)
        assert discrepancies(thread, days_later=60) == []


class TestWithoutMoney:
    BASE = """
        revenue:subscription  20.00
        fees:stripe            0.88
        stripe:clearing       19.12
    """

    def test_an_early_fraud_warning_moves_nothing(self, thread: Thread) -> None:
        subscribed(thread, "pm_card_createIssuerFraudRecord")

        assert balances() == amounts_of(self.BASE)
        assert Dispute.objects.count() == 0

    def test_an_inquiry_moves_nothing_and_may_end_so(self, thread: Thread) -> None:
        subscribed(thread, "pm_card_createDisputeInquiry")
        assert Dispute.objects.get().status == "warning_needs_response"

        days_pass(thread, 10)

        assert balances() == amounts_of(self.BASE)
        assert Dispute.objects.get().status == "warning_closed"
        assert discrepancies(thread, days_later=60) == []

    def test_an_inquiry_that_escalates_is_a_dispute(self, thread: Thread) -> None:
        subscribed(thread, "pm_card_createDisputeInquiry")
        answer(Dispute.objects.get(), "escalate_inquiry_evidence")
        days_pass(thread, 3)

        assert balances() == amounts_of(WITHDRAWN)
        assert Dispute.objects.get().status == "needs_response"


class TestASettlementThatNeverCame:
    def test_is_named_once_the_dispute_is_decided(self, thread: Thread) -> None:
        """Won, as Stripe says, and the money is not back after days."""
        subscribed(thread, "pm_card_createDispute")
        dispute = Dispute.objects.get()
        thread.sandbox.alter(dispute.stripe_dispute_id, status="won")
        Dispute.objects.update(status="won")

        found = discrepancies(thread, days_later=60)

        subject = f"account disputes:USD: {dispute.stripe_dispute_id}"
        assert found == [("clearing_accounts", subject, "0", "20")]
        assert "neither came back nor was given up" in Discrepancy.objects.latest("id").explanation


@pytest.mark.parametrize("card", ["pm_card_createDispute", "pm_card_visa"])
def test_said_again_nothing_is_entered_twice(thread: Thread, card: str) -> None:
    payment = subscribed(thread, card)
    if card == "pm_card_visa":
        post("/v1/refunds", charge=payment.stripe_charge_id, amount=700)
        thread.settle()
    before = balances()

    thread.redeliver_everything()

    assert balances() == before
