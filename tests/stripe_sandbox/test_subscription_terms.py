"""What a subscription may be made of: intervals, usage, tiers, anchors, past starts, extras, taxes, settings."""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account

HALF = "2026-10-16T12:00:00Z"


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())


def amounts(invoice: Any) -> list[int]:
    return [line.amount for line in invoice.lines.data]


def metered_price(account: Account, unit_amount: int = 10) -> Any:
    """A price of a unit of the meter `calls`."""
    meters = account.api.billing.meters.list().data
    meter = (
        meters[0]
        if meters
        else account.api.billing.meters.create(
            {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
        )
    )
    product = account.api.products.create({"name": "Calls"})
    return account.api.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": unit_amount,
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
        }
    )


def use(account: Account, customer: Any, value: int) -> None:
    account.api.billing.meter_events.create(
        {"event_name": "calls", "payload": {"stripe_customer_id": customer.id, "value": str(value)}}
    )


def start(account: Account, customer: Any, *prices: Any, **fields: Any) -> Any:
    items = [{"price": price.id} for price in prices]
    return account.api.subscriptions.create({"customer": customer.id, "items": items, **fields})


def test_items_with_different_intervals_renew_on_their_own(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    quarter = account.api.prices.create(
        {
            "product_data": {"name": "Quarter"},
            "currency": "usd",
            "unit_amount": 10_000,
            "recurring": {"interval": "month", "interval_count": 3},
        }
    )
    subscription = start(account, customer, account.price(1500), quarter, expand=["latest_invoice"])

    ends = [item.current_period_end for item in subscription["items"].data]
    assert ends == [at("2026-11-01"), at("2027-01-01")]
    assert amounts(subscription.latest_invoice) == [1500, 10_000]
    sandbox.advance("2027-01-01T02:00:00Z")
    assert [amounts(invoice) for invoice in account.invoices(customer)] == [
        [1500, 10_000],
        [1500],
        [1500],
        [1500, 10_000],
    ]


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        (("month", 2), ("month", 3), False),
        (("week", 1), ("month", 1), False),
        (("day", 2), ("week", 1), False),
        (("month", 5), ("year", 1), False),
        (("day", 1), ("month", 3), True),
        (("month", 12), ("year", 1), True),
        (("day", 7), ("week", 2), True),
    ],
)
def test_intervals_must_be_multiples_of_the_shortest(
    account: Account, first: tuple[str, int], second: tuple[str, int], fits: bool
) -> None:
    product = account.api.products.create({"name": "Pro"})
    prices = [
        account.api.prices.create(
            {
                "product": product.id,
                "currency": "usd",
                "unit_amount": 100,
                "recurring": {"interval": interval, "interval_count": count},
            }
        )
        for interval, count in (first, second)
    ]

    if fits:
        assert start(account, account.customer(), *prices).status == "active"
    else:
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            start(account, account.customer(), *prices)
        assert refusal.value.param == "items"


def test_usage_is_billed_with_the_renewal(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = start(account, customer, account.price(1000), metered_price(account), expand=["latest_invoice"])
    use(account, customer, 40)

    sandbox.advance("2026-11-01T02:00:00Z")
    use(account, customer, 7)
    sandbox.advance("2026-12-01T02:00:00Z")

    assert amounts(subscription.latest_invoice) == [1000]
    assert [amounts(invoice) for invoice in account.invoices(customer)] == [[1000, 70], [1000, 400], [1000]]
    line = account.invoices(customer)[1].lines.data[1]
    assert (line.quantity, line.period.start, line.period.end) == (40, at("2026-10-01"), at("2026-11-01"))


def test_a_renewal_shows_a_usage_of_nothing(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = start(account, customer, metered_price(account))

    sandbox.advance("2026-11-01T02:00:00Z")

    assert (subscription.status, subscription.latest_invoice) == ("active", None)
    [renewal] = account.invoices(customer)
    assert (amounts(renewal), renewal.lines.data[0].quantity, renewal.status) == ([0], 0, "paid")


def test_usage_so_far_is_billed_when_canceled_with_invoice_now(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = start(account, customer, metered_price(account))
    use(account, customer, 30)
    sandbox.advance(HALF)

    ended = account.api.subscriptions.cancel(subscription.id, {"invoice_now": True, "expand": ["latest_invoice"]})

    assert (amounts(ended.latest_invoice), ended.latest_invoice.status) == ([300], "paid")


def test_usage_of_a_removed_item_waits_for_the_next_invoice(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    metered = metered_price(account)
    subscription = start(account, customer, account.price(1000), metered)
    use(account, customer, 30)
    sandbox.advance(HALF)

    item = next(item for item in subscription["items"].data if item.price.id == metered.id)
    account.api.subscription_items.delete(item.id)

    [waiting] = account.api.invoice_items.list({"customer": customer.id}).data
    assert (waiting.amount, waiting.proration) == (300, False)


def test_usage_is_billed_at_the_price_of_its_time(account: Account, sandbox: SandboxProcess) -> None:
    """Thirty at 10, then the price is 20 and five more come."""
    customer = account.customer()
    subscription = start(account, customer, metered_price(account, 10))
    use(account, customer, 30)
    sandbox.advance(HALF)
    item = subscription["items"].data[0]
    account.api.subscription_items.update(item.id, {"price": metered_price(account, 20).id})
    use(account, customer, 5)

    sandbox.advance("2026-11-01T02:00:00Z")

    assert amounts(account.invoices(customer)[0]) == [300, 100]


def test_usage_of_the_last_second_is_billed_too(account: Account, sandbox: SandboxProcess) -> None:
    """At one moment: thirty at 10 used, and canceled; or the item removed, which leaves a price of 2000 a month."""
    canceling, removing = account.customer(), account.customer()
    metered = metered_price(account, 10)
    canceled = start(account, canceling, metered)
    changed = start(account, removing, metered, account.price())
    sandbox.advance(HALF)
    use(account, canceling, 30)
    use(account, removing, 30)

    account.api.subscriptions.cancel(canceled.id, {"invoice_now": True})
    removed = next(item for item in changed["items"].data if item.price.id == metered.id)
    account.api.subscription_items.delete(removed.id, {"proration_behavior": "always_invoice"})

    assert amounts(account.invoices(canceling)[0]) == [300]
    assert amounts(account.invoices(removing)[0]) == [300]


def test_usage_before_an_item_was_added_is_not_its_own(account: Account, sandbox: SandboxProcess) -> None:
    """The price of 10 goes, with thirty used, and one of 20 for the same meter comes: five more are all it bills."""
    customer = account.customer()
    subscription = start(account, customer, metered_price(account, 10))
    use(account, customer, 30)
    sandbox.advance(HALF)
    items = [{"id": subscription["items"].data[0].id, "deleted": True}, {"price": metered_price(account, 20).id}]
    account.api.subscriptions.update(subscription.id, {"items": items})
    use(account, customer, 5)

    sandbox.advance("2026-11-01T02:00:00Z")

    assert amounts(account.invoices(customer)[0]) == [300, 100]


def test_usage_of_a_removed_item_is_billed_when_the_anchor_moves(account: Account, sandbox: SandboxProcess) -> None:
    """Thirty at 10; half of 2000 is credited, and a whole month of it billed."""
    customer = account.customer()
    metered = metered_price(account, 10)
    subscription = start(account, customer, metered, account.price())
    use(account, customer, 30)
    sandbox.advance(HALF)
    item = next(item for item in subscription["items"].data if item.price.id == metered.id)

    account.api.subscriptions.update(
        subscription.id, {"items": [{"id": item.id, "deleted": True}], "billing_cycle_anchor": "now"}
    )

    assert amounts(account.invoices(customer)[0]) == [300, -1000, 2000]


def test_usage_before_a_trial_is_billed(account: Account, sandbox: SandboxProcess) -> None:
    """Thirty at 10 before the trial, five during it."""
    customer = account.customer()
    subscription = start(account, customer, metered_price(account, 10))
    use(account, customer, 30)
    sandbox.advance(HALF)
    account.api.subscriptions.update(subscription.id, {"trial_end": at("2026-10-26T12:00")})
    use(account, customer, 5)

    sandbox.advance("2026-10-26T14:00:00Z")

    assert [invoice.total for invoice in account.invoices(customer)] == [300]


def test_usage_at_a_change_has_the_discount_of_its_item(account: Account, sandbox: SandboxProcess) -> None:
    """Thirty at 10 and half of that off, before and after the price is 20."""
    customer = account.customer()
    half_off = account.api.coupons.create({"percent_off": 50, "duration": "forever"})
    items = [{"price": metered_price(account, 10).id, "discounts": [{"coupon": half_off.id}]}]
    subscription = account.api.subscriptions.create({"customer": customer.id, "items": items})
    use(account, customer, 30)
    sandbox.advance(HALF)

    account.api.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": subscription["items"].data[0].id, "price": metered_price(account, 20).id}],
            "proration_behavior": "always_invoice",
        },
    )
    use(account, customer, 30)
    sandbox.advance("2026-11-01T02:00:00Z")

    invoices = account.invoices(customer)
    assert [(amounts(invoice), invoice.total) for invoice in invoices] == [([600], 300), ([300], 150)]


def test_a_metered_item_has_no_quantity(account: Account) -> None:
    customer = account.customer()

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.subscriptions.create(
            {"customer": customer.id, "items": [{"price": metered_price(account).id, "quantity": 2}]}
        )

    assert refusal.value.param == "items[0][quantity]"


def test_graduated_tiers_are_a_line_each(account: Account) -> None:
    """Five at 1000, the other two at 800."""
    product = account.api.products.create({"name": "Seats"})
    price = account.api.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [{"up_to": 5, "unit_amount": 1000}, {"up_to": "inf", "unit_amount": 800}],
            "recurring": {"interval": "month"},
        }
    )

    subscription = account.api.subscriptions.create(
        {"customer": account.customer().id, "items": [{"price": price.id, "quantity": 7}], "expand": ["latest_invoice"]}
    )

    assert amounts(subscription.latest_invoice) == [5000, 1600]


def test_tiers_are_credited_line_by_line_and_debited_as_one(account: Account, sandbox: SandboxProcess) -> None:
    product = account.api.products.create({"name": "Seats"})
    price = account.api.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [{"up_to": 5, "unit_amount": 1000}, {"up_to": "inf", "unit_amount": 800}],
            "recurring": {"interval": "month"},
        }
    )
    customer = account.customer()
    subscription = account.api.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id, "quantity": 7}]}
    )
    sandbox.advance(HALF)

    changed = account.api.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": subscription["items"].data[0].id, "quantity": 8}],
            "proration_behavior": "always_invoice",
            "expand": ["latest_invoice"],
        },
    )

    assert amounts(changed.latest_invoice) == [-2500, -800, 3700]


def test_price_data_makes_an_inactive_price(account: Account) -> None:
    product = account.api.products.create({"name": "Custom"})
    subscription = account.api.subscriptions.create(
        {
            "customer": account.customer().id,
            "items": [
                {
                    "price_data": {
                        "currency": "usd",
                        "product": product.id,
                        "unit_amount": 1234,
                        "recurring": {"interval": "week"},
                    }
                }
            ],
        }
    )

    item = subscription["items"].data[0]
    assert (item.price.unit_amount, item.price.active) == (1234, False)
    assert item.current_period_end == at("2026-10-08")


@pytest.mark.parametrize(
    ("now", "config", "anchor", "first_end"),
    [
        ("2026-10-12T00:00:00Z", {"day_of_month": 1}, "2026-11-01", "2026-11-01"),
        ("2026-10-12T08:30:00Z", {"day_of_month": 15, "hour": 12, "minute": 30, "second": 0}, "2026-10-15T12:30",
         "2026-10-15T12:30"),
        ("2027-02-10T00:00:00Z", {"day_of_month": 31}, "2027-03-31", "2027-02-28"),
    ],
)  # fmt: skip
def test_anchor_of_a_day_of_the_month(
    account: Account, sandbox: SandboxProcess, now: str, config: dict[str, int], anchor: str, first_end: str
) -> None:
    sandbox.advance(now)

    subscription = account.subscription(account.customer(), billing_cycle_anchor_config=config)

    assert subscription.billing_cycle_anchor == at(anchor)
    assert subscription["items"].data[0].current_period_end == at(first_end)
    assert subscription.billing_cycle_anchor_config.day_of_month == config["day_of_month"]


def test_anchor_of_a_month_of_the_year(account: Account) -> None:
    customer = account.customer()

    subscription = start(
        account,
        customer,
        account.price(36_500, interval="year"),
        billing_cycle_anchor_config={"month": 7, "day_of_month": 1},
        expand=["latest_invoice"],
    )

    assert subscription.billing_cycle_anchor == at("2027-07-01")
    assert subscription.latest_invoice.total == 100 * 273  # from October to June


def test_start_in_the_past_bills_each_period(account: Account) -> None:
    subscription = account.subscription(
        account.customer(), backdate_start_date=at("2026-08-15"), expand=["latest_invoice"]
    )

    assert (subscription.start_date, subscription.billing_cycle_anchor) == (at("2026-08-15"), at("2026-08-15"))
    periods = [(line.period.start, line.period.end) for line in subscription.latest_invoice.lines.data]
    assert periods == [(at("2026-08-15"), at("2026-09-15")), (at("2026-09-15"), at("2026-10-15"))]
    assert subscription.latest_invoice.total == 4000
    assert subscription["items"].data[0].current_period_start == at("2026-09-15")


def test_start_in_the_past_without_prorations_bills_nothing_yet(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()

    subscription = account.subscription(customer, backdate_start_date=at("2026-08-15"), proration_behavior="none")
    sandbox.advance("2026-10-15T02:00:00Z")

    assert (subscription.latest_invoice, subscription.start_date) == (None, at("2026-08-15"))
    assert [invoice.total for invoice in account.invoices(customer)] == [2000]


def test_extras_join_the_first_invoice(account: Account) -> None:
    setup = account.api.prices.create({"product_data": {"name": "Setup"}, "currency": "usd", "unit_amount": 5000})

    subscription = account.subscription(
        account.customer(), add_invoice_items=[{"price": setup.id, "quantity": 2}], expand=["latest_invoice"]
    )

    assert sorted(amounts(subscription.latest_invoice)) == [2000, 10_000]
    assert subscription.latest_invoice.total == 12_000


def test_extras_of_a_change_wait_or_are_billed_with_it(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    setup = account.api.prices.create({"product_data": {"name": "Setup"}, "currency": "usd", "unit_amount": 5000})

    account.api.subscriptions.update(subscription.id, {"add_invoice_items": [{"price": setup.id}]})
    assert len(account.invoices(customer)) == 1
    account.api.subscriptions.update(
        subscription.id, {"add_invoice_items": [{"price": setup.id}], "proration_behavior": "always_invoice"}
    )

    assert account.invoices(customer)[0].total == 10_000


def test_taxes_of_subscription_and_item(account: Account, sandbox: SandboxProcess) -> None:
    """19 % on the first item by default, 7 % on the second by its own rate; the same on prorations."""
    standard = account.api.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    reduced = account.api.tax_rates.create({"display_name": "VAT", "percentage": 7, "inclusive": False})
    customer = account.customer()
    subscription = account.api.subscriptions.create(
        {
            "customer": customer.id,
            "items": [
                {"price": account.price(1000).id},
                {"price": account.price(2000).id, "tax_rates": [reduced.id]},
            ],
            "default_tax_rates": [standard.id],
            "expand": ["latest_invoice"],
        }
    )
    sandbox.advance(HALF)

    changed = account.api.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": subscription["items"].data[1].id, "quantity": 2}],
            "proration_behavior": "always_invoice",
            "expand": ["latest_invoice"],
        },
    )

    assert subscription.latest_invoice.total == 1190 + 2140
    assert [line.taxes[0].amount for line in changed.latest_invoice.lines.data] == [-70, 140]
    assert changed.latest_invoice.total == 1070


def test_item_discount_and_its_removal(account: Account, sandbox: SandboxProcess) -> None:
    coupon = account.api.coupons.create({"percent_off": 10, "duration": "forever"})
    customer = account.customer()
    subscription = account.api.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": account.price(1000).id, "discounts": [{"coupon": coupon.id}]}],
            "expand": ["latest_invoice"],
        }
    )
    item = subscription["items"].data[0]

    changed = account.api.subscription_items.update(item.id, {"discounts": ""})
    sandbox.advance("2026-11-01T02:00:00Z")

    assert subscription.latest_invoice.total == 900
    assert (len(item.discounts), list(changed.discounts)) == (1, [])
    assert account.invoices(customer)[0].total == 1000
    assert account.api.invoice_items.list({"customer": customer.id}).data == []


def test_invoices_show_what_the_subscription_settled(account: Account) -> None:
    subscription = account.subscription(
        account.customer(),
        invoice_settings={"footer": "Thanks", "custom_fields": [{"name": "PO", "value": "17"}]},
        payment_settings={"payment_method_types": ["card"], "save_default_payment_method": "on_subscription"},
        expand=["latest_invoice"],
    )

    invoice = subscription.latest_invoice
    assert (invoice.footer, invoice.custom_fields[0].value) == ("Thanks", "17")
    assert list(invoice.payment_settings.payment_method_types) == ["card"]
    assert subscription.payment_settings.save_default_payment_method == "on_subscription"


def test_invoices_that_are_sent_wait_their_hour(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.api.customers.create({"email": "sent@example.com"})

    subscription = account.subscription(customer, collection_method="send_invoice", days_until_due=7)
    assert subscription.status == "active"
    assert account.invoices(customer)[0].status == "draft"
    sandbox.advance("2026-10-01T01:00:00Z")

    invoice = account.invoices(customer)[0]
    assert (invoice.status, invoice.due_date) == ("open", at("2026-10-08"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"collection_method": "send_invoice"}, "days_until_due"),
        ({"days_until_due": 3}, "days_until_due"),
        ({"billing_cycle_anchor": at("2026-09-01")}, "billing_cycle_anchor"),
        ({"billing_cycle_anchor_config": {"day_of_month": 32}}, "billing_cycle_anchor_config[day_of_month]"),
        ({"backdate_start_date": at("2026-11-01")}, "backdate_start_date"),
        ({"cancel_at": at("2026-09-01")}, "cancel_at"),
        ({"payment_behavior": "pending_if_incomplete"}, "payment_behavior"),
        ({"default_payment_method": "pm_unknown"}, "default_payment_method"),
        ({"currency": "eur"}, "currency"),
        ({"pending_invoice_item_interval": {"interval": "month", "interval_count": 13}},
         "pending_invoice_item_interval[interval_count]"),
    ],
)  # fmt: skip
def test_terms_that_may_not_be(account: Account, fields: dict[str, Any], param: str) -> None:
    customer = account.customer()

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.subscription(customer, **fields)

    assert refusal.value.param == param
    assert account.api.subscriptions.list({"customer": customer.id, "status": "all"}).data == []
    assert account.invoices(customer) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"billing_mode": {"type": "classic"}},
        {"billing_thresholds": {"amount_gte": 1000}},
        {"transfer_data": {"destination": "acct_1"}},
        {"application_fee_percent": 5},
        {"on_behalf_of": "acct_1"},
        {"automatic_tax": {"enabled": True}},
        {"payment_settings": {"payment_method_options": {"card": {"request_three_d_secure": "any"}}}},
    ],
)
def test_what_is_left_out_is_refused_by_name(account: Account, fields: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.subscription(account.customer(), **fields)

    assert refusal.value.code == "sandbox_not_implemented"


def test_migration_to_what_it_is_already_is_refused(account: Account) -> None:
    subscription = account.subscription(account.customer())

    with pytest.raises(stripe.InvalidRequestError):
        account.api.subscriptions.migrate(subscription.id, {"billing_mode": {"type": "flexible"}})


def test_a_free_first_invoice_needs_no_card(account: Account) -> None:
    coupon = account.api.coupons.create({"percent_off": 100, "duration": "once"})
    customer = account.api.customers.create({"email": "free@example.com"})

    subscription = account.subscription(customer, discounts=[{"coupon": coupon.id}], expand=["latest_invoice"])

    assert (subscription.status, subscription.latest_invoice.total) == ("active", 0)


def test_authentication_counts_as_incomplete(account: Account) -> None:
    with pytest.raises(stripe.CardError) as refusal:
        account.subscription(account.customer("pm_card_threeDSecure2Required"), payment_behavior="error_if_incomplete")

    assert refusal.value.code == "subscription_payment_intent_requires_action"
