"""The sandbox, and a world whose usage goes through Stripe's meters."""

import pytest

from tests.billing.fixtures import at_sandbox, begin_at, sandbox_process
from tests.billing.invoicing.metered.world import OUR_NOW, Metered
from tests.sandbox.client import SandboxProcess

__all__ = ["at_sandbox", "sandbox_process"]


@pytest.fixture(autouse=True)
def _our_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pages and webhooks take for the present begins at what the tests take for it, and goes on from there."""
    begin_at(OUR_NOW, monkeypatch)


@pytest.fixture
def metered(committed_db: None, at_sandbox: SandboxProcess) -> Metered:
    """20 USD a month in advance, and usage by meter events."""
    return Metered(at_sandbox)
