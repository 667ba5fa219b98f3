"""What-if: a preview equals the invoice that then really appears, and nothing in the account moves by it."""

from collections.abc import Callable
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.account import Account

DAY = 86_400
NOVEMBER = 1_793_491_200  # 2026-11-01T00:00:00Z
FIGURES = (
    "subtotal",
    "subtotal_excluding_tax",
    "total",
    "total_excluding_tax",
    "currency",
    "period_start",
    "period_end",
)


def figures(invoice: Any) -> dict[str, Any]:
    """What a preview promises: the sums, and every line with its discounts and taxes."""
    body = invoice.to_dict()
    lines = [
        {
            "amount": line["amount"],
            "description": line["description"],
            "discounts": [item["amount"] for item in line["discount_amounts"] or []],
            "period": line["period"],
            "proration": _proration(line["parent"]),
            "quantity": line["quantity"],
            "taxes": [(item["amount"], item["tax_behavior"]) for item in line["taxes"] or []],
        }
        for line in body["lines"]["data"]
    ]
    return {**{name: body[name] for name in FIGURES}, "lines": lines}


def _proration(parent: Any) -> bool:
    details = parent["subscription_item_details"] or parent["invoice_item_details"]
    return bool(details["proration"])


def preview(account: Account, **parameters: Any) -> Any:
    """Asked twice, with the account looked at before and after: it is the same, and so is the second answer."""
    before = account.sandbox.state()
    answer = account.api.invoices.create_preview(parameters)
    again = account.api.invoices.create_preview(parameters)
    after = account.sandbox.state()
    for state in (before, after):
        state.pop("recent_requests", None)
        state.pop("idempotency_keys", None)  # the SDK sends a key with every POST
    assert after == before
    assert again.to_dict() == answer.to_dict()
    assert answer.id.startswith("upcoming_in_")
    assert (answer.status, answer.billing_reason, answer.number) == ("draft", "upcoming", None)
    return answer


def newest(account: Account, customer: Any) -> Any:
    return account.invoices(customer)[0]


def test_next_renewal(account: Account) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, unit_amount=2000)
    account.api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd"})

    expected = preview(account, subscription=subscription.id)
    by_customer = preview(account, customer=customer.id)

    assert expected.to_dict() == by_customer.to_dict()
    assert (expected.created, expected.total) == (NOVEMBER, 2700)
    assert [line.amount for line in expected.lines.data] == [700, 2000]
    account.sandbox.advance(NOVEMBER)
    assert figures(newest(account, customer)) == figures(expected)


def test_one_time_items_without_a_subscription(account: Account) -> None:
    customer = account.customer()
    with pytest.raises(stripe.InvalidRequestError, match="No upcoming invoices for customer") as refused:
        account.api.invoices.create_preview({"customer": customer.id})
    assert (refused.value.code, refused.value.http_status) == ("invoice_upcoming_none", 404)

    extra = {"amount": 300, "currency": "usd", "description": "set-up"}
    account.api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd"})
    expected = preview(account, customer=customer.id, invoice_items=[extra])
    assert expected.total == 1000
    account.api.invoice_items.create({"customer": customer.id, **extra})
    made = account.api.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    assert figures(made) == figures(expected)


def change_quantity(item: Any, other: Any) -> dict[str, Any]:
    return {"items": [{"id": item.id, "quantity": 3}]}


def change_price(item: Any, other: Any) -> dict[str, Any]:
    return {"items": [{"id": item.id, "price": other.id}]}


def add_item(item: Any, other: Any) -> dict[str, Any]:
    return {"items": [{"price": other.id, "quantity": 2}]}


def replace_item(item: Any, other: Any) -> dict[str, Any]:
    return {"items": [{"id": item.id, "deleted": True}, {"price": other.id}]}


def move_anchor(item: Any, other: Any) -> dict[str, Any]:
    return {"billing_cycle_anchor": "now"}


def new_price_in_place(item: Any, other: Any) -> dict[str, Any]:
    data = {"currency": "usd", "product": other.product, "recurring": {"interval": "month"}, "unit_amount": 4900}
    return {"items": [{"id": item.id, "price_data": data}]}


CHANGES = [change_quantity, change_price, add_item, replace_item, move_anchor, new_price_in_place]
BEHAVIORS = ["always_invoice", "create_prorations", "none"]


@pytest.mark.parametrize("behavior", BEHAVIORS)
@pytest.mark.parametrize("change", CHANGES)
def test_change_of_a_subscription(
    account: Account, change: Callable[[Any, Any], dict[str, Any]], behavior: str
) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, unit_amount=2000)
    other = account.price(3100)
    account.sandbox.advance(account.sandbox.now() + 9 * DAY + 4321)
    account.api.invoice_items.create({"customer": customer.id, "amount": 450, "currency": "usd"})
    parameters = {**change(subscription["items"].data[0], other), "proration_behavior": behavior}
    count = len(account.invoices(customer))

    expected = preview(account, subscription=subscription.id, subscription_details=parameters)

    account.api.subscriptions.update(subscription.id, parameters)
    if len(account.invoices(customer)) == count:
        account.sandbox.advance(expected.created)
    assert figures(newest(account, customer)) == figures(expected)


def test_discounts_taxes_and_balance(account: Account) -> None:
    """2000 less half is 1000, plus a fifth of tax is 1200; a credit of 300 leaves 900 to be paid."""
    customer = account.customer()
    account.api.customers.balance_transactions.create(customer.id, {"amount": -2300, "currency": "usd"})
    rate = account.api.tax_rates.create({"display_name": "VAT", "percentage": 20, "inclusive": False})
    coupon = account.api.coupons.create({"percent_off": 50, "duration": "forever"})
    subscription = account.subscription(
        customer, unit_amount=2000, default_tax_rates=[rate.id], discounts=[{"coupon": coupon.id}]
    )
    assert account.balance(customer) == -1100

    expected = preview(account, subscription=subscription.id)
    assert (expected.subtotal, expected.total_excluding_tax, expected.total) == (2000, 1000, 1200)
    assert (expected.starting_balance, expected.amount_due) == (-1100, 100)
    account.sandbox.advance(NOVEMBER)
    assert figures(newest(account, customer)) == figures(expected)


def test_discounts_of_the_request(account: Account) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, unit_amount=2000)
    coupon = account.api.coupons.create({"amount_off": 500, "currency": "usd", "duration": "once"})

    expected = preview(account, subscription=subscription.id, discounts=[{"coupon": coupon.id}])

    assert (expected.subtotal, expected.total) == (2000, 1500)
    assert account.api.coupons.retrieve(coupon.id).times_redeemed == 0


def test_new_subscription(account: Account) -> None:
    customer = account.customer()
    price, other = account.price(2000), account.price(500)
    items = [{"price": price.id, "quantity": 2}, {"price": other.id}]

    expected = preview(account, customer=customer.id, subscription_details={"items": items})

    account.api.subscriptions.create({"customer": customer.id, "items": items})
    assert expected.total == 4500
    assert figures(newest(account, customer)) == figures(expected)


def test_new_subscription_of_somebody_without_a_card(account: Account) -> None:
    price = account.price(2000)
    details = {"address": {"country": "DE"}, "tax_exempt": "none"}
    expected = preview(account, customer_details=details, subscription_details={"items": [{"price": price.id}]})
    assert (expected.total, expected.customer_address.country) == (2000, "DE")
    with pytest.raises(stripe.InvalidRequestError, match="one of `customer`"):
        account.api.invoices.create_preview({"subscription_details": {"items": [{"price": price.id}]}})


def test_trial(account: Account) -> None:
    customer = account.customer()
    price = account.price(2000)
    end = account.sandbox.now() + 10 * DAY
    details = {"items": [{"price": price.id}], "trial_end": end}

    free = preview(account, customer=customer.id, subscription_details=details)
    recurring = preview(account, customer=customer.id, subscription_details=details, preview_mode="recurring")
    assert (free.total, recurring.total) == (0, 2000)

    subscription = account.api.subscriptions.create({"customer": customer.id, **details})
    assert figures(newest(account, customer)) == figures(free)
    after_trial = preview(account, subscription=subscription.id)
    assert (after_trial.created, after_trial.total) == (end, 2000)
    ended_now = preview(account, subscription=subscription.id, subscription_details={"trial_end": "now"})
    account.api.subscriptions.update(subscription.id, {"trial_end": "now"})
    assert figures(newest(account, customer)) == figures(ended_now)


def test_recurring_leaves_out_what_is_billed_once(account: Account) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, unit_amount=2000)
    account.sandbox.advance(account.sandbox.now() + 10 * DAY)
    account.api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd"})
    item = subscription["items"].data[0]

    expected = preview(
        account,
        subscription=subscription.id,
        subscription_details={"items": [{"id": item.id, "quantity": 3}]},
        preview_mode="recurring",
    )
    assert [line.amount for line in expected.lines.data] == [6000]


def test_cancellation(account: Account) -> None:
    """Ten of October's thirty-one days of 3100 are used: 2100 come back."""
    customer = account.customer()
    subscription = account.subscription(customer, unit_amount=3100)
    account.sandbox.advance(account.sandbox.now() + 10 * DAY)

    expected = preview(account, subscription=subscription.id, subscription_details={"cancel_now": True})
    assert expected.total == -2100

    account.api.subscriptions.cancel(subscription.id, {"invoice_now": True, "prorate": True})
    assert figures(newest(account, customer)) == figures(expected)
    with pytest.raises(stripe.InvalidRequestError, match="No upcoming invoices"):
        account.api.invoices.create_preview({"subscription": subscription.id})


def test_nothing_comes_after_a_planned_end(account: Account) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    with pytest.raises(stripe.InvalidRequestError, match="No upcoming invoices"):
        account.api.invoices.create_preview(
            {"subscription": subscription.id, "subscription_details": {"cancel_at_period_end": True}}
        )


def test_usage_so_far(account: Account) -> None:
    """Forty calls of three cents are on the next invoice."""
    customer = account.customer()
    meter = account.api.billing.meters.create(
        {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    product = account.api.products.create({"name": "Calls"})
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    price = account.api.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 3, "recurring": recurring}
    )
    subscription = account.api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    account.sandbox.advance(account.sandbox.now() + DAY)
    payload = {"stripe_customer_id": customer.id, "value": "40"}
    account.api.billing.meter_events.create({"event_name": "calls", "payload": payload})

    expected = preview(account, subscription=subscription.id)

    assert expected.total == 120
    account.sandbox.advance(expected.created)
    assert figures(newest(account, customer)) == figures(expected)


def test_items_that_wait_are_changed_for_the_preview_only(account: Account) -> None:
    customer = account.customer()
    account.subscription(customer, unit_amount=2000)
    item = account.api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd"})

    changed = preview(account, customer=customer.id, invoice_items=[{"invoiceitem": item.id, "amount": 100}])

    assert changed.total == 2100
    assert account.api.invoice_items.retrieve(item.id).amount == 700


def test_a_backdated_start(account: Account) -> None:
    """Started on 16 September, a month's 3000: until 16 October, billed on the first."""
    customer = account.customer()
    price = account.price(3000)
    start = account.sandbox.now() - 15 * DAY
    items = [{"price": price.id}]
    expected = preview(account, customer=customer.id, subscription_details={"items": items, "start_date": start})
    account.api.subscriptions.create({"customer": customer.id, "items": items, "backdate_start_date": start})
    assert figures(newest(account, customer)) == figures(expected)


def test_a_coupon_that_is_used_up(account: Account) -> None:
    """Once is the first invoice; the preview of the second knows it, and uses nothing up itself."""
    customer = account.customer()
    coupon = account.api.coupons.create({"percent_off": 10, "duration": "repeating", "duration_in_months": 2})
    subscription = account.subscription(customer, unit_amount=2000, discounts=[{"coupon": coupon.id}])

    for total in (1800, 2000):
        expected = preview(account, subscription=subscription.id)
        assert expected.total == total
        account.sandbox.advance(expected.created)
        assert figures(newest(account, customer)) == figures(expected)


def test_the_next_of_several_subscriptions(account: Account) -> None:
    customer = account.customer()
    weekly = account.price(700, interval="week")
    monthly = account.subscription(customer, unit_amount=2000)
    soon = account.api.subscriptions.create({"customer": customer.id, "items": [{"price": weekly.id}]})

    next_of_all = preview(account, customer=customer.id)
    assert (next_of_all.parent.subscription_details.subscription, next_of_all.total) == (soon.id, 700)
    far = preview(account, subscription=monthly.id)
    assert (far.created, far.total) == (NOVEMBER, 2000)

    account.sandbox.advance(next_of_all.created)
    assert figures(newest(account, customer)) == figures(next_of_all)


def test_items_of_different_intervals(account: Account) -> None:
    customer = account.customer()
    monthly, yearly = account.price(1000), account.price(9000, interval="year")
    items = [{"price": monthly.id}, {"price": yearly.id}]
    expected = preview(account, customer=customer.id, subscription_details={"items": items})
    subscription = account.api.subscriptions.create({"customer": customer.id, "items": items})
    assert (expected.total, figures(newest(account, customer))) == (10_000, figures(expected))

    expected = preview(account, subscription=subscription.id)
    account.sandbox.advance(NOVEMBER)
    assert (expected.total, figures(newest(account, customer))) == (1000, figures(expected))


def test_more_lines_than_an_invoice_shows(account: Account) -> None:
    customer = account.customer()
    for number in range(12):
        account.api.invoice_items.create({"customer": customer.id, "amount": 100 + number, "currency": "usd"})
    expected = preview(account, customer=customer.id)
    assert (len(expected.lines.data), expected.lines.has_more, expected.total) == (10, True, 1266)
    assert sum(line.amount for line in account.api.invoices.line_items.list(expected.id, {"limit": 100}).data) == 1266


def test_a_payment_that_fails_does_not_matter(account: Account) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")
    price = account.price(2000)
    details = {"items": [{"price": price.id}]}
    assert preview(account, customer=customer.id, subscription_details=details).total == 2000


def phases(price: Any, *quantities: int) -> list[dict[str, Any]]:
    month = {"interval": "month", "interval_count": 1}
    return [{"items": [{"price": price.id, "quantity": quantity}], "duration": month} for quantity in quantities]


def test_schedules(account: Account) -> None:
    customer = account.customer()
    price = account.price(1500)
    details = {"phases": [{"start_date": "now", **phases(price, 1)[0]}, phases(price, 2)[0]]}
    first = preview(account, customer=customer.id, schedule_details=details)
    assert first.total == 1500

    schedule = account.api.subscription_schedules.create(
        {"customer": customer.id, "start_date": "now", "phases": phases(price, 1, 2)}
    )
    assert figures(newest(account, customer)) == figures(first)
    second = preview(account, schedule=schedule.id)
    assert (second.created, second.total) == (NOVEMBER, 3000)
    current = schedule.phases[0].start_date
    rewritten = [{**phases(price, 1)[0], "start_date": current}, *phases(price, 5)]
    changed = preview(account, schedule=schedule.id, schedule_details={"phases": rewritten})
    assert changed.total == 7500

    account.sandbox.advance(NOVEMBER)
    assert figures(newest(account, customer)) == figures(second)


def test_a_schedule_that_is_over_while_others_go_on(account: Account) -> None:
    customer = account.customer()
    account.subscription(customer)
    schedule = account.api.subscription_schedules.create(
        {"customer": customer.id, "start_date": "now", "phases": phases(account.price(), 1)}
    )
    account.api.subscription_schedules.cancel(schedule.id)
    with pytest.raises(stripe.InvalidRequestError, match="No upcoming invoices"):
        account.api.invoices.create_preview({"schedule": schedule.id})


def test_a_schedule_that_has_not_started(account: Account) -> None:
    customer = account.customer()
    price = account.price(1500)
    schedule = account.api.subscription_schedules.create(
        {"customer": customer.id, "start_date": NOVEMBER, "phases": phases(price, 1)}
    )
    expected = preview(account, schedule=schedule.id)
    assert (expected.created, expected.total) == (NOVEMBER, 1500)
    account.sandbox.advance(NOVEMBER)
    assert figures(newest(account, customer)) == figures(expected)


def test_on_a_test_clock(account: Account) -> None:
    frozen = 1_577_836_800  # 2020-01-01T00:00:00Z
    february = 1_580_515_200
    clock = account.api.test_helpers.test_clocks.create({"frozen_time": frozen})
    customer = account.customer(test_clock=clock.id)
    subscription = account.subscription(customer, unit_amount=2000)

    expected = preview(account, subscription=subscription.id)

    assert (expected.created, expected.test_clock) == (february, clock.id)
    account.api.test_helpers.test_clocks.advance(clock.id, {"frozen_time": february})
    assert figures(newest(account, customer)) == figures(expected)


def test_what_contradicts_itself(account: Account) -> None:
    customer, stranger = account.customer(), account.customer()
    subscription = account.subscription(customer)
    both = {"subscription": subscription.id, "schedule_details": {"end_behavior": "cancel"}}
    with pytest.raises(stripe.InvalidRequestError, match="subscription and a schedule"):
        account.api.invoices.create_preview(both)
    with pytest.raises(stripe.InvalidRequestError, match="another customer"):
        account.api.invoices.create_preview({"subscription": subscription.id, "customer": stranger.id})
    ends = {"cancel_now": True, "trial_end": "now"}
    with pytest.raises(stripe.InvalidRequestError, match=r"together with `subscription_details\[cancel_now\]`"):
        account.api.invoices.create_preview({"subscription": subscription.id, "subscription_details": ends})
    with pytest.raises(stripe.InvalidRequestError, match="next invoice is in usd"):
        account.api.invoices.create_preview({"subscription": subscription.id, "currency": "eur"})
    new = {"items": [{"price": account.price().id}], "start_date": NOVEMBER}
    with pytest.raises(stripe.InvalidRequestError, match="cannot be in the future"):
        account.api.invoices.create_preview({"customer": customer.id, "subscription_details": new})
    with pytest.raises(stripe.InvalidRequestError, match="does not implement automatic tax"):
        account.api.invoices.create_preview({"customer": customer.id, "automatic_tax": {"enabled": True}})
