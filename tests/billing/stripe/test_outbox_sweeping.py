"""The sweeper goes on past what it cannot complete: one write never keeps the others waiting."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from billing.stripe import gateway, redriving
from billing.stripe.models import OutboxIntent
from tests.billing.stripe.test_outbox_redriving import DAY, HOUR, NOW, died, redrive, story
from tests.sandbox.client import SandboxProcess


@pytest.fixture(autouse=True)
def _ready(committed_db: None, at_sandbox: SandboxProcess) -> Iterator[None]:
    """Real commits and the sandbox; one try a call, so that nothing waits."""
    with gateway.one_try():
        yield


class TestOneDoesNotBlockTheOthers:
    """Each test puts the one in question first in line, before one that can be completed."""

    @pytest.fixture(autouse=True)
    def _other(self, _ready: None, at_sandbox: SandboxProcess) -> None:
        died(at_sandbox, carried_out=False)

    def first(self, at_sandbox: SandboxProcess, **otherwise: Any) -> OutboxIntent:
        return died(at_sandbox, carried_out=False, purpose="first", created_at=NOW - HOUR, **otherwise)

    def sweep(self, *, minutes: int = 30, limit: int = 1) -> int:
        return redriving.sweep(now=NOW + timedelta(minutes=minutes), limit=limit)

    def test_what_nobody_thought_of(self, at_sandbox: SandboxProcess, caplog: pytest.LogCaptureFixture) -> None:
        first = self.first(at_sandbox, params=["not what a request is made of"])

        assert self.sweep(limit=2) == 1

        first.refresh_from_db()
        assert (first.state, story(first), first.attempts) == ("intended", ["unavailable"], 2)
        assert first.error
        assert "could not be completed" in caplog.text
        assert self.sweep(minutes=35) == 0  # it waits longer each time

    def test_what_only_a_person_may_decide_is_looked_for_once(self, at_sandbox: SandboxProcess) -> None:
        ada = gateway.request("post", "/v1/customers", {"name": "New"}).data["id"]
        old = {"operation": "customers.update", "target": ada, "params": {"name": "Old"}}
        first = self.first(at_sandbox, **old, first_sent_at=NOW - 3 * DAY)

        assert [self.sweep(), self.sweep()] == [0, 1]
        before = len(at_sandbox.state()["recent_requests"])
        assert self.sweep(minutes=24 * 60) == 0
        assert len(at_sandbox.state()["recent_requests"]) == before

        first.refresh_from_db()
        assert "send it again, or abandon it" in first.error
        assert first in redriving.unfinished(OutboxIntent.objects.all(), now=NOW + HOUR)
        assert redrive(first).outcome == "succeeded"  # the person acts

    def test_a_permission_that_is_missing(self, at_sandbox: SandboxProcess) -> None:
        self.first(at_sandbox)
        at_sandbox.fault(operation="POST /v1/customers", mode="forbidden", permission="rak_customer_write")

        assert self.sweep(limit=2) == 1

    def test_what_somebody_else_took_up_meanwhile_is_theirs(self, at_sandbox: SandboxProcess) -> None:
        self.first(at_sandbox)
        stale = redriving._dead(now=NOW + HOUR)
        redriving.sweep(now=NOW + HOUR, limit=1)

        assert [redriving._take_over(one, now=NOW + HOUR) for one in stale] == [False, True]
        assert not redriving._take_over(stale[1], now=NOW + HOUR + timedelta(minutes=1))
