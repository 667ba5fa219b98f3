"""The sandbox and a world in it, and people who are signed in."""

from tests.billing.admin.conftest import sign_in
from tests.billing.fixtures import at_sandbox, sandbox_process, thread

__all__ = ["at_sandbox", "sandbox_process", "sign_in", "thread"]
