"""What happens when the sandbox itself breaks: Stripe's 500 goes out, the traceback is printed, and the test fails."""

import sys
import traceback

from tests.sandbox.core.errors import StripeError
from tests.sandbox.world import World


def unknown_error() -> StripeError:
    """Stripe's answer when something is wrong on its side."""
    return StripeError("An unknown error occurred.", status=500, kind="api_error")


def note_crash(world: World, what: str, error: Exception) -> None:
    """Print where `error` came from, and make it a problem of the account, strict or not."""
    traceback.print_exception(error, file=sys.stderr)
    world.problems.append(f"{what} broke the sandbox: {type(error).__name__}: {error}")
