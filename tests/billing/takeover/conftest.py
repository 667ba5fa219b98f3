"""The sandbox, and a company in it that billed through Stripe before it had us."""

from tests.billing.fixtures import at_sandbox, sandbox_process

__all__ = ["at_sandbox", "sandbox_process"]
