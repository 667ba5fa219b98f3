"""Cards: what we keep of them, whom we warn, and whom not."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from django.db import connection, transaction

from billing.customers.models import Customer
from billing.payments.recovery.cards import project_card, valid_until, warn_of_expiry
from billing.payments.recovery.models import Message, PaymentCard
from billing.stripe import gateway
from tests.billing.accounting.stripe_story import post
from tests.billing.thread import Thread

OCTOBER = datetime(2026, 10, 5, tzinfo=UTC)


def test_a_card_is_followed_and_its_end_told_once_a_month(thread: Thread) -> None:
    thread.subscribe()
    thread.settle()
    card = PaymentCard.objects.get()
    assert (card.brand, card.last4, card.is_default) == ("visa", "4242", True)
    assert warn_of_expiry(now=OCTOBER) == 0

    # It ends with October, and the next charge is on the first of November.
    thread.sandbox.renew_card(card.stripe_payment_method_id, exp_month=10, exp_year=2026)
    thread.settle()
    card.refresh_from_db()
    assert valid_until(card) == datetime(2026, 11, 1, tzinfo=UTC)
    assert [warn_of_expiry(now=OCTOBER), warn_of_expiry(now=OCTOBER)] == [1, 0]
    [told] = Message.objects.all()
    assert told.context["card"] == "visa ending in 4242"
    assert (told.to, told.context["expires"]) == ("ada@example.com", "2026-10")

    # The bank renews it: payment_method.automatically_updated.
    thread.sandbox.renew_card(card.stripe_payment_method_id, exp_month=10, exp_year=2029)
    thread.settle()
    assert warn_of_expiry(now=OCTOBER) == 0


def test_a_card_that_no_longer_pays_is_not_told_of(thread: Thread) -> None:
    thread.subscribe()
    thread.settle()
    old = PaymentCard.objects.get()
    thread.sandbox.renew_card(old.stripe_payment_method_id, exp_month=10, exp_year=2026)
    thread.use_card("ada", "pm_card_mastercard")
    thread.settle()
    thread.redeliver_everything()

    assert list(PaymentCard.objects.filter(is_default=True).values_list("brand", flat=True)) == ["mastercard"]
    assert warn_of_expiry(now=OCTOBER) == 0

    post(f"/v1/payment_methods/{old.stripe_payment_method_id}/detach")
    thread.settle()
    old.refresh_from_db()
    assert old.detached_at is not None


def test_two_events_at_once_make_one_row(thread: Thread) -> None:
    """Its own event and its customer's: two workers, each for another object, read no row and would both make it."""
    thread.subscribe()
    customer = Customer.objects.get()
    fetched = gateway.retrieve(
        f"/v1/customers/{customer.stripe_customer_id}", expand=("invoice_settings.default_payment_method",)
    )
    card = fetched["invoice_settings"]["default_payment_method"]
    together = threading.Barrier(4)

    def project() -> None:
        try:
            together.wait(timeout=60)
            with transaction.atomic():
                project_card(card, customer=customer, now=thread.now)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as workers:
        for done in [workers.submit(project) for _ in range(4)]:
            done.result()

    assert PaymentCard.objects.count() == 1


def test_december_is_followed_by_january() -> None:
    assert valid_until(PaymentCard(exp_month=12, exp_year=2026)) == datetime(2027, 1, 1, tzinfo=UTC)
