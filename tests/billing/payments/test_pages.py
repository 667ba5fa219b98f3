"""The pages of recovery and refunds, and their addresses: what each role sees and may do, empty and with something."""

import re
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from psycopg import errors
from pytest_django.fixtures import Settings

from billing.admin_links import list_url, page_url
from billing.payments.models import Payment
from billing.payments.recovery.messages import TEXTS
from billing.payments.recovery.models import Message, RecoveryCase, RecoveryPolicy, WriteOffRequest
from billing.payments.refunding.batches import progress_of, progress_of_all
from billing.payments.refunding.models import RefundBatch, RefundRequest
from tests.billing.accounting.people import EMRE, FIONA, FRED, SAM, hire, user_of
from tests.billing.payments.recovering import choose, day, failed, run
from tests.billing.thread import Thread

LISTS = ("recoverycase", "recoverypolicy", "message", "refundrequest", "refundbatch", "paymentcard", "writeoffrequest")
KEY = "admin:00000000-0000-0000-0000-000000000001"


def as_person(actor: str) -> Client:
    client = Client()
    client.force_login(user_of(actor))
    return client


@pytest.fixture
def _plain(settings: Settings, tmp_path: Any) -> None:
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT, settings.STATIC_ROOT = ["testserver"], False, tmp_path


@pytest.mark.usefixtures("_plain")
def test_lists_are_there_when_nothing_is(db: None) -> None:
    hire()
    finance, engineer = as_person(FIONA), as_person(EMRE)
    for name in LISTS:
        assert finance.get(list_url(f"billing.{name}")).status_code == 200, name
        assert engineer.get(list_url(f"billing.{name}")).status_code == 403, name
    for text in TEXTS:
        assert finance.get(reverse("admin:billing_message_preview", args=[text])).status_code == 200
    assert finance.get(reverse("admin:billing_message_preview", args=["poem"])).status_code == 404
    assert as_person(SAM).get(reverse("admin:billing_refundbatch_new")).status_code == 403


def test_a_case_is_told_and_given_up_by_two(thread: Thread, settings: Settings) -> None:
    hire()
    settings.MANUAL_ENTRY_LIMITS = {}
    choose()
    case = failed(thread)
    for number in (0, 3, 6, 8):
        run(thread, day(case, number))
    address = page_url("billing.recoverycase", case.pk)
    shown = as_person(FIONA).get(address).content.decode()
    for text in ("Restricted", "Payment tried again (1)", "declined", "Proposed for write-off", "Write off", "day"):
        assert text in shown
    assert "Write off" not in as_person(SAM).get(address).content.decode()
    for actor in (FIONA, SAM):
        assert "Restricted" in as_person(actor).get(page_url("billing.customer", case.customer_id)).content.decode()
    message = Message.objects.first()
    assert message is not None
    assert "Open the invoice" in as_person(SAM).get(page_url("billing.message", message.pk)).content.decode()
    assert as_person(FIONA).get(page_url("billing.recoverypolicy", RecoveryPolicy.objects.get().pk)).status_code == 200

    ask = reverse("admin:billing_recoverycase_write_off", args=[case.pk])
    assert as_person(SAM).get(ask).status_code == 403
    assert as_person(FIONA).post(ask, {"reason": "", "idempotency_key": KEY}).status_code == 422
    for _ in range(2):
        assert as_person(FIONA).post(ask, {"reason": "gone", "idempotency_key": KEY}).status_code == 302
    asked = WriteOffRequest.objects.get()
    approve = reverse("admin:billing_writeoffrequest_approve", args=[asked.pk])
    assert as_person(FIONA).get(approve).status_code == 403
    assert as_person(FRED).get(approve).status_code == 200
    assert as_person(FRED).post(approve, {"words": "seen"}).status_code == 302
    assert "Approved: fred" in as_person(FIONA).get(address).content.decode()
    assert LogEntry.objects.filter(change_message__contains="seen").exists()


def test_a_refund_is_seen_asked_for_and_approved(thread: Thread, settings: Settings) -> None:
    hire()
    thread.subscribe()
    thread.settle()
    payment = Payment.objects.get()
    settings.MANUAL_ENTRY_LIMITS = {}
    ask = reverse("admin:billing_refundrequest_ask", args=[payment.pk])
    assert as_person(EMRE).get(ask).status_code == 403
    assert ask in as_person(SAM).get(page_url("billing.payment", payment.pk)).content.decode()
    typed = {"amount": "5", "way": "refund", "reason_code": "goodwill", "reason": "sorry", "idempotency_key": KEY}
    sam = as_person(SAM)
    assert reason_of(sam.get(ask)) == ""
    assert_a_reason_is_asked_for(sam, ask, typed)
    assert sam.post(ask, {**typed, "amount": "20.01"}).status_code == 422
    assert sam.post(ask, {**typed, "amount": "1.001"}).status_code == 422
    preview = sam.post(ask, typed)
    assert "Ask for approval of $5.00" in preview.content.decode()
    assert "<textarea" not in preview.content.decode()  # what is shown is what is asked for, and cannot be edited there
    assert not RefundRequest.objects.exists()
    for _ in range(2):
        assert sam.post(ask, {**typed, "confirmed": "yes"}).status_code == 302
    asked = RefundRequest.objects.get()
    address = page_url("billing.refundrequest", asked.pk)
    assert "Approve" not in sam.get(address).content.decode()
    assert sam.get(reverse("admin:billing_refundrequest_approve", args=[asked.pk])).status_code == 403
    approve = reverse("admin:billing_refundrequest_approve", args=[asked.pk])
    assert "Approve" in as_person(FIONA).get(address).content.decode()
    assert as_person(FIONA).post(approve, {"words": "fine"}).status_code == 302
    asked.refresh_from_db()
    assert asked.state == "agreed"


def reason_of(answer: Any) -> str:
    """What a form for a refund begins with as what it is for."""
    [options] = re.findall(r'<select name="reason_code".*?</select>', answer.content.decode(), re.DOTALL)
    chosen = re.findall(r'<option value="([^"]*)" selected', options)
    first: str = re.findall(r'<option value="([^"]*)"', options)[0]
    return chosen[0] if chosen else first


def assert_a_reason_is_asked_for(client: Client, address: str, typed: dict[str, str]) -> None:
    left_empty = client.post(address, {**typed, "reason_code": ""})
    assert left_empty.status_code == 422
    assert "Choose what it is for." in left_empty.content.decode()


def test_a_batch_is_seen_before_it_is_asked_for(thread: Thread) -> None:
    hire()
    for key in ("ada", "bea"):
        thread.subscribe(key)
    thread.settle()
    new, fiona = reverse("admin:billing_refundbatch_new"), as_person(FIONA)
    typed = {
        "name": "June",
        "paid_from": "2026-10-01",
        "paid_until": "2026-10-02",
        "currency": "USD",
        "customer_keys": "",
        "percent": "50",
        "reason_code": "wrong_amount",
        "reason": "unexpected charges",
        "idempotency_key": KEY,
    }
    assert reason_of(fiona.get(new)) == ""
    assert_a_reason_is_asked_for(fiona, new, typed)
    assert fiona.post(new, {**typed, "customer_keys": "nobody"}).status_code == 422
    preview = fiona.post(new, typed).content.decode()
    assert "Ask for 2 refunds, $20.00" in preview
    rows = fiona.post(reverse("admin:billing_refundbatch_preview_csv"), typed).content.decode().splitlines()
    assert len(rows) == 3
    assert fiona.post(new, {**typed, "seen": "3:3000", "confirmed": "yes"}).status_code == 422
    assert fiona.post(new, {**typed, "seen": "2:2000", "confirmed": "yes"}).status_code == 302
    batch = RefundBatch.objects.get()
    address = page_url("billing.refundbatch", batch.pk)
    assert "Waits for a second person" in fiona.get(address).content.decode()
    requests = list_url("billing.refundrequest")
    assert f'href="{address}"' in fiona.get(requests).content.decode()
    assert f'href="{address}"' not in as_person(SAM).get(requests).content.decode()
    approve = reverse("admin:billing_refundbatch_approve", args=[batch.pk])
    assert fiona.get(approve).status_code == 403
    assert as_person(FRED).post(approve, {"words": "checked"}).status_code == 302
    assert "0 % done" in fiona.get(address).content.decode()
    report = fiona.get(reverse("admin:billing_refundbatch_report", args=[batch.pk])).content.decode()
    assert report.count("agreed") == 2
    assert progress_of_all([batch.pk]) == {batch.pk: progress_of(batch)}


class TestTheApi:
    def test_tells_the_standing_and_takes_a_refund_once(self, thread: Thread) -> None:
        hire()
        case = failed(thread)
        fiona = as_person(FIONA)
        answer = fiona.get("/api/v1/billing/customers/ada/standing").json()
        assert (answer["state"], answer["owed"][0]["amount_minor"]) == ("restricted", 2000)
        assert (answer["since"], answer["until"]) != (None, day(case, 14).isoformat())
        assert fiona.get("/api/v1/billing/customers/nobody/standing").json()["field"] == "customer_key"
        assert as_person(EMRE).get("/api/v1/billing/customers/ada/standing").status_code == 403

        payment = Payment.objects.get(status="succeeded")
        address = f"/api/v1/billing/payments/{payment.stripe_payment_intent_id}/refunds"
        body = {"amount_minor": 500, "reason_code": "goodwill", "reason": "sorry"}

        def send(body: dict[str, Any], key: str) -> Any:
            headers = {"Idempotency-Key": key}
            return fiona.post(address, body, content_type="application/json", headers=headers)

        first, again = send(body, "k1"), send(body, "k1")
        assert (first.status_code, first.json()) == (201, again.json())
        assert send({**body, "amount_minor": 400}, "k1").status_code == 409
        refused = send({**body, "amount_minor": 1501}, "k2")
        assert (refused.status_code, refused.json()["field"]) == (422, "amount_minor")
        assert send({**body, "colour": "red"}, "k3").json()["field"] == "colour"


def test_sql_cannot_change_what_happened(
    thread: Thread, app_connection: psycopg.Connection, owner_connection: psycopg.Connection
) -> None:
    choose()
    case = failed(thread)
    run(thread, day(case, 0))
    attacks = {
        "UPDATE billing_recoverystep SET result = 'paid'": "billing_recoverystep_append_only",
        "DELETE FROM billing_recoverystep": "billing_recoverystep_kept",
        "UPDATE billing_recoverycase SET restricts_at = NULL": "billing_recoverycase_opened",
        "UPDATE billing_recoverycase SET state = 'closed'": "billing_recoverycase_ends_once",
        "DELETE FROM billing_recoverycase": "billing_recoverycase_kept",
        "UPDATE billing_recoverypolicy SET terms = '{}'": "billing_recoverypolicy_append_only",
        "DELETE FROM billing_recoverypolicychoice": "billing_recoverypolicychoice_kept",
        "UPDATE billing_message SET \"to\" = 'me@example.com'": "billing_message_as_told",
        "DELETE FROM billing_message": "billing_message_kept",
        "UPDATE billing_paymentcard SET last4 = '42'": "billing_paymentcard_only_its_end",
        "TRUNCATE billing_recoverystep": "billing_recoverystep_kept",
    }
    for sql, rule in attacks.items():
        with pytest.raises(errors.IntegrityError) as refused:
            owner_connection.execute(sql)
        assert refused.value.diag.constraint_name == rule, sql
        with pytest.raises((errors.IntegrityError, errors.InsufficientPrivilege)):
            app_connection.execute(sql)
    Message.objects.update(state="sending")
    with pytest.raises(errors.IntegrityError, match="billing_message_once"):
        owner_connection.execute("UPDATE billing_message SET state = 'waiting'")
    assert RecoveryCase.objects.filter(failed_at__lt=day(case, 0) + timedelta(seconds=1)).exists()
