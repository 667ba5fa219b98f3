"""The sandbox for the tests that create products and prices at Stripe."""

from tests.billing.fixtures import at_sandbox, sandbox_process

__all__ = ["at_sandbox", "sandbox_process"]
