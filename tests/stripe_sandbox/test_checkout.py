"""Checkout sessions: what they offer, how they are completed or end, and what they make."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.flows import send
from tests.stripe_sandbox.payer import Payer

SHOP = {"success_url": "https://shop.example/done?session={CHECKOUT_SESSION_ID}", "cancel_url": "https://shop.example"}
DAY_SECONDS = 86_400


def session(account: Account, **fields: Any) -> Any:
    return account.api.checkout.sessions.create({**SHOP, **fields})


def one_time_price(account: Account, unit_amount: int = 1500, currency: str = "usd") -> Any:
    return account.api.prices.create(
        {"currency": currency, "unit_amount": unit_amount, "product_data": {"name": "Keyboard"}}
    )


def paying(account: Account, *, unit_amount: int = 1500, currency: str = "usd", **fields: Any) -> Any:
    price = one_time_price(account, unit_amount, currency)
    return session(account, mode="payment", line_items=[{"price": price.id, "quantity": 2}], **fields)


def subscribing(account: Account, **fields: Any) -> Any:
    return session(account, mode="subscription", line_items=[{"price": account.price().id, "quantity": 1}], **fields)


def retrieved(account: Account, made: Any, *expand: str) -> Any:
    return account.api.checkout.sessions.retrieve(made.id, {"expand": list(expand)})


def types_after(account: Account, count: int) -> list[str]:
    return account.event_types()[count:]


def test_session_offers_its_items_for_a_day(account: Account, sandbox: SandboxProcess) -> None:
    made = paying(account, client_reference_id="order 7", metadata={"order": "7"})

    assert (made.status, made.payment_status, made.mode) == ("open", "unpaid", "payment")
    assert (made.amount_subtotal, made.amount_total, made.currency) == (3000, 3000, "usd")
    assert made.expires_at == made.created + DAY_SECONDS
    assert made.url == f"{sandbox.address}/pay/checkout/{made.id}"
    assert (made.payment_intent, made.customer, made.customer_creation) == (None, None, "if_required")
    [item] = account.api.checkout.sessions.line_items.list(made.id).data
    assert (item.description, item.quantity, item.amount_total) == ("Keyboard", 2, 3000)
    assert retrieved(account, made, "line_items").line_items.data[0].id == item.id


def test_payment_of_a_guest(account: Account, sandbox: SandboxProcess) -> None:
    made = paying(account, payment_intent_data={"description": "Order 7", "metadata": {"order": "7"}})
    before = len(account.event_types())

    landed = Payer(sandbox).pay(made.url)

    done = retrieved(account, made, "payment_intent.latest_charge")
    assert landed == f"https://shop.example/done?session={made.id}"
    assert (done.status, done.payment_status, done.url, done.customer) == ("complete", "paid", None, None)
    assert (done.customer_details.email, done.customer_details.name) == ("jenny@example.com", "Jenny Rosen")
    intent = done.payment_intent
    assert (intent.amount_received, intent.description, intent.metadata["order"]) == (3000, "Order 7", "7")
    assert intent.latest_charge.billing_details.email == "jenny@example.com"
    assert types_after(account, before) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]


def test_customer_is_made_when_asked_for(account: Account, sandbox: SandboxProcess) -> None:
    made = paying(account, customer_creation="always", payment_intent_data={"setup_future_usage": "off_session"})

    Payer(sandbox).pay(made.url)

    done = retrieved(account, made, "customer", "payment_intent")
    assert (done.customer.email, done.payment_intent.customer) == ("jenny@example.com", done.customer.id)
    [kept] = account.api.customers.payment_methods.list(done.customer.id).data
    assert kept.id == done.payment_intent.payment_method


def test_known_customer_pays_with_the_card_on_file(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer(email="ada@example.com", name="Ada")
    made = paying(account, customer=customer.id)
    assert made.customer_details.email == "ada@example.com"

    Payer(sandbox).pay(made.url, method=customer.invoice_settings.default_payment_method)

    done = retrieved(account, made, "payment_intent")
    assert (done.customer, done.payment_intent.customer) == (customer.id, customer.id)
    assert done.payment_intent.payment_method == customer.invoice_settings.default_payment_method


def test_declined_card_leaves_the_session_open_for_another(account: Account, sandbox: SandboxProcess) -> None:
    made = paying(account, customer_creation="always")
    payer = Payer(sandbox)

    page = payer.try_to_pay(made.url, method="4000 0000 0000 9995")

    assert (page.status, "Your card has insufficient funds." in page.text) == (402, True)
    refused = retrieved(account, made, "payment_intent")
    assert (refused.status, refused.customer, refused.payment_intent.status) == (
        "open",
        None,
        "requires_payment_method",
    )
    assert account.api.customers.list().data == []
    payer.pay(made.url)
    done = retrieved(account, made, "payment_intent")
    assert (done.payment_status, done.payment_intent.id) == ("paid", refused.payment_intent.id)
    assert len(account.api.charges.list({"payment_intent": done.payment_intent.id}).data) == 2


def test_mistyped_email_is_corrected_at_the_next_try(account: Account, sandbox: SandboxProcess) -> None:
    made = paying(account)
    payer = Payer(sandbox)
    payer.submit(made.url, do="pay", email="jeny@example.com", name="Jenny", method="4000 0000 0000 0002")

    payer.pay(made.url)

    assert retrieved(account, made).customer_details.email == "jenny@example.com"


def test_unknown_card_number_is_refused_as_the_page_would(account: Account, sandbox: SandboxProcess) -> None:
    made = paying(account)

    page = Payer(sandbox).try_to_pay(made.url, method="typed", typed="1234 5678")

    assert (page.status, "Your card number is incorrect." in page.text) == (402, True)
    assert account.api.payment_intents.list().data == []


@pytest.mark.parametrize("confirmed", [True, False])
def test_card_that_asks_for_authentication(account: Account, sandbox: SandboxProcess, confirmed: bool) -> None:
    made = paying(account)
    payer = Payer(sandbox)

    page = payer.try_to_pay(made.url, method="4000 0027 6000 3184")

    waiting = retrieved(account, made, "payment_intent")
    assert (waiting.status, waiting.payment_intent.status) == ("open", "requires_action")
    assert page.redirected_to == f"/pay/authenticate/{waiting.payment_intent.id}"
    landed = payer.authenticate(page, confirm=confirmed)
    done = retrieved(account, made)
    if confirmed:
        assert (done.status, done.payment_status) == ("complete", "paid")
        assert landed == f"https://shop.example/done?session={made.id}"
    else:
        assert (done.status, done.payment_status) == ("open", "unpaid")
        assert "failed authentication" in payer.page(landed).text


def test_subscription(account: Account, sandbox: SandboxProcess) -> None:
    made = subscribing(account, subscription_data={"metadata": {"plan": "pro"}, "description": "Pro plan"})
    assert (made.customer_creation, made.payment_method_collection, made.amount_total) == ("always", "always", 2000)
    before = len(account.event_types())

    Payer(sandbox).pay(made.url)

    done = retrieved(account, made, "subscription", "invoice")
    subscription = done.subscription
    assert (done.payment_status, subscription.status, subscription.metadata["plan"]) == ("paid", "active", "pro")
    assert subscription.description == "Pro plan"
    assert (done.invoice.id, done.invoice.amount_paid) == (subscription.latest_invoice, 2000)
    [kept] = account.api.customers.payment_methods.list(done.customer).data
    assert subscription.default_payment_method == kept.id
    types = types_after(account, before)
    assert (types[0], types[-1]) == ("customer.created", "checkout.session.completed")
    assert types.index("payment_method.attached") < types.index("customer.subscription.created")


def test_subscription_renews_with_the_card_of_the_page(account: Account, sandbox: SandboxProcess) -> None:
    made = subscribing(account)
    Payer(sandbox).pay(made.url)

    sandbox.advance("2026-11-01T02:00:00Z")

    customer = account.api.customers.retrieve(retrieved(account, made).customer)
    assert [invoice.status for invoice in account.invoices(customer)] == ["paid", "paid"]


def test_declined_card_begins_no_subscription(account: Account, sandbox: SandboxProcess) -> None:
    made = subscribing(account)

    page = Payer(sandbox).try_to_pay(made.url, method="4000 0000 0000 0341")

    assert (page.status, retrieved(account, made).status) == (402, "open")
    assert account.api.subscriptions.list({"status": "all"}).data == []
    assert account.api.customers.list().data == []


def test_subscription_whose_card_asks_for_authentication(account: Account, sandbox: SandboxProcess) -> None:
    made = subscribing(account)
    payer = Payer(sandbox)

    page = payer.try_to_pay(made.url, method="4000 0027 6000 3184")

    assert retrieved(account, made).status == "open"
    payer.authenticate(page)
    done = retrieved(account, made, "subscription")
    assert (done.status, done.payment_status, done.subscription.status) == ("complete", "paid", "active")


def test_refused_authentication_can_be_followed_by_another_card(account: Account, sandbox: SandboxProcess) -> None:
    made = subscribing(account)
    payer = Payer(sandbox)
    payer.authenticate(payer.try_to_pay(made.url, method="4000 0027 6000 3184"), confirm=False)
    assert retrieved(account, made).status == "open"

    payer.pay(made.url)

    [subscription] = account.api.subscriptions.list({"status": "all"}).data
    done = retrieved(account, made)
    assert (done.subscription, done.payment_status, subscription.status) == (subscription.id, "paid", "active")


def test_trial_starts_without_money(account: Account, sandbox: SandboxProcess) -> None:
    made = subscribing(account, subscription_data={"trial_period_days": 14})
    assert (made.amount_subtotal, made.amount_total) == (0, 0)

    Payer(sandbox).pay(made.url)

    done = retrieved(account, made, "subscription")
    assert (done.payment_status, done.subscription.status) == ("no_payment_required", "trialing")
    assert done.subscription.trial_end == done.subscription.start_date + 14 * DAY_SECONDS
    sandbox.advance("2026-10-15T02:00:00Z")
    assert account.api.subscriptions.retrieve(done.subscription.id).status == "active"


def test_trial_whose_card_asks_for_authentication(account: Account, sandbox: SandboxProcess) -> None:
    made = subscribing(account, subscription_data={"trial_period_days": 14})
    payer = Payer(sandbox)

    page = payer.try_to_pay(made.url, method="4000 0025 0000 3155")
    assert (retrieved(account, made).status, account.api.subscriptions.list().data) == ("open", [])
    payer.authenticate(page)

    done = retrieved(account, made, "subscription")
    assert (done.status, done.subscription.status) == ("complete", "trialing")
    sandbox.advance("2026-10-15T02:00:00Z")  # the card was set up for the customer's absence
    assert account.api.subscriptions.retrieve(done.subscription.id).status == "active"
    assert [invoice.status for invoice in account.invoices(account.api.customers.retrieve(done.customer))] == [
        "paid",
        "paid",
    ]


def test_trial_does_not_begin_with_a_card_that_is_declined(account: Account, sandbox: SandboxProcess) -> None:
    made = subscribing(account, subscription_data={"trial_period_days": 14})

    assert Payer(sandbox).try_to_pay(made.url, method="4000 0000 0000 0002").status == 402

    assert (retrieved(account, made).status, account.api.subscriptions.list().data) == ("open", [])


def test_authenticated_card_pays_the_renewal_too(account: Account, sandbox: SandboxProcess) -> None:
    made = subscribing(account)
    payer = Payer(sandbox)
    payer.authenticate(payer.try_to_pay(made.url, method="4000 0025 0000 3155"))

    sandbox.advance("2026-11-01T02:00:00Z")

    customer = account.api.customers.retrieve(retrieved(account, made).customer)
    assert [invoice.status for invoice in account.invoices(customer)] == ["paid", "paid"]


def test_subscription_by_debit(account: Account, sandbox: SandboxProcess) -> None:
    price = account.price(currency="eur")
    made = session(
        account,
        mode="subscription",
        payment_method_types=["sepa_debit"],
        line_items=[{"price": price.id, "quantity": 1}],
    )

    Payer(sandbox).pay(made.url, method="AT61 1904 3002 3457 3201")

    done = retrieved(account, made, "subscription")
    assert (done.payment_status, done.subscription.status) == ("paid", "active")
    assert "checkout.session.async_payment_succeeded" in account.event_types()


def test_code_entered_after_a_refused_try(account: Account, sandbox: SandboxProcess) -> None:
    coupon = account.api.coupons.create({"percent_off": 50})
    account.api.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "HALF"})
    made = paying(account, allow_promotion_codes=True)
    payer = Payer(sandbox)
    payer.try_to_pay(made.url, method="4000 0000 0000 0002")

    payer.submit(made.url, do="apply", code="HALF")
    payer.pay(made.url)

    assert retrieved(account, made, "payment_intent").payment_intent.amount_received == 1500


def test_trial_without_a_card_when_none_is_required(account: Account, sandbox: SandboxProcess) -> None:
    made = subscribing(account, subscription_data={"trial_period_days": 14}, payment_method_collection="if_required")

    Payer(sandbox).pay(made.url, method=None)

    done = retrieved(account, made, "subscription")
    assert (done.subscription.status, done.subscription.default_payment_method) == ("trialing", None)


def test_one_time_item_is_on_the_first_invoice_only(account: Account, sandbox: SandboxProcess) -> None:
    line_items = [
        {"price": account.price().id, "quantity": 1},
        {"price": one_time_price(account).id, "quantity": 1},
    ]
    made = session(account, mode="subscription", line_items=line_items)
    assert made.amount_total == 3500

    Payer(sandbox).pay(made.url)

    customer = account.api.customers.retrieve(retrieved(account, made).customer)
    sandbox.advance("2026-11-01T02:00:00Z")
    assert [invoice.total for invoice in account.invoices(customer)] == [2000, 3500]


def test_card_is_set_up_for_later(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.api.customers.create({"email": "ada@example.com"})
    made = session(
        account, mode="setup", currency="usd", customer=customer.id, setup_intent_data={"metadata": {"for": "later"}}
    )
    assert (made.payment_status, made.amount_total) == ("no_payment_required", None)

    Payer(sandbox).pay(made.url)

    done = retrieved(account, made, "setup_intent")
    assert (done.status, done.setup_intent.status, done.setup_intent.metadata["for"]) == (
        "complete",
        "succeeded",
        "later",
    )
    [kept] = account.api.customers.payment_methods.list(customer.id).data
    assert kept.id == done.setup_intent.payment_method


def test_card_that_is_set_up_with_authentication(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.api.customers.create()
    made = session(account, mode="setup", currency="usd", customer=customer.id)
    payer = Payer(sandbox)

    payer.authenticate(payer.try_to_pay(made.url, method="4000 0025 0000 3155"))

    assert retrieved(account, made, "setup_intent").setup_intent.status == "succeeded"
    assert retrieved(account, made).status == "complete"


def test_coupon_is_taken_off_and_redeemed_when_completed(account: Account, sandbox: SandboxProcess) -> None:
    coupon = account.api.coupons.create({"percent_off": 25, "duration": "forever"})
    made = subscribing(account, discounts=[{"coupon": coupon.id}])
    assert (made.amount_subtotal, made.amount_total, made.total_details.amount_discount) == (2000, 1500, 500)
    assert account.api.coupons.retrieve(coupon.id).times_redeemed == 0

    Payer(sandbox).pay(made.url)

    done = retrieved(account, made, "invoice")
    assert (done.invoice.total, account.api.coupons.retrieve(coupon.id).times_redeemed) == (1500, 1)


def test_promotion_code_is_entered_on_the_page(account: Account, sandbox: SandboxProcess) -> None:
    coupon = account.api.coupons.create({"amount_off": 500, "currency": "usd"})
    account.api.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "SAVE5"})
    made = paying(account, allow_promotion_codes=True)
    payer = Payer(sandbox)

    assert "invalid" in payer.submit(made.url, do="apply", code="nothing").text
    payer.submit(made.url, do="apply", code="save5")

    assert retrieved(account, made).amount_total == 2500
    payer.pay(made.url)
    assert retrieved(account, made, "payment_intent").payment_intent.amount == 2500
    assert account.api.coupons.retrieve(coupon.id).times_redeemed == 1


def test_buyer_changes_the_quantity(account: Account, sandbox: SandboxProcess) -> None:
    coupon = account.api.coupons.create({"percent_off": 10})
    item = {"price": account.price().id, "quantity": 1, "adjustable_quantity": {"enabled": True, "maximum": 5}}
    made = session(account, mode="subscription", line_items=[item], discounts=[{"coupon": coupon.id}])
    [offered] = account.api.checkout.sessions.line_items.list(made.id).data
    payer = Payer(sandbox)

    assert "from 0 to 5" in payer.submit(made.url, do="adjust", **{offered.id: "6"}).text
    payer.submit(made.url, do="adjust", **{offered.id: "3"})

    assert retrieved(account, made).amount_total == 5400  # 3 × 2000 less 10 %
    payer.pay(made.url)
    [bought] = retrieved(account, made, "subscription").subscription["items"].data
    assert bought.quantity == 3


def test_nothing_to_pay_needs_no_card(account: Account, sandbox: SandboxProcess) -> None:
    coupon = account.api.coupons.create({"percent_off": 100, "duration": "once"})
    made = paying(account, discounts=[{"coupon": coupon.id}])

    Payer(sandbox).pay(made.url, method=None)

    done = retrieved(account, made)
    assert (done.status, done.payment_status, done.payment_intent) == ("complete", "no_payment_required", None)


def test_tax_rate_of_an_item(account: Account) -> None:
    rate = account.api.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    price = one_time_price(account)
    made = session(account, mode="payment", line_items=[{"price": price.id, "quantity": 2, "tax_rates": [rate.id]}])

    assert (made.amount_subtotal, made.total_details.amount_tax, made.amount_total) == (3000, 570, 3570)


@pytest.mark.parametrize(
    ("iban", "ends_as", "event"),
    [
        ("AT61 1904 3002 3457 3201", "paid", "checkout.session.async_payment_succeeded"),
        ("AT86 1904 3002 3547 3202", "unpaid", "checkout.session.async_payment_failed"),
    ],
)
def test_debit_completes_the_session_before_the_money_comes(
    account: Account, sandbox: SandboxProcess, iban: str, ends_as: str, event: str
) -> None:
    made = paying(account, currency="eur", payment_method_types=["sepa_debit"])

    Payer(sandbox).pay(made.url, method=iban)

    sandbox.advance("2026-10-15T00:00:00Z")
    assert (retrieved(account, made).status, retrieved(account, made).payment_status) == ("complete", ends_as)
    types = account.event_types()
    assert types.index("checkout.session.completed") < types.index(event)
    [completed] = account.api.events.list({"type": "checkout.session.completed"}).data
    assert completed.data.object["payment_status"] == "unpaid"


def test_session_expires_after_a_day(account: Account, sandbox: SandboxProcess) -> None:
    made = paying(account)

    sandbox.advance("2026-10-02T00:00:00Z")

    over = retrieved(account, made)
    assert (over.status, over.url) == ("expired", None)
    assert account.event_types()[-1] == "checkout.session.expired"
    assert "expired" in Payer(sandbox).page(f"/pay/checkout/{made.id}").text


def test_session_expires_by_request_or_at_its_own_time(account: Account, sandbox: SandboxProcess) -> None:
    early = paying(account, expires_at=sandbox.now() + 1800)
    at_once = paying(account)

    account.api.checkout.sessions.expire(at_once.id)
    with pytest.raises(stripe.InvalidRequestError, match="status of `expired`"):
        account.api.checkout.sessions.expire(at_once.id)
    sandbox.advance(sandbox.now() + 1800)

    assert retrieved(account, early).status == "expired"


def test_expiry_ends_what_was_tried(account: Account, sandbox: SandboxProcess) -> None:
    made = paying(account)
    Payer(sandbox).try_to_pay(made.url, method="4000 0000 0000 0002")

    over = account.api.checkout.sessions.expire(made.id, {"expand": ["payment_intent"]})

    assert over.payment_intent.status == "canceled"
    assert account.event_types()[-2:] == ["payment_intent.canceled", "checkout.session.expired"]


def test_known_customer_is_updated_where_that_was_asked_for(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer(email="ada@example.com", name="Ada")
    made = paying(account, customer=customer.id, customer_update={"name": "auto"})

    Payer(sandbox).pay(made.url)

    after = account.api.customers.retrieve(customer.id)
    assert (after.name, after.email) == ("Jenny Rosen", "ada@example.com")


def test_refused_session_makes_no_price(account: Account) -> None:
    data = {
        "currency": "usd",
        "unit_amount": 700,
        "product_data": {"name": "Lunch"},
        "recurring": {"interval": "month"},
    }

    with pytest.raises(stripe.InvalidRequestError):
        session(account, mode="payment", line_items=[{"price_data": data, "quantity": 3}])

    assert (account.api.products.list().data, account.api.prices.list().data) == ([], [])


def test_completed_session_can_not_be_paid_again(account: Account, sandbox: SandboxProcess) -> None:
    made = paying(account)
    payer = Payer(sandbox)
    payer.pay(made.url)

    assert payer.submit(made.url, do="pay", method="4242 4242 4242 4242", email="a@example.com", name="A").status == 400

    assert len(account.api.charges.list().data) == 1


def test_sessions_are_found_by_what_they_made(account: Account, sandbox: SandboxProcess) -> None:
    paid, other = paying(account), paying(account)
    Payer(sandbox).pay(paid.url)
    intent = retrieved(account, paid).payment_intent

    listed = account.api.checkout.sessions.list
    assert [found.id for found in listed({"payment_intent": intent}).data] == [paid.id]
    assert [found.id for found in listed({"status": "open"}).data] == [other.id]
    email = {"customer_details": {"email": "jenny@example.com"}}
    assert [found.id for found in listed(email).data] == [paid.id]


def test_price_made_for_the_session(account: Account, sandbox: SandboxProcess) -> None:
    data = {"currency": "usd", "unit_amount": 700, "product_data": {"name": "Lunch"}}
    made = session(account, mode="payment", line_items=[{"price_data": data, "quantity": 3}])

    [item] = account.api.checkout.sessions.line_items.list(made.id).data
    assert (made.amount_total, item.description, item.price.active) == (2100, "Lunch", False)


def test_embedded_session_has_a_secret_and_no_address(account: Account) -> None:
    price = one_time_price(account)
    made = account.api.checkout.sessions.create(
        {
            "mode": "payment",
            "ui_mode": "embedded_page",
            "return_url": "https://shop.example/back",
            "line_items": [{"price": price.id, "quantity": 1}],
        }
    )

    assert (made.url, made.client_secret.startswith(made.id)) == (None, True)


def test_metadata_of_an_open_session(account: Account) -> None:
    made = paying(account, metadata={"order": "7"})

    updated = account.api.checkout.sessions.update(made.id, {"metadata": {"paid_by": "Ada"}})

    assert updated.metadata.to_dict() == {"order": "7", "paid_by": "Ada"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mode": None}, "mode"),
        ({"line_items": []}, "line_items"),
        ({"line_items": [{"quantity": 1}]}, "line_items[0][price]"),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "line_items[0][price]"),
        ({"success_url": None}, "success_url"),
        ({"customer": "cus_none"}, "customer"),
        ({"expires_at": 1}, "expires_at"),
        ({"discounts": [{"coupon": "none"}]}, "discounts[0][coupon]"),
        ({"subscription_data": {"trial_period_days": 3}}, "subscription_data"),
        ({"mode": "subscription"}, "mode"),
        ({"return_url": "https://shop.example"}, "return_url"),
        ({"customer_email": "a@example.com", "customer": "cus_none"}, "customer_email"),
        ({"customer_update": {"name": "auto"}}, "customer_update"),
        ({"shipping_options": [{"shipping_rate": "shr_none"}]}, "shipping_options"),
        ({"automatic_tax": {"enabled": True}}, "automatic_tax[enabled]"),
    ],
)
def test_session_that_cannot_be(account: Account, fields: dict[str, Any], param: str) -> None:
    price = one_time_price(account)
    wanted: dict[str, Any] = {"mode": "payment", "line_items": [{"price": price.id, "quantity": 1}], **SHOP, **fields}

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.unchecked.checkout.sessions.create({name: value for name, value in wanted.items() if value is not None})

    assert refusal.value.param == param
    assert account.api.checkout.sessions.list().data == []


def test_recurring_price_is_not_paid_once(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="recurring price"):
        session(account, mode="payment", line_items=[{"price": account.price().id, "quantity": 1}])


def test_quantity_is_required(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Quantity is required"):
        session(account, mode="payment", line_items=[{"price": one_time_price(account).id}])


def test_hosted_page_goes_by_what_it_showed(account: Account, sandbox: SandboxProcess) -> None:
    """The undocumented operation behind the page, as the official CLI calls it."""
    made = paying(account)
    method = account.api.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    path = f"/v1/payment_pages/{made.id}"

    status, refused = send(sandbox, "POST", f"{path}/confirm", {"payment_method": method.id, "expected_amount": 2999})
    assert (status, refused["error"]["param"]) == (400, "expected_amount")
    status, _ = send(sandbox, "POST", f"{path}/confirm", {"payment_method": method.id, "expected_amount": 3000})

    assert (status, send(sandbox, "GET", path)[1]["payment_status"]) == (200, "paid")
    assert send(sandbox, "POST", f"{path}/confirm", {"method": "x"})[1]["error"]["code"] == "parameter_unknown"
