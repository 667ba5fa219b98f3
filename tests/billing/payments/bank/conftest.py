"""The sandbox and a world in it."""

from tests.billing.fixtures import at_sandbox, sandbox_process, thread

__all__ = ["at_sandbox", "sandbox_process", "thread"]
