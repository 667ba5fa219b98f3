"""Calls of Stripe: how often they are tried, how long they may take, and what a failure tells."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from billing.stripe import budget, gateway, modes
from billing.stripe.errors import WAIT_FOR_A_PERSON, StripeForbidden, StripeRefused, StripeUnavailable
from tests.sandbox.client import SandboxProcess

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _ready(at_sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox, and short waits between tries."""
    monkeypatch.setattr(gateway, "BACKOFF_FIRST_MS", 4)


def calls(at_sandbox: SandboxProcess, call: str) -> int:
    """How many requests of the kind arrived and were answered."""
    return sum(one["call"] == call for one in at_sandbox.state()["recent_requests"])


def create(**options: Any) -> dict[str, Any]:
    return gateway.request("post", "/v1/customers", {"name": "Ada"}, **options).data


class TestTries:
    def test_an_error_of_a_moment_is_not_told_upward(self, at_sandbox: SandboxProcess) -> None:
        at_sandbox.fault(operation="POST /v1/customers", mode="error_500", times=2)

        assert create()["name"] == "Ada"

    def test_all_tries_of_a_write_bear_one_key(self, at_sandbox: SandboxProcess) -> None:
        """Without a key of the caller's, too: the first was carried out, and its answer got lost."""
        at_sandbox.fault(operation="POST /v1/customers", mode="timeout_after_commit", times=2)

        create()

        assert at_sandbox.counts()["customer"] == 1

    def test_three_are_enough(self, at_sandbox: SandboxProcess) -> None:
        at_sandbox.fault(operation="POST /v1/customers", mode="connection_reset", times=3)

        with pytest.raises(StripeUnavailable):
            create()
        assert create()["object"] == "customer"

    def test_a_page_tries_once(self, at_sandbox: SandboxProcess) -> None:
        at_sandbox.fault(operation="POST /v1/customers", mode="error_500")

        with gateway.one_try(), pytest.raises(StripeUnavailable) as failure:
            create()
        assert failure.value.status == 500
        assert failure.value.request_id.startswith("req_") or failure.value.request_id == ""

    def test_none_begins_late(self, at_sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call that took long is not made three times as long."""
        monkeypatch.setattr(gateway, "TRIES_BEGIN_WITHIN", timedelta(milliseconds=-1))
        at_sandbox.fault(operation="POST /v1/customers", mode="error_500")

        with pytest.raises(StripeUnavailable):
            create()

    def test_a_refusal_is_final(self, at_sandbox: SandboxProcess) -> None:
        with pytest.raises(StripeRefused) as refused:
            gateway.request("post", "/v1/customers/cus_none", {"name": "Ada"})

        assert (refused.value.code, refused.value.status) == ("resource_missing", 404)
        assert refused.value.request_id.startswith("req_")
        assert calls(at_sandbox, "POST /v1/customers/cus_none") == 1

    def test_a_turn_is_taken_for_each_try(self, at_sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        turns: list[bool] = []
        monkeypatch.setattr(budget, "wait_for_turn", lambda *, is_bulk: turns.append(is_bulk))
        at_sandbox.fault(operation="GET /v1/customers", mode="error_500", times=1)

        with gateway.bulk_work():
            list(gateway.listed("/v1/customers"))

        assert turns == [True, True]


class TestRateLimit:
    def test_it_is_told_at_once_and_stops_everybody(self, at_sandbox: SandboxProcess) -> None:
        at_sandbox.fault(operation="POST /v1/customers", mode="rate_limit", seconds=30)
        begun = time.monotonic_ns()

        with pytest.raises(StripeUnavailable, match="429") as limited:
            create()

        assert time.monotonic_ns() - begun < 1_000_000_000
        assert (limited.value.retry_after, limited.value.status) == (timedelta(seconds=30), 429)
        with pytest.raises(StripeUnavailable, match="budget") as stopped:
            gateway.retrieve("/v1/account")
        assert stopped.value.retry_after is not None
        assert stopped.value.retry_after > timedelta(seconds=25)
        assert calls(at_sandbox, "GET /v1/account") == 0

    def test_a_short_one_is_waited_for(self, at_sandbox: SandboxProcess) -> None:
        at_sandbox.fault(operation="POST /v1/customers", mode="rate_limit", seconds=1)
        with pytest.raises(StripeUnavailable):
            create()

        assert create()["name"] == "Ada"


class TestRestrictedKey:
    @pytest.fixture(autouse=True)
    def _restricted(self, settings: Settings) -> None:
        settings.STRIPE_SECRET_KEY = "rk_test_" + "r" * 24
        modes.note_checked()

    def test_works_where_it_is_allowed(self) -> None:
        assert create()["name"] == "Ada"

    def test_what_it_lacks_is_named_and_nothing_is_tried_again(self, at_sandbox: SandboxProcess) -> None:
        at_sandbox.fault(operation="POST /v1/customers$", mode="forbidden", permission="rak_customer_write", times=None)

        with pytest.raises(StripeForbidden) as forbidden:
            create()

        failure = forbidden.value
        assert (failure.operation, failure.permission) == ("POST /v1/customers", "rak_customer_write")
        assert failure.retry_after == WAIT_FOR_A_PERSON
        assert "rak_customer_write for POST /v1/customers" in str(failure)
        assert at_sandbox.counts().get("customer", 0) == 0

    def test_its_account_is_known_though_it_may_not_read_it(self, at_sandbox: SandboxProcess) -> None:
        told = gateway.own_account()
        at_sandbox.fault(operation="GET /v1/account", mode="forbidden")

        assert gateway.own_account() == told != ""
