"""Prices and what they charge, worked out by hand; the tiers are those of Stripe's page on pricing models."""

from decimal import Decimal
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.account import Account

Tiers = list[dict[str, Any]]

MONTHLY = {"interval": "month"}
# Typographic's fonts: 1 to 5 at 7.00, 6 to 10 at 6.50, from 11 at 6.00.
FONT_TIERS: Tiers = [
    {"up_to": 5, "unit_amount": 700},
    {"up_to": 10, "unit_amount": 650},
    {"up_to": "inf", "unit_amount": 600},
]
# With a flat rate: Stripe's page works 12 units out as 66 USD by volume and as 151 USD graduated.
FLAT_TIERS: Tiers = [
    {"up_to": 5, "unit_amount": 500, "flat_amount": 1000},
    {"up_to": 10, "unit_amount": 400, "flat_amount": 2000},
    {"up_to": 15, "unit_amount": 300, "flat_amount": 3000},
    {"up_to": 20, "unit_amount": 200, "flat_amount": 4000},
    {"up_to": "inf", "unit_amount": 100, "flat_amount": 5000},
]


def price_of(account: Account, *, product: dict[str, Any] | None = None, **terms: Any) -> Any:
    product_id = account.api.products.create({"name": "Fonts", **(product or {})}).id
    return account.api.prices.create({"product": product_id, "currency": "usd", **terms})


def tiered(account: Account, mode: str, tiers: Tiers, **fields: Any) -> Any:
    return price_of(account, billing_scheme="tiered", tiers_mode=mode, tiers=tiers, recurring=MONTHLY, **fields)


def first_lines(account: Account, price: Any, quantity: int, **fields: Any) -> list[tuple[int, int, str]]:
    """Amount, quantity and description of each line that a subscription starts with."""
    subscription = account.api.subscriptions.create(
        {"customer": account.customer().id, "items": [{"price": price.id, "quantity": quantity}], **fields}
    )
    invoice = account.api.invoices.retrieve(subscription.latest_invoice)
    assert invoice.total == sum(line.amount for line in invoice.lines.data)
    return [(line.amount, line.quantity, line.description) for line in invoice.lines.data]


def refusal(account: Account, **parameters: Any) -> stripe.InvalidRequestError:
    product = account.api.products.create({"name": "Pro"})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.unchecked.prices.create({"product": product.id, "currency": "usd", **parameters})
    assert "price.created" not in account.event_types()
    return refused.value


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [(1, 700), (5, 3500), (6, 3900), (20, 12000), (25, 15000)],  # the table of Stripe's page
)
def test_volume_price_charges_all_units_by_the_tier_of_the_quantity(
    account: Account, quantity: int, amount: int
) -> None:
    price = tiered(account, "volume", FONT_TIERS)

    lines = first_lines(account, price, quantity)

    assert [line[:2] for line in lines] == [(amount, quantity)]


def test_volume_price_adds_the_flat_amount_of_its_tier(account: Account) -> None:
    price = tiered(account, "volume", FLAT_TIERS)

    lines = first_lines(account, price, 12)

    assert lines == [
        (3600, 12, "12 × Fonts (Tier 3 at $3.00 / month)"),
        (3000, 0, "Fonts (Tier 3 at $30.00 / month)"),
    ]


def test_graduated_price_charges_each_tier_for_its_units(account: Account) -> None:
    price = tiered(account, "graduated", FONT_TIERS)

    lines = first_lines(account, price, 20)

    assert lines == [  # 35.00 + 32.50 + 60.00 = 127.50
        (3500, 5, "5 × Fonts (Tier 1 at $7.00 / month)"),
        (3250, 5, "5 × Fonts (Tier 2 at $6.50 / month)"),
        (6000, 10, "10 × Fonts (Tier 3 at $6.00 / month)"),
    ]


def test_graduated_price_charges_the_flat_amount_of_each_tier_reached(account: Account) -> None:
    price = tiered(account, "graduated", FLAT_TIERS)

    lines = first_lines(account, price, 12)

    # 5 × 5 + 10, 5 × 4 + 20, 2 × 3 + 30: 151 USD.
    assert [line[:2] for line in lines] == [(2500, 5), (1000, 0), (2000, 5), (2000, 0), (600, 2), (3000, 0)]


def test_each_line_of_a_fraction_is_rounded_half_up_on_its_own(account: Account) -> None:
    tiers: Tiers = [
        {"up_to": 1000, "unit_amount": 0, "flat_amount": 900},
        {"up_to": "inf", "unit_amount_decimal": "3.6"},
    ]
    price = tiered(account, "graduated", tiers, product={"unit_label": "credit"})

    lines = first_lines(account, price, 1031)

    assert lines == [  # 31 × 3.6 = 111.6, as on an invoice recorded from Stripe
        (0, 1000, "1000 credit × Fonts (Tier 1 at $0.00 / month)"),
        (900, 0, "Fonts (Tier 1 at $9.00 / month)"),
        (112, 31, "31 credit × Fonts (Tier 2 at $0.036 / month)"),
    ]


@pytest.mark.parametrize(("rounding", "amount"), [("up", 300), ("down", 200)])
def test_packages(account: Account, rounding: str, amount: int) -> None:
    price = price_of(
        account, unit_amount=100, recurring=MONTHLY, transform_quantity={"divide_by": 60, "round": rounding}
    )

    lines = first_lines(account, price, 121)  # two packages of 60 and one unit

    assert lines == [(amount, 121, "121 × Fonts (at $1.00 per 60 units / month)")]


def test_decimal_amount(account: Account) -> None:
    price = price_of(account, unit_amount_decimal="0.123456789012", recurring=MONTHLY)

    lines = first_lines(account, price, 1000)

    assert (price.unit_amount, price.unit_amount_decimal) == (None, Decimal("0.123456789012"))
    assert [line[0] for line in lines] == [123]  # 123.456789012


def test_tiers_are_shown_only_when_expanded(account: Account) -> None:
    price = tiered(account, "graduated", FLAT_TIERS[3:])

    expanded = account.api.prices.retrieve(price.id, {"expand": ["tiers"]})

    assert "tiers" not in price
    assert (price.unit_amount, price.unit_amount_decimal, price.tiers_mode) == (None, None, "graduated")
    assert [tier.to_dict() for tier in expanded.tiers] == [
        {
            "flat_amount": 4000,
            "flat_amount_decimal": Decimal(4000),
            "unit_amount": 200,
            "unit_amount_decimal": Decimal(200),
            "up_to": 20,
        },
        {
            "flat_amount": 5000,
            "flat_amount_decimal": Decimal(5000),
            "unit_amount": 100,
            "unit_amount_decimal": Decimal(100),
            "up_to": None,
        },
    ]


def test_tiers_are_expanded_in_lists_and_subscriptions(account: Account) -> None:
    price = tiered(account, "graduated", FONT_TIERS)
    subscription = account.api.subscriptions.create(
        {"customer": account.customer().id, "items": [{"price": price.id}], "expand": ["items.data.price.tiers"]}
    )

    (listed,) = account.api.prices.list({"expand": ["data.tiers"]}).data

    assert [tier.up_to for tier in listed.tiers] == [5, 10, None]
    assert [tier.up_to for tier in subscription["items"].data[0].price.tiers] == [5, 10, None]


def test_price_without_tiers_has_none_to_expand(account: Account) -> None:
    price = price_of(account, unit_amount=100)

    assert "tiers" not in account.api.prices.retrieve(price.id, {"expand": ["tiers"]})


def test_currency_options(account: Account) -> None:
    price = price_of(account, unit_amount=2000, recurring=MONTHLY, currency_options={"eur": {"unit_amount": 1800}})

    lines = first_lines(account, price, 2, currency="eur")

    assert lines == [(3600, 2, "2 × Fonts (at €18.00 / month)")]
    assert "currency_options" not in price
    expanded = account.api.prices.retrieve(price.id, {"expand": ["currency_options"]})
    assert {name: option.unit_amount for name, option in expanded.currency_options.items()} == {
        "usd": 2000,
        "eur": 1800,
    }


def test_currency_options_can_be_changed(account: Account) -> None:
    price = price_of(account, unit_amount=2000, currency_options={"eur": {"unit_amount": 1800}})

    account.api.prices.update(price.id, {"currency_options": {"gbp": {"unit_amount": 1500}}})

    options = account.api.prices.retrieve(price.id, {"expand": ["currency_options"]}).currency_options
    assert sorted(options.to_dict()) == ["eur", "gbp", "usd"]


def test_custom_unit_amount(account: Account) -> None:
    price = price_of(account, custom_unit_amount={"enabled": True, "minimum": 100, "preset": 500})

    assert price.custom_unit_amount.to_dict() == {"maximum": None, "minimum": 100, "preset": 500}
    assert price.unit_amount_decimal is None
    invoice = account.api.invoices.create({"customer": account.customer().id})
    with pytest.raises(stripe.InvalidRequestError):
        account.api.invoice_items.create(
            {"customer": invoice.customer, "invoice": invoice.id, "pricing": {"price": price.id}}
        )


def test_recurring_price_is_told_as_a_plan_too(account: Account) -> None:
    price_of(account, unit_amount=100, recurring=MONTHLY)
    price_of(account, unit_amount=100)

    assert account.event_types() == [
        "product.created",
        "plan.created",
        "price.created",
        "product.created",
        "price.created",
    ]


def test_default_price_data(account: Account) -> None:
    product = account.api.products.create(
        {"name": "Pro", "default_price_data": {"currency": "usd", "unit_amount": 2000, "recurring": MONTHLY}}
    )

    price = account.api.prices.retrieve(product.default_price)
    assert (price.product, price.unit_amount, price.recurring.interval) == (product.id, 2000, "month")
    assert account.event_types() == ["product.created", "plan.created", "price.created"]
    with pytest.raises(stripe.InvalidRequestError, match="default price of its product"):
        account.api.prices.update(price.id, {"active": False})


def test_default_price_belongs_to_the_product(account: Account) -> None:
    price = price_of(account, unit_amount=100)
    product = account.api.products.create({"name": "Other"})

    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.api.products.update(product.id, {"default_price": price.id})

    assert refused.value.param == "default_price"


def test_tax_behavior_is_set_once(account: Account) -> None:
    price = price_of(account, unit_amount=100)

    account.api.prices.update(price.id, {"tax_behavior": "exclusive"})

    with pytest.raises(stripe.InvalidRequestError):
        account.api.prices.update(price.id, {"tax_behavior": "inclusive"})
    assert account.api.prices.retrieve(price.id).tax_behavior == "exclusive"


def test_lookup_key_is_transferred_with_an_event(account: Account) -> None:
    holder = price_of(account, unit_amount=100, lookup_key="pro")

    heir = price_of(account, unit_amount=200, lookup_key="pro", transfer_lookup_key=True)

    assert account.api.prices.retrieve(holder.id).lookup_key is None
    assert [price.id for price in account.api.prices.list({"lookup_keys": ["pro"]}).data] == [heir.id]
    told = [event for event in account.api.events.list().data if event.type == "price.updated"]
    assert told[0].data.previous_attributes.to_dict() == {"lookup_key": "pro"}
    assert "already uses that lookup key" in str(refusal_of_key(account))


def refusal_of_key(account: Account) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        price_of(account, unit_amount=300, lookup_key="pro")
    return refused.value


def test_prices_are_listed_by_their_recurrence(account: Account) -> None:
    monthly = price_of(account, unit_amount=100, recurring=MONTHLY)
    price_of(account, unit_amount=100, recurring={"interval": "year"})
    price_of(account, unit_amount=100)

    assert [price.id for price in account.api.prices.list({"recurring": MONTHLY}).data] == [monthly.id]


def test_product_with_prices_cannot_be_deleted(account: Account) -> None:
    price = price_of(account, unit_amount=100)

    with pytest.raises(stripe.InvalidRequestError, match="user-created prices"):
        account.api.products.delete(price.product)


@pytest.mark.parametrize(
    ("parameters", "param", "message"),
    [
        ({}, None, "Prices require an `unit_amount`"),
        ({"unit_amount": 1, "unit_amount_decimal": "1"}, "unit_amount", "only specify one of these"),
        ({"unit_amount": -1}, "unit_amount", "non-negative"),
        ({"unit_amount": 1, "currency": "dollars"}, "currency", "Invalid currency: dollars"),
        ({"unit_amount_decimal": "0.1234567890123"}, "unit_amount_decimal", "12 decimal places"),
        ({"unit_amount": 1, "tiers_mode": "volume"}, "tiers_mode", "billing_scheme=tiered"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": FONT_TIERS}, "recurring", "type=one_time"),
        ({"billing_scheme": "tiered", "recurring": MONTHLY, "tiers": FONT_TIERS}, "tiers_mode", "Missing required"),
        ({"billing_scheme": "tiered", "recurring": MONTHLY, "tiers_mode": "volume"}, "tiers", "Missing required"),
        ({"unit_amount": 1, "recurring": {"interval": "year", "interval_count": 4}}, None, "three years"),
        ({"unit_amount": 1, "recurring": {"interval": "month", "usage_type": "metered"}}, None, "backed by meters"),
        ({"unit_amount": 1, "recurring": {**MONTHLY, "meter": "mtr_none"}}, "recurring[meter]", "usage_type=metered"),
        ({"unit_amount": 1, "transform_quantity": {"divide_by": 0, "round": "up"}}, None, "greater than or equal"),
        ({"unit_amount": 1, "currency_options": {"usd": {"unit_amount": 1}}}, "currency_options[usd]", "own currency"),
        ({"custom_unit_amount": {"enabled": True}, "recurring": MONTHLY}, "custom_unit_amount", "one_time"),
        ({"custom_unit_amount": {"enabled": True, "minimum": 9, "maximum": 5}}, "custom_unit_amount", "minimum"),
    ],
)
def test_refused_terms(account: Account, parameters: dict[str, Any], param: str | None, message: str) -> None:
    refused = refusal(account, **parameters)

    assert message in str(refused.user_message)
    assert param is None or refused.param == param


@pytest.mark.parametrize(
    ("tiers", "param"),
    [
        ([{"up_to": 5, "unit_amount": 1}], "tiers"),
        ([{"up_to": "inf", "unit_amount": 1}, {"up_to": "inf", "unit_amount": 1}], "tiers[1][up_to]"),
        ([{"up_to": 5, "unit_amount": 1}, {"up_to": 5, "unit_amount": 1}], "tiers[1][up_to]"),
        ([{"up_to": "inf"}], "tiers"),
        ([{"up_to": "inf", "unit_amount": 1, "unit_amount_decimal": "1"}], "tiers[0][unit_amount]"),
    ],
)
def test_refused_tiers(account: Account, tiers: Tiers, param: str) -> None:
    refused = refusal(account, billing_scheme="tiered", tiers_mode="volume", tiers=tiers, recurring=MONTHLY)

    assert refused.param == param


def test_tiers_do_not_go_with_packages(account: Account) -> None:
    refused = refusal(
        account,
        billing_scheme="tiered",
        tiers_mode="volume",
        tiers=FONT_TIERS,
        recurring=MONTHLY,
        transform_quantity={"divide_by": 2, "round": "up"},
    )

    assert refused.param == "transform_quantity"


def test_features_of_a_product(account: Account) -> None:
    product = account.api.products.create({"name": "Pro"})
    feature = account.api.entitlements.features.create({"name": "Exports", "lookup_key": "exports"})

    attached = account.api.products.features.create(product.id, {"entitlement_feature": feature.id})

    assert attached.entitlement_feature.lookup_key == "exports"
    assert [item.id for item in account.api.products.features.list(product.id).data] == [attached.id]
    assert account.api.products.features.retrieve(product.id, attached.id).id == attached.id
    with pytest.raises(stripe.InvalidRequestError):
        account.api.products.features.create(product.id, {"entitlement_feature": feature.id})
    assert account.api.products.features.delete(product.id, attached.id).deleted
    assert account.api.products.features.list(product.id).data == []
