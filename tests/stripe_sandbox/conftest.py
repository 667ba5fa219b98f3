"""One sandbox process for all these tests, emptied before each; every test ends with no conformance problem."""

from collections.abc import Iterator

import pytest

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.receiver import Receiver

START = "2026-10-01T00:00:00Z"


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess(now=START, strict=True) as process:
        yield process


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> Iterator[SandboxProcess]:
    """Overrides the fixture of all tests: a reset takes milliseconds, a process half a second."""
    sandbox_process.reset(
        now=START,
        after_last_retry="past_due",
        invoice_after_last_retry="leave_open",
        late_balance_transactions="false",
    )
    yield sandbox_process
    assert sandbox_process.problems() == []


@pytest.fixture
def account(sandbox: SandboxProcess) -> Account:
    return Account(sandbox)


@pytest.fixture
def receiver(account: Account) -> Iterator[Receiver]:
    """Listens to every event from here on."""
    receiver = Receiver()
    endpoint = account.api.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    receiver.secret = str(endpoint.secret)
    receiver.start()
    yield receiver
    receiver.stop()
