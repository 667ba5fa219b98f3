"""Fixtures every test may use. Services and databases come from tests/plugin.py."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import redis
from django.contrib import admin
from django.db import connections
from django.test import override_settings
from hypothesis import HealthCheck, settings
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from config.stack import ProcessSupervisor
from tests.cleaning import Cleaner
from tests.plugin import admin_url
from tests.processes import CeleryWorker, WebServer
from tests.sandbox.client import SandboxProcess

# Deadlines measure the machine, not the code. CI tries the same examples each time: a red run means a change.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


@pytest.fixture(scope="session")
def django_db_setup() -> None:
    """Stand in for pytest-django's own: the database was cloned, migrated, before the settings were read."""


@pytest.fixture(scope="session", autouse=True)
def _no_files_for_clients() -> Iterator[None]:
    """Let no Client look for the files only a web server's process is asked for: it cost each more than a page does."""
    with override_settings(WHITENOISE_USE_FINDERS=False):
        yield


@pytest.fixture(scope="session")
def cleaner() -> Iterator[Cleaner]:
    name = os.environ["DATABASE_URL"].rsplit("/", 1)[1]
    cleaner = Cleaner.of_database(admin_url(name))
    yield cleaner
    cleaner.close()


@pytest.fixture(scope="session")
def stores() -> Iterator[list[redis.Redis]]:
    """Connections to the cache and the broker, kept for all tests."""
    with ExitStack() as kept:
        addresses = [os.environ[variable] for variable in ("REDIS_URL", "CELERY_BROKER_URL")]
        yield [kept.enter_context(redis.Redis.from_url(address)) for address in addresses]


@pytest.fixture(autouse=True)
def _empty_cache(stores: list[redis.Redis]) -> Iterator[None]:
    """Let no test see what another put into the cache or the broker."""
    yield
    for store in stores:
        store.flushdb()


def _forget_the_test() -> None:
    """Put the sessions of this process back to how they began.

    One that is well is kept: a new one reads every table's description anew, which cost a test as much as cleaning.
    """
    for connection in connections.all(initialized_only=True):
        kept = connection.connection is not None and connection.autocommit and not connection.in_atomic_block
        if not kept or not connection.is_usable():
            connection.close()
            continue
        connection.run_on_commit.clear()
        connection.execute_wrappers.clear()
        with connection.cursor() as cursor:
            cursor.execute("DISCARD ALL")
        connection.ensure_timezone()


@pytest.fixture
def committed_db(
    request: pytest.FixtureRequest, cleaner: Cleaner, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Give the test a database in which commits are real; afterwards it is as the migrations left it."""
    if "db" in request.fixturenames or request.node.get_closest_marker("django_db"):
        raise pytest.UsageError("a test takes either db (rolled back) or committed_db, not both")
    with django_db_blocker.unblock():
        try:
            yield
        finally:
            _forget_the_test()
            cleaner.clean()


@pytest.fixture
def owner_connection(committed_db: None) -> Iterator[psycopg.Connection]:
    """A connection as the role that owns the tables, in autocommit; `with connection.transaction():` for more."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def app_connection(committed_db: None) -> Iterator[psycopg.Connection]:
    """A second connection as the application's role, in autocommit, independent of Django's."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ProcessSupervisor]:
    """Starts real processes for one test and kills them after it. Their logs lie in tmp_path/logs."""
    with ProcessSupervisor(tmp_path / "logs") as supervisor:
        yield supervisor
        for name in reversed(supervisor.names()):
            supervisor.kill(name)  # a worker asked to stop takes seconds, for work that nobody looks at any more


@pytest.fixture
def celery_worker_process(committed_db: None, processes: ProcessSupervisor) -> CeleryWorker:
    """A real worker process on all queues, running and ready. It can be killed and started again."""
    worker = CeleryWorker(processes)
    worker.start()
    return worker


@pytest.fixture(scope="session")
def lasting_web_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """The server of all tests that only send it requests: a start takes seconds. The first of them starts it."""
    with ProcessSupervisor(tmp_path_factory.mktemp("web")) as supervisor:
        yield WebServer(supervisor)


@pytest.fixture
def web_process(committed_db: None, lasting_web_server: WebServer) -> WebServer:
    """A real web server process, running and ready; `.address` is its http://127.0.0.1:port.

    A test that stops it, or gives it another environment, starts a `WebServer(processes)` of its own.
    """
    lasting_web_server.revive()
    return lasting_web_server


@pytest.fixture
def without_menu(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the menu out of the admin's pages, for tests that open hundreds of them: it is half of what one costs.

    It is the same on each page; that no address breaks it is shown in tests/config/test_admin_lists.py.
    """
    settings.UNFOLD = {**settings.UNFOLD, "SIDEBAR": {**settings.UNFOLD["SIDEBAR"], "navigation": []}}
    # Django gathers all that may be shown in it, for every page, whether a template asks for it or not.
    monkeypatch.setattr(admin.site, "get_app_list", lambda *_: [])


@pytest.fixture(scope="session")
def lasting_sandbox() -> Iterator[SandboxProcess]:
    """The sandbox of all tests that empty it first (`reset`) and do not stop it: a start takes half a second."""
    with SandboxProcess() as process:
        yield process


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    """A Stripe sandbox in a process of its own (tests/sandbox/client.py: SandboxProcess)."""
    with SandboxProcess() as process:
        yield process
        assert process.problems() == []
