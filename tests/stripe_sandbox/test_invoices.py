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

    assert (paid.status, paid.amount_remaining, "amount_paid_off_stripe" in paid) == ("paid", 0, False)
    asked = account.api.invoices.retrieve(invoice.id, {"expand": ["amount_paid_off_stripe"]})
    assert asked.amount_paid_off_stripe == 1000
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


def test_an_amount_without_a_price_has_stripes_hidden_one(account: Account) -> None:
    customer = account.customer()
    given = {"customer": customer.id, "amount": 2000, "currency": "usd", "description": "Setup"}

    first, second = account.api.invoice_items.create(given), account.api.invoice_items.create(given)

    named = first.pricing.price_details
    price = account.api.prices.retrieve(named.price)
    assert (price.active, price.type, price.unit_amount, price.product) == (False, "one_time", 2000, named.product)
    product = account.api.products.retrieve(named.product)
    assert (product.active, product.name) == (False, "Setup")
    assert second.pricing.price_details.price == named.price
    assert account.api.prices.list({"active": True}).data == []


def test_quantities_may_be_fractions(account: Account) -> None:
    customer = account.customer()
    invoice = account.invoice(customer)

    item = account.api.invoice_items.create(
        {"customer": customer.id, "invoice": invoice.id, "unit_amount_decimal": "99.9", "quantity_decimal": "2.5"}
    )

    # 249.75, half up 250; the whole quantity is cut off.
    assert (item.amount, item.quantity, item.quantity_decimal) == (250, 2, Decimal("2.5"))
    assert account.api.invoices.retrieve(invoice.id).lines.data[0].quantity_decimal == Decimal("2.5")
    changed = account.api.invoice_items.update(item.id, {"quantity": 3})
    assert (changed.amount, changed.quantity_decimal) == (300, Decimal(3))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "amount"),
        ({"amount": 1, "unit_amount_decimal": "1"}, "unit_amount_decimal"),
        ({"amount": 1, "quantity": 2}, "quantity"),
        ({"unit_amount_decimal": "1", "quantity": 1, "quantity_decimal": "1"}, "quantity_decimal"),
        ({"pricing": {"price": "price_none"}}, "pricing[price]"),
        ({"amount": 1, "tax_rates": ["txr_none"]}, "tax_rates[0]"),
        ({"amount": 1, "discounts": [{"coupon": "none"}]}, "discounts[0][coupon]"),
        ({"amount": 1, "discounts": [{"coupon": "a", "promotion_code": "b"}]}, "discounts[0]"),
    ],
)
def test_items_that_cannot_be(account: Account, fields: dict[str, Any], param: str) -> None:
    customer = account.customer()

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.invoice_items.create({"customer": customer.id, "currency": "usd", **fields})

    assert refusal.value.param == param
    assert account.api.invoice_items.list().data == []


def test_lines_are_edited_with_tax_and_discounts(account: Account) -> None:
    customer = account.customer()
    vat = account.api.tax_rates.create({"display_name": "VAT", "percentage": 10, "inclusive": False})
    half = account.api.coupons.create({"percent_off": 50})
    invoice = account.invoice(customer, 100, 200)
    first, second = invoice.lines.data

    account.api.invoices.add_lines(
        invoice.id, {"lines": [{"amount": 1000, "tax_rates": [vat.id], "discounts": [{"coupon": half.id}]}]}
    )
    assert account.api.invoices.retrieve(invoice.id).total == 300 + 550

    account.api.invoices.update_lines(invoice.id, {"lines": [{"id": first.id, "tax_rates": [vat.id]}]})
    assert account.api.invoices.retrieve(invoice.id).total == 310 + 550

    account.api.invoices.remove_lines(invoice.id, {"lines": [{"id": second.id, "behavior": "delete"}]})
    line = account.api.invoices.line_items.update(invoice.id, first.id, {"tax_rates": "", "amount": 500})
    assert (line.id, line.amount, line.taxes) == (first.id, 500, [])
    assert account.api.invoices.retrieve(invoice.id).total == 500 + 550


def test_a_subscriptions_line_takes_texts_taxes_and_discounts(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    account.subscription(customer)
    sandbox.advance("2026-11-01T00:00:00Z")
    draft = account.invoices(customer)[0]
    vat = account.api.tax_rates.create({"display_name": "VAT", "percentage": 10, "inclusive": False})
    line = draft.lines.data[0].id

    account.api.invoices.line_items.update(draft.id, line, {"description": "mine", "tax_rates": [vat.id]})

    changed = account.api.invoices.retrieve(draft.id)
    assert (changed.status, changed.total, changed.lines.data[0].description) == ("draft", 2200, "mine")


def intent(account: Account, customer: Any, amount: int, **fields: Any) -> Any:
    given = {"amount": amount, "currency": "usd", "customer": customer.id, "payment_method": "pm_card_visa", **fields}
    return account.api.payment_intents.create(given)


def sums_of(invoice: Any) -> tuple[str, int, int, int, int]:
    return (
        invoice.status,
        invoice.amount_due,
        invoice.amount_paid,
        invoice.amount_remaining,
        invoice.amount_overpaid,
    )


def test_paid_in_parts_and_too_much(account: Account) -> None:
    customer = account.customer()
    draft = account.invoice(customer, 3000)
    invoice = account.api.invoices.finalize_invoice(draft.id, {"auto_advance": False})
    first, second = intent(account, customer, 1000, confirm=True), intent(account, customer, 2500)

    partly = account.api.invoices.attach_payment(invoice.id, {"payment_intent": first.id})
    assert sums_of(partly) == ("open", 3000, 1000, 2000, 0)
    waiting = account.api.invoices.attach_payment(invoice.id, {"payment_intent": second.id})
    assert sums_of(waiting) == ("open", 3000, 1000, 2000, 0)
    account.api.payment_intents.confirm(second.id)

    now = account.api.invoices.retrieve(invoice.id, {"expand": ["payments"]})
    assert sums_of(now) == ("paid", 3000, 3500, 0, 500)
    parts = [(payment.is_default, payment.status, payment.amount_paid) for payment in now.payments.data]
    assert parts == [(True, "canceled", None), (False, "paid", 1000), (False, "paid", 2500)]
    [transaction] = account.api.customers.balance_transactions.list(customer.id).data
    assert (transaction.type, transaction.amount) == ("invoice_overpaid", -500)
    assert account.event_types()[-1] == "invoice.overpaid"


def test_the_rest_is_charged_after_a_part(account: Account) -> None:
    customer = account.customer()
    draft = account.invoice(customer, 3000)
    account.api.invoices.finalize_invoice(draft.id, {"auto_advance": False})
    part = intent(account, customer, 1200, confirm=True)
    account.api.invoices.attach_payment(draft.id, {"payment_intent": part.id})

    with pytest.raises(stripe.InvalidRequestError, match="paid in part"):
        account.api.invoices.void_invoice(draft.id)
    assert sums_of(account.api.invoices.pay(draft.id)) == ("paid", 3000, 3000, 0, 0)
    assert [charge.amount for charge in account.api.charges.list().data] == [1800, 1200]


def test_payments_that_do_not_belong(account: Account) -> None:
    customer = account.customer()
    draft = account.invoice(customer, 3000)
    with pytest.raises(stripe.InvalidRequestError, match="This invoice is draft"):
        account.api.invoices.attach_payment(draft.id, {"payment_intent": intent(account, customer, 100).id})
    account.api.invoices.finalize_invoice(draft.id, {"auto_advance": False})

    for wrong in (intent(account, account.customer(), 100), intent(account, customer, 100, currency="eur")):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            account.api.invoices.attach_payment(draft.id, {"payment_intent": wrong.id})
        assert refusal.value.param == "payment_intent"


def test_a_revision_replaces_when_it_is_final(account: Account) -> None:
    customer = account.customer(balance=-300)
    draft = account.invoice(customer, 1000, description="first", footer="Thanks")
    original = account.api.invoices.finalize_invoice(draft.id, {"auto_advance": False})

    revision = account.api.invoices.create({"from_invoice": {"action": "revision", "invoice": original.id}})
    account.api.invoices.update_lines(revision.id, {"lines": [{"id": revision.lines.data[0].id, "amount": 900}]})
    assert account.api.invoices.retrieve(original.id).status == "open"
    final = account.api.invoices.finalize_invoice(revision.id, {"auto_advance": False})

    assert (final.description, final.footer, final.from_invoice.invoice) == ("first", "Thanks", original.id)
    assert (final.total, final.starting_balance, final.amount_due) == (900, -300, 600)
    replaced = account.api.invoices.retrieve(original.id)
    assert (replaced.status, replaced.latest_revision) == ("void", revision.id)


def test_a_revision_that_comes_too_late_says_so(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    original = account.api.invoices.finalize_invoice(account.invoice(customer, 1000).id, {"auto_advance": False})
    action = {"action": "revision", "invoice": original.id}
    revision = account.api.invoices.create({"from_invoice": action, "auto_advance": True})
    account.api.invoices.pay(original.id)

    sandbox.advance("2026-10-01T02:00:00Z")

    late = account.api.invoices.retrieve(revision.id)
    assert (late.status, late.auto_advance, late.last_finalization_error.code) == (
        "draft",
        False,
        "invoice_not_editable",
    )
    assert account.event_types()[-1] == "invoice.finalization_failed"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.invoices.create({"from_invoice": action})
    assert refusal.value.param == "from_invoice[invoice]"


def test_what_an_invoice_keeps(account: Account) -> None:
    address = {"city": "Bonn", "country": "DE"}
    fields = {
        "collection_method": "send_invoice",
        "custom_fields": [{"name": "PO", "value": "7"}],
        "days_until_due": 10,
        "number": "2026-1",
        "payment_settings": {"payment_method_types": ["card"]},
        "rendering": {"amount_tax_display": "include_inclusive_tax", "pdf": {"page_size": "a4"}},
        "shipping_details": {"name": "Ada", "address": address},
        "statement_descriptor": "BORING",
    }
    invoice = account.invoice(account.customer(), 100, **fields)

    assert (invoice.number, invoice.due_date) == ("2026-1", 1_790_812_800 + 864_000)
    assert (invoice.custom_fields[0].value, invoice.payment_settings.payment_method_types) == ("7", ["card"])
    assert (invoice.rendering.pdf.page_size, invoice.shipping_details.address.city) == ("a4", "Bonn")
    assert account.api.invoices.finalize_invoice(invoice.id).number == "2026-1"
    with pytest.raises(stripe.InvalidRequestError, match="in use already"):
        account.api.invoices.create({"customer": invoice.customer, "number": "2026-1"})


@pytest.mark.parametrize(
    "fields",
    [
        {"application_fee_amount": 5},
        {"issuer": {"type": "account", "account": "acct_1"}},
        {"on_behalf_of": "acct_1"},
        {"shipping_cost": {"shipping_rate": "shr_1"}},
        {"transfer_data": {"destination": "acct_1"}},
        {"rendering": {"template": "inrtem_1"}},
        {
            "payment_settings": {
                "default_mandate": "m",
                "payment_method_options": {"card": {"request_three_d_secure": "any"}},
            }
        },
    ],
)
def test_what_an_invoice_does_not_keep_is_refused(account: Account, fields: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.invoices.create({"customer": account.customer().id, **fields})

    assert refusal.value.code == "sandbox_not_implemented"
    assert account.api.invoices.list().data == []


def test_a_due_date_is_for_invoices_that_are_sent(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.invoices.create({"customer": account.customer().id, "days_until_due": 5})

    assert refusal.value.param == "days_until_due"


def test_finalising_is_told_twice(account: Account) -> None:
    invoice = account.invoice(account.customer(), 1000)
    account.api.invoices.finalize_invoice(invoice.id, {"auto_advance": False})

    finalised, updated = account.api.events.list({"types": ["invoice.finalized", "invoice.updated"]}).data[:2]

    assert (finalised.type, updated.type) == ("invoice.finalized", "invoice.updated")
    previous = updated.data.previous_attributes.to_dict()
    assert (previous["status"], previous["number"], previous["hosted_invoice_url"]) == ("draft", None, None)


def test_a_prorations_amount_is_frozen(account: Account) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    item = subscription["items"].data[0].id
    account.api.subscriptions.update(subscription.id, {"items": [{"id": item, "quantity": 2}]})
    debit = account.api.invoice_items.list({"customer": customer.id, "pending": True}).data[0]

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.invoice_items.update(debit.id, {"amount": 1})

    assert refusal.value.param == "amount"
    assert account.api.invoice_items.update(debit.id, {"description": "mine"}).description == "mine"
