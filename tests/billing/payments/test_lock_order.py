"""
Whoever moves a customer's money waits for the customer first.

The entries of an invoice, a payment and a balance movement touch the same accounts in different orders: without one
lock before all others, two workers at a month's end wait for each other until PostgreSQL kills one.
"""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from billing.invoicing.models import Invoice
from billing.invoicing.operations import project_invoice
from billing.payments.operations import project_payment, record_customer_balance_transactions
from billing.stripe import gateway, readers
from billing.subscriptions.models import Subscription
from tests.billing.thread import Thread

Move = Callable[[Subscription, Thread], Any]


def an_invoice(subscription: Subscription, thread: Thread) -> object:
    fetched = gateway.retrieve(f"/v1/invoices/{Invoice.objects.get().stripe_invoice_id}")
    return project_invoice(fetched, lines=readers.all_lines(fetched), subscription=subscription, now=thread.now)


def a_payment(subscription: Subscription, thread: Thread) -> object:
    [intent] = gateway.listed("/v1/payment_intents", customer=subscription.customer.stripe_customer_id)
    fetched = readers.payment_intent_with_charge(intent["id"])
    return project_payment(fetched, customer=subscription.customer, invoice=Invoice.objects.get(), now=thread.now)


def a_balance_movement(subscription: Subscription, thread: Thread) -> object:
    movement = {
        "id": "cbtxn_1",
        "type": "adjustment",
        "amount": -500,
        "currency": "usd",
        "ending_balance": -500,
        "created": int(thread.now.timestamp()),
    }
    return record_customer_balance_transactions([movement], customer=subscription.customer, now=thread.now)


@pytest.mark.parametrize("move", [an_invoice, a_payment, a_balance_movement])
def test_waits_for_the_customer_before_any_account(
    move: Move, thread: Thread, app_connection: psycopg.Connection
) -> None:
    subscription = thread.subscribe()
    thread.settle()

    with app_connection.transaction():
        app_connection.execute(
            "SELECT FROM billing_customer WHERE id = %s FOR NO KEY UPDATE", [subscription.customer_id]
        )
        with pytest.raises(OperationalError, match="lock timeout"):
            _impatiently(move, subscription, thread)

    with transaction.atomic():
        move(subscription, thread)


@transaction.atomic
def _impatiently(move: Move, subscription: Subscription, thread: Thread) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '100ms'")
    move(subscription, thread)
