"""Tax rates, exemptions and tax ids: what is taxed, how it is rounded, and where it shows."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.billing.invoices.taxes import Rate, half_up, included_in, taxes_on
from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account

BY_PLACE = {"enabled": True, "liability": {"type": "self"}, "status": "requires_location_inputs"}


def rate(account: Account, percentage: float, *, inclusive: bool = False, **fields: Any) -> Any:
    given_fields = {"display_name": "VAT", "percentage": percentage, "inclusive": inclusive, **fields}
    return account.api.tax_rates.create(given_fields)


def taxed(account: Account, customer: Any, amounts: list[int], *rates: Any, **fields: Any) -> Any:
    return account.invoice(customer, *amounts, default_tax_rates=[one.id for one in rates], **fields)


def taxes_of(thing: Any) -> list[tuple[int, int, str]]:
    return [(tax.amount, tax.taxable_amount, tax.tax_behavior) for tax in thing]


def test_each_line_is_rounded_on_its_own(account: Account) -> None:
    # Stripe's example: 15 % of 43 is 6.45, of 484 is 72.6.
    invoice = taxed(account, account.customer(), [43, 484], rate(account, 15))

    assert [taxes_of(line.taxes) for line in invoice.lines.data] == [[(6, 43, "exclusive")], [(73, 484, "exclusive")]]
    assert taxes_of(invoice.total_taxes) == [(79, 527, "exclusive")]
    assert (invoice.subtotal, invoice.total_excluding_tax, invoice.total) == (527, 527, 606)
    assert (invoice.amount_due, invoice.amount_remaining) == (606, 606)


def test_halves_go_up_and_credits_mirror_them(account: Account) -> None:
    # 5 % of 10 is 0.5: up to 1; of -10 it is -0.5: to -1.
    invoice = taxed(account, account.customer(), [10, -10, 1000], rate(account, 5))

    assert [line.taxes[0].amount for line in invoice.lines.data] == [1, -1, 50]
    assert invoice.total == 1050


def test_percentages_with_decimals_in_three_currencies(account: Account) -> None:
    sales = rate(account, 8.875)

    # 8.875 % of 1999 is 177.41; of 1234 yen 109.52; of 10.001 dinars (10001 fils) 887.59.
    totals = [
        taxed(account, account.customer(), [amount], sales, currency=currency).total
        for currency, amount in (("usd", 1999), ("jpy", 1234), ("kwd", 10_001))
    ]

    assert totals == [1999 + 177, 1234 + 110, 10_001 + 888]


def test_an_inclusive_rate_is_inside_the_amount(account: Account) -> None:
    # 20 % inside 1000: 1000 * 20 / 120 = 166.67.
    invoice = taxed(account, account.customer(), [1000], rate(account, 20, inclusive=True))

    assert taxes_of(invoice.lines.data[0].taxes) == [(167, 833, "inclusive")]
    assert (invoice.subtotal, invoice.subtotal_excluding_tax) == (1000, 833)
    assert (invoice.total, invoice.total_excluding_tax) == (1000, 833)


def test_two_rates_on_top_of_each_other_do_not_compound(account: Account) -> None:
    invoice = taxed(account, account.customer(), [1000], rate(account, 5), rate(account, 9.975))

    assert taxes_of(invoice.total_taxes) == [(50, 1000, "exclusive"), (100, 1000, "exclusive")]
    assert invoice.total == 1150


def test_a_lines_own_rates_replace_the_invoices(account: Account) -> None:
    customer = account.customer()
    full, reduced = rate(account, 19), rate(account, 7)
    invoice = taxed(account, customer, [1000], full)
    item = account.api.invoice_items.create(
        {"customer": customer.id, "invoice": invoice.id, "amount": 1000, "tax_rates": [reduced.id]}
    )

    assert item.tax_rates[0].id == reduced.id
    assert account.api.invoices.retrieve(invoice.id).total == 1190 + 1070

    account.api.invoice_items.update(item.id, {"tax_rates": ""})
    assert account.api.invoices.retrieve(invoice.id).total == 1190 + 1190


def test_tax_is_on_what_discounts_leave(account: Account) -> None:
    customer = account.customer()
    coupon = account.api.coupons.create({"amount_off": 500, "currency": "usd"})

    invoice = taxed(account, customer, [1000, 2000], rate(account, 10), discounts=[{"coupon": coupon.id}])

    # 1000 - 166 = 834, of which 83.4; 2000 - 334 = 1666, of which 166.6.
    assert [taxes_of(line.taxes) for line in invoice.lines.data] == [
        [(83, 834, "exclusive")],
        [(167, 1666, "exclusive")],
    ]
    assert (invoice.subtotal, invoice.total_excluding_tax, invoice.total) == (3000, 2500, 2750)


@pytest.mark.parametrize(
    ("status", "reason"), [("exempt", "customer_exempt"), ("reverse", "reverse_charge"), ("none", "not_available")]
)
def test_exempt_customers_are_not_taxed(account: Account, status: str, reason: str) -> None:
    customer = account.customer(tax_exempt=status)

    invoice = taxed(account, customer, [1000], rate(account, 19))

    assert invoice.total == (1190 if status == "none" else 1000)
    assert invoice.total_taxes[0].taxability_reason == reason
    assert invoice.customer_tax_exempt == status


def test_a_draft_follows_its_customer_and_a_final_invoice_does_not(account: Account) -> None:
    customer = account.customer()
    vat = rate(account, 19)
    draft, final = taxed(account, customer, [1000], vat), taxed(account, customer, [1000], vat)
    account.api.invoices.finalize_invoice(final.id, {"auto_advance": False})

    account.api.customers.update(customer.id, {"tax_exempt": "exempt", "name": "Ada"})

    draft, final = account.api.invoices.retrieve(draft.id), account.api.invoices.retrieve(final.id)
    assert (draft.total, draft.customer_tax_exempt, draft.customer_name) == (1000, "exempt", "Ada")
    assert (final.total, final.customer_tax_exempt, final.customer_name) == (1190, "none", None)


def test_a_subscriptions_rates_tax_each_of_its_invoices(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    vat, city = rate(account, 19), rate(account, 2)
    price = account.price(2000)
    account.api.subscriptions.create(
        {
            "customer": customer.id,
            "default_tax_rates": [vat.id],
            "items": [{"price": price.id}, {"price": account.price(1000).id, "tax_rates": [city.id]}],
        }
    )

    sandbox.advance("2026-11-02T00:00:00Z")

    assert [invoice.total for invoice in account.invoices(customer)] == [2380 + 1020] * 2
    assert [invoice.status for invoice in account.invoices(customer)] == ["paid"] * 2


def test_tax_rates_are_changed_archived_and_listed(account: Account) -> None:
    vat, included = rate(account, 19, country="DE"), rate(account, 7, inclusive=True)

    account.api.tax_rates.update(vat.id, {"active": False, "description": "old", "metadata": {"a": "1"}})

    assert [one.id for one in account.api.tax_rates.list({"active": True}).data] == [included.id]
    assert [one.id for one in account.api.tax_rates.list({"inclusive": False}).data] == [vat.id]
    assert account.event_types() == ["tax_rate.created", "tax_rate.created", "tax_rate.updated"]
    with pytest.raises(stripe.InvalidRequestError, match="archived") as refusal:
        taxed(account, account.customer(), [], vat)
    assert refusal.value.param == "default_tax_rates[0]"


@pytest.mark.parametrize("percentage", [-1, 100.5])
def test_percentages_beyond_reason_are_refused(account: Account, percentage: float) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        rate(account, percentage)

    assert refusal.value.param == "percentage"


def test_more_than_five_rates_are_refused(account: Account) -> None:
    rates = [rate(account, percentage) for percentage in range(1, 7)]

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        taxed(account, account.customer(), [], *rates)

    assert refusal.value.param == "default_tax_rates"
    assert account.api.invoices.list().data == []


def test_automatic_tax_is_refused_by_name(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.invoices.create({"customer": account.customer().id, "automatic_tax": {"enabled": True}})

    assert refusal.value.code == "sandbox_not_implemented"
    assert refusal.value.param == "automatic_tax[enabled]"


def test_tax_ids_are_verified_and_stand_on_invoices(account: Account) -> None:
    customer = account.customer(tax_id_data=[{"type": "us_ein", "value": "12-3456789"}])
    draft = account.invoice(customer, 1000)

    vat = account.api.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "DE123456789"})

    assert (vat.country, vat.verification.status) == ("DE", "pending")
    verified = account.api.customers.tax_ids.retrieve(customer.id, vat.id)
    assert verified.verification.status == "verified"
    shown = account.api.invoices.retrieve(draft.id).customer_tax_ids
    assert [(one.type, one.value) for one in shown] == [("us_ein", "12-3456789"), ("eu_vat", "DE123456789")]
    account.api.customers.tax_ids.delete(customer.id, vat.id)
    assert len(account.api.invoices.retrieve(draft.id).customer_tax_ids) == 1
    told = [event for event in account.event_types() if "tax_id" in event]
    assert told == [f"customer.tax_id.{what}" for what in ("created", "created", "updated", "deleted")]


@pytest.mark.parametrize(
    ("value", "status"), [("000000000", "verified"), ("111111111", "unverified"), ("222222222", "pending")]
)
def test_stripes_test_values_end_as_known(account: Account, value: str, status: str) -> None:
    customer = account.customer()

    made = account.api.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": value})

    assert account.api.tax_ids.retrieve(made.id).verification.status == status


def test_tax_ids_of_the_account_and_of_customers_are_apart(account: Account) -> None:
    customer = account.customer()
    own = account.api.tax_ids.create({"type": "eu_vat", "value": "IE1234567FA"})
    account.api.tax_ids.create(
        {"type": "us_ein", "value": "12-3456789", "owner": {"type": "customer", "customer": customer.id}}
    )

    assert [one.id for one in account.api.tax_ids.list().data] == [own.id]
    assert len(account.api.customers.tax_ids.list(customer.id).data) == 1
    invoice = account.invoice(customer, 100, account_tax_ids=[own.id])
    assert invoice.account_tax_ids == [own.id]
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.tax_ids.create({"type": "eu_vat", "value": "?"})
    assert refusal.value.code == "tax_id_invalid"


rates = st.lists(
    st.builds(
        Rate,
        id=st.uuids().map(str),
        percentage=st.decimals("0", "100", places=4),
        inclusive=st.booleans(),
    ),
    max_size=5,
)


@given(st.integers(-(10**9), 10**9), rates)
def test_inclusive_tax_and_what_is_taxable_are_the_net(net: int, given_rates: list[Rate]) -> None:
    taxes = taxes_on(net, given_rates)

    inside = sum(tax.amount for tax in taxes if tax.rate.inclusive)
    assert all(tax.taxable_amount == net - inside for tax in taxes)
    assert inside == included_in(net, given_rates)
    mirrored = [tax.amount for tax in taxes_on(-net, given_rates)]
    assert mirrored == [-tax.amount for tax in taxes]


@given(st.integers(-(10**9), 10**9), st.decimals("0", "100", places=4))
def test_an_exclusive_tax_is_off_by_half_a_unit_at_most(net: int, percentage: Decimal) -> None:
    [tax] = taxes_on(net, [Rate("txr", percentage, inclusive=False)])

    assert abs(tax.amount - net * Fraction(percentage) / 100) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("value", "whole"), [("0.5", 1), ("-0.5", -1), ("1.49", 1), ("2.5", 3), ("-2.5", -3), ("0", 0)]
)
def test_half_up(value: str, whole: int) -> None:
    assert half_up(Fraction(value)) == whole


def test_an_invoice_for_a_place_that_nobody_knows_is_not_finalised_and_says_so(
    account: Account, sandbox: SandboxProcess
) -> None:
    """By a request and by itself; automatic tax is turned on behind everybody's back."""
    customer = account.customer()
    asked = account.invoice(customer, 1000)
    waiting = account.invoice(customer, 1000, auto_advance=True)
    for draft in (asked, waiting):
        sandbox.alter(draft.id, automatic_tax=BY_PLACE)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.invoices.finalize_invoice(asked.id)
    assert refusal.value.code == "customer_tax_location_invalid"
    sandbox.advance("2026-10-01T02:00:00Z")

    for draft in (asked, waiting):
        found = account.api.invoices.retrieve(draft.id)
        assert (found.status, found.last_finalization_error.code) == ("draft", "customer_tax_location_invalid")
    assert account.event_types().count("invoice.finalization_failed") == 2
    account.api.customers.update(customer.id, {"address": {"country": "DE"}})
    final = account.api.invoices.finalize_invoice(asked.id, {"auto_advance": False})
    assert (final.status, final.last_finalization_error) == ("open", None)


def test_a_renewal_for_a_place_that_nobody_knows_goes_out_without_taxes(
    account: Account, sandbox: SandboxProcess
) -> None:
    customer = account.customer()
    account.api.subscriptions.create({"customer": customer.id, "items": [{"price": account.price().id}]})
    sandbox.advance("2026-11-01T00:10:00Z")
    draft = account.invoices(customer)[0]
    sandbox.alter(draft.id, automatic_tax=BY_PLACE)
    sandbox.advance("2026-11-01T02:00:00Z")

    final = account.api.invoices.retrieve(draft.id)
    assert (draft.status, final.status, final.automatic_tax.enabled) == ("draft", "paid", False)
    assert final.automatic_tax.disabled_reason == "finalization_requires_location_inputs"
