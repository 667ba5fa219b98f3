"""The process: it says where it listens, speaks plain HTTP, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import KEY, Account

CHECKOUT = Path(__file__).parents[2]
STARTER = """
import time
from tests.sandbox.client import SandboxProcess
sandbox = SandboxProcess().start()
print(sandbox._process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is only told on Linux")
def test_nothing_survives_the_kill_of_whoever_started_it() -> None:
    command = [sys.executable, "-c", STARTER]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        sandbox = int(starter.stdout.readline())
        assert _runs(sandbox)
        starter.send_signal(signal.SIGKILL)
        starter.wait(timeout=60)

        deadline = time.monotonic() + 60
        while _runs(sandbox):
            assert time.monotonic() < deadline, f"the sandbox {sandbox} is still there"
            time.sleep(0.02)


def test_stop_ends_it() -> None:
    with SandboxProcess() as sandbox:
        parts = urlsplit(sandbox.address)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_at_once_though_a_receiver_keeps_a_webhook(name: str) -> None:
    """The receiver takes the connection and never answers: an attempt waits 20 s for it, the process does not."""
    with socket.create_server(("127.0.0.1", 0)) as receiver, SandboxProcess() as sandbox:
        url = f"http://127.0.0.1:{receiver.getsockname()[1]}/"
        account = Account(sandbox)
        account.api.webhook_endpoints.create({"url": url, "enabled_events": ["*"]})
        account.api.customers.create()
        receiver.settimeout(60)
        connection, _ = receiver.accept()
        with connection:
            process = sandbox._process
            assert process is not None
            process.send_signal(getattr(signal, name))

            assert process.wait(timeout=15) == 0


def test_requests_in_pieces_and_several_on_one_connection(sandbox: SandboxProcess) -> None:
    parts = urlsplit(sandbox.address)
    request = f"GET /v1/account HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60) as connection:
        for piece in (request[:10], request[10:] + request):
            connection.sendall(piece)
        received = b""
        while received.count(b'"object":"account"') < 2:
            received += connection.recv(65536)

    assert received.count(b"HTTP/1.1 200 OK") == 2


def test_a_body_that_is_no_text_is_refused(sandbox: SandboxProcess) -> None:
    parts = urlsplit(sandbox.address)
    head = f"POST /v1/customers HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 6\r\n\r\n".encode()
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60) as connection:
        connection.sendall(head + b"name=\xff")

        assert b"not UTF-8 at byte 5" in connection.recv(65536)


@pytest.mark.parametrize("junk", [b"no request\r\n\r\n", b"POST /v1/customers HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
def test_what_is_no_http_is_refused(sandbox: SandboxProcess, junk: bytes) -> None:
    parts = urlsplit(sandbox.address)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60) as connection:
        connection.sendall(junk)

        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_the_same_seed_gives_the_same_identifiers() -> None:
    found = []
    for _ in range(2):
        with SandboxProcess(options=("--seed", "7")) as sandbox:
            request = f"POST /v1/customers HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
            parts = urlsplit(sandbox.address)
            with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60) as connection:
                connection.sendall(request.encode())
                found.append(b"".join(iter(lambda: connection.recv(65536), b"")))

    assert found[0] == found[1]
    assert b'"id":"cus_' in found[0]


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
