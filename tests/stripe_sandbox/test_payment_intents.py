"""Payment intents: made, confirmed, authenticated, captured, canceled, each with what it tells."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxFailed, SandboxProcess
from tests.stripe_sandbox.account import Account

REQUIRED = "pm_card_threeDSecure2Required"


def pay(account: Account, card: str = "pm_card_visa", amount: int = 2000, **fields: Any) -> Any:
    """A payment confirmed at once."""
    return account.api.payment_intents.create(
        {
            "amount": amount,
            "currency": "usd",
            "payment_method": card,
            "payment_method_types": ["card"],
            "confirm": True,
            **fields,
        }
    )


def test_success_tells_the_charge_before_the_intent(account: Account) -> None:
    intent = pay(account, metadata={"order": "7"}, description="Seven", receipt_email="a@example.com")

    assert account.event_types() == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    charge = account.api.charges.retrieve(intent.latest_charge)
    assert (intent.status, intent.amount_received, intent.next_action) == ("succeeded", 2000, None)
    assert (charge.paid, charge.captured, charge.amount_captured) == (True, True, 2000)
    assert (charge.metadata["order"], charge.description, charge.receipt_email) == ("7", "Seven", "a@example.com")
    assert (charge.outcome.type, charge.outcome.network_status) == ("authorized", "approved_by_network")
    assert charge.failure_balance_transaction is None
    assert charge.payment_method_details.card.checks.cvc_check == "pass"


def test_decline_leaves_the_intent_to_be_paid_in_another_way(account: Account) -> None:
    with pytest.raises(stripe.CardError) as refusal:
        pay(account, "pm_card_visa_chargeDeclinedInsufficientFunds")

    assert account.event_types() == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]
    [intent] = account.api.payment_intents.list().data
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    assert intent.last_payment_error.decline_code == "insufficient_funds"
    body: Any = refusal.value.json_body
    assert body["error"]["payment_intent"]["id"] == intent.id
    charge = account.api.charges.retrieve(intent.latest_charge)
    assert (charge.outcome.type, charge.outcome.advice_code) == ("issuer_declined", "try_again_later")

    paid = account.api.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})

    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert len(account.api.charges.list({"payment_intent": intent.id}).data) == 2


@pytest.mark.parametrize(
    ("card", "code", "decline_code", "outcome"),
    [
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card", "issuer_declined"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card", "issuer_declined"),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card", "issuer_declined"),
        (
            "pm_card_visa_chargeDeclinedVelocityLimitExceeded",
            "card_declined",
            "card_velocity_exceeded",
            "issuer_declined",
        ),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline", "issuer_declined"),
        ("pm_card_threeDSecureRequiredProcessingError", "card_declined", "generic_decline", "issuer_declined"),
        ("pm_card_radarBlock", "card_declined", "fraudulent", "blocked"),
        ("pm_card_riskLevelHighest", "card_declined", "fraudulent", "blocked"),
    ],
)
def test_declines_at_charge(account: Account, card: str, code: str, decline_code: str, outcome: str) -> None:
    with pytest.raises(stripe.CardError) as refusal:
        pay(account, card)

    body: Any = refusal.value.json_body
    assert (body["error"]["code"], body["error"]["decline_code"]) == (code, decline_code)
    [charge] = account.api.charges.list().data
    assert (charge.status, charge.outcome.type, charge.balance_transaction) == ("failed", outcome, None)


@pytest.mark.parametrize(
    ("card", "brand", "country", "funding"),
    [
        ("pm_card_de", "visa", "DE", "credit"),
        ("pm_card_gb_debit", "visa", "GB", "debit"),
        ("pm_card_mastercard_prepaid", "mastercard", "US", "prepaid"),
        ("pm_card_diners", "diners", "US", "credit"),
        ("pm_card_jcb", "jcb", "JP", "credit"),
        ("pm_card_unionpay", "unionpay", "CN", "credit"),
        ("pm_card_threeDSecureOptional", "visa", "US", "credit"),
        ("pm_card_amex_threeDSecureNotSupported", "amex", "US", "credit"),
        ("pm_card_riskLevelElevated", "visa", "US", "credit"),
        ("pm_card_avsFail", "visa", "US", "credit"),
    ],
)
def test_cards_that_pay(account: Account, card: str, brand: str, country: str, funding: str) -> None:
    intent = pay(account, card, expand=["latest_charge"])

    shown = intent.latest_charge.payment_method_details.card
    assert (intent.status, shown.brand, shown.country, shown.funding) == ("succeeded", brand, country, funding)


def test_unknown_test_card_is_no_payment_method(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        pay(account, "pm_card_nobody")

    assert (refusal.value.code, refusal.value.param) == ("resource_missing", "payment_method")


def test_authenticated_payment(account: Account, sandbox: SandboxProcess) -> None:
    intent = pay(account, REQUIRED, return_url="https://example.com/back")
    assert (intent.status, intent.latest_charge) == ("requires_action", None)
    assert intent.next_action.redirect_to_url.return_url == "https://example.com/back"

    assert sandbox.authenticate(intent.id)["status"] == "succeeded"

    assert account.event_types() == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]
    [charge] = account.api.charges.list().data
    assert charge.payment_method_details.card.three_d_secure.result == "authenticated"
    with pytest.raises(SandboxFailed, match="is succeeded"):
        sandbox.authenticate(intent.id)


def test_failed_authentication(account: Account, sandbox: SandboxProcess) -> None:
    intent = pay(account, REQUIRED)

    sandbox.authenticate(intent.id, succeeds=False)

    intent = account.api.payment_intents.retrieve(intent.id)
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    assert intent.last_payment_error.code == "payment_intent_authentication_failure"
    assert account.event_types()[-2:] == ["payment_intent.requires_action", "payment_intent.payment_failed"]
    assert account.api.charges.list().data == []


def test_authenticated_and_then_declined(account: Account, sandbox: SandboxProcess) -> None:
    intent = pay(account, "pm_card_threeDSecureRequiredChargeDeclined")

    assert sandbox.authenticate(intent.id)["status"] == "requires_payment_method"

    assert account.event_types()[-2:] == ["charge.failed", "payment_intent.payment_failed"]


def test_nobody_there_to_authenticate(account: Account) -> None:
    customer = account.customer("pm_card_authenticationRequired")
    card = customer.invoice_settings.default_payment_method

    with pytest.raises(stripe.CardError) as refusal:
        pay(account, card, customer=customer.id, off_session=True)

    assert refusal.value.code == "authentication_required"
    [intent] = account.api.payment_intents.list().data
    assert intent.status == "requires_payment_method"
    [charge] = account.api.charges.list().data
    assert charge.failure_code == "authentication_required"


def test_action_that_the_caller_does_not_handle(account: Account) -> None:
    with pytest.raises(stripe.CardError) as refusal:
        pay(account, REQUIRED, error_on_requires_action=True)

    assert refusal.value.code == "authentication_not_handled"
    assert account.api.charges.list().data == []


def test_card_set_up_for_absence_is_not_asked_again(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.api.customers.create()
    card = "pm_card_authenticationRequiredOnSetup"
    first = pay(account, card, customer=customer.id, setup_future_usage="off_session")
    assert first.status == "requires_action"
    sandbox.authenticate(first.id)
    [saved] = account.api.customers.payment_methods.list(customer.id).data

    second = pay(account, saved.id, customer=customer.id, off_session=True)

    assert second.status == "succeeded"
    assert "payment_method.attached" in account.event_types()
    assert pay(account, saved.id, customer=customer.id).status == "requires_action"


def test_optional_authentication_is_done_when_asked_for(account: Account) -> None:
    options = {"card": {"request_three_d_secure": "any"}}

    assert pay(account, "pm_card_threeDSecureOptional").status == "succeeded"
    assert pay(account, "pm_card_threeDSecureOptional", payment_method_options=options).status == "requires_action"
    assert pay(account, "pm_card_visa", payment_method_options=options).status == "succeeded"


def test_held_money_is_captured_in_part_and_the_rest_released(account: Account) -> None:
    intent = pay(account, capture_method="manual", confirmation_method="manual")
    assert (intent.status, intent.amount_capturable, intent.amount_received) == ("requires_capture", 2000, 0)
    assert account.api.balance_transactions.list().data == []

    captured = account.api.payment_intents.capture(intent.id, {"amount_to_capture": 1500})

    assert (captured.status, captured.amount_capturable, captured.amount_received) == ("succeeded", 0, 1500)
    [charge] = account.api.charges.list().data
    assert (charge.amount, charge.amount_captured, charge.amount_refunded) == (2000, 1500, 500)
    [transaction] = account.api.balance_transactions.list().data
    assert (transaction.amount, transaction.fee, transaction.net) == (1500, 74, 1426)  # 43.5 up to 44, and 30
    assert account.event_types() == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "refund.created",
        "charge.captured",
        "payment_intent.succeeded",
    ]


def test_more_than_is_held_cannot_be_captured(account: Account) -> None:
    intent = pay(account, capture_method="manual")

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.payment_intents.capture(intent.id, {"amount_to_capture": 2001})

    assert refusal.value.code == "amount_too_large"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.payment_intents.capture(pay(account).id)
    assert refusal.value.code == "payment_intent_unexpected_state"


def test_held_money_goes_back_when_canceled(account: Account) -> None:
    intent = pay(account, capture_method="manual")

    canceled = account.api.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})

    assert (canceled.status, canceled.cancellation_reason, canceled.amount_capturable) == ("canceled", "abandoned", 0)
    [charge] = account.api.charges.list().data
    assert (charge.captured, charge.refunded, charge.amount_refunded) == (False, True, 2000)
    assert account.api.balance_transactions.list().data == []
    assert account.event_types()[-3:] == ["refund.created", "charge.refunded", "payment_intent.canceled"]


def test_authorisation_ends_after_seven_days(account: Account, sandbox: SandboxProcess) -> None:
    intent = pay(account, capture_method="manual")

    sandbox.advance("2026-10-08T00:00:00Z")

    intent = account.api.payment_intents.retrieve(intent.id)
    assert (intent.status, intent.cancellation_reason) == ("canceled", "expired")
    assert account.event_types()[-2:] == ["charge.expired", "payment_intent.canceled"]


def test_update_before_confirmation(account: Account) -> None:
    intent = account.api.payment_intents.create({"amount": 500, "currency": "usd"})
    assert (intent.status, intent.automatic_payment_methods.enabled) == ("requires_payment_method", True)

    account.api.payment_intents.update(intent.id, {"amount": 700, "payment_method": "pm_card_visa"})
    paid = account.api.payment_intents.confirm(intent.id)

    assert (paid.status, paid.amount_received) == ("succeeded", 700)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.payment_intents.update(intent.id, {"amount": 800})
    assert refusal.value.code == "payment_intent_unexpected_state"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.payment_intents.cancel(intent.id)
    assert refusal.value.code == "payment_intent_unexpected_state"


def test_card_of_somebody_else_is_refused(account: Account) -> None:
    owner, other = account.customer(), account.api.customers.create()
    card = owner.invoice_settings.default_payment_method

    for customer in ({"customer": other.id}, {}):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            pay(account, card, **customer)
        assert refusal.value.param == "payment_method"


def test_payment_method_without_customer_is_used_once(account: Account) -> None:
    card = account.api.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    pay(account, card.id)

    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        pay(account, card.id)


def test_amounts_that_cannot_be_charged(account: Account) -> None:
    for amount, code in ((49, "amount_too_small"), (100_000_000, "amount_too_large")):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            pay(account, amount=amount)
        assert (refusal.value.code, refusal.value.param) == (code, "amount")


@pytest.mark.parametrize("name", ["increment_authorization", "apply_customer_balance", "verify_microdeposits"])
def test_operations_left_out_are_refused_by_name(account: Account, name: str) -> None:
    intent = pay(account)
    parameters = {"amount": 3000} if name == "increment_authorization" else {}

    with pytest.raises(stripe.InvalidRequestError, match=name) as refusal:
        getattr(account.api.payment_intents, name)(intent.id, parameters)

    assert refusal.value.code == "sandbox_not_implemented"


def test_card_data_in_the_request(account: Account) -> None:
    methods = account.api.payment_methods
    card = methods.create({"type": "card", "card": {"number": "4000000000000341", "exp_month": 3, "exp_year": 2027}})
    assert (card.card.exp_month, card.card.exp_year, card.card.last4) == (3, 2027, "0341")

    wrong: list[tuple[dict[str, Any], str]] = [
        ({"number": "4242424242424241", "exp_month": 9, "exp_year": 2030}, "incorrect_number"),
        ({"number": "4242424242424242", "exp_month": 13, "exp_year": 2030}, "invalid_expiry_month"),
        ({"number": "4242424242424242", "exp_month": 9, "exp_year": 2026}, "invalid_expiry_year"),
        ({"number": "4242424242424242", "exp_month": 9, "exp_year": 2030, "cvc": "99"}, "invalid_cvc"),
    ]
    for given, code in wrong:
        with pytest.raises(stripe.CardError) as refusal:
            methods.create({"type": "card", "card": given})
        assert refusal.value.code == code


def test_card_expires_by_the_clock_until_its_bank_renews_it(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    card = customer.invoice_settings.default_payment_method
    updated = account.api.payment_methods.update(card, {"card": {"exp_month": 10, "exp_year": 2026}})
    assert (updated.card.exp_month, updated.card.exp_year) == (10, 2026)
    sandbox.advance("2026-10-31T23:59:59Z")
    assert pay(account, card, customer=customer.id).status == "succeeded"

    sandbox.advance("2026-11-01T00:00:00Z")
    with pytest.raises(stripe.CardError) as refusal:
        pay(account, card, customer=customer.id)
    assert refusal.value.code == "expired_card"

    sandbox.renew_card(card, exp_month=10, exp_year=2030)

    assert account.event_types()[-1] == "payment_method.automatically_updated"
    assert pay(account, card, customer=customer.id).status == "succeeded"


def test_billing_details_of_a_payment_method(account: Account) -> None:
    customer = account.customer()
    card = customer.invoice_settings.default_payment_method
    details = {"name": "Ada", "address": {"city": "London", "country": "GB"}}

    account.api.payment_methods.update(card, {"billing_details": details})
    account.api.payment_methods.update(card, {"billing_details": {"address": {"city": ""}}})

    kept = account.api.customers.payment_methods.retrieve(customer.id, card).billing_details
    assert (kept.name, kept.address.city, kept.address.country) == ("Ada", None, "GB")
    charge = account.api.charges.retrieve(pay(account, card, customer=customer.id).latest_charge)
    assert charge.billing_details.name == "Ada"


def test_balance_transaction_that_comes_after_its_charge(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.reset(now="2026-10-01T00:00:00Z", late_balance_transactions="true")
    intent = pay(account, expand=["latest_charge"])
    assert intent.latest_charge.balance_transaction is None
    assert account.api.balance_transactions.list().data == []

    sandbox.advance("2026-10-01T00:01:00Z")

    charge = account.api.charges.retrieve(intent.latest_charge.id, {"expand": ["balance_transaction"]})
    assert charge.balance_transaction.net == 1912
    [event] = account.api.events.list({"type": "charge.updated"}).data
    assert event.data.previous_attributes.to_dict() == {"balance_transaction": None}
