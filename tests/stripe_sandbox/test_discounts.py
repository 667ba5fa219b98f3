"""Coupons, promotion codes and discounts: how long they last, what they take off, and when they are refused."""

from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.billing.invoices.discounting import (
    DiscountableLine,
    Reduction,
    apportioned,
    invoice_shares,
    own_shares,
    taken,
)
from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account


def coupon(account: Account, **fields: Any) -> Any:
    return account.api.coupons.create(fields)


def discounted(account: Account, customer: Any, amounts: list[int], *coupons: Any, **fields: Any) -> Any:
    """A draft of these amounts with the coupons as the invoice's own discounts."""
    discounts = [{"coupon": one.id} for one in coupons]
    return account.invoice(customer, *amounts, discounts=discounts, **fields)


def taken_off(invoice: Any) -> list[list[int]]:
    return [[entry.amount for entry in line.discount_amounts] for line in invoice.lines.data]


def test_amount_is_shared_out_floored_with_the_remainder_on_the_last_line(account: Account) -> None:
    # Stripe's documented split: 500 over 1000 and 2000 is 166.67 and 333.33.
    invoice = discounted(account, account.customer(), [1000, 2000], coupon(account, amount_off=500, currency="usd"))

    assert taken_off(invoice) == [[166], [334]]
    assert (invoice.subtotal, invoice.total, invoice.amount_due) == (3000, 2500, 2500)
    assert [entry.amount for entry in invoice.total_discount_amounts] == [500]


def test_one_cent_goes_to_the_last_line(account: Account) -> None:
    invoice = discounted(account, account.customer(), [1, 1, 1], coupon(account, amount_off=1, currency="usd"))

    assert taken_off(invoice) == [[0], [0], [1]]
    assert invoice.total == 2


def test_percentage_is_rounded_once_and_then_shared_out(account: Account) -> None:
    # 10 % of 315 is 31.5, half up 32; a third of it each is 10.67.
    invoice = discounted(account, account.customer(), [105, 105, 105], coupon(account, percent_off=10))

    assert taken_off(invoice) == [[10], [10], [12]]
    assert (invoice.subtotal, invoice.total) == (315, 283)


def test_discounts_apply_one_after_another(account: Account) -> None:
    customer = account.customer()
    half, ten = coupon(account, percent_off=50), coupon(account, amount_off=1000, currency="usd")

    first_half = discounted(account, customer, [5000], half, ten)
    first_ten = discounted(account, customer, [5000], ten, half)

    assert (first_half.total, first_ten.total) == (1500, 2000)
    assert taken_off(first_half) == [[2500, 1000]]
    assert taken_off(first_ten) == [[1000, 2000]]


def test_an_amount_takes_no_more_than_there_is(account: Account) -> None:
    invoice = discounted(account, account.customer(), [300], coupon(account, amount_off=1000, currency="usd"))

    assert (invoice.total, invoice.total_discount_amounts[0].amount) == (0, 300)


def test_credits_and_lines_marked_so_are_not_discounted(account: Account) -> None:
    customer = account.customer()
    invoice = discounted(account, customer, [1000, -400], coupon(account, percent_off=10))
    account.api.invoice_items.create(
        {"customer": customer.id, "invoice": invoice.id, "amount": 600, "discountable": False}
    )

    invoice = account.api.invoices.retrieve(invoice.id)
    assert taken_off(invoice) == [[100], [0], [0]]
    assert invoice.total == 1100


def test_an_items_discount_comes_before_the_invoices(account: Account) -> None:
    customer = account.customer()
    item, whole = coupon(account, percent_off=20), coupon(account, percent_off=10)
    invoice = account.api.invoices.create({"customer": customer.id, "discounts": [{"coupon": whole.id}]})
    account.api.invoice_items.create(
        {"customer": customer.id, "invoice": invoice.id, "amount": 1000, "discounts": [{"coupon": item.id}]}
    )
    account.api.invoice_items.create({"customer": customer.id, "invoice": invoice.id, "amount": 200})

    # 1000 - 20 % = 800; 10 % of 800 + 200 is 100, of which floor(100 * 800 / 1000) = 80 on the first line.
    invoice = account.api.invoices.retrieve(invoice.id, {"expand": ["discounts", "lines.data.discounts"]})
    assert taken_off(invoice) == [[200, 80], [20]]
    assert (invoice.subtotal, invoice.total) == (1000, 900)
    assert invoice.discounts[0].source.coupon == whole.id
    assert invoice.lines.data[0].discounts[0].source.coupon == item.id
    assert [entry.amount for entry in invoice.total_discount_amounts] == [200, 100]


def test_a_coupon_of_some_products_leaves_the_others(account: Account) -> None:
    customer = account.customer()
    product = account.api.products.create({"name": "Tokens"})
    price = account.api.prices.create({"product": product.id, "currency": "usd", "unit_amount": 700})
    of_tokens = coupon(account, percent_off=50, applies_to={"products": [product.id]})
    invoice = discounted(account, customer, [900], of_tokens)
    account.api.invoice_items.create(
        {"customer": customer.id, "invoice": invoice.id, "pricing": {"price": price.id}, "quantity": 2}
    )

    assert account.api.invoices.retrieve(invoice.id).total == 900 + 700
    shown = account.api.coupons.retrieve(of_tokens.id, {"expand": ["applies_to"]})
    assert shown.applies_to.products == [product.id]


def test_an_amount_in_another_currency_needs_an_option(account: Account) -> None:
    customer = account.customer()
    dollars = coupon(account, amount_off=500, currency="usd")
    both = coupon(account, amount_off=500, currency="usd", currency_options={"jpy": {"amount_off": 700}})

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        discounted(account, customer, [], dollars, currency="jpy")

    assert refusal.value.param == "discounts[0][coupon]"
    assert discounted(account, customer, [1000, 1000], both, currency="jpy").total == 1300


def test_three_decimal_currency_is_shared_out_in_its_own_units(account: Account) -> None:
    # 12.5 % of 10.001 KWD (10001 fils) is 1250.125 fils, half up 1250; floor(1250 * 3334 / 10001) = 416.
    invoice = discounted(account, account.customer(), [3334, 6667], coupon(account, percent_off=12.5), currency="kwd")

    assert taken_off(invoice) == [[416], [834]]
    assert invoice.total == 8751


def test_once_is_used_up_by_the_first_invoice(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    once = coupon(account, percent_off=25)
    subscription = account.subscription(customer, discounts=[{"coupon": once.id}])

    told = [event for event in account.event_types() if event.startswith("customer.discount")]
    assert told == ["customer.discount.created", "customer.discount.deleted"]
    assert account.api.subscriptions.retrieve(subscription.id).discounts == []
    sandbox.advance("2026-11-02T00:00:00Z")
    assert [invoice.total for invoice in account.invoices(customer)] == [2000, 1500]


def test_repeating_ends_by_its_date(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    months = coupon(account, percent_off=50, duration="repeating", duration_in_months=2)
    subscription = account.subscription(customer, discounts=[{"coupon": months.id}], expand=["discounts"])

    assert subscription.discounts[0].end == 1_796_083_200  # 2026-12-01
    sandbox.advance("2027-01-02T00:00:00Z")

    assert [invoice.total for invoice in account.invoices(customer)] == [2000, 2000, 1000, 1000]
    assert account.api.subscriptions.retrieve(subscription.id).discounts == []


def test_forever_goes_on_even_when_the_coupon_is_deleted(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    always = coupon(account, amount_off=500, currency="usd", duration="forever")
    account.subscription(customer, discounts=[{"coupon": always.id}])

    account.api.coupons.delete(always.id)
    sandbox.advance("2026-12-02T00:00:00Z")

    assert [invoice.total for invoice in account.invoices(customer)] == [1500, 1500, 1500]
    with pytest.raises(stripe.InvalidRequestError, match="No such coupon"):
        account.subscription(customer, discounts=[{"coupon": always.id}])


def test_a_subscriptions_discount_is_deleted(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    always = coupon(account, percent_off=10, duration="forever")
    subscription = account.subscription(customer, discounts=[{"coupon": always.id}])

    gone = account.api.subscriptions.delete_discount(subscription.id)
    sandbox.advance("2026-11-02T00:00:00Z")

    assert (gone.deleted, gone.subscription) == (True, subscription.id)
    assert [invoice.total for invoice in account.invoices(customer)] == [2000, 1800]
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.subscriptions.delete_discount(subscription.id)
    assert refusal.value.http_status == 404


def test_a_customer_has_no_discount_of_its_own(account: Account) -> None:
    customer = account.customer()

    with pytest.raises(stripe.InvalidRequestError, match="No active discount for customer"):
        account.api.customers.delete_discount(customer.id)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.unchecked.customers.create({"coupon": "x"})
    assert (refusal.value.code, refusal.value.param) == ("parameter_unknown", "coupon")


def test_redemptions_are_counted_and_end(account: Account) -> None:
    customer = account.customer()
    two = coupon(account, percent_off=10, max_redemptions=2)

    discounted(account, customer, [100], two)
    assert account.api.coupons.retrieve(two.id).valid
    discounted(account, customer, [100], two)

    spent = account.api.coupons.retrieve(two.id)
    assert (spent.times_redeemed, spent.valid) == (2, False)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        discounted(account, customer, [100], two)
    assert refusal.value.code == "coupon_expired"


def test_redeem_by_ends_a_coupon_and_its_codes(account: Account, sandbox: SandboxProcess) -> None:
    until = coupon(account, percent_off=10, redeem_by=1_790_899_200)  # 2026-10-02
    code = account.api.promotion_codes.create({"promotion": {"type": "coupon", "coupon": until.id}})

    sandbox.advance("2026-10-02T00:00:00Z")
    assert account.api.coupons.retrieve(until.id).valid
    sandbox.advance("2026-10-02T00:00:01Z")

    assert not account.api.coupons.retrieve(until.id).valid
    assert not account.api.promotion_codes.retrieve(code.id).active
    assert account.event_types()[-2:] == ["coupon.updated", "promotion_code.updated"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "percent_off"),
        ({"percent_off": 10, "amount_off": 5, "currency": "usd"}, "percent_off"),
        ({"percent_off": 101}, "percent_off"),
        ({"percent_off": 0}, "percent_off"),
        ({"amount_off": 5}, "currency"),
        ({"amount_off": 0, "currency": "usd"}, "amount_off"),
        ({"percent_off": 5, "duration": "repeating"}, "duration_in_months"),
        ({"percent_off": 5, "duration_in_months": 3}, "duration_in_months"),
        ({"percent_off": 5, "redeem_by": 1}, "redeem_by"),
        ({"percent_off": 5, "max_redemptions": 0}, "max_redemptions"),
        ({"percent_off": 5, "applies_to": {"products": ["prod_none"]}}, "applies_to[products][0]"),
    ],
)
def test_coupons_that_make_no_sense(account: Account, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        coupon(account, **fields)

    assert refusal.value.param == param
    assert account.api.coupons.list().data == []


def test_coupon_is_named_renamed_and_deleted(account: Account) -> None:
    made = coupon(account, id="AUTUMN", percent_off=5, name="Autumn")
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        coupon(account, id="AUTUMN", percent_off=5)
    assert refusal.value.code == "resource_already_exists"

    account.api.coupons.update(made.id, {"name": "Fall", "metadata": {"a": "1"}})
    account.api.coupons.delete(made.id)

    assert account.event_types() == ["coupon.created", "coupon.updated", "coupon.deleted"]
    assert account.api.coupons.list().data == []


def code_of(account: Account, **fields: Any) -> Any:
    made = coupon(account, percent_off=10, duration="forever")
    return account.api.promotion_codes.create({"promotion": {"type": "coupon", "coupon": made.id}, **fields})


def redeem(account: Account, customer: Any, code: Any) -> Any:
    invoice = account.invoice(customer, 1000)
    return account.api.invoices.update(invoice.id, {"discounts": [{"promotion_code": code.id}]})


def test_promotion_code_is_redeemed_and_counted(account: Account) -> None:
    code = code_of(account, code="HELLO-10", max_redemptions=1)

    invoice = redeem(account, account.customer(), code)

    assert invoice.total == 900
    spent = account.api.promotion_codes.retrieve(code.id)
    assert (spent.times_redeemed, spent.active) == (1, False)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        redeem(account, account.customer(), code)
    assert refusal.value.code == "promotion_code_expired"


def test_promotion_code_belongs_to_one_customer(account: Account) -> None:
    owner = account.customer()
    code = code_of(account, customer=owner.id)

    with pytest.raises(stripe.InvalidRequestError, match="another customer"):
        redeem(account, account.customer(), code)
    assert redeem(account, owner, code).total == 900


def test_promotion_code_for_newcomers_only(account: Account) -> None:
    customer = account.customer()
    code = code_of(account, restrictions={"first_time_transaction": True})
    account.api.invoices.pay(account.invoice(customer, 1000).id)

    with pytest.raises(stripe.InvalidRequestError, match="prior transactions"):
        redeem(account, customer, code)
    assert redeem(account, account.customer(), code).total == 900


@pytest.mark.parametrize(("minimum", "refused"), [(1000, False), (1001, True)])
def test_promotion_code_from_a_minimum_on(account: Account, minimum: int, refused: bool) -> None:
    code = code_of(account, restrictions={"minimum_amount": minimum, "minimum_amount_currency": "usd"})

    if refused:
        with pytest.raises(stripe.InvalidRequestError, match="minimum amount"):
            redeem(account, account.customer(), code)
    else:
        assert redeem(account, account.customer(), code).total == 900


@pytest.mark.parametrize(("minimum", "refused"), [(2000, False), (2001, True)])
def test_a_subscription_reaches_the_minimum_with_one_period(account: Account, minimum: int, refused: bool) -> None:
    code = code_of(account, restrictions={"minimum_amount": minimum, "minimum_amount_currency": "usd"})
    customer = account.customer()

    if refused:
        with pytest.raises(stripe.InvalidRequestError, match="minimum amount"):
            account.subscription(customer, discounts=[{"promotion_code": code.id}])
        assert account.api.subscriptions.list({"customer": customer.id}).data == []
    else:
        account.subscription(customer, discounts=[{"promotion_code": code.id}])
        assert [invoice.total for invoice in account.invoices(customer)] == [1800]


def test_codes_are_unique_while_active_whatever_their_case(account: Account) -> None:
    first = code_of(account, code="Hello")

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        code_of(account, code="HELLO")
    account.api.promotion_codes.update(first.id, {"active": False})
    second = code_of(account, code="HELLO")

    assert refusal.value.param == "code"
    found = account.api.promotion_codes.list({"code": "hello", "active": True}).data
    assert [code.id for code in found] == [second.id]
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        account.api.promotion_codes.update(first.id, {"active": True})


def test_promotion_code_expires(account: Account, sandbox: SandboxProcess) -> None:
    code = code_of(account, expires_at=1_790_899_200)  # 2026-10-02

    sandbox.advance("2026-10-02T00:00:00Z")

    assert not account.api.promotion_codes.retrieve(code.id).active


def test_the_coupon_parameter_of_old_is_unknown(account: Account) -> None:
    made = coupon(account, percent_off=10)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.unchecked.promotion_codes.create({"coupon": made.id})

    assert (refusal.value.code, refusal.value.param) == ("parameter_unknown", "coupon")


reductions = st.builds(
    Reduction,
    discount=st.sampled_from(["di_a", "di_b", "di_c"]),
    percent_off=st.one_of(st.none(), st.decimals("0.01", "100", places=2)),
    amount_off=st.integers(0, 5000),
)
lines = st.builds(
    DiscountableLine, amount=st.integers(-2000, 20_000), discountable=st.booleans(), product=st.none(), own=st.just(())
)


@given(st.data(), st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_shares_add_up_and_are_floored_but_for_the_last_ones(data: st.DataObject, weights: list[int]) -> None:
    total = data.draw(st.integers(0, sum(weights)))

    shares = apportioned(total, weights)

    assert sum(shares) == total
    for place, (share, weight) in enumerate(zip(shares, weights, strict=True)):
        floored = total * weight // max(1, sum(weights))
        assert floored <= share <= weight
        if share > floored:  # a line has more than its part only where those after it have all they can take
            assert shares[place + 1 :] == weights[place + 1 :]


def test_a_line_of_which_little_is_left_passes_the_remainder_on() -> None:
    """Floors 0, 879, 1118, 2 leave 3; the last line can take one of them."""
    assert apportioned(2002, [1, 895, 1138, 3]) == [0, 879, 1120, 3]


@given(st.lists(lines, max_size=8), st.lists(reductions, max_size=3, unique_by=lambda one: one.discount))
def test_no_line_is_discounted_below_nothing(given_lines: list[DiscountableLine], over: list[Reduction]) -> None:
    shares = invoice_shares(given_lines, [line.amount for line in given_lines], over)

    left = sum(line.amount for line in given_lines if line.discountable and line.amount > 0)
    for reduction in over:
        off = sum(line_shares[reduction.discount] for line_shares in shares)
        assert off == taken(reduction, left)
        left -= off
    for line, line_shares in zip(given_lines, shares, strict=True):
        off = sum(line_shares.values())
        assert 0 <= off <= max(line.amount, 0) or off == 0
        assert line.discountable or off == 0


@given(lines, st.lists(reductions, max_size=3, unique_by=lambda one: one.discount))
def test_own_discounts_of_a_line(line: DiscountableLine, own: list[Reduction]) -> None:
    shares = own_shares(DiscountableLine(line.amount, True, None, tuple(own)))

    assert 0 <= sum(shares.values()) <= max(line.amount, 0)
    assert list(shares) == [reduction.discount for reduction in own]
