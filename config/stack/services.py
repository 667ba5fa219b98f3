"""One set of running services in one folder."""

import os
import secrets
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from config.locks import AlreadyLocked, locked
from config.stack import postgres, template, valkey
from config.stack.confinement import confinement, remove_orphans
from config.stack.errors import StackError
from config.stack.processes import ProcessSupervisor, interruptions_ignored

POSTGRESQL_FOLDER = "postgresql"
LOCK_NAME = "lock"
THROW_AWAY_PATTERNS = ("test-*", "shell-*")


def tell(line: str) -> None:
    """Print a line of progress on standard error, at once."""
    print(line, file=sys.stderr, flush=True)


class Stack:
    """A context manager: PostgreSQL (migrated) and Valkey run while it is entered, then end.

    Each service the user names (DATABASE_URL, REDIS_URL, CELERY_BROKER_URL) is used instead of an embedded one; a
    database of the user's is migrated unless `migrates` is false. `durable` false trades safety against power cuts for
    speed. The folder is emptied at the start, kept at the end for its logs, and removed at the end when `throw_away` is
    true. `keep_data` true starts on what the last run left, when there is something. Raises StackError when another
    living run has the folder.
    """

    def __init__(
        self,
        directory: Path,
        *,
        durable: bool,
        keep_data: bool = False,
        throw_away: bool = False,
        migrates: bool = True,
        report: template.Report = tell,
    ) -> None:
        self.directory = directory.absolute()
        self.durable = durable
        self.keep_data = keep_data
        self.throw_away = throw_away
        self.migrates = migrates
        self.report = report
        self.processes = ProcessSupervisor(self.directory / "logs")
        self.server: postgres.Server | None = None
        self._environment: dict[str, str] = {}
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            try:
                with locked(_folders_lock()):
                    cleanup.enter_context(locked(self.directory / LOCK_NAME, wait=False))
            except AlreadyLocked:
                raise StackError(f"another run uses {self.directory}. End it, or choose another folder") from None
            if self.throw_away:  # while we hold the lock: another run would take the folder for a stale one
                cleanup.callback(remove_folder, self.directory)
            cleanup.enter_context(self.processes)
            self._start()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with interruptions_ignored():
            self._cleanup.close()

    def _start(self) -> None:
        given = os.environ
        self._environment = {
            "DJANGO_SECRET_KEY": given.get("DJANGO_SECRET_KEY") or secret_key(),
            "ALLOWED_HOSTS": given.get("ALLOWED_HOSTS") or "localhost,127.0.0.1,[::1]",
            "DJANGO_HTTPS": given.get("DJANGO_HTTPS") or "0",
        }
        self._environment |= self._users_database() if given.get("DATABASE_URL") else self._embedded_database()
        self._environment |= self._redis()

    def _users_database(self) -> dict[str, str]:
        application_url = os.environ["DATABASE_URL"]
        owner_url = os.environ.get("DATABASE_OWNER_URL") or application_url
        if self.migrates:
            self.report("migrating the database that DATABASE_URL names")
            template.migrate(application_url=application_url, owner_url=owner_url)
        return {"DATABASE_URL": application_url, "DATABASE_OWNER_URL": owner_url}

    def _embedded_database(self) -> dict[str, str]:
        place = confinement().place_for(self.directory / POSTGRESQL_FOLDER)
        saved_credentials = self.directory / template.CREDENTIALS_NAME
        if self.keep_data and saved_credentials.exists():
            credentials = postgres.Credentials.read(saved_credentials)
        else:
            postgres.clear_place(place)
            credentials = template.copy_template(place, report=self.report)
            credentials.write(saved_credentials)
        self.server = postgres.start_server(self.processes, place, credentials=credentials, durable=self.durable)
        if self.keep_data:
            template.migrate(application_url=self.server.application_url, owner_url=self.server.owner_url)
        return {"DATABASE_URL": self.server.application_url, "DATABASE_OWNER_URL": self.server.owner_url}

    def _redis(self) -> dict[str, str]:
        redis_url, broker_url = os.environ.get("REDIS_URL"), os.environ.get("CELERY_BROKER_URL")
        if not redis_url or not broker_url:
            place = self.directory / "valkey"
            if not self.keep_data and place.exists():
                shutil.rmtree(place)
            embedded = valkey.start_server(self.processes, place, durable=self.durable)
            redis_url = redis_url or f"{embedded}/{valkey.CACHE_DATABASE}"
            broker_url = broker_url or f"{embedded}/{valkey.BROKER_DATABASE}"
        return {"REDIS_URL": redis_url, "CELERY_BROKER_URL": broker_url}

    def environment(self) -> dict[str, str]:
        """Return the variables config/settings.py needs to reach these services. Lay them over os.environ."""
        return dict(self._environment)


def _folders_lock() -> Path:
    """Return the lock that keeps one run from removing a folder as stale that another is just making."""
    return template.STACK_ROOT / "locks" / "folders"


def remove_folder(directory: Path) -> None:
    """Remove a stack's folder, and the one outside it that PostgreSQL runs in where it has to be another user."""
    place = confinement().place_for(directory / POSTGRESQL_FOLDER)
    postgres.clear_place(place)
    for folder in (place, directory):
        shutil.rmtree(folder, ignore_errors=True)


def remove_stale_folders() -> None:
    """Remove what throw-away runs left that were killed. A living run holds its folder's lock and keeps it."""
    with locked(_folders_lock()):
        for pattern in THROW_AWAY_PATTERNS:
            for directory in template.STACK_ROOT.glob(pattern):
                try:
                    with locked(directory / LOCK_NAME, wait=False):
                        remove_folder(directory)
                except AlreadyLocked:
                    continue
        remove_orphans()


def secret_key() -> str:
    """Return the checkout's own Django secret key, made at the first call and kept in .stack for the next."""
    path = template.STACK_ROOT / "secret-key"
    with locked(template.STACK_ROOT / "locks" / "secret-key"):
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(50))
        return path.read_text()
