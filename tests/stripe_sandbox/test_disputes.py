"""Disputes: won, lost, inquiries, and the money and events of each."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.test_payment_intents import pay

PAID = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
DISPUTED = [*PAID, "charge.updated", "charge.dispute.created", "charge.dispute.funds_withdrawn"]


def disputed(account: Account, card: str = "pm_card_createDispute", amount: int = 2000) -> Any:
    intent = pay(account, card, amount)
    return account.api.disputes.list({"payment_intent": intent.id}).data[0]


def net_amounts(account: Account) -> list[int]:
    return [transaction.net for transaction in account.api.balance_transactions.list().data][::-1]


def test_dispute_takes_the_amount_and_a_fee_at_once(account: Account, sandbox: SandboxProcess) -> None:
    dispute = disputed(account)

    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 2000)
    assert (dispute.is_charge_refundable, dispute.evidence_details.due_by) == (False, sandbox.now() + 9 * 86_400)
    [taken] = dispute.balance_transactions
    assert (taken.type, taken.reporting_category) == ("adjustment", "dispute")
    assert (taken.amount, taken.fee, taken.net) == (-2000, 1500, -3500)
    assert account.event_types() == DISPUTED
    assert account.api.charges.retrieve(dispute.charge).disputed is True
    balance = account.api.balance.retrieve()
    assert (balance.available[0].amount, balance.pending[0].amount) == (-3500, 1912)


def test_won(account: Account, sandbox: SandboxProcess) -> None:
    dispute = disputed(account, "pm_card_createDisputeProductNotReceived")
    evidence = {"uncategorized_text": "winning_evidence", "customer_name": "Ada"}

    answered = account.api.disputes.update(dispute.id, {"evidence": evidence})
    assert (answered.status, answered.evidence_details.submission_count) == ("under_review", 1)
    sandbox.advance("2026-10-04T00:00:00Z")

    won = account.api.disputes.retrieve(dispute.id)
    assert (won.status, won.reason, len(won.balance_transactions)) == ("won", "product_not_received", 2)
    assert net_amounts(account) == [1912, -3500, 2000]  # the fee of 1500 stays with Stripe
    assert account.event_types() == [
        *DISPUTED,
        "charge.dispute.updated",
        "balance.available",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]
    assert account.api.balance.retrieve().available[0].amount == 412


@pytest.mark.parametrize("text", ["losing_evidence", "a letter"])
def test_lost_by_its_evidence(account: Account, sandbox: SandboxProcess, text: str) -> None:
    dispute = disputed(account)

    account.api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": text}, "submit": True})
    sandbox.advance("2026-10-04T00:00:00Z")

    assert account.api.disputes.retrieve(dispute.id).status == "lost"
    assert net_amounts(account) == [1912, -3500]
    assert account.event_types()[-1] == "charge.dispute.closed"


def test_lost_without_an_answer(account: Account, sandbox: SandboxProcess) -> None:
    dispute = disputed(account)
    account.api.disputes.update(dispute.id, {"evidence": {"customer_name": "Ada"}, "submit": False})

    sandbox.advance("2026-10-09T23:59:59Z")
    assert account.api.disputes.retrieve(dispute.id).status == "needs_response"
    sandbox.advance("2026-10-10T00:00:00Z")

    lost = account.api.disputes.retrieve(dispute.id)
    assert (lost.status, lost.evidence_details.past_due, lost.evidence_details.has_evidence) == ("lost", True, True)


def test_given_in_to(account: Account) -> None:
    dispute = disputed(account)

    assert account.api.disputes.close(dispute.id).status == "lost"

    assert account.event_types()[-1] == "charge.dispute.closed"
    with pytest.raises(stripe.InvalidRequestError):
        account.api.disputes.close(dispute.id)


def test_inquiry_moves_no_money(account: Account) -> None:
    dispute = disputed(account, "pm_card_createDisputeInquiry")

    assert (dispute.status, dispute.is_charge_refundable) == ("warning_needs_response", True)
    assert dispute.payment_method_details.card.case_type == "inquiry"
    assert net_amounts(account) == [1912]
    assert account.event_types() == [*PAID, "charge.dispute.created"]
    assert account.api.charges.retrieve(dispute.charge).disputed is False
    assert account.api.disputes.close(dispute.id).status == "warning_closed"


def test_refund_of_the_whole_charge_ends_an_inquiry(account: Account) -> None:
    dispute = disputed(account, "pm_card_createDisputeInquiry")

    account.api.refunds.create({"charge": dispute.charge})

    assert account.api.disputes.retrieve(dispute.id).status == "warning_closed"
    assert account.event_types()[-3:] == ["refund.created", "charge.refunded", "charge.dispute.closed"]


def test_inquiry_that_becomes_a_chargeback(account: Account, sandbox: SandboxProcess) -> None:
    dispute = disputed(account, "pm_card_createDisputeInquiry")
    account.api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}})

    sandbox.advance("2026-10-04T00:00:00Z")

    escalated = account.api.disputes.retrieve(dispute.id)
    assert (escalated.status, escalated.payment_method_details.card.case_type) == ("needs_response", "chargeback")
    assert net_amounts(account) == [1912, -3500]
    assert account.event_types()[-3:] == ["charge.updated", "charge.dispute.updated", "charge.dispute.funds_withdrawn"]


def test_charge_disputed_more_than_once(account: Account) -> None:
    intent = pay(account, "pm_card_createMultipleDisputes", 2001)

    disputes = account.api.disputes.list({"payment_intent": intent.id}).data

    assert [dispute.amount for dispute in disputes] == [1001, 1000]
    assert sum(net_amounts(account)) == 2001 - 88 - 2001 - 2 * 1500  # fee: 58.029 down to 58, and 30


def test_disputed_charge_is_not_refunded(account: Account, sandbox: SandboxProcess) -> None:
    dispute = disputed(account)

    with pytest.raises(stripe.InvalidRequestError, match="charged back") as refusal:
        account.api.refunds.create({"charge": dispute.charge})

    assert refusal.value.code == "charge_disputed"
    account.api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    sandbox.advance("2026-10-04T00:00:00Z")
    assert account.api.refunds.create({"charge": dispute.charge}).status == "succeeded"


def test_held_money_is_disputed_only_when_it_is_captured(account: Account) -> None:
    intent = pay(account, "pm_card_createDispute", capture_method="manual")
    assert account.api.disputes.list().data == []

    account.api.payment_intents.capture(intent.id)

    assert len(account.api.disputes.list().data) == 1


def test_programs_of_the_networks(account: Account) -> None:
    dispute = disputed(account, "pm_card_createCe3EligibleDispute")
    assert dispute.enhanced_eligibility_types == ["visa_compelling_evidence_3"]

    compliance = disputed(account, "pm_card_createComplianceDispute")
    assert (compliance.reason, compliance.payment_method_details.card.case_type) == ("noncompliant", "compliance")


def test_early_fraud_warning_is_no_dispute(account: Account) -> None:
    intent = pay(account, "pm_card_createIssuerFraudRecord")

    [warning] = account.api.radar.early_fraud_warnings.list({"payment_intent": intent.id}).data

    assert (warning.actionable, warning.charge) == (True, intent.latest_charge)
    assert account.event_types()[-1] == "radar.early_fraud_warning.created"
    assert account.api.disputes.list().data == []
