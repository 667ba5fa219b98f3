"""Trials: the invoice of nothing, the warning, what becomes of them, and pauses at their end."""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())


def without_card(account: Account) -> Any:
    return account.api.customers.create({"email": "no-card@example.com"})


def periods(subscription: Any) -> list[tuple[int, int]]:
    return [(item.current_period_start, item.current_period_end) for item in subscription["items"].data]


def test_trial_begins_with_an_invoice_of_nothing(account: Account) -> None:
    subscription = account.subscription(without_card(account), trial_period_days=14, expand=["latest_invoice"])

    assert subscription.status == "trialing"
    assert (subscription.trial_start, subscription.trial_end) == (at("2026-10-01"), at("2026-10-15"))
    assert subscription.billing_cycle_anchor == at("2026-10-15")
    assert periods(subscription) == [(at("2026-10-01"), at("2026-10-15"))]
    invoice = subscription.latest_invoice
    assert (invoice.status, invoice.total, invoice.billing_reason) == ("paid", 0, "subscription_create")
    [line] = invoice.lines.data
    assert (line.amount, line.description) == (0, "Free trial for 1 × Pro")
    assert (line.period.start, line.period.end) == (at("2026-10-01"), at("2026-10-15"))


def test_trial_turns_into_a_full_period(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, trial_period_days=14)

    sandbox.advance("2026-10-15T00:00:00Z")
    converted = account.api.subscriptions.retrieve(subscription.id)
    draft = account.invoices(customer)[0]
    assert (converted.status, periods(converted)) == ("active", [(at("2026-10-15"), at("2026-11-15"))])
    assert (draft.status, draft.total, draft.billing_reason) == ("draft", 2000, "subscription_cycle")
    sandbox.advance("2026-10-15T01:00:00Z")
    assert account.api.invoices.retrieve(draft.id).status == "paid"


def test_warning_comes_three_days_before(account: Account, sandbox: SandboxProcess) -> None:
    account.subscription(account.customer(), trial_period_days=14)

    sandbox.advance("2026-10-11T23:59:59Z")
    assert "customer.subscription.trial_will_end" not in account.event_types()
    sandbox.advance("2026-10-12T00:00:00Z")
    assert account.event_types().count("customer.subscription.trial_will_end") == 1


def test_warning_of_a_short_trial_comes_at_once(account: Account) -> None:
    account.subscription(without_card(account), trial_period_days=1)

    assert account.event_types().count("customer.subscription.trial_will_end") == 1


def test_extended_trial_is_warned_of_again(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, trial_period_days=14)

    extended = account.api.subscriptions.update(subscription.id, {"trial_end": at("2026-10-25")})
    sandbox.advance("2026-10-21T00:00:00Z")
    assert "customer.subscription.trial_will_end" not in account.event_types()
    sandbox.advance("2026-10-25T02:00:00Z")

    assert (extended.status, extended.trial_start, extended.trial_end) == (
        "trialing",
        at("2026-10-01"),
        at("2026-10-25"),
    )
    assert account.event_types().count("customer.subscription.trial_will_end") == 1
    assert [(invoice.total, invoice.status) for invoice in account.invoices(customer)] == [(2000, "paid"), (0, "paid")]


def test_trial_that_ends_now_is_billed_now(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, trial_period_days=14)
    sandbox.advance("2026-10-05T00:00:00Z")

    ended = account.api.subscriptions.update(subscription.id, {"trial_end": "now", "expand": ["latest_invoice"]})

    assert (ended.status, ended.trial_end, ended.billing_cycle_anchor) == ("active", at("2026-10-05"), at("2026-10-05"))
    assert periods(ended) == [(at("2026-10-05"), at("2026-11-05"))]
    assert (ended.latest_invoice.total, ended.latest_invoice.status) == (2000, "paid")


def test_trial_credits_nothing(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, trial_period_days=14)
    sandbox.advance("2026-10-05T00:00:00Z")

    account.api.subscriptions.update(
        subscription.id, {"items": [{"id": subscription["items"].data[0].id, "quantity": 2}]}
    )
    assert account.api.invoice_items.list({"customer": customer.id}).data == []
    account.api.subscriptions.cancel(subscription.id, {"prorate": True, "invoice_now": True})
    assert account.api.invoice_items.list({"customer": customer.id}).data == []
    assert len(account.invoices(customer)) == 1


def test_trial_given_to_an_active_subscription_credits_what_was_paid(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    sandbox.advance("2026-10-16T12:00:00Z")

    given = account.api.subscriptions.update(
        subscription.id, {"trial_end": at("2026-12-01"), "expand": ["latest_invoice"]}
    )

    assert (given.status, given.billing_cycle_anchor) == ("trialing", at("2026-12-01"))
    assert periods(given) == [(at("2026-10-16T12:00"), at("2026-12-01"))]
    assert [line.amount for line in given.latest_invoice.lines.data] == [-1000, 0]
    assert account.balance(customer) == -1000
    sandbox.advance("2026-12-01T02:00:00Z")
    assert account.invoices(customer)[0].amount_paid == 1000


def test_trial_given_without_prorations_credits_nothing(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    sandbox.advance("2026-10-16T12:00:00Z")

    account.api.subscriptions.update(subscription.id, {"trial_end": at("2026-12-01"), "proration_behavior": "none"})

    assert account.balance(customer) == 0


def test_trial_and_anchor_together_bill_the_part_in_between(account: Account, sandbox: SandboxProcess) -> None:
    """Trial to the 15th, anchor on the 1st: 17 of October's 31 days are billed at the trial's end."""
    customer = account.customer()
    account.subscription(customer, trial_end=at("2026-10-15"), billing_cycle_anchor=at("2026-11-01"))

    sandbox.advance("2026-11-01T02:00:00Z")

    assert [invoice.total for invoice in account.invoices(customer)] == [2000, 2000 * 17 // 31, 0]


def test_trial_days_of_a_plan(account: Account) -> None:
    product = account.api.products.create({"name": "Pro"})
    plan = account.api.plans.create(
        {"product": product.id, "currency": "usd", "interval": "month", "amount": 2000, "trial_period_days": 10}
    )
    customer = account.customer()

    without = account.api.subscriptions.create({"customer": customer.id, "items": [{"price": plan.id}]})
    of_plan = account.api.subscriptions.create(
        {"customer": customer.id, "items": [{"price": plan.id}], "trial_from_plan": True}
    )

    assert (without.status, of_plan.status, of_plan.trial_end) == ("active", "trialing", at("2026-10-11"))


def test_trial_without_card_is_billed_in_vain(account: Account, sandbox: SandboxProcess) -> None:
    customer = without_card(account)
    subscription = account.subscription(customer, trial_period_days=14)

    sandbox.advance("2026-10-15T01:00:00Z")

    assert account.invoices(customer)[0].status == "open"
    assert account.api.subscriptions.retrieve(subscription.id).status == "past_due"


@pytest.mark.parametrize(
    ("behavior", "status", "event"),
    [
        ("pause", "paused", "customer.subscription.paused"),
        ("cancel", "canceled", "customer.subscription.deleted"),
    ],
)
def test_end_of_a_trial_without_card(
    account: Account, sandbox: SandboxProcess, behavior: str, status: str, event: str
) -> None:
    customer = without_card(account)
    subscription = _trial_that(account, customer, behavior)

    sandbox.advance("2026-10-30T00:00:00Z")

    assert account.api.subscriptions.retrieve(subscription.id).status == status
    assert event in account.event_types()
    assert len(account.invoices(customer)) == 1


def test_pausing_trial_with_a_card_goes_on(account: Account, sandbox: SandboxProcess) -> None:
    subscription = _trial_that(account, account.customer(), "pause")

    sandbox.advance("2026-10-15T00:00:00Z")

    assert account.api.subscriptions.retrieve(subscription.id).status == "active"


def test_trial_ended_now_without_card_pauses(account: Account) -> None:
    subscription = _trial_that(account, without_card(account), "pause")

    paused = account.api.subscriptions.update(subscription.id, {"trial_end": "now"})

    assert paused.status == "paused"
    assert account.event_types()[-1] == "customer.subscription.paused"


def test_resumed_from_now_a_whole_period_is_billed(account: Account, sandbox: SandboxProcess) -> None:
    customer = without_card(account)
    subscription = _trial_that(account, customer, "pause")
    sandbox.advance("2026-10-20T00:00:00Z")
    _give_card(account, customer)

    resumed = account.api.subscriptions.resume(subscription.id, {"expand": ["latest_invoice"]})

    assert (resumed.status, resumed.billing_cycle_anchor) == ("active", at("2026-10-20"))
    assert periods(resumed) == [(at("2026-10-20"), at("2026-11-20"))]
    assert (resumed.latest_invoice.total, resumed.latest_invoice.status) == (2000, "paid")
    assert account.event_types()[-1] == "customer.subscription.resumed"
    sandbox.advance("2026-11-20T02:00:00Z")
    assert account.invoices(customer)[0].total == 2000


def test_resumption_waits_for_authentication_and_is_given_up(account: Account, sandbox: SandboxProcess) -> None:
    customer = without_card(account)
    subscription = _trial_that(account, customer, "pause")
    sandbox.advance("2026-10-20T00:00:00Z")
    _give_card(account, customer, "pm_card_threeDSecure2Required")

    waiting = account.api.subscriptions.resume(subscription.id, {"expand": ["latest_invoice"]})

    assert (waiting.status, waiting.latest_invoice.status) == ("paused", "open")
    assert waiting.pending_update.billing_cycle_anchor == at("2026-10-20")
    sandbox.advance("2026-10-20T23:00:00Z")
    left = account.api.subscriptions.retrieve(subscription.id)
    assert (left.status, left.pending_update) == ("paused", None)
    assert account.api.invoices.retrieve(waiting.latest_invoice.id).status == "void"


def test_resumption_that_is_declined_leaves_it_past_due(account: Account, sandbox: SandboxProcess) -> None:
    customer = without_card(account)
    subscription = _trial_that(account, customer, "pause")
    sandbox.advance("2026-10-20T00:00:00Z")
    _give_card(account, customer, "pm_card_chargeCustomerFail")

    resumed = account.api.subscriptions.resume(subscription.id)

    assert (resumed.status, resumed.pending_update) == ("past_due", None)


def test_resumed_with_the_anchor_unchanged_the_rest_of_the_period_is_prorated(
    account: Account, sandbox: SandboxProcess
) -> None:
    """Anchor on the 15th; on the 25th 21 of 31 days are left."""
    customer = without_card(account)
    subscription = _trial_that(account, customer, "pause")
    sandbox.advance("2026-10-25T00:00:00Z")
    _give_card(account, customer)

    resumed = account.api.subscriptions.resume(
        subscription.id,
        {"billing_cycle_anchor": "unchanged", "proration_behavior": "always_invoice", "expand": ["latest_invoice"]},
    )

    assert (resumed.status, periods(resumed)) == ("active", [(at("2026-10-15"), at("2026-11-15"))])
    assert resumed.latest_invoice.total == 2000 * 21 // 31


def test_only_a_paused_subscription_is_resumed(account: Account) -> None:
    subscription = account.subscription(account.customer())

    with pytest.raises(stripe.InvalidRequestError):
        account.api.subscriptions.resume(subscription.id)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"trial_end": at("2026-09-30")}, "trial_end"),
        ({"trial_end": at("2029-10-01")}, "trial_end"),
        ({"trial_end": at("2026-11-01"), "trial_period_days": 3}, "trial_period_days"),
        ({"trial_period_days": 731}, "trial_period_days"),
    ],
)
def test_trials_that_may_not_be(account: Account, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.subscription(account.customer(), **fields)

    assert refusal.value.param == param


def _trial_that(account: Account, customer: Any, behavior: str) -> Any:
    """Fourteen days, and what then happens without a card."""
    settings = {"end_behavior": {"missing_payment_method": behavior}}
    return account.subscription(customer, trial_period_days=14, trial_settings=settings)


def _give_card(account: Account, customer: Any, name: str = "pm_card_visa") -> None:
    card = account.api.payment_methods.attach(name, {"customer": customer.id})
    account.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card.id}})


def test_trial_without_card_offers_to_set_one_up(account: Account, sandbox: SandboxProcess) -> None:
    subscription = account.subscription(
        without_card(account),
        trial_period_days=14,
        payment_behavior="default_incomplete",
        payment_settings={"save_default_payment_method": "on_subscription"},
    )

    account.api.setup_intents.confirm(subscription.pending_setup_intent, {"payment_method": "pm_card_visa"})
    ready = account.api.subscriptions.retrieve(subscription.id)
    sandbox.advance("2026-10-15T02:00:00Z")

    assert ready.pending_setup_intent is None
    assert ready.default_payment_method is not None
    assert account.api.invoices.list({"subscription": subscription.id}).data[0].status == "paid"
