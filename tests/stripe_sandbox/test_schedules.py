"""Subscription schedules: phases that start, change and end a subscription by themselves."""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.account import Account

DAY = 86_400


def moment(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]  # a date, maybe a time


OCTOBER = moment(2026, 10, 1)
NOVEMBER = moment(2026, 11, 1)
DECEMBER = moment(2026, 12, 1)
MONTH = {"interval": "month", "interval_count": 1}


def schedule_of(account: Account, *phases: dict[str, Any], **fields: Any) -> Any:
    customer = account.customer()
    return account.api.subscription_schedules.create(
        {"customer": customer.id, "start_date": "now", "phases": list(phases), **fields}
    )


def phase(price: Any, quantity: int = 1, **fields: Any) -> dict[str, Any]:
    return {"items": [{"price": price.id, "quantity": quantity}], "duration": MONTH, **fields}


def told(account: Account) -> list[str]:
    """The types of all events about schedules, also of those too old for the list of events."""
    types = [event["type"] for event in account.sandbox.state()["event"]]
    return [name for name in types if name.startswith("subscription_schedule")]


def lines(invoice: Any) -> list[tuple[int, int, int]]:
    return [(line.amount, line.period.start, line.period.end) for line in invoice.lines.data]


def test_phases_follow_each_other_without_prorations_at_a_renewal(account: Account) -> None:
    price = account.price(1500)
    schedule = schedule_of(account, phase(price), phase(price, 2))

    assert (schedule.status, schedule.end_behavior) == ("active", "release")
    assert [(item.start_date, item.end_date) for item in schedule.phases] == [(OCTOBER, NOVEMBER), (NOVEMBER, DECEMBER)]
    assert (schedule.current_phase.start_date, schedule.current_phase.end_date) == (OCTOBER, NOVEMBER)
    subscription = account.api.subscriptions.retrieve(schedule.subscription)
    assert (subscription.schedule, subscription.status) == (schedule.id, "active")

    account.sandbox.advance(NOVEMBER + DAY)
    customer = account.api.customers.retrieve(schedule.customer)
    newest, first = account.invoices(customer)
    assert lines(first) == [(1500, OCTOBER, NOVEMBER)]
    assert lines(newest) == [(3000, NOVEMBER, DECEMBER)]
    now = account.api.subscription_schedules.retrieve(schedule.id)
    assert (now.current_phase.start_date, now.current_phase.end_date) == (NOVEMBER, DECEMBER)
    assert account.api.subscriptions.retrieve(subscription.id)["items"].data[0].quantity == 2


@pytest.mark.parametrize("count", [0, -1, 101, 99_999_999_999])
def test_a_phase_lasts_at_least_one_interval_and_a_hundred_years_at_most(account: Account, count: int) -> None:
    price = account.price(1500)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        schedule_of(account, phase(price, duration={"interval": "year", "interval_count": count}))

    assert (refusal.value.code, refusal.value.param) == (
        "parameter_invalid_integer",
        "phases[0][duration][interval_count]",
    )


def test_release_at_the_end(account: Account) -> None:
    price = account.price(1500)
    schedule = schedule_of(account, phase(price))
    account.sandbox.advance(NOVEMBER + DAY)

    ended = account.api.subscription_schedules.retrieve(schedule.id)
    assert (ended.status, ended.completed_at, ended.released_at) == ("released", NOVEMBER, NOVEMBER)
    assert (ended.subscription, ended.released_subscription, ended.current_phase) == (None, schedule.subscription, None)
    subscription = account.api.subscriptions.retrieve(schedule.subscription)
    assert (subscription.status, subscription.schedule) == ("active", None)
    assert told(account) == [
        "subscription_schedule.created",
        "subscription_schedule.expiring",
        "subscription_schedule.completed",
        "subscription_schedule.updated",
        "subscription_schedule.released",
    ]


def test_cancel_at_the_end(account: Account) -> None:
    price = account.price(1500)
    schedule = schedule_of(account, phase(price), phase(price, 2), end_behavior="cancel")
    assert account.api.subscriptions.retrieve(schedule.subscription).cancel_at is None

    with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
        account.api.subscriptions.update(schedule.subscription, {"cancel_at_period_end": True})

    account.sandbox.advance(NOVEMBER + DAY)
    assert account.api.subscriptions.retrieve(schedule.subscription).cancel_at == DECEMBER
    account.sandbox.advance(DECEMBER + DAY)

    ended = account.api.subscription_schedules.retrieve(schedule.id)
    assert (ended.status, ended.completed_at, ended.canceled_at) == ("completed", DECEMBER, None)
    subscription = account.api.subscriptions.retrieve(schedule.subscription)
    assert (subscription.status, subscription.ended_at) == ("canceled", DECEMBER)
    customer = account.api.customers.retrieve(schedule.customer)
    assert [invoice.total for invoice in account.invoices(customer)] == [3000, 1500]


def test_start_in_the_future(account: Account) -> None:
    price = account.price(1500)
    schedule = schedule_of(account, phase(price), start_date=NOVEMBER)
    assert (schedule.status, schedule.subscription, schedule.current_phase) == ("not_started", None, None)
    assert account.api.subscriptions.list().data == []

    account.sandbox.advance(NOVEMBER)
    started = account.api.subscription_schedules.retrieve(schedule.id)
    assert started.status == "active"
    subscription = account.api.subscriptions.retrieve(started.subscription)
    assert (subscription.start_date, subscription.status) == (NOVEMBER, "active")
    assert (subscription["items"].data[0].current_period_end, subscription.schedule) == (DECEMBER, schedule.id)


def test_start_in_the_past_is_backdated(account: Account) -> None:
    """From 16 September to 16 October: started on 1 October, the past fifteen days are billed with the rest."""
    price = account.price(3000)
    start = moment(2026, 9, 16)
    schedule = schedule_of(account, phase(price), start_date=start)

    assert (schedule.status, schedule.phases[0].end_date) == ("active", moment(2026, 10, 16))
    subscription = account.api.subscriptions.retrieve(schedule.subscription)
    assert subscription.start_date == start


def test_mid_period_change_prorates(account: Account) -> None:
    """From 1500 a month to 3000 a month after fifteen and a half of October's thirty-one days."""
    small, large = account.price(1500), account.price(3000)
    middle = moment(2026, 10, 16, 12)
    schedule = schedule_of(
        account,
        {"items": [{"price": small.id}], "end_date": middle},
        {"items": [{"price": large.id}], "end_date": DECEMBER, "proration_behavior": "always_invoice"},
    )
    account.sandbox.advance(middle)

    customer = account.api.customers.retrieve(schedule.customer)
    newest = account.invoices(customer)[0]
    assert lines(newest) == [(-750, middle, NOVEMBER), (1500, middle, NOVEMBER)]
    subscription = account.api.subscriptions.retrieve(schedule.subscription)
    assert [item.price.id for item in subscription["items"].data] == [large.id]


def test_a_phase_carries_terms(account: Account) -> None:
    price = account.price(1500)
    rate = account.api.tax_rates.create({"display_name": "VAT", "percentage": 20, "inclusive": False})
    coupon = account.api.coupons.create({"percent_off": 50, "duration": "forever"})
    schedule = schedule_of(
        account,
        phase(price, trial=True, metadata={"phase": "trial"}),
        phase(
            price,
            metadata={"phase": "paid"},
            default_tax_rates=[rate.id],
            discounts=[{"coupon": coupon.id}],
            description="paid by now",
        ),
    )
    subscription = account.api.subscriptions.retrieve(schedule.subscription)
    assert (subscription.status, subscription.trial_end) == ("trialing", NOVEMBER)
    assert subscription.metadata["phase"] == "trial"

    account.sandbox.advance(NOVEMBER + DAY)
    subscription = account.api.subscriptions.retrieve(schedule.subscription)
    assert (subscription.status, subscription.metadata["phase"]) == ("active", "paid")
    assert subscription.description == "paid by now"
    customer = account.api.customers.retrieve(schedule.customer)
    newest = account.invoices(customer)[0]
    assert (newest.subtotal, newest.total_excluding_tax, newest.total) == (1500, 750, 900)


def test_billing_cycle_anchor_at_the_phase_start(account: Account) -> None:
    price = account.price(3100)
    middle = moment(2026, 10, 11)
    schedule = schedule_of(
        account,
        {"items": [{"price": price.id}], "end_date": middle},
        phase(price, billing_cycle_anchor="phase_start", proration_behavior="none"),
    )
    account.sandbox.advance(middle)

    subscription = account.api.subscriptions.retrieve(schedule.subscription)
    assert subscription.billing_cycle_anchor == middle
    customer = account.api.customers.retrieve(schedule.customer)
    assert lines(account.invoices(customer)[0]) == [(3100, middle, moment(2026, 11, 11))]


def test_another_interval_in_the_next_phase(account: Account) -> None:
    """Monthly, then yearly: one invoice for the year, when the month is over."""
    monthly, yearly = account.price(1500), account.price(12_000, interval="year")
    schedule = schedule_of(account, phase(monthly), {**phase(yearly), "duration": {"interval": "year"}})
    account.sandbox.advance(DECEMBER + DAY)

    customer = account.api.customers.retrieve(schedule.customer)
    newest, first = account.invoices(customer)
    assert lines(first) == [(1500, OCTOBER, NOVEMBER)]
    assert lines(newest) == [(12_000, NOVEMBER, moment(2027, 11, 1))]


def test_a_phase_that_cannot_be_entered_any_more(account: Account) -> None:
    monthly, later = account.price(1500), account.price(3000)
    schedule = schedule_of(account, phase(monthly), phase(later))
    waiting = schedule_of(account, phase(later), start_date=NOVEMBER)
    account.api.prices.update(later.id, {"active": False})
    account.sandbox.advance(NOVEMBER + DAY)

    assert account.api.subscription_schedules.retrieve(schedule.id).status == "released"
    subscription = account.api.subscriptions.retrieve(schedule.subscription)
    assert (subscription.status, subscription["items"].data[0].price.id) == ("active", monthly.id)
    assert account.api.subscription_schedules.retrieve(waiting.id).status == "canceled"


def test_the_warning_comes_once(account: Account) -> None:
    price = account.price()
    schedule = schedule_of(account, phase(price))
    schedules = account.api.subscription_schedules
    for end in (NOVEMBER + DAY, NOVEMBER):
        current = {"items": [{"price": price.id}], "start_date": OCTOBER, "end_date": end}
        schedules.update(schedule.id, {"phases": [current]})
    schedules.update(schedule.id, {"end_behavior": "cancel"})
    account.sandbox.advance(NOVEMBER - DAY)
    assert told(account).count("subscription_schedule.expiring") == 1


def test_invoice_items_of_a_phase(account: Account) -> None:
    price = account.price(1500)
    fee = account.api.prices.create({"product": price.product, "currency": "usd", "unit_amount": 400})
    schedule = schedule_of(account, phase(price), phase(price, add_invoice_items=[{"price": fee.id}]))
    account.sandbox.advance(NOVEMBER + DAY)

    customer = account.api.customers.retrieve(schedule.customer)
    newest, first = account.invoices(customer)
    assert (first.total, newest.total) == (1500, 1900)


def test_schedule_from_a_subscription(account: Account) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, unit_amount=1500, metadata={"plan": "pro"})
    price = subscription["items"].data[0].price

    schedule = account.api.subscription_schedules.create({"from_subscription": subscription.id})
    assert (schedule.status, schedule.subscription) == ("active", subscription.id)
    assert [(item.start_date, item.end_date) for item in schedule.phases] == [(OCTOBER, NOVEMBER)]
    assert schedule.phases[0]["items"][0].price == price.id
    assert account.api.subscriptions.retrieve(subscription.id).schedule == schedule.id

    with pytest.raises(stripe.InvalidRequestError, match="already attached to a schedule"):
        account.api.subscription_schedules.create({"from_subscription": subscription.id})
    with pytest.raises(stripe.InvalidRequestError, match="You cannot set `phases`") as refused:
        account.api.subscription_schedules.create({"from_subscription": subscription.id, "phases": [phase(price)]})
    assert refused.value.param == "phases"

    current = {"items": [{"price": price.id}], "start_date": OCTOBER, "end_date": NOVEMBER}
    account.api.subscription_schedules.update(schedule.id, {"phases": [current, phase(price, 3)]})
    account.sandbox.advance(NOVEMBER + DAY)
    assert lines(account.invoices(customer)[0]) == [(4500, NOVEMBER, DECEMBER)]


def test_rewriting_the_current_phase_changes_the_subscription_now(account: Account) -> None:
    """Twice the quantity for the second half of October: -750 and +1500 of 1500 a month."""
    price = account.price(1500)
    schedule = schedule_of(account, phase(price))
    middle = moment(2026, 10, 16, 12)
    account.sandbox.advance(middle)

    account.api.subscription_schedules.update(
        schedule.id,
        {"phases": [phase(price, 2, start_date=OCTOBER)], "proration_behavior": "always_invoice"},
    )
    customer = account.api.customers.retrieve(schedule.customer)
    assert lines(account.invoices(customer)[0]) == [(-750, middle, NOVEMBER), (1500, middle, NOVEMBER)]


def test_ending_the_current_phase_now(account: Account) -> None:
    price = account.price(1500)
    schedule = schedule_of(account, phase(price), end_behavior="cancel")
    account.sandbox.advance(OCTOBER + DAY)
    first = {"items": [{"price": price.id}], "start_date": OCTOBER, "end_date": "now"}
    following = phase(price, 2, proration_behavior="none")

    changed = account.api.subscription_schedules.update(schedule.id, {"phases": [first, following]})
    assert changed.current_phase.start_date == OCTOBER + DAY
    subscription = account.api.subscriptions.retrieve(schedule.subscription)
    assert subscription["items"].data[0].quantity == 2
    assert subscription.cancel_at == changed.phases[1].end_date == NOVEMBER + DAY


def test_updates_that_may_not_be(account: Account) -> None:
    price = account.price(1500)
    schedule = schedule_of(account, phase(price))
    schedules = account.api.subscription_schedules
    with pytest.raises(stripe.InvalidRequestError, match="missing at least one phase with a `start_date`"):
        schedules.update(schedule.id, {"phases": [phase(price)]})
    with pytest.raises(stripe.InvalidRequestError, match="start date of the current phase"):
        schedules.update(schedule.id, {"phases": [phase(price, start_date=OCTOBER - DAY)]})
    both = {"items": [{"price": price.id}], "duration": MONTH, "end_date": NOVEMBER}
    with pytest.raises(stripe.InvalidRequestError, match="both `end_date` and `duration`"):
        schedule_of(account, both)
    with pytest.raises(stripe.InvalidRequestError, match="Missing required param: phases"):
        schedules.create({"customer": schedule.customer})
    legacy = {"items": [{"price": price.id}], "iterations": 1}
    with pytest.raises(stripe.InvalidRequestError, match="unknown parameter: phases"):
        account.unchecked.subscription_schedules.create({"customer": schedule.customer, "phases": [legacy]})


def test_cancel_and_release(account: Account) -> None:
    price = account.price(3100)
    canceled = schedule_of(account, phase(price))
    released = schedule_of(account, phase(price), phase(price, 2), end_behavior="cancel")
    schedules = account.api.subscription_schedules
    account.sandbox.advance(OCTOBER + 11 * DAY)

    ended = schedules.cancel(canceled.id)
    assert (ended.status, ended.canceled_at) == ("canceled", OCTOBER + 11 * DAY)
    assert account.api.subscriptions.retrieve(canceled.subscription).status == "canceled"
    customer = account.api.customers.retrieve(canceled.customer)
    assert account.invoices(customer)[0].total == -2000  # twenty of thirty-one days come back
    free = schedules.release(released.id)
    assert (free.status, free.released_subscription, free.subscription) == ("released", released.subscription, None)
    subscription = account.api.subscriptions.retrieve(released.subscription)
    assert (subscription.status, subscription.schedule, subscription.cancel_at) == ("active", None, None)

    for name in ("cancel", "release"):
        with pytest.raises(stripe.InvalidRequestError, match="only one that is not_started or active"):
            getattr(schedules, name)(canceled.id)
    account.sandbox.advance(NOVEMBER + DAY)
    assert account.api.subscriptions.retrieve(released.subscription)["items"].data[0].quantity == 1


def test_cancel_before_the_start(account: Account) -> None:
    schedule = schedule_of(account, phase(account.price()), start_date=NOVEMBER)
    ended = account.api.subscription_schedules.cancel(schedule.id, {"invoice_now": False, "prorate": False})
    assert (ended.status, ended.subscription) == ("canceled", None)
    account.sandbox.advance(DECEMBER)
    assert account.api.subscriptions.list({"status": "all"}).data == []
    assert told(account)[-2:] == ["subscription_schedule.canceled", "subscription_schedule.aborted"]


def test_a_canceled_subscription_takes_its_schedule_along(account: Account) -> None:
    schedule = schedule_of(account, phase(account.price()))
    account.api.subscriptions.cancel(schedule.subscription)
    assert account.api.subscription_schedules.retrieve(schedule.id).status == "canceled"
    assert "subscription_schedule.canceled" in told(account)
    assert "subscription_schedule.aborted" not in told(account)


def test_unpaid_bills_abort_a_schedule(account: Account) -> None:
    account.sandbox.reset(now=OCTOBER, after_last_retry="cancel")
    price = account.price(1500)
    schedule = schedule_of(account, {**phase(price), "duration": {"interval": "year"}})
    failing = account.api.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": schedule.customer})
    account.api.customers.update(schedule.customer, {"invoice_settings": {"default_payment_method": failing.id}})

    account.sandbox.advance(moment(2026, 12, 31))
    ended = account.api.subscription_schedules.retrieve(schedule.id)
    assert ended.status == "canceled"
    assert "subscription_schedule.aborted" in told(account)


def test_lists_and_metadata(account: Account) -> None:
    price = account.price()
    later = schedule_of(account, phase(price), start_date=NOVEMBER)
    now = schedule_of(account, phase(price))
    schedules = account.api.subscription_schedules
    assert [item.id for item in schedules.list().data] == [now.id, later.id]
    assert [item.id for item in schedules.list({"scheduled": True}).data] == [later.id]
    assert [item.id for item in schedules.list({"customer": now.customer}).data] == [now.id]
    schedules.release(now.id)
    assert [item.id for item in schedules.list({"released_at": {"gte": OCTOBER}}).data] == [now.id]
    assert schedules.update(now.id, {"metadata": {"a": "b"}}).metadata["a"] == "b"
    with pytest.raises(stripe.InvalidRequestError, match="only update the metadata"):
        schedules.update(now.id, {"end_behavior": "cancel"})


def test_a_schedule_lives_by_its_test_clock(account: Account) -> None:
    frozen = moment(2020, 1, 1)
    clock = account.api.test_helpers.test_clocks.create({"frozen_time": frozen})
    customer = account.api.customers.create({"test_clock": clock.id})
    price = account.price(1500)
    schedule = account.api.subscription_schedules.create(
        {"customer": customer.id, "start_date": frozen, "end_behavior": "cancel", "phases": [phase(price)]}
    )
    assert (schedule.status, schedule.test_clock, schedule.created) == ("active", clock.id, frozen)

    account.api.test_helpers.test_clocks.advance(clock.id, {"frozen_time": moment(2020, 1, 25)})
    assert "subscription_schedule.expiring" in told(account)
    account.api.test_helpers.test_clocks.advance(clock.id, {"frozen_time": moment(2020, 2, 1)})
    assert account.api.subscription_schedules.retrieve(schedule.id).status == "completed"
    assert account.api.subscription_schedules.list().data == []
