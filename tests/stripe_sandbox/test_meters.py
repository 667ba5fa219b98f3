"""Meters, their events, and the invoices of what was used."""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.account import Account

START = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
HOUR = 3600
DAY = 24 * HOUR


def meter_of(account: Account, event_name: str = "calls", formula: str = "sum", **fields: Any) -> Any:
    return account.api.billing.meters.create(
        {
            "display_name": "Calls",
            "event_name": event_name,
            "default_aggregation": {"formula": formula},
            **fields,
        }
    )


def metered_price(account: Account, meter: Any, **terms: Any) -> Any:
    product = account.api.products.create({"name": "Calls"})
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    return account.api.prices.create(
        {"product": product.id, "currency": "usd", "recurring": recurring, **(terms or {"unit_amount": 3})}
    )


def use(account: Account, customer: Any, value: int | str, *, event_name: str = "calls", **fields: Any) -> Any:
    payload = {"stripe_customer_id": customer.id, "value": str(value)}
    return account.api.billing.meter_events.create({"event_name": event_name, "payload": payload, **fields})


def total_of(account: Account, meter: Any, customer: Any, start: int = START, end: int = START + 40 * DAY) -> Any:
    """The one summary of the whole range."""
    page = account.api.billing.meters.event_summaries.list(
        meter.id, {"customer": customer.id, "start_time": start, "end_time": end}
    )
    assert len(page.data) == 1
    return page.data[0].aggregated_value


def refused_event(account: Account, **parameters: Any) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.api.billing.meter_events.create(parameters)
    return refused.value


def test_life_of_a_meter(account: Account) -> None:
    meter = meter_of(account)

    account.api.billing.meters.update(meter.id, {"display_name": "API calls"})
    deactivated = account.api.billing.meters.deactivate(meter.id)
    reactivated = account.api.billing.meters.reactivate(meter.id)

    assert meter.customer_mapping.to_dict() == {"event_payload_key": "stripe_customer_id", "type": "by_id"}
    assert (meter.value_settings.event_payload_key, meter.event_time_window) == ("value", None)
    assert (deactivated.status, deactivated.status_transitions.deactivated_at) == ("inactive", START)
    assert (reactivated.status, reactivated.status_transitions.deactivated_at) == ("active", None)
    assert reactivated.display_name == "API calls"
    assert account.event_types() == [
        "billing.meter.created",
        "billing.meter.updated",
        "billing.meter.deactivated",
        "billing.meter.reactivated",
    ]


def test_one_active_meter_for_an_event_name(account: Account) -> None:
    first = meter_of(account)

    with pytest.raises(stripe.InvalidRequestError, match="An active meter already exists for event name 'calls'"):
        meter_of(account)
    account.api.billing.meters.deactivate(first.id)
    second = meter_of(account)
    with pytest.raises(stripe.InvalidRequestError, match="An active meter already exists"):
        account.api.billing.meters.reactivate(first.id)

    assert [meter.id for meter in account.api.billing.meters.list({"status": "active"}).data] == [second.id]


@pytest.mark.parametrize(("formula", "value"), [("sum", 12), ("count", 3), ("last", 7)])
def test_aggregation(account: Account, formula: str, value: int) -> None:
    meter = meter_of(account, formula=formula)
    customer = account.customer()

    use(account, customer, 4, timestamp=START - 2 * HOUR)
    use(account, customer, 7, timestamp=START - HOUR)  # the last by its time, not by its arrival
    use(account, customer, 1, timestamp=START - 3 * HOUR)

    assert total_of(account, meter, customer, START - DAY, START) == value


def test_value_and_customer_under_other_keys(account: Account) -> None:
    meter = meter_of(
        account,
        customer_mapping={"type": "by_id", "event_payload_key": "who"},
        value_settings={"event_payload_key": "tokens"},
    )
    customer = account.customer()

    account.api.billing.meter_events.create(
        {"event_name": "calls", "payload": {"who": customer.id, "tokens": "25", "model": "small"}}
    )

    assert total_of(account, meter, customer) == 25


def test_events_added_up_beforehand_replace_each_other(account: Account) -> None:
    meter = meter_of(account, event_time_window="day")
    customer = account.customer()

    use(account, customer, 10, timestamp=START - 2 * HOUR)
    use(account, customer, 25, timestamp=START - 5 * HOUR)  # the same day, told later
    use(account, customer, 4, timestamp=START - 30 * HOUR)

    assert total_of(account, meter, customer, START - 2 * DAY, START) == 29


def test_identifier_is_taken_once_a_day(account: Account) -> None:
    meter = meter_of(account)
    customer = account.customer()
    event = use(account, customer, 5, identifier="job-1")

    refused = refused_event(account, event_name="calls", identifier="job-1", payload={"value": "5"})

    assert event.identifier == "job-1"
    assert str(refused.user_message) == "An event already exists with identifier job-1."
    assert (refused.code, refused.http_status) == (None, 400)
    account.sandbox.advance(START + DAY)
    use(account, customer, 5, identifier="job-1")
    assert total_of(account, meter, customer) == 10


@pytest.mark.parametrize("offset", [-35 * DAY, 5 * 60])
def test_edges_of_the_window(account: Account, offset: int) -> None:
    meter = meter_of(account)
    customer = account.customer()

    use(account, customer, 1, timestamp=START + offset)

    assert total_of(account, meter, customer, START - 36 * DAY, START + DAY) == 1


@pytest.mark.parametrize(
    ("offset", "message"), [(-35 * DAY - 1, "more than 35 days in past"), (5 * 60 + 1, "5 minutes in the future")]
)
def test_outside_the_window(account: Account, offset: int, message: str) -> None:
    meter_of(account)

    refused = refused_event(account, event_name="calls", payload={"value": "1"}, timestamp=START + offset)

    assert message in str(refused.user_message)


def test_event_without_an_active_meter(account: Account) -> None:
    meter = meter_of(account)
    account.api.billing.meters.deactivate(meter.id)

    refused = refused_event(account, event_name="calls", payload={"value": "1"})

    assert 'No active meter found for event name "calls"' in str(refused.user_message)


def test_canceled_event_does_not_count(account: Account) -> None:
    meter = meter_of(account)
    customer = account.customer()
    use(account, customer, 5, identifier="wrong")
    use(account, customer, 2)
    cancel = {"event_name": "calls", "type": "cancel", "cancel": {"identifier": "wrong"}}

    adjustment = account.api.billing.meter_event_adjustments.create(cancel)

    assert (adjustment.status, adjustment.cancel.identifier) == ("complete", "wrong")
    assert total_of(account, meter, customer) == 2
    with pytest.raises(stripe.InvalidRequestError):
        account.api.billing.meter_event_adjustments.create(cancel)


def test_event_can_be_canceled_for_a_day(account: Account) -> None:
    meter_of(account)
    use(account, account.customer(), 5, identifier="wrong")
    account.sandbox.advance(START + DAY + 1)

    with pytest.raises(stripe.InvalidRequestError, match="within 24 hours"):
        account.api.billing.meter_event_adjustments.create(
            {"event_name": "calls", "type": "cancel", "cancel": {"identifier": "wrong"}}
        )


def test_summaries_by_the_hour_and_day(account: Account) -> None:
    meter = meter_of(account)
    customer = account.customer()
    for hours, value in [(1, 3), (1, 4), (5, 2), (30, 1)]:
        use(account, customer, value, timestamp=START - hours * HOUR)

    def summed(window: str, **page: Any) -> Any:
        return account.api.billing.meters.event_summaries.list(
            meter.id,
            {
                "customer": customer.id,
                "start_time": START - 2 * DAY,
                "end_time": START,
                "value_grouping_window": window,
                **page,
            },
        )

    hourly = [(item.start_time - START, item.aggregated_value) for item in summed("hour").data]
    assert hourly == [(-HOUR, 7), (-5 * HOUR, 2), (-30 * HOUR, 1)]
    assert [(item.start_time - START, item.aggregated_value) for item in summed("day").data] == [
        (-DAY, 9),
        (-2 * DAY, 1),
    ]
    first = summed("hour", limit=2)
    rest = summed("hour", limit=2, starting_after=first.data[-1].id)
    assert (first.has_more, rest.has_more) == (True, False)
    assert [item.aggregated_value for item in rest.data] == [1]


@pytest.mark.parametrize(
    ("start", "window", "param"),
    [(START - 30, None, "start_time"), (START - 60, "hour", "start_time"), (START - HOUR, "day", "start_time")],
)
def test_summaries_begin_and_end_on_boundaries(account: Account, start: int, window: str | None, param: str) -> None:
    meter = meter_of(account)
    grouping = {"value_grouping_window": window} if window else {}

    with pytest.raises(stripe.InvalidRequestError, match="must be aligned with") as refused:
        account.api.billing.meters.event_summaries.list(
            meter.id, {"customer": account.customer().id, "start_time": start, "end_time": START, **grouping}
        )

    assert refused.value.param == param


def test_metered_price_needs_an_active_meter(account: Account) -> None:
    meter = meter_of(account)
    account.api.billing.meters.deactivate(meter.id)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        metered_price(account, meter)

    assert refused.value.param == "recurring[meter]"


def test_usage_is_billed_in_arrears(account: Account) -> None:
    meter = meter_of(account)
    price = metered_price(account, meter)
    customer = account.customer()
    subscription = account.api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    assert subscription.status == "active"
    use(account, customer, 100)
    account.sandbox.advance("2026-10-31T23:59:00Z")
    use(account, customer, 50)

    account.sandbox.advance("2026-11-01T02:00:00Z")

    october = account.invoices(customer)[0]
    assert (october.total, october.status, october.billing_reason) == (450, "paid", "subscription_cycle")
    line = october.lines.data[0]
    assert (line.amount, line.quantity, line.description) == (450, 150, "150 × Calls (at $0.03 / month)")
    assert (line.period.start, line.period.end) == (START, START + 31 * DAY)
    assert line.pricing.price_details.price == price.id


def test_usage_of_a_period_is_billed_once(account: Account) -> None:
    meter = meter_of(account)
    customer = account.customer()
    account.api.subscriptions.create({"customer": customer.id, "items": [{"price": metered_price(account, meter).id}]})
    use(account, customer, 100)
    account.sandbox.advance("2026-11-01T02:00:00Z")
    use(account, customer, 7)

    account.sandbox.advance("2026-12-01T02:00:00Z")
    account.sandbox.advance("2027-01-01T02:00:00Z")

    # 100 × 3, then 7 × 3 (too small to charge), then nothing: a line of 0 is still a line.
    totals = [(invoice.total, len(invoice.lines.data)) for invoice in account.invoices(customer)[:3]]
    assert totals == [(0, 1), (21, 1), (300, 1)]


def test_usage_told_while_the_invoice_is_a_draft(account: Account) -> None:
    meter = meter_of(account)
    customer = account.customer()
    account.api.subscriptions.create({"customer": customer.id, "items": [{"price": metered_price(account, meter).id}]})
    use(account, customer, 100)
    account.sandbox.advance("2026-11-01T00:30:00Z")
    draft = account.invoices(customer)[0]
    assert (draft.status, draft.total) == ("draft", 300)

    use(account, customer, 20, timestamp=START + 31 * DAY - 60)
    use(account, customer, 9)
    account.sandbox.advance("2026-11-01T02:00:00Z")
    account.sandbox.advance("2026-12-01T02:00:00Z")

    october = account.api.invoices.retrieve(draft.id)
    assert (october.status, october.total, october.lines.data[0].quantity) == ("paid", 360, 120)
    assert october.lines.data[0].id == draft.lines.data[0].id
    assert account.invoices(customer)[0].lines.data[0].quantity == 9


def test_tier_reached_while_the_invoice_is_a_draft(account: Account) -> None:
    meter = meter_of(account)
    tiers = [{"up_to": 100, "unit_amount": 5}, {"up_to": "inf", "unit_amount": 2}]
    price = metered_price(account, meter, billing_scheme="tiered", tiers_mode="graduated", tiers=tiers)
    customer = account.customer()
    account.api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    use(account, customer, 90)
    account.sandbox.advance("2026-11-01T00:30:00Z")

    use(account, customer, 30, timestamp=START + DAY)
    account.sandbox.advance("2026-11-01T02:00:00Z")

    invoice = account.invoices(customer)[0]
    assert [(line.amount, line.quantity) for line in invoice.lines.data] == [(500, 100), (40, 20)]
    assert invoice.total == 540


def test_graduated_usage(account: Account) -> None:
    meter = meter_of(account)
    tiers = [{"up_to": 1000, "unit_amount": 0, "flat_amount": 900}, {"up_to": "inf", "unit_amount_decimal": "3.6"}]
    price = metered_price(account, meter, billing_scheme="tiered", tiers_mode="graduated", tiers=tiers)
    customer = account.customer()
    account.api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    use(account, customer, 1031)

    account.sandbox.advance("2026-11-01T02:00:00Z")

    invoice = account.invoices(customer)[0]
    assert invoice.total == 1012  # 9.00 and 31 × 0.036 = 1.116, as on an invoice recorded from Stripe
    assert [(line.amount, line.quantity) for line in invoice.lines.data] == [(0, 1000), (900, 0), (112, 31)]


def test_preview_shows_the_usage_so_far(account: Account) -> None:
    meter = meter_of(account)
    customer = account.customer()
    subscription = account.api.subscriptions.create(
        {"customer": customer.id, "items": [{"price": metered_price(account, meter).id}]}
    )
    use(account, customer, 100)

    preview = account.api.invoices.create_preview({"subscription": subscription.id})
    account.sandbox.advance("2026-11-01T02:00:00Z")

    happened = account.invoices(customer)[0]
    assert (preview.total, happened.total) == (300, 300)
    assert [line.quantity for line in preview.lines.data] == [line.quantity for line in happened.lines.data] == [100]


def test_usage_by_a_test_clock(account: Account) -> None:
    later = START + 400 * DAY
    clock = account.api.test_helpers.test_clocks.create({"frozen_time": later})
    meter = meter_of(account)
    customer = account.customer(test_clock=clock.id)
    account.api.subscriptions.create({"customer": customer.id, "items": [{"price": metered_price(account, meter).id}]})

    assert use(account, customer, 100).timestamp == later
    with pytest.raises(stripe.InvalidRequestError, match="35 days in past"):
        use(account, customer, 1, timestamp=START)
    account.api.test_helpers.test_clocks.advance(clock.id, {"frozen_time": later + 32 * DAY})

    assert account.invoices(customer)[0].total == 300


def test_negative_usage_is_billed_as_none(account: Account) -> None:
    meter = meter_of(account)
    customer = account.customer()
    account.api.subscriptions.create({"customer": customer.id, "items": [{"price": metered_price(account, meter).id}]})
    use(account, customer, 3)
    use(account, customer, -10)

    account.sandbox.advance("2026-11-01T02:00:00Z")

    assert total_of(account, meter, customer) == -7
    assert account.invoices(customer)[0].lines.data[0].quantity == 0
