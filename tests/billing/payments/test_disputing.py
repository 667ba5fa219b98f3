"""Disputes: evidence sent once and in time, accepted by two above the limit, and the deadline told."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from billing.admin_links import list_url, page_url
from billing.payments.disputing import operations
from billing.payments.models import Dispute
from billing.payments.recovery.models import Message
from billing.payments.two_people import AlreadyDecided, InvalidRequest, NotPermitted, Outcome
from billing.stripe import gateway
from tests.billing.accounting.people import FIONA, FRED, SAM, hire, user_of
from tests.billing.accounting.stripe_story import subscribed
from tests.billing.payments.recovering import sandbox_now
from tests.billing.thread import Thread


@pytest.fixture
def dispute(thread: Thread) -> Dispute:
    hire()
    subscribed(thread, "pm_card_createDispute")
    return Dispute.objects.get()


def draft(dispute: Dispute, thread: Thread, text: str = "winning_evidence", actor: str = FIONA) -> int:
    texts = {"uncategorized_text": text, "product_description": " "}
    made = operations.draft_evidence(dispute_id=dispute.pk, texts=texts, actor=actor, now=sandbox_now(thread))
    return made.pk


def test_evidence_is_drafted_and_sent_once(thread: Thread, dispute: Dispute) -> None:
    now = sandbox_now(thread)
    with pytest.raises(NotPermitted):
        draft(dispute, thread, actor=SAM)
    first, same = draft(dispute, thread, "first"), draft(dispute, thread, "first")
    latest = draft(dispute, thread)
    assert first == same
    with pytest.raises(InvalidRequest, match="newer draft"):
        operations.send_evidence(evidence_id=first, actor=FIONA, now=now)
    for actor in (FIONA, FRED):
        assert operations.send_evidence(evidence_id=latest, actor=actor, now=now).sent_by == FIONA
    with pytest.raises(AlreadyDecided):
        draft(dispute, thread, "more")
    thread.sandbox.fault(operation="POST /v1/disputes/", mode="timeout_after_commit")
    with gateway.one_try():
        assert operations.carry_out_answers(now=now, limit=5) == 0
    assert [operations.carry_out_answers(now=now, limit=5) for _ in range(2)] == [1, 0]
    thread.sandbox.advance(now + timedelta(days=4))
    thread.settle()

    dispute.refresh_from_db()
    assert dispute.status == "won"
    assert "disputes" not in thread.balances()


def test_evidence_that_was_refused_holds_up_no_other(thread: Thread, dispute: Dispute) -> None:
    """Ada's dispute was given up in the dashboard; Stripe takes no evidence of it any more, and Bob's goes through."""
    now = sandbox_now(thread)
    thread.subscribe("bob", card="pm_card_createDispute")
    thread.settle()
    for one in Dispute.objects.all():
        operations.send_evidence(evidence_id=draft(one, thread), actor=FIONA, now=now)
    Dispute.objects.filter(pk=dispute.pk).update(respond_by=now + timedelta(hours=1))
    gateway.request("post", f"/v1/disputes/{dispute.stripe_dispute_id}/close", {})

    assert [operations.carry_out_answers(now=now, limit=1) for _ in range(3)] == [0, 1, 0]
    assert [one.evidence.get().sent_at is None for one in Dispute.objects.order_by("pk")] == [True, False]


def test_accepting_takes_two_above_the_limit(thread: Thread, dispute: Dispute, settings: Settings) -> None:
    now = sandbox_now(thread)
    settings.MANUAL_ENTRY_LIMITS = {}

    def ask(key: str) -> int:
        asked = operations.request_acceptance(
            dispute_id=dispute.pk, reason="they are right", idempotency_key=key, actor=FIONA, now=now
        )
        return asked.pk

    asked = ask("a")
    assert ask("a") == asked
    with pytest.raises(InvalidRequest):
        ask("b")
    with pytest.raises(NotPermitted):
        operations.decide_acceptance(request_id=asked, outcome=Outcome.APPROVED, words="me", actor=FIONA, now=now)
    assert operations.carry_out_answers(now=now, limit=5) == 0
    operations.decide_acceptance(request_id=asked, outcome=Outcome.APPROVED, words="yes", actor=FRED, now=now)
    assert [operations.carry_out_answers(now=now, limit=5) for _ in range(2)] == [1, 0]
    thread.settle()

    dispute.refresh_from_db()
    assert dispute.status == "lost"
    assert thread.balances()["bad_debt"] == 20


def test_the_deadline_is_told_and_ends_the_answer(thread: Thread, dispute: Dispute, settings: Settings) -> None:
    settings.BILLING_FINANCE_EMAIL = "finance@example.com"
    assert dispute.respond_by is not None
    before = [dispute.respond_by - timedelta(hours=hours) for hours in (96, 71, 70, 23, 22)]
    told = [operations.remind_of_deadlines(now=now) for now in before]
    assert Message.objects.filter(to="finance@example.com", text="dispute_deadline").count() == 2
    assert told[0] == 0
    assert list(operations.awaiting_answer(now=dispute.respond_by)) == []
    with pytest.raises(InvalidRequest, match="time to answer ended"):
        operations.draft_evidence(
            dispute_id=dispute.pk, texts={"uncategorized_text": "x"}, actor=FIONA, now=dispute.respond_by
        )


def test_pages_show_the_deadline_and_take_the_answer(thread: Thread, dispute: Dispute) -> None:
    Dispute.objects.update(respond_by=thread.now + timedelta(days=5))
    fiona, sam = Client(), Client()
    fiona.force_login(user_of(FIONA))
    sam.force_login(user_of(SAM))
    assert "The bank waits for us" in fiona.get(list_url("billing.dispute")).content.decode()
    address, evidence = (
        page_url("billing.dispute", dispute.pk),
        reverse("admin:billing_dispute_evidence", args=[dispute.pk]),
    )
    assert evidence in fiona.get(address).content.decode()
    assert evidence not in sam.get(address).content.decode()
    assert sam.get(evidence).status_code == 403
    assert fiona.post(evidence, {"uncategorized_text": ""}).status_code == 422
    assert fiona.post(evidence, {"uncategorized_text": "logs"}).status_code == 302
    assert "A draft is kept" in fiona.get(address).content.decode()
    assert "logs" in fiona.get(evidence).content.decode()
    assert fiona.get(reverse("admin:billing_dispute_accept", args=[dispute.pk])).status_code == 200
    assert fiona.post(evidence, {"uncategorized_text": "logs", "send": "yes"}).status_code == 302
    assert "Evidence sent by fiona" in fiona.get(address).content.decode()
