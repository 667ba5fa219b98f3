"""Two real connections at once: senders, an accrual, a report of errors, and the close. Each increment is sent once."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction

from billing.invoicing.closing import advance_close
from billing.invoicing.metered.models import MeteredEvent, MeteredPrice
from billing.invoicing.metered.sending import record_not_counted, send_usage, write_events
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceCloseStep
from billing.rating.operations import accrue_period
from billing.subscriptions.models import BillingPeriod
from tests.billing.invoicing.metered.test_network import begun, states
from tests.billing.invoicing.metered.world import OCT_10, OCT_20, Metered, at_stripe, charged, units
from tests.billing.rating.test_accrual_races import wait_until_somebody_waits_for_a_lock
from tests.billing.thread import SECOND_MONTH


class Other:
    """What another process does at the same time, on a connection of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work, self._said = work, list[Any]()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._said.append(self._work())
        except Exception as error:  # noqa: BLE001  (whoever asks for the result sees it)
            self._said.append(error)
        finally:
            connections.close_all()

    def result(self) -> Any:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "it still waits"
        return self._said[0]


def test_senders_an_accrual_and_a_report_at_once(metered: Metered) -> None:
    period = begun(metered)
    metered.aggregate()
    # While the period is accrued a sender neither waits nor sends half of it.
    with transaction.atomic():
        accrue_period(period_id=period.pk, now=OCT_10)
        assert Other(lambda: send_usage(now=OCT_10)).result() == 0
    assert units(period) == []
    # One has written what it sends; another finds the period held, and then what is under way: both send the same.
    with transaction.atomic():
        assert len(write_events([period.pk], actor="task:test", now=OCT_10)) == 1
        assert Other(lambda: send_usage(now=OCT_10)).result() == 0
    two = [Other(lambda: send_usage(now=OCT_10)) for _ in range(2)]
    assert [one.result() for one in two] == [0, 0]  # new ones: there is none
    assert (states(period), metered.summary(period)) == ([(300, "accepted")], 300)
    # Two at once where something moved.
    metered.at(OCT_20)
    metered.use(1_000_000, at=OCT_20)
    metered.aggregate()
    accrue_period(period_id=period.pk, now=OCT_20)
    for one in [Other(lambda: send_usage(now=OCT_20)) for _ in range(2)]:
        one.result()
    assert (units(period), metered.summary(period)) == ([300, 300], 600)
    # A report that an event does not count overtakes the answer that Stripe took it: that stays.
    price = MeteredPrice.objects.get(rate__meter_code="input_tokens")
    metered.sandbox.alter(price.stripe_meter_id, customer_mapping={"type": "by_id", "event_payload_key": "somebody"})
    metered.use(1_000_000, at=OCT_20)
    metered.aggregate()
    accrue_period(period_id=period.pk, now=OCT_20)
    (lost,) = write_events([period.pk], actor="task:test", now=OCT_20)
    with transaction.atomic():
        assert record_not_counted(identifiers={lost.identifier: "meter_event_no_customer"}, now=OCT_20) == 1
        sender = Other(lambda: send_usage(now=OCT_20))
        wait_until_somebody_waits_for_a_lock()
    assert isinstance(sender.result(), int)
    assert states(period)[2] == (300, "not_counted")
    assert MeteredEvent.objects.exclude(again_of=None).get().again_of == lost
    assert sum(one.units for one in MeteredEvent.objects.exclude(state="not_counted")) == 900


def test_a_sender_beside_the_close(metered: Metered) -> None:
    period = begun(metered)
    metered.send()
    metered.use(1_000_000, at=OCT_20)
    metered.at(SECOND_MONTH)
    metered.aggregate()
    accrue_period(period_id=period.pk, now=SECOND_MONTH)
    metered.settle(is_closing=False)
    close = InvoiceClose.objects.get()
    # The sender has written its event, and not sent it, when the close writes the lines: it waits, and counts it.
    with transaction.atomic():
        write_events([period.pk], actor="task:test", now=SECOND_MONTH)
        closing = Other(lambda: advance_close(close_id=close.pk, now=metered.now))
        wait_until_somebody_waits_for_a_lock()
    assert closing.result() == "accrued"
    # Its lines are written: a sender finds a period that is closed.
    assert Other(lambda: write_events([period.pk], actor="task:test", now=SECOND_MONTH)).result() == []
    assert advance_close(close_id=close.pk, now=metered.now) == "items_pushed"
    assert (units(period), metered.summary(period)) == ([300, 300], 600)
    # Something is sent again while the close is compared: the comparison waits, and is refused until that is settled.
    lost = MeteredEvent.objects.latest("pk")
    with transaction.atomic():
        record_not_counted(identifiers={lost.identifier: "lost"}, now=metered.now)
    with transaction.atomic():
        assert len(write_events([period.pk], actor="user:tester", now=metered.now, is_close=True)) == 1
        comparing = Other(
            lambda: InvoiceCloseStep.objects.create(close=close, step="verified", recorded_at=metered.now, detail="")
        )
        wait_until_somebody_waits_for_a_lock()
    with pytest.raises(IntegrityError, match=r"charges 600 minor units .* an event of them has no answer yet"):
        raise comparing.result()
    assert BillingPeriod.objects.get(pk=period.pk).state == "closed"
    # Stripe had counted the one that was said to be lost: the close waits, as 9.00 are there for a line of 6.00.
    metered.settle()
    close.refresh_from_db()
    assert (close.step, "counts 900 increments" in close.error) == ("items_pushed", True)
    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    assert (charged(invoice), invoice.status, at_stripe(invoice)[-1]) == ([("input_tokens", 600, True)], "draft", 2000)
