"""The request flows behind the official CLI's `trigger`: each yields the event it is named after.

Flows about nouns that the sandbox leaves out are named here with the operation or parameter it refuses.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.account import KEY, VERSION, Account
from tests.stripe_sandbox.shared_data import TRIGGERS, needs_shared_data

LEFT_OUT = {
    "charge.dispute.closed": "pm_card_createDisputeInquiry",
    "charge.dispute.created": "pm_card_createDisputeInquiry",
    "coupon.created": "POST /v1/coupons",
    "credit_note.created": "POST /v1/credit_notes",
    "payout.created": "pm_card_bypassPending",
    "promotion_code.created": "POST /v1/coupons",
    "subscription_schedule.created": "the parameter 'source' of POST /v1/customers",
    "tax_rate.created": "POST /v1/tax_rates",
    "test_helpers.test_clock.ready": "POST /v1/test_helpers/test_clocks",
    "v1.billing.meter.error_report_triggered": "GET /v1/billing/meters",
}
BUILT = [flow for flow in TRIGGERS if flow.stem not in LEFT_OUT]
NOT_BUILT = [flow for flow in TRIGGERS if flow.stem in LEFT_OUT]
REFERENCE = re.compile(r"\$\{(\w+):([\w.\[\]]+?)(?:\|([^}]*))?\}")


class Flow:
    """Runs the steps of one flow against the sandbox, with unchecked requests as the CLI makes them."""

    def __init__(self, account: Account, path: Path) -> None:
        self._client = stripe.StripeClient(
            KEY, base_addresses={"api": account.sandbox.address}, stripe_version=VERSION, max_network_retries=0
        )
        self._steps = json.loads(path.read_text())["fixtures"]
        self._answers: dict[str, Any] = {}

    def run(self) -> None:
        for step in self._steps:
            self._answers[step["name"]] = self._call(step)

    def _call(self, step: dict[str, Any]) -> Any:
        path = self._filled(step["path"])
        parameters = {key: value for key, value in self._filled(step.get("params") or {}).items() if value != ""}
        try:
            answer = self._client.raw_request(step["method"], path, **_unfolded(parameters))
        except stripe.CardError as error:
            if step.get("expected_error_type") != "card_error":
                raise
            return error.json_body
        assert "expected_error_type" not in step
        return json.loads(answer.body)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        return REFERENCE.sub(self._referred, value) if isinstance(value, str) else value

    def _referred(self, match: re.Match[str]) -> str:
        found: Any = self._answers.get(match[1], {})
        for part in match[2].split("."):
            found = found[part]
        return str(found)


def _unfolded(parameters: dict[str, Any]) -> dict[str, Any]:
    """The flows write some parameters as `recurring[interval]`, already in form encoding."""
    unfolded: dict[str, Any] = {}
    for key, value in parameters.items():
        head, _, rest = key.partition("[")
        if rest:
            unfolded.setdefault(head, {})[rest.removesuffix("]")] = value
        else:
            unfolded[head] = value
    return unfolded


@needs_shared_data
@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.stem)
def test_flow_yields_its_event(account: Account, path: Path) -> None:
    Flow(account, path).run()

    assert path.stem in account.event_types()


@needs_shared_data
@pytest.mark.parametrize("path", NOT_BUILT, ids=lambda path: path.stem)
def test_flow_about_what_is_left_out(account: Account, path: Path) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=re.escape(LEFT_OUT[path.stem])):
        Flow(account, path).run()

    assert path.stem not in account.event_types()
