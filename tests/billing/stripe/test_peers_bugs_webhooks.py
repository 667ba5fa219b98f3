"""Bugs of webhooks that reached customers elsewhere, each as a story here. Notes: field.md, section E."""

import threading
from datetime import timedelta

from django.db import connections

from billing.invoicing.models import Invoice
from billing.payments.models import Payment
from billing.stripe import gateway, inbox
from billing.stripe.models import InboxEvent
from billing.stripe.projection import process_event
from billing.subscriptions.models import Subscription
from ledger import queries as ledger_queries
from tests.billing.accounting.stripe_story import balances, post
from tests.billing.thread import START, Thread, post_event


def at_once(*works: object) -> None:
    """Each in a thread and with a connection of its own, all beginning together."""
    barrier = threading.Barrier(len(works))
    failures: list[BaseException] = []

    def run(work: object) -> None:
        try:
            barrier.wait()
            work()  # type: ignore[operator]
        except BaseException as failure:  # noqa: BLE001 (told to the test)
            failures.append(failure)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failures == []


def test_polar_12364_12344_13325_13048_two_workers_at_one_payment_enter_it_once(thread: Thread) -> None:
    """Both looked whether the payment was there, both found that it was not, both entered it."""
    thread.subscribe()
    events = [event for event in thread.new_events() if "invoice" not in event["type"]]
    for event in thread.events():
        assert post_event(event).status_code == 200
    invoices = InboxEvent.objects.filter(type__startswith="invoice.").values_list("pk", flat=True)
    process_event(event_id=invoices[0], now=thread.now)
    mine = [event["id"] for event in events if inbox.subject_of(event).startswith("pi_")]

    at_once(*[lambda one=one: process_event(event_id=one, now=thread.now) for one in mine * 2])
    thread.settle()

    assert Payment.objects.filter(status="succeeded").count() == 1
    assert ledger_queries.out_of_balance() == []
    assert balances()["revenue:subscription"] == 20


def test_polar_6134_cashier_1201_a_stale_event_does_not_overwrite_what_is_newer(thread: Thread) -> None:
    """`updated` of before the cancellation arrived after it, and the subscription was active again."""
    subscription = thread.subscribe()
    thread.settle()
    path = f"/v1/subscriptions/{subscription.stripe_subscription_id}"
    post(path, metadata={"note": "before the end"})
    stale = thread.new_events()
    gateway.request("delete", path)
    thread.settle()
    assert Subscription.objects.get().status == "canceled"

    for event in stale:
        assert post_event(event).status_code == 200
    thread.settle()

    assert Subscription.objects.get().status == "canceled"


def test_stripe_cli_418_events_of_one_second_may_come_in_any_order(thread: Thread) -> None:
    """`created`, `finalized` and `paid` of an invoice share a second: `created` last must not make it a draft again."""
    thread.subscribe()
    events = thread.new_events()
    assert len({event["created"] for event in events}) == 1
    for event in reversed(events):
        assert post_event(event).status_code == 200
        thread.now += timedelta(minutes=20)
        process_event(event_id=event["id"], now=thread.now)
    thread.settle()

    assert Invoice.objects.get().status == "paid"
    assert thread.unfinished() == []


def test_polar_13268_metronome_871_one_payment_told_by_several_events_has_its_effects_once(thread: Thread) -> None:
    """`order.paid` was sent twice, because two events told of one payment. Here every event of it comes three times."""
    thread.subscribe()
    thread.settle(copies=3)
    entries, before = ledger_queries.count_entries(), balances()

    thread.redeliver_everything()

    assert (ledger_queries.count_entries(), balances()) == (entries, before)
    assert set(InboxEvent.objects.values_list("deliveries", flat=True)) == {4}


def test_drf_stripe_subscription_35_an_event_of_an_unknown_customer_stops_nobody(thread: Thread) -> None:
    """A customer made at the dashboard: the handler raised, the endpoint answered 500, and Stripe switched it off."""
    stranger = gateway.request("post", "/v1/customers", {"name": "somebody"}).data["id"]
    gateway.request("post", f"/v1/customers/{stranger}", {"name": "somebody else"})
    thread.subscribe()

    thread.settle()

    assert thread.unfinished() == []
    assert Payment.objects.get().status == "succeeded"


def test_readthedocs_4503_a_redelivered_renewal_charges_once(thread: Thread) -> None:
    """Two recurring charges. Each event of the renewal comes twice, and again a day later."""
    thread.subscribe()
    thread.settle()
    thread.sandbox.advance(START.replace(month=11))
    thread.settle(copies=2)
    thread.sandbox.advance(START.replace(month=11, day=2))
    thread.redeliver_everything()

    assert thread.sandbox.counts()["charge"] == 2
    assert Payment.objects.filter(status="succeeded").count() == 2
    assert Invoice.objects.filter(status="paid").count() == 2


def test_open_saas_688_replay_of_a_paid_event_enters_nothing_again(thread: Thread) -> None:
    """One invoice.paid was replayed, at once by many, and its credit granted each time."""
    thread.subscribe()
    thread.settle()
    before = balances()
    paid = next(event for event in thread.events() if event["type"] == "invoice.paid")

    at_once(*[lambda: post_event(paid)] * 4)
    thread.settle()

    assert balances() == before
    assert InboxEvent.objects.get(pk=paid["id"]).deliveries == 5
