"""One person's limit is one, whichever way money is moved; a service has no more of it, and a scope of its own."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from billing.accounting.limits import moved_alone
from billing.customers.models import Customer
from billing.invoicing.orders.operations import OrderedLine
from billing.invoicing.requests import operations as about_invoices
from billing.invoicing.requests import terms
from billing.payments.disputing.operations import request_acceptance
from billing.payments.models import Dispute, Payment
from billing.payments.recovery.models import WriteOffRequest
from billing.payments.recovery.write_offs import request_write_off
from billing.payments.refunding.models import RefundRequest
from config import clock
from config.api_keys.models import ApiKey
from tests.billing.accounting.people import FIONA, FRED, NOON, adjust, hire
from tests.billing.accounting.stripe_story import payment_of, subscribed
from tests.billing.payments.recovering import failed, sandbox_now
from tests.billing.payments.test_refunding import ask, at_once
from tests.billing.thread import Thread


def test_all_ways_count_together(thread: Thread, settings: Settings) -> None:
    """9 by a manual entry, 10 by a one-off, 20 given up, 20 of a dispute, 1 refunded: 60, and then nothing alone."""
    settings.MANUAL_ENTRY_LIMITS = {"USD": Decimal(60)}
    hire()
    case = failed(thread)
    customer = Customer.objects.get()
    disputed = payment_of(customer, 2000, card="pm_card_createDispute")
    thread.settle()
    now = sandbox_now(thread)

    def enter(amount: str, actor: str = FIONA) -> bool:
        entry = adjust("refund_promised", amount, customer_key="ada", effective_at=now, now=now, actor=actor)
        return entry.needs_second_person

    def order(amount: int) -> bool:
        wanted = terms.one_off(customer_key="ada", lines=[OrderedLine("Work", amount)])
        made = about_invoices.ask(wanted, reason="x", actor=FIONA, idempotency_key=f"o{amount}", now=now)
        return made.needs_second_person

    assert not enter("9")
    assert not order(1000)
    given_up = request_write_off(case_id=case.pk, reason="x", idempotency_key="w", actor=FIONA, now=now)
    assert (given_up.alone_minor, given_up.needs_second_person) == (3900, False)
    dispute = Dispute.objects.get(payment__stripe_payment_intent_id=disputed)
    accepted = request_acceptance(dispute_id=dispute.pk, reason="x", idempotency_key="d", actor=FIONA, now=now)
    assert (accepted.alone_minor, accepted.needs_second_person) == (5900, False)
    paid = Payment.objects.get(invoice__isnull=False, status="succeeded")
    assert ask(paid, 100, now=now).alone_minor == 6000

    assert moved_alone(actor=FIONA, customer=customer, currency="USD", day=now.date()) == 60
    assert moved_alone(actor=FRED, customer=customer, currency="USD", day=now.date()) == 0
    assert (ask(paid, 1, now=now).needs_second_person, enter("0.01"), order(1)) == (True, True, True)
    assert not enter("0.01", actor=FRED)


def test_two_ways_at_once_are_within_one_limit(thread: Thread, settings: Settings) -> None:
    settings.MANUAL_ENTRY_LIMITS = {"USD": Decimal(30)}
    hire()
    case = failed(thread)
    paid = Payment.objects.get(status="succeeded")

    def give_up() -> object:
        return request_write_off(case_id=case.pk, reason="x", idempotency_key="w", actor=FIONA, now=NOON)

    assert at_once(give_up, lambda: ask(paid, 1500)) == []
    asked = [RefundRequest.objects.get().needs_second_person, WriteOffRequest.objects.get().needs_second_person]
    assert sorted(asked) == [False, True]


def test_a_service_refunds_within_the_limit_by_a_scope_of_its_own(
    thread: Thread, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a service asks for above it is refused: who holds its key could approve it as the second person."""
    settings.MANUAL_ENTRY_LIMITS = {"USD": Decimal(10)}
    payment = subscribed(thread)
    monkeypatch.setattr(clock, "now", lambda: NOON)
    client = Client()

    def send(amount: int, *scopes: str) -> tuple[int, dict[str, Any]]:
        _, key = ApiKey.objects.create_key(name="desk", scopes=["billing:read", *scopes])
        body = {"amount_minor": amount, "reason_code": "goodwill", "reason": "sorry"}
        headers = {"Authorization": f"Api-Key {key}", "Idempotency-Key": f"k{amount}{len(scopes)}"}
        address = f"/api/v1/billing/payments/{payment.stripe_payment_intent_id}/refunds"
        answer = client.post(address, json.dumps(body), content_type="application/json", headers=headers)
        return answer.status_code, answer.json()

    status, told = send(500, "billing:write")
    assert (status, "refunds:write" in told["detail"]) == (403, True)
    status, made = send(500, "refunds:write")
    assert (status, made["state"]) == (201, "agreed")
    status, told = send(501, "refunds:write")
    assert (status, told["field"], "A person has to ask" in told["detail"]) == (422, "amount_minor", True)
    assert list(RefundRequest.objects.values_list("amount_minor", flat=True)) == [500]
