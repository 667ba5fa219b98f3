"""The main thread with its processes running; a month is told in the tests."""

from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from config.stack import ProcessSupervisor
from tests.processes import CeleryWorker, WebServer
from tests.sandbox.client import SandboxProcess
from tests.scenarios.thread import MONTH_START, MainThread, environment_for


@pytest.fixture
def thread(committed_db: None, processes: ProcessSupervisor, settings: Settings) -> Iterator[MainThread]:
    """Sandbox, web server and worker, and a world that has just paid its first invoices."""
    with SandboxProcess(now=MONTH_START.isoformat()) as sandbox:
        environment = environment_for(sandbox)
        for name in ("STRIPE_SECRET_KEY", "STRIPE_API_BASE"):
            setattr(settings, name, environment[name])
        thread = MainThread(
            sandbox=sandbox, web=WebServer(processes), worker=CeleryWorker(processes), environment=environment
        )
        thread.web.start(environment)
        thread.worker.start(environment)
        thread.set_up()
        yield thread
        assert sandbox.problems() == []
