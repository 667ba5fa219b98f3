"""What comes back of a write that Stripe had before, and which later writes stand for an earlier one."""

from datetime import UTC, datetime
from typing import Any

import pytest

from billing.stripe import outbox
from billing.stripe.comparing import are_covered, fields_set
from tests.sandbox.client import SandboxProcess

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_an_answer_that_stripe_repeats_within_one_call_is_looked_at_anew(
    committed_db: None, at_sandbox: SandboxProcess
) -> None:
    at_sandbox.fault(operation="POST /v1/customers", mode="timeout_after_commit")
    made = outbox.perform(
        purpose="customer:ada:create", operation="customers.create", target="", params={"name": "Ada"}, now=NOW
    )

    calls = [request["call"] for request in at_sandbox.state()["recent_requests"]]
    assert calls[-3:] == ["POST /v1/customers", "POST /v1/customers", f"GET /v1/customers/{made['id']}"]


@pytest.mark.parametrize(
    ("earlier", "later", "is_covered"),
    [
        ({"pause_collection": {"behavior": "void"}}, {"pause_collection": ""}, True),
        ({"pause_collection": ""}, {"pause_collection": {"behavior": "void"}}, True),
        ({"cancel_at_period_end": True}, {"cancel_at": ""}, True),
        ({"cancel_at": ""}, {"cancel_at_period_end": True}, True),
        ({"metadata": {"team": "7"}}, {"metadata": ""}, True),
        ({"metadata": ""}, {"metadata": {"team": "7"}}, False),
        ({"metadata": {"team": "7"}}, {"metadata": {"te": "7"}}, False),
        ({"name": "Ada", "cancel_at": ""}, {"cancel_at": 5}, False),
    ],
)
def test_what_a_later_write_stands_for(earlier: dict[str, Any], later: dict[str, Any], is_covered: bool) -> None:
    assert are_covered(fields_set(earlier), by=fields_set(later)) is is_covered
