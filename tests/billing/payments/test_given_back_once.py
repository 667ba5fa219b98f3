"""What was paid is given back once, whichever ways somebody gives it back: refunds, credit notes, prepaid credit."""

from datetime import timedelta

import psycopg
import pytest
from psycopg import errors

from billing.customers.models import Customer
from billing.invoicing.models import Invoice
from billing.invoicing.requests import operations as about_invoices
from billing.invoicing.requests import terms
from billing.invoicing.requests.carrying_out import carry_out_request
from billing.invoicing.requests.models import InvoiceRequest
from billing.invoicing.stripe_lines import PrepaidTerms
from billing.payments.models import Payment
from billing.payments.refunding.batches import Rule, Selection, select
from billing.payments.refunding.left import left_of
from billing.payments.two_people import InvalidRequest
from billing.stripe import redriving
from billing.stripe.errors import OutboxRefusal
from billing.stripe.models import OutboxIntent
from tests.billing.accounting.people import FIONA, NOON, hire
from tests.billing.accounting.stripe_story import post, subscribed
from tests.billing.payments.test_peers_bugs_payments import taxed
from tests.billing.payments.test_refunding import ask, send
from tests.billing.thread import START, Thread

# As the application's role, past the operations: a copy of a request with another amount.
COPIED = """INSERT INTO billing_refundrequest (payment_id, customer_id, way, reason_code, state, stripe_refund_id,
    stripe_credit_note_id, error, amount_minor, currency, reason, limit_minor, alone_minor, needs_second_person,
    requested_by, requested_at, idempotency_key)
    SELECT id, customer_id, 'refund', 'goodwill', 'waiting', '', '', '', %s, currency, 'x', NULL, %s, true, 'user:x',
    now(), 'attack' FROM billing_payment WHERE id = %s"""


def chosen() -> Selection:
    return select(Rule(paid_from=START, paid_until=START + timedelta(days=9), currency="USD"))


def refused_by_sql(connection: psycopg.Connection, payment: Payment, amount: int) -> str | None:
    with pytest.raises(errors.IntegrityError) as refused:
        connection.execute(COPIED, (amount, amount, payment.pk))
    return refused.value.diag.constraint_name


def invoice_of(payment: Payment) -> Invoice:
    assert payment.invoice is not None
    payment.invoice.refresh_from_db()
    return payment.invoice


def test_what_paid_for_prepaid_credit_goes_back_with_the_credit(
    thread: Thread, app_connection: psycopg.Connection
) -> None:
    """A refund would leave the credit usable: only the credit note of its line takes it back."""
    hire()
    first = subscribed(thread)
    customer = Customer.objects.get().stripe_customer_id
    bought = post("/v1/invoices", customer=customer, auto_advance=False)["id"]
    terms_of_credit = PrepaidTerms(name="Top-up", valid_days=60).metadata()
    post("/v1/invoiceitems", customer=customer, invoice=bought, amount=1000, currency="usd", description="Top-up",
         metadata=terms_of_credit)  # fmt: skip
    post(f"/v1/invoices/{bought}/finalize", auto_advance=False)
    post(f"/v1/invoices/{bought}/pay")
    thread.settle()
    payment = Payment.objects.get(invoice__stripe_invoice_id=bought)

    for way in ("refund", "credit_note"):
        with pytest.raises(InvalidRequest, match=r"prepaid credit.*credit note on the line “Top-up”"):
            ask(payment, 100, way=way)
    found = chosen()
    assert [line.payment for line in found.lines] == [first]
    [(passed_over, why)] = found.passed_over
    assert (passed_over, "prepaid credit" in why) == (payment, True)
    assert refused_by_sql(app_connection, payment, 100) == "billing_refundrequest_not_of_prepaid"


def test_what_went_onto_the_balance_is_not_refunded_as_well(thread: Thread, app_connection: psycopg.Connection) -> None:
    hire()
    payment = subscribed(thread)
    invoice = invoice_of(payment)
    [line] = invoice.lines.all()
    wanted = terms.credit_note(invoice=invoice, parts=[terms.CreditedPart(line.pk, 300)], way=terms.BALANCE)
    about_invoices.ask(wanted, reason="sorry", actor=FIONA, idempotency_key="under way", now=NOON)
    assert left_of(payment) == 1700
    credited = {"type": "invoice_line_item", "invoice_line_item": line.stripe_line_id, "amount": 1500}
    post("/v1/credit_notes", invoice=invoice.stripe_invoice_id, lines=[credited], credit_amount=1500)
    thread.settle()

    assert left_of(payment) == 200
    with pytest.raises(InvalidRequest, match="200 minor units"):
        ask(payment, 201)
    assert [line.amount_minor for line in chosen().lines] == [200]
    assert refused_by_sql(app_connection, payment, 201) == "billing_refundrequest_within_paid"
    assert ask(payment).amount_minor == 200
    assert send(thread) == 1
    assert (left_of(payment), chosen().lines) == (0, ())
    assert refused_by_sql(app_connection, payment, 1) == "billing_refundrequest_within_paid"


def test_what_was_refunded_is_not_credited_to_the_balance_as_well(thread: Thread) -> None:
    hire()
    payment = subscribed(thread)
    ask(payment, 1500)
    assert send(thread) == 1
    invoice = invoice_of(payment)
    [line] = invoice.lines.all()

    with pytest.raises(terms.InvalidRequest, match="500 minor units of what was paid are left"):
        terms.credit_note(invoice=invoice, parts=[terms.CreditedPart(line.pk, 501)], way=terms.BALANCE)
    assert terms.credit_note(invoice=invoice, parts=[terms.CreditedPart(line.pk, 500)], way=terms.BALANCE)


def test_tax_goes_back_with_a_credit_note(thread: Thread) -> None:
    """10.00 and 20 % on top. 6.00 back are 5.00 and 1.00 of tax; what tax rounds past is told before it is asked."""
    payment = taxed(thread, percent=20, amount=1000)
    assert thread.balances()["tax:payable"] == 2
    asked = ask(payment, 600, way="credit_note")
    assert [amount for _, amount in asked.parts or ()] == [500]
    with pytest.raises(InvalidRequest, match="can give back 2 minor units"):
        ask(payment, 3, way="credit_note")  # 2 have no tax, 3 have one of tax
    assert send(thread) == 1
    balances = thread.balances()
    assert (balances["tax:payable"], balances["contra:refunds"]) == (1, 5)
    assert ask(payment, way="credit_note").amount_minor == 600
    assert send(thread) == 1
    assert invoice_of(payment).credit_notes.count() == 2
    balances = thread.balances()
    assert ("tax:payable" in balances, balances["contra:refunds"], "refund_due" in balances) == (False, 10, False)


def test_what_was_refused_is_asked_for_anew_and_not_redriven(thread: Thread) -> None:
    """Redriven, it would be sent past its request, whose amount is free to be asked for again."""
    hire()
    payment = subscribed(thread)
    invoice = invoice_of(payment)
    part = terms.CreditedPart(invoice.lines.get().pk, 1200)
    wanted = terms.credit_note(invoice=invoice, parts=[part], way=terms.REFUND)
    credit = about_invoices.ask(wanted, reason="sorry", actor=FIONA, idempotency_key="c", now=NOON)
    thread.sandbox.fault(operation="POST /v1/credit_notes", mode="forbidden")
    carry_out_request(request_id=credit.pk, now=NOON)
    InvoiceRequest.objects.filter(pk=credit.pk).update(state="refused", finished_at=NOON)
    post("/v1/refunds", charge=payment.stripe_charge_id, amount=1500)  # and nobody has heard of it yet
    refund = ask(payment, 1200)
    assert send(thread) == 0
    refund.refresh_from_db()
    assert (refund.state, left_of(payment)) == ("refused", 500)
    ask(payment, 500)
    assert send(thread) == 1

    for purpose in (f"invoice_request:{credit.pk}:credit_note", f"refund:{refund.pk}"):
        intent = OutboxIntent.objects.get(purpose=purpose)
        assert redriving.way_of(intent, now=NOON) is redriving.Way.NOTHING
        with pytest.raises(OutboxRefusal, match=r"has ended: refused by stripe\. Ask for it anew"):
            redriving.redrive(intent_id=intent.pk, actor=FIONA, reason="again", now=NOON)
    assert [one["amount"] for one in thread.sandbox.state()["refund"]] == [1500, 500]
