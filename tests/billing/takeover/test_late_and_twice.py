"""Facts about old charges that come late, early, twice, or behind another id than today's."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pytest_django import Settings

from billing.customers.models import Customer
from billing.payments.models import Payment
from billing.payments.operations import project_payment
from billing.reconciliation.comparison import Pair, Scope
from billing.reconciliation.money_checks import Story, _is_undecided_without_row, stripe_money
from billing.stripe import gateway
from billing.stripe.models import InboxEvent
from billing.stripe.projection import process_event
from billing.takeover.bringing import Job, bring_payment
from billing.takeover.models import TakenOver, Takeover
from tests.billing.takeover.test_around_the_cut import AFTER, BEFORE, held, intent_of, job, move_balance, moved
from tests.billing.takeover.test_odd_accounts import ACTOR, BEGINNING, CUT, post
from tests.billing.takeover.test_old_charges import Counter, charge_guest
from tests.billing.thread import post_event
from tests.sandbox.client import SandboxProcess

__all__ = ["job"]


@pytest.fixture
def shop(committed_db: None, at_sandbox: SandboxProcess) -> Counter:
    return Counter(at_sandbox)


def test_a_payment_of_nobody_that_was_under_way_at_the_cut_does_not_stay_so(job: Job) -> None:
    """It was a sale of the books of before, and what it moves on our balance meets it, however often it is read."""
    guest = {**intent_of("succeeded", balance_transaction=moved("paid", 4000, "eur", AFTER)), "customer": None}
    earlier = {**intent_of("succeeded", balance_transaction=moved("old", 4000, "eur", BEFORE)), "customer": None}
    for intent in (guest, guest, earlier):
        bring_payment(intent, invoice_id="", refunds=[], disputes=[], closed_at={}, job=job)
    assert held("stripe:in_transit:EUR", "opening:EUR", "stripe:clearing:EUR") == {
        "stripe:clearing:EUR": 40, "opening:EUR": 40,
    }  # fmt: skip


def test_a_debit_that_failed_and_was_called_off_before_we_looked_is_taken_out_of_the_opening(job: Job) -> None:
    counted = moved("counted", 4000, "eur", BEFORE)
    failed = moved("failed", -4000, "eur", AFTER, "payment_failure_refund")
    over = intent_of("canceled", balance_transaction=counted, failure_balance_transaction=failed)
    # More was asked for before it was called off: what had failed stays what it was.
    project_payment({**over, "amount": 5000}, customer=Customer.objects.get(), invoice=None, now=job.now)
    assert held("stripe:in_transit:EUR", "opening:EUR") == {"opening:EUR": -40}


def test_a_dispute_of_nobody_is_told_once_also_when_stripe_no_longer_tells_when_it_ended(job: Job) -> None:
    taken = moved("taken", -4000, "eur", BEFORE, "adjustment", category="dispute")
    dispute = {"id": "du_1", "object": "dispute", "charge": "py_1", "payment_intent": "pi_1", "status": "lost",
               "amount": 4000, "currency": "eur", "created": BEFORE, "balance_transactions": [taken]}  # fmt: skip
    guest = {**intent_of("succeeded", balance_transaction=moved("paid", 4000, "eur", BEFORE)), "customer": None}
    for closed_at in ({"du_1": job.now}, {}):
        bring_payment(guest, invoice_id="", refunds=[], disputes=[dispute], closed_at=closed_at, job=job)
    assert held("disputes:EUR", "bad_debt:EUR") == {"bad_debt:EUR": 40}
    assert TakenOver.objects.filter(kind="dispute").count() == 1


def test_a_payment_that_nobody_had_tried_at_the_cut_is_looked_for_when_it_is_paid_later(shop: Counter) -> None:
    card = shop.enter("late")
    intent = post("/v1/payment_intents", customer=shop.customers["late"], amount=4000, currency="usd")["id"]
    shop.sandbox.advance(CUT + timedelta(hours=1))
    shop.run()
    post(f"/v1/payment_intents/{intent}/confirm", payment_method=card, off_session=True)
    shop.thread.settle()
    refund = post("/v1/refunds", payment_intent=intent, amount=500)["id"]  # whose event never comes
    scope = Scope(BEGINNING, datetime.fromtimestamp(shop.sandbox.now(), tz=UTC) + timedelta(hours=1))
    apart = [one.subject for one in stripe_money(scope) if isinstance(one, Pair) and not one.agrees]
    assert [one for one in apart if refund in one] == apart != []


def test_a_dispute_of_nobody_may_wait_for_its_end_as_long_as_any_other(shop: Counter, settings: Settings) -> None:
    shop.enter("somebody")
    shop.sandbox.advance(CUT - timedelta(hours=1))
    charge_guest(2500, "tok_createDispute")
    shop.sandbox.advance(CUT + timedelta(hours=1))
    shop.run()
    shop.sandbox.advance(CUT + timedelta(days=5))
    settings.BILLING_CLEARING_DAYS = 3
    assert shop.differences() == []
    typed = Story("disputes", "USD", "", "du_typo", Decimal(1), CUT, 1)
    assert not _is_undecided_without_row(typed)
    assert held("disputes:USD") == {"disputes:USD": 25}
    shop.answer_disputes({dispute["charge"]: "losing" for dispute in gateway.listed("/v1/disputes")})
    shop.sandbox.advance(CUT + timedelta(days=12))
    shop.thread.settle()
    assert held("disputes:USD", "bad_debt:USD") == {"bad_debt:USD": 25}


def test_events_of_old_charges_wait_for_their_customer_and_find_them_behind_the_refunds_own_id(shop: Counter) -> None:
    """They are stored as they were addressed before, and come while the run has not come to their customer."""
    charge, guest = shop.charge_by_old_api("early", 4000), charge_guest(2000)
    move_balance(shop, "early", -300)
    shop.sandbox.advance(CUT + timedelta(hours=1))
    Takeover.objects.create(as_of=CUT, started_at=shop.thread.now, started_by=ACTOR)  # a run fixed the cut and died
    move_balance(shop, "early", -500)  # told while nobody here knew the customer
    for paid in (charge, guest):
        post("/v1/refunds", charge=paid, amount=300)
    for event in shop.thread.new_events():
        if event["data"]["object"]["object"] == "refund":
            InboxEvent.objects.create(
                event_id=event["id"], type=event["type"], livemode=False, object_id=event["data"]["object"]["id"],
                payload=event, stripe_created_at=datetime.fromtimestamp(event["created"], tz=UTC),
                received_at=shop.thread.now, source="webhook", last_delivered_at=shop.thread.now, state="received",
                next_attempt_at=shop.thread.now,
            )  # fmt: skip
        else:
            post_event(event)
    for event_id in InboxEvent.objects.values_list("event_id", flat=True):
        process_event(event_id=event_id, now=shop.thread.now)
    waiting = shop.thread.unfinished()
    assert waiting
    assert all("is not known here" in error for _, _, error in waiting)
    assert held("contra:refunds:USD", "stripe:in_transit:USD") == {"contra:refunds:USD": 3}
    shop.run()
    shop.thread.now += timedelta(hours=1)
    shop.thread.settle()
    assert shop.thread.unfinished() == []
    assert Payment.objects.get().stripe_charge_id == charge
    assert shop.differences() == []
    assert shop.owed() == {"early": {"balance": 8}}
    assert held("contra:refunds:USD", "stripe:in_transit:USD") == {"contra:refunds:USD": 6}
