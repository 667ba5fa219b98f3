"""Invoices that Stripe cannot finalise: seen with Stripe's reason, and tried again when that is gone."""

import pytest

from billing.invoicing.holding import release_close
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.orders.carrying_out import carry_out, due_orders
from billing.machine_health import health_figures
from billing.overview import failed_events, held_closes
from billing.stripe import gateway
from billing.stripe.models import OutboxIntent
from tests.billing.accounting.stripe_story import days_pass, post
from tests.billing.invoicing.ordering import FINANCE
from tests.billing.invoicing.test_orders_come_to_nothing import ended
from tests.billing.thread import Thread

__all__ = ["ended"]
TAXED = {"enabled": True, "liability": {"type": "self"}, "status": "requires_location_inputs"}
BERLIN = {"country": "DE", "postal_code": "10115"}
REASON = "customer_tax_location_invalid: The customer's location isn't recognized."


@pytest.fixture
def refused(ended: Thread) -> InvoiceClose:
    """The closing invoice of 12.00 is to be taxed by place, and nobody told Stripe where Ada is."""
    (order_id,) = due_orders(now=ended.now, limit=10)
    carry_out(order_id=order_id, now=ended.now)
    close = InvoiceClose.objects.get()
    ended.sandbox.alter(close.invoice.stripe_invoice_id, automatic_tax=TAXED)
    ended.settle()
    close.refresh_from_db()
    return close


def test_a_close_that_stripe_refuses_to_finalise_says_why_and_is_tried_again_by_whoever_lets_it_go_on(
    ended: Thread, refused: InvoiceClose
) -> None:
    assert (refused.step, refused.invoice.status) == ("proved", "draft")
    assert REASON in refused.held_reason
    assert [close for close, _ in held_closes(now=ended.now)] == [refused]

    release_close(close_id=refused.pk, words="she says she lives in Berlin", actor=FINANCE, now=ended.now)
    ended.settle()
    refused.refresh_from_db()
    assert REASON in refused.held_reason  # nothing was mended

    ended.sandbox.alter(str(refused.invoice.customer.stripe_customer_id), address=BERLIN)
    release_close(close_id=refused.pk, words="now Stripe knows it", actor=FINANCE, now=ended.now)
    ended.settle()
    refused.refresh_from_db()
    assert (refused.step, refused.held_reason) == ("finalized", "")
    assert Invoice.objects.get(pk=refused.invoice_id).status == "paid"
    intent = OutboxIntent.objects.get(purpose=f"close:{refused.pk}:finalize")
    tries = [(one.outcome, one.actor, one.reason) for one in intent.tries.all()]
    assert (intent.state, tries[-1]) == ("succeeded", ("succeeded", FINANCE, "now Stripe knows it"))


def test_a_change_of_the_customer_lets_it_be_tried_again_by_itself(ended: Thread, refused: InvoiceClose) -> None:
    post(f"/v1/customers/{refused.invoice.customer.stripe_customer_id}", description="Nobody knows where")
    ended.settle()
    refused.refresh_from_db()
    assert REASON in refused.held_reason

    post(f"/v1/customers/{refused.invoice.customer.stripe_customer_id}", address=BERLIN)
    ended.settle()
    refused.refresh_from_db()
    assert (refused.step, refused.held_reason) == ("finalized", "")
    assert Invoice.objects.get(pk=refused.invoice_id).status == "paid"


def by_hand(thread: Thread) -> str:
    """Somebody writes an invoice of 30.00 in the dashboard, which Stripe is to finalise after an hour."""
    customer = gateway.request("get", "/v1/customers", {"limit": 1}).data["data"][0]["id"]
    invoice = post("/v1/invoices", customer=customer, auto_advance=True)["id"]
    post("/v1/invoiceitems", customer=customer, invoice=invoice, amount=3000, currency="usd",
         metadata={"kind": "one_off"})  # fmt: skip
    thread.sandbox.alter(invoice, automatic_tax=TAXED)
    thread.settle()
    return str(invoice)


def figure(thread: Thread) -> tuple[str, str]:
    figures = health_figures(may=lambda permission: permission == "billing.view_invoice", now=thread.now)
    return next((one.value, one.note) for one in figures if one.name == "Stripe could not finalise")


def test_a_draft_of_somebody_else_that_stripe_could_not_finalise_is_shown_until_it_is_mended(thread: Thread) -> None:
    thread.subscribe()
    invoice = by_hand(thread)
    assert figure(thread)[0] == "0"
    days_pass(thread, 1)

    failed = {event.type: event for event in failed_events()}["invoice.finalization_failed"]
    assert failed.state == "dead"
    assert f"Stripe could not finalise {invoice}: {REASON}" in failed.error
    number, note = figure(thread)
    assert (number, REASON in note) == ("1", True)
    assert Invoice.objects.get(stripe_invoice_id=invoice).status == "draft"

    thread.redeliver_everything()
    assert figure(thread)[0] == "1"
    customer = Invoice.objects.get(stripe_invoice_id=invoice).customer
    post(f"/v1/customers/{customer.stripe_customer_id}", address=BERLIN)
    post(f"/v1/invoices/{invoice}/finalize", auto_advance=True)
    thread.settle()
    assert (figure(thread)[0], failed_events()) == ("0", [])
    assert Invoice.objects.get(stripe_invoice_id=invoice).status == "paid"


def test_one_that_is_deleted_needs_nobody_any_more(thread: Thread) -> None:
    thread.subscribe()
    invoice = by_hand(thread)
    days_pass(thread, 1)
    assert figure(thread)[0] == "1"
    gateway.request("delete", f"/v1/invoices/{invoice}")
    thread.settle()
    assert (figure(thread)[0], failed_events()) == ("0", [])
