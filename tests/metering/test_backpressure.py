"""What a sender is told when database or server cannot take more: come back. Nothing is lost, and nothing half stored.

Against the real server and a database that is locked, read-only, refuses connections, or cuts them.
"""

import http.client
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import django.db
import msgspec
import psycopg
import pytest
from psycopg import errors, sql

from config.api_keys.models import ApiKey
from config.backpressure import is_passing
from config.stack import ProcessSupervisor
from metering.models import EventConflict, EventKey, QuarantinedEvent, UsageEvent
from tests.metering.usage import as_json, event
from tests.plugin import admin_url
from tests.processes import WebServer

DATABASE = urlsplit(os.environ["DATABASE_URL"]).path.lstrip("/")


@dataclass
class Answer:
    status: int
    retry_after: int
    told: dict[str, Any]


class Sender:
    """Sends one and the same batch, whose answer says what became of it: one good event, one of an unknown subject."""

    def __init__(self, server: WebServer, key: str) -> None:
        self.server, self.key = server, key
        now = datetime.now(tz=UTC)
        self.body = as_json(event("e1", time=now), event("e2", time=now, subject="nobody"))

    def send(self) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        headers = {"Authorization": f"Api-Key {self.key}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/api/v1/events", self.body, headers)
            answer = connection.getresponse()
            retry_after = int(answer.headers.get("Retry-After") or 0)
            return Answer(answer.status, retry_after, msgspec.json.decode(answer.read()))
        finally:
            connection.close()

    def is_turned_away(self) -> None:
        answer = self.send()
        assert (answer.status, answer.told["title"]) == (503, "Not now"), answer
        assert answer.retry_after >= 1
        assert f"in {answer.retry_after} s" in answer.told["detail"]

    def is_taken_once(self) -> None:
        """After the trouble: the same request succeeds, and again changes nothing."""
        first, second = self.send().told, self.send().told
        assert (first["accepted"], first["quarantined"]) == (1, 1), first
        assert (second["duplicates"], second["quarantined"]) == (1, 1), second
        assert stored() == (1, 1, 1, 0)


def stored() -> tuple[int, int, int, int]:
    models = (UsageEvent, EventKey, QuarantinedEvent, EventConflict)
    counts = [model.objects.count() for model in models]
    return (counts[0], counts[1], counts[2], counts[3])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., WebServer]]:
    """One running server for each environment that is asked for, for all tests here: a start takes seconds."""
    by_environment: dict[tuple[tuple[str, str], ...], WebServer] = {}
    with ProcessSupervisor(tmp_path_factory.mktemp("servers")) as supervisor:

        def running(**environment: str) -> WebServer:
            wanted = tuple(sorted(environment.items()))
            if wanted not in by_environment:
                by_environment[wanted] = WebServer(supervisor, name=f"web-{len(by_environment)}")
            by_environment[wanted].revive(environment)
            return by_environment[wanted]

        yield running


@pytest.fixture
def start(metered: None, servers: Callable[..., WebServer]) -> Callable[..., Sender]:
    def started(**environment: str) -> Sender:
        _, key = ApiKey.objects.create_key(name="edge", scopes=["usage:write"])
        return Sender(servers(**environment), str(key))

    return started


@pytest.fixture
def administrator() -> Iterator[psycopg.Connection]:
    """A superuser in another database: what is done to ours does not shut it out. Undone at the end."""
    with psycopg.connect(admin_url(), autocommit=True) as connection:
        yield connection
        connection.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(sql.Identifier(DATABASE)))
        connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(DATABASE)))


def cut_connections(administrator: psycopg.Connection) -> int:
    ended = administrator.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s", [DATABASE]
    ).fetchone()
    assert ended is not None
    django.db.connections.close_all()
    return int(ended[0])


@contextmanager
def locked(owner: psycopg.Connection, table: str) -> Iterator[None]:
    with owner.transaction():
        owner.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table)))
        yield


@pytest.mark.parametrize("table", ["config_apikey", "metering_meter", "metering_event", "metering_quarantinedevent"])
def test_a_lock_that_is_not_given_up_in_time(
    table: str, start: Callable[..., Sender], owner_connection: psycopg.Connection
) -> None:
    """Whichever step meets it: the check of the key, reading meters, storing, the quarantine."""
    sender = start(WEB_LOCK_TIMEOUT_SECONDS="1")
    with locked(owner_connection, table):
        sender.is_turned_away()
    assert stored() == (0, 0, 0, 0)
    sender.is_taken_once()


def test_a_statement_that_takes_too_long(start: Callable[..., Sender], owner_connection: psycopg.Connection) -> None:
    sender = start(WEB_STATEMENT_TIMEOUT_SECONDS="1", WEB_LOCK_TIMEOUT_SECONDS="60")
    with locked(owner_connection, "metering_event"):
        sender.is_turned_away()
    sender.is_taken_once()


def test_a_database_that_has_no_connection_left(
    start: Callable[..., Sender], administrator: psycopg.Connection
) -> None:
    sender = start()
    administrator.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(sql.Identifier(DATABASE)))
    assert cut_connections(administrator) > 0
    sender.is_turned_away()
    administrator.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(sql.Identifier(DATABASE)))
    sender.is_taken_once()


def test_a_database_that_can_only_be_read(start: Callable[..., Sender], administrator: psycopg.Connection) -> None:
    """As a standby is, right after a switch-over."""
    sender = start()
    administrator.execute(
        sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(sql.Identifier(DATABASE))
    )
    cut_connections(administrator)
    sender.is_turned_away()
    administrator.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(DATABASE)))
    cut_connections(administrator)
    assert stored() == (0, 0, 0, 0)
    sender.is_taken_once()


def test_a_connection_that_is_cut_in_the_middle(
    start: Callable[..., Sender], owner_connection: psycopg.Connection, administrator: psycopg.Connection
) -> None:
    sender = start(WEB_LOCK_TIMEOUT_SECONDS="60")
    answers: list[Answer] = []
    with locked(owner_connection, "metering_event"):
        thread = threading.Thread(target=lambda: answers.append(sender.send()))
        thread.start()
        cut_one_that_waits(administrator)
        thread.join(timeout=60)
    assert [answer.status for answer in answers] == [503]
    assert stored() == (0, 0, 0, 0)
    sender.is_taken_once()


def test_more_requests_at_once_than_the_process_takes(
    start: Callable[..., Sender], owner_connection: psycopg.Connection, administrator: psycopg.Connection
) -> None:
    sender = start(INGEST_REQUESTS_AT_ONCE="1", WEB_LOCK_TIMEOUT_SECONDS="60")
    answers: list[Answer] = []
    with locked(owner_connection, "metering_event"):
        thread = threading.Thread(target=lambda: answers.append(sender.send()))
        thread.start()
        wait_for_one_that_waits(administrator)
        sender.is_turned_away()
    thread.join(timeout=60)
    assert [answer.status for answer in answers] == [200]
    assert stored() == (1, 1, 1, 0)


def test_only_what_can_pass_is_told_to_come_back() -> None:
    """An error of ours is an error: answered as one, it is seen and mended."""
    passing: list[type[psycopg.Error]] = [
        errors.LockNotAvailable,
        errors.DeadlockDetected,
        errors.DiskFull,
        errors.AdminShutdown,
    ]
    passing += [errors.TooManyConnections, errors.QueryCanceled, errors.ReadOnlySqlTransaction]
    lasting = [errors.UniqueViolation, errors.NotNullViolation, errors.UndefinedTable, errors.InsufficientPrivilege]
    assert [kind for kind in passing if not is_passing(kind())] == []
    assert [kind for kind in lasting if is_passing(kind())] == []
    assert is_passing(django.db.OperationalError("connection refused"))
    assert not is_passing(django.db.IntegrityError("no cause"))


def wait_for_one_that_waits(administrator: psycopg.Connection) -> int:
    """The process number of the server's backend that waits for a lock in our database."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        row = administrator.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'", [DATABASE]
        ).fetchone()
        if row is not None:
            return int(row[0])
        time.sleep(0.02)
    raise AssertionError("nobody waits for the lock")


def cut_one_that_waits(administrator: psycopg.Connection) -> None:
    administrator.execute("SELECT pg_terminate_backend(%s)", [wait_for_one_that_waits(administrator)])
