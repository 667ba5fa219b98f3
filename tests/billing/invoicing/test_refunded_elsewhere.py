"""A credit note on an invoice that was paid outside Stripe, given back there by the record of that payment."""

from billing.invoicing.models import CreditNote
from billing.payments.models import CreditNoteRefund
from billing.stripe import gateway
from tests.billing.accounting.stripe_story import amounts_of, balances, discrepancies, post
from tests.billing.thread import Thread


def paid_elsewhere(thread: Thread) -> str:
    """An invoice of 20.00 whose money came to the bank; return its id at Stripe."""
    thread.subscribe()
    thread.settle()
    customer = gateway.request("get", "/v1/customers", {"limit": 1}).data["data"][0]["id"]
    sent = {"collection_method": "send_invoice", "days_until_due": 30}
    invoice = str(post("/v1/invoices", customer=customer, auto_advance=False, **sent)["id"])
    post("/v1/invoiceitems", customer=customer, invoice=invoice, amount=2000, currency="usd",
         metadata={"kind": "one_off"})  # fmt: skip
    post(f"/v1/invoices/{invoice}/finalize", auto_advance=False)
    post(f"/v1/invoices/{invoice}/pay", paid_out_of_band=True)
    thread.settle()
    return invoice


def test_what_a_payment_record_gave_back_left_the_bank_and_is_owed_to_nobody(thread: Thread) -> None:
    """It is no refund of Stripe's: none would ever send what was promised."""
    invoice = paid_elsewhere(thread)
    before = balances()
    (payment,) = gateway.listed("/v1/invoice_payments", invoice=invoice, status="paid")
    given_back = {
        "type": "payment_record_refund",
        "amount_refunded": 500,
        "payment_record_refund": {"payment_record": payment["payment"]["payment_record"], "refund_group": "wire-7"},
    }
    post("/v1/credit_notes", invoice=invoice, amount=800, refunds=[given_back], out_of_band_amount=300)
    thread.settle()

    note = CreditNote.objects.get()
    assert (note.refunded_minor, note.out_of_band_minor, note.total_minor) == (0, 800, 800)
    assert not CreditNoteRefund.objects.exists()
    assert balances() == {**before, **amounts_of("contra:refunds 8.00"), "bank": before["bank"] - 8}
    thread.redeliver_everything()
    assert discrepancies(thread) == []
