"""Starts PostgreSQL and Valkey before Django's settings are read, for each test process its own.

Loaded by `addopts = -p tests.plugin`. Each xdist worker has a cluster of its own, because what aggregation and seals
may take is bounded by the oldest transaction open anywhere in the cluster: in a shared one a test would see for a
moment what a test of another process does. On a server that the user names (DATABASE_URL, REDIS_URL) each process
clones the migrated database and takes its own database numbers. Tests run as the application's own role, which owns no
table.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from config.stack import Stack, StackError, remove_stale_folders
from config.stack.template import STACK_ROOT, key_of, manifest, migrate
from tests import collecting
from tests.conformance import checked_session
from tests.conformance import hooks as conformance_hooks

FIRST_PROCESS = "main"
# What a user may name; what they do not name, each process starts for itself.
SERVICE_VARIABLES = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "CELERY_BROKER_URL")
# Set by the first process, read by the others (they inherit its environment).
USERS_SERVICES_VARIABLE = "TEST_USERS_SERVICES"
TEMPLATE_VARIABLE = "TEST_TEMPLATE_DATABASE"
RUN_VARIABLE = "TEST_RUN"
# Each process sets its own.
ADMIN_URL_VARIABLE = "TEST_ADMIN_URL"
# A test empties its databases of Redis; 0 and 1, where a server of the user's has its data, are left alone.
REDIS_DATABASES_PER_PROCESS = 2
FIRST_REDIS_PAIR = 2
REMEDY = "Give DATABASE_OWNER_URL a superuser's address, or unset DATABASE_URL to use the embedded PostgreSQL"


def admin_url(database: str | None = None) -> str:
    """Return the address of the role that makes and cleans test databases, for one database or its own default."""
    return _with_database(os.environ[ADMIN_URL_VARIABLE], database or "postgres")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Prepare this process's services. A wrapper, because pytest-django reads the settings inside the same hook."""
    collecting.keep_bytecode()
    cleanup = ExitStack()
    early_config.add_cleanup(cleanup.close)
    process = os.environ.get("PYTEST_XDIST_WORKER", FIRST_PROCESS)
    cleanup.enter_context(checked_session(process))
    early_config.pluginmanager.register(conformance_hooks(), "conformance")
    early_config.pluginmanager.register(collecting.Hooks(), "collecting")
    try:
        cleanup.enter_context(_services(process))
    except StackError as error:
        raise pytest.UsageError(str(error)) from None
    return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse Django's own way of committing tests: its clean-up empties tables, which our role may not."""
    for item in items:
        marker = item.get_closest_marker("django_db")
        asks_for_commits = marker is not None and (marker.kwargs.get("transaction") or any(marker.args[:1]))
        fixtures = {"transactional_db", "live_server", "django_db_reset_sequences"} & set(
            getattr(item, "fixturenames", ())
        )
        if asks_for_commits or fixtures:
            raise pytest.UsageError(f"{item.nodeid}: use the fixture committed_db (and web_process for a real server)")


@contextmanager
def _services(process: str) -> Iterator[None]:
    """Run the services of this process; its environment names them."""
    if process == FIRST_PROCESS:
        remove_stale_folders()
        os.environ[RUN_VARIABLE] = str(os.getpid())
        os.environ[USERS_SERVICES_VARIABLE] = " ".join(name for name in SERVICE_VARIABLES if os.environ.get(name))
    users_services = os.environ[USERS_SERVICES_VARIABLE].split()
    for name in SERVICE_VARIABLES:
        if name not in users_services:  # else the first process's own would be taken for the user's
            os.environ.pop(name, None)
    folder = STACK_ROOT / f"test-{os.environ[RUN_VARIABLE]}-{process}"
    with Stack(folder, durable=False, throw_away=True, migrates=False) as stack, ExitStack() as cleanup:
        os.environ.update(stack.environment())
        if stack.server is None:
            os.environ[ADMIN_URL_VARIABLE] = os.environ["DATABASE_OWNER_URL"]
            if process == FIRST_PROCESS:
                os.environ[TEMPLATE_VARIABLE] = _template_on_users_server()
            cleanup.enter_context(_own_database(process))
        else:
            os.environ[ADMIN_URL_VARIABLE] = stack.server.superuser_url
        _take_own_numbers(process, [name for name in ("REDIS_URL", "CELERY_BROKER_URL") if name in users_services])
        yield


def _template_on_users_server() -> str:
    """Make, once per set of migrations, a migrated database on the server the user names; return its name."""
    name = f"test_boring_billing_{key_of(manifest())}"
    with psycopg.connect(admin_url(), autocommit=True) as connection:
        capable = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        if not capable or not capable[0]:
            raise StackError(
                f"the role of DATABASE_OWNER_URL is no superuser, which making test databases needs. {REMEDY}"
            )
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return name
        partial = sql.Identifier(f"{name}_partial")
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(partial))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(partial))
        migrate(
            application_url=_with_database(os.environ["DATABASE_URL"], f"{name}_partial"),
            owner_url=admin_url(f"{name}_partial"),
        )
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(partial, sql.Identifier(name)))
    return name


@contextmanager
def _own_database(process: str) -> Iterator[None]:
    """Clone the migrated database of the user's server for this process and point the environment at the clone."""
    name = f"test_{os.environ[RUN_VARIABLE]}_{process}"
    template, database = sql.Identifier(os.environ[TEMPLATE_VARIABLE]), sql.Identifier(name)
    owner = sql.Identifier(urlsplit(os.environ["DATABASE_OWNER_URL"]).username or "")
    role = sql.Identifier(urlsplit(os.environ["DATABASE_URL"]).username or "")
    with psycopg.connect(admin_url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(database, template, owner))
        connection.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(database, role))
    for variable in ("DATABASE_URL", "DATABASE_OWNER_URL"):
        os.environ[variable] = _with_database(os.environ[variable], name)
    yield
    with psycopg.connect(admin_url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def _take_own_numbers(process: str, variables: Sequence[str]) -> None:
    """Let this process use database numbers of the user's Redis that no other process uses."""
    number = REDIS_DATABASES_PER_PROCESS * (FIRST_REDIS_PAIR + int("".join(filter(str.isdigit, process)) or -1))
    for offset, variable in enumerate(variables):
        os.environ[variable] = _with_database(os.environ[variable], str(number + offset))


def _with_database(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
