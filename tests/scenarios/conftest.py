"""The main thread with its processes running; a month is told in the tests."""

from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from config.stack import ProcessSupervisor
from tests.processes import CeleryWorker, WebServer
from tests.sandbox.client import SandboxProcess
from tests.scenarios.thread import MONTH_START, MainThread, environment_for


@pytest.fixture(scope="package")
def lasting_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """One web server for all scenarios, which no scenario stops. The first of them starts it."""
    with ProcessSupervisor(tmp_path_factory.mktemp("scenarios")) as supervisor:
        yield WebServer(supervisor)


@pytest.fixture
def thread(
    committed_db: None,
    lasting_sandbox: SandboxProcess,
    lasting_web: WebServer,
    processes: ProcessSupervisor,
    settings: Settings,
) -> Iterator[MainThread]:
    """Sandbox, web server and a worker of its own, and a world that has just paid its first invoices."""
    lasting_sandbox.reset(now=MONTH_START)
    environment = environment_for(lasting_sandbox)
    for name in ("STRIPE_SECRET_KEY", "STRIPE_API_BASE"):
        setattr(settings, name, environment[name])
    thread = MainThread(
        sandbox=lasting_sandbox, web=lasting_web, worker=CeleryWorker(processes), environment=environment
    )
    thread.worker.start(environment, waits=False)  # while it starts, the server does, and the world is set up
    thread.web.revive(environment)
    thread.set_up()
    yield thread
    assert lasting_sandbox.problems() == []
