"""Stripe's document over the whole session: whatever speaks with the sandbox is checked, and a problem fails its test.

Part of tests/plugin.py. The setting that names the SDK's HTTP client is put into the environment before any settings
are read, so the gateway, dj-stripe, and every process that a test starts have the checked client; the SDK's own default
is the checked client too, for whoever builds a client without naming one. What all of them saw and found comes together
in a folder (tests/sandbox/tally.py).
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import stripe

from tests.sandbox import tally
from tests.sandbox.conformance import CheckedClient

CHECKOUT = Path(__file__).parent.parent
SESSION_VARIABLE = "STRIPE_CONFORMANCE_SESSION"  # the folder of the first process, inherited by the others
CLIENT_VARIABLE = "STRIPE_HTTP_CLIENT"
CHECKED_CLIENT = f"{CheckedClient.__module__}.{CheckedClient.__qualname__}"


@contextmanager
def checked_session(worker: str) -> Iterator[None]:
    """Give this process, and those it starts, the checked client and a folder of their own for what it finds."""
    with ExitStack() as stack:
        if SESSION_VARIABLE not in os.environ:
            os.environ[SESSION_VARIABLE] = stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-"))
            stack.callback(os.environ.pop, SESSION_VARIABLE)
        folder = Path(os.environ[SESSION_VARIABLE]) / worker
        folder.mkdir()
        os.environ[tally.FOLDER_VARIABLE] = str(folder)
        os.environ[CLIENT_VARIABLE] = CHECKED_CLIENT
        # Processes that do not begin in the checkout find the class, too.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
        # What `StripeClient(key)` and dj-stripe take when nobody names a client. The SDK has no public way to say it.
        stripe._http_client._default_sync_client = CheckedClient
        yield


class ConformanceHooks:
    """Lets a test fail by what was found while it ran, and says at the end how much was checked."""

    def __init__(self, session_folder: Path, own_folder: Path) -> None:
        self._session_folder = session_folder
        self._own_folder = own_folder
        self._problems_told = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        """After the fixtures: a worker that a test started has ended by then."""
        try:
            yield
        finally:
            problems = tally.seen(self._own_folder).problems
            fresh, self._problems_told = problems[self._problems_told :], len(problems)
        if fresh:
            pytest.fail("Stripe's document does not allow:\n" + "\n".join(fresh), pytrace=False)

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        seen = tally.seen(self._session_folder)
        if seen.requests or seen.answers or seen.events:
            terminalreporter.write_line(
                f"Stripe conformance: {seen.requests:,} requests, {seen.answers:,} answers, {seen.events:,} events "
                f"checked, {len(seen.problems):,} problems"
            )


def hooks() -> ConformanceHooks:
    """The plugin of this process, within `checked_session`."""
    return ConformanceHooks(Path(os.environ[SESSION_VARIABLE]), Path(os.environ[tally.FOLDER_VARIABLE]))
