"""Usage that Stripe says it does not count after the close was compared: never lost, and decided by people."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from billing.admin_links import page_url
from billing.figures import Figure
from billing.invoicing.closing import advance_close
from billing.invoicing.holding import ReleaseRefused, release_close
from billing.invoicing.metered import ends
from billing.invoicing.metered.closing import hold_refused
from billing.invoicing.metered.deciding import decide_shortfall, settle_shortfalls
from billing.invoicing.metered.models import MeteredEvent, MeteredShortfall
from billing.invoicing.metered.sending import record_not_counted, send_again
from billing.invoicing.metered.shortfalls import amounts_waiting
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceCloseStep, InvoiceLine
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.proofs.operations import verify_invoice
from billing.payments.two_people import AlreadyDecided, InvalidRequest
from billing.rating.queries import uninvoiced
from billing.stripe.models import InboxEvent
from config import roles
from ledger import queries as ledger_queries
from tests.billing.invoicing.late import assert_reconciled
from tests.billing.invoicing.metered.test_attacks import assert_refused, signed_in
from tests.billing.invoicing.metered.test_network import cancel
from tests.billing.invoicing.metered.world import OCT_10, Metered, at_stripe, charged
from tests.billing.invoicing.ordering import FINANCE, people
from tests.billing.thread import SECOND_MONTH

HOUR = timedelta(hours=1)


LESS_CHARGED = (
    "UPDATE billing_invoiceline SET amount_minor = 299, exact_amount = 2.99, rounding = 0"
    " WHERE metered_price_id IS NOT NULL AND amount_minor > 0"
)
ONE_MORE = (
    "INSERT INTO billing_meteredshortfall (event_id, close_id, amount_minor, found_at)"
    " SELECT min(id), {close}, 300, now() FROM billing_meteredevent"
)


def compared(metered: Metered, *customers: str, until: str = "verified") -> list[InvoiceClose]:
    """Closes of a month with 3.00 and 3.00 on the meter, compared and not final; of each, Stripe loses the last."""
    people()
    user = User.objects.get(username=FINANCE.removeprefix("user:"))
    user.user_permissions.add(Permission.objects.get(codename="decide_meteredshortfall"))
    for customer in customers:
        metered.subscribe(customer)
    metered.settle()
    for at in (OCT_10, SECOND_MONTH - HOUR):
        metered.at(at)
        for customer in customers:
            metered.use(1_000_000, at=at, customer_key=customer)
        metered.send()
    metered.at(SECOND_MONTH)
    metered.settle(is_closing=False)
    closes = list(InvoiceClose.objects.order_by("pk"))
    assert {brought(close, metered, until=until) for close in closes} == {until}
    return list(InvoiceClose.objects.order_by("pk"))


def brought(close: InvoiceClose, metered: Metered, *, until: str) -> str:
    """Advance a close up to a step, and no further."""
    step = ""
    for _ in range(8):
        step = advance_close(close_id=close.pk, now=metered.now)
        if step == until:
            break
        metered.now += timedelta(minutes=1)
    return step


def last_event(close: InvoiceClose) -> MeteredEvent:
    return MeteredEvent.objects.filter(period=close.period).latest("number")


def report(close: InvoiceClose, metered: Metered) -> MeteredEvent:
    """Stripe loses the last event of a close, and says so."""
    event = last_event(close)
    cancel(event)
    told(event, metered)
    return event


def told(event: MeteredEvent, metered: Metered) -> None:
    with transaction.atomic():
        record_not_counted(identifiers={event.identifier: "meter_event_lost: a report"}, now=metered.now)


def overview(client: Client, name: str = "Usage Stripe left off an invoice") -> Figure:
    figures: list[Figure] = client.get(reverse("admin:index")).context["health_figures"]
    return next(figure for figure in figures if figure.name == name)


def release(close: InvoiceClose, metered: Metered) -> None:
    release_close(close_id=close.pk, words="settled", actor=FINANCE, now=metered.now)


def test_sent_again_and_decided(metered: Metered, app_connection: psycopg.Connection) -> None:
    """Ada's is sent again; of Bob, Stripe takes it no more: he is asked for it on the next invoice."""
    ada, bob = compared(metered, "ada", "bob")
    lost = report(ada, metered)
    report(bob, metered)
    roles.sync_roles()
    finance = signed_in(roles.FINANCE)
    shown = overview(finance)
    assert (shown.value, shown.note.startswith("$6.00"), shown.tone) == ("2", True, "bad")
    assert finance.get(shown.url).content.decode().count("Waits for a person") >= 2
    ada.refresh_from_db()
    assert ada.held_reason.startswith("$3.00 of usage of ")
    with pytest.raises(ReleaseRefused, match="does not count at Stripe"):
        release(ada, metered)
    attacks = [
        ("UPDATE billing_meteredshortfall SET amount_minor = 1", "billing_meteredshortfall_append_only"),
        ("DELETE FROM billing_meteredshortfall", "billing_meteredshortfall_kept"),
        (LESS_CHARGED, "billing_invoiceline_left_off"),
        (ONE_MORE.format(close=ada.pk), "billing_meteredshortfall_of_its_close"),
    ]
    assert_refused(attacks, app_connection)

    made = send_again(event_id=lost.pk, reason="the meter was mended", actor=FINANCE, now=metered.now)
    assert made is not None
    assert made.units == 300
    assert settle_shortfalls(now=metered.now) == 1
    assert send_again(event_id=lost.pk, reason="twice", actor=FINANCE, now=metered.now) is None
    release(ada, metered)

    shortfall = MeteredShortfall.objects.get(close=bob)
    page = reverse("admin:billing_meteredshortfall_decide", args=[shortfall.pk])
    assert signed_in(roles.CUSTOMER_SUCCESS).get(page).status_code == 403
    assert "$3.00 of usage" in finance.get(page).content.decode()
    assert finance.post(page, {"way": "next_invoice", "words": ""}).status_code == 422
    assert finance.post(page, {"way": "next_invoice", "words": "too late"}).status_code == 302
    assert "Finance, " in finance.get(page_url("billing.meteredshortfall", shortfall.pk)).content.decode()
    assert overview(finance).value == "0"
    release(bob, metered)
    metered.settle()

    first, second = (Invoice.objects.get(pk=close.invoice_id) for close in (ada, bob))
    assert (charged(first), at_stripe(first), first.status) == ([("input_tokens", 600, True)], [600, 2000], "paid")
    assert (charged(second), at_stripe(second), second.status) == ([("input_tokens", 300, True)], [300, 2000], "paid")
    for invoice in (first, second):
        assert verify_invoice(invoice=invoice, actor="user:tester", now=metered.now).differences == []
    assert ledger_queries.out_of_balance() == []
    (left,) = uninvoiced(second.subscription_id or 0, shortfall.event.period_id)  # the next invoice asks for it
    assert left.amount == 3
    metered.sandbox.advance(SECOND_MONTH + HOUR)
    assert_reconciled(metered)
    told(made, metered)  # of what is on its invoice in full: nothing was left off
    assert amounts_waiting() == []


def test_what_stripe_finalised_without_it_is_entered_once_it_is_decided(metered: Metered) -> None:
    """
    A report comes after the invoice is final without the last event: it is not in our books, until somebody decides
    that nobody asks Bob for it.
    """
    (bob,) = compared(metered, "bob", until="accrued")
    the_database_refuses_in_words(bob, metered)
    assert brought(bob, metered, until="proved") == "proved"
    cancel(last_event(bob))
    assert advance_close(close_id=bob.pk, now=metered.now) == "finalized"
    metered.settle()
    told(last_event(bob), metered)
    assert amounts_waiting() == [("USD", 1, 300)]
    second = Invoice.objects.get(pk=bob.invoice_id)
    assert second.finalized_at is None  # not entered: Stripe charges 3.00, and ours says 6.00

    shortfall = MeteredShortfall.objects.get(close=bob)
    given: dict[str, Any] = {"shortfall_id": shortfall.pk, "actor": FINANCE, "now": metered.now, "reason": "goodwill"}
    with pytest.raises(InvalidRequest, match="is not one of"):
        decide_shortfall(**given, way="sent_again")
    decide_shortfall(**given, way="absorb")
    with pytest.raises(AlreadyDecided):
        decide_shortfall(**given, way="next_invoice")
    # One that was in work then and failed afterwards is tried again, once.
    failed = InboxEvent.objects.filter(object_id=second.stripe_invoice_id, state="received")
    assert failed.update(state="failed", replayed_at=None)
    assert settle_shortfalls(now=metered.now) == 0
    assert failed.exists()
    metered.settle()
    second.refresh_from_db()
    assert (charged(second), second.status, second.total_minor) == ([("input_tokens", 300, True)], "paid", 2300)
    assert settle_shortfalls(now=metered.now) == 0
    assert amounts_waiting() == []
    assert ledger_queries.balance_of("unbilled:bob:USD") == 0
    assert InvoiceClose.objects.get().held_reason == ""
    with pytest.raises(IntegrityError) as refused, transaction.atomic():  # it is in the ledger
        InvoiceLine.objects.filter(invoice=second, amount_minor=300).update(amount_minor=0, exact_amount=0)
    diag = getattr(refused.value.__cause__, "diag", None)
    assert diag is not None
    assert diag.constraint_name == "billing_invoiceline_left_off"
    assert verify_invoice(invoice=second, actor="user:tester", now=metered.now).differences == []
    an_end_beside_fees_is_on_the_overview(second, metered)


def the_database_refuses_in_words(close: InvoiceClose, metered: Metered) -> None:
    """A report comes in between: the line says 6.00, and 3.00 count. The next run sends it again."""
    report(close, metered)
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        InvoiceCloseStep.objects.create(close=close, step="verified", recorded_at=metered.now)
    assert hold_refused(close_id=close.pk, refused=refused.value, now=metered.now)
    close.refresh_from_db()
    line = close.invoice.lines.get(metered_price__isnull=False, amount_minor=600)
    assert close.held_reason.startswith(
        f"invoice {close.invoice.stripe_invoice_id} charges 600 minor units of usage on line {line.pk} (claude-sonnet-5"
        " input tokens"
    )
    assert "and 300 that were sent to Stripe's meter" in close.held_reason
    assert "; Stripe's summary was not read. Look at the meter events of the period: have sent" in close.held_reason
    assert not hold_refused(close_id=close.pk, refused=IntegrityError("something else"), now=metered.now)
    release(close, metered)


def an_end_beside_fees_is_on_the_overview(invoice: Invoice, metered: Metered) -> None:
    """Until somebody ended Stripe's draft; then the order goes on."""
    order = InvoiceOrder.objects.create(
        kind="closing",
        customer=invoice.customer,
        subscription=invoice.subscription,
        period=invoice.close.period,
        currency="USD",
        reason="the end",
        ordered_by="service:subscriptions",
        ordered_at=metered.now,
        idempotency_key="the end",
        error=ends.FOR_A_PERSON.format(invoice="in_of_stripe"),
        next_attempt_at=metered.now,
    )
    roles.sync_roles()
    finance = signed_in(roles.FINANCE)
    shown = overview(finance, "Ends with fees and usage on Stripe's draft")
    assert (shown.value, shown.tone, "draft in_of_stripe bills usage beside fees" in shown.note) == ("1", "bad", True)
    assert finance.get(shown.url).status_code == 200
    InvoiceOrder.objects.filter(pk=order.pk).update(error="")
    assert overview(finance, "Ends with fees and usage on Stripe's draft").value == "0"
