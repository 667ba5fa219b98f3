"""Whatever the order and repetition in which Stripe's events of a story arrive, the books end at the same balances."""

import random
from collections.abc import Callable
from datetime import timedelta

import pytest

from billing.customers.models import Customer
from billing.invoicing.models import Invoice
from billing.payments.models import Dispute, Payment
from tests.billing.accounting.documents import balances
from tests.billing.accounting.stripe_story import (
    HAND_DECLINED,
    amounts_of,
    discrepancies,
    payment_of,
    post,
    subscribed,
)
from tests.billing.thread import SECOND_MONTH, Thread, post_event

Story = Callable[[Thread], None]
SEEDS = range(4)


def refunded_in_parts_and_covered(thread: Thread) -> None:
    """5.00 refunded, 8.00 refunded and then written on a credit note, 2.00 by a credit note."""
    payment = subscribed(thread)
    assert payment.invoice is not None
    invoice_id = payment.invoice.stripe_invoice_id
    post("/v1/refunds", charge=payment.stripe_charge_id, amount=500)
    refund = post("/v1/refunds", charge=payment.stripe_charge_id, amount=800)
    covered = [{"refund": refund["id"], "amount_refunded": 800}]
    post("/v1/credit_notes", invoice=invoice_id, amount=800, refunds=covered)
    post("/v1/credit_notes", invoice=invoice_id, amount=200, refund_amount=200)


def refund_failed(thread: Thread) -> None:
    payment = subscribed(thread, "pm_card_refundFail")
    post("/v1/refunds", charge=payment.stripe_charge_id)
    thread.sandbox.advance(thread.sandbox.now() + 86_400)


def two_disputes(thread: Thread) -> None:
    subscribed(thread, "pm_card_createMultipleDisputes")
    won, lost = Dispute.objects.order_by("stripe_dispute_id")
    path = f"/v1/disputes/{won.stripe_dispute_id}"
    post(path, evidence={"uncategorized_text": "winning_evidence"}, submit=True)
    post(f"/v1/disputes/{lost.stripe_dispute_id}/close")
    thread.sandbox.advance(thread.sandbox.now() + 3 * 86_400)


def given_up_and_paid_in_two_ways(thread: Thread) -> None:
    """The second month of 20.00: 8.00 paid by a payment attached after the invoice was given up, the rest elsewhere."""
    subscribed(thread)
    thread.use_card("ada", HAND_DECLINED)
    thread.sandbox.advance(SECOND_MONTH + timedelta(hours=2))
    thread.settle()
    path = f"/v1/invoices/{Invoice.objects.get(status='open').stripe_invoice_id}"
    post(f"{path}/mark_uncollectible")
    post(f"{path}/attach_payment", payment_intent=payment_of(Customer.objects.get(), 800))
    post(f"{path}/pay", paid_out_of_band=True)


def payouts_there_and_back(thread: Thread) -> None:
    subscribed(thread, "pm_card_bypassPending")
    post("/v1/payouts", amount=900, currency="usd")
    thread.sandbox.choose_payout_account("000111111113")
    post("/v1/payouts", amount=700, currency="usd")
    thread.sandbox.advance(thread.sandbox.now() + 2 * 86_400)


STORIES: dict[Story, str] = {
    refunded_in_parts_and_covered: """
        revenue:subscription  20.00
        contra:refunds        15.00
        fees:stripe            0.88
        stripe:clearing        4.12
    """,
    refund_failed: """
        revenue:subscription  20.00
        contra:refunds        20.00
        refund_due            20.00
        fees:stripe            0.88
        stripe:clearing       19.12
    """,
    two_disputes: """
        revenue:subscription  20.00
        bad_debt              10.00
        fees:stripe           30.88
        stripe:clearing      -20.88
    """,
    given_up_and_paid_in_two_ways: """
        revenue:subscription  40.00
        bank                  12.00
        fees:stripe            1.41
        stripe:clearing       26.59
    """,
    payouts_there_and_back: """
        revenue:subscription  20.00
        bank                   9.00
        fees:stripe            0.88
        stripe:clearing       10.12
    """,
}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("seed", SEEDS)
def test_events_in_any_order_and_again_end_at_the_same_balances(thread: Thread, story: Story, seed: int) -> None:
    """All at once, shuffled, each twice; and then every event there ever was, once more."""
    chance = random.Random(seed)
    story(thread)

    thread.settle(copies=2, shuffle=chance)

    assert balances() == amounts_of(STORIES[story])
    assert thread.unfinished() == []
    thread.redeliver_everything()
    assert balances() == amounts_of(STORIES[story])
    assert discrepancies(thread) == []


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_events_one_by_one_in_any_order_end_at_the_same_balances(thread: Thread, story: Story) -> None:
    """Each is projected before the next arrives, so every one of them is at some time the only news."""
    chance = random.Random(story.__name__)
    story(thread)
    events = thread.new_events()
    chance.shuffle(events)
    for event in events:
        assert post_event(event).status_code == 200
        thread.settle()

    assert balances() == amounts_of(STORIES[story])
    assert Payment.objects.exclude(status="failed").count() > 0
