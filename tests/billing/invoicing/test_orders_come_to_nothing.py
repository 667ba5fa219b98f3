"""Orders that Stripe refuses, and drafts that are lost there: seen by a person, and made once more."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from billing.customers.operations import lock_customer
from billing.invoicing.closing import advance_close
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.orders.carrying_out import carry_out, due_orders
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.orders.operations import order_closing_invoice
from billing.invoicing.orders.repeating import OrderRefused, order_again, waiting_for_a_person
from billing.machine_health import health_figures
from billing.rating import queries as rating_queries
from billing.stripe import gateway, outbox
from billing.subscriptions.models import BillingPeriod
from tests.billing.invoicing.late import OCT_10, OCT_20, assert_reconciled, cancel, october
from tests.billing.invoicing.ordering import FINANCE, SUCCESS, carry_out_all, invoice_of, people
from tests.billing.thread import Thread


@pytest.fixture
def ended(thread: Thread) -> Thread:
    """The subscription ended on 20 October with 12.00 of usage, and its closing invoice is ordered."""
    people()
    thread.subscribe()
    thread.use(4_000_000, at=OCT_10)
    thread.settle()
    thread.sandbox.advance(OCT_20)
    cancel(thread)
    BillingPeriod.objects.filter(pk=october().pk).update(ends_at=OCT_20)
    with transaction.atomic():
        lock_customer(customer_id=october().subscription.customer_id)
        order_closing_invoice(period=october(), actor="user:tester", now=thread.now)
    thread.now += timedelta(minutes=1)
    thread.aggregate()
    return thread


def drafted(thread: Thread) -> InvoiceClose:
    """The draft of the closing invoice with our lines written, and nothing pushed yet."""
    (order_id,) = due_orders(now=thread.now, limit=10)
    close_id = carry_out(order_id=order_id, now=thread.now)
    assert close_id is not None
    assert advance_close(close_id=close_id, now=thread.now) == "accrued"
    return InvoiceClose.objects.select_related("invoice").get(pk=close_id)


def delete(invoice: Invoice) -> None:
    gateway.request("delete", f"/v1/invoices/{invoice.stripe_invoice_id}")


def refused_figure(now: datetime) -> str:
    figures = health_figures(may=lambda permission: permission == "billing.view_invoiceorder", now=now)
    return next(figure.value for figure in figures if figure.name == "Invoice orders refused")


def test_a_closing_order_that_stripe_refuses_is_shown_and_made_once_more(
    ended: Thread, settings: Settings, client: Client
) -> None:
    """Its tax rate was archived meanwhile, as of the invoice that it is taxed like."""
    settings.STATIC_ROOT = None
    rate = gateway.request("post", "/v1/tax_rates", {"display_name": "VAT", "percentage": 20, "inclusive": False}).data
    gateway.request("post", f"/v1/tax_rates/{rate['id']}", {"active": False})
    order = InvoiceOrder.objects.get()
    stripe_customer_id = order.customer.stripe_customer_id
    InvoiceOrder.objects.update(
        request={"customer": stripe_customer_id, "auto_advance": False, "default_tax_rates": [rate["id"]]}
    )
    carry_out_all(ended)
    order.refresh_from_db()
    assert (order.state, order.invoice) == ("refused", None)
    assert (refused_figure(ended.now), order_closing(ended)) == ("1", order)

    again: dict[str, Any] = {"order_id": order.pk, "now": ended.now}
    with pytest.raises(OrderRefused, match="permission"):
        order_again(words="x", actor=SUCCESS, **again)
    with pytest.raises(OrderRefused, match="Say what was mended"):
        order_again(words=" ", actor=FINANCE, **again)
    client.force_login(User.objects.get(username="fiona"))
    address = reverse("admin:billing_invoiceorder_again", args=[order.pk])
    assert order.outcome[:20] in client.get(address).content.decode()
    assert client.post(address, {"words": "the rate is active again"}).status_code == 302
    repeated = order_again(words="said twice", actor=FINANCE, **again)
    assert (InvoiceOrder.objects.count(), repeated.repeats, repeated.ordered_by) == (2, order, FINANCE)
    carry_out_all(ended)

    assert (invoice_of(repeated).status, invoice_of(repeated).total_minor) == ("paid", 1200)
    assert refused_figure(ended.now) == "0"
    with pytest.raises(OrderRefused, match="nothing to make once more"):
        order_again(order_id=repeated.pk, words="x", actor=FINANCE, now=ended.now)
    assert_reconciled(ended)


def order_closing(thread: Thread) -> InvoiceOrder:
    """What whoever ends a subscription says again with each event."""
    with transaction.atomic():
        lock_customer(customer_id=october().subscription.customer_id)
        return order_closing_invoice(period=october(), actor="user:tester", now=thread.now)


def test_a_draft_that_is_deleted_gives_its_usage_free_and_is_made_once_more(ended: Thread) -> None:
    close = drafted(ended)
    delete(close.invoice)
    ended.settle()
    order, invoice = InvoiceOrder.objects.get(), Invoice.objects.get(pk=close.invoice_id)
    close.refresh_from_db()
    assert (invoice.status, invoice.finalized_at) == ("void", None)
    assert (close.step, close.held_reason, close.period) == ("ended", "", None)
    assert close.steps.last().detail == f"The draft {invoice.stripe_invoice_id} was deleted at Stripe"  # type: ignore[union-attr]
    assert order.state == "lost"
    assert waiting_for_a_person(now=ended.now).get() == order
    (left,) = rating_queries.uninvoiced(october().subscription_id, october().pk)
    assert left.amount == 12
    assert ended.balances()["unbilled"] == 12

    # Ordered again, and deleted again: now the close itself finds it, before the event comes.
    second = order_again(order_id=order.pk, words="a mistake", actor=FINANCE, now=ended.now)
    close = drafted(ended)
    delete(close.invoice)
    assert advance_close(close_id=close.pk, now=ended.now) == "ended"
    assert advance_close(close_id=close.pk, now=ended.now) == "ended"
    second.refresh_from_db()
    assert (Invoice.objects.get(pk=close.invoice_id).status, second.state) == ("void", "lost")

    third = order_again(order_id=second.pk, words="another one", actor=FINANCE, now=ended.now)
    carry_out_all(ended)
    assert (invoice_of(third).status, invoice_of(third).total_minor) == ("paid", 1200)
    assert october().state == "closed"
    assert "unbilled" not in ended.balances()
    ended.redeliver_everything()
    assert Invoice.objects.filter(status="void").count() == 2
    assert_reconciled(ended)


def test_no_line_is_written_for_a_draft_that_is_none_any_more(ended: Thread) -> None:
    """The worker died after Stripe had made the draft, and somebody finalised it."""
    order = InvoiceOrder.objects.get()
    request = {"customer": order.customer.stripe_customer_id, "currency": "usd", "auto_advance": False}
    InvoiceOrder.objects.update(request=request)
    purpose = f"invoice_order:{order.pk}:invoice"
    made = outbox.perform(purpose=purpose, operation="invoices.create", target="", params=request, now=ended.now)
    gateway.request("post", f"/v1/invoices/{made['id']}/finalize")
    assert carry_out(order_id=order.pk, now=ended.now) is None
    order.refresh_from_db()
    assert (order.state, "before our lines were on it" in order.outcome) == ("lost", True)
    assert rating_queries.uninvoiced(october().subscription_id, october().pk)[0].amount == 12
    assert not InvoiceClose.objects.exists()
