"""The sandbox for the tests that create products and prices at Stripe, and browsers signed in for the pages."""

from tests.billing.admin.conftest import _nothing_collected, sign_in
from tests.billing.fixtures import at_sandbox, sandbox_process

__all__ = ["_nothing_collected", "at_sandbox", "sandbox_process", "sign_in"]
