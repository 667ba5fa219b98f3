"""The sandbox, at which our requests wait for nobody."""

import pytest
from pytest_django.fixtures import Settings

from tests.billing.fixtures import at_sandbox, sandbox_process

__all__ = ["at_sandbox", "sandbox_process"]


@pytest.fixture(autouse=True)
def _no_budget(settings: Settings) -> None:
    """Stripe's limits are not what is tested here."""
    settings.STRIPE_REQUESTS_PER_SECOND = 100_000
