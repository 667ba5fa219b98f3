"""Invoices: their lines, what may be changed when, the customer balance, small and negative totals."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account


def test_items_of_any_sign_become_lines_and_the_total_follows(account: Account) -> None:
    customer = account.customer()

    invoice = account.invoice(customer, 1000, 0, -300)

    assert [line.amount for line in invoice.lines.data] == [1000, 0, -300]
    assert (invoice.subtotal, invoice.total, invoice.amount_due) == (700, 700, 700)
    parents = [line.parent.invoice_item_details.invoice_item for line in invoice.lines.data]
    listed = account.api.invoice_items.list({"invoice": invoice.id}).data
    assert parents == [item.id for item in listed][::-1]


def test_item_by_price_data_is_price_times_quantity_rounded_half_up(account: Account) -> None:
    customer = account.customer()
    product = account.api.products.create({"name": "Tokens"})
    invoice = account.invoice(customer)

    item = account.api.invoice_items.create(
        {
            "customer": customer.id,
            "invoice": invoice.id,
            "quantity": 5,
            "price_data": {"currency": "usd", "product": product.id, "unit_amount_decimal": "0.7"},
        }
    )

    assert (item.amount, item.quantity, item.description) == (4, 5, "Tokens")
    assert item.pricing.unit_amount_decimal == Decimal("0.7")


def test_more_than_250_lines_in_pages(account: Account) -> None:
    invoice = account.invoice(account.customer())
    for first in (0, 250):
        added = [{"amount": number, "description": f"line {number}"} for number in range(first, first + 250)]
        account.api.invoices.add_lines(invoice.id, {"lines": added})

    pages = account.api.invoices.line_items.list(invoice.id, {"limit": 100})

    lines = list(pages.auto_paging_iter())
    assert len(pages.data) == 100
    assert [line.amount for line in lines] == list(range(500))
    shown = account.api.invoices.retrieve(invoice.id)
    assert (len(shown.lines.data), shown.lines.has_more, shown.total) == (10, True, sum(range(500)))


def test_a_call_takes_250_lines_and_no_more(account: Account) -> None:
    invoice = account.invoice(account.customer())

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.invoices.add_lines(invoice.id, {"lines": [{"amount": 1, "description": "x"}] * 251})

    assert refusal.value.param == "lines"
    assert account.api.invoices.retrieve(invoice.id).total == 0


def test_lines_are_updated_and_removed_with_their_items(account: Account) -> None:
    customer = account.customer()
    invoice = account.invoice(customer, 100, 200, 300)
    first, second, third = invoice.lines.data

    account.api.invoices.update_lines(invoice.id, {"lines": [{"id": first.id, "amount": 150, "description": "mended"}]})
    account.api.invoices.remove_lines(
        invoice.id,
        {"lines": [{"id": second.id, "behavior": "delete"}, {"id": third.id, "behavior": "unassign"}]},
    )

    invoice = account.api.invoices.retrieve(invoice.id)
    assert [(line.id, line.amount, line.description) for line in invoice.lines.data] == [(first.id, 150, "mended")]
    assert invoice.total == 150
    waiting = account.api.invoice_items.list({"customer": customer.id, "pending": True}).data
    assert [item.amount for item in waiting] == [300]


def test_deleting_an_item_takes_its_line(account: Account) -> None:
    invoice = account.invoice(account.customer(), 100, 200)
    item = invoice.lines.data[0].parent.invoice_item_details.invoice_item

    account.api.invoice_items.delete(item)

    assert account.api.invoices.retrieve(invoice.id).total == 200


Change = Callable[[Account, Any], object]
CHANGES: dict[str, Change] = {
    "add an item": lambda account, invoice: account.api.invoice_items.create(
        {"customer": invoice.customer, "invoice": invoice.id, "amount": 1, "currency": "usd"}
    ),
    "add lines": lambda account, invoice: account.api.invoices.add_lines(
        invoice.id, {"lines": [{"amount": 1, "description": "x"}]}
    ),
    "remove lines": lambda account, invoice: account.api.invoices.remove_lines(
        invoice.id, {"lines": [{"id": invoice.lines.data[0].id, "behavior": "delete"}]}
    ),
    "delete an item": lambda account, invoice: account.api.invoice_items.delete(
        invoice.lines.data[0].parent.invoice_item_details.invoice_item
    ),
    "finalise again": lambda account, invoice: account.api.invoices.finalize_invoice(invoice.id),
    "delete": lambda account, invoice: account.api.invoices.delete(invoice.id),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_finalised_invoice_is_fixed(account: Account, change: Change) -> None:
    invoice = account.invoice(account.customer(), 1000)
    account.api.invoices.finalize_invoice(invoice.id)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        change(account, invoice)

    assert refusal.value.code == "invoice_not_editable"
    assert account.api.invoices.retrieve(invoice.id).total == 1000


def test_finalising_with_auto_advance_charges_right_after_the_answer(account: Account) -> None:
    invoice = account.invoice(account.customer(), 1000)

    finalised = account.api.invoices.finalize_invoice(invoice.id, {"auto_advance": True})
    paid = account.api.invoices.retrieve(invoice.id)

    assert (finalised.status, finalised.amount_remaining) == ("open", 1000)
    assert (paid.status, paid.amount_paid, paid.amount_remaining, paid.attempt_count) == ("paid", 1000, 0, 1)
    assert str(paid.number).endswith("-0001")


def test_finalising_without_auto_advance_waits_for_pay(account: Account, sandbox: SandboxProcess) -> None:
    invoice = account.invoice(account.customer(), 1000)

    account.api.invoices.finalize_invoice(invoice.id, {"auto_advance": False})
    sandbox.advance("2026-10-20T00:00:00Z")

    assert account.api.invoices.retrieve(invoice.id).status == "open"
    assert account.api.invoices.pay(invoice.id).status == "paid"


@pytest.mark.parametrize("total", [1, 49])
def test_total_below_the_smallest_charge_moves_to_the_balance(account: Account, total: int) -> None:
    customer = account.customer()
    invoice = account.invoice(customer, total)

    settled = account.api.invoices.finalize_invoice(invoice.id, {"auto_advance": True})

    assert (settled.status, settled.amount_due, settled.total) == ("paid", 0, total)
    assert (settled.starting_balance, settled.ending_balance) == (0, total)
    [transaction] = account.api.customers.balance_transactions.list(customer.id).data
    assert (transaction.type, transaction.amount, transaction.invoice) == ("invoice_too_small", total, invoice.id)
    assert account.balance(customer) == total
    assert account.api.charges.list().data == []


def test_what_was_too_small_is_charged_with_the_next_invoice(account: Account) -> None:
    customer = account.customer()
    account.api.invoices.finalize_invoice(account.invoice(customer, 30).id)

    following = account.invoice(customer, 1000)
    account.api.invoices.finalize_invoice(following.id, {"auto_advance": True})

    paid = account.api.invoices.retrieve(following.id)
    assert (paid.total, paid.amount_due, paid.amount_paid) == (1000, 1030, 1030)
    assert (paid.starting_balance, paid.ending_balance) == (30, 0)
    assert account.balance(customer) == 0
    assert account.api.charges.list().data[0].amount == 1030


def test_credit_on_the_balance_is_applied(account: Account) -> None:
    customer = account.customer()
    account.api.customers.balance_transactions.create(customer.id, {"amount": -1500, "currency": "usd"})

    first = account.api.invoices.finalize_invoice(account.invoice(customer, 1000).id)
    second = account.api.invoices.finalize_invoice(account.invoice(customer, 1000).id)

    assert (first.status, first.amount_due, first.ending_balance) == ("paid", 0, -500)
    assert (second.status, second.amount_due, second.ending_balance) == ("open", 500, 0)
    transactions = account.api.customers.balance_transactions.list(customer.id).data
    assert [(item.type, item.amount, item.ending_balance) for item in transactions] == [
        ("applied_to_invoice", 500, 0),
        ("applied_to_invoice", 1000, -500),
        ("adjustment", -1500, -1500),
    ]


def test_negative_total_becomes_credit(account: Account) -> None:
    customer = account.customer()

    settled = account.api.invoices.finalize_invoice(account.invoice(customer, 200, -700).id)

    assert (settled.status, settled.total, settled.amount_due, settled.ending_balance) == ("paid", -500, 0, -500)
    assert account.balance(customer) == -500


def test_rest_below_the_smallest_charge_after_credit_is_owed(account: Account) -> None:
    customer = account.customer(balance=-980)

    settled = account.api.invoices.finalize_invoice(account.invoice(customer, 1000).id)

    assert (settled.status, settled.amount_due, settled.ending_balance) == ("paid", 0, 20)
    transactions = account.api.customers.balance_transactions.list(customer.id).data
    assert [(item.type, item.amount) for item in transactions] == [
        ("invoice_too_small", 20),
        ("applied_to_invoice", 980),
        ("initial", -980),
    ]


def test_void_gives_applied_credit_back(account: Account) -> None:
    customer = account.customer(balance=-300)
    invoice = account.invoice(customer, 1000)
    account.api.invoices.finalize_invoice(invoice.id)

    voided = account.api.invoices.void_invoice(invoice.id)

    assert voided.status == "void"
    assert account.balance(customer) == -300
    [payment] = account.api.invoice_payments.list({"invoice": invoice.id}).data
    assert payment.status == "canceled"


def test_uncollectible_can_still_be_paid(account: Account) -> None:
    invoice = account.invoice(account.customer(), 1000)
    account.api.invoices.finalize_invoice(invoice.id)

    assert account.api.invoices.mark_uncollectible(invoice.id).status == "uncollectible"
    assert account.api.invoices.pay(invoice.id).status == "paid"


def test_paid_out_of_band_needs_no_charge(account: Account) -> None:
    invoice = account.invoice(account.customer(), 1000)
    account.api.invoices.finalize_invoice(invoice.id)

    paid = account.api.invoices.pay(invoice.id, {"paid_out_of_band": True})

    assert (paid.status, paid.amount_paid_off_stripe, paid.amount_remaining) == ("paid", 1000, 0)
    assert account.api.charges.list().data == []


def test_waiting_items_are_taken_only_when_asked_for(account: Account) -> None:
    customer = account.customer()
    account.api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd"})

    without = account.api.invoices.create({"customer": customer.id})
    taking = account.api.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})

    assert (without.total, taking.total) == (0, 700)


def test_a_second_currency_is_refused(account: Account) -> None:
    customer = account.customer()
    account.invoice(customer, 1000)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.invoice_items.create({"customer": customer.id, "amount": 1, "currency": "eur"})

    assert refusal.value.param == "currency"
