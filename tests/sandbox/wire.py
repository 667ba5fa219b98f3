"""HTTP requests and answers as plain values."""

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

HEAD_SIZE_MAX = 64 * 1024
BODY_SIZE_MAX = 8 * 1024 * 1024


class BadRequest(ValueError):
    """What arrived is not HTTP the sandbox can read."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def keep_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"

    def names(self, object_id: str) -> bool:
        """Whether the request names an object: in its path, its query or its body, where an id needs no encoding."""
        return object_id in self.path or object_id in self.query or object_id.encode() in self.body


@dataclass(slots=True)
class Response:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self, *, without_body: bool = False) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + (b"" if without_body else self.body)


def json_response(value: Any, status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(value))


def take_request(buffer: bytearray) -> Request | None:
    """Cut the first whole request off `buffer`, or None while it is incomplete. Raises `BadRequest`."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > HEAD_SIZE_MAX:
            raise BadRequest("the head of the request is too long")
        return None
    request_line, *header_lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in header_lines:
        name, separator, value = line.partition(":")
        if not separator:
            raise BadRequest(f"no header: {line[:80]!r}")
        name, value = name.strip().lower(), value.strip()
        if name == "content-length" and headers.get(name, value) != value:
            raise BadRequest("two different Content-Length")
        headers[name] = value
    size = _body_size(headers)
    if len(buffer) < end + 4 + size:
        return None
    body = bytes(buffer[end + 4 : end + 4 + size])
    del buffer[: end + 4 + size]
    method, _, rest = request_line.partition(" ")
    target, _, version = rest.rpartition(" ")
    if not version.startswith("HTTP/1."):
        raise BadRequest(f"no request line: {request_line[:80]!r}")
    path, _, query = target.partition("?")
    return Request(method.upper(), path, query, headers, body)


def _body_size(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequest("a chunked request body is not supported; send Content-Length")
    length = headers.get("content-length", "0")
    if not re.fullmatch("[0-9]{1,9}", length) or int(length) > BODY_SIZE_MAX:
        raise BadRequest(f"Content-Length {length[:40]!r} is no size up to {BODY_SIZE_MAX}")
    return int(length)
