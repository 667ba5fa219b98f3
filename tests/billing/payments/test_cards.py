"""Cards: what we keep of them, whom we warn, and whom not."""

from datetime import UTC, datetime

from billing.payments.recovery.cards import valid_until, warn_of_expiry
from billing.payments.recovery.models import Message, PaymentCard
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


def test_december_is_followed_by_january() -> None:
    assert valid_until(PaymentCard(exp_month=12, exp_year=2026)) == datetime(2027, 1, 1, tzinfo=UTC)
