"""Writes to Stripe, each carried out once: over repeats, lost answers, forgotten keys and crashes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from billing.stripe import gateway, outbox, readers
from billing.stripe.errors import OutboxConflict, OutboxInsideTransaction, StripeRefused, StripeUnavailable
from billing.stripe.models import OutboxIntent
from tests.sandbox.client import SandboxProcess

NOW = datetime(2026, 11, 1, tzinfo=UTC)
TWO_DAYS = timedelta(days=2)


@pytest.fixture(autouse=True)
def _ready(committed_db: None, at_sandbox: SandboxProcess) -> Iterator[None]:
    """Real commits and the sandbox; one try a call, so that nothing waits."""
    with gateway.one_try():
        yield


def create(*, name: str = "Ada", now: datetime = NOW) -> dict[str, Any]:
    return outbox.perform(
        purpose="customer:ada:create",
        operation="customers.create",
        target="",
        params={"name": name, "email": "ada@example.com"},
        now=now,
    )


def customers_at_stripe() -> list[dict[str, Any]]:
    return list(gateway.listed("/v1/customers"))


class TestPerform:
    def test_records_intent_and_outcome_and_marks_the_object(self) -> None:
        created = create()

        intent = OutboxIntent.objects.get()
        assert (intent.state, intent.stripe_object_id, intent.attempts) == ("succeeded", created["id"], 1)
        assert intent.request_id.startswith("req_")
        assert created["metadata"] == {"intent_id": str(intent.pk)}

    def test_said_twice_is_done_once_and_returns_the_object_as_it_is_now(self) -> None:
        first = create()
        gateway.request("post", f"/v1/customers/{first['id']}", {"name": "Ada Lovelace"})

        again = create()

        assert (again["id"], again["name"]) == (first["id"], "Ada Lovelace")
        assert len(customers_at_stripe()) == 1

    def test_two_invoices_of_one_minute_are_two(self) -> None:
        """F#1400: a key truncated to the minute let two legitimate invoices of one minute be one."""
        params = {"customer": create()["id"], "auto_advance": False}

        made = [
            outbox.perform(
                purpose=f"order:{number}:invoice", operation="invoices.create", target="", params=params, now=NOW
            )
            for number in (1, 2)
        ]

        assert len({invoice["id"] for invoice in made} | {one["id"] for one in gateway.listed("/v1/invoices")}) == 2

    def test_refuses_another_request_for_the_same_purpose(self) -> None:
        create()

        with pytest.raises(OutboxConflict):
            create(name="Grace")
        assert len(customers_at_stripe()) == 1

    def test_refuses_to_run_inside_a_transaction(self) -> None:
        with pytest.raises(OutboxInsideTransaction), transaction.atomic():
            create()
        assert OutboxIntent.objects.count() == 0

    def test_a_refusal_is_recorded_and_stays(self) -> None:
        def attach() -> None:
            outbox.perform(
                purpose="bad",
                operation="payment_methods.attach",
                target="pm_unknown",
                params={"customer": "cus_unknown"},
                now=NOW,
            )

        with pytest.raises(StripeRefused) as refused:
            attach()
        assert refused.value.code == "resource_missing"
        with pytest.raises(StripeRefused) as again:
            attach()
        assert again.value.code == "resource_missing"
        intent = OutboxIntent.objects.get()
        assert (intent.state, intent.attempts) == ("refused", 1)


class TestLostAnswers:
    def test_a_rate_limit_leaves_the_intent_to_be_sent_again(self, at_sandbox: SandboxProcess) -> None:
        at_sandbox.fault(operation="POST /v1/customers", mode="rate_limit", times=1)
        with pytest.raises(StripeUnavailable, match="429"):
            create()
        assert OutboxIntent.objects.get().state == "intended"

        create()

        assert (len(customers_at_stripe()), OutboxIntent.objects.get().attempts) == (1, 2)

    def test_an_unanswered_request_that_was_carried_out_is_not_carried_out_again(
        self, at_sandbox: SandboxProcess
    ) -> None:
        at_sandbox.fault(operation="POST /v1/customers", mode="timeout_after_commit")
        with pytest.raises(StripeUnavailable):
            create()
        assert OutboxIntent.objects.get().state == "intended"

        created = create(now=NOW + timedelta(hours=1))

        assert [customer["id"] for customer in customers_at_stripe()] == [created["id"]]
        assert OutboxIntent.objects.get().state == "succeeded"

    def test_days_later_it_is_looked_for_before_it_is_sent_again(self, at_sandbox: SandboxProcess) -> None:
        at_sandbox.fault(operation="POST /v1/customers", mode="timeout_after_commit")
        with pytest.raises(StripeUnavailable):
            create()
        at_sandbox.advance(at_sandbox.now() + 2 * 86_400)  # Stripe has forgotten the key

        created = create(now=NOW + TWO_DAYS)

        assert [customer["id"] for customer in customers_at_stripe()] == [created["id"]]

    def test_days_later_it_is_sent_when_stripe_never_had_it(self, at_sandbox: SandboxProcess) -> None:
        at_sandbox.fault(operation="POST /v1/customers", mode="error_500")
        with pytest.raises(StripeUnavailable):
            create()
        assert customers_at_stripe() == []
        at_sandbox.advance(at_sandbox.now() + 2 * 86_400)

        create(now=NOW + TWO_DAYS)

        assert len(customers_at_stripe()) == 1
        assert OutboxIntent.objects.get().attempts == 2


class TestInvoiceWritesDaysLater:
    """Lines and finalisation have no list of their own to look in: the invoice itself tells."""

    @pytest.fixture
    def draft(self) -> str:
        customer = create()
        invoice = gateway.request("post", "/v1/invoices", {"customer": customer["id"], "auto_advance": False})
        return str(invoice.data["id"])

    def test_lines_are_not_added_twice(self, at_sandbox: SandboxProcess, draft: str) -> None:
        def push(now: datetime) -> dict[str, Any]:
            lines = [{"amount": 300, "description": "Usage", "metadata": {"line": "7"}}]
            return outbox.perform(
                purpose="push", operation="invoices.add_lines", target=draft, params={"lines": lines}, now=now
            )

        at_sandbox.fault(operation="POST /v1/invoices/.*/add_lines", mode="timeout_after_commit")
        with pytest.raises(StripeUnavailable):
            push(NOW)
        at_sandbox.advance(at_sandbox.now() + 2 * 86_400)

        assert push(NOW + TWO_DAYS)["total"] == 300
        _, lines = readers.invoice_with_lines(draft)
        assert [line["amount"] for line in lines] == [300]

    def test_an_invoice_is_not_finalised_twice(self, at_sandbox: SandboxProcess, draft: str) -> None:
        def finalize(now: datetime) -> dict[str, Any]:
            return outbox.perform(
                purpose="finalize", operation="invoices.finalize", target=draft, params={"auto_advance": True}, now=now
            )

        at_sandbox.fault(operation="POST /v1/invoices/.*/finalize", mode="timeout_after_commit")
        with pytest.raises(StripeUnavailable):
            finalize(NOW)
        at_sandbox.advance(at_sandbox.now() + 2 * 86_400)

        assert finalize(NOW + TWO_DAYS)["status"] == "paid"
