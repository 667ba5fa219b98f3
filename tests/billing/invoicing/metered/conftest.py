"""The sandbox, and a world whose usage goes through Stripe's meters."""

import pytest

from tests.billing.fixtures import at_sandbox, sandbox_process
from tests.billing.invoicing.metered.world import Metered
from tests.sandbox.client import SandboxProcess

__all__ = ["at_sandbox", "sandbox_process"]


@pytest.fixture
def metered(committed_db: None, at_sandbox: SandboxProcess) -> Metered:
    """20 USD a month in advance, and usage by meter events."""
    return Metered(at_sandbox)
