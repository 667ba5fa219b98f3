"""What the network does to meter events: answers that are lost, reports that they do not count, summaries that lag."""

from datetime import timedelta
from typing import Any

from django.db import transaction

from billing.invoicing.holding import release_close
from billing.invoicing.metered.models import MeteredEvent, MeteredPrice
from billing.invoicing.metered.sending import record_not_counted, send_again
from billing.invoicing.metered.summaries import UNCOUNTED
from billing.invoicing.models import Invoice, InvoiceClose
from billing.stripe import gateway, poll
from billing.subscriptions.models import BillingPeriod
from tests.billing.invoicing.late import assert_reconciled
from tests.billing.invoicing.metered.world import OCT_10, OCT_20, Metered, at_stripe, charged, units
from tests.billing.invoicing.ordering import FINANCE, people
from tests.billing.thread import SECOND_MONTH

DAYS_3, HOUR = timedelta(days=3), timedelta(hours=1)
METER_EVENTS = "POST /v1/billing/meter_events"


def begun(metered: Metered) -> BillingPeriod:
    metered.subscribe()
    metered.settle()
    metered.at(OCT_10)
    metered.use(1_000_000, at=OCT_10)
    return BillingPeriod.objects.get()


def states(period: BillingPeriod) -> list[tuple[int, str]]:
    return list(MeteredEvent.objects.filter(period=period).order_by("pk").values_list("units", "state"))


def try_to_send(metered: Metered) -> int:
    """In one try, so that nothing waits."""
    with gateway.one_try():
        return metered.send()


def cancel(event: MeteredEvent) -> None:
    """Stripe loses it."""
    gateway.request(
        "post",
        "/v1/billing/meter_event_adjustments",
        {"event_name": event.price.event_name, "type": "cancel", "cancel": {"identifier": event.identifier}},
    )


def told_of_errors(metered: Metered) -> None:
    """Reports that nobody delivered are found, and taken."""
    assert poll.fetch_missed_thin_events(now=metered.now)
    metered.settle(is_closing=False)


def test_an_answer_that_is_lost_for_days_is_found_and_nothing_is_sent_twice(metered: Metered) -> None:
    period = begun(metered)
    metered.sandbox.fault(operation=METER_EVENTS, mode="timeout_after_commit")
    assert try_to_send(metered) == 0
    assert states(period) == [(300, "intended")]
    assert metered.send() == 0  # within the day under the same key; then there is nothing left to send
    assert (states(period), metered.summary(period)) == ([(300, "accepted")], 300)

    metered.at(OCT_10 + HOUR)
    metered.use(1_000_000, at=OCT_10)
    metered.sandbox.fault(operation=METER_EVENTS, mode="timeout_after_commit")
    assert try_to_send(metered) == 0
    metered.sandbox.fault(operation="POST", mode="forget_idempotency_keys", times=None)
    metered.at(OCT_10 + DAYS_3)
    metered.send()
    assert (units(period), metered.summary(period)) == ([300, 300], 600)

    metered.use(1_000_000, at=OCT_10 + DAYS_3)
    metered.sandbox.fault(operation=METER_EVENTS, mode="error_500")  # and nothing was done
    assert try_to_send(metered) == 0
    metered.at(OCT_10 + 2 * DAYS_3)
    metered.use(1_000_000, at=OCT_10 + DAYS_3)
    metered.send()
    assert metered.send() == 0
    assert (units(period), metered.summary(period)) == ([300, 300, 300, 300], 1200)


def test_what_a_report_names_is_sent_again_once_and_else_holds_the_close(metered: Metered) -> None:
    people()
    period = begun(metered)
    price = MeteredPrice.objects.get(rate__meter_code="input_tokens")
    mapping: dict[str, Any] = {"type": "by_id", "event_payload_key": "somebody"}
    metered.sandbox.alter(price.stripe_meter_id, customer_mapping=mapping)
    metered.send()
    assert states(period) == [(300, "accepted")]
    told_of_errors(metered)
    assert states(period) == [(300, "not_counted")]
    assert "Customer mapping key" in MeteredEvent.objects.get().error

    mapping["event_payload_key"] = "stripe_customer_id"
    metered.sandbox.alter(price.stripe_meter_id, customer_mapping=mapping)
    metered.at(OCT_10 + HOUR)
    assert metered.send() == 1
    assert (states(period), metered.summary(period)) == ([(300, "not_counted"), (300, "accepted")], 300)
    first, second = MeteredEvent.objects.order_by("pk")
    assert (second.again_of, second.identifier == first.identifier) == (first, False)

    # Broken again, and not mended: the event and the one instead of it do not count, and the close is held.
    mapping["event_payload_key"] = "somebody"
    metered.sandbox.alter(price.stripe_meter_id, customer_mapping=mapping)
    metered.use(1_000_000, at=OCT_20 - HOUR)
    for days in range(3):
        metered.at(OCT_20 + timedelta(days=days))
        if metered.send():
            told_of_errors(metered)
    assert states(period)[2:] == [(300, "not_counted")] * 2  # once again, and no more
    metered.at(SECOND_MONTH)
    metered.settle()
    close = InvoiceClose.objects.get()
    assert close.held_reason.startswith("usage cannot be sent to Stripe's meters: usage-")
    assert "Customer mapping key somebody not found" in close.held_reason

    mapping["event_payload_key"] = "stripe_customer_id"
    metered.sandbox.alter(price.stripe_meter_id, customer_mapping=mapping)
    event = MeteredEvent.objects.latest("pk")
    made = send_again(event_id=event.pk, reason="the meter was mended", actor=FINANCE, now=metered.now)
    assert (made and made.state, made and made.made_by) == ("accepted", FINANCE)
    assert send_again(event_id=event.pk, reason="twice", actor=FINANCE, now=metered.now) is None
    release_close(close_id=close.pk, words="the meter was mended", actor=FINANCE, now=metered.now)
    metered.settle()
    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    assert (at_stripe(invoice), invoice.status) == ([600, 2000], "paid")


def test_a_summary_that_stays_behind_holds_the_close_and_then_lets_it_go_on(metered: Metered) -> None:
    people()
    period = begun(metered)
    metered.send()
    metered.at(SECOND_MONTH - HOUR)
    metered.use(1_000_000, at=OCT_20)
    metered.send()
    lost = MeteredEvent.objects.latest("pk")
    cancel(lost)
    metered.at(SECOND_MONTH)
    metered.settle()
    close = InvoiceClose.objects.get()
    assert (close.step, close.held_reason) == ("items_pushed", "")
    assert "counts 300 increments" in close.error
    metered.now += timedelta(hours=7)
    metered.settle()
    close.refresh_from_db()
    assert f"does not show {lost.identifier}" in close.held_reason

    send_again(event_id=lost.pk, reason="Stripe lost it", actor=FINANCE, now=metered.now)
    assert metered.summary(period) == 600
    release_close(close_id=close.pk, words="Stripe counts it now", actor=FINANCE, now=metered.now)
    metered.settle()
    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    assert (charged(invoice), at_stripe(invoice)) == ([("input_tokens", 600, True)], [600, 2000])
    metered.sandbox.advance(SECOND_MONTH + HOUR)
    assert_reconciled(metered)


def test_a_report_about_what_counts_is_not_believed(metered: Metered) -> None:
    """
    After Stripe's day somebody sends the identifier again, for a customer it does not know: the report is about that.
    Sent again by us, both would count; and no one could say afterwards that the first one does.
    """
    period = begun(metered)
    metered.send()
    event = MeteredEvent.objects.get()
    metered.at(OCT_10 + DAYS_3)
    other = {"stripe_customer_id": "cus_nobody", "value": "1"}
    sent = {"event_name": event.price.event_name, "identifier": event.identifier, "payload": other}
    gateway.request("post", "/v1/billing/meter_events", sent)
    told_of_errors(metered)

    assert states(period) == [(300, "accepted")]
    assert (metered.send(), metered.summary(period)) == (0, 300)


def test_the_close_finds_by_their_minutes_what_a_report_did_not_name(metered: Metered) -> None:
    """Two events are lost, a report names one of them: both are sent again, and the month is billed once."""
    period = begun(metered)
    metered.send()
    cancel(MeteredEvent.objects.get())
    metered.at(OCT_20)
    metered.use(1_000_000, at=OCT_20)
    metered.send()
    unnamed = MeteredEvent.objects.latest("pk")
    cancel(unnamed)
    with transaction.atomic():
        named = MeteredEvent.objects.earliest("pk").identifier
        record_not_counted(identifiers={named: "a report"}, now=OCT_20)
    metered.at(SECOND_MONTH)
    metered.settle()
    metered.settle()  # it asks Stripe's summary again after a while
    found = [(row.units, row.state) for row in MeteredEvent.objects.order_by("number")]
    assert found == [(300, "not_counted")] * 2 + [(300, "accepted")] * 2
    unnamed.refresh_from_db()
    assert unnamed.error == UNCOUNTED
    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    assert (at_stripe(invoice), invoice.status, metered.summary(period)) == ([600, 2000], "paid", 600)
