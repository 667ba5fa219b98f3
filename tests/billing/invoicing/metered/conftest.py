"""The sandbox, and a world whose usage goes through Stripe's meters."""

from datetime import UTC, datetime

import pytest

from config import clock
from tests.billing.fixtures import at_sandbox, sandbox_process
from tests.billing.invoicing.metered.world import OUR_NOW, Metered
from tests.sandbox.client import SandboxProcess

__all__ = ["at_sandbox", "sandbox_process"]


@pytest.fixture(autouse=True)
def _our_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pages and webhooks take for the present begins at what the tests take for it, and goes on from there."""
    ahead = OUR_NOW - clock.now()
    monkeypatch.setattr(clock, "now", lambda: datetime.now(tz=UTC) + ahead)


@pytest.fixture
def metered(committed_db: None, at_sandbox: SandboxProcess) -> Metered:
    """20 USD a month in advance, and usage by meter events."""
    return Metered(at_sandbox)
