"""The request flows behind the official CLI's `trigger`: each yields the event it is named after.

A flow that uses a parameter which Stripe has removed since is refused as Stripe refuses it.
"""

from pathlib import Path

import pytest

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.flows import Flow, RefusedStep, event_types
from tests.stripe_sandbox.shared_data import TRIGGERS, needs_shared_data

# Flow to (code, parameter) of Stripe's refusal. Both are gone since 2025-09-30.clover: a promotion code names its
# coupon in `promotion`, and a phase says how long it is in `duration`.
LEGACY = {
    "promotion_code.created": ("parameter_unknown", "coupon"),
    "subscription_schedule.created": ("parameter_unknown", "phases[0][iterations]"),
}


@needs_shared_data
@pytest.mark.parametrize("path", [path for path in TRIGGERS if path.stem not in LEGACY], ids=lambda path: path.stem)
def test_flow_yields_its_event(sandbox: SandboxProcess, path: Path) -> None:
    Flow(sandbox, path).run()

    assert path.stem in event_types(sandbox)


@needs_shared_data
@pytest.mark.parametrize("path", [path for path in TRIGGERS if path.stem in LEGACY], ids=lambda path: path.stem)
def test_flow_with_a_parameter_of_the_past(sandbox: SandboxProcess, path: Path) -> None:
    with pytest.raises(RefusedStep) as refusal:
        Flow(sandbox, path).run()

    error = refusal.value.error
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", *LEGACY[path.stem])
    assert path.stem not in event_types(sandbox)
