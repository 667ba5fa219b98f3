"""The sandbox for the tests that start subscriptions at Stripe."""

from tests.billing.fixtures import at_sandbox, in_november, sandbox_process, thread

__all__ = ["at_sandbox", "in_november", "sandbox_process", "thread"]
