"""Fixtures of the tests that speak with the sandbox; each room's conftest imports what it uses."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from billing.stripe import modes
from config import clock
from tests.billing.thread import START, Thread
from tests.sandbox.client import SandboxProcess


@pytest.fixture(scope="session")
def sandbox_process(lasting_sandbox: SandboxProcess) -> SandboxProcess:
    """The one that all rooms share, whichever of their conftests imports this."""
    return lasting_sandbox


@pytest.fixture
def at_sandbox(sandbox_process: SandboxProcess, settings: Settings, tmp_path: Path) -> Iterator[SandboxProcess]:
    """Our gateway speaks to the sandbox, as in every test with the checked client (tests/conformance.py)."""
    sandbox = sandbox_process
    sandbox.reset(now=START)
    settings.STRIPE_SECRET_KEY = "sk_test_" + "a" * 24
    settings.STRIPE_TEST_SECRET_KEY = settings.STRIPE_SECRET_KEY
    settings.STRIPE_API_BASE = sandbox.address
    modes.note_checked()  # or the first test of a process would ask the sandbox more than the others
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.SECURE_SSL_REDIRECT = False
    # The world of these tests stands still in autumn 2026, whenever they are run.
    settings.METERING_DEDUPE_HORIZON_DAYS = 36_600
    settings.STATIC_ROOT = tmp_path  # whitenoise warns about a folder that was never collected
    yield sandbox
    assert sandbox.problems() == []


def begin_at(moment: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the present of pages, webhooks and tests be that moment, and go on from there, whatever the day."""
    ahead = moment - clock.now()
    monkeypatch.setattr(clock, "now", lambda: datetime.now(tz=UTC) + ahead)


@pytest.fixture
def in_november(monkeypatch: pytest.MonkeyPatch) -> None:
    """The present begins in November 2026: what is planned for December is ahead in any year."""
    begin_at(datetime(2026, 11, 23, tzinfo=UTC), monkeypatch)


@pytest.fixture
def thread(committed_db: None, at_sandbox: SandboxProcess) -> Thread:
    """A world with a plan of 20 USD a month and no included usage."""
    return Thread(at_sandbox)
