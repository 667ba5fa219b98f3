"""Dunning: an automatic payment that fails, the declared retries, their three ends, and ways out of them."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account

DAY_SECONDS = 86_400
START = "2026-10-01T00:00:00Z"


def test_declined_invoice_stays_open_and_its_subscription_falls_behind(
    account: Account, sandbox: SandboxProcess
) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    failing = account.api.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    account.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": failing.id}})

    sandbox.advance("2026-11-01T01:00:00Z")

    invoice = account.invoices(customer)[0]
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 1)
    assert invoice.next_payment_attempt == sandbox.now() + 3 * DAY_SECONDS
    assert account.api.subscriptions.retrieve(subscription.id).status == "past_due"
    assert account.event_types()[-8:] == [
        "invoice.finalized",
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
        "invoice.payment_failed",
        "invoice.updated",
        "customer.subscription.updated",
        "customer.updated",  # delinquent
    ]


@pytest.mark.parametrize(("choice", "status"), [("past_due", "past_due"), ("unpaid", "unpaid"), ("cancel", "canceled")])
def test_retries_by_the_declared_schedule_and_its_ends(
    account: Account, sandbox: SandboxProcess, choice: str, status: str
) -> None:
    sandbox.reset(now="2026-10-01T00:00:00Z", after_last_retry=choice)
    customer = account.customer("pm_card_chargeCustomerFail")
    subscription = account.subscription(
        customer, billing_cycle_anchor=sandbox.now() + DAY_SECONDS, proration_behavior="none"
    )
    sandbox.advance("2026-10-02T01:00:00Z")
    invoice = account.invoices(customer)[0]

    counts = []
    for moment in ("2026-10-05T01:00:00Z", "2026-10-10T01:00:00Z", "2026-10-17T00:59:59Z", "2026-10-17T01:00:00Z"):
        sandbox.advance(moment)
        invoice = account.api.invoices.retrieve(invoice.id)
        counts.append(invoice.attempt_count)

    assert counts == [2, 3, 3, 4]
    assert (invoice.status, invoice.next_payment_attempt) == ("open", None)
    assert account.api.subscriptions.retrieve(subscription.id).status == status


def test_a_new_card_pays_at_the_next_retry(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")
    subscription = account.subscription(
        customer, billing_cycle_anchor=sandbox.now() + DAY_SECONDS, proration_behavior="none"
    )
    sandbox.advance("2026-10-02T01:00:00Z")
    good = account.api.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    account.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": good.id}})

    sandbox.advance("2026-10-05T01:00:00Z")

    invoice = account.invoices(customer)[0]
    assert (invoice.status, invoice.attempt_count, invoice.amount_paid) == ("paid", 2, 2000)
    assert account.api.subscriptions.retrieve(subscription.id).status == "active"


def test_paying_by_hand_raises_the_cards_error_and_is_not_counted_again(account: Account) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")
    invoice = account.invoice(customer, 1000)
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refusal:
            account.api.invoices.pay(invoice.id)
        assert refusal.value.code == "card_declined"

    assert account.api.invoices.retrieve(invoice.id).attempt_count == 1
    assert account.api.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"}).status == "paid"


def test_card_that_needs_authentication_is_attempted_and_not_counted(account: Account) -> None:
    customer = account.customer("pm_card_authenticationRequired")
    invoice = account.invoice(customer, 1000)

    account.api.invoices.finalize_invoice(invoice.id, {"auto_advance": True})

    invoice = account.api.invoices.retrieve(invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 0)
    assert invoice.payments.data[0].payment.payment_intent.status == "requires_action"
    assert "invoice.payment_action_required" in account.event_types()


def falls_due(account: Account, sandbox: SandboxProcess, card: str, **fields: Any) -> Any:
    """A subscription of 2000 whose first payment, on 2 October at 1:00, is by `card`."""
    customer = account.customer(card)
    subscription = account.subscription(
        customer, billing_cycle_anchor=sandbox.now() + DAY_SECONDS, proration_behavior="none", **fields
    )
    sandbox.advance("2026-10-02T01:00:00Z")
    return account.api.subscriptions.retrieve(subscription.id)


def test_every_attempt_is_a_charge_of_the_same_intent(account: Account, sandbox: SandboxProcess) -> None:
    subscription = falls_due(account, sandbox, "pm_card_chargeCustomerFail")

    sandbox.advance("2026-10-17T01:00:00Z")

    [invoice] = account.api.invoices.list({"subscription": subscription.id}).data
    [payment] = account.api.invoice_payments.list({"invoice": invoice.id}).data
    charges = account.api.charges.list({"payment_intent": payment.payment.payment_intent}).data
    days = [(charge.created - charges[-1].created) // DAY_SECONDS for charge in charges[::-1]]
    assert days == [0, 3, 8, 15]
    assert {charge.status for charge in charges} == {"failed"}
    assert invoice.attempt_count == 4


def test_hard_decline_is_not_tried_again(account: Account, sandbox: SandboxProcess) -> None:
    """Its own card cannot be attached, so it expires in the meantime."""
    customer = account.customer()
    card = customer.invoice_settings.default_payment_method
    account.api.payment_methods.update(card, {"card": {"exp_month": 10, "exp_year": 2026}})
    subscription = account.subscription(customer)

    sandbox.advance("2026-11-01T01:00:00Z")

    invoice = account.invoices(customer)[0]
    assert (invoice.status, invoice.attempt_count, invoice.next_payment_attempt) == ("open", 1, None)
    assert account.api.subscriptions.retrieve(subscription.id).status == "past_due"


def test_customer_is_delinquent_until_an_invoice_is_paid(account: Account, sandbox: SandboxProcess) -> None:
    subscription = falls_due(account, sandbox, "pm_card_chargeCustomerFail")
    assert account.api.customers.retrieve(subscription.customer).delinquent is True
    [event] = [
        event
        for event in account.api.events.list({"type": "customer.updated"}).data
        if "delinquent" in event.data.previous_attributes
    ]
    assert event.data.previous_attributes["delinquent"] is False
    [invoice] = account.api.invoices.list({"subscription": subscription.id}).data

    account.api.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})

    assert account.api.customers.retrieve(subscription.customer).delinquent is False
    assert account.event_types()[-6:] == [
        "invoice_payment.paid",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
        "customer.updated",
    ]


@pytest.mark.parametrize(("choice", "status"), [("leave_open", "open"), ("uncollectible", "uncollectible")])
def test_the_invoice_at_the_end(account: Account, sandbox: SandboxProcess, choice: str, status: str) -> None:
    sandbox.reset(now=START, after_last_retry="cancel", invoice_after_last_retry=choice)
    subscription = falls_due(account, sandbox, "pm_card_chargeCustomerFail")

    sandbox.advance("2026-10-17T01:00:00Z")

    [invoice] = account.api.invoices.list({"subscription": subscription.id}).data
    assert invoice.status == status
    ended = account.api.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.cancellation_details.reason) == ("canceled", "payment_failed")
    assert account.api.customers.retrieve(subscription.customer).delinquent is True


def test_authentication_needed_at_a_retry_and_given(account: Account, sandbox: SandboxProcess) -> None:
    subscription = falls_due(account, sandbox, "pm_card_chargeCustomerFail")
    strict = account.api.payment_methods.attach("pm_card_authenticationRequired", {"customer": subscription.customer})
    account.api.customers.update(subscription.customer, {"invoice_settings": {"default_payment_method": strict.id}})
    sandbox.advance("2026-10-05T01:00:00Z")
    [invoice] = account.api.invoices.list({"subscription": subscription.id}).data
    assert (invoice.status, invoice.attempt_count, invoice.next_payment_attempt) == ("open", 1, None)
    assert "invoice.payment_action_required" in account.event_types()
    [payment] = account.api.invoice_payments.list({"invoice": invoice.id}).data

    sandbox.authenticate(payment.payment.payment_intent)

    assert account.api.invoices.retrieve(invoice.id).status == "paid"
    assert account.api.subscriptions.retrieve(subscription.id).status == "active"


def test_authentication_that_fails_leaves_the_invoice_open(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer("pm_card_authenticationRequired")
    invoice = account.invoice(customer, 1000)
    with pytest.raises(stripe.CardError):
        account.api.invoices.pay(invoice.id)
    [payment] = account.api.invoice_payments.list({"invoice": invoice.id}).data

    sandbox.authenticate(payment.payment.payment_intent, succeeds=False)

    invoice = account.api.invoices.retrieve(invoice.id)
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 0)
    assert account.event_types()[-2:] == ["payment_intent.payment_failed", "invoice.payment_failed"]
    assert account.api.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"}).status == "paid"


def test_first_payment_that_the_customer_confirms(account: Account) -> None:
    """`default_incomplete`: the page confirms the intent, and that pays the invoice."""
    customer = account.api.customers.create()
    subscription = account.subscription(
        customer,
        payment_behavior="default_incomplete",
        payment_settings={"save_default_payment_method": "on_subscription"},
    )
    [payment] = account.api.invoice_payments.list({"invoice": subscription.latest_invoice}).data
    intent = payment.payment.payment_intent
    assert subscription.status == "incomplete"
    with pytest.raises(stripe.CardError):
        account.api.payment_intents.confirm(intent, {"payment_method": "pm_card_chargeCustomerFail"})
    assert account.api.invoices.retrieve(subscription.latest_invoice).attempt_count == 1

    account.api.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})

    invoice = account.api.invoices.retrieve(subscription.latest_invoice)
    assert (invoice.status, invoice.attempt_count, invoice.amount_paid) == ("paid", 1, 2000)
    subscription = account.api.subscriptions.retrieve(subscription.id)
    [saved] = account.api.customers.payment_methods.list(customer.id).data
    assert (subscription.status, subscription.default_payment_method) == ("active", saved.id)


def test_absence_excuses_a_card_that_was_set_up(account: Account, sandbox: SandboxProcess) -> None:
    """The first payment is with the customer there, renewals are not."""
    customer = account.api.customers.create()
    setup = account.api.setup_intents.create(
        {
            "customer": customer.id,
            "payment_method": "pm_card_authenticationRequiredOnSetup",
            "payment_method_types": ["card"],
            "confirm": True,
        }
    )
    sandbox.authenticate(setup.id)
    card = account.api.setup_intents.retrieve(setup.id).payment_method
    account.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card}})
    subscription = account.subscription(customer)
    assert subscription.status == "incomplete"
    [payment] = account.api.invoice_payments.list({"invoice": subscription.latest_invoice}).data
    sandbox.authenticate(payment.payment.payment_intent)

    sandbox.advance("2026-11-01T01:00:00Z")

    assert [invoice.status for invoice in account.invoices(customer)] == ["paid", "paid"]


def test_sent_invoice_is_overdue_at_its_due_date(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    invoice = account.invoice(customer, 1000, collection_method="send_invoice", days_until_due=7)
    account.api.invoices.send_invoice(invoice.id)
    sandbox.advance("2026-10-07T23:59:59Z")
    assert "invoice.overdue" not in account.event_types()

    sandbox.advance("2026-10-08T00:00:00Z")

    assert account.event_types()[-2:] == ["invoice.overdue", "customer.updated"]
    assert account.api.customers.retrieve(customer.id).delinquent is True
    assert account.api.invoices.pay(invoice.id).status == "paid"
    assert account.api.customers.retrieve(customer.id).delinquent is False


def test_a_failed_first_payment_promises_no_other_attempt(account: Account) -> None:
    """Stripe does not retry a first payment by itself, so that no event may name a time for it."""
    customer = account.customer("pm_card_chargeCustomerFail")
    subscription = account.subscription(customer)
    assert subscription.status == "incomplete"
    events = account.api.events.list({"limit": 100}).auto_paging_iter()
    attempts = [event.data.object.next_payment_attempt for event in events if event.data.object.object == "invoice"]
    assert attempts
    assert set(attempts) == {None}


def test_the_event_of_a_payment_tells_that_it_was_attempted(account: Account) -> None:
    customer = account.customer()
    account.subscription(customer)
    paying = account.api.events.list({"type": "invoice.updated", "limit": 1}).data[0]
    previous = paying.data.previous_attributes.to_dict()
    assert (previous["attempted"], previous["attempt_count"]) == (False, 0)
    assert (paying.data.object.attempted, paying.data.object.attempt_count) == (True, 1)


def test_the_first_invoice_of_a_subscription_tells_how_to_confirm_its_payment(account: Account) -> None:
    """`latest_invoice.confirmation_secret`: what Stripe's own pages about default_incomplete expand."""
    customer = account.customer()
    wanted: dict[str, Any] = {"expand": ["latest_invoice.confirmation_secret"]}
    invoice = account.subscription(customer, payment_behavior="default_incomplete", **wanted).latest_invoice
    [payment] = account.api.invoice_payments.list({"invoice": invoice.id}).data
    intent = account.api.payment_intents.retrieve(payment.payment.payment_intent)
    assert invoice.confirmation_secret.to_dict() == {"client_secret": intent.client_secret, "type": "payment_intent"}

    draft = account.invoice(customer, 1000)
    assert account.api.invoices.retrieve(draft.id, {"expand": ["confirmation_secret"]}).confirmation_secret is None
    assert "confirmation_secret" not in account.api.invoices.retrieve(invoice.id).to_dict()
