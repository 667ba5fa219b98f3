"""What is no proper request is refused in Stripe's form, at once, and hurts nobody else."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.sandbox.client import SandboxProcess
from tests.sandbox.conformance import check_plain_answer
from tests.stripe_sandbox.account import KEY

HEAD = f"Host: x\r\nAuthorization: Bearer {KEY}\r\n"
DEEP = "[a]" * 1_000


def connection_to(sandbox: SandboxProcess) -> socket.socket:
    parts = urlsplit(sandbox.address)
    return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60)


def post(path: str, body: str | bytes, *headers: str) -> bytes:
    content = body if isinstance(body, bytes) else body.encode()
    extra = "".join(f"{header}\r\n" for header in headers)
    head = f"POST {path} HTTP/1.1\r\n{HEAD}{extra}Connection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def answered(sandbox: SandboxProcess, request: bytes) -> tuple[int, dict[str, str]]:
    """The status, and Stripe's error."""
    with connection_to(sandbox) as connection:
        connection.sendall(request)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    status, answer = int(head.split()[1]), json.loads(body)
    method, path, _ = request.split(b"\r\n", 1)[0].decode("latin-1").split()
    check_plain_answer(method, path, status, answer)
    return status, answer["error"]


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("-5", "no size"),
        ("\u00b2", "no size"),
        ("9" * 5_000, "no size"),
        ("6\r\nContent-Length: 7", "two different Content-Length"),
        ("6\r\nTransfer-Encoding: chunked", "chunked"),
    ],
)
def test_a_body_without_a_proper_size(sandbox: SandboxProcess, length: str, message: str) -> None:
    request = f"POST /v1/customers HTTP/1.1\r\n{HEAD}Content-Length: {length}\r\n\r\nname=A"

    status, error = answered(sandbox, request.encode("latin-1"))

    assert (status, error["type"]) == (400, "invalid_request_error")
    assert message in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/customers", f"metadata{DEEP}=1", "parameter_unknown"),
        ("/v1/customers", f"foo{DEEP}=1", "parameter_unknown"),
        ("/v1/subscriptions", "items" + "[]" * 1_000 + "=1", "parameter_unknown"),
        ("/v1/customers", "balance=" + "9" * 6_000, "parameter_invalid_integer"),
        ("/v1/customers", f"balance={2**63}", "parameter_invalid_integer"),
        ("/v1/customers", "balance=%D9%A3", "parameter_invalid_integer"),  # an Arabic three
        ("/v1/products", "name=A&marketing_features[%C2%B2][name]=x", "parameter_invalid_array"),  # a superscript two
        ("/v1/products", f"name=A&marketing_features[{'9' * 5_000}][name]=x", "parameter_invalid_array"),
        ("/v1/products", "name=A&marketing_features[-1][name]=x", "parameter_invalid_array"),
        ("/v1/customers", "metadata=1&metadata[a]=2", "parameter_invalid_object"),
        ("/v1/customers", "metadata[a]=2&metadata=1", "parameter_invalid_object"),
        ("/v1/test_helpers/test_clocks", "frozen_time=1790812800000", "parameter_invalid_integer"),  # milliseconds
        ("/v2/billing/meter_events", "[" * 100_000, "invalid_json"),
        ("/v2/billing/meter_events", b'{"event_name":"\xff"}', "invalid_json"),
        ("/v2/billing/meter_events", "[1]", "invalid_json"),
    ],
)
def test_parameters_that_nothing_could_read(sandbox: SandboxProcess, path: str, body: str | bytes, code: str) -> None:
    status, error = answered(sandbox, post(path, body))

    assert (status, error["type"], error["code"]) == (400, "invalid_request_error", code)


def test_a_list_with_gaps_keeps_its_order(sandbox: SandboxProcess) -> None:
    body = "name=A&marketing_features[5][name]=x&marketing_features[2][name]=y"
    with connection_to(sandbox) as connection:
        connection.sendall(post("/v1/products", body))
        received = b"".join(iter(lambda: connection.recv(65_536), b""))

    product = json.loads(received.partition(b"\r\n\r\n")[2])
    assert [feature["name"] for feature in product["marketing_features"]] == ["y", "x"]


def test_an_idempotency_key_is_at_most_255_characters(sandbox: SandboxProcess) -> None:
    status, error = answered(sandbox, post("/v1/customers", "name=A", "Idempotency-Key: " + "k" * 256))

    assert status == 400
    assert "255" in error["message"]


def test_an_answer_to_head_has_no_body(sandbox: SandboxProcess) -> None:
    head = f"HEAD /v1/customers HTTP/1.1\r\n{HEAD}\r\nGET /v1/account HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n"
    with connection_to(sandbox) as connection:
        connection.sendall(head.encode())
        received = b"".join(iter(lambda: connection.recv(65_536), b""))

    first, _, rest = received.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 405 ")
    assert rest.startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_leaves_in_the_middle_hurts_nobody(sandbox: SandboxProcess) -> None:
    whole = post("/v1/customers", "name=Gone")
    for size in (1, 40, len(whole) - 3, len(whole)):
        with connection_to(sandbox) as connection:
            connection.sendall(whole[:size])
    many = f"GET /v1/events HTTP/1.1\r\n{HEAD}\r\n".encode() * 200
    with connection_to(sandbox) as connection:
        connection.sendall(many)

    status, error = answered(sandbox, post("/v1/nothing", ""))
    assert (status, error["type"]) == (404, "invalid_request_error")
