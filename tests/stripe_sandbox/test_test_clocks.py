"""Test clocks: time that some customers live by, apart from the account's."""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.account import Account

DAY = 86_400


def moment(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]  # a date, maybe a time


JANUARY_2020 = moment(2020, 1, 1)
OCTOBER_2026 = moment(2026, 10, 1)


def make_clock(account: Account, frozen_time: int = JANUARY_2020) -> Any:
    return account.api.test_helpers.test_clocks.create({"frozen_time": frozen_time, "name": "a month"})


def advance(account: Account, clock: Any, to: int) -> Any:
    return account.api.test_helpers.test_clocks.advance(clock.id, {"frozen_time": to})


def test_life_of_a_clock(account: Account) -> None:
    clock = make_clock(account)
    assert (clock.status, clock.frozen_time, clock.name) == ("ready", JANUARY_2020, "a month")
    assert (clock.created, clock.deletes_after) == (OCTOBER_2026, OCTOBER_2026 + 30 * DAY)

    moving = advance(account, clock, JANUARY_2020 + DAY)
    assert (moving.status, moving.frozen_time) == ("advancing", JANUARY_2020)
    assert moving.status_details.advancing.target_frozen_time == JANUARY_2020 + DAY

    ready = account.api.test_helpers.test_clocks.retrieve(clock.id)
    assert (ready.status, ready.frozen_time) == ("ready", JANUARY_2020 + DAY)
    assert [item.id for item in account.api.test_helpers.test_clocks.list().data] == [clock.id]

    gone = account.api.test_helpers.test_clocks.delete(clock.id)
    assert gone.deleted
    assert account.api.test_helpers.test_clocks.list().data == []
    assert account.event_types() == [
        "test_helpers.test_clock.created",
        "test_helpers.test_clock.advancing",
        "test_helpers.test_clock.ready",
        "test_helpers.test_clock.deleted",
    ]


def test_a_customer_lives_by_their_clock_and_moves_no_other(account: Account) -> None:
    clock = make_clock(account)
    there = account.customer(test_clock=clock.id)
    here = account.customer()
    assert (there.test_clock, there.created) == (clock.id, JANUARY_2020)
    assert (here.test_clock, here.created) == (None, OCTOBER_2026)
    subscription = account.subscription(there)
    elsewhere = account.subscription(here)
    assert (subscription.test_clock, subscription.created) == (clock.id, JANUARY_2020)
    assert subscription["items"].data[0].current_period_end == moment(2020, 2, 1)
    first = account.invoices(there)[0]
    assert (first.test_clock, first.created, first.status) == (clock.id, JANUARY_2020, "paid")

    advance(account, clock, moment(2020, 2, 1) + DAY)

    newest, first = account.invoices(there)
    assert (newest.billing_reason, newest.created, newest.status) == ("subscription_cycle", moment(2020, 2, 1), "paid")
    assert newest.status_transitions.paid_at == moment(2020, 2, 1, 1)  # after the draft's hour
    assert len(account.invoices(here)) == 1
    assert account.sandbox.now() == OCTOBER_2026

    account.sandbox.advance(OCTOBER_2026 + 20 * DAY)
    assert len(account.invoices(there)) == 2
    account.sandbox.advance(moment(2026, 11, 2))  # the account's month is over; the clock is deleted on 31 October
    assert len(account.invoices(here)) == 2
    assert account.api.subscriptions.retrieve(elsewhere.id).status == "active"


def test_what_follows_on_the_clock_happens_by_it(account: Account) -> None:
    """A failing card: the retries of a renewal come by the test clock, three days after it."""
    clock = make_clock(account)
    customer = account.customer(test_clock=clock.id)
    account.subscription(customer)
    failing = account.api.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    account.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": failing.id}})

    advance(account, clock, moment(2020, 2, 1) + DAY)
    invoice = account.invoices(customer)[0]
    assert (invoice.status, invoice.attempt_count) == ("open", 1)
    assert invoice.next_payment_attempt == moment(2020, 2, 1, 1) + 3 * DAY

    advance(account, clock, moment(2020, 2, 1, 1) + 3 * DAY)
    assert account.api.invoices.retrieve(invoice.id).attempt_count == 2


def test_invoice_items_and_refused_reads_use_the_right_clock(account: Account) -> None:
    clock = make_clock(account)
    customer = account.customer(test_clock=clock.id)

    item = account.api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd"})
    invoice = account.api.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})

    assert (item.test_clock, item.date) == (clock.id, JANUARY_2020)
    assert (invoice.test_clock, invoice.created) == (clock.id, JANUARY_2020)
    finalized = account.api.invoices.finalize_invoice(invoice.id)
    assert finalized.status_transitions.finalized_at == JANUARY_2020
    newest = account.api.events.list({"limit": 1}).data[0]
    assert newest.created == OCTOBER_2026


def test_lists_leave_other_clocks_out(account: Account) -> None:
    clock = make_clock(account)
    there, here = account.customer(test_clock=clock.id), account.customer()
    one, other = account.subscription(there), account.subscription(here)

    customers, subscriptions = account.api.customers, account.api.subscriptions
    assert [item.id for item in customers.list().data] == [here.id]
    assert [item.id for item in customers.list({"test_clock": clock.id}).data] == [there.id]
    assert [item.id for item in subscriptions.list().data] == [other.id]
    assert [item.id for item in subscriptions.list({"test_clock": clock.id}).data] == [one.id]
    assert [item.id for item in subscriptions.list({"customer": there.id}).data] == [one.id]


def test_a_clock_goes_forward_and_not_too_far(account: Account) -> None:
    clock = make_clock(account)
    with pytest.raises(stripe.InvalidRequestError, match="must be after") as refused:
        advance(account, clock, JANUARY_2020)
    assert refused.value.param == "frozen_time"
    with pytest.raises(stripe.InvalidRequestError, match="more than 2 years"):
        advance(account, clock, moment(2022, 1, 1) + 1)

    customer = account.customer(test_clock=clock.id)
    account.subscription(customer)
    with pytest.raises(stripe.InvalidRequestError, match="more than 2 intervals"):
        advance(account, clock, moment(2020, 3, 1) + 1)

    advance(account, clock, moment(2020, 3, 1))
    assert len(account.invoices(customer)) == 3


def test_a_clock_has_three_customers_at_most(account: Account) -> None:
    clock = make_clock(account)
    for _ in range(3):
        account.api.customers.create({"test_clock": clock.id})
    with pytest.raises(stripe.InvalidRequestError, match="at most 3 customers"):
        account.api.customers.create({"test_clock": clock.id})


def test_deleting_a_clock_deletes_its_customers(account: Account) -> None:
    clock = make_clock(account)
    customer = account.customer(test_clock=clock.id)
    subscription = account.subscription(customer)
    invoice = account.invoices(customer)[0]

    account.api.test_helpers.test_clocks.delete(clock.id)

    assert account.api.customers.retrieve(customer.id).deleted
    ended = account.api.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", JANUARY_2020)
    assert account.api.invoices.retrieve(invoice.id).status == "paid"
    with pytest.raises(stripe.InvalidRequestError, match="No such test_clock"):
        account.api.test_helpers.test_clocks.retrieve(clock.id)
    with pytest.raises(stripe.InvalidRequestError, match="No such test_clock"):
        account.api.customers.create({"test_clock": clock.id})


def test_a_forgotten_clock_deletes_itself(account: Account) -> None:
    clock = make_clock(account)
    account.sandbox.advance(clock.deletes_after)
    with pytest.raises(stripe.InvalidRequestError, match="No such test_clock"):
        account.api.test_helpers.test_clocks.retrieve(clock.id)
