"""
What reached customers elsewhere around payments (field.md, A 6 and section E), each as a test of ours by its name.

More of them are in test_one_charge.py: L#5708 (`test_what_was_paid_beside_the_invoice_is_not_charged_again`) and
P#10653 (`test_with_stripes_own_retry_on_the_same_day`).
"""

import random
from datetime import timedelta
from decimal import Decimal

import pytest

from billing.customers.models import Customer
from billing.payments.models import Payment, Refund
from billing.payments.recovery.carrying_out import LEASE, advance_case
from billing.payments.recovery.models import Message, RecoveryCase
from tests.billing.accounting.people import hire
from tests.billing.accounting.stripe_story import post, subscribed
from tests.billing.payments.recovering import SECOND, attempts, charges, choose, day, failed, run
from tests.billing.payments.test_refunding import ask, send
from tests.billing.thread import Crash, Thread


def taxed(thread: Thread, *, percent: int, amount: int, balance: int = 0) -> Payment:
    """Ada pays an invoice of one line with tax on top, after `balance` of what is hers was applied."""
    hire()
    subscribed(thread)
    customer = Customer.objects.get()
    if balance:
        post(f"/v1/customers/{customer.stripe_customer_id}/balance_transactions", amount=-balance, currency="usd")
    rate = post("/v1/tax_rates", display_name="VAT", inclusive=False, percentage=str(percent))["id"]
    invoice = post("/v1/invoices", customer=customer.stripe_customer_id, auto_advance=False)
    line = {"amount": amount, "description": "Setup", "tax_rates": [rate], "metadata": {"kind": "one_off"}}
    post(f"/v1/invoices/{invoice['id']}/add_lines", lines=[line])
    post(f"/v1/invoices/{invoice['id']}/finalize")
    post(f"/v1/invoices/{invoice['id']}/pay")
    thread.settle()
    return Payment.objects.get(invoice__stripe_invoice_id=invoice["id"])


def test_p_11905_the_third_day_is_the_third_day_and_the_last_retry_is_made(thread: Thread) -> None:
    """Dunning was off by one: an interval too early or too late, and one try more or fewer than declared."""
    choose(retry_days=[3, 5, 7])
    case = failed(thread)
    made = {3: [1], 5: [1, 2], 7: [1, 2, 3]}
    for number, expected in made.items():
        run(thread, day(case, number) - SECOND)
        assert [one for one, _ in attempts(case)] == expected[:-1]
        run(thread, day(case, number))
        assert [one for one, _ in attempts(case)] == expected
    for number in (8, 9, 14, 21):
        run(thread, day(case, number))

    assert attempts(case) == [(1, "declined"), (2, "declined"), (3, "declined")]
    assert list(case.steps.filter(kind="attempt").values_list("due_at", flat=True)) == [day(case, n) for n in made]
    assert charges(thread, case) == ["failed"] * 4


def test_p_13272_a_worker_that_died_locks_nobody_out(thread: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payment lock was left behind by a crash and no payment was ever tried again. Ours is a turn that ends."""
    choose()
    case = failed(thread)
    thread.use_card("ada", "pm_card_visa")
    run(thread, day(case, 1))

    def die(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as dying:
        dying.setattr("billing.payments.recovery.carrying_out.situation_of", die)
        with pytest.raises(Crash):
            advance_case(case_id=case.pk, now=day(case, 3))
    assert advance_case(case_id=case.pk, now=day(case, 3) + SECOND) is False  # still the dead worker's turn
    assert run(thread, day(case, 3) + LEASE) == 1

    case.refresh_from_db()
    assert (attempts(case), case.outcome) == ([(1, "paid")], "paid")


def test_p_13268_and_m_871_paid_is_told_and_entered_once_however_often_it_is_delivered(thread: Thread) -> None:
    case = failed(thread)
    thread.use_card("ada", "pm_card_visa")
    post(f"/v1/invoices/{case.invoice.stripe_invoice_id}/pay")
    thread.settle(copies=3, shuffle=random.Random(5))
    thread.redeliver_everything()

    case.refresh_from_db()
    assert (RecoveryCase.objects.count(), case.steps.filter(kind="closed").count()) == (1, 1)
    assert thread.balances()["revenue:subscription"] == 40
    assert Message.objects.count() == 0


def test_p_6134_a_stale_event_of_a_failure_opens_nothing_after_the_payment(thread: Thread) -> None:
    """A stale webhook overwrote what was known. Here the failure is heard of only after the success."""
    case = failed(thread)
    post(f"/v1/invoices/{case.invoice.stripe_invoice_id}/pay", payment_method="pm_card_visa")
    events = thread.new_events()
    thread.redeliver_everything()
    assert events
    case.refresh_from_db()
    assert case.state == "closed"
    assert Payment.objects.get(invoice=case.invoice).status == "succeeded"


def test_p_13381_a_refund_gives_back_no_more_tax_than_was_collected(thread: Thread) -> None:
    """
    A partial refund of an invoice with applied balance gave back 375 of tax where 250 had been collected.

    Here: 50.00 and 25 % tax are 62.50, of which 37.50 was the customer's balance: 25.00 is collected. All of that is
    refunded by a credit note: its tax is that of 25.00, and the customer has exactly the balance's part left.
    """
    payment = taxed(thread, percent=25, amount=5000, balance=3750)
    assert payment.amount_minor == 2500
    ask(payment, way="credit_note", reason_code="wrong_amount")
    send(thread)

    invoice = payment.invoice
    assert invoice is not None
    invoice.refresh_from_db()
    note = invoice.credit_notes.get()
    assert (note.total_minor, note.refunded_minor, invoice.tax_minor) == (2500, 2500, 1250)
    balances = thread.balances()
    assert "refund_due" not in balances
    # What is given back is 25.00 in all, tax included, and no more than the invoice's own tax of it.
    given_back = balances["contra:refunds"] + (Decimal("12.5") - balances["tax:payable"])
    assert given_back == 25
    assert Decimal(0) <= balances["tax:payable"] <= Decimal("12.5")
    with pytest.raises(Exception, match="0 minor units"):
        ask(payment, 1)


def test_p_12740_each_refund_is_entered_by_its_own_amount_and_not_by_the_charges_total(thread: Thread) -> None:
    """`amount_refunded` of a charge is cumulative; as a delta, three refunds of 5, 3 and 2 became 5 + 8 + 10."""
    hire()
    payment = subscribed(thread)
    for amount in (500, 300, 200):
        ask(payment, amount)
        send(thread)
        thread.redeliver_everything()

    assert sorted(Refund.objects.values_list("amount_minor", flat=True)) == [200, 300, 500]
    assert thread.balances()["contra:refunds"] == 10


def test_p_13221_a_credit_notes_tax_takes_tax_back(thread: Thread) -> None:
    """The tax of a refund had the wrong sign: what was owed to the tax office grew with each refund."""
    payment = taxed(thread, percent=20, amount=1000)
    assert (payment.amount_minor, thread.balances()["tax:payable"]) == (1200, 2)
    assert payment.invoice is not None
    line = payment.invoice.lines.get(kind="one_off")
    credited = {"type": "invoice_line_item", "invoice_line_item": line.stripe_line_id, "amount": 500}
    invoice_id = payment.invoice.stripe_invoice_id
    post("/v1/credit_notes", invoice=invoice_id, lines=[credited], refund_amount=600)
    thread.settle()

    assert thread.balances()["tax:payable"] == 1
    assert thread.balances()["contra:refunds"] == 5


def test_l_5495_voided_twice_at_once_is_void_once(thread: Thread) -> None:
    case = failed(thread)
    post(f"/v1/invoices/{case.invoice.stripe_invoice_id}/void")
    thread.settle(copies=2)
    thread.redeliver_everything()

    case.refresh_from_db()
    assert (case.outcome, case.steps.filter(kind="closed").count()) == ("void", 1)
    assert "receivable" not in thread.balances()


def test_kb_1553_what_is_being_paid_counts_as_neither_paid_nor_late(thread: Thread) -> None:
    """Credit was consumed while the payment was pending. A pending payment changes no account and no date here."""
    choose()
    case = failed(thread)
    before = thread.balances()
    intent = thread.sandbox.state()["payment_intent"][-1]
    thread.sandbox.alter(intent["id"], status="processing")
    run(thread, day(case, 0) + timedelta(minutes=1))

    assert thread.balances() == before
    assert not case.steps.exclude(kind="opened").exists()
