"""Credit notes before and after payment: what they take off, give back, and how much of it."""

from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.account import Account


def final(account: Account, customer: Any, *amounts: int, **fields: Any) -> Any:
    draft = account.invoice(customer, *amounts, **fields)
    return account.api.invoices.finalize_invoice(draft.id, {"auto_advance": False})


def paid(account: Account, customer: Any, *amounts: int, **fields: Any) -> Any:
    return account.api.invoices.pay(final(account, customer, *amounts, **fields).id)


def note(account: Account, invoice: Any, **fields: Any) -> Any:
    return account.api.credit_notes.create({"invoice": invoice.id, **fields})


def custom(unit_amount: int, quantity: int = 1, **fields: Any) -> dict[str, Any]:
    return {"type": "custom_line_item", "unit_amount": unit_amount, "quantity": quantity, **fields}


def of_line(line: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "invoice_line_item", "invoice_line_item": line.id, **fields}


def amounts_of(account: Account, invoice: Any) -> tuple[int, int, int, int]:
    """Due, remaining, and credited before and after payment."""
    now = account.api.invoices.retrieve(invoice.id)
    return (
        now.amount_due,
        now.amount_remaining,
        now.pre_payment_credit_notes_amount,
        now.post_payment_credit_notes_amount,
    )


def test_before_payment_less_is_owed_and_charged(account: Account) -> None:
    invoice = final(account, account.customer(), 2000)

    made = note(account, invoice, lines=[custom(250, 2, description="Late")], reason="order_change", memo="sorry")

    assert (made.number, made.type, made.status) == (f"{invoice.number}-CN-1", "pre_payment", "issued")
    assert (made.amount, made.pre_payment_amount, made.post_payment_amount) == (500, 500, 0)
    assert amounts_of(account, invoice) == (1500, 1500, 500, 0)
    assert account.api.invoices.pay(invoice.id).amount_paid == 1500
    assert account.api.charges.list().data[0].amount == 1500


def test_an_invoice_credited_to_nothing_is_paid(account: Account) -> None:
    invoice = final(account, account.customer(), 2000)

    note(account, invoice, amount=2000)

    now = account.api.invoices.retrieve(invoice.id, {"expand": ["payments"]})
    assert (now.status, now.amount_due, now.amount_paid, now.total) == ("paid", 0, 0, 2000)
    assert [payment.status for payment in now.payments.data] == ["canceled"]
    assert account.event_types()[-3:] == ["invoice.updated", "invoice.paid", "invoice.payment_succeeded"]


def test_after_payment_it_goes_back_in_three_ways(account: Account) -> None:
    customer = account.customer()
    invoice = paid(account, customer, 2000)

    made = note(account, invoice, amount=1000, refund_amount=600, credit_amount=300, out_of_band_amount=100)

    assert (made.type, made.post_payment_amount, made.out_of_band_amount) == ("post_payment", 1000, 100)
    [refund] = account.api.refunds.list().data
    assert [(entry.refund, entry.amount_refunded) for entry in made.refunds] == [(refund.id, 600)]
    assert account.balance(customer) == -300
    [transaction] = account.api.customers.balance_transactions.list(customer.id).data
    assert (transaction.type, transaction.amount, transaction.credit_note) == ("credit_note", -300, made.id)
    assert made.customer_balance_transaction == transaction.id
    assert amounts_of(account, invoice) == (2000, 0, 0, 1000)


@pytest.mark.parametrize("ways", [{}, {"refund_amount": 900}, {"credit_amount": 600, "out_of_band_amount": 500}])
def test_the_ways_must_add_up(account: Account, ways: dict[str, int]) -> None:
    invoice = paid(account, account.customer(), 2000)

    with pytest.raises(stripe.InvalidRequestError, match="must equal"):
        note(account, invoice, amount=1000, **ways)

    assert account.api.credit_notes.list().data == []
    assert account.api.refunds.list().data == []


def test_before_payment_there_is_nothing_to_refund(account: Account) -> None:
    invoice = final(account, account.customer(), 2000)

    with pytest.raises(stripe.InvalidRequestError, match="must equal"):
        note(account, invoice, amount=1000, refund_amount=1000)


def test_a_refund_made_before_is_linked(account: Account) -> None:
    invoice = paid(account, account.customer(), 2000)
    refund = account.api.refunds.create({"charge": account.api.charges.list().data[0].id, "amount": 700})

    made = note(account, invoice, amount=700, refunds=[{"refund": refund.id}])

    assert made.refunds[0].amount_refunded == 700
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        note(account, invoice, amount=700, refunds=[{"refund": refund.id, "amount_refunded": 700}])
    assert refusal.value.param == "refunds[0][amount_refunded]"


def test_refunds_without_a_note_lower_what_can_be_credited(account: Account) -> None:
    invoice = paid(account, account.customer(), 2000)
    account.api.refunds.create({"charge": account.api.charges.list().data[0].id, "amount": 700})

    with pytest.raises(stripe.InvalidRequestError, match="more than what can still be credited"):
        note(account, invoice, amount=1301, out_of_band_amount=1301)
    assert note(account, invoice, amount=1300, out_of_band_amount=1300).total == 1300


def test_partly_paid_is_mixed(account: Account) -> None:
    customer = account.customer()
    invoice = final(account, customer, 2000)
    intent = account.api.payment_intents.create(
        {"amount": 1500, "currency": "usd", "customer": customer.id, "payment_method": "pm_card_visa", "confirm": True}
    )
    account.api.invoices.attach_payment(invoice.id, {"payment_intent": intent.id})

    made = note(account, invoice, amount=800, credit_amount=300)

    assert (made.type, made.pre_payment_amount, made.post_payment_amount) == ("mixed", 500, 300)
    assert amounts_of(account, invoice) == (1500, 0, 500, 300)
    assert account.api.invoices.retrieve(invoice.id).status == "paid"


def test_void_is_owed_again(account: Account) -> None:
    invoice = final(account, account.customer(), 2000)
    first, second = note(account, invoice, amount=500), note(account, invoice, amount=300)

    voided = account.api.credit_notes.void_credit_note(first.id)

    assert (voided.status, voided.number[-5:]) == ("void", "-CN-1")
    assert amounts_of(account, invoice) == (1700, 1700, 300, 0)
    with pytest.raises(stripe.InvalidRequestError, match="void already"):
        account.api.credit_notes.void_credit_note(first.id)
    account.api.invoices.pay(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match="still open"):
        account.api.credit_notes.void_credit_note(second.id)
    assert account.event_types().count("credit_note.voided") == 1
    after = paid(account, account.customer(), 900)
    with pytest.raises(stripe.InvalidRequestError, match="before payment"):
        account.api.credit_notes.void_credit_note(note(account, after, amount=1, out_of_band_amount=1).id)


def test_three_units_one_by_one_give_all_discount_and_tax_back(account: Account) -> None:
    customer = account.customer()
    coupon = account.api.coupons.create({"amount_off": 100, "currency": "usd"})
    vat = account.api.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    invoice = account.api.invoices.create(
        {"customer": customer.id, "discounts": [{"coupon": coupon.id}], "default_tax_rates": [vat.id]}
    )
    account.api.invoice_items.create(
        {"customer": customer.id, "invoice": invoice.id, "unit_amount_decimal": "333", "quantity": 3}
    )
    invoice = account.api.invoices.finalize_invoice(invoice.id, {"auto_advance": False})
    # 999 - 100 = 899; 19 % of it is 170.81, so 171: 1070.
    assert invoice.total == 1070
    [line] = invoice.lines.data

    notes = [note(account, invoice, lines=[of_line(line, quantity=1)]) for _ in range(3)]

    # A third each of 100, 899 and 171, rounded over all credited so far: 33/67/100, 300/599/899 and 57/114/171.
    assert [one.discount_amount for one in notes] == [33, 34, 33]
    assert [one.total_taxes[0].amount for one in notes] == [57, 57, 57]
    assert [one.total_taxes[0].taxable_amount for one in notes] == [300, 299, 300]
    assert [one.total for one in notes] == [357, 356, 357]
    assert [one.lines.data[0].unit_amount for one in notes] == [333, 333, 333]
    assert account.api.invoices.retrieve(invoice.id).status == "paid"


def test_a_line_by_amount_and_no_more_than_is_left(account: Account) -> None:
    invoice = final(account, account.customer(), 1000, 500)
    first = invoice.lines.data[0]

    made = note(account, invoice, lines=[of_line(first, amount=600)])

    assert (made.total, made.lines.data[0].invoice_line_item, made.lines.data[0].quantity) == (600, first.id, None)
    with pytest.raises(stripe.InvalidRequestError, match="between 1 and 400") as refusal:
        note(account, invoice, lines=[of_line(first, amount=401)])
    assert refusal.value.param == "lines[0][amount]"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        note(account, invoice, lines=[of_line(first, quantity=2)])
    assert refusal.value.param == "lines[0][quantity]"


def test_own_lines_with_rates_and_with_tax_amounts(account: Account) -> None:
    invoice = final(account, account.customer(), 5000)
    vat = account.api.tax_rates.create({"display_name": "VAT", "percentage": 10, "inclusive": False})
    given = [{"amount": 7, "tax_rate": vat.id, "taxable_amount": 50}]

    made = note(account, invoice, lines=[custom(333, tax_rates=[vat.id]), custom(50, tax_amounts=given)])

    # 33.3 is 33; 333 + 33 + 50 + 7.
    assert (made.subtotal, made.total_excluding_tax, made.total) == (383, 383, 423)
    assert [(tax.amount, tax.taxable_amount) for tax in made.total_taxes] == [(40, 383)]


def test_inclusive_tax_is_inside_the_credit(account: Account) -> None:
    vat = account.api.tax_rates.create({"display_name": "VAT", "percentage": 20, "inclusive": True})
    invoice = final(account, account.customer(), 1000, default_tax_rates=[vat.id])

    made = note(account, invoice, lines=[of_line(invoice.lines.data[0], amount=500)])

    # 166.67 inside 1000; half of 167 is 83.5, up to 84.
    assert (made.subtotal, made.total, made.total_excluding_tax) == (500, 500, 416)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "amount"),
        ({"amount": 5, "lines": [custom(5)]}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": 2001}, "amount"),
        ({"lines": [{"type": "custom_line_item"}]}, "lines[0][unit_amount]"),
        ({"lines": [{"type": "custom_line_item", "unit_amount": 5, "amount": 5}]}, "lines[0][amount]"),
        ({"lines": [{"type": "invoice_line_item", "amount": 5}]}, "lines[0][invoice_line_item]"),
    ],
)
def test_what_cannot_be_credited(account: Account, fields: dict[str, Any], param: str) -> None:
    invoice = final(account, account.customer(), 2000)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        note(account, invoice, **fields)

    assert refusal.value.param == param
    assert amounts_of(account, invoice) == (2000, 2000, 0, 0)


def test_drafts_and_void_invoices_have_no_credit_notes(account: Account) -> None:
    customer = account.customer()
    draft, ended = account.invoice(customer, 1000), final(account, customer, 1000)
    account.api.invoices.void_invoice(ended.id)

    for invoice in (draft, ended):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            note(account, invoice, amount=1)
        assert refusal.value.param == "invoice"


def test_a_preview_is_what_then_happens_and_changes_nothing(account: Account) -> None:
    invoice = paid(account, account.customer(), 2000)
    wanted = {"invoice": invoice.id, "lines": [custom(500), custom(100)], "credit_amount": 600}
    before = account.event_types()

    preview = account.api.credit_notes.preview(wanted)
    lines = account.api.credit_notes.preview_lines.list({**wanted, "limit": 1})

    assert (lines.data[0].amount, lines.has_more) == (500, True)
    assert account.event_types() == before
    assert account.api.credit_notes.list().data == []
    made = account.api.credit_notes.create(wanted)
    for field in ("number", "total", "subtotal", "type", "post_payment_amount"):
        assert preview[field] == made[field]


def test_notes_are_listed_read_and_updated(account: Account) -> None:
    customer = account.customer()
    invoice = final(account, customer, 2000)
    made = note(account, invoice, lines=[custom(1, description=str(number)) for number in range(12)])

    account.api.credit_notes.update(made.id, {"memo": "new", "metadata": {"a": "1"}})

    read = account.api.credit_notes.retrieve(made.id)
    assert (read.memo, read.metadata["a"], len(read.lines.data), read.lines.has_more) == ("new", "1", 10, True)
    lines = account.api.credit_notes.line_items.list(made.id, {"limit": 5}).auto_paging_iter()
    assert [line.description for line in lines] == [str(number) for number in range(12)]
    assert [one.id for one in account.api.credit_notes.list({"invoice": invoice.id}).data] == [made.id]
    assert account.api.credit_notes.list({"customer": account.customer().id}).data == []
    assert account.event_types().count("credit_note.updated") == 1
