"""Starts PostgreSQL and Valkey before Django's settings are read, and gives every test process a database of its own.

Loaded by `addopts = -p tests.plugin`. The first process starts one stack; each xdist worker clones the migrated
database in it and takes its own database numbers of Valkey. Tests run as the application's own role, which owns no
table.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from config.stack import Stack, StackError, remove_stale_folders
from config.stack.postgres import DATABASE
from config.stack.template import STACK_ROOT, key_of, manifest, migrate
from tests.conformance import checked_session
from tests.conformance import hooks as conformance_hooks

# Set by the first process, read by the others (they inherit its environment).
ADMIN_URL_VARIABLE = "TEST_ADMIN_URL"
TEMPLATE_VARIABLE = "TEST_TEMPLATE_DATABASE"
RUN_VARIABLE = "TEST_RUN"
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
    cleanup = ExitStack()
    early_config.add_cleanup(cleanup.close)
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    cleanup.enter_context(checked_session(worker or "main"))
    early_config.pluginmanager.register(conformance_hooks(), "conformance")
    try:
        if worker is None:
            cleanup.enter_context(_services())
        cleanup.enter_context(_own_database(worker or "main"))
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
def _services() -> Iterator[None]:
    """Run the services of this test run; the environment of this process and its workers names them."""
    remove_stale_folders()
    users_database = bool(os.environ.get("DATABASE_URL"))
    with Stack(STACK_ROOT / f"test-{os.getpid()}", durable=False, throw_away=True, migrates=False) as stack:
        os.environ.update(stack.environment())
        os.environ[RUN_VARIABLE] = str(os.getpid())
        if users_database:
            os.environ[ADMIN_URL_VARIABLE] = stack.environment()["DATABASE_OWNER_URL"]
            os.environ[TEMPLATE_VARIABLE] = _template_on_users_server()
        else:
            assert stack.server is not None  # there is an embedded one when the user names none
            os.environ[ADMIN_URL_VARIABLE] = stack.server.superuser_url
            os.environ[TEMPLATE_VARIABLE] = DATABASE
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
def _own_database(worker: str) -> Iterator[None]:
    """Clone the migrated database for this process and point the environment at the clone."""
    name = f"test_{os.environ[RUN_VARIABLE]}_{worker}"
    template, database = sql.Identifier(os.environ[TEMPLATE_VARIABLE]), sql.Identifier(name)
    owner = sql.Identifier(urlsplit(os.environ["DATABASE_OWNER_URL"]).username or "")
    role = sql.Identifier(urlsplit(os.environ["DATABASE_URL"]).username or "")
    with psycopg.connect(admin_url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(database, template, owner))
        connection.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(database, role))
    for variable in ("DATABASE_URL", "DATABASE_OWNER_URL"):
        os.environ[variable] = _with_database(os.environ[variable], name)
    number = REDIS_DATABASES_PER_PROCESS * (FIRST_REDIS_PAIR + int("".join(filter(str.isdigit, worker)) or -1))
    for offset, variable in enumerate(("REDIS_URL", "CELERY_BROKER_URL")):
        os.environ[variable] = _with_database(os.environ[variable], str(number + offset))
    yield
    with psycopg.connect(admin_url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def _with_database(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
