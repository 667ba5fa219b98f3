"""A month of several customers against the sandbox."""

from tests.billing.fixtures import at_sandbox, sandbox_process, thread

__all__ = ["at_sandbox", "sandbox_process", "thread"]
